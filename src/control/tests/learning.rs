//! What is learned from the meter, and what is not.

use super::bench::{Bench, at, near, plant};
use crate::control::{Controller, Settings};
use crate::decision::Reason;
use crate::durable::{SavedEfficiency, SavedRuntime};
use crate::plant::{HeaterRole, MeterRole, ZoneRole};
use crate::point::{Fault, Reading};

fn bench(eta: f64) -> Bench {
    let mut bench = Bench::new();
    bench.eta = eta;
    bench.heat = 15.0 * eta;
    bench.meter = Some(bench.heat);
    bench.run(20);
    bench.ask_percent(50.0);
    bench
}

fn held(bench: &Bench) -> Option<&'static str> {
    bench.zone().reasons.iter().find_map(|reason| match reason {
        Reason::EfficiencyHeld(why) | Reason::EfficiencyBelieved(why) => Some(*why),
        _ => None,
    })
}

#[test]
fn the_true_efficiency_is_found_and_the_heat_that_is_asked_comes() {
    for eta in [0.80, 0.88, 0.95, 1.0] {
        let mut bench = bench(eta);
        bench.run(3 * 3600);
        assert!((bench.zone().eta - eta).abs() < 0.004, "{} for {eta}", bench.zone().eta);
        assert!((bench.heat - 28.5).abs() < 1.3 * eta, "{} kW", bench.heat);
        assert_eq!(held(&bench), None);
    }
}

#[test]
fn heaters_that_rest_at_the_first_start_teach_at_once() {
    for eta in [0.80, 0.88, 1.0] {
        let mut bench = bench(eta);
        bench.run(60);
        assert!((bench.zone().eta - eta).abs() < 0.015, "{} for {eta}", bench.zone().eta);
    }
}

#[test]
fn water_that_is_in_no_balance_at_the_start_does_not() {
    for heat in [5.0, 25.0] {
        let mut bench = Bench::new();
        bench.eta = 0.88;
        bench.heat = heat;
        bench.meter = Some(heat);
        bench.run(20);
        bench.ask_percent(50.0);
        for _ in 0..60 {
            bench.run(10);
            let eta = bench.zone().eta;
            assert!((0.86..0.97).contains(&eta), "{eta} from {heat} kW");
        }
        bench.run(2 * 3600);
        assert!((bench.zone().eta - 0.88).abs() < 0.01);
    }
}

#[test]
fn nothing_beyond_what_heaters_can_be_is_believed() {
    for (eta, bound) in [(0.5, 0.70), (1.5, 1.02)] {
        let mut bench = bench(eta);
        bench.run(4 * 3600);
        assert!((bench.zone().eta - bound).abs() < 1e-9, "{} for {eta}", bench.zone().eta);
    }
}

#[test]
fn without_a_meter_it_is_feed_forward_and_says_so() {
    let mut plant = plant();
    plant.zones[0].meter = None;
    let mut bench = Bench::of(plant, Settings::default(), Vec::new());
    bench.eta = 0.8;
    bench.ask_percent(50.0);
    let zone = bench.run(2 * 3600);
    assert!((zone.eta - 0.95).abs() < 1e-9);
    assert!(zone.reasons.contains(&Reason::EfficiencyBelieved("the zone has no heat meter")));
    assert!(bench.control.learned().0.is_empty(), "nothing to remember");
    assert!(near(bench.cap(), 30.0));
}

#[test]
fn a_lost_or_stuck_or_impossible_meter_teaches_nothing() {
    let power = |bench: &Bench| bench.plant.meters[0].points.get(MeterRole::Power).unwrap();
    let mut lost = bench(0.88);
    lost.run(2 * 3600);
    let eta = lost.zone().eta;
    lost.meter = None;
    lost.run(3600);
    assert!((lost.zone().eta - eta).abs() < 1e-12);
    assert_eq!(held(&lost), Some("the heat meter is lost"));

    let mut stuck = bench(0.88);
    stuck.run(2 * 3600);
    let (eta, shown) = (stuck.zone().eta, stuck.heat);
    for step in 0..360 {
        stuck.ask_percent(if step < 180 { 90.0 } else { 30.0 });
        stuck.tick(10);
        stuck.meter = Some(shown);
    }
    assert!((stuck.zone().eta - eta).abs() < 0.01, "{} after {eta}", stuck.zone().eta);
    assert_eq!(held(&stuck), Some("the heat meter is stuck"));

    for impossible in [-5.0, 900.0] {
        let mut bench = bench(0.88);
        bench.run(2 * 3600);
        let eta = bench.zone().eta;
        for _ in 0..100 {
            bench.tick(10);
            bench.meter = Some(impossible);
        }
        assert!((bench.zone().eta - eta).abs() < 0.005);
        assert_eq!(held(&bench), Some("the meter shows heat that cannot be"));
        bench.put(power(&bench), Reading::number(f64::NAN));
        bench.step();
        assert_eq!(held(&bench), Some("the heat meter is lost"));
    }
}

#[test]
fn a_jumping_meter_moves_it_slowly() {
    let mut bench = bench(0.88);
    bench.run(3 * 3600);
    let eta = bench.zone().eta;
    for step in 0..60 {
        bench.tick(10);
        bench.meter = Some(if step % 2 == 0 { 1.0 } else { 60.0 } + bench.heat / 10.0);
    }
    assert!((bench.zone().eta - eta).abs() < 0.01, "{}", bench.zone().eta);
}

#[test]
fn a_heater_whose_power_is_unknown_stops_the_learning() {
    let mut bench = bench(0.88);
    bench.run(2 * 3600);
    bench.heard[1] = false;
    bench.run(600);
    assert_eq!(held(&bench), Some("a heater's power cannot be read"));
    let eta = bench.zone().eta;
    bench.heard[1] = true;
    bench.run(2 * 3600);
    assert_eq!(held(&bench), None);
    assert!((bench.zone().eta - eta).abs() < 0.01);
}

#[test]
fn a_shortage_of_jobs_teaches_nothing_and_is_not_made_up_for() {
    let mut bench = bench(0.88);
    bench.run(2 * 3600);
    let (eta, cap) = (bench.zone().eta, bench.cap());
    bench.jobs = Some([6.0, 6.0, 3.0, 3.0]);
    bench.run(2 * 3600);
    assert!((bench.zone().eta - eta).abs() < 0.01);
    assert!((bench.cap() - cap).abs() < 1.3, "{} after {cap}", bench.cap());
    bench.jobs = None;
    let most = (0..360).map(|_| bench.run(10).cap.kw()).fold(0.0, f64::max);
    assert!(most < cap + 1.3, "{most} kW after the shortage");
}

#[test]
fn heaters_that_settle_under_their_caps_are_made_up_for() {
    let mut bench = bench(0.95);
    bench.complies = 0.97;
    bench.run(4 * 3600);
    let drawn: f64 = bench.power.iter().sum();
    assert!((drawn - 30.0).abs() < 0.7, "{drawn} kW");
}

#[test]
fn heaters_that_draw_more_than_their_caps_are_still_never_told_less_than_they_can_follow() {
    let mut bench = bench(0.95);
    bench.complies = 1.03;
    bench.run(4 * 3600);
    bench.ask_percent(0.0);
    bench.run(600);
    assert_eq!(bench.cap(), 15.0);
    bench.ask_percent(12.0);
    bench.run(600);
    assert_eq!(bench.cap(), 15.0);
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut bench = bench(0.85);
    bench.run(2 * 3600);
    let (efficiencies, runtimes) = bench.control.learned();
    assert_eq!(efficiencies[0].zone, "hall");
    assert_eq!(runtimes[3].heater, "rack-3");
    assert!(runtimes[3].seconds > 6000);
    let again = |saved: &[SavedEfficiency], runtimes: &[SavedRuntime]| {
        Controller::new(std::sync::Arc::clone(&bench.plant), Settings::default(), at(0), Vec::new())
            .remembering(saved, runtimes)
    };
    let next = again(&efficiencies, &runtimes);
    assert!((next.learned().0[0].eta - efficiencies[0].eta).abs() < 1e-12);
    assert_eq!(next.learned().1, runtimes);
    // What cannot be is left out.
    for (eta, variance) in [(f64::NAN, 1e-4), (0.2, 1e-4), (0.9, f64::INFINITY), (0.9, -1.0)] {
        let saved = [SavedEfficiency { zone: "hall".into(), eta, variance }];
        assert!(again(&saved, &[]).learned().0.is_empty());
    }
}

#[test]
fn a_trembling_request_makes_few_commands() {
    let mut steady = bench(0.95);
    steady.run(3600);
    let mut commands = 0;
    let mut before = steady.cap();
    for minute in 0..240u32 {
        steady.ask_percent(if minute % 2 == 0 { 51.5 } else { 48.5 });
        for _ in 0..6 {
            steady.tick(10);
            if (steady.cap() - before).abs() > 1e-6 {
                commands += 1;
                before = steady.cap();
            }
        }
    }
    assert!(commands < 40, "{commands} commands in four hours");
    assert!(steady.zone().reasons.iter().any(|reason| matches!(reason, Reason::Smoothed { .. })));
}

#[test]
fn a_meter_in_trouble_is_no_trouble_for_the_rest() {
    let mut bench = bench(0.88);
    let supply = bench.plant.meters[0].points.get(MeterRole::Supply).unwrap();
    bench.put(supply, Reading::Bad(Fault::NoCommunication));
    bench.number(bench.heater_point(0, HeaterRole::Inlet), f64::NAN);
    bench.write(ZoneRole::OutdoorTemperature, -3276.8);
    bench.run(3600);
    assert!((bench.zone().eta - 0.88).abs() < 0.01);
}
