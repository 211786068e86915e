//! BACnet: one device, on BACnet/IP, BACnet/SC and MS/TP, native to the process image.
//!
//! Pure half: [`objects`] are a function of plant and image; [`stack`] takes one APDU and gives the replies, holds what
//! has a memory (subscriptions, segments under way, writes in flight, our own requests) and says when it wants to be
//! woken. Nothing there waits, and time is an argument.
//! [`bip`] is one B/IP port in its role (device, foreign device or broadcast manager, [`bbmd`]), [`network`] the network
//! layer above it. [`sc`] and [`mstp`] are ports of other kinds, tasks of their own behind [`further`].
//! I/O half: [`node`] owns the sockets, hands writes to the engine and images to the stack; [`client`] is the door to
//! our own requests, which leave from the same port.
//!
//! Words of the wire are ASHRAE 135's; clauses are cited from the 2016 edition.

mod alarm;
mod answer;
mod assembly;
mod bbmd;
mod bip;
mod calls;
mod civil;
mod client;
mod clock;
mod cov;
mod discover;
mod discovery;
mod fair;
mod further;
#[doc(hidden)]
pub mod fuzz;
mod intake;
mod link;
mod manage;
mod mstp;
mod network;
mod node;
mod objects;
mod own;
mod pics;
mod reassembly;
mod requester;
mod restart;
mod sc;
mod segment;
mod services;
mod settings;
mod shed;
mod socket;
mod stack;
mod trend;
mod writes;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod out_of_service_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod services_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod range_tests;

pub use client::{Announced, Ask, CallError, Client, Datum, Found, Item, ObjectRef, Target, points_in, unreachable};
pub use discover::{FoundDevice, FoundObject, Search, discover, draft};
pub use node::Node;
pub use pics::{Pics, PicsObject, PicsService, PicsTerm};
pub use sc::{Hub, Pem, Tls, TlsError, expiry};
pub use settings::{Interface, Password, Role, Secure, Serial, Settings};
