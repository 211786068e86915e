//! Calls of our client: bound to an address by Who-Is and I-Am where they name a device (clause 16.10).

use std::collections::HashMap;

use bacnet_services::who_is::{DeviceInstanceRange, IAmRequest, WhoIsRequest};
use bacnet_types::enums::{ConfirmedServiceChoice, UnconfirmedServiceChoice};
use bytes::Bytes;

use super::client::Target;
use super::discovery;
use super::link::Peer;
use super::requester::{Outcome, Patience};
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
    /// For the answer, and for the I-Am before it.
    pub(super) patience: Patience,
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
            Target::Address(address) => Some(Peer::local(address.into())),
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
        let deadline = now.after(call.patience.timeout);
        self.waiting.push(Waiting { device, call, tries: 0, deadline });
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

    /// Whether a device is being looked for.
    pub(super) fn seeks(&self, device: u32) -> bool {
        self.waiting.iter().any(|waiting| waiting.device == device)
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
            let patience = waiting.call.patience;
            waiting.tries = waiting.tries.saturating_add(1);
            waiting.deadline = now.after(patience.timeout);
            if waiting.tries > patience.retries {
                effects.push(Effect::Ended(waiting.call.number, Outcome::Silent));
                return false;
            }
            effects.extend(who_is(waiting.device).map(Effect::everywhere));
            true
        });
    }
}

/// A Who-Is for one device.
pub(super) fn who_is(device: u32) -> Option<Bytes> {
    let range = DeviceInstanceRange::single(device).ok()?;
    let mut out = discovery::unconfirmed(UnconfirmedServiceChoice::WHO_IS);
    WhoIsRequest { range: Some(range) }.encode(&mut out);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bacnet::settings::{APDU_TIMEOUT, RETRIES};
    use bacnet_types::enums::{ObjectType, Segmentation};
    use bacnet_types::primitives::ObjectIdentifier;
    use bytes::BytesMut;

    fn call(number: u64, device: u32) -> Call {
        let service = ConfirmedServiceChoice::READ_PROPERTY;
        let patience = Patience::default();
        Call { number, target: Target::Device(device), service, params: Bytes::new(), patience }
    }

    fn i_am(device: u32) -> BytesMut {
        let mut params = BytesMut::new();
        let announced = IAmRequest {
            object_identifier: ObjectIdentifier::new(ObjectType::DEVICE, device).unwrap(),
            max_apdu_length: 1476,
            segmentation_supported: Segmentation::NONE,
            vendor_id: 1,
        };
        announced.encode(&mut params);
        params
    }

    fn peer(port: u16) -> Peer {
        Peer::local(([10, 0, 0, 9], port).into())
    }

    #[test]
    fn calls_wait_for_their_device_and_are_sent_where_it_is() {
        let mut calls = Calls::default();
        assert!(calls.route(&call(1, 5)).is_none());
        assert!(calls.hold(call(1, 5), Mono::START).is_some());
        assert!(calls.hold(call(2, 6), Mono::START).is_some());
        assert!(calls.on_i_am(peer(1), &i_am(7)).is_empty());
        let found: Vec<u64> = calls.on_i_am(peer(1), &i_am(5)).iter().map(|call| call.number).collect();
        assert_eq!(found, [1]);
        assert_eq!(calls.route(&call(3, 5)), Some(peer(1)));
        // it has moved; then it does not answer any more
        calls.on_i_am(peer(2), &i_am(5));
        assert_eq!(calls.route(&call(4, 5)), Some(peer(2)));
        calls.unbind(&peer(2));
        assert_eq!(calls.route(&call(5, 5)), None);
    }

    #[test]
    fn strangers_fill_nothing_and_calls_to_nobody_end() {
        let mut calls = Calls::default();
        assert!((0..1000).filter(|n| calls.hold(call(*n, 5), Mono::START).is_some()).count() == WAITING);
        for device in 10..10_000 {
            assert!(calls.on_i_am(peer(1), &i_am(device)).is_empty());
        }
        assert!(calls.bound.is_empty());
        let (mut effects, mut now) = (Vec::new(), Mono::START);
        for _ in 0..=RETRIES {
            now = now.after(APDU_TIMEOUT);
            calls.on_time(now, &mut effects);
        }
        let ended = effects.iter().filter(|effect| matches!(effect, Effect::Ended(_, Outcome::Silent))).count();
        assert_eq!((ended, calls.wake()), (WAITING, None));
    }
}
