//! Dialogues about objects that are taken out of service.

use bacnet_encoding::primitives::{
    encode_app_boolean, encode_app_enumerated, encode_app_null, encode_app_real, encode_app_unsigned,
    encode_ctx_object_id, encode_ctx_unsigned,
};
use bacnet_encoding::tags::{encode_closing_tag, encode_opening_tag};
use bacnet_services::read_property::ReadPropertyAckRef;
use bacnet_types::enums::{ObjectType, PropertyIdentifier as P};
use bytes::BytesMut;

use super::stack::Effect;
use super::testing;
use super::tests::{A, AI, AV, Dialogue, id, notification, read_property, request_apdu};
use crate::point::{Fault, Reading};

const STATE: (ObjectType, u32) = (ObjectType::MULTI_STATE_VALUE, 10);
const DENIED: Result<(), (u8, u8)> = Err((2, 40));

/// A dialogue that counts its requests.
struct Desk {
    dialogue: Dialogue,
    invoke: u8,
}

impl Desk {
    fn new() -> Self {
        let mut dialogue = Dialogue::new(0);
        dialogue.read(testing::DELIVERED, Reading::number(5_000.0));
        Self { dialogue, invoke: 0 }
    }

    fn write(
        &mut self,
        object: (ObjectType, u32),
        property: P,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (u8, u8)> {
        let mut params = BytesMut::new();
        encode_ctx_object_id(&mut params, 0, &id(object));
        encode_ctx_unsigned(&mut params, 1, property.to_raw().into());
        encode_opening_tag(&mut params, 3);
        put(&mut params);
        encode_closing_tag(&mut params, 3);
        self.invoke += 1;
        let answer = self.dialogue.say(A, &request_apdu(self.invoke, 15, 0x75, &params)).remove(0).1;
        if answer[0] == 0x20 { Ok(()) } else { Err((answer[4], answer[6])) }
    }

    fn out(&mut self, object: (ObjectType, u32), yes: bool) -> Result<(), (u8, u8)> {
        self.write(object, P::OUT_OF_SERVICE, |out| encode_app_boolean(out, yes))
    }

    fn show(&mut self, object: (ObjectType, u32), value: f32) -> Result<(), (u8, u8)> {
        self.write(object, P::PRESENT_VALUE, |out| encode_app_real(out, value))
    }

    fn read(&mut self, object: (ObjectType, u32), property: P) -> Vec<u8> {
        self.invoke += 1;
        let answer = self.dialogue.ask(&read_property(self.invoke, 0x75, object, property));
        ReadPropertyAckRef::decode(&answer[3..]).unwrap().property_value.to_vec()
    }

    /// Present_Value, Status_Flags, Reliability and Out_Of_Service.
    fn shows(&mut self, object: (ObjectType, u32)) -> (Vec<u8>, u8, u8, bool) {
        let flags = self.read(object, P::STATUS_FLAGS)[2];
        let reliability = self.read(object, P::RELIABILITY)[1];
        let out = self.read(object, P::OUT_OF_SERVICE) == [0x11];
        (self.read(object, P::PRESENT_VALUE), flags, reliability, out)
    }
}

fn real(value: f32) -> Vec<u8> {
    [&[0x44][..], &value.to_be_bytes()].concat()
}

#[test]
fn what_is_shown_is_decoupled_from_the_point_and_back() {
    let mut desk = Desk::new();
    desk.dialogue.subscribe(A, 200, AI, Some((false, 60)));
    assert_eq!(desk.show(AI, 1.0), DENIED);
    desk.out(AI, true).unwrap();
    // it begins with what it showed, and no longer follows
    assert_eq!(desk.shows(AI), (real(5.0), 0x10, 0, true));
    assert!(desk.dialogue.read(testing::DELIVERED, Reading::number(9_000.0)).is_empty());
    assert!(desk.dialogue.read(testing::DELIVERED, Reading::Bad(Fault::NoCommunication)).is_empty());
    assert_eq!(desk.shows(AI), (real(5.0), 0x10, 0, true));
    desk.show(AI, 12.5).unwrap();
    desk.write(AI, P::RELIABILITY, |out| encode_app_enumerated(out, 7)).unwrap();
    assert_eq!(desk.shows(AI), (real(12.5), 0x50, 7, true));
    // written again it changes nothing
    desk.out(AI, true).unwrap();
    assert_eq!(desk.shows(AI), (real(12.5), 0x50, 7, true));
    // the image, which control and the other protocols see, has never heard of it
    let state = desk.dialogue.image.get(testing::DELIVERED).unwrap();
    assert_eq!(state.reading(), Reading::Bad(Fault::NoCommunication));
    desk.out(AI, false).unwrap();
    assert_eq!(desk.shows(AI), (real(9.0), 0x40, 12, false));
    assert_eq!(desk.show(AI, 1.0), DENIED);
    // out again it begins anew
    desk.out(AI, true).unwrap();
    assert_eq!(desk.shows(AI), (real(9.0), 0x50, 12, true));
}

#[test]
fn subscribers_are_told_of_what_is_simulated() {
    let mut desk = Desk::new();
    desk.dialogue.subscribe(A, 200, AI, Some((false, 60)));
    let mut told = |property: P, put: &dyn Fn(&mut BytesMut)| {
        let mut params = BytesMut::new();
        encode_ctx_object_id(&mut params, 0, &id(AI));
        encode_ctx_unsigned(&mut params, 1, property.to_raw().into());
        encode_opening_tag(&mut params, 3);
        put(&mut params);
        encode_closing_tag(&mut params, 3);
        desk.invoke += 1;
        let said = desk.dialogue.say(A, &request_apdu(desk.invoke, 15, 0x75, &params));
        assert_eq!(said[0].1, [0x20, desk.invoke, 15]);
        said.get(1).map(|(_, apdu)| notification(apdu).1)
    };
    use bacnet_types::primitives::PropertyValue as V;
    assert_eq!(told(P::OUT_OF_SERVICE, &|out| encode_app_boolean(out, true)), Some(V::Real(5.0)));
    assert_eq!(told(P::PRESENT_VALUE, &|out| encode_app_real(out, 7.0)), Some(V::Real(7.0)));
    // below COV_Increment
    assert_eq!(told(P::PRESENT_VALUE, &|out| encode_app_real(out, 7.1)), None);
    assert_eq!(told(P::RELIABILITY, &|out| encode_app_enumerated(out, 1)), Some(V::Real(7.1)));
    assert_eq!(told(P::OUT_OF_SERVICE, &|out| encode_app_boolean(out, false)), Some(V::Real(5.0)));
}

#[test]
fn only_what_is_shown_leaves_service() {
    let mut desk = Desk::new();
    for object in [
        // commands: in force or relinquished
        AV,
        (ObjectType::ANALOG_VALUE, 4),
        (ObjectType::MULTI_STATE_VALUE, 1),
        (ObjectType::BINARY_VALUE, 1),
        (ObjectType::POSITIVE_INTEGER_VALUE, 1),
        // energy
        (ObjectType::ACCUMULATOR, 1),
        (ObjectType::LARGE_ANALOG_VALUE, 1),
        // an alarm
        (ObjectType::BINARY_INPUT, 1),
    ] {
        assert_eq!(desk.out(object, true), DENIED, "{object:?}");
        assert_eq!(desk.write(object, P::RELIABILITY, |out| encode_app_enumerated(out, 0)), DENIED, "{object:?}");
        assert_eq!(desk.read(object, P::OUT_OF_SERVICE), [0x10]);
    }
    desk.out(STATE, true).unwrap();
    desk.write(STATE, P::PRESENT_VALUE, |out| encode_app_unsigned(out, 2)).unwrap();
    assert_eq!(desk.shows(STATE).0, [0x21, 2]);
}

#[test]
fn what_cannot_be_simulated_says_why_and_a_restart_ends_it() {
    let mut desk = Desk::new();
    assert_eq!(desk.write(AI, P::OUT_OF_SERVICE, |out| encode_app_enumerated(out, 1)), Err((2, 9)));
    assert_eq!(desk.write(AI, P::OUT_OF_SERVICE, encode_app_null), Err((2, 9)));
    desk.out(AI, true).unwrap();
    desk.out(STATE, true).unwrap();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(desk.show(AI, value), Err((2, 37)), "{value}");
    }
    assert_eq!(desk.write(AI, P::PRESENT_VALUE, |out| encode_app_unsigned(out, 1)), Err((2, 9)));
    assert_eq!(desk.write(AI, P::PRESENT_VALUE, encode_app_null), Err((2, 9)));
    for state in [0, 99, 70_000] {
        assert_eq!(desk.write(STATE, P::PRESENT_VALUE, |out| encode_app_unsigned(out, state)), Err((2, 37)));
    }
    for code in [11, 25, 63, 64, u32::MAX] {
        assert_eq!(desk.write(AI, P::RELIABILITY, |out| encode_app_enumerated(out, code)), Err((2, 37)), "{code}");
    }
    assert_eq!(desk.write(AI, P::RELIABILITY, |out| encode_app_unsigned(out, 7)), Err((2, 9)));
    assert_eq!(desk.shows(AI), (real(5.0), 0x10, 0, true));
    // nothing of it is kept
    let mut effects = Vec::new();
    desk.dialogue.stack.farewell(desk.dialogue.now, &mut effects);
    let kept = |effect: &Effect| matches!(effect, Effect::Keep(kept) if kept.key == "own/ended");
    assert!(effects.iter().all(kept), "{effects:?}");
}

/// WritePropertyMultiple to AI 12: properties with their values.
fn many(invoke: u8, values: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut params = vec![0x0C, 0, 0, 0, 12, 0x1E];
    for (property, value) in values {
        params.extend([0x09, *property, 0x2E]);
        params.extend(value);
        params.push(0x2F);
    }
    params.push(0x1F);
    request_apdu(invoke, 16, 0x75, &params)
}

#[test]
fn one_request_takes_it_out_and_sets_what_it_shows() {
    let mut desk = Desk::new();
    let (out, value, reliability) = (81, 85, 103);
    let all = many(100, &[(out, vec![0x11]), (value, real(3.0)), (reliability, vec![0x91, 12])]);
    assert_eq!(desk.dialogue.ask(&all), [0x20, 100, 16]);
    assert_eq!(desk.shows(AI), (real(3.0), 0x50, 12, true));
    // back, and then there is nothing to be written
    let back = desk.dialogue.ask(&many(101, &[(out, vec![0x10]), (value, real(4.0))]));
    assert_eq!(back[..8], [0x50, 101, 16, 0x0E, 0x91, 2, 0x91, 40]);
    assert_eq!(desk.shows(AI), (real(5.0), 0, 0, false));
}
