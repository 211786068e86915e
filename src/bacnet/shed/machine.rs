//! The shed of one zone as a pure machine (clause 12.28, figure 12-4): requests, the image's power and the time in; the
//! state, what is to be shown, and the limit that must be in force out.
//!
//! ```text
//!            Requested_Shed_Level asks for something
//!  inactive ──────────────────────────────────────────► pending ◄──────────────────────────┐
//!     ▲  ▲   cancelled, or its time has passed            │ Start_Time is reached          │ any part of the
//!     │  └────────────────────────────────────────────────┤                                │ request is written
//!     │                                                   ▼                                │
//!     │ cancelled, disabled, or                   active: non-compliant ◄──► compliant ────┘
//!     └── Start_Time + Shed_Duration ─────────────        judged by the measured power
//! ```
//! - A request is complete with a level that sheds, a Start_Time and a Shed_Duration; until then it stays pending.
//! - Writing the default level, or an unspecified Start_Time over a specified one, cancels it.
//! - Its end, its cancellation and Enable = false put the defaults back and lift the limit. Nothing else does.
//! - The end is civil time; once begun it is counted on the monotonic clock, so that a clock that is set neither prolongs
//!   nor cuts a shed. After a restart it is read from civil time once more, and a clock that stands before Start_Time is
//!   taken for wrong, not for a shed that lies ahead.

use std::time::Duration;

use super::level::{Level, Scale};
use super::window::Window;
use crate::bacnet::civil::DateTime;
use crate::time::{Mono, Now, Utc};
use crate::units::Watts;

/// Duty_Window while nobody wrote another, minutes: the quarter of an hour that electricity is billed by.
pub(super) const DEFAULT_WINDOW: u32 = 15;
/// Longest Duty_Window, minutes.
pub(in crate::bacnet) const LONGEST_WINDOW: u32 = 1_440;
/// Longest Shed_Duration, minutes: a week. A shed is a lease, and no lease is for ever.
pub(in crate::bacnet) const LONGEST_DURATION: u32 = 10_080;
/// What the measured power may pass the target by, share of the baseline: what meters and heaters differ by.
const TOLERANCE: f64 = 0.01;

/// BACnetShedState.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) enum State {
    Inactive,
    Pending,
    Compliant,
    NonCompliant,
}

impl State {
    /// Its number on the wire (clause 21).
    pub(in crate::bacnet) const fn code(self) -> u32 {
        match self {
            Self::Inactive => 0,
            Self::Pending => 1,
            Self::Compliant => 2,
            Self::NonCompliant => 3,
        }
    }
}

/// The limit that must be in force.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Wanted {
    /// Whatever is in force: nothing is known of an earlier life, and what it left binds until somebody says otherwise.
    Untouched,
    /// None.
    Nothing,
    /// At most this.
    AtMost(Watts),
}

/// A write that was checked: it cannot fail any more.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bacnet) enum Change {
    Level(Level),
    Start(DateTime),
    /// Minutes.
    Duration(u32),
    /// Minutes.
    Window(u32),
    Enable(bool),
    /// Shed_Levels, as many as there are.
    Numbers(Vec<u32>),
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Inactive,
    /// Asked for; where a shed was asked anew, what is in force goes on to its end at most.
    Pending {
        held: Option<Mono>,
    },
    /// Begun, with its end; compliant or not.
    Active {
        until: Mono,
        compliant: bool,
    },
}

/// What a client may set, and what survives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) struct Request {
    pub(in crate::bacnet) enable: bool,
    pub(in crate::bacnet) level: Level,
    pub(in crate::bacnet) start: DateTime,
    /// Minutes.
    pub(in crate::bacnet) duration: u32,
    /// Minutes.
    pub(in crate::bacnet) window: u32,
}

impl Request {
    /// Nothing is asked. Every device must know the choice LEVEL (clause 12.28.9).
    pub(super) const NONE: Self =
        Self { enable: true, level: Level::Step(0), start: DateTime::ANY, duration: 0, window: DEFAULT_WINDOW };

    /// First and last instant; `None` while it is not complete.
    fn times(&self) -> Option<(Utc, Utc)> {
        let start = self.start.instant()?;
        let end = Utc::from_millis(start.millis() + i64::from(self.duration) * 60_000);
        (self.duration > 0 && !self.level.is_default()).then_some((start, end))
    }

    /// The defaults; the choice of the level and Enable stay.
    const fn reset(&mut self) {
        *self = Self { enable: self.enable, level: self.level.default_of(), ..Self::NONE };
    }
}

/// The shed of one zone.
#[derive(Debug)]
pub(in crate::bacnet) struct Shed {
    pub(in crate::bacnet) request: Request,
    pub(in crate::bacnet) scale: Scale,
    phase: Phase,
    wanted: Wanted,
    window: Window,
    /// The power now, where it can be measured.
    power: Option<Watts>,
}

impl Shed {
    /// Inactive, with nothing known of an earlier life.
    pub(super) const fn new(scale: Scale) -> Self {
        Self {
            request: Request::NONE,
            scale,
            phase: Phase::Inactive,
            wanted: Wanted::Untouched,
            window: Window::new(),
            power: None,
        }
    }

    /// As an earlier life left it.
    pub(super) fn restore(&mut self, request: Request, active: bool, now: Now) {
        self.request = request;
        self.wanted = Wanted::Nothing;
        self.phase =
            if request.level.is_default() || !request.enable { Phase::Inactive } else { Phase::Pending { held: None } };
        if let Some((start, end)) = request.times().filter(|_| active) {
            self.begin(start.max(now.utc), end, now);
        }
    }

    /// Whether a limit is in force for a request.
    pub(super) const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active { .. } | Phase::Pending { held: Some(_) })
    }

    /// Present_Value.
    pub(in crate::bacnet) const fn state(&self) -> State {
        match self.phase {
            Phase::Inactive => State::Inactive,
            Phase::Pending { .. } => State::Pending,
            Phase::Active { compliant: true, .. } => State::Compliant,
            Phase::Active { compliant: false, .. } => State::NonCompliant,
        }
    }

    /// The limit that must be in force.
    pub(in crate::bacnet) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Whether the power can be measured.
    pub(in crate::bacnet) const fn is_measured(&self) -> bool {
        self.power.is_some()
    }

    /// Expected_Shed_Level: what can be reached of the request; the default without one.
    pub(in crate::bacnet) fn expected(&self) -> Level {
        match self.phase {
            Phase::Inactive => self.request.level.default_of(),
            Phase::Pending { .. } | Phase::Active { .. } => {
                let target = self.scale.power(self.request.level);
                if target >= self.scale.floor {
                    self.request.level
                } else {
                    self.scale.level(self.scale.floor, self.request.level)
                }
            }
        }
    }

    /// Actual_Shed_Level: the mean over the duty window; the default while nothing is shed.
    pub(in crate::bacnet) fn actual(&self) -> Level {
        let like = self.request.level;
        match (self.phase, self.window.mean().or(self.power)) {
            (Phase::Active { .. }, Some(mean)) => self.scale.level(mean, like),
            _ => like.default_of(),
        }
    }

    /// State_Description.
    pub(in crate::bacnet) fn describe(&self) -> String {
        let target = self.scale.power(self.request.level).kw();
        match self.phase {
            Phase::Inactive if !self.request.enable => "disabled".to_owned(),
            Phase::Inactive if self.wanted == Wanted::Untouched => {
                "no request since the restart; a limit from before it stays in force until one ends".to_owned()
            }
            Phase::Inactive => "no shed".to_owned(),
            Phase::Pending { .. } if self.request.start.instant().is_none() => "waits for Start_Time".to_owned(),
            Phase::Pending { .. } if self.request.duration == 0 => "waits for Shed_Duration".to_owned(),
            Phase::Pending { .. } => format!("will hold {target:.1} kW from Start_Time"),
            Phase::Active { .. } if self.power.is_none() => {
                format!("holds {target:.1} kW; the power cannot be measured")
            }
            Phase::Active { compliant: true, .. } => format!("holds {target:.1} kW"),
            Phase::Active { .. } if target < self.scale.floor.kw() => {
                format!("asked for {target:.1} kW, and the zone cannot go below {:.1} kW", self.scale.floor.kw())
            }
            Phase::Active { .. } => format!("asked for {target:.1} kW, and more is drawn"),
        }
    }

    /// Do what was written; the state follows with the same call.
    pub(in crate::bacnet) fn apply(&mut self, change: &Change, now: Now) {
        let request = &mut self.request;
        let cancels = match *change {
            Change::Numbers(ref numbers) => return self.renumber(numbers),
            Change::Level(level) => {
                request.level = level;
                level.is_default()
            }
            Change::Start(start) => {
                let before = std::mem::replace(&mut request.start, start);
                start.is_any() && !before.is_any()
            }
            Change::Duration(minutes) => {
                request.duration = minutes;
                false
            }
            Change::Window(minutes) => {
                request.window = minutes;
                false
            }
            Change::Enable(yes) => {
                request.enable = yes;
                !yes
            }
        };
        if cancels && (self.phase != Phase::Inactive || matches!(change, Change::Enable(false) | Change::Level(_))) {
            self.end(self.phase != Phase::Inactive);
        } else if self.request.enable && !self.request.level.is_default() {
            let held = match self.phase {
                Phase::Inactive => None,
                Phase::Pending { held } => held,
                Phase::Active { until, .. } => Some(until),
            };
            self.phase = Phase::Pending { held };
        }
        self.settle(now);
    }

    /// New numbers for the levels; what each of them sheds stays.
    pub(super) fn renumber(&mut self, numbers: &[u32]) {
        if numbers.len() == self.scale.levels.len() {
            self.scale.levels.iter_mut().zip(numbers).for_each(|(level, number)| level.number = *number);
        }
    }

    /// Time has passed, and the power is this.
    pub(super) fn step(&mut self, power: Option<Watts>, now: Now) {
        self.power = power;
        if matches!(self.phase, Phase::Active { .. }) {
            self.window.add(power, Duration::from_secs(u64::from(self.request.window) * 60), now.mono);
        }
        self.settle(now);
        if let Phase::Active { until, .. } = self.phase {
            self.phase = Phase::Active { until, compliant: self.complies() };
        }
    }

    /// Begin or end what is due.
    fn settle(&mut self, now: Now) {
        match self.phase {
            Phase::Inactive => {}
            Phase::Pending { held } => match self.request.times() {
                Some((_, end)) if end <= now.utc => self.end(true),
                Some((start, end)) if start <= now.utc => self.begin(now.utc, end, now),
                // Asked anew for later: what was shed until now ends.
                Some(_) if held.is_some() => {
                    self.phase = Phase::Pending { held: None };
                    self.wanted = Wanted::Nothing;
                }
                Some(_) => {}
                // A part is missing still.
                None if held.is_some_and(|held| held <= now.mono) => self.end(true),
                None => {}
            },
            Phase::Active { until, .. } if until <= now.mono => self.end(true),
            Phase::Active { .. } => {}
        }
    }

    fn begin(&mut self, from: Utc, end: Utc, now: Now) {
        let left = end.millis().saturating_sub(from.millis()).max(0).unsigned_abs();
        self.phase = Phase::Active { until: now.mono.after(Duration::from_millis(left)), compliant: false };
        self.wanted = Wanted::AtMost(self.scale.power(self.request.level));
        self.window.clear();
        let compliant = self.complies();
        if let Phase::Active { compliant: shown, .. } = &mut self.phase {
            *shown = compliant;
        }
    }

    /// Over: no limit, and the defaults where a request stood.
    const fn end(&mut self, reset: bool) {
        self.phase = Phase::Inactive;
        if reset {
            self.request.reset();
        }
        self.wanted = Wanted::Nothing;
    }

    /// Whether the zone draws no more than it may: by its mean once a duty window is full, and by what it draws now until
    /// then. Without a measurement it does not.
    fn complies(&self) -> bool {
        let most = self.scale.power(self.request.level) + self.scale.baseline * TOLERANCE;
        self.power.is_some_and(|power| {
            let drawn =
                if self.window.is_full(self.request.window) { self.window.mean().unwrap_or(power) } else { power };
            drawn <= most
        })
    }
}
