//! What a device can, whether it is there, and whether it has begun anew.

use std::time::Duration;

use super::super::output::Output;
use super::super::wire::{Ask, Found, Item, bits};
use super::super::{CallError, Datum};
use super::watched::Subscription;
use super::{BACK_OFF, Job, Machine, News, Phase, points_in, property};
use crate::bacnet::settings::MAX_APDU;
use crate::plant::Cov;
use crate::point::{Fault, Reading, Update, Value};
use crate::time::Mono;

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
/// Between restarts that an I-Am makes believe.
const CALM: Duration = Duration::from_secs(10);

/// What is asked at a meeting, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Services,
    MaxApdu,
}

impl Machine {
    pub(super) const fn fact(&self, fact: Fact) -> (Ask, Job) {
        let property = match fact {
            Fact::Services => property::SERVICES,
            Fact::MaxApdu => property::MAX_APDU,
        };
        (Ask::Read(Item { object: self.device, property, index: None }), Job::Fact(fact))
    }

    pub(super) fn on_fact(&mut self, fact: Fact, answer: Result<Vec<Found>, CallError>, now: Mono) {
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

    pub(super) fn up(&mut self, now: Mono) {
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
    pub(super) fn start_over(&mut self) {
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

    pub(super) fn on_marks(&mut self, found: Vec<Found>, now: Mono) {
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

    pub(super) fn restart(&mut self, now: Mono) {
        self.restarted = Some(now);
        self.news.push(News::Restarted);
        self.start_over();
    }

    /// The device announces itself.
    pub(in crate::bacnet::client) fn on_i_am(&mut self, asked_for: bool, now: Mono) {
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
}
