//! Dialogues about what a start says of itself.

use bacnet_encoding::primitives::encode_app_enumerated;
use bacnet_services::cov::COVNotificationRequest;
use bacnet_services::read_property::ReadPropertyAckRef;
use bacnet_types::enums::PropertyIdentifier as P;
use bytes::BytesMut;
use std::sync::Arc;

use super::settings::Settings;
use super::stack::{Effect, Stack};
use super::testing;
use super::tests::{A, DEVICE, Dialogue, id, peer, read_property, request_apdu, sent};
use crate::durable::Keepsake;

/// BACnetRecipient: the address 10.0.0.9:47809.
const TO_A: &[u8] = &[0x1E, 0x21, 0, 0x65, 6, 10, 0, 0, 9, 0xBA, 0xC1, 0x1F];
/// Device 7.
const TO_7: &[u8] = &[0x0C, 2, 0, 0, 7];
/// Everybody on the link.
const TO_ALL: &[u8] = &[0x1E, 0x21, 0, 0x60, 0x1F];

/// A process from its start to its end.
struct Life {
    dialogue: Dialogue,
    kept: Vec<Keepsake>,
}

impl Life {
    fn new(kept: &[Keepsake]) -> Self {
        let mut dialogue = Dialogue::new(0);
        dialogue.stack = Stack::new(Arc::new(testing::plant(0)), Settings::default());
        for Keepsake { key, value } in kept {
            dialogue.stack.restore(key, value.as_deref().unwrap_or_default());
        }
        dialogue.stack.revive(&dialogue.image);
        dialogue.stack.begin(dialogue.now);
        Self { dialogue, kept: Vec::new() }
    }

    fn hello(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.dialogue.stack.hello(self.dialogue.now, &mut effects);
        effects
    }

    fn read(&mut self, property: P) -> Vec<u8> {
        let answer = self.dialogue.ask(&read_property(1, 0x75, DEVICE, property));
        ReadPropertyAckRef::decode(&answer[3..]).unwrap().property_value.to_vec()
    }

    /// WriteProperty (15), AddListElement (8) or RemoveListElement (9) of the recipients.
    fn recipients(&mut self, invoke: u8, service: u8, elements: &[u8]) -> Vec<u8> {
        let head = [&[0x0C][..], &id(DEVICE).encode(), &[0x19, 202, 0x3E]].concat();
        let apdu = request_apdu(invoke, service, 0x75, &[&head, elements, &[0x3F]].concat());
        let mut effects = Vec::new();
        self.dialogue.stack.on_apdu(peer(A), false, &apdu, &self.dialogue.image, self.dialogue.now, &mut effects);
        self.kept.extend(effects.iter().filter_map(keep));
        sent(effects).remove(0).1
    }

    fn keeps(&mut self, last: bool) -> Vec<Keepsake> {
        let mut effects = Vec::new();
        if last {
            self.dialogue.stack.farewell(self.dialogue.now, &mut effects);
        } else {
            self.dialogue.stack.on_image(&self.dialogue.image, self.dialogue.now, &mut effects);
        }
        self.kept.extend(effects.iter().filter_map(keep));
        self.kept.clone()
    }
}

fn keep(effect: &Effect) -> Option<Keepsake> {
    if let Effect::Keep(keepsake) = effect { Some(keepsake.clone()) } else { None }
}

fn told(apdu: &[u8]) -> COVNotificationRequest {
    assert_eq!(apdu[..2], [0x10, 2]);
    COVNotificationRequest::decode(&apdu[2..]).unwrap()
}

#[test]
fn everybody_on_the_link_is_told_once_unless_others_are_named() {
    let mut life = Life::new(&[]);
    assert_eq!(life.read(P::RESTART_NOTIFICATION_RECIPIENTS), TO_ALL);
    let effects = life.hello();
    let [Effect::BroadcastOn(65_535, _), Effect::Broadcast(apdu)] = &effects[..] else { panic!("{effects:?}") };
    let said = told(apdu);
    assert_eq!((said.subscriber_process_identifier, said.time_remaining), (0, 0));
    assert_eq!((said.initiating_device_identifier, said.monitored_object_identifier), (id(DEVICE), id(DEVICE)));
    let properties: Vec<_> = said.list_of_values.iter().map(|value| value.property_identifier).collect();
    assert_eq!(properties, [P::SYSTEM_STATUS, P::TIME_OF_DEVICE_RESTART, P::LAST_RESTART_REASON]);
    assert_eq!(said.list_of_values[1].value, life.read(P::TIME_OF_DEVICE_RESTART));
    assert_eq!(said.list_of_values[2].value, [0x91, 0]);
    // said once, whoever is greeted again
    assert_eq!(life.hello().len(), 1);
    // one address, and a device that is looked for first
    assert_eq!(life.recipients(1, 15, &[TO_A, TO_7].concat()), [0x20, 1, 15]);
    let mut next = Life::new(&life.keeps(true));
    assert_eq!(next.read(P::RESTART_NOTIFICATION_RECIPIENTS), [TO_A, TO_7].concat());
    let effects = next.hello();
    let [Effect::BroadcastOn(..), Effect::Send { peer: to, apdu, .. }, Effect::BroadcastOn(_, who_is)] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((*to, &who_is[..2]), (peer(A), &[0x10, 8][..]));
    assert_eq!(told(apdu).list_of_values[2].value, [0x91, 1]);
}

#[test]
fn the_reason_tells_an_end_in_order_from_another() {
    let mut first = Life::new(&[]);
    assert_eq!(first.read(P::LAST_RESTART_REASON), [0x91, 0]);
    let mut second = Life::new(&first.keeps(true));
    assert_eq!(second.read(P::LAST_RESTART_REASON), [0x91, 1]);
    // killed: what it kept while it ran says nothing of an end
    assert_eq!(Life::new(&second.keeps(false)).read(P::LAST_RESTART_REASON), [0x91, 0]);
}

#[test]
fn the_list_is_edited_and_what_cannot_be_reached_is_refused() {
    let mut life = Life::new(&[]);
    assert_eq!(life.recipients(1, 8, &[TO_A, TO_7, TO_A].concat()), [0x20, 1, 8]);
    assert_eq!(life.read(P::RESTART_NOTIFICATION_RECIPIENTS), [TO_ALL, TO_A, TO_7].concat());
    assert_eq!(life.recipients(2, 9, TO_ALL), [0x20, 2, 9]);
    assert_eq!(life.read(P::RESTART_NOTIFICATION_RECIPIENTS), [TO_A, TO_7].concat());
    // one that is not there; an object that is no device; no recipient at all
    assert_eq!(life.recipients(3, 9, TO_ALL)[..8], [0x50, 3, 9, 0x0E, 0x91, 5, 0x91, 81]);
    assert_eq!(life.recipients(4, 15, &[0x0C, 0, 0, 0, 7]), [0x50, 4, 15, 0x91, 2, 0x91, 37]);
    let mut one = BytesMut::new();
    encode_app_enumerated(&mut one, 1);
    assert_eq!(life.recipients(5, 15, &one), [0x50, 5, 15, 0x91, 2, 0x91, 9]);
    let crowd: Vec<u8> = (1..=65u8).flat_map(|n| [0x0C, 2, 0, 0, n]).collect();
    assert_eq!(life.recipients(6, 15, &crowd), [0x50, 6, 15, 0x91, 3, 0x91, 20]);
    assert_eq!(life.read(P::RESTART_NOTIFICATION_RECIPIENTS), [TO_A, TO_7].concat());
    // nobody is told
    assert_eq!(life.recipients(7, 15, &[]), [0x20, 7, 15]);
    assert_eq!(life.hello().len(), 1);
}
