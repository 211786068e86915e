//! `heatgate replay`: a recorded trace through the engine again.

use std::path::{Path, PathBuf};

use super::{EXIT_FAILED, EXIT_FOUND, complain, load, say};
use crate::gateway::recorder::list;
use crate::trace::{Decided, Header, Replayed, fingerprint, replay};

/// A recorded trace through the engine again: the same decisions, or the first that is another.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate replay /var/lib/heatgate/trace\n         heatgate replay -c config/gateway.toml /var/lib/heatgate/trace\n\nExit: 0 the same decisions, 1 the trace cannot be read, 2 another decision."
)]
pub struct Args {
    /// A trace: its first file (those that follow it are taken, too), or a directory (the newest run in it)
    trace: PathBuf,
    /// Compare the trace's mapping with the one that this configuration names
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    match replayed(args) {
        Ok(found) if found.difference.is_some() => EXIT_FOUND,
        Ok(_) => 0,
        Err(why) => {
            complain(format_args!("heatgate: {}: {why}", args.trace.display()));
            EXIT_FAILED
        }
    }
}

/// The texts of a trace's segments, in order.
pub(super) fn segments(path: &Path) -> Result<Vec<String>, String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|why| format!("it cannot be read: {why}"));
    let header = |text: &str| Header::parse(text.lines().next().unwrap_or_default()).map_err(|why| why.to_string());
    let (directory, first) = if path.is_dir() {
        // A state directory is as good as the one in it.
        let inner = path.join("trace");
        (if inner.is_dir() { inner } else { path.to_path_buf() }, None)
    } else {
        (path.parent().map(Path::to_path_buf).unwrap_or_default(), Some(path))
    };
    let all = list(&directory);
    let first = match first {
        Some(path) => read(path)?,
        None => {
            let newest = all.last().ok_or("there is no trace in it")?;
            let boot = header(&read(newest)?)?.boot;
            let mut found = None;
            for path in &all {
                let text = read(path)?;
                if header(&text).is_ok_and(|header| header.boot == boot) {
                    found = Some(text);
                    break;
                }
            }
            found.ok_or("there is no trace in it")?
        }
    };
    let mut last = header(&first)?;
    let mut texts = vec![first];
    // Names sort by time, so one pass finds what follows.
    for path in &all {
        let text = read(path)?;
        if let Ok(next) = header(&text)
            && next.boot == last.boot
            && next.segment > last.segment
        {
            last = next;
            texts.push(text);
        }
    }
    Ok(texts)
}

fn replayed(args: &Args) -> Result<Replayed, String> {
    let texts = segments(&args.trace)?;
    let header = Header::parse(texts.first().and_then(|text| text.lines().next()).unwrap_or_default())
        .map_err(|why| why.to_string())?;
    let now = args.config.as_deref().map(mapping_now).transpose()?;
    let found = replay(&texts).map_err(|why| why.to_string())?;
    if args.json {
        say(json(&found));
        return Ok(found);
    }
    say(format_args!(
        "site {}, started {}, recorded by heatgate {}; {}",
        header.site,
        header.began(),
        header.program,
        if texts.len() == 1 { "1 segment".to_owned() } else { format!("{} segments", texts.len()) }
    ));
    if found.other_plant {
        say("the trace's mapping compiles to another plant with this version: another decision is no surprise");
    }
    if now.is_some_and(|now| now != header.fingerprint()) {
        say("the mapping has changed since: the replay takes the one that is in the trace");
    }
    if let Some(segment) = found.gap {
        say(format_args!("there is a hole before segment {segment} of those found: the replay ends there"));
    }
    if found.cut_off {
        say("the last line is cut off and was left out");
    }
    match &found.difference {
        None => say(format_args!(
            "{} events, {} decisions until {}: identical",
            found.events, found.decisions, found.until.utc
        )),
        Some(difference) => {
            let shown = |decided: &Option<Decided>| {
                decided.as_ref().map_or_else(
                    || "nothing".to_owned(),
                    |d| format!("caps {} W, {} ({:016x})", d.cap_w, d.states, d.hash),
                )
            };
            say(format_args!(
                "decision {} is another, line {}, at {}, after `{}`",
                found.decisions, difference.line, difference.at.utc, difference.event
            ));
            say(format_args!("  recorded: {}", shown(&difference.recorded)));
            say(format_args!("  replayed: {}", shown(&difference.replayed)));
            say(&difference.text);
        }
    }
    Ok(found)
}

fn mapping_now(config: &Path) -> Result<u64, String> {
    match load::load(Some(config)) {
        Ok((_, plant, _)) => Ok(fingerprint(&plant)),
        Err(findings) => Err(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn json(found: &Replayed) -> String {
    let decided =
        |d: &Decided| serde_json::json!({ "hash": format!("{:016x}", d.hash), "cap_w": d.cap_w, "states": d.states });
    let difference = found.difference.as_ref().map(|difference| {
        serde_json::json!({
            "line": difference.line,
            "at": difference.at.utc.to_string(),
            "event": difference.event,
            "recorded": difference.recorded.as_ref().map(decided),
            "replayed": difference.replayed.as_ref().map(decided),
        })
    });
    serde_json::json!({
        "events": found.events,
        "decisions": found.decisions,
        "identical": found.difference.is_none(),
        "other_plant": found.other_plant,
        "gap": found.gap,
        "difference": difference,
    })
    .to_string()
}
