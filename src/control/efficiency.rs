//! Heat per electrical power, as believed: the mapping's constants, weighted by rated power. An estimate from a heat
//! meter would take their place here, behind the same function.

use crate::plant::{Heater, Zone};

/// Believed where the mapping gives no power to weigh by: liquid-cooled (CONTROL law, 2).
const DEFAULT: f64 = 0.95;
/// Nothing outside this is believed: a heat pump is no heater, and less is no heating.
const BOUNDS: (f64, f64) = (0.3, 1.02);

/// Efficiency of these heaters together; the zone's nominal one where there are none.
pub(super) fn believed<'a>(zone: &Zone, heaters: impl Iterator<Item = &'a Heater>) -> f64 {
    let (heat, power) = heaters
        .fold((0.0, 0.0), |(heat, power), heater| (heat + heater.eta * heater.rated.get(), power + heater.rated.get()));
    let eta = if power > 0.0 { heat / power } else { zone.nominal_heat.ratio(zone.rated).unwrap_or(DEFAULT) };
    if eta.is_finite() { eta.clamp(BOUNDS.0, BOUNDS.1) } else { DEFAULT }
}
