//! What the hot water makes of electrical power: nothing for a while, then more and more. One model, and two beside it
//! that are half and twice as slow: where the three agree, it matters little which of them is right.

use std::collections::VecDeque;

/// Heat of unit efficiency behind a power: y' = (P(t - delay) - y) / lag.
#[derive(Debug, Clone, Copy)]
struct Model {
    delay_s: f64,
    lag_s: f64,
    y: f64,
}

/// The three models, each fed with the same measured power.
#[derive(Debug, Clone)]
pub(super) struct Water {
    models: [Model; 3],
    /// What is left of the heat that the water held at the start, by the middle model.
    initial: f64,
    /// Measured power, (time in s, W), the oldest first; evenly thinned, and so bounded.
    history: VecDeque<(f64, f64)>,
    /// Reached by the models, s; `None` before there was enough history.
    at: Option<f64>,
}

/// Two entries of the history are at least this far apart, s.
const APART_S: f64 = 5.0;
/// A pause longer than this, s, leaves too much unknown: the models begin anew.
const LONGEST_PAUSE_S: f64 = 60.0;

impl Water {
    pub fn new(delay_s: f64, lag_s: f64) -> Self {
        let model = |by: f64| Model { delay_s: delay_s * by, lag_s: (lag_s * by).max(1.0), y: 0.0 };
        Self { models: [model(1.0), model(0.5), model(2.0)], initial: 0.0, history: VecDeque::new(), at: None }
    }

    fn slowest_s(&self) -> f64 {
        self.models.iter().map(|model| model.delay_s).fold(0.0, f64::max)
    }

    /// Forget the past: power was not measured for a time.
    pub fn forget(&mut self) {
        self.history.clear();
        self.at = None;
    }

    /// Begin anew, with the power that is known.
    pub const fn stop(&mut self) {
        self.at = None;
    }

    /// Power measured now.
    pub fn measured(&mut self, now_s: f64, power: f64) {
        match self.history.back() {
            Some((last, _)) if now_s - last > LONGEST_PAUSE_S || now_s < *last => self.forget(),
            Some((last, _)) if now_s - last < APART_S => return,
            _ => {}
        }
        self.history.push_back((now_s, power));
        // One entry older than what the slowest model looks back to is kept, to have two to interpolate between.
        let oldest = now_s - self.slowest_s() - LONGEST_PAUSE_S;
        while self.history.get(1).is_some_and(|(at, _)| *at < oldest) {
            self.history.pop_front();
        }
    }

    /// Whether the models run.
    pub const fn runs(&self) -> bool {
        self.at.is_some()
    }

    /// Whether there is history enough for them to begin.
    pub fn may_begin(&self, now_s: f64) -> bool {
        self.history.front().is_some_and(|(first, _)| now_s - first >= self.slowest_s())
    }

    /// Begin with water that gives this heat, already divided by an efficiency.
    pub fn begin(&mut self, now_s: f64, y: f64) {
        for model in &mut self.models {
            model.y = y;
        }
        self.initial = y;
        self.at = Some(now_s);
    }

    fn power_at(&self, s: f64) -> f64 {
        let mut after: Option<(f64, f64)> = None;
        for &(at, power) in self.history.iter().rev() {
            if at <= s {
                return after.map_or(power, |(later, next)| power + (next - power) * (s - at) / (later - at));
            }
            after = Some((at, power));
        }
        after.map_or(0.0, |(_, power)| power)
    }

    /// Let time pass up to an instant.
    pub fn advance(&mut self, to_s: f64) {
        let Some(from) = self.at else { return };
        if to_s <= from {
            return;
        }
        let (dt, middle) = (to_s - from, f64::midpoint(from, to_s));
        let inputs = self.models.map(|model| self.power_at(middle - model.delay_s));
        for (model, input) in self.models.iter_mut().zip(inputs) {
            model.y += (input - model.y) * -f64::exp_m1(-dt / model.lag_s);
        }
        let [middle, ..] = self.models;
        self.initial *= f64::exp(-dt / middle.lag_s);
        self.at = Some(to_s);
    }

    /// Heat per unit of efficiency, W, by the middle model.
    pub const fn y(&self) -> f64 {
        let [middle, ..] = self.models;
        middle.y
    }

    /// How far the models disagree, as a share of the middle one.
    pub fn spread(&self) -> f64 {
        let high = self.models.iter().map(|model| model.y).fold(f64::NEG_INFINITY, f64::max);
        let low = self.models.iter().map(|model| model.y).fold(f64::INFINITY, f64::min);
        (high - low) / self.y().max(1.0)
    }

    /// Share of the heat that is from before the start.
    pub fn unknown(&self) -> f64 {
        (self.initial / self.y().max(1.0)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(water: &mut Water, from: u32, to: u32, power: f64) {
        for s in (from..to).step_by(10) {
            let s = f64::from(s);
            water.measured(s, power);
            if !water.runs() && water.may_begin(s) {
                water.begin(s, power);
            }
            water.advance(s);
        }
    }

    #[test]
    fn a_step_arrives_after_the_delay_and_the_models_disagree_meanwhile() {
        let mut water = Water::new(60.0, 240.0);
        run(&mut water, 0, 600, 20_000.0);
        assert!(water.runs() && water.spread() < 1e-6);
        run(&mut water, 600, 640, 40_000.0);
        assert!(water.y() < 20_000.1, "{}", water.y());
        run(&mut water, 640, 900, 40_000.0);
        assert!((water.y() - (40_000.0 - 20_000.0 * f64::exp(-1.0))).abs() < 500.0, "{}", water.y());
        assert!(water.spread() > 0.15);
        run(&mut water, 900, 7200, 40_000.0);
        assert!(water.spread() < 0.001 && water.unknown() < 0.001);
    }

    #[test]
    fn the_history_is_bounded_and_a_pause_begins_anew() {
        let mut water = Water::new(60.0, 240.0);
        for tenth in 0..20_000 {
            water.measured(f64::from(tenth) / 10.0, 1.0);
        }
        assert!(water.history.len() < 50, "{}", water.history.len());
        water.begin(2000.0, 1.0);
        water.measured(2100.0, 1.0);
        assert!(!water.runs());
    }
}
