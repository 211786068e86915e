//! Scenarios as files: what is asked, what the plant is, and what goes wrong. The shipped ones are built in.

use serde::Deserialize;

use crate::time::Utc;

/// The shipped scenarios, in the order in which they are run.
const BUILTIN: &[(&str, &str)] = &[
    ("steps", include_str!("../../scenarios/steps.toml")),
    ("two-days", include_str!("../../scenarios/two-days.toml")),
    ("noisy-bms", include_str!("../../scenarios/noisy-bms.toml")),
    ("job-shortage", include_str!("../../scenarios/job-shortage.toml")),
    ("wrong-eta", include_str!("../../scenarios/wrong-eta.toml")),
    ("drifting-eta", include_str!("../../scenarios/drifting-eta.toml")),
    ("wrong-delay", include_str!("../../scenarios/wrong-delay.toml")),
    ("lost-meter", include_str!("../../scenarios/lost-meter.toml")),
    ("stuck-meter", include_str!("../../scenarios/stuck-meter.toml")),
    ("old-meter", include_str!("../../scenarios/old-meter.toml")),
    ("lost-bms", include_str!("../../scenarios/lost-bms.toml")),
    ("lost-controller", include_str!("../../scenarios/lost-controller.toml")),
    ("forecast", include_str!("../../scenarios/forecast.toml")),
    ("shed", include_str!("../../scenarios/shed.toml")),
    ("week", include_str!("../../scenarios/week.toml")),
    ("year", include_str!("../../scenarios/year.toml")),
];

/// Names of the shipped scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|file| file.0)
}

/// A scenario: one or more variants of the same question.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name; the file's, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// For people.
    pub description: String,
    /// At least one.
    #[serde(rename = "variant")]
    pub variants: Vec<Variant>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What sets it apart from the others of its scenario.
    pub name: Option<String>,
    /// How long.
    pub hours: f64,
    /// Civil time at its start, RFC 3339; a midnight in UTC where it is left out.
    pub start: Option<String>,
    /// Heat asked in steps; or
    pub steps: Option<Steps>,
    /// a loop on room temperature.
    pub room: Option<Room>,
    /// The true plant, where it is not the nominal one.
    #[serde(default)]
    pub plant: PlantIs,
    /// The heat meter.
    #[serde(default)]
    pub meter: MeterIs,
    /// Jobs of the heaters; all they can run where it is left out.
    pub jobs: Option<Jobs>,
    /// When the BMS is silent.
    pub bms: Option<Loss>,
    /// When a heater's link is cut.
    pub controller: Option<Loss>,
    /// What the BMS says ahead of its steps.
    pub forecast: Option<Forecast>,
    /// Heat is held against the request itself, not against the request lagged by the plant.
    #[serde(default)]
    pub heat_when_asked: bool,
    /// Electrical limits.
    #[serde(default)]
    pub limit: Vec<Limit>,
    /// Which weather.
    #[serde(default)]
    pub weather: Weather,
    /// Whether random plants are drawn for it.
    #[serde(default = "yes")]
    pub draws: bool,
}

const fn yes() -> bool {
    true
}

/// Levels of heat, one after the other and again from the first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// kW.
    pub kw: Vec<f64>,
    /// Length of each.
    pub hours: f64,
}

/// A PI loop of the BMS on room temperature (25 %/K, Ti 3600 s, percent of 52.8 kW), sampled each minute.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Standard deviation of the room sensor's noise, K.
    #[serde(default)]
    pub noise_k: f64,
    /// Saturday and Sunday are nights.
    #[serde(default)]
    pub working_days: bool,
}

/// What the true plant is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlantIs {
    /// True efficiency; 0.88, or drawn.
    pub eta: Option<f64>,
    /// Its change, percent of it per day.
    #[serde(default)]
    pub eta_drift_percent_per_day: f64,
    /// True lag and delay of the loop, as a multiple of the nominal; 1, or drawn.
    pub lag_and_delay: Option<f64>,
}

/// What the heat meter does.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterIs {
    /// Time between samples, s; 16, or drawn.
    pub every_s: Option<f64>,
    /// Age of what it shows, s.
    #[serde(default)]
    pub age_s: f64,
    /// It answers no more from here on, h.
    pub lost_from_h: Option<f64>,
    /// It shows one value from and to, h.
    pub stuck_h: Option<[f64; 2]>,
}

/// Jobs of the heaters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// Share of full load, 0 to 1,
    #[serde(default)]
    pub share: f64,
    /// from, h,
    #[serde(default)]
    pub from_h: f64,
    /// to, h.
    #[serde(default)]
    pub to_h: f64,
    /// A bounded random walk instead.
    #[serde(default)]
    pub walk: bool,
}

/// A party that falls silent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// When.
    pub lost: Span,
    /// Which heater; the first where it is left out.
    pub heater: Option<String>,
}

/// A stretch of time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Span {
    /// From and to, h.
    Hours([f64; 2]),
    /// At a random time, and back at another.
    Word(AtRandom),
}

/// "random".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtRandom {
    /// Drawn from the seed.
    Random,
}

/// A BMS that announces its next step.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// So long before, s.
    pub ahead_s: f64,
    /// The time that it says is this much after the true one, s; before it where negative.
    #[serde(default)]
    pub off_s: f64,
}

/// An electrical limit that the BMS sets and lifts.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// kW,
    pub kw: f64,
    /// from, h,
    pub from_h: f64,
    /// to, h.
    pub to_h: f64,
}

/// Outdoors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weather {
    /// 2 + 4 sin(2 pi (t - 9 h)/24 h) degC; its mean is drawn.
    #[default]
    Sine,
    /// A year in the north of France: yearly and daily sine, and days that are warmer or colder than the season.
    France,
}

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadScenario(pub String);

impl Scenario {
    /// A shipped scenario by its name.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn builtin(name: &str) -> Result<Self, BadScenario> {
        let file = BUILTIN.iter().find(|file| file.0 == name);
        let Some((name, text)) = file else {
            let known = names().collect::<Vec<_>>().join(", ");
            return Err(BadScenario(format!("there is no scenario `{name}`; there are {known}, or a path to a file")));
        };
        Self::parse(name, text)
    }

    /// From the text of a file.
    ///
    /// # Errors
    ///
    /// When it is no scenario: where and why, in words.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadScenario> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| BadScenario(format!("scenario {name}: {error}")))?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), BadScenario> {
        let wrong = |what: &str| Err(BadScenario(format!("scenario {}: {what}", self.name)));
        if self.variants.is_empty() {
            return wrong("it has no [[variant]]");
        }
        for variant in &self.variants {
            if !(0.1..=87_600.0).contains(&variant.hours) {
                return wrong("`hours` is outside 0.1 to 87600 (ten years)");
            }
            match (&variant.steps, &variant.room) {
                (Some(steps), None) => {
                    if steps.kw.is_empty() || steps.kw.iter().any(|kw| !(0.0..=57.0).contains(kw)) {
                        return wrong("`steps.kw` needs levels of 0 to 57 kW");
                    }
                    if !(0.01..=87_600.0).contains(&steps.hours) {
                        return wrong("`steps.hours` is outside 0.01 to 87600");
                    }
                }
                (None, Some(room)) if (0.0..=10.0).contains(&room.noise_k) => {}
                (None, Some(_)) => return wrong("`room.noise_k` is outside 0 to 10 K"),
                _ => return wrong("a variant has either `steps` or `room`"),
            }
            if let Some(forecast) = &variant.forecast {
                if variant.steps.is_none() {
                    return wrong("`forecast` needs `steps`: a loop does not know what it will ask");
                }
                if !(1.0..=65_000.0).contains(&forecast.ahead_s) || !(-3600.0..=3600.0).contains(&forecast.off_s) {
                    return wrong(
                        "`forecast.ahead_s` is outside 1 to 65000 s, or `forecast.off_s` outside -3600 to 3600 s",
                    );
                }
            }
            let plant = &variant.plant;
            if plant.eta.is_some_and(|eta| !(0.1..=1.2).contains(&eta)) {
                return wrong("`plant.eta` is outside 0.1 to 1.2");
            }
            if !(-50.0..=50.0).contains(&plant.eta_drift_percent_per_day) {
                return wrong("`plant.eta_drift_percent_per_day` is outside -50 to 50");
            }
            if plant.lag_and_delay.is_some_and(|by| !(0.05..=20.0).contains(&by)) {
                return wrong("`plant.lag_and_delay` is outside 0.05 to 20");
            }
            let meter = &variant.meter;
            if meter.every_s.is_some_and(|s| !(1.0..=3600.0).contains(&s)) || !(0.0..=3600.0).contains(&meter.age_s) {
                return wrong("`meter.every_s` is outside 1 to 3600 s, or `meter.age_s` outside 0 to 3600 s");
            }
            if variant.jobs.as_ref().is_some_and(|jobs| !(0.0..=1.0).contains(&jobs.share)) {
                return wrong("`jobs.share` is outside 0 to 1");
            }
            if variant.limit.iter().any(|limit| !(0.0..=6553.0).contains(&limit.kw)) {
                return wrong("`limit.kw` is outside 0 to 6553");
            }
            if variant.start.as_deref().is_some_and(|start| Utc::parse(start).is_none()) {
                return wrong("`start` is no time such as 2026-01-12T00:00:00Z");
            }
        }
        Ok(())
    }
}

impl Variant {
    /// Civil time at its start.
    pub fn start(&self) -> Utc {
        // 2026-01-12, a Monday.
        self.start.as_deref().and_then(Utc::parse).unwrap_or(Utc::from_millis(1_768_176_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_scenario_is_one() {
        assert_eq!(names().count(), 16);
        for name in names() {
            let scenario = Scenario::builtin(name).unwrap();
            assert_eq!(scenario.name, name);
            assert!(!scenario.description.is_empty());
        }
        let week = Scenario::builtin("week").unwrap();
        assert!(!week.variants[0].draws && week.variants[0].weather == Weather::France);
        assert_eq!(Scenario::builtin("steps").unwrap().variants[0].start().to_string(), "2026-01-12T00:00:00.000Z");
    }

    #[test]
    fn a_bad_file_says_where_and_why() {
        for (text, part) in [
            ("description = 1", "line 1"),
            ("description = \"x\"\nvariant = []", "no [[variant]]"),
            ("description = \"x\"\n[[variant]]\nhours = 1\nrooms = {}", "unknown field `rooms`"),
            ("description = \"x\"\n[[variant]]\nhours = 1", "either"),
            ("description = \"x\"\n[[variant]]\nhours = nan\nroom = {}", "`hours`"),
            ("description = \"x\"\n[[variant]]\nhours = 1e9\nroom = {}", "`hours`"),
            ("description = \"x\"\n[[variant]]\nhours = 1\nsteps = { kw = [-1], hours = 1 }", "0 to 57"),
            ("description = \"x\"\n[[variant]]\nhours = 1\nroom = {}\nbms = { lost = \"soon\" }", "bms"),
            ("description = \"x\"\n[[variant]]\nhours = 1\nroom = {}\nplant = { eta = inf }", "plant.eta"),
            ("description = \"x\"\n[[variant]]\nhours = 1\nroom = {}\nforecast = { ahead_s = 60 }", "needs `steps`"),
            (
                "description = \"x\"\n[[variant]]\nhours = 1\nsteps = { kw = [9], hours = 1 }\nforecast = { ahead_s = nan }",
                "forecast.ahead_s",
            ),
            ("description = \"x\"\n[[variant]]\nhours = 1\nroom = {}\nstart = \"noon\"", "`start`"),
        ] {
            let why = Scenario::parse("x", text).unwrap_err().to_string();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(Scenario::builtin("steeps").unwrap_err().to_string().contains("two-days"));
    }
}
