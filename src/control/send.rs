//! When a zone's commands are renewed: rarely enough for controllers, at once where it matters (CONTROL law, 8).

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// A change smaller than this share of rated power is not worth a command.
pub(super) const DEADBAND: f64 = 0.01;
/// Time between two steps up.
const UP_APART: Duration = Duration::from_secs(20);
/// Time between two ordinary steps down: one tick, so that quicker ticks do not multiply commands.
const DOWN_APART: Duration = Duration::from_secs(10);
/// The same sum is shared anew when a heater is this share of the zone's rated power away from its part.
const UNEVEN: f64 = 0.02;
/// Differences below this are arithmetic, W.
const NOTHING: Watts = Watts::of(0.5);

/// What stands and what is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Rated power of the zone.
    pub rated: Watts,
    /// Sum of the caps as sent.
    pub sent: Watts,
    /// Where the ramp is.
    pub ramp: Watts,
    /// Where it goes.
    pub target: Watts,
    /// Highest sum allowed.
    pub ceiling: Watts,
    /// Highest sum that may stand for a moment: limits and temperatures.
    pub hard: Watts,
    /// Lowest sum that is meant to be held now.
    pub floor: Watts,
    /// Largest difference of one heater from its share of `ramp`.
    pub uneven: Watts,
}

/// The memory of what was sent when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gate {
    up: Option<Mono>,
    any: Option<Mono>,
    limits: Option<(Watts, Watts)>,
}

impl Gate {
    /// Whether to send now; the caller does when told so.
    pub fn open(&mut self, now: Mono, at: Standing) -> bool {
        let steady = self.limits.replace((at.floor, at.ceiling)) == Some((at.floor, at.ceiling));
        let open = self.due(now, at, steady);
        if open {
            self.any = Some(now);
            if at.ramp > at.sent + NOTHING {
                self.up = Some(now);
            }
        }
        open
    }

    fn due(&self, now: Mono, at: Standing, steady: bool) -> bool {
        let passed = |since: Option<Mono>, apart| since.is_none_or(|since| now.since(since) >= apart);
        if at.sent > at.hard + NOTHING {
            return true;
        }
        let change = at.ramp - at.sent;
        let deadband = at.rated * DEADBAND;
        if change.abs() <= NOTHING || (change.abs() < deadband && at.uneven >= at.rated * UNEVEN) {
            // A sum that is not worth a command by itself does not keep a heater from its share.
            return at.uneven >= at.rated * UNEVEN && passed(self.any, UP_APART);
        }
        let waits = if change > Watts::ZERO { !passed(self.up, UP_APART) } else { !passed(self.any, DOWN_APART) };
        if waits {
            return false;
        }
        let left = (at.target - at.ramp).abs();
        if change.abs() >= deadband {
            // Better one command that arrives than one that stops just short of the target.
            return left <= NOTHING || left >= deadband;
        }
        let stands = |limit: Watts| (at.ramp - limit).abs() <= NOTHING && left <= NOTHING;
        steady && (stands(at.floor) || stands(at.ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono::from_start(Duration::from_secs(s))
    }

    fn standing(sent: f64, ramp: f64, target: f64) -> Standing {
        Standing {
            rated: Watts::from_kw(60.0),
            sent: Watts::from_kw(sent),
            ramp: Watts::from_kw(ramp),
            target: Watts::from_kw(target),
            ceiling: Watts::from_kw(60.0),
            hard: Watts::from_kw(60.0),
            floor: Watts::from_kw(15.0),
            uneven: Watts::ZERO,
        }
    }

    #[test]
    fn steps_up_are_twenty_seconds_apart() {
        let mut gate = Gate::default();
        assert!(gate.open(at(0), standing(15.0, 17.0, 30.0)));
        assert!(!gate.open(at(10), standing(17.0, 19.0, 30.0)));
        assert!(gate.open(at(20), standing(17.0, 21.0, 30.0)));
    }

    #[test]
    fn small_changes_wait_and_the_last_step_lands_on_the_target() {
        let mut gate = Gate::default();
        assert!(!gate.open(at(0), standing(20.0, 20.5, 20.5)));
        assert!(!gate.open(at(10), standing(20.0, 24.6, 25.0)), "the next tick arrives");
        assert!(gate.open(at(20), standing(20.0, 25.0, 25.0)));
    }

    #[test]
    fn at_a_steady_limit_the_rest_is_sent() {
        let mut gate = Gate::default();
        assert!(!gate.open(at(0), standing(59.8, 60.0, 60.0)), "a limit that has just moved is not steady");
        assert!(gate.open(at(30), standing(59.8, 60.0, 60.0)));
        assert!(gate.open(at(60), standing(15.3, 15.0, 15.0)));
    }

    #[test]
    fn a_small_change_of_the_sum_does_not_keep_a_heater_from_its_share() {
        let mut gate = Gate::default();
        assert!(gate.open(at(0), standing(15.0, 20.0, 20.0)));
        let uneven = Standing { uneven: Watts::from_kw(5.0), ..standing(20.0, 20.3, 20.3) };
        assert!(!gate.open(at(10), uneven));
        assert!(gate.open(at(20), uneven));
    }

    #[test]
    fn above_a_ceiling_nothing_waits() {
        let mut gate = Gate::default();
        assert!(gate.open(at(0), standing(15.0, 20.0, 30.0)));
        let low = Standing { hard: Watts::from_kw(19.9), ..standing(20.0, 19.9, 19.9) };
        assert!(gate.open(at(1), low));
    }
}
