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

mod meeting;
mod reads;
mod subscriptions;
mod watched;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::output::Output;
use super::wire::{Ask, Found};
use super::{CallError, Datum};
use crate::plant::{Cov, Device, ObjectRef, PRESENT_VALUE, Plant};
use crate::point::{Fault, Image, PointId, Reading, Update, Value};
use crate::ports::Batch;
use crate::time::Mono;
use meeting::Fact;
use reads::{Part, Single};
use watched::{Subscription, Watched};

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

/// Octets that the answer for one point takes, with flags and reliability.
const POINT_OCTETS: usize = 34;
/// How many points one ReadPropertyMultiple asks a device for whose answers have so many octets.
pub const fn points_in(octets: u16) -> usize {
    let points = (octets as usize).saturating_sub(8) / POINT_OCTETS;
    if points == 0 { 1 } else { points }
}

/// How long a device is left alone that did not answer: doubled each time.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// So often in a row a device may say that it is busy before less is asked of it at once.
const PATIENT: u8 = 3;
/// What is worth a line in the log and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet::client) enum News {
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

/// One device.
#[derive(Debug)]
pub(in crate::bacnet::client) struct Machine {
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
    pub(in crate::bacnet::client) fn new(
        plant: &Plant,
        device: &Device,
        instance: u32,
        process: u32,
        wall: &dyn Fn(Duration) -> Duration,
    ) -> Self {
        let polls = device.points.iter().filter_map(|read| read.poll);
        let poll = wall(polls.chain([device.poll]).min().unwrap_or(device.poll));
        let watched = |read| Watched::new(plant, device, read, poll, wall);
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
    pub(in crate::bacnet::client) fn writing(mut self, outputs: Vec<Output>) -> Self {
        self.outputs = outputs;
        self
    }

    /// Whether anything is written, so that images are of interest.
    pub(in crate::bacnet::client) fn writes(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Readings since the last time.
    pub(in crate::bacnet::client) fn take_updates(&mut self) -> Batch {
        std::mem::take(&mut self.updates)
    }

    /// News since the last time.
    pub(in crate::bacnet::client) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// It is being probed: one try is enough.
    pub(in crate::bacnet::client) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// The newest image.
    pub(in crate::bacnet::client) fn on_image(&mut self, image: &Image) {
        self.outputs.iter_mut().for_each(|output| output.on_image(image));
    }

    /// The gateway goes down: what was written is let go first, then what was subscribed, so that the device does not go
    /// on telling somebody who is not there.
    pub(in crate::bacnet::client) fn release(&mut self) {
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
    pub(in crate::bacnet::client) fn released(&self) -> bool {
        self.releasing && self.follow.is_empty() && self.in_flight.is_empty()
    }

    /// The next request, while there is one to be made now, with its ticket.
    pub(in crate::bacnet::client) fn next(&mut self, now: Mono) -> Option<(u64, Ask)> {
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

    /// A request has ended. `Busy` means that it was not made.
    pub(in crate::bacnet::client) fn on_answer(
        &mut self,
        ticket: u64,
        answer: Result<Vec<Found>, CallError>,
        now: Mono,
    ) {
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

    /// When [`Machine::next`] may have something that it has not now.
    pub(in crate::bacnet::client) fn wake(&self, now: Mono) -> Option<Mono> {
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
