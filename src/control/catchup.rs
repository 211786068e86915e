//! Catching up after a long ramp: the water is still short of heat when power has arrived, and a little more power for a
//! while fills it sooner than the account would. One step beyond the aim and one back, where a compensation that decays
//! would be a command for each percent; nothing at all after ordinary changes.

use crate::time::Mono;
use crate::units::Watts;

/// How the water gets over a shortage, s. Less than the usual loop's 240 s, so that a quick one is not overfilled.
const WATER_S: f64 = 180.0;
/// Only a larger shortage than this share of rated power is worth it.
const WORTH: f64 = 0.10;
/// This much of the shortage is added,
const SHARE: f64 = 0.5;
/// and at most this share of rated power.
const MOST: f64 = 0.05;
/// An aim that moves by more than this share of rated power is another one.
const ANOTHER: f64 = 0.02;
/// Differences below this are arithmetic, W.
const NOTHING: f64 = 0.5;
/// A longer step than this, s, is a stall.
const LONGEST_STEP_S: f64 = 20.0;

/// What the water of a zone lacks, and what is done about it. All in W.
#[derive(Debug, Clone, Copy)]
pub(super) struct CatchUp {
    /// Shortage in the water, as power.
    short: f64,
    extra: f64,
    /// Power has arrived beyond the aim, and stays there until the water has what it lacks.
    holds: bool,
    aim: f64,
    at: Mono,
}

impl CatchUp {
    pub const fn new(now: Mono) -> Self {
        Self { short: 0.0, extra: 0.0, holds: false, aim: 0.0, at: now }
    }

    /// Power to add to `aim`, while `drawn` is what the caps come to; `arrives` says whether the ramp has got to a power.
    pub fn step(
        &mut self,
        now: Mono,
        aim: Watts,
        drawn: Watts,
        rated: Watts,
        arrives: impl Fn(Watts) -> bool,
    ) -> Watts {
        let dt = now.since(self.at).as_secs_f64().min(LONGEST_STEP_S);
        self.at = now;
        let (aim, rated) = (aim.get(), rated.get());
        self.short += (aim - drawn.get() - self.short) * -f64::exp_m1(-dt / WATER_S);
        if !self.short.is_finite() {
            self.short = 0.0;
        }
        if (aim - self.aim).abs() > ANOTHER * rated {
            (self.aim, self.extra, self.holds) = (aim, 0.0, false);
        }
        if !self.holds {
            self.extra = if self.short > WORTH * rated { (SHARE * self.short).min(MOST * rated) } else { 0.0 };
            self.holds = self.extra > NOTHING && arrives(Watts::of(self.extra));
        } else if self.short <= 0.0 {
            (self.extra, self.holds) = (0.0, false);
        }
        Watts::of(self.extra)
    }

    /// Nobody's wish is followed freely: nothing is made up for.
    pub const fn rest(&mut self, now: Mono) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RATED: Watts = Watts::of(60_000.0);

    /// Ramp from one power to another at 20 % a minute: the extra power that is given, every 10 s.
    fn ramp(from: f64, to: f64) -> Vec<f64> {
        let mut catch_up = CatchUp::new(Mono::START);
        let mut power = from;
        let mut given = Vec::new();
        for s in 1..400 {
            let now = Mono::from_start(Duration::from_secs(10 * s));
            let drawn = power;
            let extra =
                catch_up.step(now, Watts::of(to), Watts::of(drawn), RATED, |extra| power >= to + extra.get() - 1.0);
            power = (power + 2000.0).min(to + extra.get());
            given.push(extra.get());
        }
        given
    }

    #[test]
    fn after_a_long_ramp_there_is_one_step_beyond_and_one_back() {
        let given = ramp(15_000.0, 55_000.0);
        let most = given.iter().copied().fold(0.0, f64::max);
        assert!(most > 2000.0 && most <= 3000.0, "{most}");
        assert_eq!(given.last(), Some(&0.0));
        let backs = given.windows(2).filter(|pair| pair[0] - pair[1] > 500.0).count();
        assert_eq!(backs, 1, "{given:?}");
        let held: f64 = given.iter().map(|extra| extra * 10.0).sum();
        assert!(held < 0.5 * 40_000.0 * 200.0, "never more than the ramp withheld: {held} J");
    }

    #[test]
    fn an_ordinary_change_and_a_fall_get_nothing() {
        assert!(ramp(20_000.0, 26_000.0).iter().all(|extra| *extra == 0.0));
        let mut catch_up = CatchUp::new(Mono::START);
        for s in 1..400 {
            let now = Mono::from_start(Duration::from_secs(10 * s));
            let extra = catch_up.step(now, Watts::of(15_000.0), Watts::of(50_000.0), RATED, |_| true);
            assert_eq!(extra, Watts::ZERO);
        }
    }
}
