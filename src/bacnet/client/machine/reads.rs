//! What is read of a device, and how much at once.

use std::collections::VecDeque;

use super::super::CallError;
use super::super::wire::{Ask, Found, Item};
use super::watched::{Increment, Subscription};
use super::{Job, Machine, News, property};
use crate::plant::Cov;
use crate::time::Mono;

/// What is subscribed is read at every so many polls.
const VERIFY: usize = 3;

/// Items of a read that belong together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Point(usize),
    Device,
}

/// A point, or the device, read property by property.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) part: Part,
    pub(super) left: VecDeque<Item>,
    pub(super) found: Vec<Found>,
}

impl Machine {
    /// A poll begins.
    pub(super) fn tick(&mut self, now: Mono) {
        self.next_cycle = now.after(self.poll);
        self.cycle += 1;
        self.marks_due = true;
        for (place, point) in self.points.iter_mut().enumerate() {
            let live = matches!(point.subscription, Subscription::Live { .. } | Subscription::Asking);
            let every = point.every.saturating_mul(if live { VERIFY } else { 1 });
            point.due |= point.suspect || (self.cycle + place).is_multiple_of(every);
        }
    }

    pub(super) fn items(&self, part: Part) -> Vec<Item> {
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
    pub(super) fn read(&mut self) -> Option<(Ask, Job)> {
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

    pub(super) fn single(single: Single) -> Option<(Ask, Job)> {
        let item = *single.left.front()?;
        Some((Ask::Read(item), Job::Single(single)))
    }

    /// What could not be asked is due again.
    pub(super) fn again(&mut self, job: Job) {
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

    pub(super) fn due_again(&mut self, part: Part) {
        match part {
            Part::Device => self.marks_due = true,
            Part::Point(place) => {
                if let Some(point) = self.points.get_mut(place) {
                    (point.due, point.reading) = (true, false);
                }
            }
        }
    }

    pub(super) fn on_read(&mut self, parts: Vec<(Part, usize)>, answer: Result<Vec<Found>, CallError>, now: Mono) {
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
    pub(super) fn too_much(&mut self, parts: Vec<(Part, usize)>, error: CallError) {
        self.news.push(News::Failure("read in smaller parts"));
        let unknown = matches!(error, CallError::Rejected(9) | CallError::Error { .. });
        if unknown || parts.len() <= 1 {
            self.multiple = false;
        } else {
            self.batch = (parts.len() / 2).max(1);
        }
        self.again(Job::Read(parts));
    }

    pub(super) fn on_single(&mut self, mut single: Single, answer: Result<Vec<Found>, CallError>, now: Mono) {
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
    pub(super) fn settle(&mut self, part: Part, found: Vec<Found>, now: Mono) {
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
}
