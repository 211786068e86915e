//! The execution account: power that was wanted and that ramps and deadbands withheld is given later, and the other way
//! round. It knows nothing of heat or of jobs, so that a shortage of either cannot wind it up.

use crate::time::Mono;
use crate::units::Watts;

/// How heaters follow a cap, s: up, and down.
const FOLLOW_S: (f64, f64) = (20.0, 5.0);
/// What stands in the account fades over this, s.
const FADES_S: f64 = 28_800.0;
/// It is given back over this, s,
const REPAY_S: f64 = 1200.0;
/// with at most this share of rated power.
const REPAY_MOST: f64 = 0.01;
/// It holds at most this share of rated power for an hour.
const HOLDS: f64 = 0.02;
/// A longer step than this, s, is a stall, and books nothing more.
const LONGEST_STEP_S: f64 = 20.0;

/// The account of a zone, about the heaters that take part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    /// Withheld, W s.
    owed: f64,
    /// What the caps as sent should come to by now, W.
    expected: f64,
    /// What is aimed at; `None` while nobody's wish is followed freely.
    wanted: Option<Watts>,
    at: Mono,
}

impl Account {
    pub const fn new(now: Mono) -> Self {
        Self { owed: 0.0, expected: 0.0, wanted: None, at: now }
    }

    /// Book the time since the last step, during which the caps came to `sent`.
    pub fn book(&mut self, now: Mono, sent: Watts, rated: Watts) {
        let dt = now.since(self.at).as_secs_f64().min(LONGEST_STEP_S);
        self.at = now;
        let before = self.expected;
        let gap = sent.get() - before;
        let slow = if gap > 0.0 { FOLLOW_S.0 } else { FOLLOW_S.1 };
        self.expected += gap * -f64::exp_m1(-dt / slow);
        let Some(wanted) = self.wanted else { return };
        let drawn = f64::midpoint(before, self.expected);
        let most = HOLDS * rated.get() * 3600.0;
        self.owed += (wanted.get() - drawn - self.owed / FADES_S) * dt;
        self.owed = if self.owed.is_finite() { self.owed.clamp(-most, most) } else { 0.0 };
    }

    /// What is aimed at from now on. Where nobody's wish is followed freely, nothing is owed.
    pub const fn aim(&mut self, wanted: Option<Watts>) {
        self.wanted = wanted;
        if wanted.is_none() {
            self.owed = 0.0;
        }
    }

    /// What the caps as sent should come to by now.
    pub const fn drawn(&self) -> Watts {
        Watts::of(self.expected)
    }

    /// Power to add to the aim.
    pub fn repay(&self, rated: Watts) -> Watts {
        let most = rated * REPAY_MOST;
        Watts::of(self.owed / REPAY_S).clamp(-most, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_a_ramp_withheld_is_repaid_and_no_more() {
        let rated = Watts::from_kw(60.0);
        let mut account = Account::new(Mono::START);
        let mut drawn = 0.0;
        let mut wanted = 0.0;
        for s in (10..14_400).step_by(10) {
            let now = Mono::from_start(Duration::from_secs(s));
            let ramp = Watts::from_kw(20.0).min(Watts::of(200.0 * f64::from(u32::try_from(s).unwrap())));
            let repay = account.repay(rated);
            assert!(repay.abs() <= Watts::of(600.0));
            let sent = ramp + repay;
            account.aim(Some(Watts::from_kw(20.0)));
            account.book(now, sent, rated);
            drawn += sent.get() * 10.0;
            wanted += 20_000.0 * 10.0;
        }
        assert!((drawn / wanted - 1.0).abs() < 0.005, "{drawn} of {wanted}");
        account.aim(None);
        assert_eq!(account.repay(rated), Watts::ZERO);
    }

    #[test]
    fn it_is_bounded() {
        let rated = Watts::from_kw(60.0);
        let mut account = Account::new(Mono::START);
        for s in 1..100_000u64 {
            account.aim(Some(rated));
            account.book(Mono::from_start(Duration::from_secs(s * 10)), Watts::ZERO, rated);
        }
        assert!(account.owed <= 0.02 * 60_000.0 * 3600.0 + 1e-6);
        assert_eq!(account.repay(rated), Watts::of(600.0));
    }
}
