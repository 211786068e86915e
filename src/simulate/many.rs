//! Many runs on all cores: each variant once on the nominal plant, or on plants drawn from seeds, with medians and 95th
//! percentiles.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::draw::Case;
use super::measure::{Measures, Violation};
use super::run::{Outcome, Watching, run};
use super::scenario::{BadScenario, Scenario};
use super::seat;
use crate::plant::Plant;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Study {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// Random plants for each variant; `None`: the nominal plant.
    pub draws: Option<u32>,
    /// The first seed.
    pub seed: u64,
    /// What the mapping says of the heaters' efficiency.
    pub believed: f64,
    /// Keep moments for plots: at most this many per run; 0 keeps none. Of drawn plants none are kept.
    pub moments: u64,
    /// Threads.
    pub threads: usize,
}

/// One variant of a study.
#[derive(Debug, Clone)]
pub struct Job {
    /// The scenario's name.
    pub scenario: String,
    /// The variant's, where it has one.
    pub variant: Option<String>,
    /// For people.
    pub description: String,
    /// The measures; of draws the medians.
    pub summary: Summary,
    /// The run, with its moments; the first of draws.
    pub outcome: Outcome,
    /// The run with the most violations; `None` where no run has any.
    pub worst: Option<Worst>,
    /// Its length, s.
    pub seconds: u64,
}

/// The run of a variant in which most went wrong.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Worst {
    /// The seed of the draw, to run it alone (`--draws 1 --seed`); `None` on the nominal plant.
    pub seed: Option<u64>,
    /// How many violations it has.
    pub violations: u64,
    /// The first of them.
    pub wrong: Vec<Violation>,
}

/// Measures of one run, or the distribution of many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The run's, or the medians.
    pub median: Measures,
    /// 95th percentiles.
    pub p95: Option<Measures>,
    /// The largest of each; for counts that must be 0.
    pub worst: Measures,
    /// How many runs.
    pub runs: usize,
}

/// Run a study. `progress` is told how many of how many simulated hours are done; it is called from the threads that run
/// them.
///
/// # Errors
///
/// When the simulated site cannot be compiled.
pub fn study(study: &Study, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Vec<Job>, BadScenario> {
    let mut plants: BTreeMap<u64, Arc<Plant>> = BTreeMap::new();
    let mut work: Vec<(usize, Case, Arc<Plant>)> = Vec::new();
    let mut jobs = Vec::new();
    for scenario in &study.scenarios {
        for variant in &scenario.variants {
            let cases: Vec<Case> = match study.draws.filter(|_| variant.draws) {
                Some(draws) => {
                    (0..u64::from(draws)).map(|n| Case::drawn(variant, study.seed.wrapping_add(n))).collect()
                }
                None => vec![Case::nominal(variant)],
            };
            for case in cases {
                let poll = case.meter_every_s.ceil() as u64;
                let plant = match plants.get(&poll) {
                    Some(plant) => Arc::clone(plant),
                    None => {
                        let plant = Arc::new(seat::plant(study.believed, case.meter_every_s)?);
                        plants.insert(poll, Arc::clone(&plant));
                        plant
                    }
                };
                work.push((jobs.len(), case, plant));
            }
            jobs.push((scenario, variant));
        }
    }
    let outcomes = all(study, &work, progress);
    let mut rows: Vec<(u64, Option<Worst>, Vec<Outcome>)> = jobs.iter().map(|_| (0, None, Vec::new())).collect();
    for (outcome, (job, case, _)) in outcomes.into_iter().zip(&work) {
        let drawn = study.draws.is_some() && jobs.get(*job).is_some_and(|(_, variant)| variant.draws);
        if let Some((seconds, worst, outcomes)) = rows.get_mut(*job) {
            *seconds = case.seconds;
            let violations = outcome.measures.violations as u64;
            if violations > worst.as_ref().map_or(0, |worst| worst.violations) {
                *worst = Some(Worst { seed: drawn.then_some(case.seed), violations, wrong: outcome.wrong.clone() });
            }
            outcomes.push(outcome);
        }
    }
    let jobs = jobs.into_iter().zip(rows).map(|((scenario, variant), (seconds, worst, outcomes))| Job {
        scenario: scenario.name.clone(),
        variant: variant.name.clone(),
        description: scenario.description.clone(),
        summary: summary(&outcomes),
        outcome: outcomes.into_iter().next().unwrap_or_default(),
        worst,
        seconds,
    });
    Ok(jobs.collect())
}

/// Every run, in the order of the work, on as many threads as asked.
fn all(study: &Study, work: &[(usize, Case, Arc<Plant>)], progress: &(dyn Fn(usize, usize) + Sync)) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let hours: u64 = work.iter().map(|(_, case, _)| case.seconds / 3600).sum();
    let hours = usize::try_from(hours).unwrap_or(usize::MAX);
    let done = AtomicUsize::new(0);
    let hour = || progress(done.fetch_add(1, Ordering::Relaxed) + 1, hours);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Outcome>>> = Mutex::new(work.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..study.threads.clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((_, case, plant)) = work.get(at) else { return };
                    let every = if study.moments > 0 && study.draws.is_none() {
                        case.seconds.div_ceil(study.moments).max(10)
                    } else {
                        0
                    };
                    let outcome = run(case, plant, Watching { every, hour: &hour });
                    match results.lock() {
                        Ok(mut results) => {
                            if let Some(place) = results.get_mut(at) {
                                *place = Some(outcome);
                            }
                        }
                        Err(_) => failed.store(true, Ordering::Relaxed),
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.into_iter().map(Option::unwrap_or_default).collect()
}

fn summary(outcomes: &[Outcome]) -> Summary {
    let percentile = |share: f64| {
        let of = |get: fn(&Measures) -> f64| {
            let mut values: Vec<f64> = outcomes.iter().map(|outcome| get(&outcome.measures)).collect();
            values.sort_by(f64::total_cmp);
            rank(&values, share)
        };
        Measures::each(of)
    };
    Summary {
        median: percentile(0.5),
        p95: (outcomes.len() > 1).then(|| percentile(0.95)),
        worst: percentile(1.0),
        runs: outcomes.len(),
    }
}

/// A percentile of sorted values, linear between two of them.
fn rank(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    let at = |index: usize| sorted.get(index).copied();
    match (at(low), at(low + 1)) {
        (Some(low), Some(high)) => low + (high - low) * part,
        (Some(low), None) => low,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_linear_between_values() {
        assert_eq!(rank(&[], 0.5), 0.0);
        assert_eq!(rank(&[7.0], 0.95), 7.0);
        assert_eq!(rank(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert!((rank(&[0.0, 10.0, 20.0], 0.95) - 19.0).abs() < 1e-12);
    }
}
