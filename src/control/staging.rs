//! Staged allocation: as few heaters as carry the zone's power, and each of them long enough.
//!
//! ```text
//!   rests --power at 0.9 of what is staged for 900 s, or above it; off for 600 s at least; the least used first--> staged
//!   staged --the others would carry 1/0.8 of the power for 900 s; on for 900 s at least; the most used first--> rests
//! ```
//!
//! A heater that takes no part is not staged, and comes back resting. A ceiling, a loss or a stop waits for no time.

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// One is added when the power is this share of what the staged ones take at most,
const ADD_AT: f64 = 0.9;
/// and one is dropped when it is below this share of what the others would take,
const DROP_BELOW: f64 = 0.8;
/// for this long.
const FOR: Duration = Duration::from_secs(900);
/// Shortest time on, and off: what servers and their jobs bear (study of the law, staged).
pub(super) const MIN_ON: Duration = Duration::from_secs(900);
pub(super) const MIN_OFF: Duration = Duration::from_secs(600);

/// A heater that may be staged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// It takes part.
    pub takes_part: bool,
    /// Most power, and power at rest.
    pub high: Watts,
    pub rest: Watts,
    /// How long it has run.
    pub run: Duration,
}

/// Which heaters of a zone are staged, in the zone's order.
#[derive(Debug, Clone, Default)]
pub(super) struct Staging {
    on: Vec<bool>,
    /// When each was switched last; `None` before the first time.
    switched: Vec<Option<Mono>>,
    tight_since: Option<Mono>,
    slack_since: Option<Mono>,
}

impl Staging {
    pub fn is_on(&self, heater: usize) -> bool {
        self.on.get(heater).copied().unwrap_or(false)
    }

    fn rested(&self, heater: usize, now: Mono) -> bool {
        self.switched.get(heater).copied().flatten().is_none_or(|at| now.since(at) >= MIN_OFF)
    }

    /// Whether a heater is on, and must stay on for now.
    pub fn must_stay(&self, heater: usize, now: Mono) -> bool {
        self.is_on(heater) && self.switched.get(heater).copied().flatten().is_some_and(|at| now.since(at) < MIN_ON)
    }

    fn switch(&mut self, heater: usize, on: bool, now: Mono) {
        if let (Some(state), Some(at)) = (self.on.get_mut(heater), self.switched.get_mut(heater)) {
            *state = on;
            *at = Some(now);
        }
    }

    fn capacity(&self, heaters: &[Candidate]) -> Watts {
        let of = |(heater, on): (&Candidate, &bool)| if *on { heater.high } else { heater.rest };
        heaters.iter().zip(&self.on).filter(|(heater, _)| heater.takes_part).map(of).sum()
    }

    /// A heater that runs as a process before this one left it: it is staged from now on.
    pub fn adopt(&mut self, heater: usize, now: Mono) {
        self.switch(heater, true, now);
    }

    /// Decide for a power of those that take part; `None` when no heat is asked.
    pub fn update(&mut self, now: Mono, heaters: &[Candidate], power: Option<Watts>) {
        self.on.resize(heaters.len(), false);
        self.switched.resize(heaters.len(), None);
        for (heater, candidate) in heaters.iter().enumerate() {
            if !candidate.takes_part && self.is_on(heater) {
                self.switch(heater, false, now);
            }
        }
        let Some(power) = power else {
            self.tight_since = None;
            self.slack_since = None;
            for heater in 0..heaters.len() {
                if self.is_on(heater) && !self.must_stay(heater, now) {
                    self.switch(heater, false, now);
                }
            }
            return;
        };
        self.add(now, heaters, power);
        self.drop_one(now, heaters, power);
    }

    fn add(&mut self, now: Mono, heaters: &[Candidate], power: Watts) {
        let tight = power >= self.capacity(heaters) * ADD_AT;
        self.tight_since = if tight { self.tight_since.or(Some(now)) } else { None };
        let mut overdue = self.tight_since.is_some_and(|since| now.since(since) >= FOR);
        // Each round stages one heater or ends.
        for _ in heaters {
            if !(overdue || power > self.capacity(heaters)) {
                return;
            }
            let least = heaters
                .iter()
                .enumerate()
                .filter(|(heater, candidate)| candidate.takes_part && !self.is_on(*heater) && self.rested(*heater, now))
                .min_by_key(|(_, candidate)| candidate.run);
            let Some((heater, _)) = least else { return };
            self.switch(heater, true, now);
            self.tight_since = None;
            overdue = false;
        }
    }

    fn drop_one(&mut self, now: Mono, heaters: &[Candidate], power: Watts) {
        let most = heaters
            .iter()
            .enumerate()
            .filter(|(heater, candidate)| {
                let left = self.capacity(heaters) - candidate.high + candidate.rest;
                candidate.takes_part && self.is_on(*heater) && power < left * DROP_BELOW
            })
            .max_by_key(|(_, candidate)| candidate.run);
        let Some((heater, _)) = most else {
            self.slack_since = None;
            return;
        };
        let since = *self.slack_since.get_or_insert(now);
        if now.since(since) >= FOR && !self.must_stay(heater, now) {
            self.switch(heater, false, now);
            self.slack_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heaters() -> Vec<Candidate> {
        [(20.0, 100), (20.0, 50), (10.0, 10), (10.0, 70)]
            .map(|(kw, run)| Candidate {
                takes_part: true,
                high: Watts::from_kw(kw),
                rest: Watts::ZERO,
                run: Duration::from_secs(run),
            })
            .to_vec()
    }

    fn at(s: u64) -> Mono {
        Mono::from_start(Duration::from_secs(s))
    }

    fn on(staging: &Staging) -> [bool; 4] {
        std::array::from_fn(|heater| staging.is_on(heater))
    }

    #[test]
    fn the_least_used_come_first_and_tightness_adds_after_its_time() {
        let mut staging = Staging::default();
        staging.update(at(0), &heaters(), Some(Watts::from_kw(25.0)));
        assert_eq!(on(&staging), [false, true, true, false], "30 kW carry it");
        for s in (10..900).step_by(10) {
            staging.update(at(s), &heaters(), Some(Watts::from_kw(28.0)));
        }
        assert_eq!(on(&staging), [false, true, true, false]);
        staging.update(at(920), &heaters(), Some(Watts::from_kw(28.0)));
        assert_eq!(on(&staging), [false, true, true, true]);
        // Much less: one after the other, the most used first.
        for s in (930..1900).step_by(10) {
            staging.update(at(s), &heaters(), Some(Watts::from_kw(9.0)));
        }
        assert_eq!(on(&staging), [false, true, true, false]);
        for s in (1900..3800).step_by(10) {
            staging.update(at(s), &heaters(), Some(Watts::from_kw(9.0)));
        }
        assert_eq!(on(&staging), [false, true, false, false], "10 kW would be tight for 9 kW");
    }

    #[test]
    fn off_waits_for_the_time_on_and_on_for_the_time_off() {
        let mut staging = Staging::default();
        staging.update(at(0), &heaters(), Some(Watts::from_kw(8.0)));
        staging.update(at(100), &heaters(), None);
        assert!(staging.is_on(2) && staging.must_stay(2, at(100)));
        staging.update(at(900), &heaters(), None);
        assert!(!staging.is_on(2));
        let only: Vec<Candidate> =
            heaters().into_iter().enumerate().map(|(n, c)| Candidate { takes_part: n == 2, ..c }).collect();
        staging.update(at(1000), &only, Some(Watts::from_kw(8.0)));
        assert!(!staging.is_on(2), "it rests for ten minutes");
        staging.update(at(1500), &only, Some(Watts::from_kw(8.0)));
        assert!(staging.is_on(2));
    }

    #[test]
    fn a_lost_heater_is_replaced_at_once() {
        let mut staging = Staging::default();
        staging.update(at(0), &heaters(), Some(Watts::from_kw(25.0)));
        let mut left = heaters();
        left[1].takes_part = false;
        staging.update(at(10), &left, Some(Watts::from_kw(25.0)));
        assert_eq!(on(&staging), [true, false, true, true], "{staging:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn times_on_and_off_are_kept(
            powers in prop::collection::vec(prop::option::of(0.0..60.0f64), 1..300), dt in 10u64..120,
        ) {
            let mut staging = Staging::default();
            let mut before = [false; 4];
            let mut last = [None::<u64>; 4];
            for (n, power) in powers.iter().enumerate() {
                let s = n as u64 * dt;
                staging.update(at(s), &heaters(), power.map(Watts::from_kw));
                for heater in 0..4 {
                    let now = staging.is_on(heater);
                    if now != before[heater] {
                        let least = if now { MIN_OFF } else { MIN_ON }.as_secs();
                        prop_assert!(last[heater].is_none_or(|at| s - at >= least));
                        last[heater] = Some(s);
                        before[heater] = now;
                    }
                }
            }
        }
    }
}
