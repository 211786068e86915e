//! Heat per electrical power: believed as the mapping says, and estimated from the heat meter where there is one.
//!
//! A scalar Kalman filter on the logarithm of the efficiency, one update for each new sample of the meter. It took the
//! place of the usual integral trim after a study of 300 random plants: what is wrong is the efficiency, and not the
//! request, so it is learned once and holds at every load. What cannot be a matter of efficiency changes nothing: a lost or
//! stuck meter, heat too small to measure, water that is still on its way.

use std::time::Duration;

use crate::durable::SavedEfficiency;
use crate::plant::{Heater, Meter, MeterRole, Zone};
use crate::time::Mono;
use crate::units::{Unit, Watts};

use super::inputs::Inputs;
use super::lag::Water;

/// Believed where the mapping gives no power to weigh by: liquid-cooled.
const DEFAULT: f64 = 0.95;
/// Nothing outside this is believed: a heat pump is no heater, and less is no heating.
const BOUNDS: (f64, f64) = (0.70, 1.02);
/// How wrong the mapping's constant may be: 8 %, one standard deviation (study of 300 plants, 0.80 to 0.95 for 0.95).
const P0: f64 = 0.08 * 0.08;
/// The efficiency may drift: its variance grows by this in an hour,
const DRIFT_PER_H: f64 = 1e-4;
/// up to this.
const P_MOST: f64 = 0.01;
/// Standard deviation of one comparison of meter and model.
const SIGMA: f64 = 0.02;
/// How well heaters that rest at the start are in balance with their water: standard deviation of heat by that balance.
const BALANCE: f64 = 0.01;
/// Heaters rest that draw this share of rated power more or less than at rest.
const REST_WITHIN: f64 = 0.02;
/// Heat that is further from what is believed than this many standard deviations of that is from no such balance.
const BALANCE_CUT: f64 = 3.0;
/// What the models disagree by counts twice; more than this adds nothing.
const R_MOST: f64 = 10.0;
/// An innovation is cut at so many standard deviations.
const CUT: f64 = 3.0;
/// Once it is known to 2 %,
const KNOWN: f64 = 0.02 * 0.02;
/// it moves no faster than this in an hour.
const FASTEST_PER_H: f64 = 0.05;
/// Pause between two samples that counts at most, h.
const LONGEST_PAUSE_H: f64 = 1.0 / 6.0;
/// Less heat than this share of nominal heat says nothing.
const LEAST_HEAT: f64 = 0.05;
/// Smallest difference of supply and return that counts. Meters are built for 1, 2 or 3 K at least (EN 1434-1); with 3 K a
/// zone of ten kelvin at full power would learn nothing at a third of it, and what the meter is worse there is in `SIGMA`.
const LEAST_DELTA_K: f64 = 2.0;
/// Unchanged while the model moved by this share: stuck.
const STUCK: f64 = 0.02;
/// So many equal readings in a row teach all that they can: more of them may be a meter that will turn out to be stuck.
const EQUAL_MOST: u32 = 10;
/// More than this share above what the meter can show is no heat.
const PLAUSIBLE: f64 = 1.2;

/// Efficiency of these heaters together, as the mapping says; the zone's nominal one where there are none.
pub(super) fn believed<'a>(zone: &Zone, heaters: impl Iterator<Item = &'a Heater>) -> f64 {
    let (heat, power) = heaters
        .fold((0.0, 0.0), |(heat, power), heater| (heat + heater.eta * heater.rated.get(), power + heater.rated.get()));
    let eta = if power > 0.0 { heat / power } else { zone.nominal_heat.ratio(zone.rated).unwrap_or(DEFAULT) };
    if eta.is_finite() { eta.clamp(BOUNDS.0, BOUNDS.1) } else { DEFAULT }
}

/// What of the estimate an operator should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is nothing to learn from: why.
    FeedForward(&'static str),
    /// It is being learned.
    Learning,
    /// It stays as it is: why.
    Held(&'static str),
}

/// What is known of the heat that the water held when the models began: the logarithm of its ratio to theirs, beside the
/// efficiency.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    off: f64,
    /// Its variance,
    var: f64,
    /// and its covariance with the efficiency's logarithm.
    cov: f64,
    /// Power with which it is taken to be in balance, W, until a reading confirms that.
    balance: Option<f64>,
}

/// The estimate for a zone.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// Logarithm of the efficiency of all heaters of the zone together.
    x: f64,
    /// Its variance.
    p: f64,
    water: Water,
    start: Start,
    /// The newest sample that was looked at.
    seen: Option<Mono>,
    /// When the estimate was last updated.
    updated: Option<Mono>,
    /// The meter's reading when it last changed, and what the model said then.
    changed: Option<(Watts, f64)>,
    /// How many readings in a row are equal to it.
    equal: u32,
    /// Anything was ever learned, in this life or before.
    learned: bool,
    standing: Standing,
}

impl Estimate {
    pub fn new(zone: &Zone, believed: f64) -> Self {
        Self {
            x: believed.ln(),
            p: P0,
            water: Water::new(zone.law.delay.as_secs_f64(), zone.law.lag.as_secs_f64()),
            start: Start::default(),
            seen: None,
            updated: None,
            changed: None,
            equal: 0,
            learned: false,
            standing: Standing::FeedForward("no heat has been metered yet"),
        }
    }

    /// Go on from what was learned before a restart; what makes no sense is left out.
    pub fn restore(&mut self, saved: &SavedEfficiency) {
        let plausible = (BOUNDS.0..=BOUNDS.1).contains(&saved.eta) && (0.0..=P_MOST).contains(&saved.variance);
        if plausible {
            self.x = saved.eta.ln();
            // An hour's worth of drift for the time in between, which nobody knows.
            self.p = (saved.variance + DRIFT_PER_H).min(P_MOST);
            self.learned = true;
        }
    }

    /// What should survive a restart; nothing before something was learned.
    pub fn saved(&self, zone: &Zone) -> Option<SavedEfficiency> {
        self.learned.then(|| SavedEfficiency { zone: zone.name.clone(), eta: self.eta(), variance: self.p })
    }

    /// Efficiency of all heaters of the zone together.
    pub fn eta(&self) -> f64 {
        self.x.exp().clamp(BOUNDS.0, BOUNDS.1)
    }

    /// Efficiency of some of them: the estimate, in the proportion in which the mapping believes in them.
    pub fn of_some(&self, some: f64, all: f64) -> f64 {
        let eta = self.eta() * some / all;
        if eta.is_finite() { eta.clamp(BOUNDS.0, BOUNDS.1) } else { DEFAULT }
    }

    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Look at the meter. `power` is what the zone's heaters draw, all of them measured; `rest` what they draw where they
    /// have not been told anything else since the start.
    pub fn observe(&mut self, zone: &Zone, inputs: &Inputs<'_>, power: Option<Watts>, rest: Option<Watts>) {
        let now = inputs.mono();
        match power.map(|power| power.max(Watts::ZERO)) {
            Some(power) => {
                self.water.measured(now.secs(), power.get());
                // At the first start of all, heaters at rest have been so for long, and their water is in balance with them.
                let resting = rest.is_some_and(|rest| (power - rest).abs() <= zone.rated * REST_WITHIN);
                if resting && !self.water.runs() && !self.learned && self.seen.is_none() {
                    self.start = Start { off: 0.0, var: BALANCE * BALANCE, cov: 0.0, balance: Some(power.get()) };
                    self.water.begin(now.secs(), power.get());
                }
            }
            None => self.water.forget(),
        }
        self.standing = match self.look(zone, inputs, power) {
            Ok(true) => Standing::Learning,
            Ok(false) => self.standing,
            Err(why) if self.learned => Standing::Held(why),
            Err(why) => Standing::FeedForward(why),
        };
        self.water.advance(now.secs());
    }

    /// Whether the present sample taught something; `Ok(false)` when there is no new one.
    fn look(&mut self, zone: &Zone, inputs: &Inputs<'_>, power: Option<Watts>) -> Result<bool, &'static str> {
        let meter = zone.meter.and_then(|id| inputs.plant.meter(id)).ok_or("the zone has no heat meter")?;
        let point = meter.points.get(MeterRole::Power).ok_or("the meter shows no heat")?;
        let (value, at) = inputs.sample(Some(point)).ok_or("the heat meter is lost")?;
        if self.seen == Some(at) {
            return Ok(false);
        }
        self.seen = Some(at);
        let heat = inputs.convert(point, value, Unit::Watt).and_then(|heat| Watts::new(heat).ok());
        let heat = heat.ok_or("the meter's heat is in another unit")?;
        if heat < Watts::ZERO || heat > meter.max_power.max(zone.rated) * PLAUSIBLE {
            return Err("the meter shows heat that cannot be");
        }
        power.ok_or("a heater's power cannot be read")?;
        let now_s = inputs.mono().secs();
        let balance = self.start.balance.take();
        if let Some(power) = balance {
            let off = (heat.get() / power).ln() - self.x;
            if off.is_nan() || off.abs() > BALANCE_CUT * P0.sqrt() {
                self.water.stop();
            }
        }
        if !self.water.runs() {
            if !self.water.may_begin(now_s) {
                return Err("power has not been measured for long enough");
            }
            // Heat from before is divided by what is believed now, whatever the truth: it teaches nothing.
            self.start = Start { off: 0.0, var: self.p, cov: -self.p, balance: None };
            self.water.begin(now_s, heat.get() / self.eta());
            self.changed = None;
            return Err("the water's heat is from before");
        }
        // The model at the time of the sample, where that is not before what it has reached.
        self.water.advance(at.secs().min(now_s));
        self.usable(zone, inputs, meter, heat)?;
        if self.equal < EQUAL_MOST {
            self.update(at, heat, balance);
        }
        Ok(true)
    }

    /// The rules by which a sample says nothing of the efficiency.
    fn usable(&mut self, zone: &Zone, inputs: &Inputs<'_>, meter: &Meter, heat: Watts) -> Result<(), &'static str> {
        let y = self.water.y();
        match self.changed {
            Some((shown, then)) if shown == heat => {
                self.equal = self.equal.saturating_add(1);
                if (y - then).abs() > STUCK * then.abs().max(1.0) {
                    return Err("the heat meter is stuck");
                }
            }
            _ => (self.changed, self.equal) = (Some((heat, y)), 0),
        }
        if heat < zone.nominal_heat * LEAST_HEAT || y < zone.rated.get() * LEAST_HEAT {
            return Err("there is too little heat to learn from");
        }
        let celsius = |role| inputs.celsius(meter.points.get(role));
        if let (Some(supply), Some(back)) = (celsius(MeterRole::Supply), celsius(MeterRole::Return))
            && supply.get() - back.get() < LEAST_DELTA_K
        {
            return Err("supply and return are too close for the meter");
        }
        Ok(())
    }

    /// `balance`: power before the start, for the first reading after it.
    fn update(&mut self, at: Mono, heat: Watts, balance: Option<f64>) {
        let since = self.updated.map_or(Duration::ZERO, |before| at.since(before));
        let hours = since.as_secs_f64() / 3600.0;
        self.updated = Some(at);
        self.p = (self.p + DRIFT_PER_H * hours).min(P_MOST);
        let (y, apart) = match balance {
            // A meter may show what was a while ago: the first reading is of the start, of now, or of between.
            Some(power) => ((power * self.water.y()).sqrt(), (self.water.y() / power).ln() / 2.0),
            None => (self.water.y(), 2.0 * self.water.spread()),
        };
        let r = SIGMA * SIGMA + apart.powi(2).min(R_MOST);
        // The share of the heat that is from before the start is as wrong as the start was.
        let unknown = self.water.unknown();
        let Start { off, var, cov, .. } = self.start;
        let (with_x, with_off) = (self.p + unknown * cov, cov + unknown * var);
        let total = with_x + unknown * with_off + r;
        let most = CUT * total.sqrt();
        let innovation = ((heat.get() / y).ln() - self.x - unknown * off).clamp(-most, most);
        let (gain, gain_off) = (with_x / total, with_off / total);
        let mut step = gain * innovation;
        if self.p < KNOWN {
            let most = FASTEST_PER_H * hours.min(LONGEST_PAUSE_H);
            step = step.clamp(-most, most);
        }
        let x = (self.x + step).clamp(BOUNDS.0.ln(), BOUNDS.1.ln());
        if x.is_finite() {
            self.x = x;
            self.p = (self.p - gain * with_x).clamp(0.0, P_MOST);
            self.start.off += gain_off * innovation;
            self.start.cov -= gain * with_off;
            self.start.var = (var - gain_off * with_off).max(0.0);
            self.learned = true;
        }
    }
}
