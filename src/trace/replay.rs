//! The same events through an engine again: the same decisions, or the first that is another.

use std::sync::Arc;

use super::BadTrace;
use super::codec::{Decided, Decoder, Entry, digest};
use super::header::Header;
use crate::engine::{Engine, Event};
use crate::time::Now;

/// The first decision that is another.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// In which line of the trace (counted over all its segments, from 1).
    pub line: usize,
    /// When.
    pub at: Now,
    /// What came before it, as written.
    pub event: String,
    /// What was decided then; `None`: nothing.
    pub recorded: Option<Decided>,
    /// What is decided now; `None`: nothing.
    pub replayed: Option<Decided>,
    /// What is decided now, in full.
    pub text: String,
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Events that went in.
    pub events: usize,
    /// Decisions that were compared.
    pub decisions: usize,
    /// The first that is another; the replay ends with it.
    pub difference: Option<Difference>,
    /// The mapping means another plant to this version of the program.
    pub other_plant: bool,
    /// The last line is cut off, as a power cut leaves it: it was left out.
    pub cut_off: bool,
    /// Entries after this many segments were lost while it was recorded: the replay ends there.
    pub gap: Option<usize>,
    /// The time of the last entry.
    pub until: Now,
}

/// Replay the segments of a trace, the first of them from the start of the gateway.
///
/// # Errors
///
/// When it cannot be read.
pub fn replay(segments: &[String]) -> Result<Replayed, BadTrace> {
    let first = segments.first().map(String::as_str).unwrap_or_default();
    let header = Header::parse(first.lines().next().unwrap_or_default())?;
    if header.segment != 0 {
        return Err(BadTrace::Middle(header.segment));
    }
    let (plant, same) = header.plant()?;
    let start = header.start();
    let (mut engine, effects) = Engine::new(Arc::new(plant), header.settings(), header.restored(), start);
    let mut found = Replayed {
        events: 0,
        decisions: 0,
        difference: None,
        other_plant: !same,
        cut_off: false,
        gap: None,
        until: start,
    };
    let mut decoder = Decoder::new(start);
    // The first decision is that of the start.
    let mut pending = effects.decision.map(|decision| (decision, "the start".to_owned()));
    let mut before = 0;
    let mut header = header;
    for (index, segment) in segments.iter().enumerate() {
        let lines: Vec<&str> = segment.lines().collect();
        if index > 0 {
            let next = Header::parse(lines.first().copied().unwrap_or_default())?;
            if !next.follows(&header) || next.gap {
                found.gap = Some(index);
                break;
            }
            header = next;
        }
        let whole = segment.ends_with('\n');
        for (line, text) in lines.iter().enumerate().skip(1) {
            if line + 1 == lines.len() && !whole {
                found.cut_off = true;
                break;
            }
            let number = before + line + 1;
            let entry = decoder.line(text).map_err(|why| BadTrace::Line { line: number, why })?;
            let expected = match entry {
                Entry::Decided(decided) => Some(decided),
                Entry::Event(event, now) => {
                    if pending.is_none() {
                        found.until = now;
                        found.events += 1;
                        pending = feed(&mut engine, event, now).map(|decision| (decision, (*text).to_owned()));
                        continue;
                    }
                    None
                }
            };
            // Either a decision that was recorded, or an event where one is due.
            let replayed = pending.take();
            found.decisions += 1;
            let now = replayed.as_ref().map(|(decision, _)| digest(decision));
            if now != expected {
                found.difference = Some(Difference {
                    line: number,
                    at: found.until,
                    event: replayed.as_ref().map_or_else(|| (*text).to_owned(), |(_, event)| event.clone()),
                    recorded: expected,
                    replayed: now,
                    text: replayed.map(|(decision, _)| format!("{decision:#?}")).unwrap_or_default(),
                });
                return Ok(found);
            }
        }
        before += lines.len();
    }
    Ok(found)
}

fn feed(engine: &mut Engine, event: Event, now: Now) -> Option<Arc<crate::decision::Decision>> {
    engine.on(event, now).decision
}
