//! `heatgate explain`: why a value is what it is.

use hyper::Method;

use super::local_client::ask;
use super::points::{StateDir, shown};
use super::{EXIT_FAILED, complain, say};
use crate::web::api;

/// Why a value is what it is: its source, who commands it and at which priority, what made it doubtful; for a zone or a
/// heater the decision with its reasons, in the order in which they applied.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: heatgate explain hall\n         heatgate explain hall/heat_request_percent")]
pub struct Args {
    /// A point, a zone or a heater
    name: String,
    /// The gateway's own JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateDir,
}

fn get<T: serde::de::DeserializeOwned>(args: &Args, path: &str) -> Result<T, String> {
    let body = ask(&args.state.dir(), Method::GET, path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&body)
        .map_err(|error| format!("the gateway's answer is not understood: {error}; is it another version?"))
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    match explain(args) {
        Ok(()) => 0,
        Err(why) => {
            complain(why);
            EXIT_FAILED
        }
    }
}

fn explain(args: &Args) -> Result<(), String> {
    let decision: api::Decision = get(args, "/api/v1/decision")?;
    let zone = decision.zones.iter().find(|zone| zone.name == args.name);
    let heater = decision.heaters.iter().find(|heater| heater.name == args.name);
    if let Some(zone) = zone {
        print(args, zone, explain_zone);
        return Ok(());
    }
    if let Some(heater) = heater {
        print(args, heater, explain_heater);
        return Ok(());
    }
    let points: api::Points = get(args, "/api/v1/points")?;
    let Some(point) = points.points.iter().find(|point| point.key == args.name) else {
        let zones: Vec<&str> = decision.zones.iter().map(|zone| zone.name.as_str()).collect();
        let heaters: Vec<&str> = decision.heaters.iter().map(|heater| heater.name.as_str()).collect();
        return Err(format!(
            "there is no point, zone or heater {:?}; zones are {}, heaters are {}; `heatgate points` lists the points",
            args.name,
            zones.join(", "),
            heaters.join(", ")
        ));
    };
    print(args, point, explain_point);
    if !args.json
        && point.source == "engine"
        && let Some(zone) = decision.zones.iter().find(|zone| point.key.split('/').next() == Some(zone.name.as_str()))
    {
        say("it follows from the zone's decision:");
        for reason in &zone.reasons {
            say(format_args!("  - {reason}"));
        }
    }
    Ok(())
}

fn print<T: serde::Serialize>(args: &Args, thing: &T, words: fn(&T)) {
    if args.json {
        say(serde_json::to_string(thing).unwrap_or_default());
    } else {
        words(thing);
    }
}

fn kw(watts: f64) -> String {
    format!("{:.1} kW", watts / 1000.0)
}

fn explain_zone(zone: &api::Zone) {
    say(format_args!("zone {}: {}", zone.name, zone.state));
    say(format_args!(
        "  asked      {} ({}, by {})",
        zone.request_w.map_or_else(|| "nothing".to_owned(), kw),
        zone.mode,
        zone.source
    ));
    say(format_args!("  delivered  {}", zone.delivered_w.map_or_else(|| "not known".to_owned(), kw)));
    say(format_args!("  cap        {} between {} and {}", kw(zone.cap_w), kw(zone.floor_w), kw(zone.ceiling_w)));
    for alarm in &zone.alarms {
        say(format_args!("  alarm      {alarm}"));
    }
    if let Some(latch) = &zone.latched {
        say(format_args!(
            "  latched    by {} since {}; `heatgate rearm {}` on the spot",
            latch.cause, latch.since, zone.name
        ));
    }
    say("  because");
    for reason in &zone.reasons {
        say(format_args!("  - {reason}"));
    }
}

fn explain_heater(heater: &api::Heater) {
    say(format_args!(
        "heater {} of zone {}: {}",
        heater.name,
        heater.zone,
        heater.state.as_deref().unwrap_or("not heard of")
    ));
    say(format_args!(
        "  draws      {} of {}",
        heater.power_w.map_or_else(|| "not known".to_owned(), kw),
        kw(heater.rated_w)
    ));
    let Some(command) = &heater.command else {
        say("  no command was made for it");
        return;
    };
    say(format_args!(
        "  cap        {}, command {} of {:.0} s ago, lease {:.0} s, then {}",
        kw(command.cap_w),
        command.seq,
        command.age_s,
        command.ttl_s,
        kw(command.fallback_w)
    ));
    say("  because");
    for reason in &command.reasons {
        say(format_args!("  - {reason}"));
    }
}

fn explain_point(point: &api::Point) {
    say(format_args!("{}: {} {} ({}, {:.0} s old)", point.key, shown(point), point.unit, point.quality, point.age_s));
    say(format_args!("  {}", point.description));
    if let Some(cause) = &point.cause {
        say(format_args!("  cause      {cause}"));
    }
    say(format_args!("  source     {}", point.source));
    if let Some((low, high)) = point.range {
        say(format_args!("  range      {low} to {high}"));
    }
    for slot in &point.slots {
        let rules = if Some(slot.priority) == point.priority { ", rules" } else { "" };
        let restored = if slot.restored { ", restored after a restart" } else { "" };
        say(format_args!(
            "  slot {:2}    {} by {} at {}{restored}{rules}",
            slot.priority, slot.value, slot.by, slot.at
        ));
    }
    if point.writable && point.slots.is_empty() {
        let default = point.relinquish_default.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        say(format_args!("  nobody commands it: relinquish default {default}"));
    }
}
