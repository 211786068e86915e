//! What a simulated BMS asks for: a fixed programme, or a loop on the temperature of a room.

use std::time::Duration;

use crate::sim::plant::{Building, Outdoor};
use crate::time::{Mono, Now, Utc};
use crate::units::{Celsius, Percent, Watts};

/// What the BMS writes, besides its heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ask {
    /// Heat, percent of the zone's nominal heat.
    pub heat: Percent,
    /// Room temperature, where it has one.
    pub room: Option<Celsius>,
    /// Outdoor temperature, where it has one.
    pub outdoor: Option<Celsius>,
}

/// Where the request comes from.
#[derive(Debug, Clone)]
pub enum Programme {
    /// One level after the other, and again from the first.
    Steps(Steps),
    /// A loop on room temperature.
    Room(Box<RoomLoop>),
}

impl Default for Programme {
    fn default() -> Self {
        Self::Steps(Steps::default())
    }
}

impl Programme {
    /// What is asked now.
    pub fn ask(&mut self, now: Now) -> Ask {
        match self {
            Self::Steps(steps) => Ask { heat: steps.at(now.mono), ..Ask::default() },
            Self::Room(room) => room.ask(now),
        }
    }

    /// The heat that arrives, as the BMS has read it; none when it could not be read.
    pub fn on_heat(&mut self, heat: Option<Watts>) {
        if let Self::Room(room) = self {
            room.heat = heat.unwrap_or(Watts::ZERO);
        }
    }
}

/// Levels of equal length, from the first instant it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    levels: Vec<Percent>,
    each: Duration,
    start: Option<Mono>,
}

impl Default for Steps {
    /// 30, 75, 50, 90, 35 %, 12 min each: an hour that shows movement.
    fn default() -> Self {
        Self::new([30.0, 75.0, 50.0, 90.0, 35.0].map(Percent::of).to_vec(), Duration::from_secs(720))
    }
}

impl Steps {
    /// These levels, each for so long; without levels, or with no length, nothing is asked.
    pub const fn new(levels: Vec<Percent>, each: Duration) -> Self {
        Self { levels, each, start: None }
    }

    fn at(&mut self, now: Mono) -> Percent {
        let start = *self.start.get_or_insert(now);
        let step = now.since(start).as_millis().checked_div(self.each.as_millis());
        let step = step.and_then(|step| step.checked_rem(self.levels.len() as u128));
        step.and_then(|step| self.levels.get(usize::try_from(step).ok()?)).copied().unwrap_or_default()
    }
}

/// A PI controller, percent of heat per kelvin of room temperature.
#[derive(Debug, Clone)]
pub struct RoomPi {
    /// Proportional gain, %/K.
    pub gain: f64,
    /// Integral time.
    pub integral: Duration,
    held: f64,
}

impl Default for RoomPi {
    /// 25 %/K, 3600 s.
    fn default() -> Self {
        Self { gain: 25.0, integral: Duration::from_secs(3600), held: 0.0 }
    }
}

impl RoomPi {
    /// One sample, `dt` after the one before.
    pub fn step(&mut self, setpoint: Celsius, room: Celsius, dt: Duration) -> Percent {
        let error = setpoint.get() - room.get();
        let more = self.gain * error * dt.as_secs_f64() / self.integral.as_secs_f64().max(1.0);
        let wanted = self.gain * error + self.held + more;
        // No wind-up: at a limit the integral moves only away from it.
        if (0.0..=100.0).contains(&wanted) || (wanted > 100.0) != (more > 0.0) {
            self.held += more;
        }
        Percent::of((self.gain * error + self.held).clamp(0.0, 100.0))
    }
}

/// A simulated room, its weather, and the PI loop that asks for its heat.
#[derive(Debug, Clone, Default)]
pub struct RoomLoop {
    pi: RoomPi,
    building: Building,
    weather: Outdoor,
    /// Heat that goes into the building, as read.
    heat: Watts,
    sampled: Option<Mono>,
    asked: Percent,
}

impl RoomLoop {
    /// Time between two samples of the loop.
    const SAMPLE: Duration = Duration::from_secs(60);
    /// By day, from 6 to 20 h; and by night.
    const SETPOINTS: (Celsius, Celsius) = (Celsius::of(19.0), Celsius::of(16.0));

    /// A building in its weather.
    pub fn new(building: Building, weather: Outdoor, pi: RoomPi) -> Self {
        Self { pi, building, weather, ..Self::default() }
    }

    fn ask(&mut self, now: Now) -> Ask {
        let time_of_day = time_of_day(now.utc);
        let outdoor = self.weather.at(time_of_day);
        let since = self.sampled.map_or(Self::SAMPLE, |sampled| now.mono.since(sampled));
        if since >= Self::SAMPLE {
            if self.sampled.is_some() {
                self.building.step(self.heat, outdoor, since);
            }
            let day = (6.0 * 3600.0..20.0 * 3600.0).contains(&time_of_day);
            let setpoint = if day { Self::SETPOINTS.0 } else { Self::SETPOINTS.1 };
            self.asked = self.pi.step(setpoint, self.building.air(), since);
            self.sampled = Some(now.mono);
        }
        Ask { heat: self.asked, room: Some(self.building.air()), outdoor: Some(outdoor) }
    }
}

/// Seconds since midnight, UTC.
fn time_of_day(utc: Utc) -> f64 {
    utc.millis().rem_euclid(86_400_000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(secs: u64) -> Now {
        Now { mono: Mono::from_start(Duration::from_secs(secs)), utc: Utc::from_millis(secs as i64 * 1000) }
    }

    #[test]
    fn the_steps_follow_each_other_and_begin_again() {
        let mut programme = Programme::default();
        let at = |programme: &mut Programme, secs: u64| programme.ask(now(1000 + secs)).heat.get();
        let levels: Vec<f64> = [0, 719, 720, 1440, 2160, 2880, 3599, 3600].map(|secs| at(&mut programme, secs)).into();
        assert_eq!(levels, [30.0, 30.0, 75.0, 50.0, 90.0, 35.0, 35.0, 30.0]);
    }

    #[test]
    fn an_empty_programme_asks_nothing() {
        assert_eq!(Steps::new(Vec::new(), Duration::from_secs(1)).at(Mono::START), Percent::ZERO);
        assert_eq!(Steps::new(vec![Percent::of(5.0)], Duration::ZERO).at(Mono::START), Percent::ZERO);
    }

    #[test]
    fn the_pi_is_clipped_without_wind_up() {
        let mut pi = RoomPi::default();
        let minute = Duration::from_secs(60);
        for _ in 0..1000 {
            assert_eq!(pi.step(Celsius::of(19.0), Celsius::of(10.0), minute), Percent::of(100.0));
        }
        // As soon as it is warm enough, it lets go.
        assert!(pi.step(Celsius::of(19.0), Celsius::of(20.0), minute) < Percent::of(80.0));
        for _ in 0..1000 {
            pi.step(Celsius::of(19.0), Celsius::of(25.0), minute);
        }
        assert_eq!(pi.step(Celsius::of(19.0), Celsius::of(25.0), minute), Percent::ZERO);
        assert!(pi.step(Celsius::of(19.0), Celsius::of(17.0), minute) > Percent::of(40.0));
    }

    #[test]
    fn the_room_loop_holds_the_room_when_its_heat_comes() {
        let mut programme = Programme::Room(Box::default());
        let mut last = Ask::default();
        for minute in 0..2 * 24 * 60 {
            last = programme.ask(now(minute * 60));
            programme.on_heat(Some(Watts::from_kw(52.8) * (last.heat.get() / 100.0)));
            let hour = minute % (24 * 60) / 60;
            if minute > 24 * 60 && (10..20).contains(&hour) {
                let room = last.room.unwrap().get();
                assert!((room - 19.0).abs() < 0.5, "{room} degC at {hour} h");
            }
        }
        assert!(last.outdoor.unwrap().get() < 6.1);
    }

    #[test]
    fn without_heat_the_room_asks_for_all_it_can_get() {
        let mut programme = Programme::Room(Box::default());
        for minute in 0..12 * 60 {
            programme.ask(now(minute * 60));
            programme.on_heat(None);
        }
        assert_eq!(programme.ask(now(12 * 3600)).heat, Percent::of(100.0));
    }
}
