//! Turning a zone's power into commands: which heater gets what, when it is told, and the release at the end.

use crate::decision::Reason;
use crate::plant::{Heater, Plant, Zone};
use crate::time::Now;
use crate::units::Watts;

use super::allocation;
use super::heater::Order;
use super::inputs::Inputs;
use super::ramp::Rates;
use super::send::Standing;
use super::zone::ZoneControl;

/// Lease of a released command: short, because the heater's own fallback is meant to take over.
const RELEASE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a step came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome<'a> {
    /// Of the heaters that take part.
    pub standing: Standing,
    /// Highest power of the whole zone.
    pub ceiling: Watts,
    /// At once, and to nothing.
    pub stop: bool,
    /// It leaves the gateway (not in observation).
    pub sent: bool,
    pub reasons: &'a [Reason],
}

impl ZoneControl {
    /// Renew commands where it is due.
    pub fn command(&mut self, zone: &Zone, inputs: &Inputs<'_>, outcome: Outcome<'_>) {
        let Outcome { standing, ceiling, stop, sent, reasons } = outcome;
        let plant = inputs.plant;
        let rooms: Vec<_> = self.part(plant, true).map(|(heater, control)| control.room(heater)).collect();
        let shares = allocation::share(&rooms, standing.ramp);
        let uneven = self
            .part(plant, true)
            .zip(&shares)
            .map(|((_, control), share)| (control.cap - *share).abs())
            .reduce(Watts::max)
            .unwrap_or_default();
        let renew = self.gate.open(inputs.mono(), Standing { uneven, ..standing });

        // Those that take no part get what the ceiling leaves, and never more than they had.
        let sum_in = if renew { shares.iter().copied().sum() } else { standing.sent };
        let out: Watts = self.part(plant, false).map(|(heater, control)| control.cap.min(heater.fallback)).sum();
        let left = (ceiling - sum_in).max(Watts::ZERO).ratio(out).unwrap_or(1.0).min(1.0);

        let rated_in: Watts = self.part(plant, true).map(|(heater, _)| heater.rated).sum();
        let rates = Rates::of(zone);
        let mut shares = shares.into_iter();
        for (id, control) in &mut self.heaters {
            let Some(heater) = plant.heater(*id) else { continue };
            let cap = if stop {
                let _ = control.takes_part().then(|| shares.next());
                Watts::ZERO
            } else if control.takes_part() {
                let share = shares.next().unwrap_or(control.cap);
                if renew { share } else { control.cap }
            } else {
                control.cap.min(heater.fallback) * left
            };
            // The end of a lease raises nothing: what a ceiling or a stop took stays taken without the gateway.
            let fallback = heater.fallback.min(cap);
            let nothing = if stop { Watts::ZERO } else { Watts::of(0.5) };
            let told = control.command.as_ref().is_some_and(|command| (command.fallback - fallback).abs() <= nothing);
            let changed = !told || (cap - control.cap).abs() > nothing;
            if !changed && !control.refresh_due(heater, inputs) {
                continue;
            }
            // The zone's ramp, divided among those that carry it. A refresh keeps the pace of the change it repeats.
            let among = if control.takes_part() { rated_in } else { zone.rated };
            let pace = if cap > control.cap { rates.up } else { rates.down } * heater.rated.ratio(among).unwrap_or(1.0);
            let kept = control.command.as_ref().filter(|_| !changed).map(|command| command.ramp_w_per_s);
            let ramp_w_per_s = if stop { 0.0 } else { kept.unwrap_or(pace) };
            let mut why = reasons.to_vec();
            why.push(Reason::Share { of: cap, total: sum_in });
            let order = Order { cap, ttl: heater.lease, ramp_w_per_s, fallback, reasons: why };
            control.tell(heater, inputs.now, order, sent);
        }
    }

    /// Give back what was commanded: each heater to its own fallback, but never above what it had.
    pub fn release(&mut self, plant: &Plant, now: Now, sent: bool) {
        let stopped = self.mode.latch().is_some();
        for (id, control) in &mut self.heaters {
            let Some(heater) = plant.heater(*id) else { continue };
            // Cap and fallback alike: the short lease must not raise what a ceiling holds down.
            let cap = if stopped { Watts::ZERO } else { heater.fallback.min(control.cap) };
            let order = Order {
                cap,
                ttl: if stopped { heater.lease } else { heater.lease.min(RELEASE) },
                ramp_w_per_s: heater.rated.get() * zone_down(plant, heater) / 60.0,
                fallback: cap,
                reasons: vec![Reason::Released],
            };
            control.tell(heater, now, order, sent);
        }
    }
}

fn zone_down(plant: &Plant, heater: &Heater) -> f64 {
    plant.zone(heater.zone).map_or(1.0, |zone| zone.ramp_down_per_min.max(0.0))
}
