//! A building's request that trembles (a noisy room sensor, a lively loop) would make a command of each tremble. The more it
//! reverses itself, the slower it is followed; a change that stands out of the tremble is followed at once.

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// A change that reverses the one before it within this is a tremble.
const REVERSED_WITHIN: Duration = Duration::from_secs(300);
/// How quickly the size of the tremble is learned, and forgotten.
const LEARN: f64 = 0.1;
/// A larger tremble than this share counts as this.
const TREMBLE_MOST: f64 = 0.05;
/// What stands out: this many times the tremble,
const STANDS_OUT: f64 = 5.0;
/// or this share of rated power.
const STANDS_OUT_MOST: f64 = 0.08;
/// Slowest following, s, for a tremble of this share or more.
const SLOWEST_S: f64 = 300.0;
const SLOWEST_AT: f64 = 0.01;
/// Changes below this share are arithmetic.
const NOTHING: f64 = 1e-6;

/// The memory of a zone's request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Jitter {
    /// Size of the tremble, share of nominal heat.
    size: f64,
    /// The request, share of nominal heat.
    asked: Option<f64>,
    /// The last change, and when.
    change: Option<(f64, Mono)>,
    /// What is followed, W.
    followed: Option<f64>,
    at: Mono,
}

impl Jitter {
    /// The power to follow for a request of this share of nominal heat that asks for `power`.
    pub fn follow(&mut self, now: Mono, asked: f64, power: Watts, rated: Watts) -> Watts {
        self.learn(now, asked);
        let dt = now.since(self.at).as_secs_f64();
        self.at = now;
        let power = power.get();
        let stands_out = rated.get() * STANDS_OUT_MOST.min(STANDS_OUT * self.size);
        let slow = SLOWEST_S * (self.size / SLOWEST_AT).min(1.0);
        let next = match self.followed {
            Some(before) if (power - before).abs() <= stands_out && slow > 0.0 => {
                before + (power - before) * -f64::exp_m1(-dt / slow)
            }
            _ => power,
        };
        self.followed = Some(next);
        Watts::of(next)
    }

    fn learn(&mut self, now: Mono, asked: f64) {
        let Some(before) = self.asked.replace(asked) else { return };
        let change = asked - before;
        if change.abs() <= NOTHING {
            return;
        }
        let reversed = self
            .change
            .filter(|(last, when)| last * change < 0.0 && now.since(*when) <= REVERSED_WITHIN)
            .map(|(last, _)| change.abs().min(last.abs()).min(TREMBLE_MOST));
        match reversed {
            Some(tremble) => self.size += LEARN * (tremble - self.size),
            None => self.size *= 1.0 - LEARN,
        }
        self.change = Some((change, now));
    }

    /// Nobody asks: begin with the next request as it is. The tremble is remembered.
    pub const fn rest(&mut self) {
        self.followed = None;
        self.asked = None;
    }

    /// Whether the request is followed slowly.
    pub fn slows(&self) -> bool {
        self.size * SLOWEST_S / SLOWEST_AT > 30.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATED: Watts = Watts::of(60_000.0);

    fn at(s: u64) -> Mono {
        Mono::from_start(Duration::from_secs(s))
    }

    #[test]
    fn a_quiet_request_is_followed_at_once() {
        let mut jitter = Jitter::default();
        for (s, percent) in [(0, 20.0), (60, 45.0), (120, 30.0), (4000, 50.0)] {
            let power = Watts::of(percent * 600.0);
            let followed = jitter.follow(at(s), percent / 100.0, power, RATED);
            if !(120..=1000).contains(&s) {
                assert!((followed - power).abs() < Watts::of(1.0) || s == 4000, "{followed} at {s} s");
            }
        }
    }

    #[test]
    fn a_trembling_one_is_smoothed_and_a_step_stands_out() {
        let mut jitter = Jitter::default();
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for n in 0..200u64 {
            let percent = 40.0 + if n % 2 == 0 { 1.0 } else { -1.0 };
            let followed = jitter.follow(at(n * 60), percent / 100.0, Watts::of(percent * 600.0), RATED);
            if n > 100 {
                low = low.min(followed.get());
                high = high.max(followed.get());
            }
        }
        assert!(high - low < 150.0 && (f64::midpoint(high, low) - 24_000.0).abs() < 100.0, "{low} to {high}");
        assert!(jitter.slows());
        let step = jitter.follow(at(12_060), 0.8, Watts::of(48_000.0), RATED);
        assert_eq!(step, Watts::of(48_000.0));
    }
}
