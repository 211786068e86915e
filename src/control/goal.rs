//! What the mode of a zone wants of its heaters, and the floors under it.

use crate::decision::{FailSafe, Reason, RequestSource};
use crate::plant::{Heater, Zone, ZoneRole};
use crate::units::Watts;

use super::ahead::{self, Forecast};
use super::demand::Asked;
use super::efficiency::Standing;
use super::heater::resting;
use super::inputs::Inputs;
use super::mode::Mode;
use super::zone::ZoneControl;

/// What a step wants of the heaters that take part, and what it says about it.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// Heat of the request that is followed.
    pub heat: Option<Watts>,
    /// Heat that power goes for: that one, or the next that the building has announced.
    pub follow: Watts,
    pub source: RequestSource,
    /// Electrical power of the whole zone; `None`: the heaters' own (rest, fail-safe, stop) in `power_in`.
    pub power: Option<Watts>,
    pub power_in: Watts,
    /// At once, and to nothing.
    pub stop: bool,
    /// Why power is not raised.
    pub no_raise: Option<&'static str>,
}

impl ZoneControl {
    /// What the mode wants, with the first reasons.
    pub fn goal(
        &mut self,
        zone: &Zone,
        inputs: &Inputs<'_>,
        asked: Asked,
        eta: f64,
        reasons: &mut Vec<Reason>,
    ) -> Goal {
        let own = |zone: &Self, power: fn(&Heater) -> Watts| {
            zone.part(inputs.plant, true).map(|(heater, _)| power(heater)).sum::<Watts>()
        };
        let fallback = own(self, |heater| heater.fallback);
        let rest = own(self, resting);
        let mut goal = Goal {
            heat: None,
            follow: Watts::ZERO,
            source: RequestSource::None,
            power: None,
            power_in: fallback,
            stop: false,
            no_raise: None,
        };
        let heat = match &mut self.mode {
            Mode::Safety(latch) => {
                reasons.push(Reason::Safety(latch.cause));
                return Goal { stop: true, power_in: Watts::ZERO, source: RequestSource::Safety, ..goal };
            }
            Mode::Init { .. } => {
                reasons.push(Reason::FailSafe(FailSafe::Boot));
                return goal;
            }
            Mode::NoRequest => {
                reasons.push(Reason::FailSafe(FailSafe::NoRequest));
                goal.no_raise = Some("there is no usable request");
                return goal;
            }
            Mode::Auto => {
                goal.source = RequestSource::Bms;
                asked.heat.unwrap_or_default()
            }
            Mode::Manual { .. } => {
                goal.source = RequestSource::Manual;
                asked.heat.unwrap_or_default()
            }
            Mode::BmsLost(policy) => {
                let outdoor = inputs.celsius(zone.points.get(ZoneRole::OutdoorTemperature));
                let step = policy.step(inputs.mono(), zone, outdoor);
                reasons.push(Reason::LossPolicy(step.words));
                goal.source = step.source;
                goal.no_raise = Some("the BMS is lost");
                if step.ended {
                    reasons.push(Reason::FailSafe(FailSafe::BmsLost));
                    return Goal { power_in: rest, ..goal };
                }
                self.demand.switched(step.heat, zone.nominal_heat)
            }
        };
        reasons.push(Reason::Request { mode: asked.mode, heat, source: goal.source });
        goal.heat = Some(heat);
        goal.power_in = rest;
        let forecast = if self.mode == Mode::Auto { ahead::read(zone, inputs, asked, eta) } else { Forecast::Quiet };
        goal.follow = forecast.explain(reasons).unwrap_or(heat);
        // A forecast turns on, and not off: of a zone that is asked for heat it leaves the floor.
        if heat.max(goal.follow) > Watts::ZERO {
            let power = goal.follow / eta;
            reasons.push(Reason::FeedForward { eta, power });
            match self.estimate.standing() {
                Standing::FeedForward(why) => reasons.push(Reason::EfficiencyBelieved(why)),
                Standing::Held(why) => reasons.push(Reason::EfficiencyHeld(why)),
                Standing::Learning => {}
            }
            goal.power = Some(power);
        } else {
            reasons.push(Reason::Off);
        }
        goal
    }

    /// Power of the whole zone that is wanted, with the floors: idle power where heat is asked, and sold compute
    /// whatever is asked, but not in fail-safe.
    /// `floors`: with heat asked, and without.
    pub fn floored(&self, goal: &Goal, floors: (Watts, Watts), reserve: Watts, reasons: &mut Vec<Reason>) -> Watts {
        let (wanted, floor) = match goal.power {
            Some(power) => (power, floors.0),
            None if goal.heat.is_some() => (goal.power_in + reserve, floors.1),
            None => (goal.power_in + reserve, Watts::ZERO),
        };
        if wanted < floor {
            reasons.push(Reason::Floor { to: floor });
        }
        wanted.max(floor)
    }
}
