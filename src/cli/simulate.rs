//! `heatgate simulate`: the control loop against the plant model, no network.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::{EXIT_FAILED, EXIT_FOUND, EXIT_USAGE, complain, say};
use crate::gateway::clock::SystemClock;
use crate::simulate::{BadScenario, Job, Scenario, Study, names, report, study};
use crate::time::{Mono, TimeSource as _};

/// The control loop against the plant model: no network, weeks in seconds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate simulate steps two-days\n         heatgate simulate --all --draws 300 --json\n\nExit: 0 fine, 2 a cap was outside its bounds or a policy came too late, 64 wrong usage."
)]
pub struct Args {
    /// Scenarios by name, or files (default: steps and two-days)
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// All shipped scenarios
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Run each on so many random plants, and give medians and 95th percentiles (not week and year)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    draws: Option<u32>,
    /// The first seed of the draws
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Efficiency that the mapping believes
    #[arg(long, value_name = "ETA", default_value_t = 0.95)]
    believed: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a report with plots: one file for a browser, without a network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// List the shipped scenarios
    #[arg(long)]
    list: bool,
}

/// Instants of each run that plots show: as many as there are 10 s in two days.
const MOMENTS: u64 = 17_280;

/// Violations of one run that the table tells; `--json` has the first 20.
const TOLD: usize = 5;

/// Run it.
pub fn run(args: &Args) -> u8 {
    if args.list {
        for scenario in names().filter_map(|name| Scenario::builtin(name).ok()) {
            say(format_args!("{:16} {}", scenario.name, scenario.description));
        }
        return 0;
    }
    if !(0.5..=1.02).contains(&args.believed) {
        complain("heatgate: --believed is outside 0.5 to 1.02");
        return EXIT_USAGE;
    }
    let scenarios = match scenarios(args) {
        Ok(scenarios) => scenarios,
        Err(why) => {
            complain(format_args!("heatgate: {why}"));
            return EXIT_USAGE;
        }
    };
    let asked = Study {
        scenarios,
        draws: args.draws,
        seed: args.seed,
        believed: args.believed,
        moments: if args.html.is_some() { MOMENTS } else { 0 },
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let progress = Progress::new();
    let jobs = match study(&asked, &|done, of| progress.at(done, of)) {
        Ok(jobs) => jobs,
        Err(why) => {
            complain(format_args!("heatgate: {why}"));
            return EXIT_FAILED;
        }
    };
    progress.clear();
    if let Some(path) = &args.html
        && let Err(why) = std::fs::write(path, report(&jobs, env!("CARGO_PKG_VERSION")))
    {
        complain(format_args!("heatgate: {} cannot be written: {why}", path.display()));
        return EXIT_FAILED;
    }
    if args.json {
        say(json(&jobs, args))
    } else {
        table(&jobs)
    }
    if jobs.iter().any(|job| job.summary.worst.violations > 0.0) { EXIT_FOUND } else { 0 }
}

fn scenarios(args: &Args) -> Result<Vec<Scenario>, BadScenario> {
    if args.all {
        // A year on a thousand plants is not what anybody waits for.
        let drawn = |scenario: &Scenario| args.draws.is_none() || scenario.variants.iter().any(|variant| variant.draws);
        return Ok(names().map(Scenario::builtin).collect::<Result<Vec<_>, _>>()?.into_iter().filter(drawn).collect());
    }
    if args.scenarios.is_empty() {
        return ["steps", "two-days"].into_iter().map(Scenario::builtin).collect();
    }
    args.scenarios.iter().map(|name| named(name)).collect()
}

/// A shipped scenario, or one in a file.
fn named(name: &str) -> Result<Scenario, BadScenario> {
    let looks_like_path = name.contains(['/', '\\']) || Path::new(name).extension().is_some_and(|e| e == "toml");
    if !looks_like_path {
        return Scenario::builtin(name);
    }
    let path = PathBuf::from(name);
    let text = std::fs::read_to_string(&path).map_err(|why| BadScenario(format!("{name} cannot be read: {why}")))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Scenario::parse(&stem, &text)
}

/// One row per variant; with draws the medians, and the 95th percentiles beside them.
fn json(jobs: &[Job], args: &Args) -> String {
    let rows: Vec<serde_json::Value> = jobs
        .iter()
        .map(|job| {
            let mut row = serde_json::json!({ "scenario": job.scenario, "variant": job.variant });
            let medians = serde_json::to_value(job.summary.median).unwrap_or_default();
            if let (Some(row), Some(medians)) = (row.as_object_mut(), medians.as_object()) {
                row.extend(medians.clone());
                row.insert("runs".to_owned(), job.summary.runs.into());
                row.insert("wrong".to_owned(), serde_json::to_value(&job.worst).unwrap_or_default());
                if let Some(p95) = job.summary.p95 {
                    row.insert("p95".to_owned(), serde_json::to_value(p95).unwrap_or_default());
                    row.insert("worst".to_owned(), serde_json::to_value(job.summary.worst).unwrap_or_default());
                }
            }
            row
        })
        .collect();
    serde_json::json!({ "draws": args.draws, "seed": args.seed, "believed": args.believed, "scenarios": rows })
        .to_string()
}

fn table(jobs: &[Job]) {
    say(format_args!(
        "{:28} {:>15} {:>15} {:>13} {:>13} {:>11} {:>13} {:>11} {:>11} {:>6}",
        "scenario",
        "RMSE %Pn",
        "oracle",
        "ratio",
        "energy err %",
        "excess %Pn",
        "changes/h",
        "under Kh",
        "over Kh",
        "viol."
    ));
    for job in jobs {
        let name = job.variant.as_ref().map_or_else(|| job.scenario.clone(), |v| format!("{} {v}", job.scenario));
        let (m, p) = (job.summary.median, job.summary.p95);
        let cell = |get: fn(&crate::simulate::Measures) -> f64, digits: usize| match p {
            Some(p) => format!("{:.*} /{:.*}", digits, get(&m), digits, get(&p)),
            None => format!("{:.*}", digits, get(&m)),
        };
        say(format_args!(
            "{name:28} {:>15} {:>15} {:>13} {:>13} {:>11} {:>13} {:>11} {:>11} {:>6}",
            cell(|m| m.rmse_pct, 3),
            cell(|m| m.oracle_rmse_pct, 3),
            cell(|m| m.ratio, 2),
            cell(|m| m.energy_error_pct, 3),
            cell(|m| m.excess_pct, 2),
            cell(|m| m.changes_per_hour, 1),
            cell(|m| m.under_kh, 2),
            cell(|m| m.over_kh, 2),
            job.summary.worst.violations,
        ));
    }
    for job in jobs {
        let Some(worst) = &job.worst else { continue };
        let name = job.variant.as_ref().map_or_else(|| job.scenario.clone(), |v| format!("{} {v}", job.scenario));
        let seed = worst.seed.map_or_else(String::new, |seed| format!(" of --draws 1 --seed {seed}"));
        for one in worst.wrong.iter().take(TOLD) {
            say(format_args!("{name}{seed}: wrong at {:.0} s: {}: {}", one.at_s, one.what, one.text));
        }
        if worst.violations > TOLD as u64 {
            say(format_args!("{name}{seed}: {} more", worst.violations - TOLD as u64));
        }
    }
    if let Some(runs) = jobs.iter().map(|job| job.summary.runs).max().filter(|runs| *runs > 1) {
        say(format_args!("median / 95th percentile of {runs} random plants; violations: the most of any run"));
    }
}

/// A bar on standard error, from two seconds on, where that is a terminal.
struct Progress {
    clock: Option<SystemClock>,
    shown: Mutex<Option<Mono>>,
}

impl Progress {
    const FROM: Duration = Duration::from_secs(2);
    const EVERY: Duration = Duration::from_millis(200);

    fn new() -> Self {
        let clock = std::io::stderr().is_terminal().then(|| SystemClock::new(1.0).ok()).flatten();
        Self { clock, shown: Mutex::new(None) }
    }

    fn at(&self, done: usize, of: usize) {
        let (Some(clock), Ok(mut shown)) = (&self.clock, self.shown.lock()) else { return };
        let now = clock.now().mono;
        if now.since(Mono::START) < Self::FROM || shown.is_some_and(|last| now.since(last) < Self::EVERY && done < of) {
            return;
        }
        *shown = Some(now);
        let full = 40 * done / of.max(1);
        let left = " ".repeat(40_usize.saturating_sub(full));
        bar(format_args!("\r[{}{left}] {done} of {of} h simulated", "#".repeat(full)));
    }

    fn clear(&self) {
        if self.shown.lock().is_ok_and(|shown| shown.is_some()) {
            bar(format_args!("\r{:70}\r", ""));
        }
    }
}

fn bar(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut err = std::io::stderr();
    let _ = err.write_fmt(text).and_then(|()| err.flush());
}
