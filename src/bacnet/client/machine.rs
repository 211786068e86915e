//! One device: what it can, what is due, what is subscribed. Pure: answers, notifications and the time come in, requests
//! and readings go out.
//!
//! ```text
//!  down ──back-off, or its I-Am──► meeting: what can it? ──► up ──a request without any answer──► down
//! ```
//! Up, every poll: what is not subscribed is read, a third of what is subscribed, and the device's own marks of a restart.
//! A subscription is renewed at half its life. It is confirmed: an unconfirmed notification that is lost is lost for
//! everybody, and the device, whose retries cost it one acknowledgement each, is the only one that knows. All are made
//! again when the device has restarted (Database_Revision, Time_Of_Device_Restart, an I-Am that nobody asked for), and
//! when a value twice differs from what it told: then it has dropped them silently.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::output::Output;
use super::reading::{self, Flags, reading};
use super::wire::{Ask, Found, Item, bits};
use super::{CallError, Datum};
use crate::bacnet::settings::MAX_APDU;
use crate::plant::{Cov, Device, ObjectClass, ObjectRef, PRESENT_VALUE, Plant, PropertyPlace};
use crate::point::{Fault, Image, Kind, PointId, Reading, Update, Value};
use crate::ports::Batch;
use crate::time::Mono;

/// Property identifiers (clause 21).
mod property {
    pub const COV_INCREMENT: u32 = 22;
    pub const MAX_APDU: u32 = 62;
    pub const SERVICES: u32 = 97;
    pub const RELIABILITY: u32 = 103;
    pub const STATUS_FLAGS: u32 = 111;
    pub const REVISION: u32 = 155;
    pub const RESTARTED: u32 = 203;
}

/// Bits of Protocol_Services_Supported.
mod service {
    pub const SUBSCRIBE_COV: usize = 5;
    pub const READ_MULTIPLE: usize = 14;
    pub const SUBSCRIBE_PROPERTY: usize = 38;
}

/// Requests to one device at a time; one where it is small.
const WINDOW: usize = 4;
/// A device that takes less is taken for one on a serial network.
const SMALL_APDU: u16 = 1024;
/// Octets that the answer for one point takes, with flags and reliability.
const POINT_OCTETS: usize = 34;
/// How many points one ReadPropertyMultiple asks a device for whose answers have so many octets.
pub const fn points_in(octets: u16) -> usize {
    let points = (octets as usize).saturating_sub(8) / POINT_OCTETS;
    if points == 0 { 1 } else { points }
}

/// How long a subscription lasts; it is renewed at half of it.
const LIFETIME: Duration = Duration::from_secs(300);
/// When a refused subscription is tried again.
const REFUSED_FOR: Duration = Duration::from_secs(300);
/// What is subscribed is read at every so many polls.
const VERIFY: usize = 3;
/// How long a device is left alone that did not answer: doubled each time.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So often in a row a device may say that it is busy before less is asked of it at once.
const PATIENT: u8 = 3;
/// Between restarts that an I-Am makes believe.
const CALM: Duration = Duration::from_secs(10);

/// What is worth a line in the log and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Up,
    Lost(&'static str),
    Restarted,
    Resubscribed,
    Failure(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down { until: Mono },
    Meeting(Fact),
    Up { since: Mono },
}

/// What is asked at a meeting, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Services,
    MaxApdu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscription {
    /// It is polled.
    No,
    Wanted,
    Asking,
    Live {
        renew: Mono,
    },
    Refused {
        again: Mono,
    },
}

#[derive(Debug)]
struct Watched {
    id: PointId,
    kind: Kind,
    place: PropertyPlace,
    /// Of so many polls.
    every: usize,
    due: bool,
    reading: bool,
    /// A notification came while it was read: the answer may be older.
    overtaken: bool,
    has_flags: bool,
    has_reliability: bool,
    /// COV_Increment in the point's unit, where changes below it are not told; `None`: any change is.
    increment: Increment,
    subscription: Subscription,
    confirmed: bool,
    /// What the device told last.
    told: Option<Value>,
    /// It was found to differ once.
    suspect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Increment {
    /// Every change is told.
    Every,
    Unread,
    Known(f64),
    /// The device does not say.
    Hidden,
}

/// What a request was for.
#[derive(Debug)]
enum Job {
    Fact(Fact),
    /// With how many items each has.
    Read(Vec<(Part, usize)>),
    Single(Single),
    Subscribe(usize),
    Cancel,
    Write(usize),
    ReadBack(usize),
}

/// Items of a read that belong together.
#[derive(Debug, Clone, Copy)]
enum Part {
    Point(usize),
    Device,
}

/// A point, or the device, read property by property.
#[derive(Debug)]
struct Single {
    part: Part,
    left: VecDeque<Item>,
    found: Vec<Found>,
}

/// One device.
#[derive(Debug)]
pub(super) struct Machine {
    device: ObjectRef,
    process: u32,
    poll: Duration,
    link_point: PointId,
    points: Vec<Watched>,
    outputs: Vec<Output>,
    phase: Phase,
    back_off: Duration,
    /// What it can; believed until it says otherwise.
    multiple: bool,
    multiple_proven: bool,
    cov: bool,
    cov_property: bool,
    window: usize,
    batch: usize,
    /// Database_Revision and Time_Of_Device_Restart, where it has them.
    marks: [Option<Datum>; 2],
    has_marks: [bool; 2],
    marks_due: bool,
    cycle: usize,
    next_cycle: Mono,
    restarted: Option<Mono>,
    /// Nothing before, because it or we had no room.
    paused: Mono,
    busy: u8,
    turn: bool,
    in_flight: HashMap<u64, Job>,
    follow: VecDeque<(Ask, Job)>,
    tickets: u64,
    releasing: bool,
    updates: Batch,
    news: Vec<News>,
}

impl Machine {
    /// A device of the mapping; nothing was asked yet. `wall` is how long a stretch of site time is on the wall.
    pub(super) fn new(
        plant: &Plant,
        device: &Device,
        instance: u32,
        process: u32,
        wall: &dyn Fn(Duration) -> Duration,
    ) -> Self {
        let polls = device.points.iter().filter_map(|read| read.poll);
        let poll = wall(polls.chain([device.poll]).min().unwrap_or(device.poll));
        let watched = |read: &crate::plant::DevicePoint| {
            let (place, def) = (read.property()?.clone(), plant.point(read.point)?);
            let analog = matches!(place.object.class(), ObjectClass::Analog | ObjectClass::Large | ObjectClass::Count);
            let increment = match place.cov {
                Cov::Increment(increment) => Increment::Known(increment * place.scale.abs()),
                _ if place.property == PRESENT_VALUE && !analog => Increment::Every,
                _ => Increment::Unread,
            };
            let standard = place.property == PRESENT_VALUE;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
            let every = wall(read.poll.unwrap_or(device.poll)).div_duration_f64(poll).round() as usize;
            Some(Watched {
                every: every.max(1),
                id: read.point,
                kind: def.kind,
                due: true,
                reading: false,
                overtaken: false,
                has_flags: standard,
                has_reliability: standard,
                increment,
                subscription: Subscription::No,
                confirmed: true,
                told: None,
                suspect: false,
                place,
            })
        };
        Self {
            device: ObjectRef { kind: 8, instance },
            process,
            poll,
            link_point: device.link_point,
            points: device.points.iter().filter_map(watched).collect(),
            outputs: Vec::new(),
            phase: Phase::Down { until: Mono::START },
            back_off: BACK_OFF.0,
            multiple: true,
            multiple_proven: false,
            cov: true,
            cov_property: true,
            window: 1,
            batch: 1,
            marks: [None, None],
            has_marks: [true; 2],
            marks_due: true,
            cycle: 0,
            next_cycle: Mono::START,
            restarted: None,
            paused: Mono::START,
            busy: 0,
            turn: false,
            in_flight: HashMap::new(),
            follow: VecDeque::new(),
            tickets: 0,
            releasing: false,
            updates: Batch::new(),
            news: Vec::new(),
        }
    }

    /// Let it write, too.
    pub(super) fn writing(mut self, outputs: Vec<Output>) -> Self {
        self.outputs = outputs;
        self
    }

    /// Whether anything is written, so that images are of interest.
    pub(super) fn writes(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Readings since the last time.
    pub(super) fn take_updates(&mut self) -> Batch {
        std::mem::take(&mut self.updates)
    }

    /// News since the last time.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// It is being probed: one try is enough.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// The newest image.
    pub(super) fn on_image(&mut self, image: &Image) {
        self.outputs.iter_mut().for_each(|output| output.on_image(image));
    }

    /// The gateway goes down: what was written is let go first, then what was subscribed, so that the device does not go
    /// on telling somebody who is not there.
    pub(super) fn release(&mut self) {
        self.releasing = true;
        self.follow.clear();
        self.in_flight.clear();
        if !self.is_up() {
            return;
        }
        for (place, output) in self.outputs.iter_mut().enumerate() {
            self.follow.extend(output.release().map(|ask| (ask, Job::Write(place))));
        }
        for point in &self.points {
            if matches!(point.subscription, Subscription::Live { .. } | Subscription::Asking) {
                let standard = point.place.property == PRESENT_VALUE && !matches!(point.place.cov, Cov::Increment(_));
                let property = (self.cov_property && !standard).then_some(point.place.property);
                let ask = Ask::Cancel { process: self.process, object: point.place.object, property };
                self.follow.push_back((ask, Job::Cancel));
            }
        }
    }

    /// Nothing is left to be let go.
    pub(super) fn released(&self) -> bool {
        self.releasing && self.follow.is_empty() && self.in_flight.is_empty()
    }

    /// The next request, while there is one to be made now, with its ticket.
    pub(super) fn next(&mut self, now: Mono) -> Option<(u64, Ask)> {
        let window = if self.is_up() { self.window } else { 1 };
        if self.in_flight.len() >= window || now < self.paused {
            return None;
        }
        let (ask, job) = match self.follow.pop_front() {
            Some(next) => next,
            None if self.releasing => return None,
            None => match self.phase {
                Phase::Down { until } if now < until => return None,
                Phase::Down { .. } => {
                    self.phase = Phase::Meeting(Fact::Services);
                    self.fact(Fact::Services)
                }
                Phase::Meeting(fact) => self.fact(fact),
                Phase::Up { since } => self.due(now, since)?,
            },
        };
        self.tickets += 1;
        self.in_flight.insert(self.tickets, job);
        Some((self.tickets, ask))
    }

    const fn fact(&self, fact: Fact) -> (Ask, Job) {
        let property = match fact {
            Fact::Services => property::SERVICES,
            Fact::MaxApdu => property::MAX_APDU,
        };
        (Ask::Read(Item { object: self.device, property, index: None }), Job::Fact(fact))
    }

    fn due(&mut self, now: Mono, since: Mono) -> Option<(Ask, Job)> {
        if now >= self.next_cycle {
            self.tick(now);
        }
        for (place, output) in self.outputs.iter_mut().enumerate() {
            if let Some(ask) = output.next(now, since) {
                return Some((ask, Job::Write(place)));
            }
        }
        // In turns, so that a device that is read all the time is subscribed, too.
        self.turn = !self.turn;
        if self.turn {
            self.subscribe(now).or_else(|| self.read())
        } else {
            self.read().or_else(|| self.subscribe(now))
        }
    }

    /// A poll begins.
    fn tick(&mut self, now: Mono) {
        self.next_cycle = now.after(self.poll);
        self.cycle += 1;
        self.marks_due = true;
        for (place, point) in self.points.iter_mut().enumerate() {
            let live = matches!(point.subscription, Subscription::Live { .. } | Subscription::Asking);
            let every = point.every.saturating_mul(if live { VERIFY } else { 1 });
            point.due |= point.suspect || (self.cycle + place).is_multiple_of(every);
        }
    }

    fn items(&self, part: Part) -> Vec<Item> {
        match part {
            Part::Device => {
                let marks = [property::REVISION, property::RESTARTED].into_iter().zip(self.has_marks);
                let marks = marks.filter(|(_, has)| *has);
                marks.map(|(property, _)| Item { object: self.device, property, index: None }).collect()
            }
            Part::Point(place) => self.points.get(place).map_or_else(Vec::new, |point| {
                let item = |property| Item { object: point.place.object, property, index: None };
                let unread = point.increment == Increment::Unread && self.cov && point.place.cov != Cov::No;
                let more = [
                    (property::STATUS_FLAGS, point.has_flags),
                    (property::RELIABILITY, point.has_reliability),
                    (property::COV_INCREMENT, unread),
                ];
                let more = more.into_iter().filter(|(_, wanted)| *wanted).map(|(property, _)| item(property));
                std::iter::once(item(point.place.property)).chain(more).collect()
            }),
        }
    }

    /// What is due to be read, as much as fits.
    fn read(&mut self) -> Option<(Ask, Job)> {
        let most = if self.multiple { self.batch } else { 1 };
        let mut parts = Vec::new();
        if self.marks_due {
            self.marks_due = false;
            if self.has_marks != [false; 2] {
                parts.push(Part::Device);
            }
        }
        for (place, point) in self.points.iter_mut().enumerate() {
            if parts.len() >= most {
                break;
            }
            if point.due && !point.reading {
                (point.due, point.reading, point.overtaken) = (false, true, false);
                parts.push(Part::Point(place));
            }
        }
        if self.multiple {
            let mut items = Vec::new();
            let counted = |part| {
                let of_part = self.items(part);
                let count = of_part.len();
                items.extend(of_part);
                (part, count)
            };
            let parts: Vec<(Part, usize)> = parts.into_iter().map(counted).collect();
            return (!items.is_empty()).then_some((Ask::ReadMany(items), Job::Read(parts)));
        }
        let part = *parts.first()?;
        Self::single(Single { part, left: self.items(part).into(), found: Vec::new() })
    }

    fn single(single: Single) -> Option<(Ask, Job)> {
        let item = *single.left.front()?;
        Some((Ask::Read(item), Job::Single(single)))
    }

    fn subscribing(&self) -> bool {
        self.in_flight.values().any(|job| matches!(job, Job::Subscribe(_)))
    }

    /// One subscription at a time: reads have the other places.
    fn subscribe(&mut self, now: Mono) -> Option<(Ask, Job)> {
        if !self.cov || self.subscribing() {
            return None;
        }
        let lifetime = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        for (place, point) in self.points.iter_mut().enumerate() {
            let due = match point.subscription {
                Subscription::Wanted => true,
                Subscription::Live { renew } => now >= renew,
                Subscription::Refused { again } => now >= again,
                Subscription::No | Subscription::Asking => false,
            };
            if !due {
                continue;
            }
            let increment = match point.place.cov {
                #[expect(clippy::cast_possible_truncation, reason = "the service takes a REAL")]
                Cov::Increment(increment) => Some(increment as f32),
                _ => None,
            };
            let standard = point.place.property == PRESENT_VALUE;
            let special = increment.is_some() || !standard;
            let property = (self.cov_property && special).then_some((point.place.property, increment));
            if property.is_none() && !standard {
                point.subscription = Subscription::No;
                continue;
            }
            point.subscription = Subscription::Asking;
            let (process, object, confirmed) = (self.process, point.place.object, point.confirmed);
            let ask = Ask::Subscribe { process, object, confirmed, lifetime, property };
            return Some((ask, Job::Subscribe(place)));
        }
        None
    }

    /// A request has ended. `Busy` means that it was not made.
    pub(super) fn on_answer(&mut self, ticket: u64, answer: Result<Vec<Found>, CallError>, now: Mono) {
        let Some(job) = self.in_flight.remove(&ticket) else { return };
        // Aborted, out-of-resources: it or we serve no more at a time.
        if matches!(answer, Err(CallError::Busy | CallError::Aborted(9))) {
            self.paused = now.after(Duration::from_secs(1));
            self.news.push(News::Failure("busy"));
            self.busy = self.busy.saturating_add(1);
            return match job {
                Job::Read(parts) if self.busy > PATIENT => self.too_much(parts, CallError::Busy),
                job => self.again(job),
            };
        }
        self.busy = 0;
        if matches!(answer, Err(CallError::Silent | CallError::Closed)) {
            if matches!(job, Job::Read(_)) && !self.multiple_proven {
                // Some do not even reject what they do not know.
                self.multiple = false;
                return self.again(job);
            }
            return self.lost(Fault::NoCommunication, "no answer in time", now);
        }
        match job {
            Job::Fact(fact) => self.on_fact(fact, answer, now),
            Job::Read(parts) => self.on_read(parts, answer, now),
            Job::Single(single) => self.on_single(single, answer, now),
            Job::Subscribe(place) => self.on_subscribed(place, &answer, now),
            // Whatever it says: nobody listens any more.
            Job::Cancel => {}
            Job::Write(place) => self.on_output(place, now, |output| output.on_written(&answer, now)),
            Job::ReadBack(place) => self.on_output(place, now, |output| output.on_read_back(&answer, now)),
        }
    }

    fn on_output(
        &mut self,
        place: usize,
        _now: Mono,
        take: impl FnOnce(&mut Output) -> Result<Option<Ask>, &'static str>,
    ) {
        let Some(output) = self.outputs.get_mut(place) else { return };
        match take(output) {
            Ok(Some(ask)) if !self.releasing => self.follow.push_back((ask, Job::ReadBack(place))),
            Ok(_) => {}
            Err(cause) => self.news.push(News::Failure(cause)),
        }
    }

    /// What could not be asked is due again.
    fn again(&mut self, job: Job) {
        match job {
            Job::Read(parts) => parts.into_iter().for_each(|(part, _)| self.due_again(part)),
            Job::Single(single) => self.due_again(single.part),
            Job::Subscribe(place) => {
                if let Some(point) = self.points.get_mut(place) {
                    point.subscription = Subscription::Wanted;
                }
            }
            Job::Write(place) | Job::ReadBack(place) => {
                if let Some(output) = self.outputs.get_mut(place) {
                    output.forget();
                }
            }
            Job::Fact(_) | Job::Cancel => {}
        }
    }

    fn due_again(&mut self, part: Part) {
        match part {
            Part::Device => self.marks_due = true,
            Part::Point(place) => {
                if let Some(point) = self.points.get_mut(place) {
                    (point.due, point.reading) = (true, false);
                }
            }
        }
    }

    fn on_fact(&mut self, fact: Fact, answer: Result<Vec<Found>, CallError>, now: Mono) {
        let found = answer.ok().and_then(|mut found| found.pop()).and_then(Result::ok);
        match (fact, found) {
            (Fact::Services, None) => self.lost(Fault::Refused(31), "it is another device", now),
            (Fact::Services, Some(datum)) => {
                // What is not said is tried.
                let can = bits(&datum);
                let can = |bit: usize| can.as_ref().is_none_or(|bits| bits.get(bit).copied().unwrap_or(false));
                self.multiple = can(service::READ_MULTIPLE);
                self.cov = can(service::SUBSCRIBE_COV);
                self.cov_property = can(service::SUBSCRIBE_PROPERTY);
                self.phase = Phase::Meeting(Fact::MaxApdu);
            }
            (Fact::MaxApdu, datum) => {
                let said = match datum {
                    Some(Datum::Unsigned(octets)) => u16::try_from(octets).unwrap_or(MAX_APDU),
                    _ => 206,
                };
                let octets = said.clamp(50, MAX_APDU);
                self.window = if octets >= SMALL_APDU { WINDOW } else { 1 };
                self.batch = points_in(octets);
                self.up(now);
            }
        }
    }

    fn up(&mut self, now: Mono) {
        self.phase = Phase::Up { since: now };
        self.back_off = BACK_OFF.0;
        self.next_cycle = now;
        self.marks = [None, None];
        self.has_marks = [true; 2];
        self.multiple_proven = false;
        self.news.push(News::Up);
        self.updates.push(Update { point: self.link_point, reading: Reading::Good(Value::Bool(true)) });
        self.start_over();
    }

    /// It knows nothing of us any more.
    fn start_over(&mut self) {
        let cov = self.cov;
        for point in &mut self.points {
            point.due = true;
            point.suspect = false;
            point.told = None;
            if cov && point.place.cov != Cov::No && point.subscription != Subscription::Asking {
                point.subscription = Subscription::Wanted;
            } else if !cov {
                point.subscription = Subscription::No;
            }
        }
        self.outputs.iter_mut().for_each(Output::forget);
        // Answers to what was asked before say nothing of what is held now.
        self.in_flight.retain(|_, job| !matches!(job, Job::Write(_) | Job::ReadBack(_)));
        self.follow.retain(|(_, job)| !matches!(job, Job::Write(_) | Job::ReadBack(_)));
    }

    fn lost(&mut self, fault: Fault, cause: &'static str, now: Mono) {
        let was_up = self.is_up();
        let first = self.back_off == BACK_OFF.0;
        self.phase = Phase::Down { until: now.after(self.back_off) };
        self.back_off = (self.back_off * 2).min(BACK_OFF.1);
        self.in_flight.clear();
        self.follow.clear();
        for point in &mut self.points {
            (point.reading, point.due) = (false, true);
            point.subscription = Subscription::No;
        }
        self.outputs.iter_mut().for_each(Output::forget);
        self.news.push(News::Failure(cause));
        if was_up || first {
            self.news.push(News::Lost(cause));
        }
        // Said at each probe, so that nothing of it looks fresh or forgotten.
        let points = self.points.iter().map(|point| point.id);
        self.updates.extend(points.map(|point| Update { point, reading: Reading::Bad(fault) }));
        self.updates.push(Update { point: self.link_point, reading: Reading::Good(Value::Bool(false)) });
    }

    fn on_read(&mut self, parts: Vec<(Part, usize)>, answer: Result<Vec<Found>, CallError>, now: Mono) {
        let found = match answer {
            Ok(found) => found,
            Err(error) => return self.too_much(parts, error),
        };
        self.multiple_proven = true;
        let mut found = found.into_iter();
        for (part, count) in parts {
            self.settle(part, found.by_ref().take(count).collect(), now);
        }
    }

    /// It does not answer so much at once, or not in this way.
    fn too_much(&mut self, parts: Vec<(Part, usize)>, error: CallError) {
        self.news.push(News::Failure("read in smaller parts"));
        let unknown = matches!(error, CallError::Rejected(9) | CallError::Error { .. });
        if unknown || parts.len() <= 1 {
            self.multiple = false;
        } else {
            self.batch = (parts.len() / 2).max(1);
        }
        self.again(Job::Read(parts));
    }

    fn on_single(&mut self, mut single: Single, answer: Result<Vec<Found>, CallError>, now: Mono) {
        let found = match answer {
            Ok(mut found) => found.pop(),
            Err(CallError::Error { class, code }) => Some(Err((class, code))),
            // Rejected, aborted, malformed: it cannot be had.
            Err(_) => Some(Err((0, 0))),
        };
        single.found.extend(found);
        single.left.pop_front();
        if single.left.is_empty() {
            self.settle(single.part, single.found, now);
        } else {
            self.follow.extend(Self::single(single));
        }
    }

    /// What was found at the items of a part, in their order.
    fn settle(&mut self, part: Part, found: Vec<Found>, now: Mono) {
        match part {
            Part::Device => self.on_marks(found, now),
            Part::Point(place) => {
                let lost = self.points.get_mut(place).is_some_and(|point| point.settle(found, &mut self.updates));
                if lost {
                    self.news.push(News::Resubscribed);
                    self.resubscribe();
                }
            }
        }
    }

    fn resubscribe(&mut self) {
        for point in &mut self.points {
            point.suspect = false;
            if matches!(point.subscription, Subscription::Live { .. }) {
                point.subscription = Subscription::Wanted;
                point.told = None;
            }
        }
    }

    fn on_marks(&mut self, found: Vec<Found>, now: Mono) {
        let mut found = found.into_iter();
        let mut restarted = false;
        for (mark, has) in self.marks.iter_mut().zip(self.has_marks.iter_mut()).filter(|(_, has)| **has) {
            match found.next() {
                Some(Ok(new)) => {
                    restarted |= mark.as_ref().is_some_and(|old| *old != new);
                    *mark = Some(new);
                }
                _ => *has = false,
            }
        }
        if restarted {
            self.restart(now);
        }
    }

    fn restart(&mut self, now: Mono) {
        self.restarted = Some(now);
        self.news.push(News::Restarted);
        self.start_over();
    }

    /// The device announces itself.
    pub(super) fn on_i_am(&mut self, asked_for: bool, now: Mono) {
        match self.phase {
            Phase::Down { .. } => {
                self.back_off = BACK_OFF.0;
                self.phase = Phase::Down { until: now };
            }
            Phase::Up { .. } if !asked_for && self.restarted.is_none_or(|at| now.since(at) >= CALM) => {
                self.restart(now)
            }
            Phase::Up { .. } | Phase::Meeting(_) => {}
        }
    }

    fn on_subscribed(&mut self, place: usize, answer: &Result<Vec<Found>, CallError>, now: Mono) {
        let Some(point) = self.points.get_mut(place) else { return };
        point.subscription = match answer {
            Ok(_) => Subscription::Live { renew: now.after(LIFETIME / 2) },
            Err(CallError::Rejected(9)) => {
                // unrecognized-service
                if self.cov_property && (point.place.cov != Cov::Own || point.place.property != PRESENT_VALUE) {
                    self.cov_property = false;
                } else {
                    self.cov = false;
                }
                Subscription::Wanted
            }
            Err(_) if point.confirmed => {
                point.confirmed = false;
                Subscription::Wanted
            }
            Err(_) => {
                point.confirmed = true;
                self.news.push(News::Failure("subscription refused"));
                Subscription::Refused { again: now.after(REFUSED_FOR) }
            }
        };
        if !self.cov {
            self.points.iter_mut().for_each(|point| point.subscription = Subscription::No);
        }
    }

    /// A notification of ours.
    pub(super) fn on_told(&mut self, object: ObjectRef, values: &[(u32, Datum)]) {
        if !self.is_up() {
            return;
        }
        let said = |property: u32| values.iter().find(|value| value.0 == property).map(|value| &value.1);
        let flags = said(property::STATUS_FLAGS).and_then(Flags::of).unwrap_or_default();
        for point in self.points.iter_mut().filter(|point| point.place.object == object) {
            let Some(datum) = said(point.place.property) else { continue };
            let found = Ok(datum.clone());
            // Which fault it is, only a read can say.
            point.due |= flags.fault;
            point.overtaken |= point.reading;
            point.suspect = false;
            point.told = reading::value(&point.place, point.kind, datum).ok();
            let reading = reading(&point.place, point.kind, &found, flags, None);
            self.updates.push(Update { point: point.id, reading });
        }
    }

    /// When [`Machine::next`] may have something that it has not now.
    pub(super) fn wake(&self, now: Mono) -> Option<Mono> {
        let window = if self.is_up() { self.window } else { 1 };
        if self.in_flight.len() >= window {
            return None;
        }
        let wake = match self.phase {
            _ if self.releasing => return None,
            Phase::Down { until } => until,
            Phase::Meeting(_) => return None,
            Phase::Up { since } => {
                let renewing = self.cov && !self.subscribing();
                let renewals = self.points.iter().filter_map(|point| match point.subscription {
                    Subscription::Live { renew: at } | Subscription::Refused { again: at } if renewing => Some(at),
                    _ => None,
                });
                let outputs = self.outputs.iter().filter_map(|output| output.wake(now, since));
                renewals.chain(outputs).chain([self.next_cycle]).min().unwrap_or(self.next_cycle)
            }
        };
        Some(wake.max(self.paused))
    }
}

impl Watched {
    /// What was read; true when the device tells nothing any more.
    fn settle(&mut self, found: Vec<Found>, updates: &mut Batch) -> bool {
        self.reading = false;
        let mut found = found.into_iter();
        let Some(value) = found.next() else { return false };
        let flags = if self.has_flags { found.next() } else { None };
        let reliability = if self.has_reliability { found.next() } else { None };
        if self.increment == Increment::Unread
            && let Some(increment) = found.next()
        {
            self.increment = match increment {
                Ok(Datum::Real(by)) if by.is_finite() => Increment::Known(f64::from(by) * self.place.scale.abs()),
                Ok(Datum::Double(by)) if by.is_finite() => Increment::Known(by * self.place.scale.abs()),
                #[expect(clippy::cast_precision_loss, reason = "a threshold")]
                Ok(Datum::Unsigned(by)) => Increment::Known(by as f64 * self.place.scale.abs()),
                _ => Increment::Hidden,
            };
        }
        // What an object does not have is not asked again.
        self.has_flags &= !matches!(flags, Some(Err(_)));
        self.has_reliability &= !matches!(reliability, Some(Err(_)));
        if self.overtaken {
            self.due = true;
            return false;
        }
        let flags = flags.and_then(Result::ok).as_ref().and_then(Flags::of).unwrap_or_default();
        let reliability = match reliability {
            Some(Ok(Datum::Enumerated(reliability))) => Some(reliability),
            _ => None,
        };
        let reading = reading(&self.place, self.kind, &value, flags, reliability);
        updates.push(Update { point: self.id, reading });
        let now = reading.value();
        if !matches!(self.subscription, Subscription::Live { .. }) {
            return false;
        }
        let (Some(now), Some(told)) = (now, self.told) else {
            self.told = self.told.or(now);
            return false;
        };
        let untold = match self.increment {
            Increment::Every => now != told,
            // A change of exactly the increment is told; a float may not be.
            Increment::Known(by) => (now.as_f64() - told.as_f64()).abs() > by * 1.001 + 1e-6,
            Increment::Unread | Increment::Hidden => false,
        };
        let lost = untold && self.suspect;
        self.suspect = untold;
        lost
    }
}
