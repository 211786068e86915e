//! The engine: the single owner of the image. Folds readings, arbitrates requests, ticks control and the ledger; pure.
//!
//! ```text
//!   readings ─┐
//!   requests ─┼─► on(event, now) ─► fold | arbitrate ─► control step ─► ledger ─► projection ─► Effects
//!   ticks ────┘                                                                    (image, decision, replies, notices)
//! ```
//!
//! A request is arbitrated at once; the image that shows it is in the same [`Effects`] as its verdict, and the shell
//! publishes the image before it sends the verdict.

mod arbitrate;
mod fold;
mod project;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Controller, RearmRefusal, Settings as ControlSettings};
use crate::decision::{Decision, SafetyLatch};
use crate::durable::{Checkpoint, SavedCounter, SavedEfficiency, SavedInterval, SavedRuntime, SavedSlot};
use crate::meter::{Ledger, LedgerEvent};
use crate::plant::{HeaterRole, Plant, PointDef, SiteRole, ZoneId, ZoneRole};
use crate::point::{Image, PointId, Reading, Slot, Update, Value};
use crate::request::{Accepted, Refusal, Request, Verdict};
use crate::time::{Mono, Now};

use self::fold::Ages;
use self::project::Projector;

/// Control runs at least this often (CONTROL law: Ts).
pub const CONTROL_PERIOD: Duration = Duration::from_secs(10);

/// Bit of the site alarms: the store cannot be written.
pub const ALARM_STORE: u16 = 1 << 0;
/// Bit of the site alarms: the ledger's memory was lost and a new epoch began.
pub const ALARM_EPOCH: u16 = 1 << 1;

/// What happens to the engine.
#[derive(Debug, Clone)]
pub enum Event {
    /// Readings of one transaction.
    Readings(Vec<Update>),
    /// A request; its verdict comes back under the token.
    Request {
        /// What is asked.
        request: Request,
        /// Returned with the verdict.
        token: u64,
    },
    /// Time has passed; once a second of site time.
    Tick,
    /// A person on the spot re-arms a zone's safety.
    Rearm {
        /// Which zone.
        zone: ZoneId,
        /// By whom.
        by: String,
        /// Returned with the answer.
        token: u64,
    },
    /// A checkpoint is on the disk.
    Durable {
        /// Its sequence.
        seq: u64,
    },
    /// A checkpoint could not be written.
    StoreFailed,
    /// The gateway is going down: release what was commanded.
    Shutdown,
}

/// Something that people should hear of.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// From the ledger.
    Ledger(LedgerEvent),
    /// A request was refused.
    Refused {
        /// Who asked.
        origin: String,
        /// Why.
        why: Refusal,
    },
    /// A zone's safety was re-armed.
    Rearmed {
        /// Which zone.
        zone: String,
        /// By whom.
        by: String,
    },
    /// Closed intervals waited for the disk in vain and were dropped, the oldest first.
    IntervalsDropped {
        /// How many.
        count: usize,
    },
    /// A slot from before the restart does not fit the plant and was left out.
    SlotLeftOut {
        /// Its point.
        key: String,
    },
}

/// What the shell has to do, in this order: publish the image, publish the decision, send the answers.
#[must_use = "effects are what the engine wants done"]
#[derive(Debug, Default)]
pub struct Effects {
    /// A new image.
    pub image: Option<Arc<Image>>,
    /// A new decision.
    pub decision: Option<Arc<Decision>>,
    /// Verdicts by token.
    pub verdicts: Vec<(u64, Verdict)>,
    /// Answers to re-arming by token.
    pub rearmed: Vec<(u64, Result<(), RearmRefusal>)>,
    /// Something changed that must not be lost: write a checkpoint soon.
    pub save_soon: bool,
    /// For people.
    pub notices: Vec<Notice>,
}

/// What the store gave back after a start.
#[derive(Debug, Default)]
pub struct Restored {
    /// Energy counters.
    pub counters: Vec<SavedCounter>,
    /// Latched safety by zone.
    pub latches: Vec<(String, SafetyLatch)>,
    /// Priority slots.
    pub slots: Vec<SavedSlot>,
    /// Estimated efficiencies of zones.
    pub efficiencies: Vec<SavedEfficiency>,
    /// How long heaters have run.
    pub runtimes: Vec<SavedRuntime>,
    /// There was a memory and it is lost: the epoch that begins.
    pub new_epoch: Option<u32>,
}

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Control's own.
    pub control: ControlSettings,
    /// Stretch of the age of readings, where site time runs faster than the parties that report; 1 otherwise.
    pub liveness: f64,
}

/// The engine.
pub struct Engine {
    plant: Arc<Plant>,
    image: Image,
    published: Arc<Image>,
    controller: Controller,
    decision: Arc<Decision>,
    ledger: Ledger,
    ages: Ages,
    urgent: BTreeSet<PointId>,
    /// Points whose writes expire.
    expiring: Vec<PointId>,
    stepped: Mono,
    durable_at: Now,
    checkpoint_seq: u64,
    /// Counters of the checkpoint that is on its way to the disk.
    on_its_way: Vec<SavedCounter>,
    intervals: Vec<SavedInterval>,
    site_alarms: u16,
    down: bool,
}

/// Intervals that wait for the disk; beyond that the oldest are dropped last, by the store.
const MAX_WAITING_INTERVALS: usize = 10_000;

impl Engine {
    /// A new engine after a start: fail-safe until somebody speaks. The first effects publish the first image.
    pub fn new(plant: Arc<Plant>, settings: Settings, restored: Restored, now: Now) -> (Self, Effects) {
        let mut image = Image::empty(plant.points.len(), now);
        let mut notices = Vec::new();
        for saved in &restored.slots {
            if !restore_slot(&plant, &mut image, saved, now) {
                notices.push(Notice::SlotLeftOut { key: saved.key.to_string() });
            }
        }
        for def in &plant.points {
            arbitrate::refresh(def, &mut image, now);
        }
        let urgent = urgent_points(&plant);
        let ages = Ages::new(&plant, settings.liveness);
        let expires = |def: &&PointDef| def.commandable().is_some_and(|commandable| commandable.expires.is_some());
        let expiring = plant.points.iter().filter(expires).map(|def| def.id).collect();
        let mut ledger = Ledger::new(Arc::clone(&plant), restored.counters, now);
        // Bad until its meter answers, and shown as it stood: a counter that falls would be billed.
        for (point, energy) in ledger.remembered() {
            if let Some(state) = image.get_mut(point) {
                state.last = Some(Value::Energy(energy));
            }
        }
        if let Some(epoch) = restored.new_epoch {
            ledger = ledger.begun_anew(epoch);
        }
        let mut controller = Controller::new(Arc::clone(&plant), settings.control, now, restored.latches)
            .remembering(&restored.efficiencies, &restored.runtimes);
        let decision = Arc::new(controller.step(now, &image));
        let mut engine = Self {
            published: Arc::new(image.clone()),
            plant,
            image,
            controller,
            decision,
            ledger,
            ages,
            urgent,
            expiring,
            stepped: now.mono,
            durable_at: now,
            checkpoint_seq: 0,
            on_its_way: Vec::new(),
            intervals: Vec::new(),
            site_alarms: if restored.new_epoch.is_some() { ALARM_EPOCH } else { 0 },
            down: false,
        };
        let mut effects = Effects { notices, ..Effects::default() };
        engine.account(now, &mut effects);
        engine.show(now);
        engine.publish(now, &mut effects);
        effects.decision = Some(Arc::clone(&engine.decision));
        (engine, effects)
    }

    /// The newest decision.
    pub const fn decision(&self) -> &Arc<Decision> {
        &self.decision
    }

    /// Whether each heater of each zone is staged, and whether it takes part; for those who watch over control.
    pub fn staged(&self) -> Vec<Vec<(bool, bool)>> {
        self.controller.staged()
    }

    /// Something happened.
    pub fn on(&mut self, event: Event, now: Now) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Readings(updates) => self.readings(&updates, now, &mut effects),
            Event::Request { request, token } => self.request(&request, token, now, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
            Event::Rearm { zone, by, token } => self.rearm(zone, by, token, now, &mut effects),
            Event::Durable { seq } => {
                if seq == self.checkpoint_seq {
                    self.durable_at = now;
                    let durable = std::mem::take(&mut self.on_its_way);
                    self.ledger.confirm(&durable);
                }
                self.site_alarms &= !ALARM_STORE;
            }
            Event::StoreFailed => self.site_alarms |= ALARM_STORE,
            Event::Shutdown => self.shutdown(now, &mut effects),
        }
        effects
    }

    /// What [`Engine::on`] does, but for the accounts and the image: for simulations of long times, where nobody reads
    /// either. The decision, when there is a new one.
    pub fn decide(&mut self, event: Event, now: Now) -> Option<Arc<Decision>> {
        let mut effects = Effects::default();
        match event {
            Event::Readings(updates) => self.fold(&updates, now, &mut effects),
            Event::Request { request, .. } => {
                let _ = self.arbitrate(&request, now, &mut effects);
            }
            Event::Tick => self.sweep(now, &mut effects),
            other => return self.on(other, now).decision,
        }
        effects.decision
    }

    fn readings(&mut self, updates: &[Update], now: Now, effects: &mut Effects) {
        self.fold(updates, now, effects);
        self.account(now, effects);
        self.show(now);
        self.publish(now, effects);
    }

    /// Take readings; what is urgent and new steps control.
    fn fold(&mut self, updates: &[Update], now: Now, effects: &mut Effects) {
        let mut urgent = false;
        for update in updates {
            let before = self.image.reading(update.point);
            fold::fold(&self.plant, &mut self.image, *update, now);
            urgent |= before != self.image.reading(update.point) && self.urgent.contains(&update.point);
        }
        if urgent {
            self.step(now, effects);
        }
    }

    fn request(&mut self, request: &Request, token: u64, now: Now, effects: &mut Effects) {
        if let Err(why) = self.arbitrate(request, now, effects) {
            if why != Refusal::ShuttingDown {
                effects.notices.push(Notice::Refused { origin: request.origin.to_string(), why: why.clone() });
            }
            effects.verdicts.push((token, Err(why)));
            return;
        }
        self.show(now);
        self.publish(now, effects);
        effects.save_soon |= request.writes.iter().any(|write| {
            self.plant
                .point(write.point)
                .and_then(|def| def.commandable())
                .is_some_and(|commandable| commandable.persist)
        });
        effects.verdicts.push((token, Ok(Accepted { image_seq: self.image.seq })));
    }

    /// Do what a request asks, all or nothing, and step control.
    fn arbitrate(&mut self, request: &Request, now: Now, effects: &mut Effects) -> Result<(), Refusal> {
        if self.down {
            return Err(Refusal::ShuttingDown);
        }
        arbitrate::validate(&self.plant, &self.image, request)?;
        arbitrate::apply(&self.plant, &mut self.image, request, now);
        self.step(now, effects);
        if arbitrate::settle(&self.plant, &mut self.image, now) {
            // Control has seen the pulse; its answer to the cleared input comes with the next step.
            self.stepped = Mono::START;
        }
        Ok(())
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) {
        self.sweep(now, effects);
        self.account(now, effects);
        self.show(now);
        self.publish(now, effects);
    }

    /// Find what turned stale, and step control when it is due.
    fn sweep(&mut self, now: Now, effects: &mut Effects) {
        let mut due = now.mono.since(self.stepped) >= CONTROL_PERIOD;
        due |= self.ages.sweep(&mut self.image, now);
        for def in self.expiring.iter().filter_map(|point| self.plant.point(*point)) {
            let before = self.image.reading(def.id).quality();
            arbitrate::refresh(def, &mut self.image, now);
            due |= before != self.image.reading(def.id).quality();
        }
        if due {
            self.step(now, effects);
        }
    }

    fn rearm(&mut self, zone: ZoneId, by: String, token: u64, now: Now, effects: &mut Effects) {
        let answer = self.controller.rearm(zone, now, &self.image);
        if answer.is_ok() {
            let zone = self.plant.zone(zone).map(|zone| zone.name.clone()).unwrap_or_default();
            effects.notices.push(Notice::Rearmed { zone, by });
            effects.save_soon = true;
            self.step(now, effects);
            self.show(now);
            self.publish(now, effects);
        }
        effects.rearmed.push((token, answer));
    }

    fn shutdown(&mut self, now: Now, effects: &mut Effects) {
        self.down = true;
        self.decision = Arc::new(self.controller.shutdown(now));
        effects.decision = Some(Arc::clone(&self.decision));
        effects.save_soon = true;
        self.show(now);
        self.publish(now, effects);
    }

    fn step(&mut self, now: Now, effects: &mut Effects) {
        // What was released stays released: the acknowledgement of the release is news too, and commands nothing.
        if self.down {
            return;
        }
        let decision = Arc::new(self.controller.step(now, &self.image));
        effects.save_soon |= decision.latches != self.decision.latches;
        self.decision = decision;
        self.stepped = now.mono;
        effects.decision = Some(Arc::clone(&self.decision));
    }

    /// The ledger looks at the image; what it says becomes points.
    fn account(&mut self, now: Now, effects: &mut Effects) {
        effects.notices.extend(self.ledger.step(now, &self.image).into_iter().map(Notice::Ledger));
        let closed = self.ledger.take_intervals();
        effects.save_soon |= !closed.is_empty();
        self.intervals.extend(closed);
        let excess = self.intervals.len().saturating_sub(MAX_WAITING_INTERVALS);
        self.intervals.drain(..excess);
        if excess > 0 {
            effects.notices.push(Notice::IntervalsDropped { count: excess });
        }
        let readings = self.ledger.readings();
        let mut projector = self.projector(now);
        for (point, reading) in readings {
            projector.put(Some(point), reading);
        }
    }

    /// Decisions and measurements become points.
    fn show(&mut self, now: Now) {
        let decision = Arc::clone(&self.decision);
        let site_alarms = self.site_alarms;
        let durability = self.durability_age(now).as_secs_f64();
        let age_point = self.plant.site.get(SiteRole::DurabilityAge);
        let mut projector = self.projector(now);
        projector.measurements();
        projector.decision(&decision);
        projector.heartbeat();
        projector.put(age_point, Reading::number(durability.floor()));
        projector.quality(&decision, site_alarms);
    }

    fn projector(&mut self, now: Now) -> Projector<'_> {
        Projector { plant: &self.plant, image: &mut self.image, now }
    }

    fn publish(&mut self, now: Now, effects: &mut Effects) {
        self.image.seq += 1;
        self.image.now = now;
        let seq = self.image.seq;
        let changed: Vec<PointId> = self
            .image
            .touched_since(&self.published)
            .filter(|(point, new)| new.sample.reading != self.published.reading(*point))
            .map(|(point, _)| point)
            .collect();
        for point in changed {
            if let Some(state) = self.image.get_mut(point) {
                state.changed = seq;
            }
        }
        self.published = Arc::new(self.image.clone());
        effects.image = Some(Arc::clone(&self.published));
    }

    /// How long ago the ledger was last made durable, in site time.
    pub const fn durability_age(&self, now: Now) -> Duration {
        now.mono.since(self.durable_at.mono)
    }

    /// A consistent state for the disk; one at a time, answered by [`Event::Durable`] or [`Event::StoreFailed`].
    pub fn checkpoint(&mut self) -> Checkpoint {
        let counters = self.ledger.saved();
        self.on_its_way.clone_from(&counters);
        self.checkpoint_of(counters)
    }

    /// The last one: totals stand still from here on.
    pub fn last_checkpoint(&mut self) -> Checkpoint {
        let counters = self.ledger.seal();
        self.checkpoint_of(counters)
    }

    fn checkpoint_of(&mut self, counters: Vec<SavedCounter>) -> Checkpoint {
        self.checkpoint_seq += 1;
        let mut slots = Vec::new();
        for def in &self.plant.points {
            if !def.commandable().is_some_and(|commandable| commandable.persist) {
                continue;
            }
            let Some(array) = self.image.get(def.id).and_then(|state| state.slots.as_deref()) else { continue };
            slots.extend(array.occupied().map(|(priority, slot)| SavedSlot {
                key: def.key.clone(),
                priority,
                value: slot.value,
                by: slot.by.to_string(),
                at: slot.at.utc,
            }));
        }
        let latches = self.plant.zones.iter().zip(&self.decision.latches);
        let (efficiencies, runtimes) = self.controller.learned();
        Checkpoint {
            seq: self.checkpoint_seq,
            counters,
            intervals: std::mem::take(&mut self.intervals),
            latches: latches.filter_map(|(zone, latch)| Some((zone.name.clone(), latch.clone()?))).collect(),
            slots,
            efficiencies,
            runtimes,
        }
    }
}

/// Put a saved slot back, marked as restored. False when the plant has no place for it any more.
fn restore_slot(plant: &Plant, image: &mut Image, saved: &SavedSlot, now: Now) -> bool {
    let Some(def) = plant.by_key(saved.key.as_str()) else { return false };
    let fits = def.commandable().is_some_and(|commandable| commandable.persist)
        && saved.value.kind() == def.kind
        && def.admits(saved.value.as_f64());
    let Some(state) = image.get_mut(def.id).filter(|_| fits) else { return false };
    let mut array = state.slots.as_deref().cloned().unwrap_or_default();
    let at = Now { mono: now.mono, utc: saved.at };
    array.set(saved.priority, Slot { value: saved.value, at, by: saved.by.as_str().into(), restored: true });
    state.slots = Some(Arc::new(array));
    true
}

/// Points at whose change control is asked at once.
fn urgent_points(plant: &Plant) -> BTreeSet<PointId> {
    const ZONE: [ZoneRole; 10] = [
        ZoneRole::HeatRequestPercent,
        ZoneRole::HeatRequestPower,
        ZoneRole::DemandMode,
        ZoneRole::Enable,
        ZoneRole::ElectricalLimit,
        ZoneRole::LoadControlLimit,
        ZoneRole::RemoteLimit,
        ZoneRole::EmergencyStop,
        ZoneRole::OverTemperatureInput,
        ZoneRole::Season,
    ];
    const HEATER: [HeaterRole; 3] = [HeaterRole::State, HeaterRole::Online, HeaterRole::AckResult];
    let zones = plant.zones.iter().flat_map(|zone| ZONE.iter().filter_map(|role| zone.points.get(*role)));
    let heaters = plant.heaters.iter().flat_map(|heater| HEATER.iter().filter_map(|role| heater.points.get(*role)));
    zones.chain(heaters).chain(plant.site.get(SiteRole::BrokerLink)).collect()
}

#[cfg(test)]
mod tests;
