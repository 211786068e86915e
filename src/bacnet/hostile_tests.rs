//! Dialogues with peers that mean no good in well-formed words: the standard's answer, nothing changed, something counted,
//! and room left for everybody else.

use std::time::Duration;

use bacnet_types::enums::{ObjectType, PropertyIdentifier as P};
use proptest::prelude::*;

use super::settings::{APDU_TIMEOUT, RETRIES, SEGMENT_TIMEOUT};
use super::stack::Effect;
use super::testing;
use super::tests::{A, AI, DEVICE, Dialogue, peer, read_property, request_apdu, sent};
use crate::point::Reading;

/// Peers of a storm.
const PEERS: u16 = 64;
/// WriteProperty.
const WRITE: u8 = 15;
/// analog-value 1, Present_Value: 0 to 100 %, commandable.
const PERCENT: &[u8] = b"\x0c\0\x80\0\x01\x19\x55";
/// The good peer.
const GOOD: u16 = 40_000;

/// An Error's class and code.
const fn error(class: u8, code: u8) -> [u8; 7] {
    [0x50, 1, WRITE, 0x91, class, 0x91, code]
}

/// Writes `value` (with its tag) at a priority; everything that the stack wants done.
fn write(dialogue: &mut Dialogue, object: &[u8], value: &[u8], priority: &[u8]) -> Vec<Effect> {
    let params = [object, b"\x3e", value, b"\x3f", priority].concat();
    let mut effects = Vec::new();
    let apdu = request_apdu(1, WRITE, 0x75, &params);
    dialogue.stack.on_apdu(peer(A), false, &apdu, &dialogue.image, dialogue.now, &mut effects);
    effects
}

/// Object and property, value, priority, and the Error that it draws.
type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], [u8; 7]);

/// Whether the engine is asked for anything.
fn asks(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Submit(..) | Effect::Keep(_) | Effect::Restart))
}

#[test]
fn a_write_that_cannot_be_done_has_its_error_and_asks_the_engine_for_nothing() {
    let real = |number: f32| [&[0x44][..], &number.to_be_bytes()].concat();
    let long = [&b"\x75\xfe\x05\x00\x00"[..], &[b'x'; 1279]].concat();
    let text = b"\x73\0no";
    let cases: &[Case<'_>] = &[
        // invalid-data-type
        (PERCENT, b"\x21\x05", b"", error(2, 9)),
        (PERCENT, b"\x91\x01", b"", error(2, 9)),
        (PERCENT, b"\x55\x08\x40\x49\0\0\0\0\0\0", b"", error(2, 9)),
        (PERCENT, text, b"", error(2, 9)),
        (PERCENT, &long, b"", error(2, 9)),
        (PERCENT, b"", b"", error(2, 9)),
        (PERCENT, b"\x44\x42\x28\0\0\x44\x42\x28\0\0", b"", error(2, 9)),
        (b"\x0c\x04\xc0\0\x01\x19\x55", b"\x44\x3f\x80\0\0", b"", error(2, 9)),
        (b"\x0c\x01\x40\0\x01\x19\x55", b"\x11", b"", error(2, 9)),
        // value-out-of-range
        (PERCENT, &real(f32::NAN), b"", error(2, 37)),
        (PERCENT, &real(-f32::NAN), b"", error(2, 37)),
        (PERCENT, &real(f32::INFINITY), b"", error(2, 37)),
        (PERCENT, &real(f32::NEG_INFINITY), b"", error(2, 37)),
        (PERCENT, &real(100.001), b"", error(2, 37)),
        (PERCENT, &real(-f32::from_bits(1)), b"", error(2, 37)),
        (PERCENT, &real(f32::MAX), b"\x49\x08", error(2, 37)),
        (b"\x0c\x04\xc0\0\x01\x19\x55", b"\x21\0", b"", error(2, 37)),
        (b"\x0c\x04\xc0\0\x01\x19\x55", b"\x21\x06", b"", error(2, 37)),
        (b"\x0c\x04\xc0\0\x01\x19\x55", b"\x25\x08\xff\xff\xff\xff\xff\xff\xff\xff", b"", error(2, 37)),
        (b"\x0c\x01\x40\0\x01\x19\x55", b"\x91\x02", b"", error(2, 37)),
        (b"\x0c\0\x80\0\x01\x19\x16", &real(f32::NAN), b"", error(2, 37)),
        (b"\x0c\0\x80\0\x01\x19\x16", &real(-1.0), b"", error(2, 37)),
        // write-access-denied: an input, a name, priority 6
        (b"\x0c\0\0\0\x0c\x19\x55", &real(1.0), b"", error(2, 40)),
        (b"\x0c\x02\0\xb7\x99\x19\x4d", text, b"", error(2, 40)),
        (b"\x0c\x02\0\xb7\x99\x19\x4d", &long, b"", error(2, 40)),
        (b"\x0c\0\x80\0\x01\x19\x57", b"\0", b"", error(2, 40)),
        (PERCENT, &real(50.0), b"\x49\x06", error(2, 40)),
        // unknown-object, unknown-property, property-is-not-an-array
        (b"\x0c\0\xbf\xff\xff\x19\x55", &real(1.0), b"", error(1, 31)),
        (b"\x0c\xff\xc0\0\x01\x19\x55", &real(1.0), b"", error(1, 31)),
        (b"\x0c\0\x80\0\x01\x1b\x3f\xff\xff", &real(1.0), b"", error(2, 32)),
        (b"\x0c\0\x80\0\x01\x19\x55\x29\x01", &real(1.0), b"", error(2, 50)),
    ];
    let mut dialogue = Dialogue::new(0);
    for (object, value, priority, expected) in cases {
        let effects = write(&mut dialogue, object, value, priority);
        assert!(!asks(&effects), "{object:02x?} {value:02x?}");
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Rejected("error"))), "it is counted");
        assert_eq!(sent(effects)[0].1, expected, "{object:02x?} {value:02x?}");
    }
    // services, parameter-out-of-range
    for priority in [0u8, 17, 255] {
        let effects = write(&mut dialogue, PERCENT, &real(50.0), &[0x49, priority]);
        assert!(!asks(&effects) && effects.iter().any(|effect| matches!(effect, Effect::Rejected("error"))));
        assert_eq!(sent(effects)[0].1, error(5, 80), "priority {priority}");
    }
    // A denormal is a number like others.
    assert!(asks(&write(&mut dialogue, PERCENT, &real(f32::from_bits(1)), b"")));
}

#[test]
fn what_is_not_there_is_read_as_what_it_is_not() {
    let mut dialogue = Dialogue::new(0);
    for (params, answer) in [
        (&b"\x0c\0\xbf\xff\xff\x19\x55"[..], &[0x50, 1, 12, 0x91, 1, 0x91, 31][..]),
        (b"\x0c\0\x80\0\x01\x1b\x3f\xff\xff", &[0x50, 1, 12, 0x91, 2, 0x91, 32]),
        (b"\x0c\0\x80\0\x01\x19\x57\x29\x11", &[0x50, 1, 12, 0x91, 2, 0x91, 42]),
        (b"\x0c\0\x80\0\x01\x19\x57\x2c\xff\xff\xff\xff", &[0x50, 1, 12, 0x91, 2, 0x91, 42]),
        (b"\x0c\0\x80\0\x01\x19\x55\x29\0", &[0x50, 1, 12, 0x91, 2, 0x91, 50]),
        // cut, with a tail, with a wrong tag
        (b"\x0c\0\x80\0", &[0x60, 1, 5]),
        (b"", &[0x60, 1, 5]),
    ] {
        assert_eq!(dialogue.ask(&request_apdu(1, 12, 0x75, params)), answer, "{params:02x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any REAL at any priority: it is commanded as it is, or refused; never bent.
    #[test]
    fn a_real_is_commanded_as_it_is_or_refused(bits: u32, priority: u8) {
        let number = f32::from_bits(bits);
        let mut dialogue = Dialogue::new(0);
        let effects = write(&mut dialogue, PERCENT, &[&[0x44][..], &bits.to_be_bytes()].concat(), &[0x49, priority]);
        let may = (0.0..=100.0).contains(&number) && (1..=16).contains(&priority) && priority != 6;
        prop_assert_eq!(asks(&effects), may);
        for effect in &effects {
            if let Effect::Submit(_, _, writes) = effect {
                prop_assert_eq!(writes[0].priority.get(), priority);
                // A REAL is widened by its decimal digits.
                prop_assert_eq!(writes[0].action.value().map(|value| value.as_f64() as f32), Some(number));
            }
        }
    }
}

/// The good peer reads a name.
fn name(dialogue: &mut Dialogue) {
    let answers = dialogue.say(GOOD, &read_property(1, 0x75, DEVICE, P::OBJECT_NAME));
    assert!(answers.iter().any(|(to, apdu)| *to == peer(GOOD) && apdu[..3] == [0x30, 1, 12]), "{answers:02x?}");
}

#[test]
fn a_storm_of_who_is_draws_a_bounded_number_of_answers() {
    let mut dialogue = Dialogue::new(0);
    let (mut answers, mut dropped) = (0, 0);
    for n in 0..10_000u16 {
        let mut effects = Vec::new();
        dialogue.stack.on_apdu(peer(n % PEERS), true, b"\x10\x08", &dialogue.image, dialogue.now, &mut effects);
        dropped += effects.iter().filter(|effect| matches!(effect, Effect::Dropped("announcement"))).count();
        answers += sent(effects).len();
    }
    assert!((usize::from(PEERS)..=256).contains(&answers), "{answers}");
    assert_eq!(answers + dropped, 10_000);
    assert_eq!(dialogue.say(GOOD, b"\x10\x08").len(), 1, "one that has not asked yet");
    name(&mut dialogue);
    dialogue.now.mono = dialogue.now.mono.after(Duration::from_secs(1));
    assert_eq!(dialogue.say(1, b"\x10\x08").len(), 1);
}

/// A first segment of a ReadPropertyMultiple of which more follows.
fn opening(invoke: u8, window: u8) -> Vec<u8> {
    [&[0x0E, 0x75, invoke, 0, window, 14][..], b"\x0c\x02\0\xb7\x99\x1e\x09"].concat()
}

#[test]
fn requests_that_are_never_completed_lock_nobody_out_and_are_forgotten() {
    let mut dialogue = Dialogue::new(0);
    for port in 1..=PEERS {
        for invoke in 0..10 {
            dialogue.say(port, &opening(invoke, 4));
        }
    }
    // A good one comes through, whole.
    let acknowledged = dialogue.say(GOOD, &opening(9, 4));
    assert!(acknowledged.contains(&(peer(GOOD), vec![0x41, 9, 0, 4])), "{acknowledged:02x?}");
    assert!(acknowledged.iter().any(|(to, apdu)| *to != peer(GOOD) && apdu[0] == 0x71), "another one is told");
    let answers = dialogue.say(GOOD, &[0x0A, 0x75, 9, 1, 4, 14, 0x4D, 0x1F]);
    assert_eq!(answers[1].1[..3], [0x30, 9, 14]);
    dialogue.wait(SEGMENT_TIMEOUT * 4);
    assert_eq!(dialogue.stack.wake(), None);
}

#[test]
fn a_window_that_is_none_is_aborted() {
    let mut dialogue = Dialogue::new(100);
    for window in [0, 128, 255] {
        // window-size-out-of-range (clause 5.4.5.2)
        assert_eq!(dialogue.ask(&opening(3, window)), [0x71, 3, 7]);
        assert_eq!(dialogue.stack.wake(), None);
        let first = dialogue.ask(&read_property(4, 0x02, DEVICE, P::OBJECT_LIST));
        assert_eq!(first[..3], [0x3C, 4, 0]);
        assert_eq!(dialogue.ask(&[0x40, 4, 0, window]), [0x71, 4, 7]);
        assert_eq!(dialogue.stack.wake(), None);
    }
}

#[test]
fn answers_that_nobody_acknowledges_lock_nobody_out_and_end() {
    let mut dialogue = Dialogue::new(100);
    let list = |invoke| read_property(invoke, 0x02, DEVICE, P::OBJECT_LIST);
    for port in 1..=PEERS {
        for invoke in 0..20 {
            dialogue.say(port, &list(invoke));
        }
    }
    let first = dialogue.say(GOOD, &list(9));
    assert!(first.iter().any(|(to, apdu)| *to == peer(GOOD) && apdu[..3] == [0x3C, 9, 0]), "{first:02x?}");
    // Each is sent again as often as it may be, and no more.
    let again: usize = (0..20).map(|_| dialogue.wait(SEGMENT_TIMEOUT).len()).sum();
    assert!(again <= 128 * (usize::from(RETRIES) + 1), "{again}");
    assert_eq!(dialogue.stack.wake(), None);
    name(&mut dialogue);
}

#[test]
fn sixty_four_peers_have_their_share_of_subscriptions_whatever_others_took() {
    let mut dialogue = Dialogue::new(100);
    let subscribe = |dialogue: &mut Dialogue, port, process: u16| {
        let apdu = [&[2, 0x75, 1, 5, 0x0A], &process.to_be_bytes()[..], b"\x1c\0\0\0\x0c\x29\0\x39\x3c"].concat();
        dialogue.say(port, &apdu)[0].1[0] == 0x20
    };
    let greedy: usize = (1..=8).map(|port| (0..4_000).filter(|n| subscribe(&mut dialogue, port, *n)).count()).sum();
    assert!(greedy <= 3_072 + 8 * 16, "{greedy}");
    for port in 9..=PEERS {
        assert_eq!((0..16).filter(|n| subscribe(&mut dialogue, port, *n)).count(), 16, "peer {port}");
    }
}

#[test]
fn subscribing_and_cancelling_without_end_leaves_nothing() {
    let mut dialogue = Dialogue::new(0);
    for round in 0..100u8 {
        for port in 1..=PEERS {
            let said = dialogue.subscribe(port, round, AI, Some((round % 2 == 0, 3_600)));
            assert!(said[0].1[0] == 0x20 && said.len() <= 2, "{said:02x?}");
            dialogue.subscribe(port, round.wrapping_add(128), AI, None);
        }
    }
    let list = dialogue.say(GOOD, &read_property(1, 0x75, DEVICE, P::ACTIVE_COV_SUBSCRIPTIONS));
    assert_eq!(list[0].1[3..], *b"\x0c\x02\0\xb7\x99\x19\x98\x3e\x3f");
    assert!(dialogue.read(testing::DELIVERED, Reading::number(9_000.0)).is_empty());
}

#[test]
fn dead_subscribers_delay_no_live_one() {
    let mut dialogue = Dialogue::new(20);
    for port in 1..=PEERS {
        for n in 100..120 {
            dialogue.subscribe(port, 1, (ObjectType::ANALOG_INPUT, n), Some((true, 3_600)));
        }
    }
    let first = dialogue.subscribe(GOOD, 1, AI, Some((true, 3_600)));
    dialogue.say(GOOD, &[0x20, first[1].1[2], 1]);
    let mut told = 0;
    for n in 1..=40 {
        let said = dialogue.read(testing::DELIVERED, Reading::number(f64::from(n) * 1_000.0));
        let mine: Vec<_> = said.iter().filter(|(to, apdu)| *to == peer(GOOD) && apdu[0] >> 4 == 0).collect();
        for (_, apdu) in &mine {
            told += 1;
            dialogue.say(GOOD, &[0x20, apdu[2], 1]);
        }
        dialogue.wait(APDU_TIMEOUT);
    }
    assert_eq!(told, 40);
}
