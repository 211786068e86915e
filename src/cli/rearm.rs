//! `heatgate rearm`: a person on the spot ends a zone's latched safety.

use hyper::Method;

use super::local_client::ask;
use super::points::StateDir;
use super::{EXIT_FAILED, complain, say};

/// End a zone's latched safety, after its cause is gone. Only here and on the spot: never over a bus.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: heatgate rearm hall")]
pub struct Args {
    /// The zone
    zone: String,
    #[command(flatten)]
    state: StateDir,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    // A zone's name is of the characters of a point key; anything else is not found, and must not bend the path.
    if crate::point::PointKey::new(args.zone.as_str()).is_err() || args.zone.contains('/') {
        complain(format_args!("there is no zone {:?}", args.zone));
        return EXIT_FAILED;
    }
    match ask(&args.state.dir(), Method::POST, &format!("/local/rearm/{}", args.zone)) {
        Ok(answer) => {
            say(String::from_utf8_lossy(&answer).trim());
            0
        }
        Err(error) => {
            complain(error);
            EXIT_FAILED
        }
    }
}
