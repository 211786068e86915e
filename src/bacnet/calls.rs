//! Calls of our client: bound to an address by Who-Is and I-Am where they name a device (clause 16.10).

use std::collections::HashMap;

use bacnet_services::who_is::{DeviceInstanceRange, IAmRequest, WhoIsRequest};
use bacnet_types::enums::{ConfirmedServiceChoice, UnconfirmedServiceChoice};
use bytes::Bytes;

use super::client::Target;
use super::discovery;
use super::link::Peer;
use super::requester::Outcome;
use super::settings::{APDU_TIMEOUT, RETRIES};
use super::stack::Effect;
use crate::time::Mono;

/// Most calls that wait for an I-Am.
const WAITING: usize = 64;
/// Most devices whose address is remembered.
const BOUND: usize = 1024;

/// One request of the client.
#[derive(Debug)]
pub(super) struct Call {
    /// Its number, for the answer.
    pub(super) number: u64,
    pub(super) target: Target,
    pub(super) service: ConfirmedServiceChoice,
    /// Service parameters.
    pub(super) params: Bytes,
}

#[derive(Debug)]
struct Waiting {
    device: u32,
    call: Call,
    tries: u8,
    deadline: Mono,
}

/// Calls that look for their device, and the devices that were found.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: Vec<Waiting>,
    bound: HashMap<u32, Peer>,
}

impl Calls {
    /// Where a call goes, when that is known.
    pub(super) fn route(&self, call: &Call) -> Option<Peer> {
        match call.target {
            Target::Address(address) => Some(Peer::local(address)),
            Target::Device(instance) => self.bound.get(&instance).copied(),
        }
    }

    /// Keep a call until its device says where it is; the Who-Is to broadcast, or `None` when there is no room.
    pub(super) fn hold(&mut self, call: Call, now: Mono) -> Option<Bytes> {
        let Target::Device(device) = call.target else { return None };
        let who_is = who_is(device)?;
        if self.waiting.len() >= WAITING {
            return None;
        }
        self.waiting.push(Waiting { device, call, tries: 0, deadline: now.after(APDU_TIMEOUT) });
        Some(who_is)
    }

    /// An I-Am: the calls that waited for it. Only devices that we ask for are remembered, so nobody can fill the table.
    pub(super) fn on_i_am(&mut self, peer: Peer, params: &[u8]) -> Vec<Call> {
        if self.waiting.is_empty() && self.bound.is_empty() {
            return Vec::new();
        }
        let Ok(announced) = IAmRequest::decode(params) else { return Vec::new() };
        let device = announced.object_identifier.instance_number();
        let found: Vec<Call> =
            self.waiting.extract_if(.., |waiting| waiting.device == device).map(|waiting| waiting.call).collect();
        let known = self.bound.contains_key(&device);
        if known || (!found.is_empty() && self.bound.len() < BOUND) {
            self.bound.insert(device, peer);
        }
        found
    }

    /// A device did not answer at the address that we know: ask again next time.
    pub(super) fn unbind(&mut self, peer: &Peer) {
        self.bound.retain(|_, bound| bound != peer);
    }

    /// When a Who-Is is sent again or a call given up.
    pub(super) fn wake(&self) -> Option<Mono> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, now: Mono, effects: &mut Vec<Effect>) {
        self.waiting.retain_mut(|waiting| {
            if waiting.deadline > now {
                return true;
            }
            waiting.tries += 1;
            waiting.deadline = now.after(APDU_TIMEOUT);
            if waiting.tries > RETRIES {
                effects.push(Effect::Ended(waiting.call.number, Outcome::Silent));
                return false;
            }
            effects.extend(who_is(waiting.device).map(Effect::Broadcast));
            true
        });
    }
}

fn who_is(device: u32) -> Option<Bytes> {
    let range = DeviceInstanceRange::single(device).ok()?;
    let mut out = discovery::unconfirmed(UnconfirmedServiceChoice::WHO_IS);
    WhoIsRequest { range: Some(range) }.encode(&mut out);
    Some(out.freeze())
}
