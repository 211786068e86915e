//! One heater: whether its controller can be commanded, what it was told last, and whether it does it.
//!
//! ```text
//! Unheard --fresh telemetry--> In <--ready, starting-- Out(local, fault, off, unknown)
//!                              |  --------------------> (by its own state)
//!                              +--offline, stale telemetry, no ack in 3 x 10 s--> Lost --all of it back--> In or Out
//! ```
//!
//! A lost heater is still addressed, with a cap that is never above its fallback: so it finds its way back by itself.

use std::time::Duration;

use crate::decision::{Command, Reason};
use crate::plant::{Heater, HeaterRole};
use crate::point::Value;
use crate::time::{Mono, Now};
use crate::units::Watts;

use super::allocation::Room;
use super::inputs::Inputs;
use super::stretch;

/// An unacknowledged command is repeated after this,
const ACK_EVERY: Duration = Duration::from_secs(10);
/// and after three of them the controller is lost.
const ACK_WITHIN: Duration = Duration::from_secs(30);
/// The same cap is sent again after this, or after a third of a shorter lease.
const REFRESH: Duration = Duration::from_secs(60);
/// Power above the applied cap by this share of rated power,
const FOLLOW_WITHIN: f64 = 0.05;
/// for this long, is not following.
const FOLLOW_AFTER: Duration = Duration::from_secs(60);
/// The acknowledgement that a command was refused.
const REJECTED: u64 = 3;

/// Whether the controller can be commanded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Presence {
    /// Nothing heard since the start.
    Unheard,
    /// It takes part.
    In,
    /// It is heard, and takes no part: why.
    Out(&'static str),
    /// It is lost.
    Lost {
        since: Mono,
        /// The cap that it may still obey until its lease ends.
        before: Watts,
        why: &'static str,
    },
}

/// What control knows of a heater.
#[derive(Debug, Clone)]
pub(super) struct HeaterControl {
    pub presence: Presence,
    /// The cap as sent; before the first command, where the heater is by itself.
    pub cap: Watts,
    /// The newest command.
    pub command: Option<Command>,
    seq: u64,
    /// The oldest command that waits for its acknowledgement, and since when.
    unacked: Option<(u64, Mono)>,
    over_since: Option<Mono>,
    pub not_following: bool,
    /// Most power that it said it can draw; kept when it cannot be read.
    most: Option<Watts>,
    started: Mono,
    /// It has a share of the zone's power; in staged allocation the others rest.
    pub staged: bool,
    /// How long it has run above rest, earlier lives included.
    pub run: Duration,
    looked: Mono,
}

impl HeaterControl {
    pub fn new(heater: &Heater, now: Mono) -> Self {
        Self {
            presence: Presence::Unheard,
            cap: heater.fallback,
            command: None,
            seq: 0,
            unacked: None,
            over_since: None,
            not_following: false,
            most: None,
            started: now,
            staged: true,
            run: Duration::ZERO,
            looked: now,
        }
    }

    /// Look at its telemetry, state and acknowledgements.
    pub fn observe(&mut self, heater: &Heater, inputs: &Inputs<'_>) {
        // Time of a stall is time that it ran all the same.
        let passed = inputs.mono().since(std::mem::replace(&mut self.looked, inputs.mono()));
        if self.cap > resting(heater) {
            self.run = self.run.saturating_add(passed);
        }
        self.acknowledge(heater, inputs);
        self.most = inputs.watts(heater.points.get(HeaterRole::Max)).or(self.most);
        self.presence = self.judge(heater, inputs);
        self.follow(heater, inputs);
    }

    fn acknowledge(&mut self, heater: &Heater, inputs: &Inputs<'_>) {
        if heater.points.get(HeaterRole::AckSeq).is_none() {
            self.unacked = None;
            return;
        }
        let Some((waiting, _)) = self.unacked else { return };
        let said = |role| inputs.said(heater.points.get(role)).and_then(Value::as_u64);
        if said(HeaterRole::AckResult) == Some(REJECTED) {
            return;
        }
        if let Some(acked) = said(HeaterRole::AckSeq).filter(|acked| (waiting..=self.seq).contains(acked)) {
            self.unacked = (acked < self.seq).then(|| (acked.saturating_add(1), inputs.mono()));
        }
    }

    fn fresh(heater: &Heater, inputs: &Inputs<'_>) -> bool {
        match (heater.points.get(HeaterRole::Power), heater.points.get(HeaterRole::State)) {
            (power @ Some(_), _) => inputs.watts(power).is_some(),
            (None, state @ Some(_)) => inputs.count(state).is_some(),
            // A mapping without telemetry supervises nothing.
            (None, None) => true,
        }
    }

    fn judge(&self, heater: &Heater, inputs: &Inputs<'_>) -> Presence {
        let now = inputs.mono();
        let overdue = stretch(ACK_WITHIN, inputs.liveness);
        let why = if inputs.said(heater.points.get(HeaterRole::Online)).is_some_and(|online| !online.as_bool()) {
            Some("its controller is offline")
        } else if !Self::fresh(heater, inputs) {
            if self.presence == Presence::Unheard {
                return Presence::Unheard;
            }
            Some("its telemetry is stale")
        } else if self.unacked.is_some_and(|(_, since)| now.since(since) >= overdue) {
            Some("its commands are not acknowledged")
        } else {
            None
        };
        match (why, self.presence) {
            (Some(why), Presence::Lost { since, before, .. }) => Presence::Lost { since, before, why },
            (Some(why), _) => Presence::Lost { since: now, before: self.cap, why },
            (None, _) => {
                let state = heater.points.get(HeaterRole::State);
                match (state, inputs.count(state)) {
                    (None, _) | (Some(_), Some(1 | 2)) => Presence::In,
                    (Some(_), Some(3)) => Presence::Out("it is in local mode"),
                    (Some(_), Some(4)) => Presence::Out("it reports a fault"),
                    (Some(_), Some(5)) => Presence::Out("it is off"),
                    (Some(_), _) => Presence::Out("its state is not known"),
                }
            }
        }
    }

    fn follow(&mut self, heater: &Heater, inputs: &Inputs<'_>) {
        // Without a reading nothing is known: neither better nor worse.
        let Some(power) = inputs.watts(heater.points.get(HeaterRole::Power)) else { return };
        let applied = inputs.watts(heater.points.get(HeaterRole::Applied)).unwrap_or(self.cap);
        // Nobody draws less than idle power.
        let least = inputs.watts(heater.points.get(HeaterRole::Min)).unwrap_or(heater.idle).max(heater.idle);
        if power <= applied.max(least) + heater.rated * FOLLOW_WITHIN {
            self.over_since = None;
            self.not_following = false;
            return;
        }
        let now = inputs.mono();
        let since = *self.over_since.get_or_insert(now);
        self.not_following |= now.since(since) >= stretch(FOLLOW_AFTER, inputs.liveness);
    }

    /// Begin anew with what a reset may clear; it comes back if its cause is still there.
    pub const fn reset(&mut self) {
        self.over_since = None;
        self.not_following = false;
    }

    /// Whether it takes part.
    pub fn takes_part(&self) -> bool {
        self.presence == Presence::In
    }

    /// Whether it has not been heard of since the start.
    pub fn unheard(&self) -> bool {
        self.presence == Presence::Unheard
    }

    /// Why it takes no part.
    pub const fn why_out(&self) -> Option<&'static str> {
        match self.presence {
            Presence::In => None,
            Presence::Unheard => Some("nothing heard of it since the start"),
            Presence::Out(why) | Presence::Lost { why, .. } => Some(why),
        }
    }

    /// Whether its controller is lost, or has not been heard of for too long.
    pub fn lost(&self, heater: &Heater, inputs: &Inputs<'_>) -> bool {
        match self.presence {
            Presence::Lost { .. } => true,
            Presence::Unheard => inputs.mono().since(self.started) > stretch(heater.max_age, inputs.liveness),
            Presence::In | Presence::Out(_) => false,
        }
    }

    /// Power to count with while it takes no part: measured, or what it does by its own lease.
    pub fn reserve(&self, heater: &Heater, inputs: &Inputs<'_>) -> Watts {
        let measured = inputs.watts(heater.points.get(HeaterRole::Power));
        match (self.presence, measured) {
            (Presence::In, _) => Watts::ZERO,
            (Presence::Out(_) | Presence::Lost { .. }, Some(power)) => power.max(Watts::ZERO),
            (Presence::Unheard | Presence::Out(_), _) => heater.fallback,
            (Presence::Lost { since, before, .. }, None) => {
                // Not stretched: a controller with a slower clock is told its lease in its own seconds.
                let leased = inputs.mono().since(since) < heater.lease;
                if leased { before.max(heater.fallback) } else { heater.fallback }
            }
        }
    }

    /// Most power that it can draw, staged or not.
    pub fn reach(&self, heater: &Heater) -> Watts {
        let low = heater.idle.min(heater.rated);
        self.most.map_or(heater.rated, |most| most.min(heater.rated)).max(low)
    }

    /// What it can take.
    pub fn room(&self, heater: &Heater) -> Room {
        let rest = resting(heater);
        if !self.staged {
            return Room { rest, low: rest, high: rest, weight: 0.0 };
        }
        Room { rest, low: heater.idle.min(heater.rated), high: self.reach(heater), weight: heater.rated.get() }
    }

    /// Whether the same cap must be sent again.
    pub fn refresh_due(&self, heater: &Heater, inputs: &Inputs<'_>) -> bool {
        let Some(command) = &self.command else { return true };
        let age = inputs.mono().since(command.issued.mono);
        // Repeating to somebody who is heard brings an answer; to a silent one the slow rhythm is enough.
        let repeat = self.unacked.is_some() && Self::fresh(heater, inputs);
        age >= REFRESH.min(heater.lease / 3) || (repeat && age >= stretch(ACK_EVERY, inputs.liveness))
    }

    /// Make a command. In observation it is only remembered: nobody will acknowledge it.
    pub fn tell(&mut self, heater: &Heater, now: Now, order: Order, sent: bool) {
        self.seq = self.seq.saturating_add(1);
        if sent && self.unacked.is_none() {
            self.unacked = Some((self.seq, now.mono));
        }
        self.cap = order.cap;
        self.command = Some(Command {
            heater: heater.id,
            seq: self.seq,
            issued: now,
            cap: order.cap,
            ttl: order.ttl,
            ramp_w_per_s: order.ramp_w_per_s,
            fallback: order.fallback,
            reasons: order.reasons,
        });
    }
}

/// The content of a command.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub cap: Watts,
    pub ttl: Duration,
    pub ramp_w_per_s: f64,
    pub fallback: Watts,
    pub reasons: Vec<Reason>,
}

/// Where a heater is when no heat is asked: off where it may be, else its fallback.
pub(super) fn resting(heater: &Heater) -> Watts {
    if heater.may_switch_off { Watts::ZERO } else { heater.fallback }
}
