//! We as a client of other devices: the door to requests of our own, and what keeps the mapping's devices live and
//! written. Requests leave from the server's port, and the node's task makes them.
//!
//! Pure half: [`machine`] is one device (what it can, what is due, what is subscribed), [`output`] one value that is
//! written there, [`wire`] the services' parameters, [`reading`] what an answer says of a point. I/O half: [`run`].

mod machine;
mod output;
mod reading;
mod run;
#[cfg(test)]
mod tests;
mod wire;

pub use machine::points_in;
pub use run::unreachable;
pub(super) use run::{Devices, listed};
pub use wire::{Ask, Found, Item};
pub(super) use wire::{datum, first};

use std::net::SocketAddr;
use std::time::Duration;

use bacnet_types::enums::ConfirmedServiceChoice;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::requester::{Outcome, Patience};
pub use crate::plant::ObjectRef;

/// Most calls that wait for the node's task.
const QUEUE: usize = 64;
/// Most I-Ams that wait for who listens.
const ANNOUNCED: usize = 1024;

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// By its Device instance: found by Who-Is, its address remembered until it does not answer.
    Device(u32),
    /// By its B/IP address.
    Address(SocketAddr),
}

/// A primitive value of a property.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// NULL; written: relinquish.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// Unsigned.
    Unsigned(u64),
    /// INTEGER.
    Signed(i32),
    /// REAL.
    Real(f32),
    /// Double.
    Double(f64),
    /// ENUMERATED.
    Enumerated(u32),
    /// CharacterString.
    Text(String),
    /// BACnetObjectIdentifier.
    Object(ObjectRef),
    /// Everything else, several values included: as it was encoded.
    Other(Vec<u8>),
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The device answered with an Error: its class and code (clause 18).
    #[error("the device answered: error class {class}, code {code}")]
    Error {
        /// Class.
        class: u32,
        /// Code.
        code: u32,
    },
    /// The device rejected the request: its reason.
    #[error("rejected by the device, reason {0}")]
    Rejected(u8),
    /// The device aborted the transaction, or we had no room for it: the reason.
    #[error("aborted, reason {0}")]
    Aborted(u8),
    /// No answer to four requests, or to four Who-Is.
    #[error("no answer")]
    Silent,
    /// The answer is not what was asked for.
    #[error("malformed answer")]
    Malformed,
    /// What was asked cannot be put on the wire: an identifier or a priority out of range.
    #[error("not a valid request")]
    Invalid,
    /// Too many calls wait.
    #[error("too many calls wait")]
    Busy,
    /// The node is not running any more.
    #[error("the BACnet node is not running")]
    Closed,
}

/// A device that has said that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its instance.
    pub device: u32,
    /// Its B/IP address, or its router's; `None` where it is reached over another link.
    pub from: Option<SocketAddr>,
}

/// What is asked of the node's task.
#[derive(Debug)]
pub(super) enum Wish {
    /// A request.
    Call(Asked),
    /// Who-Is for all instances or some, to everybody or to one address.
    WhoIs(Option<(u32, u32)>, Option<SocketAddr>),
}

/// A call on its way to the node's task.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) service: ConfirmedServiceChoice,
    pub(super) params: Bytes,
    pub(super) patience: Patience,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// Reads and writes properties of other devices; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    wishes: mpsc::Sender<Wish>,
    announced: broadcast::Sender<Announced>,
}

impl Client {
    pub(super) fn channel() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, receiver) = mpsc::channel(QUEUE);
        (Self { wishes, announced: broadcast::channel(ANNOUNCED).0 }, receiver)
    }

    /// Every I-Am from now on; who is too slow misses some.
    pub fn announced(&self) -> broadcast::Receiver<Announced> {
        self.announced.subscribe()
    }

    /// Where the node puts what it hears.
    pub(super) fn announcements(&self) -> broadcast::Sender<Announced> {
        self.announced.clone()
    }

    /// Ask all devices, or those of a range of instances, to say that they are there; or only the one at an address.
    pub async fn who_is(&self, range: Option<(u32, u32)>, at: Option<SocketAddr>) -> Result<(), CallError> {
        self.wishes.send(Wish::WhoIs(range, at)).await.map_err(|_| CallError::Closed)
    }

    /// Read a property, or one element of it (`index` 0: how many there are).
    pub async fn read(
        &self,
        target: Target,
        object: ObjectRef,
        property: u32,
        index: Option<u32>,
    ) -> Result<Datum, CallError> {
        let ask = Ask::Read(Item { object, property, index });
        match self.ask(target, &ask, None).await?.pop() {
            Some(Ok(datum)) => Ok(datum),
            Some(Err((class, code))) => Err(CallError::Error { class, code }),
            None => Err(CallError::Malformed),
        }
    }

    /// Write a property; `priority` 1 to 16 where it is commandable.
    pub async fn write(
        &self,
        target: Target,
        object: ObjectRef,
        property: u32,
        value: &Datum,
        priority: Option<u8>,
    ) -> Result<(), CallError> {
        let item = Item { object, property, index: None };
        let ask = Ask::Write { item, value: value.clone(), priority };
        self.ask(target, &ask, None).await.map(drop)
    }

    /// Make a request: what was read, in the order of what was asked. `patience`: how long to wait for an answer and how
    /// often to ask again; `None`: 3 s, three times.
    pub async fn ask(
        &self,
        target: Target,
        ask: &Ask,
        patience: Option<(Duration, u8)>,
    ) -> Result<Vec<Found>, CallError> {
        let patience = patience.map_or_else(Patience::default, |(timeout, retries)| Patience { timeout, retries });
        let (reply, outcome) = oneshot::channel();
        let asked = Asked { target, service: ask.service(), params: ask.params()?, patience, reply };
        self.wishes.try_send(Wish::Call(asked)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Busy,
            mpsc::error::TrySendError::Closed(_) => CallError::Closed,
        })?;
        match outcome.await.map_err(|_| CallError::Closed)? {
            Outcome::Done(params) => ask.answer(&params),
            Outcome::Error(class, code) => Err(CallError::Error { class, code }),
            Outcome::Rejected(reason) => Err(CallError::Rejected(reason)),
            Outcome::Aborted(reason) => Err(CallError::Aborted(reason)),
            Outcome::Silent => Err(CallError::Silent),
        }
    }
}
