//! What a demonstration adds up from outside: heat asked against heat metered, as a bill would.

use std::time::Duration;

use crate::decision::Decision;
use crate::plant::{MeterRole, Plant, ZoneRole};
use crate::point::Image;
use crate::sim::plant::{HydronicModel, HydronicParams};
use crate::time::Now;
use crate::units::{Energy, Watts};

/// Sums over one run. What is asked reaches the meter late, whoever controls it: asked heat and drawn power go through
/// the plant's own lag and delay (240 s, 60 s) before they are compared with what the meter shows.
#[derive(Debug, Clone)]
pub struct Account {
    last: Option<(Now, Watts, Watts)>,
    first_total: Option<Energy>,
    asked_at_meter: HydronicModel,
    drawn_at_meter: HydronicModel,
    /// Heat asked, Wh.
    pub asked_wh: f64,
    /// Heat asked that could have reached the meter by now, Wh.
    pub due_wh: f64,
    due_from_power_wh: f64,
    /// Heat delivered by the metered power, Wh.
    pub delivered_wh: f64,
    /// Electrical energy drawn, Wh.
    pub drawn_wh: f64,
    /// Heat by the billed total, Wh; `None` until the meter has answered.
    pub billed_wh: Option<u64>,
    electrical: Watts,
}

/// One look at the site.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Site time.
    pub now: Now,
    /// Heat asked, all zones.
    pub asked: Watts,
    /// Caps as sent, all zones.
    pub cap: Watts,
    /// Power drawn.
    pub drawn: Option<Watts>,
    /// Heat metered.
    pub delivered: Option<Watts>,
    /// State of each zone, with its alarms.
    pub zones: Vec<(String, &'static str, Vec<&'static str>)>,
}

fn power(plant: &Plant, image: &Image, role: ZoneRole) -> Option<Watts> {
    let mut sum = None;
    for zone in &plant.zones {
        let Some(def) = zone.points.get(role).and_then(|id| plant.point(id)) else { continue };
        let Some(value) = image.reading(def.id).value() else { continue };
        let watts = def.unit.convert(value.as_f64(), crate::units::Unit::Watt).map(Watts::of)?;
        sum = Some(sum.unwrap_or(Watts::ZERO) + watts);
    }
    sum
}

impl Look {
    /// At one image and its decision.
    pub fn at(plant: &Plant, image: &Image, decision: &Decision) -> Self {
        Self {
            now: image.now,
            asked: decision.zones.iter().filter_map(|zone| zone.request).sum(),
            cap: decision.zones.iter().map(|zone| zone.cap).sum(),
            drawn: power(plant, image, ZoneRole::ElectricalPower),
            delivered: power(plant, image, ZoneRole::HeatDelivered),
            zones: plant
                .zones
                .iter()
                .zip(&decision.zones)
                .map(|(zone, decided)| {
                    let alarms = decided.alarms.iter().map(crate::decision::Alarm::as_str).collect();
                    (zone.name.clone(), decided.state.as_str(), alarms)
                })
                .collect(),
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        let lossless = HydronicModel::new(HydronicParams { efficiency: 1.0, ..HydronicParams::default() }, Watts::ZERO);
        Self {
            last: None,
            first_total: None,
            asked_at_meter: lossless.clone(),
            drawn_at_meter: lossless,
            asked_wh: 0.0,
            due_wh: 0.0,
            due_from_power_wh: 0.0,
            delivered_wh: 0.0,
            drawn_wh: 0.0,
            billed_wh: None,
            electrical: Watts::ZERO,
        }
    }
}

impl Account {
    /// Take one look; the values of the look before held until now.
    pub fn look(&mut self, plant: &Plant, image: &Image, look: &Look) {
        if let Some((then, asked, delivered)) = self.last {
            let dt: Duration = look.now.mono.since(then.mono);
            let hours = dt.as_secs_f64() / 3600.0;
            self.asked_at_meter.step(asked, dt);
            self.drawn_at_meter.step(self.electrical, dt);
            self.due_wh = self.asked_at_meter.energy_wh();
            self.due_from_power_wh = self.drawn_at_meter.energy_wh();
            self.asked_wh += asked.get() * hours;
            self.delivered_wh += delivered.get() * hours;
            self.drawn_wh += self.electrical.get() * hours;
        }
        self.electrical = look.drawn.unwrap_or(Watts::ZERO);
        self.last = Some((look.now, look.asked, look.delivered.unwrap_or(Watts::ZERO)));
        let total: Option<u64> = plant
            .meters
            .iter()
            .map(|meter| meter.points.get(MeterRole::Total).and_then(|id| image.reading(id).value()?.as_u64()))
            .sum();
        if let Some(total) = total.filter(|_| !plant.meters.is_empty()) {
            let first = *self.first_total.get_or_insert(Energy::from_wh(total));
            self.billed_wh = Energy::from_wh(total).checked_sub(first).map(Energy::wh);
        }
    }

    /// Delivered against what was asked and could have arrived, percent; by the billed total where there is one. `None`
    /// when nothing was due.
    pub fn energy_error_pct(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a demonstration's energy")]
        let delivered = self.billed_wh.map_or(self.delivered_wh, |wh| wh as f64);
        (self.due_wh > 0.0).then(|| 100.0 * (delivered - self.due_wh) / self.due_wh)
    }

    /// Heat per electrical energy as metered; `None` before anything was drawn.
    pub fn efficiency(&self) -> Option<f64> {
        (self.due_from_power_wh > 0.0).then(|| self.delivered_wh / self.due_from_power_wh)
    }
}
