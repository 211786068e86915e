//! One device as its machine sees it, in its own time.

use std::time::Duration;

use super::machine::{Machine, News};
use super::output::Output;
use super::wire::{Ask, Found, Item};
use super::{CallError, Datum, ObjectRef};
use crate::plant::{
    Cov, Device, DeviceId, DevicePlace, DevicePoint, DeviceWrite, Link, PRESENT_VALUE, Plant, PointDef, PropertyPlace,
    Source, WritePlace,
};
use crate::point::{Doubt, Fault, Image, Kind, PointId, PointKey, Priority, Reading, Sample, Update, Value};
use crate::time::{Mono, Now, Utc};
use crate::units::Unit;

const POLL: Duration = Duration::from_secs(10);

/// A device as it may be, and what it has.
struct Field {
    machine: Machine,
    now: Mono,
    multiple: bool,
    cov: bool,
    max_apdu: u64,
    /// Its values by instance, all analog inputs; `None`: no such object.
    values: Vec<Option<f32>>,
    flags: u8,
    slot: Datum,
    silent: bool,
    asked: Vec<Ask>,
}

const OUTPUT: PointId = PointId(1000);

fn plant(count: u32, cov: Cov) -> (Plant, Device) {
    let mut plant = Plant::default();
    for n in 0..=OUTPUT.0 {
        plant.points.push(PointDef {
            id: PointId(n),
            key: PointKey::new(format!("p/{n}")).unwrap(),
            description: String::new(),
            kind: Kind::Number,
            unit: Unit::Celsius,
            range: None,
            absent: None,
            texts: Vec::new(),
            source: Source::Device(DeviceId(0)),
            deadband: 0.0,
        });
    }
    let place = |instance| PropertyPlace {
        object: ObjectRef { kind: 0, instance },
        property: PRESENT_VALUE,
        scale: 1.0,
        offset: 0.0,
        cov,
    };
    let points =
        (0..count).map(|n| DevicePoint { point: PointId(n), place: DevicePlace::Property(place(n)), poll: None });
    let link = Link::Bacnet { instance: 1201, address: None };
    let mut device = Device::new(DeviceId(0), "ahu".into(), link, PointId(999));
    device.points = points.collect();
    (plant, device)
}

fn output() -> Output {
    let object = ObjectRef { kind: 2, instance: 7 };
    let place = PropertyPlace { object, property: PRESENT_VALUE, scale: 1.0, offset: 0.0, cov: Cov::Own };
    let write = DeviceWrite {
        point: OUTPUT,
        place: WritePlace::Property { place, priority: Priority::new(14).unwrap() },
        deadband: 0.5,
        refresh: Duration::from_secs(60),
    };
    Output::new(&write, Kind::Number, write.refresh).unwrap()
}

fn image(reading: Reading) -> Image {
    let mut image = Image::empty(1001, Now::default());
    image.get_mut(OUTPUT).unwrap().sample = Sample { reading, at: Now { mono: Mono::START, utc: Utc::default() } };
    image
}

fn number(number: f64) -> Value {
    Value::number(number).unwrap()
}

impl Field {
    fn new(count: u32, cov: Cov) -> Self {
        let (plant, device) = plant(count, cov);
        Self {
            machine: Machine::new(&plant, &device, 1201, 1, &|site| site),
            now: Mono::START,
            multiple: true,
            cov: true,
            max_apdu: 1476,
            values: (0..count).map(|_| Some(20.0)).collect(),
            flags: 0,
            slot: Datum::Null,
            silent: false,
            asked: Vec::new(),
        }
    }

    fn writing(mut self) -> Self {
        self.machine = self.machine.writing(vec![output()]);
        self
    }

    fn find(&self, item: &Item) -> Found {
        let services: Vec<u8> = {
            let mut bits = [0u8; 6];
            let mut set = |bit: usize| bits[bit / 8] |= 0x80 >> (bit % 8);
            if self.multiple {
                set(14);
            }
            if self.cov {
                set(5);
            }
            bits.to_vec()
        };
        let value = |instance: u32| self.values.get(instance as usize).copied().flatten();
        match (item.object.kind, item.property) {
            (8, 97) => Ok(Datum::Other([&[0x85, 7, 0][..], &services].concat())),
            (8, 62) => Ok(Datum::Unsigned(self.max_apdu)),
            (8, 155) => Ok(Datum::Unsigned(1)),
            (0, 85) => value(item.object.instance).map(Datum::Real).ok_or((1, 31)),
            (0, 111) => Ok(Datum::Other(vec![0x82, 4, self.flags])),
            (0, 22) => Ok(Datum::Real(1.0)),
            (2, 87) => Ok(self.slot.clone()),
            _ => Err((2, 32)),
        }
    }

    /// Let it ask and be answered until it wants nothing more now.
    fn settle(&mut self) -> Vec<Update> {
        let mut most = 0;
        loop {
            let mut batch = Vec::new();
            while let Some(next) = self.machine.next(self.now) {
                batch.push(next);
            }
            if batch.is_empty() {
                return self.machine.take_updates();
            }
            most = most.max(batch.len());
            assert!(most <= 4, "more at a time than a device takes");
            for (ticket, ask) in batch {
                let answer = self.answer(&ask);
                self.asked.push(ask);
                self.machine.on_answer(ticket, answer, self.now);
            }
        }
    }

    fn answer(&mut self, ask: &Ask) -> Result<Vec<Found>, CallError> {
        if self.silent {
            return Err(CallError::Silent);
        }
        match ask {
            Ask::Read(item) => match self.find(item) {
                Ok(datum) => Ok(vec![Ok(datum)]),
                Err((class, code)) => Err(CallError::Error { class, code }),
            },
            Ask::ReadMany(_) if !self.multiple => Err(CallError::Rejected(9)),
            Ask::ReadMany(items) if items.len() as u64 * 8 > self.max_apdu => Err(CallError::Aborted(4)),
            Ask::ReadMany(items) => Ok(items.iter().map(|item| self.find(item)).collect()),
            Ask::Subscribe { .. } if !self.cov => Err(CallError::Rejected(9)),
            Ask::Subscribe { .. } | Ask::Cancel { .. } => Ok(Vec::new()),
            Ask::Write { value, priority, .. } => {
                assert_eq!(*priority, Some(14));
                self.slot = value.clone();
                Ok(Vec::new())
            }
        }
    }

    fn wait(&mut self, by: Duration) -> Vec<Update> {
        self.now = self.now.after(by);
        self.asked.clear();
        self.settle()
    }

    fn count(&self, of: impl Fn(&Ask) -> bool) -> usize {
        self.asked.iter().filter(|ask| of(ask)).count()
    }

    fn tell(&mut self, instance: u32, value: f32) -> Vec<Update> {
        let values = [(85, Datum::Real(value)), (111, Datum::Other(vec![0x82, 4, 0]))];
        self.machine.on_told(ObjectRef { kind: 0, instance }, &values);
        self.machine.take_updates()
    }

    /// All points with their initial notifications.
    fn subscribed(mut self) -> Self {
        self.settle();
        for n in 0..self.values.len() {
            if let Some(value) = self.values[n] {
                self.tell(u32::try_from(n).unwrap(), value);
            }
        }
        self.asked.clear();
        self.machine.take_news();
        self
    }
}

const fn subscribes(ask: &Ask) -> bool {
    matches!(ask, Ask::Subscribe { .. })
}

fn good(updates: &[Update]) -> usize {
    updates.iter().filter(|update| matches!(update.reading, Reading::Good(Value::Number(_)))).count()
}

#[test]
fn everything_is_read_in_batches_that_fit_and_subscribed() {
    let mut field = Field::new(100, Cov::Own);
    let updates = field.settle();
    assert_eq!(good(&updates), 100);
    assert_eq!(field.count(|ask| matches!(ask, Ask::ReadMany(_))), 3, "43 points fit into 1,476 octets");
    assert_eq!(field.count(subscribes), 100);
    assert!(field.asked.iter().all(|ask| !matches!(ask, Ask::Subscribe { confirmed: false, .. })));
    // a third of what is subscribed at each poll, all of it in three
    let read: usize = (0..3).map(|_| good(&field.wait(POLL))).sum();
    assert_eq!(read, 100);
    assert_eq!(field.count(subscribes), 0);
}

#[test]
fn what_is_not_subscribed_is_read_at_every_poll() {
    let mut field = Field::new(10, Cov::No);
    field.settle();
    assert_eq!(field.count(subscribes), 0);
    assert_eq!(good(&field.wait(POLL)), 10);
    let mut field = Field::new(10, Cov::Own);
    field.cov = false;
    field.settle();
    assert_eq!(good(&field.wait(POLL)), 10);
}

#[test]
fn a_point_may_have_a_poll_of_its_own() {
    let (plant, mut device) = plant(2, Cov::No);
    device.points[1].poll = Some(POLL * 4);
    let mut field = Field::new(2, Cov::No);
    field.machine = Machine::new(&plant, &device, 1201, 1, &|site| site);
    field.settle();
    let read: Vec<usize> = (0..8).map(|_| good(&field.wait(POLL))).collect();
    assert_eq!(read.iter().sum::<usize>(), 8 + 2);
}

#[test]
fn a_device_without_multiple_reads_is_read_one_by_one() {
    let mut field = Field::new(5, Cov::Own);
    field.multiple = false;
    assert_eq!(good(&field.settle()), 5);
    assert_eq!(field.count(|ask| matches!(ask, Ask::ReadMany(_))), 0);
    // Reliability is not there, and not asked for again.
    field.wait(POLL * 3);
    assert_eq!(field.count(|ask| matches!(ask, Ask::Read(item) if item.property == 103)), 0);
}

#[test]
fn what_is_too_much_for_a_device_is_halved() {
    let mut field = Field::new(100, Cov::No);
    field.settle();
    field.max_apdu = 300;
    let updates = field.wait(POLL);
    assert_eq!(good(&updates), 100);
}

#[test]
fn an_unknown_object_is_a_fault_of_its_point_alone_and_flags_are_seen() {
    let mut field = Field::new(3, Cov::Own);
    field.values[1] = None;
    let updates = field.settle();
    let of = |updates: &[Update], n| updates.iter().rev().find(|update| update.point == PointId(n)).unwrap().reading;
    assert_eq!(of(&updates, 0), Reading::Good(number(20.0)));
    assert_eq!(of(&updates, 1), Reading::Bad(Fault::Refused(31)));
    assert_eq!(of(&updates, 999), Reading::Good(Value::Bool(true)));
    field.flags = 0x10;
    let updates = field.wait(POLL * 3);
    let updates = [updates, field.wait(POLL), field.wait(POLL)].concat();
    assert_eq!(of(&updates, 2), Reading::Uncertain(number(20.0), Doubt::OutOfService));
}

#[test]
fn subscriptions_are_renewed_at_half_their_life() {
    let mut field = Field::new(3, Cov::Own).subscribed();
    field.wait(Duration::from_secs(149));
    assert_eq!(field.count(subscribes), 0);
    field.wait(Duration::from_secs(1));
    assert_eq!(field.count(subscribes), 3);
}

#[test]
fn a_device_that_forgets_its_subscriptions_is_subscribed_again() {
    let mut field = Field::new(3, Cov::Own).subscribed();
    // Below the increment nothing has to be told.
    field.values = vec![Some(20.9); 3];
    for _ in 0..4 {
        field.wait(POLL);
        assert_eq!(field.count(subscribes), 0);
    }
    field.values = vec![Some(22.0); 3];
    // Told late is told.
    field.wait(POLL);
    (0..3).for_each(|n| drop(field.tell(n, 22.0)));
    for _ in 0..4 {
        field.wait(POLL);
        assert_eq!(field.count(subscribes), 0);
    }
    field.values = vec![Some(30.0); 3];
    let mut polls = 0;
    while field.count(subscribes) == 0 {
        polls += 1;
        assert!(polls < 4, "it is seen within a round and one poll");
        field.wait(POLL);
    }
    assert_eq!(field.count(subscribes), 3);
    assert_eq!(field.machine.take_news(), [News::Resubscribed]);
}

#[test]
fn an_i_am_that_nobody_asked_for_is_a_restart() {
    let mut field = Field::new(3, Cov::Own).subscribed();
    field.machine.on_i_am(true, field.now);
    field.settle();
    assert_eq!(field.count(subscribes), 0);
    field.machine.on_i_am(false, field.now);
    field.machine.on_i_am(false, field.now);
    field.settle();
    assert_eq!(field.count(subscribes), 3);
    assert_eq!(field.machine.take_news(), [News::Restarted]);
}

#[test]
fn a_silent_device_is_lost_at_once_and_probed_at_a_back_off() {
    let mut field = Field::new(3, Cov::Own).subscribed();
    field.silent = true;
    let updates = field.wait(POLL);
    let bad = |updates: &[Update]| {
        updates.iter().filter(|update| update.reading == Reading::Bad(Fault::NoCommunication)).count()
    };
    assert_eq!(bad(&updates), 3);
    assert_eq!(updates.last().unwrap().reading, Reading::Good(Value::Bool(false)));
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(field.machine.wake(field.now), Some(field.now.after(Duration::from_secs(wait))));
        field.wait(Duration::from_secs(wait) - Duration::from_millis(1));
        assert_eq!(field.asked.len(), 0);
        field.wait(Duration::from_millis(1));
        assert_eq!(field.asked.len(), 1, "a probe is one request");
    }
    // It says that it is back.
    field.silent = false;
    field.machine.on_i_am(false, field.now);
    assert_eq!(good(&field.wait(Duration::ZERO)), 3);
    assert_eq!(field.count(subscribes), 3);
}

#[test]
fn an_answer_that_a_notification_overtook_is_not_believed() {
    let mut field = Field::new(1, Cov::No).subscribed();
    field.now = field.now.after(POLL);
    let (ticket, ask) = std::iter::from_fn(|| field.machine.next(field.now))
        .find(|(_, ask)| matches!(ask, Ask::ReadMany(items) if items.iter().any(|item| item.property == 85)))
        .unwrap_or_else(|| panic!("nothing is read"));
    let old = field.answer(&ask);
    field.tell(0, 25.0);
    field.machine.on_answer(ticket, old, field.now);
    assert_eq!(good(&field.machine.take_updates()), 0);
}

#[test]
fn what_is_written_is_read_back_refreshed_and_released() {
    const fn writes(ask: &Ask) -> bool {
        matches!(ask, Ask::Write { .. })
    }
    let mut field = Field::new(1, Cov::Own).writing().subscribed();
    assert_eq!(field.slot, Datum::Null);
    field.machine.on_image(&image(Reading::Good(number(40.0))));
    field.wait(Duration::ZERO);
    assert_eq!(field.slot, Datum::Real(40.0));
    assert_eq!(field.count(|ask| matches!(ask, Ask::Read(item) if item.property == 87 && item.index == Some(14))), 1);
    // within the deadband, then beyond it
    field.machine.on_image(&image(Reading::Good(number(40.5))));
    field.wait(Duration::from_secs(1));
    assert_eq!(field.count(writes), 0);
    field.machine.on_image(&image(Reading::Good(number(40.6))));
    field.wait(Duration::from_secs(1));
    assert_eq!(field.slot, Datum::Real(40.6));
    // nothing changed, and the time has come
    field.wait(Duration::from_secs(59));
    assert_eq!(field.count(writes), 0);
    field.wait(Duration::from_secs(1));
    assert_eq!(field.count(writes), 1);
    // it has restarted
    field.slot = Datum::Null;
    field.machine.on_i_am(false, field.now);
    field.wait(Duration::from_secs(1));
    assert_eq!(field.slot, Datum::Real(40.6));
    // no good value any more, then one again
    field.machine.on_image(&image(Reading::Uncertain(number(40.6), Doubt::Stale)));
    field.wait(Duration::from_secs(1));
    assert_eq!(field.slot, Datum::Null);
    field.machine.on_image(&image(Reading::Good(number(41.0))));
    field.wait(Duration::from_secs(1));
    assert_eq!(field.slot, Datum::Real(41.0));
    field.machine.release();
    assert!(!field.machine.released());
    field.settle();
    assert_eq!(field.slot, Datum::Null);
    assert_eq!(field.count(|ask| matches!(ask, Ask::Cancel { .. })), 1, "it is told that nobody listens any more");
    assert!(field.machine.released());
}

#[test]
fn a_restart_of_ours_relinquishes_only_what_stays_without_a_value() {
    let mut field = Field::new(1, Cov::Own).writing();
    field.slot = Datum::Real(40.0);
    field.settle();
    field.wait(Duration::from_secs(9));
    assert_eq!(field.slot, Datum::Real(40.0));
    field.wait(Duration::from_secs(1));
    assert_eq!(field.slot, Datum::Null);
}
