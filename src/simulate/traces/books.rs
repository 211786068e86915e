//! What may never be, whatever happens. The checker keeps its own books of limits, temperatures, writes and stops; of the
//! engine it sees commands, and what the decision says of whom it follows.

use super::world::{LIMITS, NO_LIMIT, NO_TEMPERATURE, Told, World};
use crate::decision::{Command, Reason, RequestSource, ZoneDecision, ZoneState};
use crate::plant::{Allocation, Heater, HeaterRole, MeterRole, Plant, PointDef, TemperatureLimit, Zone, ZoneRole};
use crate::point::PointId;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Every cap is a number between nothing and rated power, every figure is one.
    Finite,
    /// No cap above the tightest ceiling: electrical, shared, temperatures, rated power.
    Ceiling,
    /// No cap above the ramp line.
    RampLine,
    /// Steps up at least 20 s apart.
    StepsUp,
    /// Nothing raised without somebody's fresh request, or while a safety input or what others draw is not known.
    Cause,
    /// The loss policy is entered at the first step after the timeout; steps come at least each tick.
    Loss,
    /// Staged heaters stay on and off for their times, and those that rest, rest.
    Times,
    /// Every lease is bounded, renewed in time, and ends no higher than it was.
    Lease,
    /// Stopped is 0 W, until a person re-arms.
    Stop,
    /// What is asked is held up by idle power, unless a ceiling is lower.
    Floor,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Finite,
        Self::Ceiling,
        Self::RampLine,
        Self::StepsUp,
        Self::Cause,
        Self::Loss,
        Self::Times,
        Self::Lease,
        Self::Stop,
        Self::Floor,
    ];

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finite => "output finite, within rated power",
            Self::Ceiling => "no cap above the tightest ceiling",
            Self::RampLine => "no cap above the ramp line",
            Self::StepsUp => "steps up 20 s apart",
            Self::Cause => "nothing raised without fresh cause",
            Self::Loss => "loss policy within timeout + one tick",
            Self::Times => "times on and off kept",
            Self::Lease => "lease bounded and renewed",
            Self::Stop => "stopped is 0 W until re-armed",
            Self::Floor => "idle power held where heat is asked",
        }
    }
}

/// Arithmetic, kW.
const EPS: f64 = 0.001;
/// Share of an electrical limit that is used.
const MARGIN: f64 = 0.97;
/// Ramp up, share of rated power per second.
const UP: f64 = 0.2 / 60.0;
/// Steps up are this far apart, s,
const UP_APART: u64 = 20;
/// and control steps each tick, s; a pause longer than two earns no more of a ramp.
const TICK: u64 = 10;
const LONGEST: u64 = 20;
const DEADBAND: f64 = 0.01;
/// A heater may be this share of the zone's rated power away from its part.
const UNEVEN: f64 = 0.02;
/// A command is refreshed after this, s, or a third of a shorter lease.
const REFRESH: u64 = 60;
/// Staged: least times, s.
const MIN_ON: u64 = 900;
const MIN_OFF: u64 = 600;
/// What is decided has been sent after this, s.
const SETTLES: u64 = 60;
/// What is written lasts, where the mapping does not say otherwise.
const TIMEOUT: f64 = 300.0;

/// One zone's books; powers in kW.
#[derive(Debug, Clone, Default)]
struct Book {
    limits: [Option<f64>; 3],
    others: Option<f64>,
    room: Option<f64>,
    supply: Option<f64>,
    back: Option<f64>,
    inlets: Vec<Option<f64>>,
    /// Stop inputs as written by the building, and by a person.
    stop: [(bool, Option<bool>); 2],
    latched: bool,
    /// Somebody asked since the start.
    asked: bool,
    life: Option<u64>,
    beat: Option<(f64, u64)>,
    timeout: Option<f64>,
    /// When the percent request was written last.
    percent: Option<u64>,
    cap: f64,
    line: f64,
    raised: Option<u64>,
    settled: Option<u64>,
    /// What heaters drew when the first request came, and when that was.
    taken: Option<(f64, u64)>,
    state: Option<ZoneState>,
    staged: Vec<Option<(bool, u64)>>,
    /// When each was last staged, or took no part.
    busy: Vec<u64>,
}

/// All books of a trace.
pub(super) struct Books {
    zones: Vec<Book>,
    /// Newest good number of each point, and when it arrived; what is bad now is gone.
    read: Vec<Option<(f64, u64)>>,
    stepped: u64,
    /// Nothing ran for so long before this step, s.
    pub stalled: u64,
    pub checks: [u64; Rule::ALL.len()],
    pub wrong: Vec<(Rule, u64, String)>,
}

fn sum(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(0.0, |a, b| a + b)
}

impl Books {
    pub fn new(plant: &Plant) -> Self {
        let zones = plant.zones.iter().map(|zone| Book {
            inlets: vec![None; zone.heaters.len()],
            staged: vec![None; zone.heaters.len()],
            busy: vec![0; zone.heaters.len()],
            cap: sum(zone.heaters.iter().filter_map(|id| plant.heater(*id)).map(|heater| heater.fallback.kw())),
            ..Book::default()
        });
        Self {
            zones: zones.collect(),
            read: vec![None; plant.points.len()],
            stepped: 0,
            stalled: 0,
            checks: [0; Rule::ALL.len()],
            wrong: Vec::new(),
        }
    }

    fn hold(&mut self, rule: Rule, s: u64, holds: bool, text: impl FnOnce() -> String) {
        if let Some(count) = self.checks.get_mut(rule as usize) {
            *count += 1;
        }
        if !holds {
            self.wrong.push((rule, s, text()));
        }
    }

    /// Note what happened; after a step of control, look.
    pub fn told(&mut self, world: &World, told: Told) {
        match told {
            Told::Written(zone, role, number) => self.written(world, zone, role, number),
            Told::Forced(zone, role, number) => {
                let Some(book) = self.zones.get_mut(zone) else { return };
                book.asked |= number.is_some() && is_request(role);
            }
            Told::Read(point, number) => {
                if let Some(place) = self.read.get_mut(point.index()) {
                    *place = number.map(|number| (number, world.s));
                }
            }
            Told::Rearmed(zone) => {
                if let Some(book) = self.zones.get_mut(zone) {
                    // It follows what was asked since the start, of a building that lives.
                    book.latched = false;
                }
            }
            Told::Restarted => self.restarted(world),
            Told::Stepped(tick) => self.look(world, tick),
        }
    }

    fn written(&mut self, world: &World, zone: usize, role: ZoneRole, number: f64) {
        let s = world.s;
        let Some(book) = self.zones.get_mut(zone) else { return };
        if let Some(limit) = LIMITS.iter().position(|limit| *limit == role).and_then(|at| book.limits.get_mut(at)) {
            *limit = (number != NO_LIMIT).then_some(number);
        }
        match role {
            // What only the broker writes is no sign of the building's life.
            ZoneRole::RemoteLimit => return,
            ZoneRole::RoomTemperature if number != NO_TEMPERATURE && (PLAUSIBLE.0..=PLAUSIBLE.1).contains(&number) => {
                book.room = Some(number)
            }
            ZoneRole::EmergencyStop => book.stop[0].0 = number != 0.0,
            ZoneRole::OverTemperatureInput => book.stop[1].0 = number != 0.0,
            ZoneRole::BmsTimeout => book.timeout = Some(number),
            ZoneRole::HeatRequestPercent => book.percent = Some(s),
            ZoneRole::BmsHeartbeat if book.beat.is_none_or(|(before, _)| before != number) => {
                book.beat = Some((number, s));
            }
            _ => {}
        }
        book.asked |= is_request(role);
        book.life = Some(s);
    }

    /// A new process knows what was saved: limits, stops, latches and the timeout; nothing of temperatures or requests.
    fn restarted(&mut self, world: &World) {
        self.read.fill(None);
        for (book, zone) in self.zones.iter_mut().zip(&world.plant.zones) {
            let fallback = sum(heaters(&world.plant, zone).map(|heater| heater.fallback.kw()));
            *book = Book {
                limits: book.limits,
                stop: book.stop,
                latched: book.latched,
                timeout: book.timeout,
                inlets: vec![None; zone.heaters.len()],
                staged: vec![None; zone.heaters.len()],
                busy: vec![world.s; zone.heaters.len()],
                cap: if book.latched { 0.0 } else { fallback },
                ..Book::default()
            };
        }
        self.stepped = world.s;
    }

    /// The newest good number of a point, not older than so many seconds.
    fn fresh(&self, point: Option<PointId>, now: u64, most: u64) -> Option<f64> {
        let (number, at) = self.read.get(point?.index()).copied().flatten()?;
        (now - at <= most).then_some(number)
    }

    fn look(&mut self, world: &World, tick: bool) {
        let s = world.s;
        let dt = s - self.stepped;
        self.hold(Rule::Loss, s, dt < TICK + LONGEST + 10 + self.stalled, || format!("no step for {dt} s"));
        for (at, zone) in world.plant.zones.iter().enumerate() {
            self.note(world, at, zone);
            self.zone(world, at, zone, dt, tick);
        }
        self.ceilings(world);
        self.commands(world, dt);
        self.times(world);
        self.stepped = s;
        self.stalled = 0;
    }

    /// Readings that hold until there are others.
    fn note(&mut self, world: &World, at: usize, zone: &Zone) {
        let s = world.s;
        let plausible = |number: &f64| (PLAUSIBLE.0..=PLAUSIBLE.1).contains(number);
        let meter = zone.meter.and_then(|id| world.plant.meter(id));
        let of = |role| meter.and_then(|meter| meter.points.get(role));
        let supply = self.fresh(of(MeterRole::Supply), s, 30).filter(plausible);
        let back = self.fresh(of(MeterRole::Return), s, 30).filter(plausible);
        let others = self.fresh(zone.points.get(ZoneRole::OtherPower), s, 60);
        let inlets: Vec<Option<f64>> = heaters(&world.plant, zone)
            .map(|heater| self.fresh(heater.points.get(HeaterRole::Inlet), s, 30).filter(plausible))
            .collect();
        let contact = zone.points.get(ZoneRole::EmergencyStop).and_then(|point| self.read.get(point.index()));
        let contact = contact.copied().flatten();
        let Some(book) = self.zones.get_mut(at) else { return };
        book.supply = supply.or(book.supply);
        book.back = back.or(book.back);
        book.others = others.or(book.others);
        for (known, new) in book.inlets.iter_mut().zip(inlets) {
            *known = new.or(*known);
        }
        let [stop, hot] = book.stop;
        book.latched |= stop.1.unwrap_or(stop.0) || hot.1.unwrap_or(hot.0) || contact.is_some_and(|(on, _)| on != 0.0);
    }

    fn zone(&mut self, world: &World, at: usize, zone: &Zone, dt: u64, tick: bool) {
        let (s, plant) = (world.s, &world.plant);
        let (Some(said), Some(book)) = (world.decision.zones.get(at), self.zones.get(at).cloned()) else { return };
        let cap = sum(zone.heaters.iter().filter_map(|id| command(world, *id)).map(|command| command.cap.kw()));
        let (before, rated) = (book.cap, zone.rated.kw());
        let name = &zone.name;
        self.figures(said, s);
        self.hold(Rule::Finite, s, (said.cap.kw() - cap).abs() < EPS, || {
            format!("{name}: {} is not {cap} kW", said.cap)
        });

        // Whose request is followed.
        let lasts = book.timeout.unwrap_or(TIMEOUT).clamp(10.0, 3600.0) as u64;
        let sign = book.beat.map(|(_, at)| at).or(book.life);
        let silent = sign.map_or(u64::MAX, |at| s - at);
        let expires = zone.points.get(ZoneRole::HeatRequestPercent).and_then(|point| plant.point(point));
        let expires =
            expires.and_then(PointDef::commandable).and_then(|point| point.expires).map(|after| after.as_secs());
        let stale = said.mode == crate::decision::DemandMode::Percent
            && tick
            && said.request.is_some_and(|heat| heat.kw() > 0.0)
            && expires.is_some_and(|after| book.percent.is_some_and(|at| s - at > after));
        let follows = said.source == RequestSource::Bms;
        self.hold(Rule::Loss, s, !follows || silent <= lasts, || {
            format!("{name}: silent for {silent} s, and followed")
        });
        self.hold(Rule::Loss, s, !(follows && stale), || format!("{name}: an expired request is followed"));
        self.hold(Rule::Cause, s, !follows || book.asked, || format!("{name}: followed, and nobody asked"));

        // The ramp line: it runs ahead of the caps by what waits to be sent, at most: 20 s, a step more, and a deadband at
        // either end. Below idle power there is nothing to ramp through.
        let per_s = UP * rated;
        let most = (UP_APART + LONGEST) as f64 * per_s + 2.0 * DEADBAND * rated;
        let idle = sum(heaters(plant, zone).map(|heater| heater.idle.kw()));
        // A first request takes over what heaters are measured to draw, and may wait like any other step.
        let first = book.state == Some(ZoneState::Init) && said.state != ZoneState::Init;
        let told = |heater: &Heater| command(world, heater.id).map_or(0.0, |command| command.cap.kw());
        let power = |heater: &Heater| self.fresh(heater.points.get(HeaterRole::Power), s, 60).unwrap_or(told(heater));
        let drawn = || sum(heaters(plant, zone).map(|heater| power(heater).max(told(heater)).min(heater.rated.kw())));
        let taken = if first { Some((drawn(), s)) } else { book.taken.filter(|(_, at)| s - at < SETTLES) };
        let base = before.max(idle).max(taken.map_or(0.0, |(kw, _)| kw));
        let line = (book.line + dt.min(LONGEST) as f64 * per_s).max(if first { base } else { before }).min(base + most);
        let rise = cap - before;
        self.hold(Rule::RampLine, s, cap <= line.max(idle) + EPS, || {
            format!("{name}: from {before:.3} to {cap:.3} kW, the ramp line is at {line:.3} kW")
        });
        if rise > EPS {
            let apart = book.raised.map_or(u64::MAX, |at| s - at);
            self.hold(Rule::StepsUp, s, apart >= UP_APART, || format!("{name}: two steps up within {apart} s"));
            // Fresh cause: somebody who lives and asks, or a person who re-armed (which brings back the fallback, no more).
            let fallback = sum(heaters(plant, zone).map(|heater| heater.fallback.kw()));
            let asked = matches!(said.source, RequestSource::Bms | RequestSource::Manual);
            let rearmed = said.state == ZoneState::Init && cap <= fallback + EPS;
            self.hold(Rule::Cause, s, asked || rearmed, || {
                format!(
                    "{name}: from {before:.3} to {cap:.3} kW, {} follows {}",
                    said.state.as_str(),
                    said.source.as_str()
                )
            });
            let contact = zone
                .points
                .get(ZoneRole::EmergencyStop)
                .filter(|point| plant.point(*point).is_some_and(|def| def.commandable().is_none()));
            let known = contact.is_none() || self.fresh(contact, s, 60).is_some();
            self.hold(Rule::Cause, s, known, || format!("{name}: raised, and its stop cannot be read"));
            let other = zone.points.get(ZoneRole::OtherPower).filter(|_| book.limits.iter().any(Option::is_some));
            let known = other.is_none() || self.fresh(other, s, 60).is_some();
            self.hold(Rule::Cause, s, known, || format!("{name}: raised, and what others draw cannot be read"));
        }
        self.hold(Rule::Stop, s, !book.latched || cap == 0.0, || format!("{name}: {cap} kW while stopped"));
        self.hold(Rule::Stop, s, book.latched == (said.state == ZoneState::Safety), || {
            format!(
                "{name}: {} while the stop is {}",
                said.state.as_str(),
                if book.latched { "latched" } else { "clear" }
            )
        });

        let out = said.reasons.iter().any(|reason| matches!(reason, Reason::HeaterOut { .. } | Reason::NotRaised(_)));
        let settled = matches!(said.state, ZoneState::Heating | ZoneState::Limited)
            && zone.law.allocation == Allocation::Proportional
            && !said.reasons.iter().any(|reason| matches!(reason, Reason::Ramp { .. }));
        // A small change may wait for a step or two.
        let since = if settled && !out { book.settled.or(Some(s)) } else { None };
        if since.is_some_and(|since| s - since >= SETTLES) {
            let floor = idle.min(said.ceiling.kw()) - DEADBAND * rated;
            self.hold(Rule::Floor, s, cap + EPS >= floor, || format!("{name}: {cap} kW below the floor {floor} kW"));
        }
        if let Some(book) = self.zones.get_mut(at) {
            let asks = said.request.is_some_and(|heat| heat.kw() > 0.0);
            book.settled = since;
            book.taken = taken;
            book.line = line.max(if asks { idle } else { 0.0 });
            book.raised = if rise > EPS { Some(s) } else { book.raised };
            book.cap = cap;
            book.state = Some(said.state);
        }
    }

    fn figures(&mut self, said: &ZoneDecision, s: u64) {
        let eta = said.eta;
        self.hold(Rule::Finite, s, (0.70 - 1e-9..=1.02 + 1e-9).contains(&eta), || format!("efficiency {eta}"));
        let figures =
            [said.floor, said.ceiling, said.heat_available, said.heat_minimum, said.heat_undelivered, said.dump];
        let fine = figures.iter().all(|power| power.get().is_finite() && power.get() >= 0.0);
        let unmet = said.unmet_wh.iter().all(|wh| wh.is_finite() && *wh >= 0.0);
        self.hold(Rule::Finite, s, fine && unmet, || format!("figures {figures:?} {:?}", said.unmet_wh));
    }

    /// Caps against the ceilings of the books.
    fn ceilings(&mut self, world: &World) {
        let s = world.s;
        let caps: Vec<f64> = self.zones.iter().map(|book| book.cap).collect();
        for (zone, cap) in world.plant.zones.iter().zip(&caps) {
            let Some(book) = self.zones.get(usize::from(zone.id.0)) else { continue };
            let inlet = book.inlets.iter().flatten().copied().reduce(f64::max);
            let hot = factor(book.room, zone.room_limit)
                .min(factor(book.supply, zone.supply_limit))
                .min(factor(inlet, zone.inlet_limit));
            let limit =
                book.limits.iter().flatten().copied().reduce(f64::min).filter(|_| zone.law.shared_limit.is_none());
            let electrical =
                limit.map_or(f64::INFINITY, |limit| (limit * MARGIN - book.others.unwrap_or(0.0).max(0.0)).max(0.0));
            let allowed = electrical.min(zone.rated.kw() * hot);
            self.hold(Rule::Ceiling, s, *cap <= allowed + EPS, || {
                format!("{}: {cap} kW where {allowed} kW is allowed", zone.name)
            });
        }
        // What is shared holds for all of them together.
        let sharing = || world.plant.zones.iter().zip(&self.zones).filter(|(zone, _)| zone.law.shared_limit.is_some());
        let limit = sharing().flat_map(|(_, book)| book.limits).flatten().reduce(f64::min);
        if let Some(limit) = limit {
            let others = sum(sharing().filter_map(|(_, book)| book.others).map(|kw| kw.max(0.0)));
            let cap = sum(sharing().map(|(_, book)| book.cap));
            let allowed = (limit * MARGIN - others).max(0.0);
            self.hold(Rule::Ceiling, s, cap <= allowed + EPS, || {
                format!("{cap} kW together where {allowed} kW is allowed")
            });
        }
    }

    fn commands(&mut self, world: &World, dt: u64) {
        let s = world.s;
        for heater in &world.plant.heaters {
            let Some(command) = command(world, heater.id) else { continue };
            let (kw, rated) = (command.cap.kw(), heater.rated.kw());
            self.hold(Rule::Finite, s, kw.is_finite() && kw >= 0.0 && kw <= rated + EPS, || {
                format!("{kw} of {rated} kW")
            });
            let ttl = command.ttl.as_secs();
            self.hold(Rule::Lease, s, ttl > 0 && command.ttl <= heater.lease, || format!("a lease of {ttl} s"));
            let fallback = command.fallback;
            self.hold(Rule::Lease, s, fallback.get() <= command.cap.get() + 1e-6, || {
                format!("a lease ends at {fallback}")
            });
            let ramp = command.ramp_w_per_s;
            self.hold(Rule::Lease, s, ramp.is_finite() && ramp >= 0.0, || format!("a ramp of {ramp} W/s"));
            self.hold(Rule::Cause, s, !command.reasons.is_empty(), || "a command without a reason".to_owned());
            // However long nothing ran: at the first step after it, what is due has been renewed.
            let age = s.saturating_sub(command.issued.mono.secs() as u64);
            let due = REFRESH.min(heater.lease.as_secs() / 3);
            self.hold(Rule::Lease, s, age < due || dt == 0, || format!("not renewed for {age} s"));
        }
    }

    /// Staged heaters stay on and off for their times, unless something that waits for nothing takes them.
    fn times(&mut self, world: &World) {
        let (s, stalled) = (world.s, self.stalled);
        for (at, (zone, staged)) in world.plant.zones.iter().zip(world.staged()).enumerate() {
            if zone.law.allocation != Allocation::Staged {
                continue;
            }
            for (place, ((on, takes_part), id)) in staged.into_iter().zip(&zone.heaters).enumerate() {
                let Some(heater) = world.plant.heater(*id) else { continue };
                let cap = command(world, *id).map_or(0.0, |command| command.cap.kw());
                let rest = if heater.may_switch_off { 0.0 } else { heater.fallback.kw() };
                let Some(known) = self.zones.get_mut(at).and_then(|book| book.staged.get_mut(place)) else { continue };
                let (was, since) = known.unwrap_or((false, 0));
                let first = known.is_none();
                if on != was {
                    *known = Some((on, s));
                }
                let busy = self.zones.get_mut(at).and_then(|book| book.busy.get_mut(place)).map_or(s, |busy| {
                    *busy = if on || !takes_part || stalled > 0 { s } else { *busy };
                    *busy
                });
                let rests = s - busy < SETTLES || cap <= rest + UNEVEN * zone.rated.kw();
                self.hold(Rule::Times, s, rests, || format!("{} rests with {cap} kW", heater.name));
                if on == was {
                    continue;
                }
                let least = if on { MIN_OFF } else { MIN_ON };
                let kept = first || !takes_part || s - since >= least;
                let name = &heater.name;
                self.hold(Rule::Times, s, kept, || {
                    format!("{name} switched {} after {} s", if on { "on" } else { "off" }, s - since)
                });
            }
        }
    }
}

/// Nothing here is colder or hotter than this, degC.
const PLAUSIBLE: (f64, f64) = (-60.0, 200.0);

fn is_request(role: ZoneRole) -> bool {
    matches!(
        role,
        ZoneRole::HeatRequestPercent
            | ZoneRole::HeatRequestPower
            | ZoneRole::SupplyTemperatureSetpoint
            | ZoneRole::DemandMode
            | ZoneRole::Enable
    )
}

fn heaters<'a>(plant: &'a Plant, zone: &'a Zone) -> impl Iterator<Item = &'a Heater> {
    zone.heaters.iter().filter_map(|id| plant.heater(*id))
}

fn command(world: &World, id: crate::plant::HeaterId) -> Option<&Command> {
    world.decision.desired.commands.get(usize::from(id.0))?.as_ref()
}

fn factor(at: Option<f64>, limit: TemperatureLimit) -> f64 {
    let (soft, max) = (limit.soft.get(), limit.max.get());
    at.map_or(1.0, |at| ((max - at) / (max - soft)).clamp(0.0, 1.0))
}
