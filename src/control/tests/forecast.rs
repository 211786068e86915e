//! What the building announces: power sets out in time, and nothing else changes.

use std::time::Duration;

use super::bench::{Bench, near};
use crate::decision::{Reason, ZoneState};
use crate::plant::ZoneRole;

/// A zone that has given 30 % for an hour.
fn settled() -> Bench {
    let mut bench = Bench::new();
    bench.ask_percent(30.0);
    bench.run(3600);
    bench
}

/// The building says it once, now.
fn announce(bench: &mut Bench, percent: f64, seconds: f64) {
    bench.force(ZoneRole::NextRequestPercent, percent);
    bench.force(ZoneRole::NextRequestIn, seconds);
}

fn leads(bench: &Bench) -> bool {
    bench.zone().reasons.iter().any(|reason| matches!(reason, Reason::Ahead { .. }))
}

fn ignored(bench: &Bench) -> Option<&'static str> {
    bench.zone().reasons.iter().find_map(|reason| match reason {
        Reason::ForecastIgnored(why) => Some(*why),
        _ => None,
    })
}

/// From 30 to 80 % (30 kW more at 0.95): 60 s and 240 s ln 2 of water, half of a ramp of 150 s, 25 s of heaters: 326 s.
const LEAD: u64 = 326;

#[test]
fn power_sets_out_by_delay_lag_and_half_a_ramp_before_it_is_asked() {
    let mut bench = settled();
    let before = bench.cap();
    announce(&mut bench, 80.0, 900.0);
    bench.run(900 - LEAD - 10);
    assert!(!leads(&bench) && near(bench.cap(), before), "{}", bench.cap());
    bench.run(20);
    assert!(leads(&bench));
    assert_eq!(bench.zone().state, ZoneState::Starting);
    assert_eq!(bench.zone().request.unwrap().kw().round(), 17.0, "what is asked is still what is shown");
    // The ramp is kept: 12 kW a minute, and what a step 20 s apart may bring at once.
    let mut last = bench.cap();
    for _ in 0..26 {
        bench.tick(10);
        assert!(bench.cap() - last <= 4.0 + 0.6, "{} after {last}", bench.cap());
        last = bench.cap();
    }
    assert!(near(bench.cap(), 48.0), "{}", bench.cap());
    // Half of the step has arrived by the time it is asked for.
    bench.run(40);
    let half = 0.95 * (before + 48.0) / 2.0;
    assert!((bench.heat - half).abs() < 3.0, "{} of {half}", bench.heat);
    bench.release(ZoneRole::NextRequestPercent);
    bench.release(ZoneRole::NextRequestIn);
    bench.ask_percent(80.0);
    bench.run(60);
    assert!(!leads(&bench) && near(bench.cap(), 48.0));
}

#[test]
fn no_ceiling_is_passed_and_nothing_is_raised_that_may_not_be() {
    let mut bench = settled();
    bench.write(ZoneRole::ElectricalLimit, 30.0);
    announce(&mut bench, 100.0, 300.0);
    for _ in 0..36 {
        bench.tick(10);
        assert!(bench.cap() <= 0.97 * 30.0 + 1e-3, "{}", bench.cap());
    }
    // A lost building's forecast is no reason for anything.
    let mut bench = settled();
    bench.bms = false;
    bench.run(400);
    let held = bench.cap();
    announce(&mut bench, 100.0, 60.0);
    for _ in 0..30 {
        bench.tick(10);
        assert!(!leads(&bench) && bench.cap() <= held + 1e-6, "{}", bench.cap());
    }
    // Nor is one for a zone that is not enabled, or is asked by a temperature.
    for (role, value) in [(ZoneRole::Enable, 0.0), (ZoneRole::DemandMode, 1.0), (ZoneRole::DemandMode, 4.0)] {
        let mut bench = settled();
        bench.write(role, value);
        announce(&mut bench, 100.0, 60.0);
        bench.run(60);
        assert!(!leads(&bench), "{role:?} {value}");
    }
}

#[test]
fn only_fresh_words_count_and_the_reason_is_said() {
    for (role, why) in [(ZoneRole::NextRequestIn, "it is stale"), (ZoneRole::NextRequestPercent, "it is stale")] {
        let mut bench = settled();
        let before = bench.cap();
        announce(&mut bench, 80.0, 200.0);
        bench.run(60);
        assert!(leads(&bench) && bench.cap() > before + 5.0);
        bench.expire(role);
        bench.run(120);
        assert_eq!(ignored(&bench), Some(why));
        assert!(near(bench.cap(), before), "{} instead of {before}", bench.cap());
    }
    let mut bench = settled();
    announce(&mut bench, 180.0, 100.0);
    bench.run(60);
    assert_eq!(ignored(&bench), Some("it is no percentage"));
    // Nobody said anything, or said "none".
    let mut bench = settled();
    bench.run(10);
    assert!(!leads(&bench) && ignored(&bench).is_none());
    announce(&mut bench, 80.0, 65_535.0);
    bench.run(60);
    assert!(!leads(&bench) && ignored(&bench).is_none());
}

#[test]
fn a_request_that_does_not_come_is_waited_for_a_minute() {
    let mut bench = settled();
    bench.bms = false;
    let before = bench.cap();
    announce(&mut bench, 80.0, 100.0);
    bench.run(150);
    assert!(leads(&bench), "50 s late");
    bench.run(20);
    assert_eq!(ignored(&bench), Some("its time has passed"));
    bench.run(60);
    assert!(near(bench.cap(), before), "{}", bench.cap());
    // What is asked after that time counts, whatever was announced.
    let mut bench = settled();
    announce(&mut bench, 80.0, 100.0);
    bench.run(100);
    assert!(leads(&bench));
    bench.ask_percent(30.0);
    bench.run(10);
    assert!(!leads(&bench) && ignored(&bench).is_none());
}

#[test]
fn a_forecast_starts_a_zone_and_stops_none() {
    let mut bench = settled();
    bench.ask_percent(0.0);
    bench.run(1800);
    assert_eq!(bench.zone().state, ZoneState::Standby);
    announce(&mut bench, 60.0, 120.0);
    bench.run(90);
    assert!(leads(&bench) && bench.cap() > 20.0, "{}", bench.cap());
    assert_eq!(bench.zone().heat_undelivered.kw(), 0.0, "nothing is asked yet");

    let mut bench = settled();
    announce(&mut bench, 0.0, 120.0);
    bench.run(100);
    assert!(leads(&bench));
    assert!(near(bench.cap(), 15.0) && bench.zone().state != ZoneState::Standby, "down to idle power: {}", bench.cap());
    assert!(!bench.zone().backup_call);
}

#[test]
fn slow_water_makes_nobody_set_out_half_an_hour_early() {
    let mut plant = super::bench::plant();
    plant.zones[0].law.delay = Duration::from_secs(3600);
    let mut bench = Bench::of(plant, crate::control::Settings::default(), Vec::new());
    bench.ask_percent(30.0);
    bench.run(3600);
    announce(&mut bench, 80.0, 2400.0);
    bench.run(590);
    assert!(!leads(&bench));
    bench.run(20);
    assert!(leads(&bench));
}
