//! `heatgate run`: the gateway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::{EXIT_FAILED, EXIT_RESTART, EXIT_USAGE, complain, load, runtime, told_to_stop};
use crate::diagnostic::Severity;
use crate::gateway::clock::SystemClock;
use crate::gateway::{Gateway, Setup};
use crate::telemetry;

/// The gateway: serves until SIGTERM or SIGINT, then releases what it commanded and ends.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate run -c config/gateway.toml\n         heatgate run --observe   (commissioning: everything works, nothing is commanded or written)"
)]
pub struct Args {
    /// The box's configuration
    #[arg(short, long, value_name = "FILE", default_value = "config/gateway.toml")]
    config: PathBuf,
    /// Everything works and nothing is commanded or written
    #[arg(long)]
    observe: bool,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    let load::Loaded { config, plant, warnings, files } =
        match load::examine(Some(&args.config), &load::environment()).loaded() {
            Ok(loaded) => loaded,
            Err(findings) => {
                for finding in &findings {
                    complain(finding);
                }
                let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
                let plural = if errors == 1 { "" } else { "s" };
                complain(format_args!("heatgate: {errors} error{plural} in the configuration; nothing was started"));
                return EXIT_USAGE;
            }
        };
    telemetry::start(&config.log.filter, config.log.json);
    for warning in &warnings {
        complain(warning);
    }
    let outcome = runtime().map_err(|error| error.to_string()).and_then(|runtime| {
        let time = SystemClock::new(1.0).map_err(|error| error.to_string())?;
        let observe = args.observe || config.control.observe;
        let setup = Setup {
            config,
            plant: Arc::new(plant),
            time: Arc::new(time),
            liveness: 1.0,
            bms_liveness: 1.0,
            outside: BTreeSet::new(),
            observe,
        };
        runtime.block_on(serve(setup, files))
    });
    match outcome {
        Ok(false) => 0,
        Ok(true) => EXIT_RESTART,
        Err(why) => {
            complain(format_args!("heatgate: {why}"));
            EXIT_FAILED
        }
    }
}

/// True: it ended because a restart was asked for.
async fn serve(setup: Setup, files: Vec<(String, String)>) -> Result<bool, String> {
    let site = setup.config.site.id.clone();
    let stop = told_to_stop();
    let gateway = Gateway::start_recorded(setup, &files).await.map_err(|error| error.to_string())?;
    drop(files);
    let at = gateway.addresses();
    let bacnet = at.bacnet.map(|address| address.to_string());
    tracing::info!(%site, modbus = %at.modbus, bacnet, http = %at.http, local = %at.local.display(), "serving");
    let restart = gateway.restart_asked().clone();
    let stop = async {
        tokio::select! {
            () = stop => {}
            () = restart.cancelled() => {}
        }
    };
    gateway.run_until(stop).await.map_err(|error| error.to_string())?;
    let again = restart.is_cancelled();
    tracing::info!(again, "released and stopped");
    Ok(again)
}
