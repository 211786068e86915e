//! Several zones under one limit, staged heaters, and what summer does to sold compute.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, INPUTS, add, near, plant};
use crate::control::Settings;
use crate::decision::{Ceiling, Reason, ZoneState};
use crate::plant::{Allocation, Commandable, HeaterId, Plant, Roles, Source, Zone, ZoneId, ZoneRole};
use crate::point::{PriorityArray, Reading, Value};
use crate::time::Now;
use crate::units::Watts;

/// The hall with racks 0 and 1, and a loop with racks 2 and 3, under one limit.
fn two_zones() -> Plant {
    let mut plant = plant();
    let mut points = Roles::default();
    for (role, default) in INPUTS {
        let command = Commandable {
            relinquish_default: Value::from_f64(role.kind(), default).unwrap(),
            expires: None,
            persist: false,
            mqtt_set: false,
            momentary: false,
        };
        let key = format!("loop/{}", role.as_str());
        let id = add(&mut plant, key, role.kind(), role.quantity(), Source::Command(command));
        if default.abs() > 3000.0 {
            plant.points[id.index()].absent = Some(default);
        }
        points.bind(role, id);
    }
    let hall = &mut plant.zones[0];
    hall.heaters = vec![HeaterId(0), HeaterId(1)];
    (hall.rated, hall.nominal_heat) = (Watts::from_kw(40.0), Watts::from_kw(38.0));
    hall.meter = None;
    hall.law.shared_limit = Some("grid".into());
    let other = Zone {
        id: ZoneId(1),
        name: "loop".into(),
        index: 1,
        heaters: vec![HeaterId(2), HeaterId(3)],
        rated: Watts::from_kw(20.0),
        nominal_heat: Watts::from_kw(19.0),
        points,
        ..hall.clone()
    };
    plant.zones.push(other);
    for heater in &mut plant.heaters {
        heater.zone = ZoneId(u16::from(heater.id.0 > 1));
    }
    plant
}

fn write(bench: &mut Bench, zone: usize, role: ZoneRole, number: f64) {
    let point = bench.plant.zones[zone].points.get(role).unwrap();
    let value = Value::from_f64(role.kind(), number).unwrap();
    let (now, plant): (Now, Arc<Plant>) = (bench.now, Arc::clone(&bench.plant));
    let state = bench.image.get_mut(point).unwrap();
    state.slots = Some(Arc::new(PriorityArray::default()));
    state.bms_write = Some(now);
    let absent = plant.points[point.index()].absent == Some(number);
    let reading = if absent { Reading::Bad(crate::point::Fault::Absent) } else { Reading::Good(value) };
    bench.put(point, reading);
}

fn ask(bench: &mut Bench, percent: [f64; 2]) {
    for (zone, percent) in percent.into_iter().enumerate() {
        write(bench, zone, ZoneRole::Enable, 1.0);
        write(bench, zone, ZoneRole::HeatRequestPercent, percent);
    }
}

fn caps(bench: &Bench) -> [f64; 2] {
    std::array::from_fn(|zone| bench.last.zones[zone].cap.kw())
}

#[test]
fn a_shared_limit_is_split_by_need_and_never_exceeded() {
    let mut bench = Bench::of(two_zones(), Settings::default(), Vec::new());
    bench.run(20);
    write(&mut bench, 0, ZoneRole::ElectricalLimit, 40.0);
    ask(&mut bench, [100.0, 100.0]);
    for tick in 0..60 {
        ask(&mut bench, [100.0, 100.0]);
        bench.tick(10);
        assert!(caps(&bench).iter().sum::<f64>() <= 38.8 + 1e-6, "{:?} at tick {tick}", caps(&bench));
    }
    let [hall, other] = caps(&bench);
    assert!((hall - 38.8 * 2.0 / 3.0).abs() < 0.5 && (other - 38.8 / 3.0).abs() < 0.5, "{hall} {other}");
    assert!(bench.last.zones[1].reasons.iter().any(|reason| matches!(
        reason,
        Reason::Ceiling { by: Ceiling::SharedLimit { limit }, .. } if *limit == Watts::from_kw(40.0)
    )));
    assert_eq!(bench.last.zones[1].state, ZoneState::Limited);
    // The loop needs less: the hall may have it; and gives it back at once.
    for percent in [30.0, 100.0] {
        for tick in 0..60 {
            ask(&mut bench, [100.0, percent]);
            bench.tick(10);
            assert!(caps(&bench).iter().sum::<f64>() <= 38.8 + 1e-6, "{:?} at tick {tick}", caps(&bench));
        }
        let [hall, other] = caps(&bench);
        if percent < 50.0 {
            assert!(hall > 31.0 && near(other, 6.0), "{hall} {other}");
        } else {
            assert!(hall < 26.5 && other > 12.0, "{hall} {other}");
        }
    }
    // A lower limit given to the other zone rules both.
    write(&mut bench, 1, ZoneRole::RemoteLimit, 20.0);
    bench.step();
    assert!(caps(&bench).iter().sum::<f64>() <= 19.4 + 1e-6, "{:?}", caps(&bench));
}

#[test]
fn a_shared_limit_that_cannot_be_read_holds_everybody() {
    let mut plant = two_zones();
    let limit = plant.zones[1].points.get(ZoneRole::ElectricalLimit).unwrap();
    plant.points[limit.index()].source = Source::Device(crate::plant::DeviceId(0));
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench.put(limit, Reading::Bad(crate::point::Fault::NeverRead));
    bench.image.get_mut(limit).unwrap().last = None;
    ask(&mut bench, [100.0, 100.0]);
    bench.run(120);
    assert!(caps(&bench).iter().sum::<f64>() <= 15.0 + 1e-6, "{:?}", caps(&bench));
}

fn staged() -> Bench {
    let mut plant = plant();
    plant.zones[0].law.allocation = Allocation::Staged;
    for heater in &mut plant.heaters {
        heater.may_switch_off = true;
        heater.fallback = Watts::ZERO;
    }
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench
}

fn running(bench: &Bench) -> usize {
    bench.caps().iter().filter(|cap| **cap > 0.1).count()
}

#[test]
fn staged_heaters_carry_what_is_asked_with_as_few_as_do() {
    let mut bench = staged();
    bench.ask_percent(28.0);
    bench.run(600);
    assert!(running(&bench) < 4, "{:?}", bench.caps());
    assert!(near(bench.cap(), 16.8), "{}", bench.cap());
    bench.ask_percent(90.0);
    bench.run(600);
    assert_eq!(running(&bench), 4);
    assert!(near(bench.cap(), 54.0), "{}", bench.cap());
    bench.ask_percent(15.0);
    bench.run(2 * 3600);
    assert!(running(&bench) <= 2, "{:?}", bench.caps());
    assert!(near(bench.cap(), 9.0), "{}", bench.cap());
    bench.ask_percent(0.0);
    bench.run(1200);
    assert_eq!(running(&bench), 0);
}

#[test]
fn an_emergency_stop_waits_for_no_time_on() {
    let mut bench = staged();
    bench.ask_percent(50.0);
    bench.run(300);
    bench.write(ZoneRole::EmergencyStop, 1.0);
    bench.step();
    assert_eq!(bench.caps(), [0.0; 4]);
}

#[test]
fn a_staged_heater_that_is_lost_is_replaced() {
    let mut bench = staged();
    bench.ask_percent(28.0);
    bench.run(900);
    let lost = bench.caps().iter().position(|cap| *cap > 0.1).unwrap();
    bench.heard[lost] = false;
    bench.run(900);
    let others: f64 = bench.caps().iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, cap)| cap).sum();
    assert!(near(others, 16.8), "{:?}", bench.caps());
}

#[test]
fn in_summer_sold_compute_runs_as_far_as_its_heat_is_wanted_or_given_away() {
    let mut plant = plant();
    plant.zones[0].contracted = Watts::from_kw(24.0);
    plant.zones[0].law.summer_dump = Watts::from_kw(9.5);
    for heater in &mut plant.heaters {
        heater.may_switch_off = true;
        heater.fallback = Watts::ZERO;
    }
    // The season stands where a test can write it.
    let season = plant.zones[0].points.get(ZoneRole::BmsTimeout).unwrap();
    plant.points[season.index()].kind = crate::point::Kind::State;
    plant.zones[0].points.bind(ZoneRole::Season, season);
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    let put = |bench: &mut Bench, code| bench.put(season, Reading::Good(Value::State(code)));
    bench.run(20);
    put(&mut bench, 1);
    bench.ask_percent(0.0);
    bench.run(900);
    assert_eq!(bench.cap(), 24.0, "in winter all of it runs");
    put(&mut bench, 2);
    let zone = bench.run(300).clone();
    assert!(near(bench.cap(), 10.0), "{}", bench.cap());
    assert!(zone.reasons.iter().any(|reason| matches!(reason, Reason::SoldComputeHeld { .. })));
    assert_eq!(zone.state, ZoneState::Dump);
    bench.ask_percent(50.0);
    bench.run(900);
    assert!(near(bench.cap(), 30.0), "what is asked is given in summer too: {}", bench.cap());
}

#[test]
fn a_zone_without_heaters_decides_without_harm() {
    let mut plant = plant();
    plant.zones[0].heaters.clear();
    plant.zones[0].rated = Watts::ZERO;
    plant.zones[0].nominal_heat = Watts::ZERO;
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.ask_percent(100.0);
    for _ in 0..100 {
        bench.now.mono = bench.now.mono.after(Duration::from_secs(10));
        let zone = bench.step().clone();
        assert_eq!((zone.cap, zone.heat_available), (Watts::ZERO, Watts::ZERO));
        assert!(zone.eta.is_finite());
    }
}

#[test]
fn a_clock_that_stands_still_or_leaps_makes_no_leap_of_power() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(100.0);
    bench.tick(10);
    let before = bench.cap();
    for _ in 0..50 {
        bench.step();
    }
    assert!(bench.cap() <= before + 1e-9, "time stood still");
    bench.tick(100_000);
    assert!(bench.cap() <= before + 4.0 + 1e-6, "{} after {before}", bench.cap());
    // Civil time may go backwards: nothing depends on it.
    bench.now.utc = crate::time::Utc::from_millis(-5);
    assert!(bench.run(10).cap.get().is_finite());
}

#[test]
fn negative_and_impossible_requests_are_no_requests() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.write(ZoneRole::Enable, 1.0);
    for (mode, role, number) in [
        (2.0, ZoneRole::HeatRequestPercent, -20.0),
        (2.0, ZoneRole::HeatRequestPercent, 180.0),
        (3.0, ZoneRole::HeatRequestPower, -5.0),
        (3.0, ZoneRole::HeatRequestPower, 900.0),
    ] {
        bench.write(ZoneRole::DemandMode, mode);
        bench.write(role, number);
        let zone = bench.run(120);
        assert_eq!(zone.state, ZoneState::Init, "{role:?} {number}");
        assert_eq!(bench.cap(), 15.0);
    }
}
