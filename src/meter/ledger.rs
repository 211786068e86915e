//! The ledger: the meters' memory. It folds images into totals and intervals, and gives and takes its durable state.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::LedgerEvent;
use super::register::Limits;
use super::sum::Sum;
use super::total::{Source, Total};
use crate::durable::{SavedCounter, SavedInterval};
use crate::plant::{DevicePlace, Heater, HeaterRole, Meter, MeterRole, ObjectClass, Plant, RegisterType, ZoneRole};
use crate::point::{Image, PointId, Reading};
use crate::time::Now;
use crate::units::Energy;

/// All totals of a site.
#[derive(Debug, Clone)]
pub struct Ledger {
    totals: Vec<Total>,
    sums: Vec<Sum>,
    /// What the mapping does not know any more; kept, should it come back.
    strangers: Vec<SavedCounter>,
    events: Vec<LedgerEvent>,
    sealed: bool,
}

impl Ledger {
    /// A ledger with the memory of an earlier life of the process, empty for none.
    pub fn new(plant: Arc<Plant>, saved: Vec<SavedCounter>, now: Now) -> Self {
        let sources = plant
            .meters
            .iter()
            .map(|meter| meter_source(&plant, meter))
            .chain(plant.heaters.iter().map(|heater| heater_source(&plant, heater)));
        let find = |name: &str| saved.iter().find(|counter| counter.name == name);
        let totals: Vec<Total> = sources
            .map(|source| {
                let memory = find(&source.name);
                Total::new(source, now, memory)
            })
            .collect();
        let heaters_from = plant.meters.len();
        let mut sums = Vec::new();
        for zone in &plant.zones {
            let meter: Vec<usize> = zone.meter.iter().map(|id| usize::from(id.0)).collect();
            let heaters: Vec<usize> = zone.heaters.iter().map(|id| heaters_from + usize::from(id.0)).collect();
            for (what, role, members) in
                [("heat", ZoneRole::HeatEnergy, meter), ("electrical", ZoneRole::ElectricalEnergy, heaters)]
            {
                let name = format!("zone/{}/{what}", zone.name);
                sums.push(Sum::new(name, zone.points.get(role), &members, &totals, &saved));
            }
        }
        let ours: Vec<&str> = totals.iter().map(Total::name).chain(sums.iter().map(Sum::name)).collect();
        let strangers = saved.iter().filter(|counter| !ours.contains(&counter.name.as_str())).cloned().collect();
        Self { totals, sums, strangers, events: Vec::new(), sealed: false }
    }

    /// The memory was lost although there had been one: what has none begins in this epoch, and the next step says so.
    #[must_use]
    pub fn begun_anew(mut self, epoch: u32) -> Self {
        self.totals.iter_mut().for_each(|total| total.begin(epoch));
        self.sums.iter_mut().for_each(|sum| sum.begin(epoch));
        self.events.push(LedgerEvent::NewEpoch { epoch });
        self
    }

    /// Fold the present image. A counter sample counts once, by its time, however often it is seen.
    pub fn step(&mut self, now: Now, image: &Image) -> Vec<LedgerEvent> {
        let mut events = std::mem::take(&mut self.events);
        if self.sealed {
            return events;
        }
        for total in &mut self.totals {
            total.step(now, image, &mut events);
        }
        for sum in &mut self.sums {
            sum.step(now.utc, &self.totals);
        }
        events
    }

    /// All totals that have a point: meters, heaters, zones.
    pub fn readings(&self) -> Vec<(PointId, Reading)> {
        let totals = self.totals.iter().filter_map(|total| Some((total.point()?, total.reading())));
        totals.chain(self.sums.iter().filter_map(Sum::reading)).collect()
    }

    /// What an earlier life of the process showed last, where that is certain; for after a start, before any step. It is no
    /// reading, and yet nothing else may stand where a counter stood: nothing that comes later is less.
    pub fn remembered(&self) -> Vec<(PointId, Energy)> {
        let totals = self.totals.iter().filter_map(|total| Some((total.point()?, total.remembered()?)));
        let sums = self.sums.iter().filter_map(Sum::remembered);
        totals.chain(sums).map(|(point, wh)| (point, Energy::from_wh(wh))).collect()
    }

    /// The state for a checkpoint. When that is durable, tell [`Ledger::confirm`]: estimates are shown no further than the
    /// last confirmed state allows.
    pub fn saved(&self) -> Vec<SavedCounter> {
        self.state(self.sealed)
    }

    /// What of [`Ledger::saved`] is on disk now.
    pub fn confirm(&mut self, durable: &[SavedCounter]) {
        let by_name: HashMap<&str, &SavedCounter> = durable.iter().map(|saved| (saved.name.as_str(), saved)).collect();
        for total in &mut self.totals {
            if let Some(saved) = by_name.get(total.name()).copied() {
                total.confirm(saved);
            }
        }
    }

    /// The last state before a clean stop. From here on the ledger stands still, so nothing is reserved in it, and the next
    /// life of the process goes on exactly.
    pub fn seal(&mut self) -> Vec<SavedCounter> {
        self.sealed = true;
        self.state(true)
    }

    fn state(&self, last: bool) -> Vec<SavedCounter> {
        let mut counters: Vec<SavedCounter> = self.totals.iter().filter_map(|total| total.saved(last)).collect();
        let sums: Vec<SavedCounter> = self.sums.iter().filter_map(|sum| sum.saved(&self.totals, &counters)).collect();
        counters.extend(sums);
        counters.extend(self.strangers.iter().cloned());
        counters
    }

    /// The intervals that were closed since the last call. They belong into the same checkpoint as the next
    /// [`Ledger::saved`].
    pub fn take_intervals(&mut self) -> Vec<SavedInterval> {
        let mut intervals = Vec::new();
        for total in &mut self.totals {
            total.take_intervals(&mut intervals);
        }
        intervals
    }
}

fn meter_source(plant: &Plant, meter: &Meter) -> Source {
    let counter = meter.points.get(MeterRole::EnergyCounter);
    Source {
        name: format!("meter/{}", meter.name),
        total: meter.points.get(MeterRole::Total),
        counter,
        power: meter.points.get(MeterRole::Power).map(|point| (point, to_base(plant, point))),
        max_age: meter.max_age,
        limits: Limits {
            modulus_wh: (meter.modulus_wh > 0).then_some(meter.modulus_wh),
            max_power: meter.max_power,
            latency: meter.max_age,
            resolution_wh: counter.map_or(1.0, |counter| resolution(plant, meter, counter)),
        },
    }
}

fn heater_source(plant: &Plant, heater: &Heater) -> Source {
    Source {
        name: format!("heater/{}", heater.name),
        total: heater.points.get(HeaterRole::Total),
        counter: heater.points.get(HeaterRole::EnergyCounter),
        power: heater.points.get(HeaterRole::Power).map(|point| (point, to_base(plant, point))),
        max_age: heater.max_age,
        // `energy_wh` is a whole number of Wh that a controller keeps itself: it never rolls over.
        limits: Limits { modulus_wh: None, max_power: heater.rated, latency: heater.max_age, resolution_wh: 1.0 },
    }
}

fn to_base(plant: &Plant, point: PointId) -> f64 {
    plant.point(point).map_or(1.0, |def| def.unit.to_base())
}

/// The smallest step of a meter's register, Wh; 1 kWh where the type does not tell.
fn resolution(plant: &Plant, meter: &Meter, counter: PointId) -> f64 {
    let Some(device) = plant.device(meter.device) else { return 1000.0 };
    let scale = match device.points.iter().find(|point| point.point == counter).map(|point| &point.place) {
        Some(DevicePlace::Register(place)) if !matches!(place.codec.kind, RegisterType::F32 | RegisterType::F64) => {
            place.codec.scale
        }
        Some(DevicePlace::Property(place)) if place.object.class() == ObjectClass::Count => place.scale,
        _ => return 1000.0,
    };
    (scale * to_base(plant, counter)).abs().max(1.0)
}
