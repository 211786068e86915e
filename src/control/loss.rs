//! Is the building's side alive, and what becomes of its last request when it is not. Never raises anything.
//!
//! ```text
//! Unheard --a request point is spoken through--> Alive --silence past the timeout, or a stale request--> Lost
//! Lost --a new write to a request point, and three good beats where a heartbeat is supervised--> Alive
//! ```

use std::time::Duration;

use crate::decision::RequestSource;
use crate::plant::{BmsLossPolicy, Zone, ZoneRole};
use crate::time::Mono;
use crate::units::{Celsius, Unit, Watts};

use super::inputs::{Inputs, REQUEST_ROLES};
use super::stretch;

/// Without a readable `bms_timeout`.
const DEFAULT_TIMEOUT_S: f64 = 300.0;
/// What `bms_timeout` may be, s (the BMS face).
const TIMEOUT_RANGE_S: (f64, f64) = (10.0, 3600.0);
/// Beats that make a supervised heartbeat trusted again.
const GOOD_BEATS: u8 = 3;

/// Whether the building's side gives signs of life.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    started: Mono,
    beat: Option<Beat>,
    life: Life,
}

/// A heartbeat that was ever written since the start.
#[derive(Debug, Clone, Copy)]
struct Beat {
    value: u64,
    changed: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Unheard,
    Alive,
    Lost { since: Mono, beats: u8 },
}

impl Watch {
    pub const fn new(now: Mono) -> Self {
        Self { started: now, beat: None, life: Life::Unheard }
    }

    pub const fn lost(&self) -> bool {
        matches!(self.life, Life::Lost { .. })
    }

    /// Look for signs of life. `stale`: the request that counts has expired. True when the alarm is due: lost, or never
    /// heard for longer than the timeout.
    pub fn update(&mut self, zone: &Zone, inputs: &Inputs<'_>, bms_liveness: f64, stale: bool) -> bool {
        let now = inputs.mono();
        let timeout = timeout(zone, inputs, bms_liveness);
        let beaten = self.beaten(zone, inputs);
        let spoken = REQUEST_ROLES.into_iter().filter_map(|role| inputs.spoken(zone.points.get(role)?)).max();
        let sign = match self.beat {
            // A heartbeat that was ever written is the only sign.
            Some(beat) => Some(beat.changed),
            None => zone
                .points
                .iter()
                .filter(|(_, point)| inputs.def(*point).is_some_and(|def| def.commandable().is_some()))
                .filter_map(|(_, point)| inputs.state(point)?.bms_write)
                .map(|at| at.mono)
                .max()
                .max(spoken),
        };
        let silent = now.since(sign.unwrap_or(self.started)) > timeout;
        self.life = match self.life {
            Life::Unheard | Life::Alive if sign.is_some() && (silent || stale) => Life::Lost { since: now, beats: 0 },
            Life::Unheard if sign.is_some() => Life::Alive,
            Life::Lost { since, beats } => {
                let beats = if silent { 0 } else { beats.saturating_add(u8::from(beaten)) };
                let steady = self.beat.is_none() || beats >= GOOD_BEATS;
                if spoken.is_some_and(|at| at > since) && steady && !silent && !stale {
                    Life::Alive
                } else {
                    Life::Lost { since, beats }
                }
            }
            same => same,
        };
        self.lost() || (self.life == Life::Unheard && silent)
    }

    /// Whether the heartbeat moved.
    fn beaten(&mut self, zone: &Zone, inputs: &Inputs<'_>) -> bool {
        let Some(point) = zone.points.get(ZoneRole::BmsHeartbeat) else { return false };
        let written = inputs.def(point).is_some_and(|def| def.commandable().is_none())
            || inputs.state(point).is_some_and(|state| state.bms_write.is_some());
        let Some(value) = inputs.count(Some(point)).filter(|_| written) else { return false };
        if self.beat.is_some_and(|beat| beat.value == value) {
            return false;
        }
        self.beat = Some(Beat { value, changed: inputs.mono() });
        true
    }
}

fn timeout(zone: &Zone, inputs: &Inputs<'_>, bms_liveness: f64) -> Duration {
    let (least, most) = TIMEOUT_RANGE_S;
    // A setting, not a sign of life: what stood before a restart goes on standing.
    let point = zone.points.get(ZoneRole::BmsTimeout);
    let asked = point.zip(inputs.standing(point)).and_then(|(id, value)| inputs.convert(id, value, Unit::Second));
    let asked = asked.unwrap_or(DEFAULT_TIMEOUT_S);
    stretch(Duration::from_secs_f64(asked.clamp(least, most)), bms_liveness)
}

/// The policy for a lost building side, on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Policy {
    since: Mono,
    /// What it asks now; it starts at what was asked last and never grows.
    heat: Watts,
    at: Mono,
}

/// What the policy asks now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub heat: Watts,
    pub source: RequestSource,
    /// In words.
    pub words: &'static str,
    /// It has ended: nobody's request is followed.
    pub ended: bool,
}

impl Policy {
    pub const fn new(now: Mono, held: Watts) -> Self {
        Self { since: now, heat: held, at: now }
    }

    /// The next step. `outdoor` is `None` when it cannot be read: that counts as not cold.
    pub fn step(&mut self, now: Mono, zone: &Zone, outdoor: Option<Celsius>) -> Step {
        let lost_for = now.since(self.since);
        let share = |percent: f64| zone.nominal_heat * (percent.clamp(0.0, 100.0) / 100.0);
        let (heat, held, words) = match zone.on_bms_loss {
            BmsLossPolicy::Cancel => (Watts::ZERO, false, "cancelled"),
            BmsLossPolicy::Fallback { percent, for_ } if lost_for < for_ => (share(percent), false, "fallback percent"),
            BmsLossPolicy::Fallback { .. } => (Watts::ZERO, false, "the fallback percent ended, cancelled"),
            BmsLossPolicy::Hold { hold, .. } if lost_for < hold => (self.heat, true, "the last request is held"),
            BmsLossPolicy::Hold { hold, fallback_percent, below_outdoor, fallback_for, percent_per_min } => {
                let over = fallback_for.is_some_and(|most| lost_for.saturating_sub(hold) >= most);
                let cold = below_outdoor.is_none_or(|limit| outdoor.is_some_and(|at| at < limit));
                let (goal, words) = match (over, cold) {
                    (true, _) => (Watts::ZERO, "the fallback percent ended, cancelled"),
                    (false, true) => (share(fallback_percent), "held long enough, down to the fallback percent"),
                    (false, false) => (Watts::ZERO, "held long enough, down to off"),
                };
                let moving = now.since(self.at.max(self.since.after(hold)));
                let fall = zone.nominal_heat * (percent_per_min.max(0.0) / 100.0 * moving.as_secs_f64() / 60.0);
                ((self.heat - fall).max(goal), false, words)
            }
        };
        self.heat = heat.min(self.heat).max(Watts::ZERO);
        self.at = now;
        let ended = !held && self.heat <= Watts::ZERO;
        let source = match (held, ended) {
            (true, _) => RequestSource::Hold,
            (false, true) => RequestSource::None,
            (false, false) => RequestSource::Fallback,
        };
        Step { heat: self.heat, source, words, ended }
    }
}
