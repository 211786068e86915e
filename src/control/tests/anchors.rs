//! From request to cap, with figures.

use super::bench::{Bench, all_near, near};
use crate::control::{RearmRefusal, Settings};
use crate::decision::{Alarm, Ceiling, FailSafe, Reason, RequestSource, Shortfall, ZoneState};
use crate::plant::{DeviceId, HeaterRole, MeterRole, Source, ZoneId, ZoneRole};
use crate::point::{Doubt, Fault, Reading, Value};
use crate::units::Watts;

#[test]
fn after_a_start_caps_are_fail_safe_until_somebody_asks() {
    let mut bench = Bench::new();
    assert_eq!(bench.caps(), [5.0, 5.0, 2.5, 2.5]);
    let zone = bench.run(120);
    assert_eq!((zone.state, zone.source, zone.request), (ZoneState::Init, RequestSource::None, None));
    assert!(zone.reasons.contains(&Reason::FailSafe(FailSafe::Boot)));
    assert_eq!(bench.cap(), 15.0);
    bench.ask_percent(0.0);
    assert_eq!(bench.run(10).state, ZoneState::Standby);
}

#[test]
fn half_of_nominal_heat_is_thirty_kilowatts_shared_in_proportion() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    let zone = bench.run(20);
    assert_eq!(zone.state, ZoneState::Starting);
    assert!(bench.cap() <= 15.0 + 12.0 * 20.0 / 60.0 + 1e-6);
    let zone = bench.run(300).clone();
    assert!(all_near(&bench.caps(), &[10.0, 10.0, 5.0, 5.0]), "{:?}", bench.caps());
    assert_eq!((zone.state, zone.source), (ZoneState::Heating, RequestSource::Bms));
    assert_eq!(zone.request, Some(Watts::from_kw(28.5)));
    let kinds: Vec<_> = bench.command(0).reasons.iter().map(std::mem::discriminant).collect();
    let of = |reason: Reason| std::mem::discriminant(&reason);
    assert_eq!(kinds[0], of(Reason::Request { mode: zone.mode, heat: Watts::ZERO, source: zone.source }));
    assert_eq!(kinds[1], of(Reason::FeedForward { eta: 0.0, power: Watts::ZERO }));
}

#[test]
fn an_electrical_limit_of_twenty_is_nineteen_point_four_at_once() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.write(ZoneRole::ElectricalLimit, 20.0);
    let zone = bench.step().clone();
    assert_eq!(bench.cap(), 19.4);
    assert_eq!(zone.state, ZoneState::Limited);
    assert!(zone.reasons.iter().any(|reason| matches!(
        reason,
        Reason::Ceiling { by: Ceiling::Electrical { limit }, .. } if *limit == Watts::from_kw(20.0)
    )));
    // Expired, it stays; only an explicit none lifts it.
    bench.run(60);
    bench.bms = false;
    bench.expire(ZoneRole::ElectricalLimit);
    let zone = bench.run(60);
    assert!(zone.reasons.contains(&Reason::LimitKept { limit: Watts::from_kw(20.0) }));
    assert_eq!(bench.cap(), 19.4);
    bench.put(bench.point(ZoneRole::ElectricalLimit), Reading::Bad(Fault::NoCommunication));
    bench.run(60);
    assert_eq!(bench.cap(), 19.4);
    bench.put(bench.point(ZoneRole::ElectricalLimit), Reading::number(f64::NAN));
    bench.run(60);
    assert_eq!(bench.cap(), 19.4);
    bench.bms = true;
    bench.write(ZoneRole::ElectricalLimit, 6553.5);
    bench.run(120);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn a_limit_that_was_never_read_holds_power_where_it_is() {
    let mut plant = super::bench::plant();
    let limit = plant.zones[0].points.get(ZoneRole::ElectricalLimit).unwrap();
    plant.points[limit.index()].source = Source::Device(DeviceId(0));
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench.ask_percent(100.0);
    let zone = bench.run(120);
    assert!(zone.reasons.iter().any(|reason| matches!(reason, Reason::NotRaised(_))));
    assert_eq!((zone.state, bench.cap()), (ZoneState::Limited, 15.0));
    bench.number(limit, 40.0);
    bench.run(20);
    assert!(bench.cap() > 15.0);
    // The poll stops: the last limit stays.
    bench.run(400);
    assert!(bench.zone().reasons.contains(&Reason::LimitKept { limit: Watts::from_kw(40.0) }));
    assert_eq!(bench.cap(), 38.8);
    bench.put(limit, Reading::Bad(Fault::Absent));
    bench.run(200);
    assert!(near(bench.cap(), 60.0), "{}", bench.cap());
}

#[test]
fn what_others_draw_counts_at_its_last_value() {
    let mut plant = super::bench::plant();
    let others = plant.zones[0].points.get(ZoneRole::RoomTemperature).unwrap();
    plant.points[others.index()].source = Source::Device(DeviceId(0));
    plant.points[others.index()].unit = crate::units::Unit::Kilowatt;
    plant.zones[0].points.bind(ZoneRole::OtherPower, others);
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench.ask_percent(100.0);
    bench.write(ZoneRole::ElectricalLimit, 50.0);
    bench.number(others, 10.0);
    bench.run(60);
    assert_eq!(bench.zone().ceiling, Watts::of(38_500.0));
    let before = bench.cap();
    // The reading is a minute old from here on: nothing is raised without it.
    bench.run(120);
    assert!(bench.cap() <= before + 4.0);
    assert_eq!(bench.zone().ceiling, Watts::of(38_500.0));
}

#[test]
fn the_lowest_limit_counts() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(100.0);
    bench.write(ZoneRole::ElectricalLimit, 50.0);
    bench.write(ZoneRole::RemoteLimit, 40.0);
    bench.run(400);
    assert_eq!(bench.cap(), 38.8);
}

#[test]
fn temperatures_take_power_away_and_a_missing_one_gives_none_back() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(100.0);
    bench.run(300);
    assert!(near(bench.cap(), 60.0), "{}", bench.cap());
    bench.write(ZoneRole::RoomTemperature, 30.0);
    bench.step();
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    bench.write(ZoneRole::RoomTemperature, -3276.8);
    bench.run(120);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    bench.write(ZoneRole::RoomTemperature, 20.0);
    bench.run(300);
    assert!(near(bench.cap(), 60.0), "{}", bench.cap());
    // The floor does not beat it either.
    let supply = bench.plant.meters[0].points.get(MeterRole::Supply).unwrap();
    bench.number(supply, 61.0);
    let zone = bench.step().clone();
    assert_eq!(bench.cap(), 0.0);
    assert!(zone.alarms.has(Alarm::OverTemperature));
    assert!(zone.reasons.iter().any(|reason| matches!(reason, Reason::CeilingBelowFloor { .. })));
}

#[test]
fn off_below_five_percent_on_again_at_ten() {
    let mut bench = Bench::new();
    bench.run(20);
    for (percent, state) in [
        (9.9, ZoneState::Standby),
        (10.0, ZoneState::Dump),
        (5.0, ZoneState::Dump),
        (4.9, ZoneState::Standby),
        (7.0, ZoneState::Standby),
    ] {
        bench.ask_percent(percent);
        assert_eq!(bench.run(10).state, state, "{percent} %");
    }
    assert_eq!(bench.cap(), 15.0, "the floor is idle power");
}

#[test]
fn off_is_the_fallback_and_nothing_where_a_heater_may_be_switched_off() {
    let mut plant = super::bench::plant();
    plant.heaters[1].may_switch_off = true;
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.write(ZoneRole::Enable, 0.0);
    bench.run(120);
    assert_eq!(bench.caps(), [5.0, 0.0, 2.5, 2.5]);
    assert!(bench.zone().reasons.contains(&Reason::Off));
}

#[test]
fn each_mode_reads_its_own_request_only() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(100.0);
    bench.write(ZoneRole::HeatRequestPower, 19.0);
    for (mode, heat) in [(3.0, 19.0), (5.0, 57.0), (1.0, 0.0), (2.0, 57.0)] {
        bench.write(ZoneRole::DemandMode, mode);
        assert_eq!(bench.run(10).request, Some(Watts::from_kw(heat)), "mode {mode}");
    }
}

#[test]
fn temperature_mode_starts_bumpless_and_keeps_its_output_without_a_measurement() {
    let mut bench = Bench::new();
    let supply = bench.plant.meters[0].points.get(MeterRole::Supply).unwrap();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.number(supply, 40.0);
    bench.write(ZoneRole::SupplyTemperatureSetpoint, 45.0);
    bench.write(ZoneRole::DemandMode, 4.0);
    let first = bench.run(10).request.unwrap();
    assert!((first.kw() - 28.5).abs() < 1.3, "{first}");
    bench.run(20);
    bench.number(supply, 40.0);
    let higher = bench.run(10).request.unwrap();
    assert!(higher > first);
    bench.run(60);
    let kept = bench.zone().request.unwrap();
    assert_eq!(bench.run(600).request, Some(kept), "the sensor is stale");
}

#[test]
fn contracted_compute_is_a_floor_but_not_in_fail_safe() {
    let mut plant = super::bench::plant();
    plant.zones[0].contracted = Watts::from_kw(24.0);
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(60);
    assert_eq!(bench.cap(), 15.0);
    bench.ask_percent(0.0);
    let zone = bench.run(120).clone();
    assert_eq!((bench.cap(), zone.state), (24.0, ZoneState::Dump));
    assert!((zone.dump.kw() - 22.8).abs() < 0.3, "{}", zone.dump);
    bench.write(ZoneRole::ElectricalLimit, 20.0);
    bench.step();
    assert_eq!(bench.cap(), 19.4);
}

#[test]
fn the_same_caps_are_refreshed_each_minute_with_the_lease_of_the_mapping() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(600);
    let before = bench.command(0).clone();
    bench.run(60);
    let after = bench.command(0);
    assert_eq!(after.seq, before.seq + 1);
    assert_eq!(after.cap, before.cap);
    assert_eq!(after.ttl.as_secs(), 180);
    assert!((after.ramp_w_per_s - 0.2 * 20_000.0 / 60.0).abs() < 1e-6, "{} W/s", after.ramp_w_per_s);
    bench.ask_percent(30.0);
    bench.run(60);
    assert!((bench.command(2).ramp_w_per_s - 10_000.0 / 60.0).abs() < 1e-6);
}

#[test]
fn observing_decides_and_commands_nothing() {
    let settings = Settings { observe: true, ..Settings::default() };
    let mut bench = Bench::of(super::bench::plant(), settings, Vec::new());
    bench.run(20);
    bench.ask_percent(50.0);
    let zone = bench.run(300).clone();
    assert!(bench.last.desired.commands.iter().all(Option::is_none));
    assert!(zone.reasons.contains(&Reason::Observing));
    assert!(near(zone.cap.kw(), 30.0), "{}", zone.cap);
    assert!(!zone.alarms.has(Alarm::ControllerLost));
    bench.last = bench.control.shutdown(bench.now);
    assert!(bench.last.desired.commands.iter().all(Option::is_none), "nor is anything released");
}

#[test]
fn heaters_that_still_run_are_taken_over_where_they_are() {
    let mut bench = Bench::new();
    bench.power = [14.0, 14.0, 7.0, 7.0];
    bench.now = super::bench::at(5);
    bench.telemetry();
    bench.step();
    assert_eq!(bench.cap(), 15.0);
    bench.ask_percent(100.0);
    bench.step();
    assert!(near(bench.cap(), 42.0), "{}", bench.cap());

    let mut bench = Bench::new();
    bench.power = [14.0, 14.0, 7.0, 7.0];
    bench.now = super::bench::at(5);
    bench.telemetry();
    bench.ask_percent(50.0);
    bench.step();
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn an_unreadable_request_is_fail_safe_and_never_a_raise() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(80.0);
    bench.run(300);
    let percent = bench.point(ZoneRole::HeatRequestPercent);
    for reading in [Reading::Bad(Fault::NotFinite), Reading::number(f64::NAN), Reading::number(655.35)] {
        bench.write(ZoneRole::HeatRequestPercent, 80.0);
        bench.bms = true;
        // Until the ramp has been caught up with.
        bench.run(600);
        assert!(near(bench.cap(), 48.0), "{}", bench.cap());
        bench.bms = false;
        bench.put(percent, reading);
        let zone = bench.run(60);
        assert_eq!(zone.state, ZoneState::Failsafe, "{reading:?}");
        assert!(zone.reasons.contains(&Reason::FailSafe(FailSafe::NoRequest)));
        assert_eq!(bench.cap(), 15.0);
    }
}

#[test]
fn restored_slots_are_no_request() {
    let mut bench = Bench::new();
    let percent = bench.point(ZoneRole::HeatRequestPercent);
    bench.put(percent, Reading::Uncertain(Value::number(80.0).unwrap(), Doubt::Restored));
    bench.write(ZoneRole::Enable, 1.0);
    let zone = bench.run(60);
    assert_eq!(zone.state, ZoneState::Init);
    assert_eq!(bench.cap(), 15.0);
    // The mode and the enable may be restored ones, once the request itself is written anew.
    bench.put(bench.point(ZoneRole::Enable), Reading::Uncertain(Value::Bool(true), Doubt::Restored));
    bench.put(bench.point(ZoneRole::DemandMode), Reading::Uncertain(Value::State(2), Doubt::Restored));
    bench.bms = false;
    bench.write(ZoneRole::HeatRequestPercent, 50.0);
    bench.run(120);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    bench.put(bench.point(ZoneRole::DemandMode), Reading::Uncertain(Value::State(5), Doubt::Restored));
    assert_eq!(bench.run(10).state, ZoneState::Failsafe, "a restored call for heat is none");
}

#[test]
fn a_restored_stop_stops_and_a_restored_quiet_input_is_quiet() {
    let mut bench = Bench::new();
    let stop = bench.point(ZoneRole::EmergencyStop);
    bench.put(stop, Reading::Uncertain(Value::Bool(false), Doubt::Restored));
    bench.ask_percent(50.0);
    bench.run(200);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    bench.put(stop, Reading::Uncertain(Value::Bool(true), Doubt::Restored));
    assert_eq!(bench.step().state, ZoneState::Safety);
}

#[test]
fn an_emergency_stop_latches_until_a_person_re_arms() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.write(ZoneRole::EmergencyStop, 1.0);
    let zone = bench.step().clone();
    assert_eq!((zone.state, zone.source), (ZoneState::Safety, RequestSource::Safety));
    assert!(zone.alarms.has(Alarm::EmergencyStop));
    assert_eq!(zone.fault_code, 7);
    assert_eq!(bench.caps(), [0.0; 4]);
    assert_eq!((bench.command(0).ramp_w_per_s, bench.command(0).fallback), (0.0, Watts::ZERO));
    let refusal = bench.control.rearm(ZoneId(0), bench.now, &bench.image);
    assert_eq!(refusal, Err(RearmRefusal::StillActive(Alarm::EmergencyStop)));
    bench.write(ZoneRole::EmergencyStop, 0.0);
    bench.write(ZoneRole::FaultReset, 1.0);
    bench.run(120);
    bench.write(ZoneRole::FaultReset, 0.0);
    assert_eq!(bench.caps(), [0.0; 4], "a reset over a bus does not re-arm");

    // A restart keeps it.
    let latches = vec![("hall".to_owned(), bench.last.latches[0].clone().unwrap())];
    let mut again = Bench::of(super::bench::plant(), Settings::default(), latches);
    assert_eq!(again.caps(), [0.0; 4]);
    again.ask_percent(50.0);
    assert_eq!(again.run(120).state, ZoneState::Safety);

    let now = bench.now;
    assert_eq!(bench.control.rearm(ZoneId(0), now, &bench.image), Ok(()));
    assert_eq!(bench.control.rearm(ZoneId(0), now, &bench.image), Err(RearmRefusal::NotLatched));
    bench.run(300);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn an_unreadable_safety_input_holds_power_where_it_is() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.put(bench.point(ZoneRole::EmergencyStop), Reading::Bad(Fault::NoCommunication));
    bench.ask_percent(100.0);
    bench.run(120);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    bench.ask_percent(40.0);
    bench.run(120);
    assert!(near(bench.cap(), 24.0), "{}", bench.cap());
}

#[test]
fn a_person_overrides_and_lets_go() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    bench.force(ZoneRole::HeatRequestPercent, 80.0);
    let zone = bench.run(300);
    assert_eq!((zone.state, zone.source), (ZoneState::Manual, RequestSource::Manual));
    assert!(near(bench.cap(), 48.0), "{}", bench.cap());
    bench.release(ZoneRole::HeatRequestPercent);
    let zone = bench.run(120);
    assert_eq!((zone.state, zone.source), (ZoneState::Heating, RequestSource::Bms));
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn the_release_gives_back_the_fallback_and_never_more() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    let seq = bench.command(0).seq;
    bench.last = bench.control.shutdown(bench.now);
    assert_eq!(bench.caps(), [5.0, 5.0, 2.5, 2.5]);
    assert_eq!(bench.command(0).seq, seq + 1);
    assert_eq!(bench.command(0).reasons, [Reason::Released]);
    assert!(bench.command(0).ttl.as_secs() <= 10);
}

#[test]
fn no_lease_ends_above_its_cap() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    assert_eq!(bench.command(0).fallback, Watts::from_kw(5.0));
    bench.write(ZoneRole::ElectricalLimit, 6.0);
    bench.run(60);
    let cap = bench.command(0).cap;
    assert!(cap < Watts::from_kw(2.0), "{cap}");
    assert_eq!(bench.command(0).fallback, cap, "without the gateway the limit still holds");
    bench.last = bench.control.shutdown(bench.now);
    assert_eq!((bench.command(0).cap, bench.command(0).fallback), (cap, cap));
}

#[test]
fn a_limit_that_is_the_default_limits() {
    let mut plant = super::bench::plant();
    let limit = plant.zones[0].points.get(ZoneRole::ElectricalLimit).unwrap();
    if let Source::Command(command) = &mut plant.points[limit.index()].source {
        command.relinquish_default = Value::number(20.0).unwrap();
    }
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.run(20);
    bench.ask_percent(80.0);
    bench.run(300);
    assert_eq!(bench.cap(), 19.4);
    bench.force(ZoneRole::ElectricalLimit, 40.0);
    bench.run(300);
    assert_eq!(bench.cap(), 38.8);
    bench.release(ZoneRole::ElectricalLimit);
    bench.run(300);
    assert_eq!(bench.cap(), 19.4);
}

#[test]
fn without_jobs_the_zone_is_limited_and_the_heat_is_counted_as_unmet() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(80.0);
    bench.run(900);
    assert_eq!(bench.zone().state, ZoneState::Heating);
    bench.jobs = Some([8.0, 8.0, 4.0, 4.0]);
    bench.run(1800);
    assert_eq!(bench.zone().state, ZoneState::Limited);
    assert!(near(bench.cap(), 48.0), "a shortage of jobs raises nothing: {}", bench.cap());
    let unmet = |why| {
        let place = Shortfall::ALL.iter().position(|one| *one == why).unwrap();
        bench.zone().unmet_wh[place]
    };
    // The water goes on giving for a minute and some.
    assert!((unmet(Shortfall::NoJobs) - 22.8 * 1500.0 / 3.6).abs() < 600.0, "{}", unmet(Shortfall::NoJobs));
    assert!(unmet(Shortfall::LostLink) < 1.0);
}

#[test]
fn heat_that_does_not_come_calls_the_boiler() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(50.0);
    bench.run(300);
    // The heaters follow, and half of the heat does not arrive.
    for _ in 0..150 {
        bench.meter = Some(14.0);
        bench.run(10);
    }
    assert!(bench.zone().backup_call && bench.zone().alarms.has(Alarm::Undelivered));
    bench.meter = None;
    assert!(bench.run(100).alarms.has(Alarm::MeterLost));
}

#[test]
fn heaters_report_their_own_floor() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.number(bench.heater_point(0, HeaterRole::Min), 8.0);
    let zone = bench.step();
    assert_eq!(zone.floor, Watts::from_kw(18.0));
    assert!((zone.heat_minimum.kw() - 17.1).abs() < 1e-9);
}
