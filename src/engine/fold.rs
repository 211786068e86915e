//! Folding: readings from the field into the image, and what turns stale when nobody refreshes it.

use std::time::Duration;

use crate::plant::{Cov, HeaterRole, Plant, PropertyPlace, Source};
use crate::point::{Doubt, Fault, Image, PointId, Reading, Sample, Update};
use crate::time::Now;

/// Take one reading. Only points that the field owns take readings; one of the wrong kind is malformed.
pub(super) fn fold(plant: &Plant, image: &mut Image, update: Update, now: Now) {
    let Some(def) = plant.point(update.point) else { return };
    let from_field = matches!(def.source, Source::Device(_) | Source::Heater(_)) || plant_link(plant, update.point);
    let Some(state) = from_field.then(|| image.get_mut(update.point)).flatten() else { return };
    let reading = match update.reading {
        Reading::Good(value) | Reading::Uncertain(value, _) if value.kind() != def.kind => {
            Reading::Bad(Fault::Malformed)
        }
        Reading::Good(value) | Reading::Uncertain(value, _) if def.absent == Some(value.as_f64()) => {
            Reading::Bad(Fault::Absent)
        }
        Reading::Good(value) | Reading::Uncertain(value, _) if !def.admits(value.as_f64()) => {
            Reading::Bad(Fault::OutOfRange)
        }
        other => other,
    };
    state.sample = Sample { reading, at: now };
    if let Some(value) = reading.value() {
        state.last = Some(value);
        state.held = Some(now);
    }
}

/// The broker link is the site's, and yet an adapter reports it.
fn plant_link(plant: &Plant, point: PointId) -> bool {
    plant.site.get(crate::plant::SiteRole::BrokerLink) == Some(point)
}

/// How old a field value may become.
#[derive(Debug, Clone)]
pub(super) struct Ages(Vec<(PointId, Duration)>);

impl Ages {
    /// From the plant; `liveness` stretches them where site time runs faster than the parties that report.
    pub fn new(plant: &Plant, liveness: f64) -> Self {
        // What arrives only on change (retained status, acknowledgements) does not age.
        const ON_CHANGE: [HeaterRole; 5] =
            [HeaterRole::Online, HeaterRole::AckSeq, HeaterRole::AckResult, HeaterRole::Cap, HeaterRole::Total];
        let mut ages = Vec::new();
        for heater in &plant.heaters {
            let fresh = heater.points.iter().filter(|(role, _)| !ON_CHANGE.contains(role));
            ages.extend(fresh.map(|(_, point)| (point, heater.max_age.mul_f64(liveness))));
        }
        for device in &plant.devices {
            let meter = plant.meters.iter().find(|meter| meter.device == device.id);
            let age = meter.map_or_else(|| device.poll * 3, |meter| meter.max_age).max(device.poll * 2);
            // What is subscribed is read at every third poll only; two more may fail.
            let subscribed = |place: &PropertyPlace| place.cov != Cov::No;
            ages.extend(device.points.iter().map(|read| {
                let polls = if read.property().is_some_and(subscribed) { 5 } else { 3 };
                let own = read.poll.unwrap_or(device.poll).saturating_mul(polls);
                let age = if polls == 5 || read.poll.is_some() { age.max(own) } else { age };
                (read.point, age.mul_f64(liveness))
            }));
        }
        Self(ages)
    }

    /// Mark what nobody refreshed; true when something turned stale now.
    pub fn sweep(&self, image: &mut Image, now: Now) -> bool {
        let mut turned = false;
        for (point, age) in &self.0 {
            let Some(sample) = image.get(*point).map(|state| state.sample) else { continue };
            if let Reading::Good(value) = sample.reading
                && now.mono.since(sample.at.mono) > *age
                && let Some(state) = image.get_mut(*point)
            {
                state.sample.reading = Reading::Uncertain(value, Doubt::Stale);
                turned = true;
            }
        }
        turned
    }
}
