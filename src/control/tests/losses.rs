//! What is lost, and how it comes back.

use super::bench::{Bench, all_near, near, plant};
use crate::control::Settings;
use crate::decision::{Alarm, FailSafe, Reason, RequestSource, ZoneState};
use crate::plant::{BmsLossPolicy, HeaterRole, ZoneRole};
use crate::point::{Doubt, Reading, Value};
use crate::units::Watts;
use std::time::Duration;

fn heating(bench: &mut Bench) {
    bench.run(20);
    bench.ask_percent(50.0);
    bench.write(ZoneRole::OutdoorTemperature, 5.0);
    bench.run(400);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn a_silent_building_is_held_then_brought_down_and_believed_again_on_a_new_write() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.bms = false;
    let zone = bench.run(280);
    assert_eq!(zone.source, RequestSource::Bms);
    let zone = bench.run(60).clone();
    assert!(zone.alarms.has(Alarm::BmsLost));
    assert_eq!((zone.source, zone.state, zone.fault_code), (RequestSource::Hold, ZoneState::Heating, 1));
    bench.run(800);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
    // 10 %/min from 50 % to 30 %: two minutes.
    bench.run(300);
    assert!(near(bench.cap(), 18.0), "{}", bench.cap());
    assert_eq!(bench.zone().source, RequestSource::Fallback);
    // Warmer weather: down to off; colder again: it stays.
    bench.number(bench.point(ZoneRole::OutdoorTemperature), 18.0);
    let zone = bench.run(300).clone();
    assert_eq!((zone.state, bench.cap()), (ZoneState::Failsafe, 15.0));
    assert!(zone.reasons.contains(&Reason::FailSafe(FailSafe::BmsLost)));
    bench.number(bench.point(ZoneRole::OutdoorTemperature), -5.0);
    bench.run(300);
    assert_eq!(bench.cap(), 15.0);
    bench.write(ZoneRole::HeatRequestPercent, 50.0);
    bench.bms = true;
    let zone = bench.run(200);
    assert_eq!((zone.source, zone.alarms.has(Alarm::BmsLost)), (RequestSource::Bms, false));
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn a_timeout_from_before_a_restart_goes_on_standing() {
    let mut bench = Bench::new();
    let timeout = Reading::Uncertain(Value::number(60.0).unwrap(), Doubt::Restored);
    bench.put(bench.point(ZoneRole::BmsTimeout), timeout);
    heating(&mut bench);
    bench.bms = false;
    assert!(bench.run(80).alarms.has(Alarm::BmsLost));
}

#[test]
fn the_other_policies_cancel_or_fall_back() {
    let fallback = |percent| BmsLossPolicy::Fallback { percent, for_: Duration::from_secs(600) };
    for (policy, soon, late) in
        [(BmsLossPolicy::Cancel, 15.0, 15.0), (fallback(40.0), 24.0, 15.0), (fallback(90.0), 30.0, 15.0)]
    {
        let mut plant = plant();
        plant.zones[0].on_bms_loss = policy;
        let mut bench = Bench::of(plant, Settings::default(), Vec::new());
        heating(&mut bench);
        bench.bms = false;
        bench.run(400);
        assert!(near(bench.cap(), soon), "{policy:?}: {}", bench.cap());
        bench.run(800);
        assert!(near(bench.cap(), late), "{policy:?}: {}", bench.cap());
    }
}

#[test]
fn a_heartbeat_once_written_must_move_and_is_trusted_after_three_beats() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.write(ZoneRole::BmsHeartbeat, 1.0);
    // Requests go on, the heartbeat stands still.
    let zone = bench.run(330);
    assert!(zone.alarms.has(Alarm::BmsLost));
    assert_eq!(zone.source, RequestSource::Hold);
    for beat in 2..4 {
        bench.write(ZoneRole::BmsHeartbeat, f64::from(beat));
        assert!(bench.run(10).alarms.has(Alarm::BmsLost), "beat {beat}");
    }
    bench.write(ZoneRole::BmsHeartbeat, 4.0);
    bench.write(ZoneRole::HeatRequestPercent, 50.0);
    assert!(!bench.run(10).alarms.has(Alarm::BmsLost));
}

#[test]
fn beats_alone_are_not_a_new_write() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.write(ZoneRole::BmsHeartbeat, 1.0);
    bench.bms = false;
    bench.run(330);
    for beat in 2..9 {
        bench.write(ZoneRole::BmsHeartbeat, f64::from(beat));
        assert!(bench.run(10).alarms.has(Alarm::BmsLost), "beat {beat}");
    }
}

#[test]
fn an_expired_request_starts_the_policy() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.bms = false;
    bench.expire(ZoneRole::HeatRequestPercent);
    let zone = bench.run(10);
    assert_eq!(zone.source, RequestSource::Hold);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn losing_the_building_on_the_way_up_stops_the_way_up() {
    let mut bench = Bench::new();
    bench.run(20);
    bench.ask_percent(100.0);
    bench.run(60);
    let cap = bench.cap();
    assert!(cap < 40.0);
    bench.bms = false;
    bench.expire(ZoneRole::HeatRequestPercent);
    bench.run(600);
    assert_eq!(bench.cap(), cap);
}

#[test]
fn the_timeout_is_the_buildings_to_set_and_stretches_with_its_clock() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.write(ZoneRole::BmsTimeout, 30.0);
    bench.bms = false;
    assert!(bench.run(50).alarms.has(Alarm::BmsLost));

    let settings = Settings { bms_liveness: 60.0, ..Settings::default() };
    let mut bench = Bench::of(plant(), settings, Vec::new());
    heating(&mut bench);
    bench.bms = false;
    assert!(!bench.run(3600).alarms.has(Alarm::BmsLost));
}

#[test]
fn a_person_may_ask_while_the_building_is_lost() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.bms = false;
    bench.run(400);
    bench.force(ZoneRole::HeatRequestPercent, 80.0);
    let zone = bench.run(300);
    assert_eq!(zone.source, RequestSource::Manual);
    assert!(near(bench.cap(), 48.0), "{}", bench.cap());
    bench.release(ZoneRole::HeatRequestPercent);
    bench.run(300);
    assert_eq!(bench.zone().source, RequestSource::Hold);
    assert!(near(bench.cap(), 30.0), "{}", bench.cap());
}

#[test]
fn a_lost_heaters_share_is_carried_by_the_others_and_it_comes_back_by_itself() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.heard[0] = false;
    let zone = bench.run(60).clone();
    assert!(zone.alarms.has(Alarm::ControllerLost));
    assert!(zone.reasons.iter().any(|reason| matches!(reason, Reason::HeaterOut { heater, .. } if heater.0 == 0)));
    assert!(all_near(&bench.caps(), &[5.0, 10.0, 5.0, 5.0]), "{:?}", bench.caps());
    // After its lease it is at its fallback, and the others take over.
    bench.run(300);
    assert!(all_near(&bench.caps(), &[5.0, 12.5, 6.25, 6.25]), "{:?}", bench.caps());
    bench.heard[0] = true;
    bench.power[0] = 5.0;
    bench.run(300);
    assert!(all_near(&bench.caps(), &[10.0, 10.0, 5.0, 5.0]), "{:?}", bench.caps());
    assert!(!bench.zone().alarms.has(Alarm::ControllerLost));
}

#[test]
fn a_lease_ends_by_the_sites_clock_however_slowly_the_controllers_report() {
    let settings = Settings { liveness: 20.0, ..Settings::default() };
    let mut bench = Bench::of(plant(), settings, Vec::new());
    heating(&mut bench);
    bench.heard[0] = false;
    assert!(bench.run(620).alarms.has(Alarm::ControllerLost));
    assert!(all_near(&bench.caps(), &[5.0, 10.0, 5.0, 5.0]), "{:?}", bench.caps());
    bench.run(300);
    assert!(all_near(&bench.caps(), &[5.0, 12.5, 6.25, 6.25]), "{:?}", bench.caps());
}

#[test]
fn without_acknowledgement_a_command_is_repeated_and_then_the_controller_is_lost() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.acks[1] = false;
    bench.ask_percent(60.0);
    bench.run(10);
    let seq = bench.command(1).seq;
    assert!(!bench.run(20).alarms.has(Alarm::ControllerLost));
    assert!(bench.command(1).seq >= seq + 2, "it is repeated while it is heard");
    assert!(bench.run(10).alarms.has(Alarm::ControllerLost));
    assert_eq!(bench.command(1).cap, Watts::from_kw(5.0));
    bench.acks[1] = true;
    assert!(!bench.run(20).alarms.has(Alarm::ControllerLost));
    bench.run(300);
    assert!(all_near(&bench.caps(), &[12.0, 12.0, 6.0, 6.0]), "{:?}", bench.caps());
}

#[test]
fn a_refused_command_did_not_happen() {
    let mut bench = Bench::new();
    heating(&mut bench);
    let mut lost = false;
    for tick in 1..=12u64 {
        bench.now = super::bench::at(420 + tick * 10);
        bench.telemetry();
        bench.number(bench.heater_point(1, HeaterRole::AckResult), 3.0);
        lost |= bench.step().alarms.has(Alarm::ControllerLost);
    }
    assert!(lost);
}

#[test]
fn local_mode_is_left_alone_and_counted() {
    let mut bench = Bench::new();
    heating(&mut bench);
    for _ in 0..40 {
        bench.now = super::bench::at(bench.now.mono.secs() as u64 + 10);
        bench.telemetry();
        bench.number(bench.heater_point(0, HeaterRole::State), 3.0);
        bench.number(bench.heater_point(0, HeaterRole::Power), 16.0);
        for role in [ZoneRole::Enable, ZoneRole::HeatRequestPercent] {
            bench.write(role, if role == ZoneRole::Enable { 1.0 } else { 50.0 });
        }
        bench.step();
    }
    // 30 kW wanted, 16 kW given by hand: 14 kW for the others.
    assert!(all_near(&bench.caps(), &[5.0, 7.0, 3.5, 3.5]), "{:?}", bench.caps());
    assert!(!bench.zone().alarms.has(Alarm::ControllerLost));
}

#[test]
fn power_above_the_cap_for_a_minute_is_not_following() {
    let mut bench = Bench::new();
    heating(&mut bench);
    for s in 1..=8u64 {
        bench.now = super::bench::at(420 + s * 10);
        bench.telemetry();
        bench.number(bench.heater_point(2, HeaterRole::Power), 6.0);
        let zone = bench.step();
        assert_eq!(zone.alarms.has(Alarm::NotFollowing), s >= 7, "after {s} ticks");
    }
}

#[test]
fn with_all_heaters_gone_the_zone_is_at_fault() {
    let mut bench = Bench::new();
    heating(&mut bench);
    bench.heard = [false; 4];
    let zone = bench.run(300);
    assert_eq!(zone.state, ZoneState::Fault);
    assert_eq!(zone.request, Some(Watts::from_kw(28.5)));
    assert_eq!(bench.caps(), [5.0, 5.0, 2.5, 2.5]);
}

#[test]
fn heaters_that_were_not_heard_of_yet_are_no_fault() {
    let mut bench = Bench::new();
    bench.heard = [false; 4];
    bench.ask_percent(50.0);
    assert_eq!(bench.run(10).state, ZoneState::Starting);
    assert_eq!(bench.run(300).state, ZoneState::Fault);
}
