//! Random traces of control alone, with readings that no engine would pass on (`simulate::traces` has the volume, through
//! the engine): whatever happens, no cap above what is allowed, above the ramp line, or raised by what is missing.
//!
//! The checker keeps its own books of limits and temperatures; it does not read them from the decision.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::bench::{Bench, RATED_KW, at, plant};
use crate::control::Settings;
use crate::decision::{Alarm, RequestSource, ZoneState};
use crate::plant::{Allocation, BmsLossPolicy, HeaterRole, MeterRole, ZoneRole};
use crate::point::{Fault, Reading, Value};

/// Arithmetic, and changes too small to be sent, kW.
const EPS: f64 = 0.001;
const UP_KW_PER_S: f64 = 0.2 * 60.0 / 60.0;
const DEADBAND_KW: f64 = 0.6;
const UP_APART_S: u64 = 20;

#[derive(Debug, Clone)]
enum Event {
    Percent(f64),
    Power(f64),
    Mode(u16),
    Enable(bool),
    Limit(usize, Option<f64>),
    BadLimit(usize),
    ExpireLimit(usize),
    BadRequest(f64),
    ExpireRequest,
    Room(Option<f64>),
    BadRoom,
    Inlet(usize, f64),
    BadInlet(usize),
    Supply(f64),
    Silent(usize),
    NoAcks(usize),
    State(usize, u16),
    Stop(bool),
    BadStop,
    Rearm,
    Building(bool),
    Beat(u32),
    Force(f64),
    Release,
    Reset,
    Meter(Option<f64>),
    Jobs(f64),
    Season(u16),
    Jump(u64),
    Nothing,
}

const LIMITS: [ZoneRole; 3] = [ZoneRole::ElectricalLimit, ZoneRole::LoadControlLimit, ZoneRole::RemoteLimit];

fn event() -> impl Strategy<Value = Event> {
    use Event as E;
    prop_oneof![
        8 => (0.0..=100.0f64).prop_map(E::Percent),
        2 => (0.0..=57.0f64).prop_map(E::Power),
        2 => (1u16..=5).prop_map(E::Mode),
        2 => any::<bool>().prop_map(E::Enable),
        3 => (0usize..3, prop::option::of(0.0..90.0f64)).prop_map(|(l, v)| E::Limit(l, v)),
        3 => (0usize..3).prop_map(E::BadLimit),
        2 => (0usize..3).prop_map(E::ExpireLimit),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 101.0, 6553.5]).prop_map(E::BadRequest),
        1 => Just(E::ExpireRequest),
        2 => prop::option::of(15.0..33.0f64).prop_map(E::Room),
        1 => Just(E::BadRoom),
        1 => (0usize..4, 20.0..36.0f64).prop_map(|(h, t)| E::Inlet(h, t)),
        1 => (0usize..4).prop_map(E::BadInlet),
        1 => (40.0..61.0f64).prop_map(E::Supply),
        2 => (0usize..4).prop_map(E::Silent),
        1 => (0usize..4).prop_map(E::NoAcks),
        1 => (0usize..4, 1u16..=6).prop_map(|(h, s)| E::State(h, s)),
        1 => any::<bool>().prop_map(E::Stop),
        1 => Just(E::BadStop),
        2 => Just(E::Rearm),
        2 => any::<bool>().prop_map(E::Building),
        1 => (0u32..5).prop_map(E::Beat),
        1 => (0.0..=100.0f64).prop_map(E::Force),
        2 => Just(E::Release),
        1 => Just(E::Reset),
        2 => prop::option::of(prop_oneof![0.0..60.0f64, Just(-7.0), Just(1e6), Just(f64::NAN)]).prop_map(E::Meter),
        1 => (0.0..=1.0f64).prop_map(E::Jobs),
        1 => (1u16..=3).prop_map(E::Season),
        1 => prop::sample::select(vec![0u64, 1, 300, 5_000, 1_000_000]).prop_map(E::Jump),
        30 => Just(E::Nothing),
    ]
}

/// What the checker knows by itself.
struct Books {
    limits: [Option<f64>; 3],
    room: Option<f64>,
    supply: Option<f64>,
    inlets: [Option<f64>; 4],
    /// Somebody asked since the start, or since a person re-armed.
    asked: bool,
    states: [u16; 4],
    line: f64,
    cap: f64,
    raised: Option<u64>,
    /// Whether each heater was staged, and since when.
    staged: [Option<(bool, u64)>; 4],
}

impl Books {
    fn allowed(&self) -> f64 {
        let factor =
            |t: Option<f64>, soft: f64, max: f64| t.map_or(1.0, |t| ((max - t) / (max - soft)).clamp(0.0, 1.0));
        let inlet = self.inlets.iter().flatten().copied().reduce(f64::max);
        let hot = factor(self.room, 28.0, 32.0).min(factor(self.supply, 55.0, 60.0)).min(factor(inlet, 32.0, 35.0));
        self.limits.iter().flatten().fold(60.0 * hot, |least, limit| least.min(0.97 * limit))
    }
}

fn apply(bench: &mut Bench, books: &mut Books, event: &Event) {
    let percent = bench.point(ZoneRole::HeatRequestPercent);
    let supply = bench.plant.meters[0].points.get(MeterRole::Supply).unwrap();
    match *event {
        Event::Percent(p) => bench.write(ZoneRole::HeatRequestPercent, p),
        Event::Power(q) => bench.write(ZoneRole::HeatRequestPower, q),
        Event::Mode(mode) => bench.write(ZoneRole::DemandMode, f64::from(mode)),
        Event::Enable(on) => bench.write(ZoneRole::Enable, f64::from(u8::from(on))),
        Event::Limit(which, kw) => {
            books.limits[which] = kw;
            bench.write(LIMITS[which], kw.unwrap_or(6553.5));
        }
        Event::BadLimit(which) => bench.put(bench.point(LIMITS[which]), Reading::Bad(Fault::NoCommunication)),
        Event::ExpireLimit(which) => {
            if books.limits[which].is_some() && bench.image.reading(bench.point(LIMITS[which])).value().is_some() {
                bench.expire(LIMITS[which]);
            }
        }
        Event::BadRequest(number) => bench.put(percent, Reading::number(number)),
        Event::ExpireRequest => {
            if bench.image.reading(percent).value().is_some() {
                bench.expire(ZoneRole::HeatRequestPercent);
            }
        }
        Event::Room(t) => {
            books.room = t.or(books.room);
            bench.write(ZoneRole::RoomTemperature, t.unwrap_or(-3276.8));
        }
        Event::BadRoom => bench.put(bench.point(ZoneRole::RoomTemperature), Reading::number(f64::NAN)),
        Event::Inlet(heater, t) => {
            books.inlets[heater] = Some(t);
            bench.number(bench.heater_point(heater, HeaterRole::Inlet), t);
        }
        Event::BadInlet(heater) => {
            bench.put(bench.heater_point(heater, HeaterRole::Inlet), Reading::Bad(Fault::Missing));
        }
        Event::Supply(t) => {
            books.supply = Some(t);
            bench.number(supply, t);
        }
        Event::Silent(heater) => bench.heard[heater] = !bench.heard[heater],
        Event::NoAcks(heater) => bench.acks[heater] = !bench.acks[heater],
        Event::State(heater, state) => books.states[heater] = state,
        Event::Stop(on) => bench.write(ZoneRole::EmergencyStop, f64::from(u8::from(on))),
        Event::BadStop => bench.put(bench.point(ZoneRole::EmergencyStop), Reading::Bad(Fault::NeverRead)),
        Event::Rearm => {
            let _ = bench.control.rearm(crate::plant::ZoneId(0), bench.now, &bench.image);
        }
        Event::Building(alive) => bench.bms = alive,
        Event::Beat(beat) => bench.write(ZoneRole::BmsHeartbeat, f64::from(beat)),
        Event::Force(p) => bench.force(ZoneRole::HeatRequestPercent, p),
        Event::Release => bench.release(ZoneRole::HeatRequestPercent),
        Event::Meter(kw) => bench.meter = kw,
        Event::Jobs(share) => bench.jobs = Some(RATED_KW.map(|kw| kw * share)),
        Event::Season(code) => bench.season = Some(code),
        Event::Jump(seconds) => bench.jump = seconds,
        Event::Reset => bench.put(bench.point(ZoneRole::FaultReset), Reading::Good(Value::Bool(true))),
        Event::Nothing => {}
    }
    books.asked |=
        matches!(event, Event::Percent(_) | Event::Power(_) | Event::Mode(_) | Event::Enable(_) | Event::Force(_));
}

fn check(bench: &Bench, books: &mut Books, dt: u64) -> Result<(), TestCaseError> {
    let zone = bench.zone();
    let (cap, before) = (bench.caps_kw().iter().sum::<f64>(), books.cap);
    let s = bench.now.mono.since(at(0).mono).as_secs();
    for (heater, kw) in bench.caps_kw().iter().zip(RATED_KW) {
        prop_assert!(heater.is_finite() && *heater >= 0.0 && *heater <= kw + EPS, "{heater} of {kw} kW");
    }
    prop_assert!((zone.cap.kw() - cap).abs() < EPS);
    prop_assert!(cap <= books.allowed() + EPS, "{cap} kW where {} kW is allowed", books.allowed());
    prop_assert!(cap <= zone.ceiling.kw() + EPS);
    prop_assert!(books.asked || cap <= 15.0 + EPS, "{cap} kW and nobody has asked");
    if zone.state == ZoneState::Safety {
        prop_assert!(cap == 0.0, "{cap} kW while stopped");
    }

    check_leases(bench)?;
    check_times(bench, books, s)?;
    // No building that is silent is followed.
    let life = bench.plant.points.iter().filter_map(|def| bench.image.get(def.id)?.bms_write).map(|at| at.mono).max();
    let silent = life.map_or(u64::MAX, |at| bench.now.mono.since(at).as_secs());
    prop_assert!(
        zone.source != RequestSource::Bms || silent <= 310,
        "silent for {silent} s, and its request is followed"
    );
    prop_assert!(zone.eta.is_finite() && (0.70 - 1e-9..=1.02 + 1e-9).contains(&zone.eta), "{}", zone.eta);
    for power in [zone.floor, zone.ceiling, zone.heat_available, zone.heat_undelivered, zone.dump] {
        prop_assert!(power.get().is_finite() && power.get() >= 0.0, "{power}");
    }

    // The ramp line: it runs ahead of the caps by what waits to be sent, at most.
    // A first request takes over what the heaters draw; below idle power there is nothing to ramp through.
    let reach = books.line + UP_KW_PER_S * dt.min(20) as f64;
    prop_assert!(cap <= reach.max(15.0) + EPS, "{cap} kW above the ramp line {reach} kW");
    let lead = UP_KW_PER_S * (UP_APART_S + 20) as f64 + DEADBAND_KW;
    let on = if zone.request.is_some_and(|heat| heat.kw() > 0.0) { 15.0 } else { 0.0 };
    books.line = reach.min(cap + lead).max(cap).max(on);

    let nobody =
        zone.source != RequestSource::Manual && zone.alarms.has(Alarm::BmsLost) && zone.state != ZoneState::Init;
    let unusable = zone.state == ZoneState::Failsafe;
    prop_assert!(!(nobody || unusable) || cap <= before + EPS, "raised from {before} to {cap} kW without a request");
    if cap > before + EPS {
        prop_assert!(books.raised.is_none_or(|last| s - last >= UP_APART_S), "two steps up within 20 s");
        books.raised = Some(s);
    }
    // What is asked is held up by idle power, unless a ceiling is lower.
    let proportional = bench.plant.zones[0].law.allocation == Allocation::Proportional;
    let settled =
        proportional && matches!(zone.state, ZoneState::Heating | ZoneState::Limited) && !bench.control.ramping();
    let idle: f64 = bench.plant.heaters.iter().map(|heater| heater.idle.kw()).sum();
    let all_in = !zone.reasons.iter().any(|reason| {
        matches!(reason, crate::decision::Reason::HeaterOut { .. } | crate::decision::Reason::NotRaised(_))
    });
    // The next step up waits until 20 s after the last.
    let waits = books.raised.is_some_and(|last| s - last < UP_APART_S);
    if settled && all_in && !waits {
        prop_assert!(cap + DEADBAND_KW + EPS >= idle.min(zone.ceiling.kw()), "{cap} kW below the floor");
    }
    books.cap = cap;
    Ok(())
}

/// Every lease is bounded, and ends no higher than it was.
fn check_leases(bench: &Bench) -> Result<(), TestCaseError> {
    for command in bench.last.desired.commands.iter().flatten() {
        prop_assert!(command.ttl.as_secs() > 0 && command.ttl.as_secs() <= 180, "{:?}", command.ttl);
        prop_assert!(command.fallback.get() <= command.cap.get() + 1e-6, "{} above {}", command.fallback, command.cap);
        prop_assert!(command.ramp_w_per_s.is_finite() && command.ramp_w_per_s >= 0.0);
        prop_assert!(!command.reasons.is_empty(), "a command without a reason");
    }
    Ok(())
}

/// Staged heaters stay on and off for their times, unless something that waits for nothing takes them.
fn check_times(bench: &Bench, books: &mut Books, s: u64) -> Result<(), TestCaseError> {
    let staged = bench.control.staged().swap_remove(0);
    for (place, now) in books.staged.iter_mut().zip(staged) {
        match *place {
            Some((before, since)) if before != now.0 => {
                let least = if now.0 { 600 } else { 900 };
                prop_assert!(!now.1 || s - since >= least, "switched after {} s", s - since);
                *place = Some((now.0, s));
            }
            Some(_) => {}
            // The first switching waits for nothing.
            None if now.0 => *place = Some((true, s)),
            None => {}
        }
    }
    Ok(())
}

fn policy() -> impl Strategy<Value = BmsLossPolicy> {
    let minute = std::time::Duration::from_secs(60);
    prop_oneof![
        Just(BmsLossPolicy::Cancel),
        Just(super::bench::hold()),
        Just(BmsLossPolicy::Fallback { percent: 70.0, for_: minute * 3 }),
    ]
}

fn any_trace() -> impl Strategy<Value = Vec<(u64, Event)>> {
    prop::collection::vec((prop_oneof![4 => Just(10u64), 1 => 0u64..30], event()), 1..200)
}

fn run(policy: BmsLossPolicy, off: [bool; 4], staged: bool, trace: &[(u64, Event)]) -> Result<(), TestCaseError> {
    let mut plant = plant();
    plant.zones[0].on_bms_loss = policy;
    if staged {
        plant.zones[0].law.allocation = Allocation::Staged;
    }
    for (heater, off) in plant.heaters.iter_mut().zip(off) {
        heater.may_switch_off = off;
    }
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    let mut books = Books {
        limits: [None; 3],
        room: None,
        supply: None,
        inlets: [None; 4],
        asked: false,
        states: [1; 4],
        line: 15.0,
        cap: 15.0,
        raised: None,
        staged: [None; 4],
    };
    for (dt, event) in trace {
        apply(&mut bench, &mut books, event);
        bench.states = books.states;
        let dt = dt + std::mem::take(&mut bench.jump);
        bench.tick(dt);
        if matches!(event, Event::Reset) {
            bench.put(bench.point(ZoneRole::FaultReset), Reading::Good(Value::Bool(false)));
        }
        check(&bench, &mut books, dt)?;
    }
    Ok(())
}

/// The same traces in every run: `cargo bench --bench control_study -- traces` goes through others.
#[test]
fn no_cap_outside_its_bounds() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let traces = (policy(), prop::array::uniform4(any::<bool>()), any::<bool>(), any_trace());
    runner.run(&traces, |(policy, off, staged, trace)| run(policy, off, staged, &trace)).unwrap();
}
