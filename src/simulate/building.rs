//! The building's side: what the BMS asks for, the room that it looks at, the weather, and the jobs that there are.

use std::time::Duration;

use super::draw::{Asks, Case, FULL_HEAT_KW};
use super::scenario::{Room, Weather};
use crate::sim::bms::RoomPi;
use crate::sim::noise::Noise;
use crate::sim::plant::{Building, Outdoor};
use crate::units::{Celsius, Watts};

/// The BMS looks at its room, and writes, this often, s.
pub(super) const BMS_PERIOD: u64 = 60;
const DAY: f64 = 86_400.0;
/// Setpoints by day (6 to 20 h) and by night, degC.
const SETPOINTS: (f64, f64) = (19.0, 16.0);
/// Comfort is counted outside this distance from the setpoint, K,
const COMFORT_BAND: f64 = 0.5;
/// and after this time, s.
const COMFORT_FROM: f64 = 1800.0;

/// The BMS with its room.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    asks: Asks,
    pi: RoomPi,
    sensor: Noise,
    pub room: Building,
    /// Seconds of the week at the start, from Monday 0 h.
    week_offset: f64,
    /// Heat asked at the last write.
    pub asked: Watts,
    /// Kelvin hours below and above the band.
    pub under_kh: f64,
    pub over_kh: f64,
}

impl Zone {
    pub fn new(case: &Case) -> Self {
        // 1970-01-01 was a Thursday.
        let week_offset = (case.start.millis().rem_euclid(7 * 86_400_000) as f64 / 1000.0 + 3.0 * DAY) % (7.0 * DAY);
        let (air, mass) = (Celsius::of(17.0), Celsius::of(16.5));
        Self {
            asks: case.asks.clone(),
            pi: RoomPi::default(),
            sensor: Noise::named(case.seed, "sensor"),
            room: Building::new(case.building, air, mass),
            week_offset,
            asked: Watts::ZERO,
            under_kh: 0.0,
            over_kh: 0.0,
        }
    }

    /// When the request changes by itself next.
    pub fn next_change(&self, t: f64) -> f64 {
        match &self.asks {
            Asks::Steps(steps) => steps.iter().map(|step| step.0).find(|until| *until > t).unwrap_or(f64::INFINITY),
            Asks::Room(_) => f64::INFINITY,
        }
    }

    /// The next step: when, and what is asked then; none for a loop, and after the last one.
    pub fn next_step(&self, t: f64) -> Option<(f64, Watts)> {
        let Asks::Steps(steps) = &self.asks else { return None };
        let at = steps.iter().position(|step| step.0 > t)?;
        Some((steps.get(at)?.0, steps.get(at + 1)?.1))
    }

    /// The setpoint, degC; none where no room is looked at.
    pub fn setpoint(&self, t: f64) -> Option<f64> {
        let Asks::Room(room) = &self.asks else { return None };
        let week = (self.week_offset + t) % (7.0 * DAY);
        let works = !room.working_days || week < 5.0 * DAY;
        let day = (6.0 * 3600.0..20.0 * 3600.0).contains(&(week % DAY));
        Some(if works && day { SETPOINTS.0 } else { SETPOINTS.1 })
    }

    /// What the BMS asks now; once each period.
    pub fn ask(&mut self, t: f64) -> Watts {
        let setpoint = self.setpoint(t);
        self.asked = match &self.asks {
            Asks::Steps(steps) => steps.iter().find(|step| step.0 > t).or(steps.last()).map_or(Watts::ZERO, |s| s.1),
            Asks::Room(Room { noise_k, .. }) => {
                let measured = self.room.air().get() + noise_k * self.sensor.normal();
                let period = Duration::from_secs(BMS_PERIOD);
                let setpoint = Celsius::of(setpoint.unwrap_or_default());
                let percent = self.pi.step(setpoint, Celsius::of(measured), period);
                Watts::from_kw(FULL_HEAT_KW) * (percent.get() / 100.0)
            }
        };
        self.asked
    }

    /// Heat goes into the room for `dt` seconds.
    pub fn heat(&mut self, t: f64, dt: f64, heat: Watts, outdoor: Celsius) {
        let Some(setpoint) = self.setpoint(t) else { return };
        self.room.step(heat, outdoor, super::site::secs(dt));
        if t >= COMFORT_FROM {
            let off = self.room.air().get() - setpoint;
            self.under_kh += (-off - COMFORT_BAND).max(0.0) * dt / 3600.0;
            self.over_kh += (off - COMFORT_BAND).max(0.0) * dt / 3600.0;
        }
    }
}

/// The weather.
#[derive(Debug, Clone)]
pub(super) struct Sky {
    sine: Outdoor,
    weather: Weather,
    year_offset: f64,
    day_offset: f64,
    noise: Noise,
    /// How much warmer it is than the season, K, and until when that holds.
    unusual: f64,
    until: f64,
}

/// The north of France (Paris): mean of the year 12 degC, coldest in mid-January (5 degC), +-4 K within a day, and spells
/// of several days of 3.5 K standard deviation.
const FRANCE: (f64, f64, f64) = (12.0, 7.5, 4.0);
const SPELL_K: f64 = 3.5;
const SPELL_DAYS: f64 = 3.0;

impl Sky {
    pub fn new(case: &Case) -> Self {
        let seconds = case.start.millis() as f64 / 1000.0;
        Self {
            sine: case.outdoor,
            weather: case.weather,
            year_offset: seconds.rem_euclid(365.25 * DAY),
            day_offset: seconds.rem_euclid(DAY),
            noise: Noise::named(case.seed, "weather"),
            unusual: 0.0,
            until: 0.0,
        }
    }

    /// Outdoors at a time; times must not go back.
    pub fn at(&mut self, t: f64) -> Celsius {
        match self.weather {
            Weather::Sine => self.sine.at(self.day_offset + t),
            Weather::France => {
                while t >= self.until {
                    // One hour of an autoregressive walk.
                    let keeps = (-1.0 / (24.0 * SPELL_DAYS)).exp();
                    self.unusual = self.unusual * keeps + SPELL_K * (1.0 - keeps * keeps).sqrt() * self.noise.normal();
                    self.until += 3600.0;
                }
                let (mean, year, day) = FRANCE;
                let turn = std::f64::consts::TAU;
                // Coldest on 15 January, and at 3 h.
                let season = -year * (turn * (self.year_offset + t - 14.0 * DAY) / (365.25 * DAY)).cos();
                let hour = day * (turn * (self.day_offset + t - 9.0 * 3600.0) / DAY).sin();
                Celsius::of(mean + season + hour + self.unusual)
            }
        }
    }
}

/// The jobs of the heaters.
#[derive(Debug, Clone)]
pub(super) struct Work {
    shortage: Option<(f64, f64, f64)>,
    walks: bool,
    noise: Noise,
    share: f64,
    until: f64,
}

impl Work {
    /// Time between two steps of the walk, s.
    const STEP: f64 = 600.0;

    pub fn new(case: &Case) -> Self {
        Self {
            shortage: case.jobs,
            walks: case.jobs_walk,
            noise: Noise::named(case.seed, "jobs"),
            share: 1.0,
            until: 0.0,
        }
    }

    /// Share of full load now; times must not go back.
    pub fn at(&mut self, t: f64) -> f64 {
        if let Some((share, from, to)) = self.shortage {
            return if (from..to).contains(&t) { share } else { 1.0 };
        }
        while self.walks && t >= self.until {
            // Mostly plenty: a walk between 0.3 and 1.3, of which 1 is all that can be run.
            self.share = (self.share + 0.05 * self.noise.normal()).clamp(0.3, 1.3);
            self.until += Self::STEP;
        }
        self.share.min(1.0)
    }

    /// When that changes next.
    pub fn next_change(&self, t: f64) -> f64 {
        match self.shortage {
            Some((_, from, _)) if t < from => from,
            Some((_, _, to)) if t < to => to,
            _ if self.walks => self.until,
            _ => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scenario::Scenario;

    fn case(name: &str) -> Case {
        Case::nominal(&Scenario::builtin(name).unwrap().variants[0])
    }

    #[test]
    fn the_steps_are_asked_in_their_time() {
        let mut zone = Zone::new(&case("steps"));
        assert_eq!(zone.ask(0.0).kw(), 20.0);
        assert_eq!(zone.ask(7199.0).kw(), 20.0);
        assert_eq!(zone.ask(7200.0).kw(), 45.0);
        assert_eq!(zone.ask(99_000.0).kw(), 18.0);
        assert_eq!(zone.next_change(7200.0), 14_400.0);
        assert_eq!(zone.next_step(0.0), Some((7200.0, Watts::from_kw(45.0))));
        assert_eq!(zone.next_step(35_000.0), None);
        assert_eq!(zone.setpoint(0.0), None);
    }

    #[test]
    fn a_weekend_is_a_night() {
        let zone = Zone::new(&case("week"));
        let at = |day: f64, hour: f64| zone.setpoint(day * DAY + hour * 3600.0);
        assert_eq!((at(0.0, 5.9), at(0.0, 6.0), at(4.0, 19.9)), (Some(16.0), Some(19.0), Some(19.0)));
        assert_eq!((at(5.0, 12.0), at(6.0, 12.0)), (Some(16.0), Some(16.0)));
        let every_day = Zone::new(&case("two-days"));
        assert_eq!(every_day.setpoint(5.5 * DAY), Some(19.0));
    }

    #[test]
    fn a_french_year_has_a_winter_and_a_summer() {
        let mut sky = Sky::new(&case("year"));
        let mut months = [0.0; 12];
        for hour in 0..8760 {
            months[hour / 730] += sky.at(hour as f64 * 3600.0).get() / 730.0;
        }
        assert!((0.0..9.0).contains(&months[0]), "{months:?}");
        assert!((15.0..24.0).contains(&months[6]), "{months:?}");
    }

    #[test]
    fn jobs_are_short_in_their_time_and_walk_within_bounds() {
        let mut short = Work::new(&case("job-shortage"));
        assert_eq!((short.at(8999.0), short.at(9000.0), short.at(16_000.0)), (1.0, 0.3, 1.0));
        let mut walk = Work::new(&case("week"));
        let shares: Vec<f64> = (0..1008).map(|n| walk.at(f64::from(n) * 600.0)).collect();
        assert!(shares.iter().all(|share| (0.3..=1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.9));
    }
}
