//! The control law: one frozen image and the time in, one decision with reasons out. Pure.
//!
//! From request to cap, each step in its file: `demand` (what is asked), `ahead` (what will be), feed-forward by `efficiency`
//! (learned from the heat meter behind the water's `lag`) and `compliance`, `limits` (what is allowed), `jitter`, `account` and
//! `catchup` (what of a trembling request is followed, what ramps and deadbands owe, what the water lacks after a long ramp),
//! `ramp` (how fast), `allocation` (to whom), `send` (when). Around it: `mode` (whose wish is followed), `loss` (is the
//! building alive), `heater` (are the controllers), `safety` (the latch), `goal` (what the mode wants), `orders`
//! (the commands), `delivery` (does heat arrive), `report` (what is said of it). `zone` ties them together; `inputs` is the
//! only door to the image.
//!
//! Decided here, because it is asked of all of it:
//! - *Nothing missing raises power.* A temperature that is gone keeps its last effect, an electrical limit stays in force,
//!   a safety input or limit that cannot be read holds power where it is, a lost building never gets more than it had.
//! - *Safety* commands a cap of 0 W, a ramp of 0 (as fast as it can) and a fallback of 0 W to every heater: controllers
//!   clamp that to what they can do, and say so.

mod account;
mod ahead;
mod allocation;
mod catchup;
mod compliance;
mod delivery;
mod demand;
mod efficiency;
mod goal;
mod heater;
mod inputs;
mod jitter;
mod lag;
mod limits;
mod loss;
mod mode;
mod orders;
mod ramp;
mod report;
mod safety;
mod season;
mod send;
mod shared;
mod staging;
mod zone;

#[cfg(test)]
mod tests;

pub use safety::RearmRefusal;

use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Command, Decision, Desired, SafetyLatch};
use crate::durable::{SavedEfficiency, SavedRuntime};
use crate::plant::{Plant, ZoneId};
use crate::point::{Image, PointId};
use crate::time::Now;
use crate::units::Watts;

use inputs::Inputs;
use limits::Part;
use mode::Mode;
use zone::ZoneControl;

/// How control is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Decide, but command nothing.
    pub observe: bool,
    /// Heaters, meters and polled devices may be this many times slower, where site time runs faster than they do (>= 1).
    pub liveness: f64,
    /// The same for the building's side.
    pub bms_liveness: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { observe: false, liveness: 1.0, bms_liveness: 1.0 }
    }
}

/// The controller of all zones.
#[derive(Debug, Clone)]
pub struct Controller {
    plant: Arc<Plant>,
    settings: Settings,
    /// In the plant's order.
    zones: Vec<ZoneControl>,
    /// The last decision; what the release keeps of it.
    last: Vec<crate::decision::ZoneDecision>,
}

impl Controller {
    /// A controller after a start: fail-safe caps until somebody asks. `latches` are those that survived, by zone name;
    /// a latch of a zone that the plant no longer has is dropped.
    pub fn new(plant: Arc<Plant>, settings: Settings, now: Now, latches: Vec<(String, SafetyLatch)>) -> Self {
        let mode = |name: &str| {
            let latch = latches.iter().find(|(zone, _)| zone == name).map(|(_, latch)| latch.clone());
            latch.map_or(Mode::Init { boot: true }, Mode::Safety)
        };
        let zones = plant.zones.iter().map(|zone| ZoneControl::new(&plant, zone, mode(&zone.name), now.mono)).collect();
        Self { plant, settings, zones, last: Vec::new() }
    }

    /// Go on with what was learned before a restart; what is of another plant is left out.
    #[must_use]
    pub fn remembering(mut self, efficiencies: &[SavedEfficiency], runtimes: &[SavedRuntime]) -> Self {
        for (zone, control) in self.plant.zones.iter().zip(&mut self.zones) {
            if let Some(saved) = efficiencies.iter().find(|saved| saved.zone == zone.name) {
                control.estimate.restore(saved);
            }
            for (id, heater) in &mut control.heaters {
                let name = self.plant.heater(*id).map(|heater| heater.name.as_str());
                if let Some(saved) = runtimes.iter().find(|saved| Some(saved.heater.as_str()) == name) {
                    heater.run = Duration::from_secs(saved.seconds);
                }
            }
        }
        self
    }

    /// What was learned, for the next life.
    pub fn learned(&self) -> (Vec<SavedEfficiency>, Vec<SavedRuntime>) {
        let zones = self.plant.zones.iter().zip(&self.zones);
        let efficiencies = zones.filter_map(|(zone, control)| control.estimate.saved(zone));
        let heaters = self.zones.iter().flat_map(|control| &control.heaters);
        let runtimes = heaters.filter_map(|(id, heater)| {
            let name = self.plant.heater(*id)?.name.clone();
            Some(SavedRuntime { heater: name, seconds: heater.run.as_secs() })
        });
        (efficiencies.collect(), runtimes.collect())
    }

    /// One step: every 10 s of site time, and at once when a request, a limit, an alarm input, a heater's state or a link
    /// changes.
    pub fn step(&mut self, now: Now, image: &Image) -> Decision {
        let plant = Arc::clone(&self.plant);
        let inputs = Inputs { plant: &plant, image, now, liveness: self.settings.liveness };
        let parts = self.parts(&inputs);
        self.last = plant
            .zones
            .iter()
            .zip(&mut self.zones)
            .zip(parts)
            .map(|((zone, control), part)| control.step(zone, &inputs, &self.settings, part))
            .collect();
        self.decision()
    }

    /// Each zone's part of the electrical limit that it shares; `None` for a zone that shares none.
    fn parts(&mut self, inputs: &Inputs<'_>) -> Vec<Option<Part>> {
        let plant = inputs.plant;
        let mut parts: Vec<Option<Part>> = vec![None; plant.zones.len()];
        let mut done: Vec<&str> = Vec::new();
        for zone in &plant.zones {
            let Some(name) = zone.law.shared_limit.as_deref().filter(|name| !done.contains(name)) else { continue };
            done.push(name);
            let among: Vec<usize> = (0..plant.zones.len())
                .filter(|at| plant.zones.get(*at).is_some_and(|z| z.law.shared_limit.as_deref() == Some(name)))
                .collect();
            let (mut limit, mut unread) = (None::<(Watts, bool)>, None);
            let mut others: Vec<(PointId, Watts)> = Vec::new();
            let mut needs = Vec::new();
            for at in &among {
                let (Some(zone), Some(control)) = (plant.zones.get(*at), self.zones.get_mut(*at)) else { continue };
                let read = control.limits.look(zone, inputs);
                // A limit written to one of them is for all of them.
                limit = [limit, read.limit].into_iter().flatten().min_by(|a, b| a.0.get().total_cmp(&b.0.get()));
                unread = unread.or(read.unread);
                // The same meter may be named by each of them.
                others.extend(read.others.filter(|(point, _)| others.iter().all(|(other, _)| other != point)));
                needs.push(control.need(zone));
            }
            let drawn: Watts = others.iter().map(|(_, power)| *power).sum();
            let split = limit.map(|(limit, _)| shared::split(&needs, limits::under(limit, drawn)));
            for (index, at) in among.iter().enumerate() {
                let power = split.as_ref().and_then(|split| split.get(index)).copied();
                let part = Part { limit: limit.zip(power).map(|((limit, sure), power)| (limit, sure, power)), unread };
                if let Some(place) = parts.get_mut(*at) {
                    *place = Some(part);
                }
            }
        }
        parts
    }

    /// Re-arm a zone's latched safety; for a person on the spot. It then follows what a living building asked since the start,
    /// or waits for that, and ramps up from nothing.
    ///
    /// # Errors
    ///
    /// When nothing is latched, the input is still active, or it cannot be read.
    pub fn rearm(&mut self, zone: ZoneId, now: Now, image: &Image) -> Result<(), RearmRefusal> {
        let plant = Arc::clone(&self.plant);
        let inputs = Inputs { plant: &plant, image, now, liveness: self.settings.liveness };
        let (Some(zone), Some(control)) = (plant.zone(zone), self.zones.get_mut(usize::from(zone.0))) else {
            return Err(RearmRefusal::UnknownZone);
        };
        safety::may_rearm(control.mode.latch(), safety::signals(zone, &inputs))?;
        control.mode = Mode::Init { boot: false };
        Ok(())
    }

    /// The release when the gateway goes down: each heater to its own fallback (never above what it had), with a short
    /// lease. What safety stopped stays stopped.
    pub fn shutdown(&mut self, now: Now) -> Decision {
        for control in &mut self.zones {
            control.release(&self.plant, now, !self.settings.observe);
        }
        for (zone, control) in self.last.iter_mut().zip(&self.zones) {
            zone.cap = control.heaters.iter().map(|(_, heater)| heater.cap).sum();
            zone.reasons.push(crate::decision::Reason::Released);
        }
        self.decision()
    }

    /// Whether power is on its way. A quicker tick than the ordinary one is allowed then, and gains little: steps up stay
    /// 20 s apart, and steps down 10 s.
    pub fn ramping(&self) -> bool {
        self.zones.iter().any(|zone| zone.moving)
    }

    /// Whether each heater of each zone is staged, and whether it takes part; in the plant's order.
    pub fn staged(&self) -> Vec<Vec<(bool, bool)>> {
        let of =
            |zone: &ZoneControl| zone.heaters.iter().map(|(_, heater)| (heater.staged, heater.takes_part())).collect();
        self.zones.iter().map(of).collect()
    }

    fn decision(&self) -> Decision {
        let mut commands: Vec<Option<Command>> = vec![None; self.plant.heaters.len()];
        if !self.settings.observe {
            for (id, heater) in self.zones.iter().flat_map(|zone| &zone.heaters) {
                if let Some(place) = commands.get_mut(usize::from(id.0)) {
                    place.clone_from(&heater.command);
                }
            }
        }
        Decision {
            zones: self.last.clone(),
            desired: Arc::new(Desired { commands }),
            latches: self.zones.iter().map(|zone| zone.mode.latch().cloned()).collect(),
        }
    }
}

/// A duration made longer for parties that run slower than site time; a factor that makes no sense counts as 1.
fn stretch(duration: Duration, by: f64) -> Duration {
    if by <= 1.0 || !by.is_finite() {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * by).unwrap_or(Duration::MAX)
}
