//! One run made definite: the true plant and everything that happens to it, nominal or drawn from a seed.

use super::scenario::{AtRandom, Forecast, Loss, Room, Span, Variant, Weather};
use crate::sim::noise::Noise;
use crate::sim::plant::{BuildingParams, Outdoor};
use crate::time::Utc;
use crate::units::{Celsius, Watts};

/// Rated power of the simulated site's heaters, kW, in the order of its mapping.
pub(super) const HEATERS_KW: [f64; 4] = [20.0, 20.0, 10.0, 10.0];
/// Idle power, as a share of rated power.
pub(super) const IDLE: f64 = 0.25;
/// Heat that is 100 % for the BMS loop, kW.
pub(super) const FULL_HEAT_KW: f64 = 52.8;
/// Rated power of the zone, kW.
pub(super) const RATED_KW: f64 = 60.0;

/// The seed of runs that are not drawn.
const NOMINAL_SEED: u64 = 1;
/// Lag, delay, meter and building parameters of a drawn plant, as multiples of the nominal ones.
const SPREAD: (f64, f64) = (0.7, 1.3);
/// True efficiency of a drawn plant.
const ETAS: (f64, f64) = (0.80, 0.95);
/// Mean outdoor temperature of a drawn plant, degC.
const OUTDOORS: (f64, f64) = (-4.0, 7.0);

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asks {
    /// Heat until a time, s; the last one lasts.
    Steps(Vec<(f64, Watts)>),
    /// A loop on room temperature.
    Room(Room),
}

/// A heater's link that is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub heater: usize,
    pub from: f64,
    pub to: f64,
}

/// One run. Times are in seconds from its start.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Case {
    pub seed: u64,
    pub seconds: u64,
    pub start: Utc,
    pub eta: f64,
    /// Change of efficiency per second, as a share of it.
    pub eta_drift: f64,
    pub lag_s: f64,
    pub delay_s: f64,
    pub up_s: f64,
    pub down_s: f64,
    /// A command reaches its heater after a time between these, s.
    pub command_delay: (f64, f64),
    pub meter_every_s: f64,
    pub meter_age_s: f64,
    pub meter_resolution: Watts,
    pub meter_noise: f64,
    pub power_noise: f64,
    pub meter_lost_from: Option<f64>,
    pub meter_stuck: Option<(f64, f64)>,
    pub building: BuildingParams,
    pub outdoor: Outdoor,
    pub weather: Weather,
    pub asks: Asks,
    /// When the BMS writes within its minute, the meter within its period, the telemetry within its 10 s.
    pub phase: f64,
    /// Share of full load, from, to.
    pub jobs: Option<(f64, f64, f64)>,
    pub jobs_walk: bool,
    pub bms_lost: Option<(f64, f64)>,
    pub cut: Option<Cut>,
    /// What the BMS says ahead.
    pub forecast: Option<Forecast>,
    /// Heat is held against the request itself.
    pub heat_when_asked: bool,
    /// From, to, limit.
    pub limits: Vec<(f64, f64, Watts)>,
}

impl Case {
    /// The nominal plant.
    pub fn nominal(variant: &Variant) -> Self {
        let hours = |h: f64| h * 3600.0;
        let mut noise = Noise::named(NOMINAL_SEED, "events");
        let length = hours(variant.hours);
        let asks = match (&variant.steps, &variant.room) {
            (Some(steps), _) => {
                let turns = (length / hours(steps.hours)).ceil().clamp(1.0, 1e6) as usize;
                let levels = steps.kw.iter().cycle().take(turns).zip(1_u32..);
                Asks::Steps(levels.map(|(kw, n)| (f64::from(n) * hours(steps.hours), Watts::from_kw(*kw))).collect())
            }
            (None, room) => Asks::Room(room.clone().unwrap_or_default()),
        };
        let loop_ = variant.plant.lag_and_delay.unwrap_or(1.0);
        let meter = &variant.meter;
        let jobs = variant.jobs.as_ref();
        Self {
            seed: NOMINAL_SEED,
            seconds: length.max(1.0) as u64,
            start: variant.start(),
            eta: variant.plant.eta.unwrap_or(0.88),
            eta_drift: variant.plant.eta_drift_percent_per_day / 100.0 / 86_400.0,
            lag_s: 240.0 * loop_,
            delay_s: 60.0 * loop_,
            up_s: 20.0,
            down_s: 5.0,
            command_delay: (1.0, 5.0),
            meter_every_s: meter.every_s.unwrap_or(16.0),
            meter_age_s: meter.age_s,
            meter_resolution: Watts::of(100.0),
            meter_noise: 0.005,
            power_noise: 0.005,
            meter_lost_from: meter.lost_from_h.map(hours),
            meter_stuck: meter.stuck_h.map(|[from, to]| (hours(from), hours(to))),
            building: BuildingParams::default(),
            outdoor: Outdoor::default(),
            weather: variant.weather,
            asks,
            phase: 0.0,
            jobs: jobs.filter(|jobs| !jobs.walk).map(|jobs| (jobs.share, hours(jobs.from_h), hours(jobs.to_h))),
            jobs_walk: jobs.is_some_and(|jobs| jobs.walk),
            bms_lost: variant.bms.as_ref().map(|loss| span(loss, length, &mut noise)),
            cut: variant.controller.as_ref().map(|loss| {
                let (from, to) = span(loss, length, &mut noise);
                let names = ["rack-a", "rack-b", "rack-c", "rack-d"];
                let heater = loss.heater.as_deref().and_then(|name| names.iter().position(|other| *other == name));
                Cut { heater: heater.unwrap_or(0), from, to }
            }),
            forecast: variant.forecast,
            heat_when_asked: variant.heat_when_asked,
            limits: variant
                .limit
                .iter()
                .map(|limit| (hours(limit.from_h), hours(limit.to_h), Watts::from_kw(limit.kw)))
                .collect(),
        }
    }

    /// A plant that nobody has seen: what the scenario fixes stays, the rest is drawn.
    pub fn drawn(variant: &Variant, seed: u64) -> Self {
        let mut case = Self::nominal(variant);
        case.seed = seed;
        // One stream for each question, so that a new one does not change the answers to the others.
        let mut plant = Noise::named(seed, "plant");
        let mut spread = |value: &mut f64| *value *= plant.between(SPREAD.0, SPREAD.1);
        let (mut lag, mut delay) = (case.lag_s, case.delay_s);
        spread(&mut lag);
        spread(&mut delay);
        if variant.plant.lag_and_delay.is_none() {
            (case.lag_s, case.delay_s) = (lag, delay);
        }
        spread(&mut case.up_s);
        spread(&mut case.down_s);
        spread(&mut case.command_delay.0);
        spread(&mut case.command_delay.1);
        let mut every = case.meter_every_s;
        spread(&mut every);
        if variant.meter.every_s.is_none() {
            case.meter_every_s = every;
        }
        let mut resolution = case.meter_resolution.get();
        spread(&mut resolution);
        case.meter_resolution = Watts::of(resolution);
        spread(&mut case.meter_noise);
        spread(&mut case.power_noise);
        spread(&mut case.building.loss);
        spread(&mut case.building.air);
        spread(&mut case.building.mass);
        spread(&mut case.building.coupling);
        let mut rest = Noise::named(seed, "rest");
        let eta = rest.between(ETAS.0, ETAS.1);
        case.eta = variant.plant.eta.unwrap_or(eta);
        case.outdoor.mean = Celsius::of(rest.between(OUTDOORS.0, OUTDOORS.1));
        case.phase = rest.unit();
        let length = variant.hours * 3600.0;
        if let Asks::Steps(steps) = &mut case.asks {
            *steps = programme(length, &mut Noise::named(seed, "programme"));
        }
        let mut events = Noise::named(seed, "events");
        if let (Some(lost), Some(loss)) = (&mut case.bms_lost, &variant.bms) {
            *lost = span(loss, length, &mut events);
        }
        if let (Some(cut), Some(loss)) = (&mut case.cut, &variant.controller) {
            (cut.from, cut.to) = span(loss, length, &mut events);
        }
        case
    }
}

/// A random programme: levels between idle heat and almost all, for one to three hours each.
fn programme(length: f64, noise: &mut Noise) -> Vec<(f64, Watts)> {
    let (mut steps, mut until) = (Vec::new(), 0.0);
    while until < length {
        until += noise.between(3600.0, 3.0 * 3600.0).round();
        steps.push((until, Watts::from_kw(noise.between(15.0, 50.0))));
    }
    steps
}

/// When it is lost; at random: within the first half, for 20 min to 3 h.
fn span(loss: &Loss, length: f64, noise: &mut Noise) -> (f64, f64) {
    match loss.lost {
        Span::Hours([from, to]) => (from * 3600.0, to * 3600.0),
        Span::Word(AtRandom::Random) => {
            let from = noise.between(length * 0.1, length * 0.5).round();
            (from, from + noise.between(1200.0, 10_800.0).round())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scenario::Scenario;

    #[test]
    fn the_nominal_plant_is_the_written_one() {
        let steps = Scenario::builtin("steps").unwrap();
        let case = Case::nominal(&steps.variants[0]);
        assert_eq!((case.eta, case.lag_s, case.delay_s, case.seconds), (0.88, 240.0, 60.0, 36_000));
        let Asks::Steps(levels) = &case.asks else { panic!() };
        assert_eq!(levels.len(), 5);
        assert_eq!(levels[1], (14_400.0, Watts::from_kw(45.0)));
        let shortage = Scenario::builtin("job-shortage").unwrap();
        assert_eq!(Case::nominal(&shortage.variants[0]).jobs, Some((0.3, 9000.0, 16_000.0)));
    }

    #[test]
    fn draws_stay_within_their_bounds_and_repeat() {
        let steps = Scenario::builtin("steps").unwrap();
        for seed in 0..200 {
            let case = Case::drawn(&steps.variants[0], seed);
            assert_eq!(case, Case::drawn(&steps.variants[0], seed));
            assert!((168.0..312.0).contains(&case.lag_s) && (42.0..78.0).contains(&case.delay_s));
            assert!((0.80..0.95).contains(&case.eta));
            assert!((-4.0..7.0).contains(&case.outdoor.mean.get()));
        }
        assert_ne!(Case::drawn(&steps.variants[0], 1).lag_s, Case::drawn(&steps.variants[0], 2).lag_s);
    }

    #[test]
    fn what_a_scenario_fixes_is_not_drawn() {
        let delay = Scenario::builtin("wrong-delay").unwrap();
        assert_eq!(Case::drawn(&delay.variants[1], 7).lag_s, 480.0);
        let eta = Scenario::builtin("wrong-eta").unwrap();
        assert_eq!(Case::drawn(&eta.variants[0], 7).eta, 0.80);
        let old = Scenario::builtin("old-meter").unwrap();
        assert_eq!(Case::drawn(&old.variants[0], 7).meter_every_s, 64.0);
    }
}
