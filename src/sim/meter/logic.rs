//! A heat meter without its sockets: what it believes the heaters draw, what arrives as heat, what it shows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::registers::Shown;
use crate::sim::noise::Noise;
use crate::sim::plant::{HydronicModel, HydronicParams};
use crate::time::Mono;
use crate::units::{Celsius, Energy, Watts};

/// What a simulated meter is, and the loop it measures.
#[derive(Debug, Clone, PartialEq)]
pub struct MeterOptions {
    /// The loop, with its true efficiency.
    pub hydronic: HydronicParams,
    /// Time between two samples.
    pub sample: Duration,
    /// Standard deviation of measured heat, relative.
    pub noise: f64,
    /// Of the noise.
    pub seed: u64,
    /// Flow, constant, m3/h.
    pub flow_m3h: f64,
    /// Return temperature, constant.
    pub back: Celsius,
    /// Where the energy counter begins.
    pub energy: Energy,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self {
            hydronic: HydronicParams::default(),
            sample: Duration::from_secs(16),
            noise: 0.005,
            seed: 1,
            // 10 K at 52.8 kW, the nominal heat of a zone of 60 kW.
            flow_m3h: 4.54,
            back: Celsius::of(35.0),
            energy: Energy::ZERO,
        }
    }
}

/// Resolution of the shown heat.
const RESOLUTION: Watts = Watts::of(100.0);
/// Heat that 1 m3/h carries per kelvin, W: 1.163 kWh/(m3 K), water at about 15 degC.
const WATTS_PER_M3H_K: f64 = 1163.0;
/// A heater that is silent for longer draws nothing, as far as this meter is concerned: what it draws is unknown.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// Heaters believed at most: a broker full of strangers must not fill the memory.
const HEATERS: usize = 64;

/// A heat meter on the loop of all heaters of a site. Time is given.
#[derive(Debug)]
pub struct MeterLogic {
    options: MeterOptions,
    model: HydronicModel,
    noise: Noise,
    at: Mono,
    /// Power of each heater, and when it was told.
    heaters: BTreeMap<String, (Watts, Mono)>,
}

impl MeterLogic {
    /// On a cold loop.
    pub fn new(name: &str, options: MeterOptions, now: Mono) -> Self {
        Self {
            model: HydronicModel::new(options.hydronic, Watts::ZERO),
            noise: Noise::named(options.seed, name),
            at: now,
            heaters: BTreeMap::new(),
            options,
        }
    }

    /// A heater tells what it draws; negative power is none.
    pub fn on_power(&mut self, heater: &str, power: Watts, now: Mono) {
        self.advance(now);
        if self.heaters.len() < HEATERS || self.heaters.contains_key(heater) {
            self.heaters.insert(heater.to_owned(), (power.max(Watts::ZERO), now));
        }
    }

    /// Run the loop up to `now`.
    pub fn advance(&mut self, now: Mono) {
        while self.at < now {
            let ends = self.heaters.values().map(|(_, told)| told.after(SILENT_AFTER)).fold(now, Mono::min);
            let until = ends.max(self.at);
            self.model.step(self.power(), until.since(self.at));
            self.at = until;
            self.heaters.retain(|_, (_, told)| until.since(*told) < SILENT_AFTER);
        }
    }

    /// Power believed to go into the loop.
    pub fn power(&self) -> Watts {
        self.heaters.values().map(|(power, _)| *power).sum()
    }

    /// Heat at the meter, without measuring noise.
    pub fn heat(&self) -> Watts {
        self.model.heat()
    }

    /// A new sample. Heat has noise and a resolution of 0.1 kW; the energy counter integrates the true heat.
    pub fn sample(&mut self, now: Mono) -> Shown {
        self.advance(now);
        let measured = self.noise.measured(self.model.heat().get(), self.options.noise).max(0.0);
        let power = RESOLUTION * (measured / RESOLUTION.get()).round();
        let rise = Watts::of(measured).ratio(Watts::of(WATTS_PER_M3H_K * self.options.flow_m3h)).unwrap_or(0.0);
        Shown {
            power,
            flow_m3h: self.options.flow_m3h,
            // A meter shows hundredths of a degree.
            supply: Celsius::of(((self.options.back.get() + rise) * 100.0).round() / 100.0),
            back: self.options.back,
            energy: self.options.energy.saturating_add(self.model.energy()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_start(Duration::from_secs(secs))
    }

    fn meter() -> MeterLogic {
        MeterLogic::new("hall-meter", MeterOptions::default(), Mono::START)
    }

    #[test]
    fn two_heaters_become_heat_by_the_true_efficiency() {
        let mut meter = meter();
        for second in (0..4000).step_by(5) {
            meter.on_power("rack-a", Watts::from_kw(30.0), at(second));
            meter.on_power("rack-b", Watts::from_kw(15.0), at(second));
        }
        assert!((meter.heat().kw() - 0.88 * 45.0).abs() < 0.01, "{}", meter.heat());
        let shown = meter.sample(at(4000));
        assert!((shown.power.kw() - 39.6).abs() < 1.0, "{}", shown.power);
        assert!((shown.power.get() / 100.0).fract().abs() < 1e-9, "resolution");
        let carried = shown.flow_m3h * 1163.0 * (shown.supply.get() - shown.back.get());
        assert!((carried - shown.power.get()).abs() < 110.0, "{carried}");
        // 39.6 kW for 4000 s less delay and lag of 300 s.
        assert!(shown.energy.wh().abs_diff(39_600 * 3700 / 3600) <= 2, "{}", shown.energy);
    }

    #[test]
    fn a_silent_heater_counts_as_nothing_after_60_s() {
        let mut meter = meter();
        meter.on_power("rack-a", Watts::from_kw(30.0), at(0));
        meter.advance(at(59));
        assert_eq!(meter.power(), Watts::from_kw(30.0));
        // One long step is cut at the end of its word.
        meter.advance(at(100_000));
        assert_eq!(meter.power(), Watts::ZERO);
        assert_eq!(meter.sample(at(100_000)).energy, Energy::from_wh(440));
    }

    #[test]
    fn the_same_seed_gives_the_same_samples() {
        let run = || {
            let mut meter = meter();
            meter.on_power("rack-a", Watts::from_kw(30.0), at(0));
            (1..10).map(|n| meter.sample(at(n * 16)).supply.get()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn the_counter_begins_where_it_is_told_and_strangers_do_not_fill_the_memory() {
        let mut meter =
            MeterLogic::new("m", MeterOptions { energy: Energy::from_wh(u64::MAX), ..Default::default() }, at(0));
        for n in 0..1000 {
            meter.on_power(&format!("stranger-{n}"), Watts::of(1.0), at(0));
        }
        assert_eq!(meter.power(), Watts::of(64.0));
        assert_eq!(meter.sample(at(10)).energy.wh(), u64::MAX);
    }
}
