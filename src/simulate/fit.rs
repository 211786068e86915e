//! Tuning help: from measured power and measured heat to the efficiency, delay and lag that explain them best.
//!
//! The model is the plant's: Q = eta * P, lagged by tau, delayed by theta. For each delay and lag of a grid the lagged power
//! is made once, and the efficiency is the one that leaves the least squares; the grid is refined around the best.

/// What explains a zone's heat best.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Heat per electrical power.
    pub eta: f64,
    /// Delay from power to the meter, s.
    pub theta: f64,
    /// Lag of the loop, s.
    pub tau: f64,
    /// Root of the mean square of what is left unexplained, kW.
    pub rmse_kw: f64,
    /// Share of the heat's variance that is explained, 1 is all.
    pub r2: f64,
    /// Deviation of the heat from its mean, kW: without movement nothing can be told of delay and lag.
    pub moved_kw: f64,
    /// Readings of the meter that were used.
    pub samples: usize,
    /// The heat that the model makes of the measured power, at the times of the readings.
    pub modelled: Vec<(f64, f64)>,
}

/// Why nothing can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFit {
    /// Too little of it.
    #[error("there are fewer than 60 readings of the heat meter, or less than half an hour of them")]
    TooShort,
    /// Nothing happens in it.
    #[error("the power hardly moves: a step of heat by a third, an hour long, tells more than a quiet day")]
    Still,
}

/// Grid of lags and delays, s; refined around the best twice.
const LAGS: (f64, f64) = (10.0, 1500.0);
const DELAYS: (f64, f64) = (0.0, 600.0);
const GRID: usize = 13;
const REFINED: usize = 4;
/// The model runs in steps of this, s.
const STEP: f64 = 2.0;
/// The power must move by this share of its mean.
const MOVES: f64 = 0.03;
/// Measurements further apart than this are not joined, s.
const HOLE: f64 = 120.0;

/// Fit the model to measured power (holds from its time on) and heat, both kW over seconds, sorted by time.
///
/// # Errors
///
/// When there is too little, or nothing moves.
pub fn fit(power: &[(f64, f64)], heat: &[(f64, f64)]) -> Result<Fit, NoFit> {
    let (Some(from), Some(to)) = (power.first().map(|p| p.0), power.last().map(|p| p.0)) else {
        return Err(NoFit::TooShort);
    };
    let heat: Vec<(f64, f64)> = heat.iter().copied().filter(|h| h.0 >= from && h.0 <= to && h.1.is_finite()).collect();
    let length = heat.last().map_or(0.0, |h| h.0) - heat.first().map_or(0.0, |h| h.0);
    if heat.len() < 60 || length < 1800.0 || to - from > 40.0 * 86_400.0 {
        return Err(NoFit::TooShort);
    }
    let input = Input::new(power, from, to);
    if input.deviation() < MOVES * input.mean().abs().max(1e-6) {
        return Err(NoFit::Still);
    }
    let (mut lags, mut delays) = (LAGS, DELAYS);
    let mut best: Option<(f64, f64, f64, f64)> = None;
    for _ in 0..REFINED {
        for lag in (0..GRID).map(|n| spread(lags, n, true)) {
            let lagged = input.lagged(lag);
            for delay in (0..GRID).map(|n| spread(delays, n, false)) {
                let (eta, squares) = input.best_eta(&lagged, delay, &heat);
                if best.is_none_or(|found| squares < found.0) {
                    best = Some((squares, eta, lag, delay));
                }
            }
        }
        let Some((_, _, lag, delay)) = best else { break };
        let ratio = (lags.1 / lags.0).powf(1.5 / GRID as f64);
        let width = (delays.1 - delays.0) * 1.5 / GRID as f64;
        lags = ((lag / ratio).max(1.0), lag * ratio);
        delays = ((delay - width).max(0.0), delay + width);
    }
    let (_, eta, tau, theta) = best.ok_or(NoFit::TooShort)?;
    let lagged = input.lagged(tau);
    let used: Vec<(f64, f64)> = input.used(theta, &heat).collect();
    let modelled: Vec<(f64, f64)> =
        used.iter().map(|(t, _)| (*t, eta * input.value(&lagged, t - theta).unwrap_or(f64::NAN))).collect();
    let count = used.len().max(1) as f64;
    let mean = used.iter().map(|h| h.1).sum::<f64>() / count;
    let variance = used.iter().map(|h| (h.1 - mean).powi(2)).sum::<f64>() / count;
    let left = used.iter().zip(&modelled).map(|(h, m)| (h.1 - m.1).powi(2)).sum::<f64>() / count;
    Ok(Fit {
        eta,
        theta,
        tau,
        rmse_kw: left.sqrt(),
        r2: if variance > 0.0 { 1.0 - left / variance } else { 0.0 },
        moved_kw: variance.sqrt(),
        samples: used.len(),
        modelled,
    })
}

/// The n-th of a grid; by factors or by differences.
fn spread((low, high): (f64, f64), n: usize, factors: bool) -> f64 {
    let part = n as f64 / (GRID - 1) as f64;
    if factors { low * (high / low).powf(part) } else { low + (high - low) * part }
}

/// Power on an even grid of time.
struct Input {
    from: f64,
    power: Vec<f64>,
    /// Whether it was measured lately.
    known: Vec<bool>,
}

impl Input {
    fn new(measured: &[(f64, f64)], from: f64, to: f64) -> Self {
        let count = ((to - from) / STEP).ceil().max(1.0) as usize + 1;
        let mut rest = measured.iter().peekable();
        let (mut at, mut value) = (from, 0.0);
        let (mut power, mut known) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for n in 0..count {
            let t = from + n as f64 * STEP;
            while let Some((when, kw)) = rest.next_if(|next| next.0 <= t) {
                (at, value) = (*when, *kw);
            }
            power.push(value);
            known.push(t - at <= HOLE);
        }
        Self { from, power, known }
    }

    fn mean(&self) -> f64 {
        self.power.iter().sum::<f64>() / self.power.len().max(1) as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        (self.power.iter().map(|kw| (kw - mean).powi(2)).sum::<f64>() / self.power.len().max(1) as f64).sqrt()
    }

    fn lagged(&self, tau: f64) -> Vec<f64> {
        let keeps = (-STEP / tau).exp();
        let mut state = self.power.first().copied().unwrap_or_default();
        let step = |kw: &f64| {
            let before = state;
            state = kw + (state - kw) * keeps;
            before
        };
        self.power.iter().map(step).collect()
    }

    /// Between the grid's points.
    fn value(&self, lagged: &[f64], t: f64) -> Option<f64> {
        let place = (t - self.from) / STEP;
        if place < 0.0 {
            return None;
        }
        let (index, part) = (place.floor() as usize, place.fract());
        let low = *lagged.get(index)?;
        let high = lagged.get(index + 1).copied().unwrap_or(low);
        Some(low + (high - low) * part)
    }

    /// Readings of the heat for which the power before is known: after the model has forgotten where it began.
    fn used<'a>(&'a self, delay: f64, heat: &'a [(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + 'a {
        // The same readings whatever the delay, so that sums of squares can be compared.
        let settled = self.from + DELAYS.1.max(delay) + 600.0;
        heat.iter().copied().filter(move |(t, _)| {
            let index = ((t - delay - self.from) / STEP).max(0.0) as usize;
            *t >= settled && self.known.get(index).copied().unwrap_or(false)
        })
    }

    /// The efficiency that leaves the least squares, and what it leaves (per reading).
    fn best_eta(&self, lagged: &[f64], delay: f64, heat: &[(f64, f64)]) -> (f64, f64) {
        let (mut xx, mut xy, mut yy, mut count) = (0.0, 0.0, 0.0, 0.0);
        for (t, q) in self.used(delay, heat) {
            let Some(x) = self.value(lagged, t - delay) else { continue };
            xx += x * x;
            xy += x * q;
            yy += q * q;
            count += 1.0;
        }
        if xx <= 0.0 || count < 30.0 {
            return (0.0, f64::INFINITY);
        }
        (xy / xx, (yy - xy * xy / xx).max(0.0) / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::noise::Noise;

    type Curve = Vec<(f64, f64)>;

    /// A day with known parameters: power in random steps, heat by Euler's method, both measured with 0.5 % noise.
    fn day(eta: f64, tau: f64, theta: f64, seed: u64) -> (Curve, Curve) {
        let mut noise = Noise::new(seed);
        let (mut p, mut until, mut head) = (20.0, 0, 20.0 * eta);
        let mut history = vec![head; theta as usize + 1];
        let (mut power, mut heat) = (Vec::new(), Vec::new());
        for t in 0..12 * 3600_u32 {
            if t >= until {
                p = noise.between(15.0, 55.0);
                until = t + noise.between(1800.0, 7200.0) as u32;
            }
            head += (eta * p - head) / tau;
            history.push(head);
            let at = f64::from(t);
            if t % 10 == 0 {
                power.push((at, noise.measured(p, 0.005)));
            }
            if t % 16 == 5 {
                let q = history[history.len() - 1 - theta as usize];
                heat.push((at, (noise.measured(q, 0.005) * 10.0).round() / 10.0));
            }
        }
        (power, heat)
    }

    #[test]
    fn known_parameters_are_found_again() {
        for (n, (eta, tau, theta)) in
            [(0.88, 240.0, 60.0), (0.80, 120.0, 30.0), (0.95, 480.0, 120.0), (0.85, 310.0, 45.0)]
                .into_iter()
                .enumerate()
        {
            let (power, heat) = day(eta, tau, theta, n as u64);
            let fit = fit(&power, &heat).unwrap();
            assert!((fit.eta - eta).abs() < 0.005, "{fit:.3?} for {eta}");
            assert!((fit.tau / tau - 1.0).abs() < 0.06, "tau {} for {tau}", fit.tau);
            // The power is measured each 10 s only: half of that is delay to whoever looks.
            assert!((fit.theta - theta).abs() < 12.0, "theta {} for {theta}", fit.theta);
            assert!(fit.r2 > 0.99 && fit.rmse_kw < 0.5, "{} {}", fit.r2, fit.rmse_kw);
        }
    }

    #[test]
    fn too_little_and_too_quiet_are_said() {
        assert_eq!(fit(&[], &[]).unwrap_err(), NoFit::TooShort);
        let (power, heat) = day(0.9, 240.0, 60.0, 3);
        assert_eq!(fit(&power[..10], &heat[..10]).unwrap_err(), NoFit::TooShort);
        let still: Vec<(f64, f64)> = power.iter().map(|(t, _)| (*t, 30.0)).collect();
        assert_eq!(fit(&still, &heat).unwrap_err(), NoFit::Still);
    }
}
