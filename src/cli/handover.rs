//! `heatgate handover`: documents for whoever takes the site over, made of what the program really does.

use std::path::PathBuf;

use super::{EXIT_FAILED, EXIT_USAGE, complain, load, say};
use crate::bacnet::Pics;
use crate::gateway::bacnet_settings;

/// Documents for whoever connects to this gateway.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate handover --pics > PICS.md\n         heatgate handover -c config/gateway.toml --pics --json"
)]
pub struct Args {
    /// The box's configuration: vendor, model and description; without it those of the demonstration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The BACnet protocol implementation conformance statement
    #[arg(long, required = true)]
    pics: bool,
    /// As JSON instead of Markdown
    #[arg(long)]
    json: bool,
}

/// Print it.
pub fn run(args: &Args) -> u8 {
    let config = match load::load(args.config.as_deref()) {
        Ok((config, ..)) => config,
        Err(findings) => {
            findings.iter().for_each(complain);
            return EXIT_USAGE;
        }
    };
    let pics = Pics::new(&bacnet_settings(&config, false));
    if !args.json {
        say(pics.to_string().trim_end());
        return 0;
    }
    match serde_json::to_string_pretty(&pics) {
        Ok(text) => {
            say(text);
            0
        }
        Err(why) => {
            complain(format_args!("heatgate: {why}"));
            EXIT_FAILED
        }
    }
}
