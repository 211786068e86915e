//! A shed through its life, with the time as argument.

use std::time::Duration;

use super::level::{Level, Scale};
use super::machine::{Change, DEFAULT_WINDOW, Shed, State, Wanted};
use crate::bacnet::civil::DateTime;
use crate::plant::ShedLevel;
use crate::time::{Mono, Now, Utc};
use crate::units::Watts;

/// 2025-11-24T16:00:00Z
const START: i64 = 1_764_000_000_000;

struct Bench {
    shed: Shed,
    now: Now,
}

fn scale() -> Scale {
    let row = |number, percent| ShedLevel { number, percent, text: String::new() };
    Scale {
        baseline: Watts::from_kw(60.0),
        floor: Watts::from_kw(6.0),
        levels: vec![row(1, 75.0), row(2, 50.0), row(3, 0.0)],
    }
}

fn at(minutes: i64) -> DateTime {
    DateTime::of(Utc::from_millis(START + minutes * 60_000))
}

impl Bench {
    fn new() -> Self {
        Self { shed: Shed::new(scale()), now: Now { mono: Mono::START, utc: Utc::from_millis(START) } }
    }

    fn write(&mut self, change: Change) -> State {
        self.shed.apply(&change, self.now);
        self.shed.state()
    }

    /// Let seconds pass at a power, kW.
    fn run(&mut self, seconds: u64, kw: f64) -> State {
        for _ in 0..seconds {
            self.now.mono = self.now.mono.after(Duration::from_secs(1));
            self.now.utc = Utc::from_millis(self.now.utc.millis() + 1_000);
            self.shed.step(Some(Watts::from_kw(kw)), self.now);
        }
        self.shed.state()
    }

    /// What a head-end writes: half an hour from a minute on.
    fn ask(&mut self, level: Level, from: i64) -> State {
        self.write(Change::Level(level));
        self.write(Change::Duration(30));
        self.write(Change::Start(at(from)))
    }
}

fn kw(kw: f64) -> Wanted {
    Wanted::AtMost(Watts::from_kw(kw))
}

#[test]
fn a_shed_is_pending_then_held_and_the_defaults_return_at_its_end() {
    let mut bench = Bench::new();
    assert_eq!((bench.run(10, 50.0), bench.shed.wanted()), (State::Inactive, Wanted::Untouched));
    assert_eq!(bench.ask(Level::Percent(50), 10), State::Pending);
    assert_eq!((bench.shed.expected(), bench.shed.actual()), (Level::Percent(50), Level::Percent(100)));
    assert_eq!(bench.shed.wanted(), Wanted::Untouched);
    assert_eq!(bench.run(589, 50.0), State::Pending);
    // it begins, the zone follows, and what it draws judges it
    assert_eq!((bench.run(1, 50.0), bench.shed.wanted()), (State::NonCompliant, kw(30.0)));
    assert_eq!(bench.shed.actual(), Level::Percent(84));
    assert_eq!(bench.run(60, 29.0), State::Compliant);
    assert_eq!(bench.run(1_739, 29.0), State::Compliant);
    assert_eq!(bench.shed.actual(), Level::Percent(49));
    assert_eq!((bench.run(1, 29.0), bench.shed.wanted()), (State::Inactive, Wanted::Nothing));
    let request = bench.shed.request;
    assert_eq!((request.level, request.duration, request.window), (Level::Percent(100), 0, DEFAULT_WINDOW));
    assert!(request.start.is_any());
    assert_eq!((bench.shed.expected(), bench.shed.actual()), (Level::Percent(100), Level::Percent(100)));
}

#[test]
fn once_a_duty_window_is_full_its_mean_judges() {
    let mut bench = Bench::new();
    bench.write(Change::Window(5));
    assert_eq!(bench.ask(Level::Amount(30.0), 0), State::NonCompliant);
    assert_eq!(bench.run(301, 30.0), State::Compliant);
    // a short peak is paid for by the rest of the window, a long one is not
    assert_eq!(bench.run(5, 60.0), State::Compliant);
    assert_eq!(bench.run(30, 60.0), State::NonCompliant);
    assert_eq!(bench.run(60, 10.0), State::Compliant);
    assert_eq!(bench.run(400, 20.0), State::Compliant);
    assert_eq!(bench.shed.actual(), Level::Amount(40.0));
    // what cannot be measured is not complied with
    bench.now.mono = bench.now.mono.after(Duration::from_secs(1));
    bench.shed.step(None, bench.now);
    assert_eq!(bench.shed.state(), State::NonCompliant);
    assert!(!bench.shed.is_measured());
    assert_eq!(bench.shed.wanted(), kw(30.0));
}

#[test]
fn more_than_the_zone_can_shed_is_said_and_asked_for_all_the_same() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Level::Step(7), 0), State::NonCompliant);
    // no such level: the next lower one
    assert_eq!(bench.shed.wanted(), kw(0.0));
    assert_eq!(bench.shed.expected(), Level::Step(2));
    assert_eq!(bench.run(60, 6.0), State::NonCompliant);
    assert_eq!(bench.shed.actual(), Level::Step(2));
    assert!(bench.shed.describe().contains("cannot go below 6.0 kW"), "{}", bench.shed.describe());
}

#[test]
fn the_order_of_the_parts_does_not_matter() {
    let parts = [Change::Level(Level::Step(2)), Change::Start(at(0)), Change::Duration(30)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = Bench::new();
        for part in order {
            assert_eq!(bench.shed.wanted(), Wanted::Untouched);
            bench.write(parts[part].clone());
        }
        assert_eq!((bench.shed.state(), bench.shed.wanted()), (State::NonCompliant, kw(30.0)), "{order:?}");
    }
}

#[test]
fn a_request_is_cancelled_by_its_default_by_no_start_or_by_disabling() {
    for cancel in [Change::Level(Level::Percent(100)), Change::Start(DateTime::ANY), Change::Enable(false)] {
        for from in [0, 10] {
            let mut bench = Bench::new();
            bench.ask(Level::Percent(50), from);
            assert_eq!(bench.write(cancel.clone()), State::Inactive, "{cancel:?}");
            assert_eq!(bench.shed.wanted(), Wanted::Nothing);
            assert_eq!((bench.shed.request.level, bench.shed.request.duration), (Level::Percent(100), 0));
            assert_eq!(bench.run(3_600, 50.0), State::Inactive);
        }
    }
    // one whose time has passed is over before it began
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Level::Percent(50), -31), State::Inactive);
    assert_eq!(bench.ask(Level::Percent(50), -29), State::NonCompliant);
    assert_eq!((bench.run(61, 20.0), bench.shed.wanted()), (State::Inactive, Wanted::Nothing));
}

#[test]
fn a_disabled_object_ignores_requests_until_it_is_enabled() {
    let mut bench = Bench::new();
    bench.write(Change::Enable(false));
    assert_eq!(bench.ask(Level::Percent(50), 0), State::Inactive);
    assert_eq!((bench.run(60, 50.0), bench.shed.wanted()), (State::Inactive, Wanted::Nothing));
    assert_eq!(bench.write(Change::Enable(true)), State::NonCompliant);
}

#[test]
fn asked_anew_it_goes_over_without_a_gap_and_a_half_written_request_still_ends() {
    let mut bench = Bench::new();
    bench.ask(Level::Percent(50), 0);
    bench.run(60, 20.0);
    bench.write(Change::Level(Level::Percent(25)));
    assert_eq!((bench.shed.wanted(), bench.shed.state()), (kw(15.0), State::NonCompliant));
    // later: what is shed now ends, what is asked for later stands
    bench.write(Change::Start(at(20)));
    assert_eq!((bench.shed.wanted(), bench.shed.state()), (Wanted::Nothing, State::Pending));
    bench.run(20 * 60, 20.0);
    assert_eq!(bench.shed.wanted(), kw(15.0));
    // without a duration it is no request, but what is in force must not last for ever
    bench.write(Change::Duration(0));
    assert_eq!((bench.shed.wanted(), bench.shed.state()), (kw(15.0), State::Pending));
    bench.run(30 * 60, 20.0);
    assert_eq!((bench.shed.wanted(), bench.shed.state()), (Wanted::Nothing, State::Inactive));
}

#[test]
fn a_clock_that_is_set_neither_prolongs_nor_cuts_a_shed() {
    for hours in [-24, 24] {
        let mut bench = Bench::new();
        bench.ask(Level::Percent(50), 0);
        bench.now.utc = Utc::from_millis(bench.now.utc.millis() + hours * 3_600_000);
        assert_eq!((bench.run(30 * 60 - 1, 20.0), bench.shed.wanted()), (State::Compliant, kw(30.0)));
        assert_eq!(bench.run(1, 20.0), State::Inactive);
    }
}

#[test]
fn after_a_restart_it_goes_on_or_has_ended_meanwhile() {
    let mut bench = Bench::new();
    bench.ask(Level::Percent(50), 0);
    let (request, active) = (bench.shed.request, bench.shed.is_active());
    let restart = |minutes: i64| {
        let now = Now { mono: Mono::START, utc: Utc::from_millis(START + minutes * 60_000) };
        let mut shed = Shed::new(scale());
        shed.restore(request, active, now);
        Bench { shed, now }
    };
    let mut within = restart(10);
    assert_eq!(within.shed.wanted(), kw(30.0));
    assert_eq!(within.run(20 * 60 - 1, 20.0), State::Compliant);
    assert_eq!((within.run(1, 20.0), within.shed.wanted()), (State::Inactive, Wanted::Nothing));
    let mut late = restart(40);
    assert_eq!((late.run(1, 20.0), late.shed.wanted()), (State::Inactive, Wanted::Nothing));
    // a clock that lost its battery: the shed had begun, so it binds, for its whole length at most
    let mut lost = restart(-500_000);
    assert_eq!((lost.run(29 * 60, 20.0), lost.shed.wanted()), (State::Compliant, kw(30.0)));
    assert_eq!((lost.run(60, 20.0), lost.shed.wanted()), (State::Inactive, Wanted::Nothing));
    // nothing known: what is in force stays, until a cancellation says otherwise
    let mut unknown = Bench::new();
    unknown.run(3_600, 20.0);
    assert_eq!(unknown.shed.wanted(), Wanted::Untouched);
    unknown.write(Change::Level(Level::Step(0)));
    assert_eq!(unknown.shed.wanted(), Wanted::Nothing);
}
