//! How well heaters keep their caps when they settle: some end a little under them, and that is made up for.

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// Only this long after the last change,
const SETTLED: Duration = Duration::from_secs(90);
/// and only where the gap is less than this share of the caps: a larger one is a shortage of jobs.
const SMALL: f64 = 0.05;
/// How slowly it is learned, s.
const SLOW_S: f64 = 1800.0;
/// Never beyond this.
const BOUNDS: (f64, f64) = (0.95, 1.05);

/// Measured power per cap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compliance {
    kappa: f64,
    sent: Watts,
    changed: Mono,
    at: Mono,
}

impl Compliance {
    pub const fn new(now: Mono) -> Self {
        Self { kappa: 1.0, sent: Watts::ZERO, changed: now, at: now }
    }

    /// Look at what the heaters that take part draw of what they were told.
    pub fn observe(&mut self, now: Mono, sent: Watts, measured: Option<Watts>, tick: Duration) {
        let dt = now.since(self.at).min(tick).as_secs_f64();
        self.at = now;
        if (sent - self.sent).abs() > Watts::of(0.5) {
            self.sent = sent;
            self.changed = now;
        }
        let Some(ratio) = measured.and_then(|measured| measured.ratio(sent)) else { return };
        if now.since(self.changed) >= SETTLED && (ratio - 1.0).abs() < SMALL {
            self.kappa = (self.kappa + (ratio - self.kappa) * dt / SLOW_S).clamp(BOUNDS.0, BOUNDS.1);
        }
    }

    /// Measured power per cap, 0.95 to 1.05.
    pub const fn kappa(&self) -> f64 {
        self.kappa
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(sent: f64, measured: Option<f64>) -> f64 {
        let mut compliance = Compliance::new(Mono::START);
        for s in (10..7200).step_by(10) {
            let now = Mono::from_start(Duration::from_secs(s));
            let tick = Duration::from_secs(20);
            compliance.observe(now, Watts::from_kw(sent), measured.map(Watts::from_kw), tick);
        }
        compliance.kappa()
    }

    #[test]
    fn a_small_gap_is_learned_and_a_shortage_of_jobs_is_not() {
        assert!((settled(30.0, Some(29.4)) - 0.98).abs() < 0.001);
        for (sent, measured) in [(30.0, Some(12.0)), (30.0, None), (0.0, Some(15.0))] {
            assert!((settled(sent, measured) - 1.0).abs() < 1e-12);
        }
    }
}
