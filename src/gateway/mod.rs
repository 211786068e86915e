//! The shell: clock, wiring, supervision, shutdown. The only room that reads a clock.
//!
//! Start: bind every listener (a port in use is known before anything else begins), open the store, make the engine,
//! start the adapters. Stop: release what was commanded, let the adapters drain for a bounded time, write the last
//! checkpoint.

pub mod clock;
mod courier;
mod engine_task;
mod keeper;
mod listeners;
mod local;
pub mod recorder;
mod supervise;
mod wire;

pub use engine_task::LocalRearm;
pub(crate) use listeners::bacnet_tls;
pub(crate) use wire::bacnet_settings;
pub use wire::{Addresses, Gateway, Setup, StartError, Views};
