//! The mode of a zone: whose wish it follows.
//!
//! ```text
//!          a good request, spoken since the start
//!   Init ------------------------------------------> Auto <----------------------------+
//!    ^  \                                            | ^ \                             |
//!    |   \ a person's override (priority 1 to 8)     | |  \ request unreadable         | a new write, and three
//!    |    +----> Manual <----- from every mode ------+ |   +--------> NoRequest -------+ good beats where a
//!    |             |                                 | +-- readable -----+             | heartbeat is supervised
//!    |             | released: where it would be     |                                 |
//!    |             v without                         +-- silence, or request expired --+--> BmsLost(policy)
//!    |
//!    | re-armed by a person on the spot
//!   Safety(latch) <-- emergency stop or over-temperature input, from every mode
//! ```
//!
//! A lost controller is a state of its heater (`heater`), a lost meter an alarm of the zone (`report`): the zone goes on
//! in its mode without them. Init, NoRequest and BmsLost raise no power; Init after a start is the fail-safe cap.

use crate::decision::SafetyLatch;
use crate::time::Mono;
use crate::units::Watts;

use super::loss::Policy;

/// Whose wish the zone follows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    /// Nobody has asked since the start, or since a person re-armed (`boot` false).
    Init {
        /// The heaters may still run as the process before left them.
        boot: bool,
    },
    /// The building's request.
    Auto,
    /// A person's; what the building's loss had come to waits.
    Manual {
        /// The policy to go on with when the override is released.
        suspended: Option<Policy>,
    },
    /// The building is alive, and its request cannot be read.
    NoRequest,
    /// The building is lost: its policy.
    BmsLost(Policy),
    /// Stopped until a person re-arms.
    Safety(SafetyLatch),
}

/// What decides about the mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// A request can be read.
    pub readable: bool,
    /// And it is a person's.
    pub manual: bool,
    /// The building has spoken since the start.
    pub spoken: bool,
    /// The building is lost.
    pub lost: bool,
    /// The last heat that the building asked for.
    pub held: Watts,
}

impl Mode {
    /// The latch, where it is one.
    pub const fn latch(&self) -> Option<&SafetyLatch> {
        if let Self::Safety(latch) = self { Some(latch) } else { None }
    }

    /// The next mode.
    pub fn next(self, seen: Seen, latch: Option<SafetyLatch>, now: Mono) -> Self {
        if let Some(latch) = latch {
            return Self::Safety(latch);
        }
        let by_hand = seen.readable && seen.manual;
        match self {
            Self::Safety(latch) => Self::Safety(latch),
            Self::Manual { suspended } if by_hand => Self::Manual { suspended },
            Self::BmsLost(policy) if by_hand => Self::Manual { suspended: Some(policy) },
            _ if by_hand => Self::Manual { suspended: None },
            Self::Init { boot } if !(seen.readable && seen.spoken) || seen.lost => Self::Init { boot },
            Self::Manual { .. } if !seen.spoken => Self::Init { boot: false },
            Self::NoRequest if seen.lost => Self::NoRequest,
            Self::BmsLost(policy) | Self::Manual { suspended: Some(policy) } if seen.lost => Self::BmsLost(policy),
            _ if seen.lost => Self::BmsLost(Policy::new(now, seen.held)),
            _ if seen.readable => Self::Auto,
            _ => Self::NoRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Alarm;
    use crate::time::Utc;

    const NOW: Mono = Mono::START;

    fn latch() -> SafetyLatch {
        SafetyLatch { cause: Alarm::EmergencyStop, since: Utc::default() }
    }

    fn policy() -> Policy {
        Policy::new(NOW, Watts::of(1.0))
    }

    /// Every mode that there is, with and without what it may own.
    fn modes() -> Vec<Mode> {
        vec![
            Mode::Init { boot: true },
            Mode::Init { boot: false },
            Mode::Auto,
            Mode::Manual { suspended: None },
            Mode::Manual { suspended: Some(policy()) },
            Mode::NoRequest,
            Mode::BmsLost(policy()),
            Mode::Safety(latch()),
        ]
    }

    fn seen() -> impl Iterator<Item = Seen> {
        (0..16u8).map(|bits| Seen {
            readable: bits & 1 != 0,
            manual: bits & 2 != 0,
            spoken: bits & 4 != 0,
            lost: bits & 8 != 0,
            held: Watts::of(2.0),
        })
    }

    /// The diagram above, one line for each arrow.
    fn drawn(mode: &Mode, seen: Seen) -> Mode {
        let by_hand = seen.readable && seen.manual;
        match (mode, by_hand) {
            (Mode::Safety(latch), _) => Mode::Safety(latch.clone()),
            (Mode::Manual { suspended }, true) => Mode::Manual { suspended: suspended.clone() },
            (Mode::BmsLost(policy), true) => Mode::Manual { suspended: Some(policy.clone()) },
            (_, true) => Mode::Manual { suspended: None },
            (Mode::Init { boot }, false) => {
                if seen.readable && seen.spoken && !seen.lost {
                    Mode::Auto
                } else {
                    Mode::Init { boot: *boot }
                }
            }
            (Mode::Manual { .. }, false) if !seen.spoken => Mode::Init { boot: false },
            (Mode::BmsLost(policy) | Mode::Manual { suspended: Some(policy) }, false) if seen.lost => {
                Mode::BmsLost(policy.clone())
            }
            (Mode::NoRequest, false) if seen.lost => Mode::NoRequest,
            (_, false) if seen.lost => Mode::BmsLost(Policy::new(NOW, seen.held)),
            (_, false) if seen.readable => Mode::Auto,
            (_, false) => Mode::NoRequest,
        }
    }

    #[test]
    fn every_mode_moves_as_drawn_whatever_is_seen() {
        for mode in modes() {
            for seen in seen() {
                assert_eq!(mode.clone().next(seen, None, NOW), drawn(&mode, seen), "{mode:?} {seen:?}");
                assert_eq!(mode.clone().next(seen, Some(latch()), NOW), Mode::Safety(latch()), "{mode:?} {seen:?}");
            }
        }
    }

    #[test]
    fn the_building_is_followed_only_while_it_lives_and_can_be_read() {
        for mode in modes() {
            for seen in seen() {
                let follows = mode.clone().next(seen, None, NOW) == Mode::Auto;
                let from_start = matches!(mode, Mode::Init { .. } | Mode::Manual { .. });
                assert!(!follows || (seen.readable && !seen.lost && (seen.spoken || !from_start)), "{mode:?} {seen:?}");
            }
        }
    }

    /// Every mode is reached from the start, and every one but the latch is left for the building's request again.
    #[test]
    fn no_mode_is_a_trap_but_the_latch() {
        let after = |mode: &Mode| -> Vec<Mode> {
            let without = seen().map(|seen| mode.clone().next(seen, None, NOW));
            without.chain([mode.clone().next(seen().next().unwrap(), Some(latch()), NOW)]).collect()
        };
        let mut reached = vec![Mode::Init { boot: true }];
        let mut at = 0;
        while let Some(mode) = reached.get(at).cloned() {
            for next in after(&mode) {
                let same = |other: &&Mode| std::mem::discriminant(*other) == std::mem::discriminant(&next);
                if !reached.contains(&next) && reached.iter().filter(same).count() < 3 {
                    reached.push(next);
                }
            }
            at += 1;
        }
        for mode in modes() {
            let same = |other: &Mode| std::mem::discriminant(other) == std::mem::discriminant(&mode);
            assert!(reached.iter().any(same), "{mode:?} is never reached");
            let back = after(&mode).contains(&Mode::Auto);
            assert_eq!(back, !matches!(mode, Mode::Safety(_)), "{mode:?}");
        }
    }
}
