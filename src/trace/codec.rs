//! Entries of a trace as lines, and back. Numbers are written with the fewest digits that read back to the same bits.

use std::fmt::Write as _;
use std::time::Duration;

use crate::decision::Decision;
use crate::engine::Event;
use crate::plant::ZoneId;
use crate::point::{Doubt, Fault, PointId, Priority, Reading, Text, Update, Value};
use crate::request::{Action, Origin, Request, Side, Write};
use crate::time::{Mono, Now, Utc};
use crate::units::Energy;

/// What is kept of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Of all of it, every bit.
    pub hash: u64,
    /// Sum of the caps of all zones, W, rounded; for people.
    pub cap_w: i64,
    /// States of the zones, for people.
    pub states: String,
}

/// A hash of a decision, FNV-1a over every field, 64 bit.
pub fn digest(decision: &Decision) -> Decided {
    let mut hash = Fnv::default();
    // Debug prints floats with the digits that make them the same again, so equal text is an equal decision.
    let _ = write!(hash, "{decision:?}");
    let states: Vec<&str> = decision.zones.iter().map(|zone| zone.state.as_str()).collect();
    let cap: f64 = decision.zones.iter().map(|zone| zone.cap.get()).sum();
    Decided { hash: hash.0, cap_w: cap.round() as i64, states: states.join(",") }
}

/// FNV-1a, 64 bit.
pub(super) struct Fnv(pub u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

/// One line, read.
#[derive(Debug)]
pub enum Entry {
    /// Something happened to the engine.
    Event(Event, Now),
    /// This came out of the event before.
    Decided(Decided),
}

/// Writes entries, each relative to the time of the one before.
#[derive(Debug, Clone)]
pub struct Encoder {
    at: Now,
}

impl Encoder {
    /// From the time in the header.
    pub const fn new(start: Now) -> Self {
        Self { at: start }
    }

    /// The time of the last entry.
    pub const fn at(&self) -> Now {
        self.at
    }

    fn time(&mut self, now: Now, out: &mut String) {
        let (mono, utc) = between(self.at, now);
        let _ = write!(out, " {mono} {utc}");
        self.at = now;
    }

    /// Whether an event that led to no decision can move a later one.
    pub const fn matters(event: &Event) -> bool {
        matches!(event, Event::Readings(_) | Event::Request { .. } | Event::Rearm { .. } | Event::Shutdown)
    }

    /// Append an event as a line.
    pub fn event(&mut self, event: &Event, now: Now, out: &mut String) {
        match event {
            Event::Tick => {
                out.push('t');
                self.time(now, out);
            }
            Event::Readings(updates) => {
                out.push('r');
                self.time(now, out);
                for update in updates {
                    let _ = write!(out, " {}=", update.point.0);
                    reading(update.reading, out);
                }
            }
            Event::Request { request, .. } => {
                out.push('q');
                self.time(now, out);
                let _ = write!(out, " {} ", request.origin.side.as_str());
                escaped(&request.origin.peer, out);
                for write in &request.writes {
                    let _ = write!(out, " {}@{}=", write.point.0, write.priority.get());
                    match write.action {
                        Action::Set(set) => value(set, out),
                        Action::Replace { seen, value: set } => {
                            value(set, out);
                            out.push('~');
                            if let Some(seen) = seen {
                                value(seen, out);
                            }
                        }
                        Action::Relinquish => out.push('-'),
                    }
                }
            }
            Event::Rearm { zone, by, .. } => {
                out.push('a');
                self.time(now, out);
                let _ = write!(out, " {} ", zone.0);
                escaped(by, out);
            }
            Event::Shutdown => {
                out.push('x');
                self.time(now, out);
            }
            // Neither moves a decision.
            Event::Durable { .. } | Event::StoreFailed => return,
        }
        out.push('\n');
    }

    /// Append a decision as a line.
    pub fn decided(&self, decided: &Decided, out: &mut String) {
        let _ = writeln!(out, "d {:016x} {} {}", decided.hash, decided.cap_w, decided.states);
    }
}

/// Nanoseconds passed, and by how many milliseconds civil time passed differently.
fn between(from: Now, to: Now) -> (u128, i64) {
    let passed = to.mono.since(from.mono);
    let civil = to.utc.millis().wrapping_sub(from.utc.millis());
    (passed.as_nanos(), civil.wrapping_sub(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)))
}

fn value(value: Value, out: &mut String) {
    let _ = match value {
        Value::Bool(yes) => write!(out, "{}", if yes { "y" } else { "n" }),
        Value::Number(number) => write!(out, "{:?}", number.get()),
        Value::Unsigned(count) => write!(out, "u{count}"),
        Value::State(state) => write!(out, "s{state}"),
        Value::Energy(energy) => write!(out, "e{}", energy.wh()),
        Value::Text(text) => {
            out.push('t');
            return escaped(text.as_str(), out);
        }
    };
}

const DOUBTS: [(Doubt, char); 4] =
    [(Doubt::Restored, 'r'), (Doubt::Stale, 's'), (Doubt::Estimated, 'e'), (Doubt::Flagged, 'f')];

const FAULTS: [(Fault, &str); 8] = [
    (Fault::NeverRead, "never"),
    (Fault::NoCommunication, "silent"),
    (Fault::Absent, "absent"),
    (Fault::Missing, "missing"),
    (Fault::NotFinite, "nan"),
    (Fault::OutOfRange, "range"),
    (Fault::Malformed, "malformed"),
    (Fault::Offline, "offline"),
];

fn reading(reading: Reading, out: &mut String) {
    match reading {
        Reading::Good(good) => value(good, out),
        Reading::Uncertain(doubtful, doubt) => {
            out.push('?');
            out.push(DOUBTS.iter().find(|row| row.0 == doubt).map_or('f', |row| row.1));
            value(doubtful, out);
        }
        Reading::Bad(Fault::Refused(code)) => {
            let _ = write!(out, "!refused{code}");
        }
        Reading::Bad(fault) => {
            out.push('!');
            out.push_str(FAULTS.iter().find(|row| row.0 == fault).map_or("malformed", |row| row.1));
        }
    }
}

/// Text without spaces and without the `~` that parts values: that, and what is not printable ASCII, is %XX of its UTF-8.
/// An empty text is "%".
fn escaped(text: &str, out: &mut String) {
    if text.is_empty() {
        out.push('%');
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    if text == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn parse_value(text: &str) -> Option<Value> {
    match text {
        "y" => return Some(Value::Bool(true)),
        "n" => return Some(Value::Bool(false)),
        _ => {}
    }
    match text.split_at_checked(1)? {
        ("u", rest) => rest.parse().ok().map(Value::Unsigned),
        ("s", rest) => rest.parse().ok().map(Value::State),
        ("t", rest) => Text::new(&unescaped(rest)?).map(Value::Text),
        ("e", rest) => rest.parse().ok().map(|wh| Value::Energy(Energy::from_wh(wh))),
        _ => Value::number(text.parse().ok()?),
    }
}

fn parse_reading(text: &str) -> Option<Reading> {
    if let Some(rest) = text.strip_prefix('?') {
        let doubt = DOUBTS.iter().find(|row| rest.starts_with(row.1))?.0;
        return Some(Reading::Uncertain(parse_value(rest.get(1..)?)?, doubt));
    }
    if let Some(rest) = text.strip_prefix('!') {
        return Some(Reading::Bad(match rest.strip_prefix("refused") {
            Some(code) => Fault::Refused(code.parse().ok()?),
            None => FAULTS.iter().find(|row| row.1 == rest)?.0,
        }));
    }
    parse_value(text).map(Reading::Good)
}

/// Reads entries in the order in which they were written.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    at: Now,
    token: u64,
}

impl Decoder {
    pub const fn new(start: Now) -> Self {
        Self { at: start, token: 0 }
    }

    /// One line; why it is none, in words.
    pub fn line(&mut self, line: &str) -> Result<Entry, String> {
        self.entry(line).ok_or_else(|| format!("`{}` is no entry", line.chars().take(60).collect::<String>()))
    }

    fn entry(&mut self, line: &str) -> Option<Entry> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        if kind == "d" {
            let hash = u64::from_str_radix(words.next()?, 16).ok()?;
            let cap_w = words.next()?.parse().ok()?;
            return Some(Entry::Decided(Decided { hash, cap_w, states: words.next().unwrap_or_default().to_owned() }));
        }
        let nanos: u64 = words.next()?.parse().ok()?;
        let drift: i64 = words.next()?.parse().ok()?;
        let passed = Duration::from_nanos(nanos);
        let civil = i64::try_from(passed.as_millis()).ok()?.checked_add(drift)?;
        let mono: Mono = self.at.mono.after(passed);
        let now = Now { mono, utc: Utc::from_millis(self.at.utc.millis().checked_add(civil)?) };
        let event = match kind {
            "t" => Event::Tick,
            "x" => Event::Shutdown,
            "r" => Event::Readings(
                words
                    .map(|word| {
                        let (point, text) = word.split_once('=')?;
                        Some(Update { point: PointId(point.parse().ok()?), reading: parse_reading(text)? })
                    })
                    .collect::<Option<_>>()?,
            ),
            "q" => {
                let side = words.next()?;
                let side = [Side::Modbus, Side::Bacnet, Side::Mqtt, Side::Local, Side::Web]
                    .into_iter()
                    .find(|known| known.as_str() == side)?;
                let peer = unescaped(words.next()?)?;
                let writes = words.map(|word| {
                    let (place, text) = word.split_once('=')?;
                    let (point, priority) = place.split_once('@')?;
                    let action = match text.split_once('~') {
                        _ if text == "-" => Action::Relinquish,
                        None => Action::Set(parse_value(text)?),
                        Some((set, "")) => Action::Replace { seen: None, value: parse_value(set)? },
                        Some((set, seen)) => {
                            Action::Replace { seen: Some(parse_value(seen)?), value: parse_value(set)? }
                        }
                    };
                    Some(Write {
                        point: PointId(point.parse().ok()?),
                        action,
                        priority: Priority::new(priority.parse().ok()?)?,
                    })
                });
                let writes = writes.collect::<Option<_>>()?;
                self.token += 1;
                Event::Request {
                    request: Request { origin: Origin { side, peer: peer.into() }, writes },
                    token: self.token,
                }
            }
            "a" => {
                let zone = ZoneId(words.next()?.parse().ok()?);
                self.token += 1;
                Event::Rearm { zone, by: unescaped(words.next()?)?, token: self.token }
            }
            _ => return None,
        };
        self.at = now;
        Some(Entry::Event(event, now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(event: &Event, from: Now, now: Now) -> (Event, Now) {
        let mut line = String::new();
        Encoder::new(from).event(event, now, &mut line);
        assert!(line.ends_with('\n') && !line.trim_end().contains('\n'));
        match Decoder::new(from).line(line.trim_end_matches('\n')).unwrap() {
            Entry::Event(event, at) => (event, at),
            Entry::Decided(_) => panic!("a decision"),
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<f64>().prop_filter_map("finite", Value::number),
            any::<u64>().prop_map(Value::Unsigned),
            any::<u16>().prop_map(Value::State),
            any::<u64>().prop_map(|wh| Value::Energy(Energy::from_wh(wh))),
            ".*".prop_filter_map("text", |text| Text::new(&text).map(Value::Text)),
        ]
    }

    fn any_reading() -> impl Strategy<Value = Reading> {
        prop_oneof![
            any_value().prop_map(Reading::Good),
            (any_value(), 0..4_usize).prop_map(|(value, n)| Reading::Uncertain(value, DOUBTS[n].0)),
            (0..8_usize).prop_map(|n| Reading::Bad(FAULTS[n].0)),
            any::<u16>().prop_map(|code| Reading::Bad(Fault::Refused(code))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn readings_come_back_to_the_bit(
            readings in proptest::collection::vec((any::<u32>(), any_reading()), 0..8),
            nanos in 0..10_u64.pow(15), utc in -(1_i64 << 50)..1_i64 << 50,
        ) {
            let from = Now { mono: Mono::from_start(Duration::from_nanos(7)), utc: Utc::from_millis(1_768_000_000_000) };
            let now = Now { mono: Mono::from_start(Duration::from_nanos(7 + nanos)), utc: Utc::from_millis(utc) };
            let updates: Vec<Update> =
                readings.into_iter().map(|(point, reading)| Update { point: PointId(point), reading }).collect();
            let (event, at) = round_trip(&Event::Readings(updates.clone()), from, now);
            prop_assert_eq!(at, now);
            let Event::Readings(back) = event else { panic!() };
            prop_assert_eq!(back, updates);
        }

        #[test]
        fn requests_come_back(peer in ".*", set in any_value(), priority in 1..=16_u8) {
            let origin = Origin { side: Side::Bacnet, peer: peer.into() };
            let priority = Priority::new(priority).unwrap();
            let writes = vec![
                Write { point: PointId(3), action: Action::Set(set), priority },
                Write { point: PointId(4), action: Action::Relinquish, priority },
                Write { point: PointId(5), action: Action::Replace { seen: Some(set), value: set }, priority },
                Write { point: PointId(6), action: Action::Replace { seen: None, value: set }, priority },
            ];
            let request = Request { origin, writes };
            let event = Event::Request { request: request.clone(), token: 99 };
            let (event, _) = round_trip(&event, Now::default(), Now::default());
            let Event::Request { request: back, .. } = event else { panic!() };
            prop_assert_eq!(back, request);
        }

        #[test]
        fn no_line_breaks_the_decoder(line in ".*") {
            let _ = Decoder::new(Now::default()).line(&line);
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for line in [
            "",
            "t",
            "t 1",
            "t x 0",
            "t -1 0",
            "r 0 0 1",
            "r 0 0 1=",
            "q 0 0 fax a",
            "q 0 0 web a 1@0=y",
            "z 0 0",
            "t 18446744073709551615 9223372036854775807",
            "d xyz 0",
            "r 0 0 1=NaN",
            "r 0 0 1=!what",
            "a 0 0 1 %zz",
        ] {
            assert!(Decoder::new(Now::default()).line(line).is_err(), "{line}");
        }
    }
}
