//! A heater over a real broker, and what it makes of messages that are no commands.

use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::sim::testing::{FastTime, Site, soon};

const COMMAND: &str = "heatgate/v1/demo/heaters/rack-a/command";
const STATUS: &str = "heatgate/v1/demo/heaters/rack-a/status";

fn run(site: &Site) -> (JoinHandle<()>, CancellationToken) {
    let stop = site.stop.child_token();
    let heater = HeaterSim::new("demo", "rack-a", site.address.clone());
    (tokio::spawn(heater.run(FastTime::start(), stop.clone())), stop)
}

fn command(seq: u64, watts: f64, ttl_s: f64) -> String {
    json!({"v": 1, "cmd_id": format!("c{seq}"), "boot_id": "b", "seq": seq, "issued_at": "2026-01-01T00:00:00Z",
        "p_max_w": watts, "ttl_s": ttl_s, "ramp_w_per_s": 0, "fallback_w": 8000, "reason": ["test"]})
    .to_string()
}

#[tokio::test]
async fn it_is_commanded_and_falls_back_by_itself() {
    let mut site = Site::start().await;
    let _running = run(&site);
    site.hear("rack-a/status", |status| status["state"] == "online").await;
    let told = site.hear("rack-a/telemetry", |_| true).await;
    assert_eq!((told["v"].as_u64(), told["state"].as_str(), told.get("seq")), (Some(1), Some("ready"), None));
    site.say(COMMAND, command(1, 20_000.0, 60.0)).await;
    let ack = site.hear("rack-a/ack", |_| true).await;
    assert_eq!(
        ack,
        json!({"v": 1, "cmd_id": "c1", "seq": 1, "result": "accepted", "applied_w": 20000.0, "reason": "",
        "valid_for_s": 60.0})
    );
    site.hear("rack-a/telemetry", |told| told["applied_w"] == 20_000.0 && told["seq"] == 1).await;
    site.hear("rack-a/telemetry", |told| told["power_w"].as_f64().unwrap() > 12_000.0).await;
    // Nobody refreshes it.
    site.hear("rack-a/telemetry", |told| told["applied_w"] == 8_000.0).await;
}

#[tokio::test]
async fn repeated_old_and_broken_commands() {
    let mut site = Site::start().await;
    let _running = run(&site);
    site.hear("rack-a/status", |status| status["state"] == "online").await;
    site.say(COMMAND, command(5, 90_000.0, 600.0)).await;
    let first = site.hear("rack-a/ack", |_| true).await;
    assert_eq!((first["result"].as_str(), first["applied_w"].as_f64()), (Some("clamped"), Some(30_000.0)));
    site.say(COMMAND, &b"\xff{"[..]).await;
    site.say(COMMAND, command(4, 10_000.0, 600.0)).await;
    site.say(COMMAND, command(5, 90_000.0, 600.0)).await;
    assert_eq!(site.hear("rack-a/ack", |_| true).await, first, "the old one is not answered, the equal one as before");
    site.say(COMMAND, r#"{"v":1,"cmd_id":"x","boot_id":"b","seq":6,"p_max_w":null}"#).await;
    let rejected = site.hear("rack-a/ack", |_| true).await;
    assert_eq!((rejected["result"].as_str(), rejected["cmd_id"].as_str()), (Some("rejected"), Some("x")));
    site.hear("rack-a/telemetry", |told| told["applied_w"] == 30_000.0).await;
}

#[tokio::test]
async fn a_goodbye_and_a_cut_both_leave_offline_behind() {
    let mut site = Site::start().await;
    let (task, stop) = run(&site);
    site.hear("rack-a/status", |status| status["state"] == "online").await;
    stop.cancel();
    soon(task).await.unwrap();
    site.hear("rack-a/status", |status| status["state"] == "offline").await;

    let (task, _stop) = run(&site);
    site.hear("rack-a/status", |status| status["state"] == "online").await;
    task.abort();
    site.hear("rack-a/status", |status| status["state"] == "offline").await;
    let retained = site.broker.retained(STATUS).unwrap();
    assert!(retained.starts_with(b"{\"state\":\"offline\""), "{retained:?}");
}

#[tokio::test]
async fn it_comes_back_after_the_broker_forgot_it_and_keeps_its_command() {
    let mut site = Site::start().await;
    let _running = run(&site);
    site.hear("rack-a/telemetry", |_| true).await;
    site.say(COMMAND, command(1, 20_000.0, 6000.0)).await;
    site.hear("rack-a/ack", |_| true).await;
    // Cuts the listener too, so the heater is heard by a new one.
    site.broker.wipe_sessions();
    site.listen().await;
    site.hear("rack-a/status", |status| status["state"] == "online").await;
    site.hear("rack-a/telemetry", |told| told["seq"] == 1 && told["applied_w"] == 20_000.0).await;
    site.say(COMMAND, command(2, 25_000.0, 6000.0)).await;
    site.hear("rack-a/ack", |ack| ack["seq"] == 2).await;
}

#[tokio::test]
async fn it_ends_when_stopped_without_a_broker() {
    let stop = CancellationToken::new();
    let heater = HeaterSim::new("demo", "rack-a", BrokerAddress::new("127.0.0.1", 1));
    let task = tokio::spawn(heater.run(FastTime::start(), stop.clone()));
    stop.cancel();
    soon(task).await.unwrap();
}

#[test]
fn a_bad_command_is_answered_when_it_can_be_and_changes_nothing() {
    let mut logic = HeaterLogic::new("r", HeaterOptions::rated(Watts::from_kw(30.0)), Mono::START);
    let ack = hear(&mut logic, br#"{"v":1,"cmd_id":"x","seq":9}"#, 1.0, Mono::START).unwrap();
    assert_eq!((ack.result, ack.seq, ack.valid_for_s), (payload::Outcome::Rejected, 9, 0.0));
    assert_eq!(hear(&mut logic, b"\x00garbage", 1.0, Mono::START), None);
    assert_eq!(logic.cap(), Watts::from_kw(7.5));
}

#[test]
fn a_faster_heater_outside_counts_a_command_s_seconds_by_the_wall() {
    let at = |secs| Mono::START.after(Duration::from_secs(secs));
    let options = HeaterOptions { delay: (0.0, 0.0), ..HeaterOptions::rated(Watts::from_kw(30.0)) };
    let mut logic = HeaterLogic::new("r", options, Mono::START);
    let message = json!({"v": 1, "cmd_id": "c1", "boot_id": "b", "seq": 1, "p_max_w": 27_500.0, "ttl_s": 9.0,
        "ramp_w_per_s": 10_000.0, "fallback_w": 7_500.0});
    let ack = hear(&mut logic, message.to_string().as_bytes(), 20.0, Mono::START).unwrap();
    assert_eq!(ack.valid_for_s, 9.0, "it answers in the seconds that it was asked in");
    logic.tick(at(20));
    assert!((logic.cap().kw() - 17.5).abs() < 0.1, "one second of ramp on the wall: {}", logic.cap());
    logic.tick(at(179));
    assert_eq!(logic.cap(), Watts::from_kw(27.5));
    logic.tick(at(180));
    assert_eq!(logic.cap(), Watts::from_kw(7.5));
}
