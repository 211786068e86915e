//! One point that is mirrored into a device. Pure.
//!
//! ```text
//!  unknown ──write──► written ──read back, same──► held ──moved, or `refresh` passed──► write again
//!     ▲                  │ refused, or another value
//!     └──after RETRY─────┴── the device was lost or restarted: unknown
//!  no good value: Null once ──► relinquished
//! ```

use std::time::Duration;

use super::wire::{Ask, Found, Item};
use super::{CallError, Datum};
use crate::plant::{DeviceWrite, ObjectClass, PRESENT_VALUE, PropertyPlace, WritePlace};
use crate::point::{Image, Kind, PointId, Reading, Value};
use crate::time::Mono;

/// How long after a write that failed it is tried again, on the wall.
const RETRY: Duration = Duration::from_secs(10);
/// How long a point may be without a good value after the start before its slot is relinquished: a restart of ours must
/// not let the device fall to its default for a moment.
const GRACE: Duration = Duration::from_secs(10);
/// Priority_Array (clause 21).
const PRIORITY_ARRAY: u32 = 87;

/// What the device has of us.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    /// Nobody knows.
    Unknown,
    /// Nothing: relinquished.
    Nothing,
    /// This value, written and read back at that time.
    Value(Value, Mono),
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    Nothing,
    Writing(Option<Value>),
    ReadingBack(Value),
}

/// One output.
#[derive(Debug)]
pub(super) struct Output {
    point: PointId,
    kind: Kind,
    place: PropertyPlace,
    priority: u8,
    deadband: f64,
    refresh: Duration,
    wanted: Option<Value>,
    held: Held,
    doing: Doing,
    /// A slot of a Priority_Array can be read back.
    array: bool,
    /// Something was written, so that there is something to relinquish.
    touched: bool,
    /// Not before.
    due: Mono,
}

impl Output {
    /// `None` when it is no property.
    pub(super) fn new(write: &DeviceWrite, kind: Kind, refresh: Duration) -> Option<Self> {
        let WritePlace::Property { place, priority } = &write.place else { return None };
        Some(Self {
            point: write.point,
            kind,
            array: place.property == PRESENT_VALUE,
            place: place.clone(),
            priority: priority.get(),
            deadband: write.deadband,
            refresh,
            wanted: None,
            held: Held::Unknown,
            doing: Doing::Nothing,
            touched: false,
            due: Mono::START,
        })
    }

    /// The newest image.
    pub(super) fn on_image(&mut self, image: &Image) {
        self.wanted = match image.reading(self.point) {
            Reading::Good(value) if value.kind() == self.kind => Some(value),
            _ => None,
        };
    }

    /// The device was found, or may have forgotten everything. Not all outputs are written at once after a loss: `due`
    /// stays where a refusal put it.
    pub(super) fn forget(&mut self) {
        self.held = Held::Unknown;
        self.doing = Doing::Nothing;
    }

    /// What is to be written: a value, Null, or nothing.
    fn wish(&self, now: Mono, up: Mono) -> Option<Option<Value>> {
        if self.doing != Doing::Nothing || now < self.due {
            return None;
        }
        match (self.wanted, self.held) {
            (Some(wanted), Held::Value(held, at)) => {
                (self.moved(wanted, held) || now.since(at) >= self.refresh).then_some(Some(wanted))
            }
            (Some(wanted), _) => Some(Some(wanted)),
            (None, Held::Nothing) => None,
            (None, Held::Unknown) => (now.since(up) >= GRACE).then_some(None),
            (None, Held::Value(..)) => Some(None),
        }
    }

    fn moved(&self, wanted: Value, held: Value) -> bool {
        match self.kind {
            Kind::Number => (wanted.as_f64() - held.as_f64()).abs() > self.deadband,
            _ => wanted != held,
        }
    }

    /// The next request, if any. `up`: since when the device answers.
    pub(super) fn next(&mut self, now: Mono, up: Mono) -> Option<Ask> {
        let wish = self.wish(now, up)?;
        self.doing = Doing::Writing(wish);
        self.touched = true;
        let value = wish.map_or(Datum::Null, |value| self.datum(value));
        Some(Ask::Write { item: self.item(), value, priority: Some(self.priority) })
    }

    /// Let go, whatever is wanted: the gateway goes down.
    pub(super) fn release(&mut self) -> Option<Ask> {
        if !self.touched || self.held == Held::Nothing || self.doing == Doing::Writing(None) {
            return None;
        }
        self.doing = Doing::Writing(None);
        Some(Ask::Write { item: self.item(), value: Datum::Null, priority: Some(self.priority) })
    }

    const fn item(&self) -> Item {
        Item { object: self.place.object, property: self.place.property, index: None }
    }

    fn slot(&self) -> Item {
        let index = self.array.then_some(u32::from(self.priority));
        let property = if self.array { PRIORITY_ARRAY } else { self.place.property };
        Item { object: self.place.object, property, index }
    }

    /// A write was answered: the next request, or what went wrong.
    pub(super) fn on_written(
        &mut self,
        answer: &Result<Vec<Found>, CallError>,
        now: Mono,
    ) -> Result<Option<Ask>, &'static str> {
        let Doing::Writing(written) = self.doing else { return Ok(None) };
        self.doing = Doing::Nothing;
        match (answer, written) {
            (Ok(_), None) => {
                self.held = Held::Nothing;
                Ok(None)
            }
            (Ok(_), Some(value)) => {
                self.doing = Doing::ReadingBack(value);
                Ok(Some(Ask::Read(self.slot())))
            }
            (Err(_), _) => {
                self.held = Held::Unknown;
                self.due = now.after(RETRY);
                Err("write refused")
            }
        }
    }

    /// What was read back: one more request, or what is wrong with it.
    pub(super) fn on_read_back(
        &mut self,
        answer: &Result<Vec<Found>, CallError>,
        now: Mono,
    ) -> Result<Option<Ask>, &'static str> {
        let Doing::ReadingBack(value) = self.doing else { return Ok(None) };
        let found = match answer {
            Ok(found) => found.first().cloned(),
            Err(CallError::Error { class, code }) => Some(Err((*class, *code))),
            Err(_) => None,
        };
        if let (Some(Err(_)), true) = (&found, self.array) {
            // No priorities: then the value itself is what was written.
            self.array = false;
            return Ok(Some(Ask::Read(self.slot())));
        }
        self.doing = Doing::Nothing;
        let read = match &found {
            Some(Ok(datum)) => super::reading::value(&self.place, self.kind, datum).ok(),
            _ => None,
        };
        if read.is_some_and(|read| self.same(read, value)) {
            self.held = Held::Value(value, now);
            return Ok(None);
        }
        self.held = Held::Unknown;
        self.due = now.after(RETRY);
        Err("read back differs")
    }

    /// Equal up to what a REAL can hold, or the deadband.
    fn same(&self, read: Value, written: Value) -> bool {
        let (read, written) = (read.as_f64(), written.as_f64());
        (read - written).abs() <= self.deadband.max(written.abs() * 1e-6)
    }

    /// When it wants to be asked again.
    pub(super) fn wake(&self, now: Mono, up: Mono) -> Option<Mono> {
        if self.doing != Doing::Nothing {
            return None;
        }
        if now < self.due {
            return Some(self.due);
        }
        match (self.wanted, self.held) {
            (Some(wanted), Held::Value(held, _)) if self.moved(wanted, held) => Some(now),
            (Some(_), Held::Value(_, at)) => Some(at.after(self.refresh)),
            (Some(_), _) | (None, Held::Value(..)) => Some(now),
            (None, Held::Unknown) => Some(up.after(GRACE).max(now)),
            (None, Held::Nothing) => None,
        }
    }

    /// The value as the device takes it.
    fn datum(&self, value: Value) -> Datum {
        let raw = self.place.encode(value);
        let class = if self.place.property == PRESENT_VALUE { self.place.object.class() } else { ObjectClass::Other };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts of floats saturate; what does not fit is refused by the device or read back as another"
        )]
        match (class, self.kind) {
            (ObjectClass::Analog, _) | (ObjectClass::Other, Kind::Number) => Datum::Real(raw as f32),
            (ObjectClass::Large, _) => Datum::Double(raw),
            (ObjectClass::Binary, _) => Datum::Enumerated(raw.round() as u32),
            // integer-value
            (ObjectClass::Count, _) if self.place.object.kind == 45 => Datum::Signed(raw.round() as i32),
            (ObjectClass::Other, Kind::Bool) => Datum::Bool(value.as_bool()),
            (ObjectClass::MultiState | ObjectClass::Count | ObjectClass::Other, _) => {
                Datum::Unsigned(raw.round() as u64)
            }
        }
    }
}
