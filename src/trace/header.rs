//! The first line of a trace: all that a replay needs besides the events.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BadTrace;
use super::codec::Fnv;
use crate::control;
use crate::decision::{Alarm, SafetyLatch};
use crate::durable::{SavedCounter, SavedEfficiency, SavedRuntime, SavedSlot};
use crate::engine::{Restored, Settings};
use crate::mapping::{self, Files};
use crate::plant::Plant;
use crate::point::{Kind, PointKey, Priority, Value};
use crate::time::{Mono, Now, Utc};

/// The format's version.
const VERSION: u64 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The format's version.
    #[serde(rename = "heatgate_trace")]
    version: u64,
    /// The program that wrote it.
    pub program: String,
    /// The site.
    pub site: String,
    /// The boot that it is of, for telling its segments from another's.
    pub boot: String,
    /// When the gateway started, RFC 3339.
    began: String,
    /// Counts the segments of a boot, from 0.
    pub segment: u32,
    /// Entries before this segment were lost: it cannot be replayed.
    pub gap: bool,
    /// The time that its first entry counts from.
    start: (u64, i64),
    observe: bool,
    liveness: (f64, f64, f64),
    /// The mapping: the name of its root, and all files that it took.
    root: String,
    files: BTreeMap<String, String>,
    /// Of the plant as compiled.
    plant: u64,
    latches: Vec<Latch>,
    slots: Vec<Slot>,
    counters: Vec<Counter>,
    /// Zone, estimated efficiency and its variance, as text.
    efficiencies: Vec<(String, String, String)>,
    runtimes: Vec<(String, u64)>,
    new_epoch: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Latch {
    zone: String,
    cause: u8,
    since: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slot {
    key: String,
    priority: u8,
    kind: char,
    /// As text: JSON readers may round numbers.
    value: String,
    by: String,
    at: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counter {
    name: String,
    epoch: u32,
    wh: [u64; 4],
    raw_wh: Option<u64>,
    at: i64,
    intervals: u64,
    interval: (Option<i64>, u64, u64),
}

/// A number that changes when the mapping means another plant; where devices are reached does not count.
pub fn fingerprint(plant: &Plant) -> u64 {
    let mut hash = Fnv::default();
    let _ = write!(hash, "{:?}", (&plant.points, &plant.zones, &plant.heaters, &plant.meters, &plant.site));
    for device in &plant.devices {
        let _ = write!(hash, "{:?}", (&device.name, device.poll, &device.points));
    }
    hash.0
}

/// A mapping's files, as they were.
struct Kept<'a>(&'a BTreeMap<String, String>);

impl Files for Kept<'_> {
    fn read(&self, name: &str) -> Result<String, String> {
        self.0.get(name).cloned().ok_or_else(|| format!("{name} is not in the trace"))
    }
}

impl Header {
    /// For a start of the engine. `files`: the mapping's root first, by name and text.
    pub fn new(
        names: (&str, &str),
        files: &[(String, String)],
        plant: &Plant,
        settings: &Settings,
        restored: &Restored,
        start: Now,
    ) -> Self {
        // All of it, by name: what is added to the state at the start belongs here, too.
        let Restored { counters, latches, slots, efficiencies, runtimes, new_epoch } = restored;
        Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            site: names.0.to_owned(),
            boot: names.1.to_owned(),
            began: start.utc.to_string(),
            segment: 0,
            gap: false,
            start: stamp(start),
            observe: settings.control.observe,
            liveness: (settings.liveness, settings.control.liveness, settings.control.bms_liveness),
            root: files.first().map(|file| file.0.clone()).unwrap_or_default(),
            files: files.iter().cloned().collect(),
            plant: fingerprint(plant),
            latches: latches.iter().map(|(zone, latch)| Latch::of(zone, latch)).collect(),
            slots: slots.iter().map(Slot::of).collect(),
            counters: counters.iter().map(Counter::of).collect(),
            efficiencies: efficiencies
                .iter()
                .map(|saved| (saved.zone.clone(), format!("{:?}", saved.eta), format!("{:?}", saved.variance)))
                .collect(),
            runtimes: runtimes.iter().map(|saved| (saved.heater.clone(), saved.seconds)).collect(),
            new_epoch: *new_epoch,
        }
    }

    /// Make it that of the next segment, whose first entry counts from `at`. Its mapping and state are those of the start.
    pub fn advance(&mut self, at: Now, gap: bool) {
        self.segment = self.segment.saturating_add(1);
        self.gap |= gap;
        self.start = stamp(at);
    }

    /// When the gateway started, RFC 3339.
    pub fn began(&self) -> &str {
        &self.began
    }

    /// As a line.
    pub fn line(&self) -> String {
        let mut line = String::new();
        self.write_line(&mut line);
        line
    }

    /// As a line behind what there is. It holds the mapping's files, so that it is long where they are.
    pub fn write_line(&self, text: &mut String) {
        let files: usize = self.files.values().map(String::len).sum();
        // Ends of lines and quotes take a second character.
        text.reserve(files + files / 8 + 4_096);
        let before = text.len();
        let mut bytes = std::mem::take(text).into_bytes();
        if serde_json::to_writer(&mut bytes, self).is_err() {
            bytes.truncate(before);
        }
        bytes.push(b'\n');
        *text = String::from_utf8(bytes).unwrap_or_default();
    }

    /// From the first line.
    ///
    /// # Errors
    ///
    /// When it is none, or another version's.
    pub fn parse(line: &str) -> Result<Self, BadTrace> {
        #[derive(Deserialize)]
        struct Version {
            heatgate_trace: u64,
        }
        let bad = |error: serde_json::Error| BadTrace::Header(error.to_string());
        let version: Version = serde_json::from_str(line).map_err(bad)?;
        if version.heatgate_trace != VERSION {
            return Err(BadTrace::Version(version.heatgate_trace));
        }
        serde_json::from_str(line).map_err(bad)
    }

    /// The time that the first entry counts from.
    pub const fn start(&self) -> Now {
        Now { mono: Mono::from_start(Duration::from_nanos(self.start.0)), utc: Utc::from_millis(self.start.1) }
    }

    /// Whether it goes on where another segment ends.
    pub fn follows(&self, before: &Self) -> bool {
        self.boot == before.boot && self.segment == before.segment.saturating_add(1)
    }

    /// The plant, compiled from the trace's own mapping; and whether it is the one that was recorded with.
    ///
    /// # Errors
    ///
    /// When the mapping does not compile with this version.
    pub fn plant(&self) -> Result<(Plant, bool), BadTrace> {
        let compiled = mapping::compile(&self.root, &Kept(&self.files));
        let plant = compiled.plant.ok_or_else(|| {
            BadTrace::Mapping(compiled.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        let same = fingerprint(&plant) == self.plant;
        Ok((plant, same))
    }

    /// Of the plant that was recorded with.
    pub const fn fingerprint(&self) -> u64 {
        self.plant
    }

    /// How the engine was set up.
    pub fn settings(&self) -> Settings {
        let (liveness, control, bms) = self.liveness;
        let control = control::Settings { observe: self.observe, liveness: control, bms_liveness: bms };
        Settings { control, liveness }
    }

    /// The state at the start.
    pub fn restored(&self) -> Restored {
        Restored {
            counters: self.counters.iter().map(Counter::back).collect(),
            latches: self.latches.iter().filter_map(Latch::back).collect(),
            slots: self.slots.iter().filter_map(Slot::back).collect(),
            efficiencies: self
                .efficiencies
                .iter()
                .filter_map(|(zone, eta, variance)| {
                    let (eta, variance) = (eta.parse().ok()?, variance.parse().ok()?);
                    Some(SavedEfficiency { zone: zone.clone(), eta, variance })
                })
                .collect(),
            runtimes: self
                .runtimes
                .iter()
                .map(|(heater, seconds)| SavedRuntime { heater: heater.clone(), seconds: *seconds })
                .collect(),
            new_epoch: self.new_epoch,
        }
    }
}

fn stamp(now: Now) -> (u64, i64) {
    (u64::try_from(now.mono.since(Mono::START).as_nanos()).unwrap_or(u64::MAX), now.utc.millis())
}

impl Latch {
    fn of(zone: &str, latch: &SafetyLatch) -> Self {
        Self { zone: zone.to_owned(), cause: latch.cause as u8, since: latch.since.millis() }
    }

    fn back(&self) -> Option<(String, SafetyLatch)> {
        let cause = Alarm::ALL.into_iter().find(|alarm| *alarm as u8 == self.cause)?;
        Some((self.zone.clone(), SafetyLatch { cause, since: Utc::from_millis(self.since) }))
    }
}

impl Slot {
    fn of(slot: &SavedSlot) -> Self {
        let (kind, value) = match slot.value {
            Value::Bool(yes) => ('b', u8::from(yes).to_string()),
            Value::Number(number) => ('n', format!("{:?}", number.get())),
            Value::Unsigned(count) => ('u', count.to_string()),
            Value::State(state) => ('s', state.to_string()),
            Value::Energy(energy) => ('e', energy.wh().to_string()),
            // Nobody commands a text.
            Value::Text(_) => ('t', String::new()),
        };
        let (key, priority) = (slot.key.to_string(), slot.priority.get());
        Self { key, priority, kind, value, by: slot.by.clone(), at: slot.at.millis() }
    }

    fn back(&self) -> Option<SavedSlot> {
        let kind = match self.kind {
            'b' => Kind::Bool,
            'n' => Kind::Number,
            'u' => Kind::Unsigned,
            's' => Kind::State,
            _ => Kind::Energy,
        };
        Some(SavedSlot {
            key: PointKey::new(self.key.as_str()).ok()?,
            priority: Priority::new(self.priority)?,
            value: Value::from_f64(kind, self.value.parse().ok()?)?,
            by: self.by.clone(),
            at: Utc::from_millis(self.at),
        })
    }
}

impl Counter {
    fn of(c: &SavedCounter) -> Self {
        let interval = (c.interval_start.map(Utc::millis), c.interval_start_wh, c.interval_start_estimated_wh);
        Self {
            name: c.name.clone(),
            epoch: c.epoch,
            wh: [c.total_wh, c.ceiling_wh, c.flowed_wh, c.estimated_wh],
            raw_wh: c.raw_wh,
            at: c.at.millis(),
            intervals: c.intervals,
            interval,
        }
    }

    fn back(&self) -> SavedCounter {
        let [total_wh, ceiling_wh, flowed_wh, estimated_wh] = self.wh;
        let (interval_start, interval_start_wh, interval_start_estimated_wh) = self.interval;
        SavedCounter {
            name: self.name.clone(),
            epoch: self.epoch,
            total_wh,
            ceiling_wh,
            flowed_wh,
            raw_wh: self.raw_wh,
            estimated_wh,
            at: Utc::from_millis(self.at),
            intervals: self.intervals,
            interval_start: interval_start.map(Utc::from_millis),
            interval_start_wh,
            interval_start_estimated_wh,
        }
    }
}
