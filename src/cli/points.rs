//! `heatgate points`: the live image of a running gateway.

use std::path::PathBuf;

use hyper::Method;

use super::local_client::ask;
use super::{EXIT_FAILED, complain, say};
use crate::web::api;

/// Where a running gateway is found.
#[derive(Debug, clap::Args)]
pub(super) struct StateDir {
    /// The gateway's state directory [default: the one in the configuration file]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The gateway's configuration file, where --state-dir is not given
    #[arg(short, long, value_name = "FILE", default_value = "config/gateway.toml")]
    config: PathBuf,
}

impl StateDir {
    /// The directory: as given, or as the configuration says.
    pub fn dir(&self) -> PathBuf {
        self.state_dir
            .clone()
            .or_else(|| super::load::state_dir(&self.config))
            .unwrap_or_else(|| PathBuf::from("state"))
    }
}

/// The live image of a running gateway: value, unit, quality with its cause, age, who commands it and at which priority.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate points hall/ --state-dir /var/lib/heatgate\n         heatgate points --watch"
)]
pub struct Args {
    /// Only points whose name begins so
    prefix: Option<String>,
    /// Again every second, until interrupted
    #[arg(long)]
    watch: bool,
    /// The gateway's own JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateDir,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    let dir = args.state.dir();
    loop {
        let body = match ask(&dir, Method::GET, "/api/v1/points") {
            Ok(body) => body,
            Err(error) => {
                complain(error);
                return EXIT_FAILED;
            }
        };
        let mut answer: api::Points = match serde_json::from_slice(&body) {
            Ok(answer) => answer,
            Err(error) => {
                complain(format_args!("the gateway's answer is not understood: {error}; is it another version?"));
                return EXIT_FAILED;
            }
        };
        let prefix = args.prefix.as_deref().unwrap_or_default();
        answer.points.retain(|point| point.key.starts_with(prefix));
        if answer.points.is_empty() {
            complain(format_args!("no point begins with {prefix:?}"));
            return EXIT_FAILED;
        }
        if args.json {
            say(serde_json::to_string(&answer).unwrap_or_default());
        } else {
            if args.watch && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
                // Home, and clear below: no flicker.
                say("\u{1b}[H\u{1b}[J");
            }
            table(&answer);
        }
        if !args.watch {
            return 0;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

fn table(answer: &api::Points) {
    let width = answer.points.iter().map(|point| point.key.len()).max().unwrap_or(0);
    say(format_args!(
        "{:width$}  {:>14} {:5} {:9} {:>7}  {}",
        "point", "value", "unit", "quality", "age", "commanded by, cause"
    ));
    for point in &answer.points {
        say(format_args!(
            "{:width$}  {:>14} {:5} {:9} {:>6.0}s  {}",
            point.key,
            shown(point),
            point.unit,
            if point.is_none() { "-" } else { &point.quality },
            point.age_s,
            remarks(point)
        ));
    }
}

/// The value, with the name of its state; the last one in brackets while it is bad.
pub(super) fn shown(point: &api::Point) -> String {
    match (&point.value, &point.text, &point.last) {
        _ if point.is_none() => "none".to_owned(),
        (Some(value), Some(text), _) => format!("{value} {text}"),
        (Some(value), None, _) => value.to_string(),
        (None, _, Some(last)) => format!("({last})"),
        (None, _, None) => "-".to_owned(),
    }
}

fn remarks(point: &api::Point) -> String {
    let commanded = match (&point.by, point.priority) {
        (Some(by), Some(priority)) => Some(format!("{by} at {priority}")),
        _ => None,
    };
    commanded.into_iter().chain(point.cause.clone().filter(|_| !point.is_none())).collect::<Vec<_>>().join("; ")
}
