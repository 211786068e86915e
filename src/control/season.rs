//! Winter or summer: in summer the heat of sold compute is a burden, and the site says how much of it it can bear.

use std::time::Duration;

use crate::plant::{Zone, ZoneRole};
use crate::time::Mono;
use crate::units::Watts;

use super::inputs::Inputs;

/// The season point: 1 winter, 2 summer, anything else is decided by the weather.
const WINTER: u64 = 1;
const SUMMER: u64 = 2;
/// By the weather it is summer from this daily mean on, degC (buildings of this kind are not heated above it),
const SUMMER_FROM: f64 = 17.0;
/// and winter again from this one on.
const WINTER_FROM: f64 = 15.0;
/// The mean is taken over about a day, s.
const MEAN_S: f64 = 86_400.0;

/// The memory of a zone's season.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Season {
    mean: Option<f64>,
    at: Mono,
    warm: bool,
}

impl Season {
    /// Whether it is summer. A season that nobody says and no weather tells is winter: then it is heated as asked.
    pub fn summer(&mut self, zone: &Zone, inputs: &Inputs<'_>) -> bool {
        let dt = inputs.mono().since(std::mem::replace(&mut self.at, inputs.mono()));
        if let Some(outdoor) = inputs.celsius(zone.points.get(ZoneRole::OutdoorTemperature)) {
            self.weather(outdoor.get(), dt);
        }
        let said = inputs.standing(zone.points.get(ZoneRole::Season)).and_then(crate::point::Value::as_u64);
        match said {
            Some(WINTER) => false,
            Some(SUMMER) => true,
            _ => self.warm,
        }
    }

    fn weather(&mut self, outdoor: f64, dt: Duration) {
        let mean = self.mean.map_or(outdoor, |mean| mean + (outdoor - mean) * -f64::exp_m1(-dt.as_secs_f64() / MEAN_S));
        self.mean = Some(mean);
        self.warm = mean >= if self.warm { WINTER_FROM } else { SUMMER_FROM };
    }
}

/// Sold compute that may run now: all of it in winter; in summer no more than its heat is asked for or may be given away;
/// and never a surplus while the backup boiler runs. `None`: all of it.
pub(super) fn allowed(zone: &Zone, summer: bool, backup: bool, heat: Option<Watts>, eta: f64) -> Option<Watts> {
    if zone.contracted <= Watts::ZERO || !(summer || backup) {
        return None;
    }
    let dump = if summer && !backup { zone.law.summer_dump } else { Watts::ZERO };
    let allowed = (heat.unwrap_or_default() + dump) / eta;
    (allowed < zone.contracted).then_some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_day_is_no_summer_and_a_warm_week_is() {
        let mut season = Season::default();
        season.weather(8.0, Duration::ZERO);
        for _ in 0..24 {
            season.weather(20.0, Duration::from_secs(1200));
        }
        assert!(!season.warm);
        for _ in 0..7 * 72 {
            season.weather(20.0, Duration::from_secs(1200));
        }
        assert!(season.warm);
        for _ in 0..20 {
            season.weather(15.5, Duration::from_secs(86_400));
        }
        assert!(season.warm, "not yet");
        for _ in 0..20 {
            season.weather(10.0, Duration::from_secs(86_400));
        }
        assert!(!season.warm);
    }
}
