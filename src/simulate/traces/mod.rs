//! Random traces: the real engine among a building, heaters, meters and clocks to which anything may happen, and a checker
//! that keeps its own books. The same seed gives the same trace.
//!
//! A trace that breaks a rule is cut down to what still breaks it before it is told.

mod books;
mod event;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::books::Books;
pub use self::books::Rule;
use self::event::Event;
use self::world::World;
use super::scenario::BadScenario;
use crate::mapping::{self, Files};
use crate::plant::{Allocation, BmsLossPolicy, Plant, Source, ZoneRole};
use crate::sim::noise::Noise;
use crate::units::{Celsius, Watts};

const MAPPING: &str = include_str!("../../../scenarios/traces.toml");
const NAME: &str = "traces.toml";

/// What many traces came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Traces.
    pub traces: u64,
    /// Events in them.
    pub events: u64,
    /// Times that each rule was checked, in the order of [`Rule::ALL`].
    pub checks: [u64; Rule::ALL.len()],
    /// Traces that broke each rule.
    pub broken: [u64; Rule::ALL.len()],
    /// Some of the broken ones, cut down, in words.
    pub told: Vec<(Rule, String)>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.traces += other.traces;
        self.events += other.events;
        let sums = |into: &mut [u64], from: &[u64]| into.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        sums(&mut self.checks, &other.checks);
        sums(&mut self.broken, &other.broken);
        for (rule, text) in other.told {
            if self.told.iter().filter(|(told, _)| *told == rule).count() < TOLD {
                self.told.push((rule, text));
            }
        }
    }
}

/// So many broken traces are told for each rule.
const TOLD: usize = 2;
struct Shipped;

impl Files for Shipped {
    fn read(&self, name: &str) -> Result<String, String> {
        if name == NAME { Ok(MAPPING.to_owned()) } else { Err(format!("{name} is not built in")) }
    }
}

/// Run so many traces from a seed on, each of at most `longest` events (half of that on average).
///
/// # Errors
///
/// When the site of the traces cannot be compiled.
pub fn traces(count: u64, longest: u32, seed: u64, threads: usize) -> Result<Tally, BadScenario> {
    let compiled = mapping::compile(NAME, &Shipped);
    let plant = compiled.plant.ok_or_else(|| {
        let why: Vec<String> = compiled.findings.iter().map(ToString::to_string).collect();
        BadScenario(why.join("\n"))
    })?;
    let next = AtomicU64::new(0);
    let parts: Vec<Tally> = std::thread::scope(|scope| {
        let work = || {
            let mut tally = Tally::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return tally;
                }
                tally.add(one(&plant, longest, seed.wrapping_add(at)));
            }
        };
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut tally = Tally::default();
    parts.into_iter().for_each(|part| tally.add(part));
    Ok(tally)
}

/// The trace of a seed.
fn one(plant: &Plant, longest: u32, seed: u64) -> Tally {
    let plant = Arc::new(site(plant, &mut Noise::named(seed, "site")));
    let mut noise = Noise::named(seed, "trace");
    let length = 1 + (noise.unit() * f64::from(longest)) as usize;
    let events: Vec<(u64, Event)> = (0..length)
        .map(|_| {
            let dt = if noise.unit() < 0.8 { 10 } else { (noise.unit() * 30.0) as u64 };
            (dt, Event::draw(&mut noise, plant.zones.len(), plant.heaters.len()))
        })
        .collect();
    let books = run(&plant, &events);
    let mut tally = Tally { traces: 1, events: events.len() as u64, checks: books.checks, ..Tally::default() };
    for (at, rule) in Rule::ALL.iter().enumerate() {
        if let Some(count) = tally.broken.get_mut(at) {
            *count = u64::from(books.wrong.iter().any(|(broken, ..)| broken == rule));
        }
    }
    if let Some((rule, ..)) = books.wrong.first() {
        let events = cut_down(&plant, events, *rule);
        let (s, text) = run(&plant, &events)
            .wrong
            .into_iter()
            .find(|(broken, ..)| broken == rule)
            .map_or_else(|| (0, String::new()), |(_, s, text)| (s, text));
        let events: Vec<String> = events.iter().map(|(dt, event)| format!("  +{dt} s {event:?}")).collect();
        tally.told.push((*rule, format!("seed {seed}: {} at {s} s: {text}\n{}", rule.as_str(), events.join("\n"))));
    }
    tally
}

fn run(plant: &Arc<Plant>, events: &[(u64, Event)]) -> Books {
    let mut world = World::new(Arc::clone(plant));
    let mut books = Books::new(plant);
    for (dt, event) in events {
        if let Event::Stall(s) = event {
            books.stalled += s;
        }
        let mut told = |world: &World, told| books.told(world, told);
        world.apply(*event, &mut told);
        world.tick(*dt, &mut told);
    }
    books
}

/// Events without those that the breaking of a rule does not need.
fn cut_down(plant: &Arc<Plant>, mut events: Vec<(u64, Event)>, rule: Rule) -> Vec<(u64, Event)> {
    let breaks = |events: &[(u64, Event)]| run(plant, events).wrong.iter().any(|(broken, ..)| *broken == rule);
    let mut size = events.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < events.len() {
            let mut fewer = events.clone();
            fewer.drain(at..(at + size).min(fewer.len()));
            if breaks(&fewer) {
                events = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..events.len() {
        let mut quieter = events.clone();
        if let Some((_, event)) = quieter.get_mut(at) {
            *event = Event::Nothing;
        }
        if breaks(&quieter) {
            events = quieter;
        }
    }
    events
}

/// A site: what mappings may say differently.
fn site(plant: &Plant, noise: &mut Noise) -> Plant {
    let mut plant = plant.clone();
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let mut yes = |share: f64| noise.unit() < share;
    for heater in &mut plant.heaters {
        heater.may_switch_off = yes(0.5);
        if heater.may_switch_off && yes(0.5) {
            heater.fallback = Watts::ZERO;
        }
        if yes(0.2) {
            heater.lease = Duration::from_secs(90);
        }
    }
    let shared = yes(0.3);
    for zone in &mut plant.zones {
        zone.on_bms_loss = match (yes(0.34), yes(0.5)) {
            (true, _) => BmsLossPolicy::Cancel,
            (_, true) => BmsLossPolicy::Fallback { percent: 70.0, for_: minutes(3) },
            _ => BmsLossPolicy::Hold {
                hold: minutes(5),
                fallback_percent: 30.0,
                below_outdoor: Some(Celsius::of(15.0)),
                fallback_for: yes(0.5).then(|| minutes(5)),
                percent_per_min: 10.0,
            },
        };
        zone.law.allocation = if yes(0.5) { Allocation::Staged } else { Allocation::Proportional };
        zone.law.shared_limit = shared.then(|| "site".to_owned());
        zone.meter = zone.meter.filter(|_| yes(0.85));
        if yes(0.3) {
            zone.contracted = zone.rated * 0.4;
            zone.law.summer_dump = if yes(0.5) { zone.rated * 0.2 } else { Watts::ZERO };
        }
        if yes(0.05) {
            // Its heaters are somebody else's now.
            zone.heaters.clear();
        }
    }
    if yes(0.3) {
        for zone in &plant.zones {
            for role in [ZoneRole::HeatRequestPercent, ZoneRole::ElectricalLimit] {
                let place = zone.points.get(role).and_then(|point| plant.points.get_mut(point.index()));
                if let Some(Source::Command(command)) = place.map(|def| &mut def.source) {
                    command.expires = Some(Duration::from_secs(90));
                }
            }
        }
    }
    plant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_is_broken_in_two_thousand_traces() {
        let tally = traces(2_000, 80, 1, 2).unwrap();
        assert_eq!(tally.traces, 2_000);
        assert!(tally.broken.iter().all(|count| *count == 0), "{:?}\n{:#?}", tally.broken, tally.told);
        assert!(tally.checks.iter().all(|count| *count > 1_000), "each rule is put to the test: {:?}", tally.checks);
    }
}
