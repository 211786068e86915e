//! The served half without sockets: a PDU against an image.

use std::time::Duration;

use super::address::AddressSpace;
use super::identity::Identity;
use super::pdu::Exception;
use super::reply::{self, Step, Then};
use super::testing::*;
use crate::plant::{Note, NoteKind, Plant, Table};
use crate::point::{Doubt, Fault, Image, PointId, Priority, Reading, Value};
use crate::request::{Action, Refusal, Side, Write};
use crate::time::{Mono, Now};
use crate::units::Energy;

fn image(plant: &Plant, readings: &[(PointId, Reading)]) -> Image {
    let mut image = Image::empty(plant.points.len(), Now::default());
    for (point, reading) in readings {
        let state = image.get_mut(*point).unwrap();
        state.sample.reading = *reading;
        state.last = reading.value();
    }
    image
}

fn ask(image: &Image, pdu: &[u8]) -> (Step, Vec<u8>) {
    let mut out = vec![0xEE];
    let step =
        reply::begin(&AddressSpace::new(&plant()), &Identity::default(), image, pdu, Priority::PROGRAM, &mut out);
    assert_eq!(out.remove(0), 0xEE, "what was appended before stays");
    (step, out)
}

#[test]
fn a_text_stands_in_its_registers_and_nobody_writes_it() {
    use crate::plant::{Codec, Offline, RegisterFace, RegisterType, WordOrder};
    use crate::point::{Kind, Text};
    let mut plant = plant();
    let id = PointId(u32::try_from(plant.points.len()).unwrap());
    plant.points.push(point(id.0, "a/serial", Kind::Text, None, None));
    for (address, order, offline) in
        [(1020, WordOrder::Abcd, Offline::Hold), (1030, WordOrder::Badc, Offline::Exception)]
    {
        let codec = Codec { order, ..Codec::plain(RegisterType::Text(4)) };
        let face = RegisterFace { point: id, table: Table::Holding, address, codec, writable: false, offline };
        plant.modbus.faces.push(face);
    }
    let space = AddressSpace::new(&plant);
    let ask = |image: &Image, pdu: &[u8]| {
        let mut out = Vec::new();
        let step = reply::begin(&space, &Identity::default(), image, pdu, Priority::PROGRAM, &mut out);
        assert!(matches!(step, Step::Answered), "{pdu:?}");
        out
    };
    let said = Reading::Good(Value::Text(Text::new("SN 4711").unwrap()));
    let shown = image(&plant, &[(id, said)]);
    assert_eq!(ask(&shown, &[3, 0x03, 0xFC, 0, 4]), b"\x03\x08SN 4711\0");
    assert_eq!(ask(&shown, &[3, 0x04, 0x06, 0, 4]), b"\x03\x08NS4 17\x001");
    assert_eq!(ask(&shown, &[3, 0x03, 0xFD, 0, 2]), b"\x03\x04 471", "a part of it is that part");
    assert_eq!(ask(&shown, &[6, 0x03, 0xFC, 0, 0]), [0x86, 2]);
    // What was there last, empty where there never was one, or an exception.
    let never = image(&plant, &[(id, Reading::Bad(Fault::NoCommunication))]);
    assert_eq!(ask(&never, &[3, 0x03, 0xFC, 0, 4]), [3, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask(&never, &[3, 0x04, 0x06, 0, 4]), [0x83, 0x0B]);
}

/// The reply to a request that needs no engine.
fn answer(image: &Image, pdu: &[u8]) -> Vec<u8> {
    match ask(image, pdu) {
        (Step::Answered, out) => out,
        (step, _) => panic!("{pdu:?}: {step:?}"),
    }
}

/// What a write asks of the engine.
fn wish(image: &Image, pdu: &[u8]) -> (Vec<(PointId, Value)>, Then) {
    match ask(image, pdu) {
        (Step::Ask { writes, then }, out) => {
            assert!(out.is_empty());
            let set = |write: &Write| match write.action {
                Action::Set(value) | Action::Replace { value, .. } if write.priority == Priority::PROGRAM => {
                    (write.point, value)
                }
                _ => panic!("{write:?}"),
            };
            (writes.iter().map(set).collect(), then)
        }
        (_, out) => panic!("{pdu:?} was answered: {out:?}"),
    }
}

fn number(n: f64) -> Value {
    Value::number(n).unwrap()
}

fn full() -> Image {
    image(
        &plant(),
        &[
            (REQUEST, good(52.3)),
            (SETPOINT, good(45.0)),
            (MODE, Reading::Good(Value::State(2))),
            (ENABLE, Reading::Good(Value::Bool(true))),
            (LIMIT, good(6553.5)),
            (COUNTER, Reading::Good(Value::Unsigned(0x0001_0002))),
            (HEAT, good(52.3)),
            (ENERGY, Reading::Good(Value::Energy(Energy::from_wh(9_007_199_254_740_993)))),
            (ALARM, Reading::Good(Value::Bool(true))),
            (STRICT, good(1.0)),
            (SENTINEL, good(-1.5)),
        ],
    )
}

#[test]
fn registers_show_the_image() {
    let image = full();
    assert_eq!(
        answer(&image, &[3, 0, 0, 0, 8]),
        [3, 16, 0x02, 0x0B, 0x01, 0xC2, 0, 2, 0, 1, 0xFF, 0xFF, 0, 0, 0, 1, 0, 2]
    );
    // 52.3 as a single is 0x42513333; its twin at + 60 is 523.
    assert_eq!(answer(&image, &[4, 0, 10, 0, 2]), [4, 4, 0x42, 0x51, 0x33, 0x33]);
    assert_eq!(answer(&image, &[4, 0, 70, 0, 1]), [4, 2, 0x02, 0x0B]);
    assert_eq!(answer(&image, &[3, 0x03, 0xF2, 0, 2]), [3, 4, 0x42, 0x51, 0x33, 0x33]);
    assert_eq!(answer(&image, &[4, 0, 52, 0, 1]), [4, 2, 0xFF, 0xF1]);
}

#[test]
fn energies_are_exact() {
    // 2^53 + 1 Wh is no f64.
    assert_eq!(answer(&full(), &[4, 0, 30, 0, 4]), [4, 8, 0, 0x20, 0, 0, 0, 0, 0, 1]);
    let some = image(&plant(), &[(ENERGY, Reading::Good(Value::Energy(Energy::from_wh(1_999))))]);
    assert_eq!(answer(&some, &[4, 0, 38, 0, 2]), [4, 4, 0, 0, 0, 1]);
}

#[test]
fn half_of_a_wide_value_can_be_read() {
    assert_eq!(answer(&full(), &[4, 0, 11, 0, 2]), [4, 4, 0x33, 0x33, 0, 0]);
    assert_eq!(answer(&full(), &[4, 0, 9, 0, 2]), [4, 4, 0, 0, 0x42, 0x51]);
    assert_eq!(answer(&full(), &[4, 0, 32, 0, 1]), [4, 2, 0, 0]);
}

#[test]
fn bits_are_packed_from_the_lowest() {
    assert_eq!(answer(&full(), &[1, 0, 0, 0, 10]), [1, 2, 0b0000_0001, 0b0000_0010]);
    assert_eq!(answer(&full(), &[1, 0, 9, 0, 1]), [1, 1, 1]);
    assert_eq!(answer(&full(), &[2, 0, 0, 0, 16]), [2, 2, 1, 0]);
    let never = image(&plant(), &[]);
    assert_eq!(answer(&never, &[2, 0, 0, 0, 1]), [2, 1, 0]);
}

#[test]
fn a_block_with_holes_reads_in_one_request() {
    let reply = answer(&full(), &[4, 0, 0, 0, 100]);
    assert_eq!(reply.len(), 202);
    assert_eq!(reply[2..22], [0; 20]);
}

#[test]
fn addresses_outside_are_exception_02() {
    for pdu in [
        [4, 0, 0, 0, 101],
        [4, 0, 100, 0, 1],
        [3, 0, 99, 0, 2],
        [3, 0xFF, 0xFF, 0, 2],
        [1, 0, 10, 0, 7],
        [2, 0, 16, 0, 1],
    ] {
        assert_eq!(answer(&full(), &pdu), [pdu[0] | 0x80, 2], "{pdu:?}");
    }
}

#[test]
fn a_bad_point_shows_by_its_policy() {
    let plant = plant();
    let never = image(&plant, &[]);
    assert_eq!(answer(&never, &[3, 0, 0, 0, 2]), [3, 4, 0xFF, 0xFF, 0x80, 0x00], "hold, and there never was one");
    assert_eq!(answer(&never, &[4, 0, 10, 0, 2]), [4, 4, 0x7F, 0xC0, 0, 0]);
    assert_eq!(answer(&never, &[4, 0, 30, 0, 1]), [4, 2, 0xFF, 0xFF]);

    let mut lost = full();
    for point in [REQUEST, STRICT, SENTINEL] {
        lost.get_mut(point).unwrap().sample.reading = Reading::Bad(Fault::NoCommunication);
    }
    assert_eq!(answer(&lost, &[3, 0, 0, 0, 1]), [3, 2, 0x02, 0x0B], "hold");
    assert_eq!(answer(&lost, &[4, 0, 52, 0, 1]), [4, 2, 0x80, 0x00], "sentinel");
    assert_eq!(answer(&lost, &[4, 0, 51, 0, 3]), [0x84, 0x0B], "exception, for the whole read");
    assert_eq!(answer(&lost, &[4, 0, 51, 0, 80]), [0x84, 2], "an address that is not there comes first");

    let doubtful = image(&plant, &[(STRICT, Reading::Uncertain(number(1.0), Doubt::Stale))]);
    assert_eq!(answer(&doubtful, &[4, 0, 50, 0, 2]), [4, 4, 0x3F, 0x80, 0, 0]);
}

#[test]
fn notes_say_how_old_and_how_good_a_value_is() {
    let mut plant = plant();
    for (address, kind) in [(54, NoteKind::Age), (55, NoteKind::Quality)] {
        plant.modbus.notes.push(Note { point: STRICT, table: Table::Input, address, kind });
    }
    let space = AddressSpace::new(&plant);
    let notes = |image: &Image| {
        let mut out = Vec::new();
        reply::begin(&space, &Identity::default(), image, &[4, 0, 54, 0, 2], Priority::PROGRAM, &mut out);
        out
    };
    let at = |seconds| Now { mono: Mono::from_start(Duration::from_secs(seconds)), ..Now::default() };
    let mut image = full();
    assert_eq!(notes(&image), [4, 4, 0xFF, 0xFF, 0, 0], "good, and nobody said since when");
    image.now = at(100);
    image.get_mut(STRICT).unwrap().held = Some(at(40));
    assert_eq!(notes(&image), [4, 4, 0, 60, 0, 0]);
    image.get_mut(STRICT).unwrap().sample.reading = Reading::Bad(Fault::NoCommunication);
    image.now = at(70_000);
    assert_eq!(notes(&image), [4, 4, 0xFF, 0xFE, 0, 17], "a note is shown also where the value is an exception");
    let mut out = Vec::new();
    reply::begin(&space, &Identity::default(), &image, &[6, 0, 54, 0, 2], Priority::PROGRAM, &mut out);
    assert_eq!(out, [0x86, 2]);
}

#[test]
fn exceptions_tell_why_a_point_has_no_value() {
    let plant = plant();
    for (fault, code) in [
        (Fault::NoCommunication, 0x0B),
        (Fault::Offline, 0x0B),
        (Fault::NeverRead, 0x0A),
        (Fault::Malformed, 4),
        (Fault::Refused(2), 4),
    ] {
        let image = image(&plant, &[(STRICT, Reading::Bad(fault))]);
        assert_eq!(answer(&image, &[4, 0, 50, 0, 2]), [0x84, code], "{fault:?}");
    }
}

#[test]
fn a_value_too_large_for_its_registers_is_not_available() {
    let image = image(&plant(), &[(HEAT, good(7000.0))]);
    assert_eq!(answer(&image, &[4, 0, 70, 0, 1]), [4, 2, 0xFF, 0xFF]);
}

#[test]
fn writes_become_values_of_their_points() {
    let image = full();
    assert_eq!(wish(&image, &[6, 0, 0, 0x02, 0x0B]), (vec![(REQUEST, number(52.3))], Then::Echo(5)));
    assert_eq!(wish(&image, &[6, 0, 4, 0xFF, 0xFF]).0, [(LIMIT, number(6553.5))], "none");
    assert_eq!(wish(&image, &[5, 0, 0, 0xFF, 0]), (vec![(ENABLE, Value::Bool(true))], Then::Echo(5)));
    assert_eq!(wish(&image, &[15, 0, 0, 0, 1, 1, 0xFE]).0, [(ENABLE, Value::Bool(false))]);
    assert_eq!(
        wish(&image, &[16, 0, 0, 0, 5, 10, 0, 10, 0xFF, 0xFF, 0, 3, 0, 1, 0, 20]).0,
        [
            (REQUEST, number(1.0)),
            (SETPOINT, number(-0.1)),
            (MODE, Value::State(3)),
            (ENABLE, Value::Bool(true)),
            (LIMIT, number(2.0))
        ]
    );
    assert_eq!(wish(&image, &[16, 0, 6, 0, 2, 4, 0, 1, 0, 2]).0, [(COUNTER, Value::Unsigned(0x0001_0002))]);
}

#[test]
fn a_mask_works_on_what_is_shown() {
    // 523 = 0x020B; keep the low byte, set 0x0100.
    let (writes, then) = wish(&full(), &[22, 0, 0, 0x00, 0xFF, 0x01, 0x00]);
    assert_eq!((writes, then), (vec![(REQUEST, number(26.7))], Then::Echo(7)));
    assert_eq!(answer(&full(), &[22, 0, 6, 0, 0, 0, 0]), [0x96, 2], "half of a wide value");
}

#[test]
fn what_cannot_be_written_is_exception_02() {
    let image = full();
    let cases: &[&[u8]] = &[
        &[6, 0, 6, 0, 1],                              // the first half of a wide value
        &[6, 0, 7, 0, 1],                              // the second half
        &[16, 0, 4, 0, 3, 6, 0, 1, 0, 0, 0, 1],        // over an unused address
        &[6, 0, 5, 0, 0],                              // an unused address
        &[6, 0x03, 0xF2, 0, 0],                        // half of a read-only value
        &[16, 0x03, 0xF2, 0, 2, 4, 0, 0, 0, 0],        // read-only
        &[16, 0, 3, 0, 3, 6, 0, 9, 0, 0, 0, 0],        // a bad value first, then an unused address
        &[6, 0, 100, 0, 0],                            // nothing there
        &[5, 0, 9, 0xFF, 0],                           // a read-only coil
        &[15, 0, 0, 0, 2, 1, 3],                       // a coil and an unused one
        &[23, 0, 0, 0, 101, 0, 0, 0, 1, 2, 0, 1],      // the read part is not there: nothing is written
        &[23, 0, 0, 0, 1, 0, 99, 0, 2, 4, 0, 1, 0, 1], // the write part is not there
    ];
    for pdu in cases {
        assert_eq!(answer(&image, pdu), [pdu[0] | 0x80, 2], "{pdu:?}");
    }
}

#[test]
fn what_no_value_can_be_is_exception_03() {
    let image = full();
    for pdu in [&[6, 0, 3, 0, 2][..], &[16, 0, 2, 0, 2, 4, 0, 1, 0, 2], &[3, 0, 0, 0, 0], &[16, 0, 0, 0, 1, 3, 0, 1, 2]]
    {
        assert_eq!(answer(&image, pdu), [pdu[0] | 0x80, 3], "{pdu:?}");
    }
    assert_eq!(answer(&image, &[7]), [0x87, 1]);
}

#[test]
fn a_read_after_the_write_of_fc_23_sees_it() {
    let (writes, then) = wish(&full(), &[23, 0, 0, 0, 2, 0, 0, 0, 1, 2, 0, 10]);
    assert_eq!(writes, [(REQUEST, number(1.0))]);
    let after = image(&plant(), &[(REQUEST, good(1.0)), (SETPOINT, good(45.0))]);
    let mut out = Vec::new();
    reply::finish(&AddressSpace::new(&plant()), &after, &[23], then, &mut out);
    assert_eq!(out, [23, 4, 0, 10, 0x01, 0xC2]);
}

#[test]
fn refusals_in_the_words_of_modbus() {
    let key = || "a".to_owned();
    let side = Side::Modbus;
    for (refusal, expected) in [
        (Refusal::UnknownPoint, Exception::Address),
        (Refusal::ReadOnly { key: key() }, Exception::Address),
        (Refusal::NotAllowed { key: key(), side }, Exception::Address),
        (Refusal::WrongKind { key: key(), expected: "a state" }, Exception::Value),
        (Refusal::OutOfRange { key: key(), value: 1.0, low: 0.0, high: 0.0 }, Exception::Value),
        (Refusal::BadPriority { priority: Priority::OPERATOR, side }, Exception::Failure),
        (Refusal::Busy, Exception::Busy),
        (Refusal::ShuttingDown, Exception::Busy),
    ] {
        assert_eq!(reply::exception(&refusal), expected, "{refusal:?}");
    }
}
