//! The command line: one file per subcommand. Exit codes: 0 fine, 1 it failed, 2 it ran and found something wrong,
//! 64 wrong usage, or a configuration with which `run` or `demo` cannot start, 75 a restart was asked for over BACnet.

pub mod check;
mod demo;
mod discover;
mod explain;
mod handover;
pub mod load;
mod local_client;
mod plan;
mod points;
mod rearm;
mod replay;
mod run;
mod sim;
mod simulate;
mod tune;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

/// It failed.
pub const EXIT_FAILED: u8 = 1;
/// It ran and found something wrong.
pub const EXIT_FOUND: u8 = 2;
/// It ended in order because a device manager asked for a restart: start it again (sysexits.h EX_TEMPFAIL).
pub const EXIT_RESTART: u8 = 75;
/// Wrong usage, or a configuration with which nothing can start (sysexits.h EX_USAGE).
pub const EXIT_USAGE: u8 = 64;

/// Gateway between heating computers (MQTT) and a building's BMS (Modbus, BACnet).
#[derive(Debug, Parser)]
#[command(name = "heatgate", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole site on this machine, nothing to install.
    Demo(demo::Args),
    /// The gateway.
    Run(run::Args),
    /// Compile configuration and mappings without any network, and print every finding.
    Check(check::Args),
    /// What is read from and written to devices, how long it takes, and whether the lines can keep up.
    Plan(plan::Args),
    /// The live image of a running gateway.
    Points(points::Args),
    /// Why a value is what it is.
    Explain(explain::Args),
    /// End a zone's latched safety, on the spot.
    Rearm(rearm::Args),
    /// Documents for whoever connects to this gateway.
    Handover(handover::Args),
    /// Which devices there are on a network, and a mapping to begin with.
    Discover(discover::Args),
    /// One simulated part of a site as a process of its own.
    Sim(sim::Args),
    /// A recorded trace through the engine again: the same decisions.
    Replay(replay::Args),
    /// A zone's efficiency, delay and lag from a recorded day.
    Tune(tune::Args),
    /// The control loop against the plant model, no network.
    Simulate(simulate::Args),
}

/// argv to exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // A closed pipe is no reason to fail.
            let _ = error.print();
            return code;
        }
    };
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Points(args) => points::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Rearm(args) => rearm::run(&args),
        Command::Handover(args) => handover::run(&args),
        Command::Discover(args) => discover::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Simulate(args) => simulate::run(&args),
    }
}

/// Print a line that a script may have stopped reading: a closed pipe ends nothing.
fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Print a line for people on standard error.
fn complain(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A runtime for two cores.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Ends at SIGTERM or SIGINT. They are caught from the call on, not from the first await: one that comes during the start
/// is an orderly end too. Needs a runtime.
fn told_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    async move {
        let Ok((mut term, mut int)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
