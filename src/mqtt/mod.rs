//! MQTT, version 1: what the controllers of the heaters are told and what they say, and the views for everybody else.
//!
//! The pure half: topics and payloads ([`topics`], [`payloads`]), what a message means ([`inbox`]) for the points
//! ([`readings`]) or as a wish to write ([`set`]), the commands and their precedence ([`commands`], [`outbox`]), what the
//! image shows ([`views`], [`events`]), and what is on the wire unacknowledged ([`window`]). The I/O half is [`client`].
//!
//! Everything here is forgotten with the process but one thing: closed [`intervals`] come from the store's durable outbox
//! and leave it only when the broker has acknowledged them.

pub mod client;
mod commands;
mod events;
mod inbox;
mod intervals;
mod outbox;
mod payloads;
mod readings;
mod set;
mod topics;
mod views;
mod window;
mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use client::{Settings, run, run_with_intervals};
pub use intervals::{IntervalKey, Intervals};
pub use topics::BadSite;

/// The link's name in metrics.
const LINK: &str = "mqtt";
