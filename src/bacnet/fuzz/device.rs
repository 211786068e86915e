//! The whole device under attack: its stack with an image and an engine behind it, and what must hold of whatever it says.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bacnet_encoding::apdu::header::ApduHeader;

use super::corpus::{self, PASSWORD};
use crate::bacnet::link::Peer;
use crate::bacnet::settings::{MAX_APDU, Password, Settings};
use crate::bacnet::stack::{Effect, Stack};
use crate::mapping::{BuiltinFiles, compile};
use crate::plant::{Plant, ServiceObject, ShedLevel};
use crate::point::{Image, PointKey, PriorityArray, Reading, Sample, Slot, Text, Value};
use crate::request::{Accepted, Action, Refusal, Verdict, Write};
use crate::time::{Mono, Now, Utc};

/// UDP port of the well-behaved peer, which asks whether the device still answers.
const GOOD: u16 = 1;
/// Most APDUs that one APDU may draw: its answer, and a notification to each of the subscribers.
const MOST_SENT: usize = 2100;
/// Where the site's time begins: the seeds' dates are near it.
const START_MS: i64 = 1_764_000_000_000;

/// The demonstration's plant, with a trend log and a load control where it has none.
fn plant() -> Arc<Plant> {
    static PLANT: OnceLock<Arc<Plant>> = OnceLock::new();
    let plant = PLANT.get_or_init(|| {
        let mut plant = compile("demo.toml", &BuiltinFiles).plant.unwrap_or_default();
        let commanded = plant.bacnet.iter().find(|face| {
            plant
                .point(face.point)
                .is_some_and(|def| def.commandable().is_some() && def.unit == crate::units::Unit::Watt)
        });
        let (commanded, names) = (
            commanded.map(|face| face.point),
            ["fuzz/trend", "fuzz/load_control"].map(|name| PointKey::new(name).ok()),
        );
        if let (Some(point), [Some(trend), Some(load)], true) = (commanded, names, plant.bacnet_services.is_empty()) {
            let level = |number, percent| ShedLevel { number, percent, text: "less".to_owned() };
            plant.bacnet_services.push(ServiceObject::TrendLog { instance: 1, point, name: trend, records: 50 });
            plant.bacnet_services.push(ServiceObject::LoadControl {
                instance: 1,
                name: load,
                point,
                levels: vec![level(1, 75.0), level(2, 0.0)],
            });
        }
        Arc::new(plant)
    });
    Arc::clone(plant)
}

/// A device, its plant's image, its engine and what it has kept.
#[derive(Debug)]
pub struct Device {
    stack: Stack,
    plant: Arc<Plant>,
    image: Image,
    now: Now,
    kept: BTreeMap<String, Vec<u8>>,
    asked: u32,
    /// Requests to the engine so far; every eighth finds it busy.
    submitted: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self::with(&BTreeMap::new())
    }
}

impl Device {
    /// A start with what an earlier life kept.
    pub fn with(kept: &BTreeMap<String, Vec<u8>>) -> Self {
        let plant = plant();
        let now = Now { mono: Mono::START, utc: Utc::from_millis(START_MS) };
        let mut image = Image::empty(plant.points.len(), now);
        for def in &plant.points {
            if let (Some(command), Some(state)) = (def.commandable(), image.get_mut(def.id)) {
                state.sample.reading = Reading::Good(command.relinquish_default);
                state.slots = Some(Arc::new(PriorityArray::default()));
            }
        }
        let settings = Settings { password: Password::new(PASSWORD), ..Settings::default() };
        let mut stack = Stack::new(Arc::clone(&plant), settings);
        for (key, value) in kept {
            stack.restore(key, value);
        }
        stack.revive(&image);
        stack.begin(Now::default());
        stack.hello(Now::default(), &mut Vec::new());
        let mut device = Self { stack, plant, image, now, kept: kept.clone(), asked: 0, submitted: 0 };
        device.look();
        device
    }

    /// What it has kept so far.
    pub const fn kept(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.kept
    }

    /// An APDU from a peer on the link; how many answers it drew.
    pub fn hear(&mut self, port: u16, group: bool, apdu: &[u8]) -> usize {
        let peer = Peer::local(([10, 0, 0, 9], port).into());
        let mut effects = Vec::new();
        self.stack.on_apdu(peer, group, apdu, &self.image, self.now, &mut effects);
        self.carry_out(effects, Some((peer, apdu)))
    }

    /// Time passes; the site's clock may be set meanwhile.
    pub fn wait(&mut self, by: Duration, clock_ms: i64) {
        self.now.mono = self.now.mono.after(by);
        let passed = i64::try_from(by.as_millis()).unwrap_or(0);
        self.now.utc = Utc::from_millis(self.now.utc.millis().saturating_add(passed).saturating_add(clock_ms));
        self.image.now = self.now;
        if self.stack.wake().is_some_and(|wake| wake <= self.now.mono) {
            let mut effects = Vec::new();
            self.stack.on_time(&self.image, self.now, &mut effects);
            self.carry_out(effects, None);
        }
    }

    /// A point reads something else.
    pub fn change(&mut self, place: usize, number: u16) {
        let Some(def) = self.plant.points.get(place % self.plant.points.len().max(1)) else { return };
        let value = match def.kind {
            crate::point::Kind::Number => Value::number(f64::from(number) / 7.0),
            crate::point::Kind::Bool => Some(Value::Bool(number % 2 == 1)),
            crate::point::Kind::Unsigned => Some(Value::Unsigned(number.into())),
            crate::point::Kind::State => Some(Value::State(number % 5 + 1)),
            crate::point::Kind::Energy => None,
            crate::point::Kind::Text => Text::new(&number.to_string()).map(Value::Text),
        };
        let (id, now) = (def.id, self.now);
        self.image.seq += 1;
        let seq = self.image.seq;
        if let (Some(value), Some(state)) = (value, self.image.get_mut(id)) {
            state.sample = Sample { reading: Reading::Good(value), at: now };
            state.last = Some(value);
            state.changed = seq;
        }
        self.look();
    }

    fn look(&mut self) {
        let mut effects = Vec::new();
        self.stack.on_image(&self.image, self.now, &mut effects);
        self.carry_out(effects, None);
    }

    /// Ask it for its name, as a well-behaved peer; where it was silenced it is allowed to speak first.
    pub fn answers(&mut self) {
        self.asked = self.asked.wrapping_add(1);
        let invoke = u8::try_from(self.asked % 256).unwrap_or(0);
        let enable = corpus::request(2, 0x75, invoke, 17, b"\x19\0\x2d\x05\0fuzz");
        assert_eq!(self.hear(GOOD, false, &enable), 1, "DeviceCommunicationControl is answered");
        let question = corpus::request(2, 0x75, invoke.wrapping_add(128), 12, b"\x0c\x02\0\xb7\x99\x19\x4d");
        assert_eq!(self.hear(GOOD, false, &question), 1, "ReadProperty is answered");
    }

    /// Do what the stack wants; how many answers there were to the request that drew it.
    fn carry_out(&mut self, effects: Vec<Effect>, drawn_by: Option<(Peer, &[u8])>) -> usize {
        let (mut answers, mut sent) = (0, 0);
        for effect in effects {
            match effect {
                Effect::Send { peer, apdu, .. } => {
                    sent += 1;
                    well_formed(&apdu);
                    if let Some((asker, request)) = drawn_by
                        && asker == peer
                        && answer_to(request, &apdu)
                    {
                        answers += 1;
                    }
                }
                Effect::Broadcast(apdu) | Effect::BroadcastOn(_, apdu) => {
                    sent += 1;
                    well_formed(&apdu);
                }
                Effect::Keep(keepsake) => match keepsake.value {
                    Some(value) => drop(self.kept.insert(keepsake.key, value)),
                    None => drop(self.kept.remove(&keepsake.key)),
                },
                Effect::Submit(ticket, _, writes) => {
                    let verdict = self.engine(&writes);
                    let mut more = Vec::new();
                    self.stack.on_verdict(ticket, &verdict, self.now, &mut more);
                    self.stack.on_image(&self.image, self.now, &mut more);
                    answers += self.carry_out(more, drawn_by);
                }
                _ => {}
            }
        }
        assert!(sent <= MOST_SENT, "{sent} APDUs at once");
        assert!(answers <= 1, "{answers} answers to one request");
        answers
    }

    /// An engine that takes what a point can take.
    fn engine(&mut self, writes: &[Write]) -> Verdict {
        assert!(!writes.is_empty(), "a write of nothing");
        self.submitted = self.submitted.wrapping_add(1);
        if self.submitted.is_multiple_of(8) {
            return Err(Refusal::Busy);
        }
        for write in writes {
            let def = self.plant.point(write.point).ok_or(Refusal::UnknownPoint)?;
            let Some(command) = def.commandable() else { return Err(Refusal::UnknownPoint) };
            let default = command.relinquish_default;
            let (id, now) = (def.id, self.now);
            self.image.seq += 1;
            let seq = self.image.seq;
            let Some(state) = self.image.get_mut(id) else { continue };
            let mut slots = state.slots.as_deref().cloned().unwrap_or_default();
            match write.action {
                Action::Set(value) | Action::Replace { value, .. } => {
                    assert_eq!(value.kind(), def.kind, "a value of another kind reaches the engine");
                    slots.set(write.priority, Slot { value, at: now, by: "fuzz".into(), restored: false });
                }
                Action::Relinquish => drop(slots.relinquish(write.priority)),
            }
            let value = slots.ruling().map_or(default, |(_, slot)| slot.value);
            state.sample = Sample { reading: Reading::Good(value), at: now };
            state.changed = seq;
            state.slots = Some(Arc::new(slots));
        }
        Ok(Accepted { image_seq: self.image.seq })
    }
}

/// Whether an APDU answers a request that is not in segments: its invoke id stands where the answer has it.
fn answer_to(request: &[u8], apdu: &[u8]) -> bool {
    let [kind, _, invoke, ..] = *request else { return false };
    // Only the first segment answers; SegmentACKs and notifications do not.
    let first = !matches!(apdu, [kind, _, sequence, ..] if kind & 0xF8 == 0x38 && *sequence != 0);
    kind & 0xF8 == 0 && first && matches!(apdu, [0x20..=0x3F | 0x50..=0x7F, ..]) && apdu.get(1) == Some(&invoke)
}

/// Whether a confirmed request must be answered: whole, unsegmented, and readable to its service choice.
pub fn wants_answer(apdu: &[u8]) -> bool {
    matches!(apdu, [kind, ..] if kind >> 4 == 0 && kind & 0x08 == 0)
        && matches!(ApduHeader::decode(apdu), Ok((ApduHeader::ConfirmedRequest(_), _)))
}

/// What we send can be read again, and fits into a frame.
fn well_formed(apdu: &[u8]) {
    assert!(apdu.len() <= usize::from(MAX_APDU), "{} octets in one APDU", apdu.len());
    let whole = match apdu {
        [0x20, _, _] | [0x60, _, _] | [0x71, _, _] | [0x41 | 0x43, _, _, _] => true,
        // Error: class and code, as two enumerations (clause 21), or nested where a service has more to say.
        [0x50, _, _, 0x91, _, 0x91, _] | [0x50, _, _, 0x0E, ..] => true,
        [0x00 | 0x02, _, _, _, ..] | [0x10, _, ..] | [0x30, _, _, ..] | [0x38 | 0x3C, _, _, _, _, ..] => true,
        _ => false,
    };
    assert!(whole, "an APDU of ours is none: {apdu:02x?}");
}
