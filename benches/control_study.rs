//! Heat control on random plants, on seeds that nothing was tuned on: of each measure of each scenario (but week and year) the
//! median, the 95th percentile and the worst, as a Markdown document. docs/control-study.md is one.
//!
//!   cargo bench --bench control_study                       1,000 plants of every scenario
//!   cargo bench --bench control_study -- 100 steps shed     fewer, and these scenarios only
//!   cargo bench --bench control_study -- 1000 0.88          with another efficiency in the mapping
//!
//! Each scenario is printed as soon as it is done.
//!
//!   cargo bench --bench control_study -- traces 100000      random traces instead: rules that were broken; exit 1 when any was

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use heatgate::simulate::{Job, Measures, Rule, Scenario, Study, names, study, traces};

/// The first seed: tests and tuning keep below a million.
const FIRST_SEED: u64 = 7_000_000;

/// A column: its heading, its measure, its digits.
type Column = (&'static str, fn(&Measures) -> f64, usize);

const COLUMNS: [Column; 8] = [
    ("RMSE, % Pn", |m| m.rmse_pct, 2),
    ("oracle's", |m| m.oracle_rmse_pct, 2),
    ("ratio", |m| m.ratio, 2),
    ("energy error, %", |m| m.energy_error_pct, 2),
    ("excess, % Pn", |m| m.excess_pct, 2),
    ("changes/h", |m| m.changes_per_hour, 1),
    ("colder than the oracle, K h", |m| m.under_kh - m.oracle_under_kh, 2),
    ("warmer, K h", |m| m.over_kh - m.oracle_over_kh, 2),
];

/// Median, 95th percentile and worst. Of a difference only the median is the difference of the same plants.
fn cell(job: &Job, (_, get, digits): Column) -> String {
    let p95 = job.summary.p95.unwrap_or(job.summary.median);
    let worst = job.summary.worst;
    format!("{:.digits$} / {:.digits$} / {:.digits$}", get(&job.summary.median), get(&p95), get(&worst))
}

/// Random traces, and how often each rule was checked and broken.
fn random(count: u64, seed: u64, threads: usize) -> std::process::ExitCode {
    let tally = traces(count, 200, seed, threads).unwrap();
    println!("{} random traces from seed {seed}, {} events\n", tally.traces, tally.events);
    println!("| rule | checked | traces that broke it |");
    println!("|---|---|---|");
    for ((rule, checks), broken) in Rule::ALL.iter().zip(tally.checks).zip(tally.broken) {
        println!("| {} | {checks} | {broken} |", rule.as_str());
    }
    for (_, told) in &tally.told {
        println!("\n{told}");
    }
    std::process::ExitCode::from(u8::from(tally.broken.iter().any(|count| *count > 0)))
}

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let numbers: Vec<f64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if words.iter().any(|word| word == "traces") {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let count = numbers.first().map_or(100_000, |n| *n as u64);
        return random(count, numbers.get(1).map_or(FIRST_SEED, |n| *n as u64), threads);
    }
    let draws = numbers.first().map_or(1000, |n| *n as u32);
    let believed = numbers.get(1).copied().unwrap_or(0.95);
    let wanted: Vec<&String> = words.iter().filter(|word| word.parse::<f64>().is_err()).collect();
    let scenarios = names()
        .filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
        .map(|name| Scenario::builtin(name).unwrap())
        .filter(|scenario| scenario.variants.iter().any(|variant| variant.draws));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);

    println!("# Heat control on {draws} random plants\n");
    println!(
        "Seeds from {FIRST_SEED}, which nothing was tuned on; efficiency in the mapping {believed}. Each cell: median / 95th \
         percentile / worst of {draws}.\n"
    );
    let headings: Vec<&str> = COLUMNS.iter().map(|column| column.0).collect();
    println!("| scenario | {} | violations |", headings.join(" | "));
    println!("|---|{}---|", "---|".repeat(headings.len()));
    for scenario in scenarios {
        let asked =
            Study { scenarios: vec![scenario], draws: Some(draws), seed: FIRST_SEED, believed, moments: 0, threads };
        for job in study(&asked, &|_, _| {}).unwrap() {
            let variant = job.variant.as_ref().map(|variant| format!(", {variant}")).unwrap_or_default();
            let cells: Vec<String> = COLUMNS.iter().map(|column| cell(&job, *column)).collect();
            println!("| {}{variant} | {} | {} |", job.scenario, cells.join(" | "), job.summary.worst.violations);
        }
    }
    std::process::ExitCode::SUCCESS
}
