//! How fast power may move: +20 % of rated power a minute up, -100 % down (per zone); for safety a step.

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// A pause longer than this (two ticks) earns no more of a step: nothing jumps after a stall.
const LONGEST_STEP: Duration = Duration::from_secs(20);

/// Speeds of a zone, W/s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    pub up: f64,
    pub down: f64,
}

impl Rates {
    /// From shares of rated power per minute.
    pub fn of(zone: &crate::plant::Zone) -> Self {
        let per_s = |share: f64| zone.rated.get() * share.max(0.0) / 60.0;
        Self { up: per_s(zone.ramp_up_per_min), down: per_s(zone.ramp_down_per_min) }
    }
}

/// Where the power is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    at: Watts,
    when: Mono,
}

impl Ramp {
    pub const fn new(at: Watts, when: Mono) -> Self {
        Self { at, when }
    }

    /// Start again from here, without a jump of time.
    pub const fn restart(&mut self, at: Watts) {
        self.at = at;
    }

    pub const fn at(&self) -> Watts {
        self.at
    }

    /// Move towards `target`; what stands above `ceiling` comes down at once.
    pub fn step(&mut self, now: Mono, target: Watts, ceiling: Watts, rates: Rates) -> Watts {
        let dt = now.since(self.when).min(LONGEST_STEP).as_secs_f64();
        self.when = now;
        let moved = target.clamp(self.at - Watts::of(rates.down * dt), self.at + Watts::of(rates.up * dt));
        self.at = moved.min(ceiling).max(Watts::ZERO);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { up: 200.0, down: 1000.0 };

    fn at(s: u64) -> Mono {
        Mono::from_start(Duration::from_secs(s))
    }

    #[test]
    fn it_climbs_slowly_falls_quickly_and_obeys_a_ceiling_at_once() {
        let high = Watts::from_kw(60.0);
        let mut ramp = Ramp::new(Watts::from_kw(15.0), at(0));
        assert_eq!(ramp.step(at(10), Watts::from_kw(30.0), high, RATES), Watts::from_kw(17.0));
        assert_eq!(ramp.step(at(20), Watts::from_kw(17.5), high, RATES), Watts::from_kw(17.5));
        assert_eq!(ramp.step(at(30), Watts::ZERO, high, RATES), Watts::from_kw(7.5));
        assert_eq!(ramp.step(at(40), Watts::from_kw(30.0), Watts::from_kw(3.0), RATES), Watts::from_kw(3.0));
    }

    #[test]
    fn a_stall_earns_no_jump() {
        let mut ramp = Ramp::new(Watts::ZERO, at(0));
        let high = Watts::from_kw(60.0);
        assert_eq!(ramp.step(at(3600), Watts::from_kw(60.0), high, RATES), Watts::from_kw(4.0));
    }
}
