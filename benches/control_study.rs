//! Heat control on a thousand random plants, on seeds that nothing was tuned on: medians and 95th percentiles of every scenario
//! but week and year, as a table in Markdown. Takes about half an hour on two cores.
//!
//!   cargo bench --bench control_study             1,000 plants
//!   cargo bench --bench control_study -- 100      fewer
//!   cargo bench --bench control_study -- 1000 0.88    with another efficiency in the mapping

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use heatgate::simulate::{Job, Measures, Scenario, Study, names, study};

/// The first seed: tests and tuning keep below a million.
const FIRST_SEED: u64 = 7_000_000;

fn cell(job: &Job, get: fn(&Measures) -> f64, digits: usize) -> String {
    let p95 = job.summary.p95.unwrap_or(job.summary.median);
    format!("{:.digits$} / {:.digits$}", get(&job.summary.median), get(&p95))
}

fn main() {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let draws = numbers.first().map_or(1000, |n| *n as u32);
    let believed = numbers.get(1).copied().unwrap_or(0.95);
    let scenarios: Vec<Scenario> = names()
        .map(|name| Scenario::builtin(name).unwrap())
        .filter(|scenario| scenario.variants.iter().any(|variant| variant.draws))
        .collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let asked = Study { scenarios, draws: Some(draws), seed: FIRST_SEED, believed, moments: 0, threads };
    let jobs = study(&asked, &|done, of| {
        if done % 1000 == 0 {
            eprintln!("{done} of {of}");
        }
    })
    .unwrap();
    println!(
        "{draws} random plants from seed {FIRST_SEED}, efficiency in the mapping {believed}; median / 95th percentile\n"
    );
    println!(
        "| scenario | RMSE, % Pn | oracle | ratio | energy error, % | excess, % Pn | changes/h | violations, worst |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for job in &jobs {
        let variant = job.variant.as_ref().map(|variant| format!(", {variant}")).unwrap_or_default();
        println!(
            "| {}{variant} | {} | {} | {} | {} | {} | {} | {} |",
            job.scenario,
            cell(job, |m| m.rmse_pct, 2),
            cell(job, |m| m.oracle_rmse_pct, 2),
            cell(job, |m| m.ratio, 2),
            cell(job, |m| m.energy_error_pct, 2),
            cell(job, |m| m.excess_pct, 2),
            cell(job, |m| m.changes_per_hour, 1),
            job.summary.worst.violations,
        );
    }
}
