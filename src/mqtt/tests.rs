//! The client against the simulated broker and a bare controller, over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::Packet;
use rumqttc::{AsyncClient, Event, MqttOptions};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::client::{Settings, Timing, run_with};
use super::intervals::{IntervalKey, Intervals};
use super::testing::{TestClock, ack_json, command, image_with, interval, now, plant, telemetry_json};
use crate::decision::Desired;
use crate::durable::SavedInterval;
use crate::plant::{HeaterId, HeaterRole, Plant, SiteRole};
use crate::point::{Fault, Image, PointId, Priority, Reading, Value};
use crate::ports::{Batch, Keepsakes, Ports, Requests, Submission};
use crate::request::{Accepted, Action, Refusal, Side};
use crate::sim::broker::{self, Broker};
use crate::telemetry::Metrics;

const PATIENCE: Duration = Duration::from_secs(10);

const TIMING: Timing = Timing {
    ack: Duration::from_millis(500),
    retry_min: Duration::from_millis(20),
    retry_max: Duration::from_millis(100),
    settle: Duration::from_millis(100),
    farewell: Duration::from_millis(1000),
};

struct RunningBroker {
    address: SocketAddr,
    handle: broker::Handle,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl RunningBroker {
    fn start(address: &str) -> Self {
        let broker = Broker::bind(address.parse().unwrap(), broker::Settings::default()).unwrap();
        let (address, handle, stop) = (broker.local_addr(), broker.handle(), CancellationToken::new());
        Self { address, handle, stop: stop.clone(), task: tokio::spawn(broker.run(stop)) }
    }

    async fn halt(self) -> SocketAddr {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.address
    }

    fn retained(&self, tail: &str) -> Option<Json> {
        let payload = self.handle.retained(&format!("heatgate/v1/demo/{tail}"))?;
        Some(serde_json::from_slice(&payload).unwrap())
    }
}

/// The gateway's end of everything that the client is given.
struct Gateway {
    plant: Arc<Plant>,
    clock: Arc<TestClock>,
    image: watch::Sender<Arc<Image>>,
    desired: watch::Sender<Arc<Desired>>,
    readings: mpsc::Receiver<Batch>,
    requests: mpsc::Receiver<Submission>,
    unsent: watch::Sender<Arc<Vec<SavedInterval>>>,
    sent: mpsc::Receiver<Vec<IntervalKey>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    seen: std::collections::BTreeMap<PointId, Reading>,
}

impl Gateway {
    fn start(address: SocketAddr) -> Self {
        let plant = Arc::new(plant());
        let clock = TestClock::new(1.0);
        let (image, image_seen) = watch::channel(Arc::new(Image::empty(plant.points.len(), now(0))));
        let (desired, desired_seen) = watch::channel(Arc::<Desired>::default());
        let (readings_in, readings) = mpsc::channel(4);
        let (requests_in, requests) = Requests::channel(4);
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let ports = Ports {
            image: image_seen,
            desired: desired_seen,
            readings: readings_in,
            requests: requests_in,
            keepsakes: Keepsakes::default(),
            time: Arc::clone(&clock) as Arc<_>,
            metrics: Arc::clone(&metrics),
            restart: CancellationToken::new(),
            stop: stop.clone(),
        };
        let settings = Settings {
            site: "demo".into(),
            host: address.ip().to_string(),
            port: address.port(),
            client_id: "heatgate-demo".into(),
            username: None,
            password: None,
            keep_alive: Duration::from_secs(5),
            boot_id: "boot".into(),
            version: "0.1.0".into(),
            outside: Default::default(),
        };
        let (unsent, unsent_seen) = watch::channel(Arc::new(Vec::new()));
        let (sent_in, sent) = mpsc::channel(4);
        let intervals = Some(Intervals { unsent: unsent_seen, sent: sent_in });
        let client = run_with(settings, Arc::clone(&plant), ports, intervals, TIMING);
        let task = AbortOnDropHandle::new(tokio::spawn(client));
        let seen = std::collections::BTreeMap::new();
        Self { plant, clock, image, desired, readings, requests, unsent, sent, metrics, stop, task, seen }
    }

    fn desire(&self, commands: &[(u64, u64, f64)]) {
        let commands = (0u16..)
            .zip(commands)
            .map(|(heater, (seq, issued, cap))| (*seq > 0).then(|| command(heater, *seq, *issued, *cap)));
        self.desired.send_replace(Arc::new(Desired { commands: commands.collect() }));
    }

    fn heater_point(&self, role: HeaterRole) -> PointId {
        self.plant.heater(HeaterId(0)).unwrap().points.get(role).unwrap()
    }

    /// Wait until a point of rack-a reads this.
    async fn reads(&mut self, role: HeaterRole, expected: Reading) {
        let point = self.heater_point(role);
        self.point_reads(point, expected).await;
    }

    async fn link_reads(&mut self, up: bool) {
        let point = self.plant.site.get(SiteRole::BrokerLink).unwrap();
        self.point_reads(point, Reading::Good(Value::Bool(up))).await;
    }

    async fn point_reads(&mut self, point: PointId, expected: Reading) {
        let key = self.plant.point(point).unwrap().key.clone();
        let wait = async {
            while self.seen.get(&point) != Some(&expected) {
                let batch = self.readings.recv().await.expect("the client has ended");
                self.seen.extend(batch.into_iter().map(|update| (update.point, update.reading)));
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{key} is {:?} and not {expected:?}", self.seen.get(&point));
    }

    fn rejected(&self, cause: &'static str) -> u64 {
        self.metrics.rejected_so_far("mqtt", cause)
    }
}

/// A controller, or any other client: everything it was sent, and a way to speak.
struct Peer {
    client: AsyncClient,
    heard: Arc<Mutex<Vec<(String, Json, bool)>>>,
    _task: AbortOnDropHandle<()>,
}

impl Peer {
    /// Connected, and subscribed to a filter under the site's base.
    async fn start(address: SocketAddr, filter: &str) -> Self {
        let mut options =
            MqttOptions::new(format!("peer-{filter}").replace('/', "-"), address.ip().to_string(), address.port());
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut events) = AsyncClient::new(options, 64);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (subscribed, ready) = tokio::sync::oneshot::channel();
        let mut subscribed = Some(subscribed);
        let filter = format!("heatgate/v1/demo/{filter}");
        let (ears, mouth) = (Arc::clone(&heard), client.clone());
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        mouth.try_subscribe(filter.clone(), QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        if let Some(subscribed) = subscribed.take() {
                            let _ = subscribed.send(());
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let payload = serde_json::from_slice(&publish.payload).unwrap_or(Json::Null);
                        let tail = publish.topic.trim_start_matches("heatgate/v1/demo/").to_owned();
                        ears.lock().unwrap().push((tail, payload, publish.retain));
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap();
        Self { client, heard, _task: AbortOnDropHandle::new(task) }
    }

    async fn say(&self, tail: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(format!("heatgate/v1/demo/{tail}"), QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    async fn say_retained(&self, tail: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(format!("heatgate/v1/demo/{tail}"), QoS::AtLeastOnce, true, payload).await.unwrap();
    }

    fn payloads(&self, tail: &str) -> Vec<Json> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(topic, ..)| topic == tail).map(|(_, payload, _)| payload.clone()).collect()
    }

    /// Wait for a message on a topic that satisfies a condition.
    async fn hears(&self, tail: &str, what: &str, condition: impl Fn(&Json) -> bool) -> Json {
        let mut found = None;
        let heard = || format!("{what}: {:?}", self.heard.lock().unwrap());
        until(heard, || {
            found = self.payloads(tail).into_iter().find(&condition);
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

async fn until(what: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("did not come about: {}", what());
    }
}

fn seqs(peer: &Peer) -> Vec<u64> {
    peer.payloads("heaters/rack-a/command").iter().filter_map(|command| command["seq"].as_u64()).collect()
}

#[tokio::test]
async fn a_command_goes_out_and_its_acknowledgement_comes_back() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "heaters/rack-a/#").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    gateway.clock.set(Duration::from_secs(100));
    gateway.desire(&[(1, 40, 9000.0)]);
    let command = controller.hears("heaters/rack-a/command", "the command", |_| true).await;
    assert_eq!(
        command,
        json!({"v":1,"cmd_id":"boot-rack-a-1","boot_id":"boot","seq":1,"issued_at":"1970-01-01T00:00:40.000Z",
            "p_max_w":9000.0,"ttl_s":120.0,"ramp_w_per_s":100.0,"fallback_w":7500.0,"reason":["no heat is asked"]})
    );
    // Those of another boot, of no command, and broken ones say nothing.
    controller.say("heaters/rack-a/ack", ack_json("other", 1, "accepted")).await;
    controller.say("heaters/rack-a/ack", ack_json("boot", 2, "accepted")).await;
    controller.say("heaters/rack-a/ack", r#"{"v":1}"#).await;
    controller.say("heaters/rack-a/ack", ack_json("boot", 1, "clamped")).await;
    gateway.reads(HeaterRole::AckSeq, Reading::Good(Value::Unsigned(1))).await;
    gateway.reads(HeaterRole::AckResult, Reading::Good(Value::State(2))).await;
    gateway.reads(HeaterRole::Applied, Reading::number(9.0)).await;
    assert_eq!(gateway.rejected("acknowledgement of no command of this boot"), 2);
    assert_eq!(gateway.rejected("missing in the message"), 1);
}

#[tokio::test]
async fn telemetry_and_status_become_readings() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "heaters/rack-a/#").await;
    // What is retained was said before: a status is meant to be kept, a measurement is not.
    controller.say_retained("heaters/rack-a/status", r#"{"state":"online"}"#).await;
    controller.say_retained("heaters/rack-a/telemetry", telemetry_json("power_w", "1")).await;
    let handle = broker.handle.clone();
    until(|| "retained".into(), || handle.stats().retained == 2).await;
    let mut gateway = Gateway::start(broker.address);
    gateway.reads(HeaterRole::Online, Reading::Good(Value::Bool(true))).await;
    controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", "2500")).await;
    gateway.reads(HeaterRole::Power, Reading::number(2.5)).await;
    assert_eq!(gateway.rejected("retained"), 1);
    controller.say("heaters/rack-a/status", r#"{"state":"offline","at":"2026-01-01T00:00:00Z"}"#).await;
    gateway.reads(HeaterRole::Online, Reading::Good(Value::Bool(false))).await;
    gateway.reads(HeaterRole::Power, Reading::Bad(Fault::Offline)).await;
}

#[tokio::test]
async fn refused_telemetry_turns_the_power_bad_with_its_cause() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "heaters/rack-a/ack").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    let (missing, not_finite) = (Fault::Missing, Fault::NotFinite);
    let (out_of_range, malformed) = (Fault::OutOfRange, Fault::Malformed);
    let without = |field: &str| {
        String::from_utf8(telemetry_json(field, "0"))
            .unwrap()
            .replace(&format!("\"{field}\":0"), "\"else\":0")
            .into_bytes()
    };
    let mut table: Vec<(Vec<u8>, Fault)> = vec![
        (telemetry_json("power_w", "null"), not_finite),
        (telemetry_json("power_w", "1e999"), not_finite),
        (telemetry_json("power_w", "-1e999"), not_finite),
        (telemetry_json("power_w", "NaN"), not_finite),
        (telemetry_json("power_w", "Infinity"), not_finite),
        (telemetry_json("power_w", "\"12\""), malformed),
        (telemetry_json("power_w", "[12]"), malformed),
        (telemetry_json("power_w", "true"), malformed),
        (telemetry_json("power_w", "-0.1"), out_of_range),
        (telemetry_json("max_w", "-5"), out_of_range),
        (telemetry_json("state", "\"asleep\""), malformed),
        (telemetry_json("at", "\"yesterday\""), malformed),
        (telemetry_json("v", "2"), malformed),
        (b"".to_vec(), malformed),
        (b"[]".to_vec(), malformed),
        (b"{\"power_w\":1".to_vec(), malformed),
        (b"\xff\xfe\x00".to_vec(), malformed),
        ([telemetry_json("v", "1").strip_suffix(b"}").unwrap(), b",\"unknown\":\"\xff\"}"].concat(), malformed),
        (b"{\"power_w\":1,\"power_w\":2}".to_vec(), malformed),
        ("[".repeat(5000).into_bytes(), malformed),
        ("{\"a\":".repeat(2000).into_bytes(), malformed),
    ];
    for field in ["v", "at", "power_w", "min_w", "max_w", "applied_w", "state"] {
        table.push((without(field), missing));
    }
    for (payload, fault) in table {
        controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", "1000")).await;
        gateway.reads(HeaterRole::Power, Reading::number(1.0)).await;
        let before = gateway.rejected(fault.as_str());
        let text = String::from_utf8_lossy(&payload).chars().take(300).collect::<String>();
        controller.say("heaters/rack-a/telemetry", payload).await;
        let wanted = gateway.heater_point(HeaterRole::Power);
        tokio::time::timeout(PATIENCE, gateway.reads(HeaterRole::Power, Reading::Bad(fault)))
            .await
            .unwrap_or_else(|_| panic!("{text} is {:?}", gateway.seen.get(&wanted)));
        assert_eq!(gateway.rejected(fault.as_str()), before + 1, "{text}");
    }
}

#[tokio::test]
async fn hostile_topics_and_payloads_are_counted_and_harm_nobody() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let stranger = Peer::start(broker.address, "points/+/+/set/result").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    for tail in ["heaters/rack-z/telemetry", "heaters//telemetry", "heaters/é/status", "heaters/rack-z/ack"] {
        stranger.say(tail, telemetry_json("power_w", "1")).await;
    }
    stranger.say("points/É/x/set", "{}").await;
    stranger.say("heaters/rack-a/telemetry", vec![b' '; 20_000]).await;
    stranger.say("points/hall/nothing/set", r#"{"value":1,"priority":9,"id":"x"}"#).await;
    let answer = stranger.hears("points/hall/nothing/set/result", "a refusal", |_| true).await;
    assert_eq!(answer, json!({"id":"x","result":"refused","cause":"no such point"}));
    assert_eq!(gateway.rejected("unknown heater"), 4);
    assert_eq!(gateway.rejected("unknown topic"), 1);
    assert_eq!(gateway.rejected("payload too long"), 1);
    stranger.say("heaters/rack-a/telemetry", telemetry_json("power_w", "1000")).await;
    gateway.reads(HeaterRole::Power, Reading::number(1.0)).await;
}

#[tokio::test]
async fn a_set_asks_the_engine_and_is_answered() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let old = Peer::start(broker.address, "none").await;
    old.say_retained("points/hall/remote_limit/set", r#"{"value":1,"priority":9,"id":"old"}"#).await;
    let handle = broker.handle.clone();
    until(|| "retained".into(), || handle.stats().retained == 1).await;
    let operator = Peer::start(broker.address, "points/+/+/set/result").await;
    let watcher = Peer::start(broker.address, "events").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;

    operator.say("points/hall/remote_limit/set", r#"{"value":20.5,"priority":10,"id":7}"#).await;
    let submission = tokio::time::timeout(PATIENCE, gateway.requests.recv()).await.unwrap().unwrap();
    let write = submission.request.writes[0];
    assert_eq!(submission.request.origin.side, Side::Mqtt);
    assert_eq!(Some(write.point), gateway.plant.by_key("hall/remote_limit").map(|def| def.id));
    assert_eq!(write.action, Action::Set(Value::number(20.5).unwrap()));
    assert_eq!(Some(write.priority), Priority::new(10));
    submission.reply.send(Ok(Accepted { image_seq: 1 })).unwrap();
    let result = "points/hall/remote_limit/set/result";
    let answer = operator.hears(result, "an answer", |answer| answer["id"] == 7).await;
    assert_eq!(answer, json!({"id":7,"result":"accepted"}));

    operator.say("points/hall/remote_limit/set", r#"{"value":null,"priority":10,"id":"r"}"#).await;
    let submission = tokio::time::timeout(PATIENCE, gateway.requests.recv()).await.unwrap().unwrap();
    assert_eq!(submission.request.writes[0].action, Action::Relinquish);
    submission.reply.send(Err(Refusal::Busy)).unwrap();
    let answer = operator.hears(result, "an answer", |answer| answer["id"] == "r").await;
    assert_eq!(answer, json!({"id":"r","result":"refused","cause":"busy"}));

    operator.say("points/hall/remote_limit/set", r#"{"value":1,"priority":8,"id":"p"}"#).await;
    let answer = operator.hears(result, "an answer", |answer| answer["id"] == "p").await;
    assert_eq!(answer["cause"], "priority 8 is not open to mqtt: 9 to 16");
    let event = watcher.hears("events", "a refused write", |event| event["by"] == "p").await;
    assert_eq!((&event["kind"], &event["point"]), (&json!("refused_write"), &json!("hall/remote_limit")));
    assert_eq!(gateway.rejected("retained"), 1);
    assert!(gateway.requests.try_recv().is_err());
}

#[tokio::test]
async fn the_image_is_shown_and_kept_by_the_broker() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let gateway = Gateway::start(broker.address);
    let readings = [("hall/power_command", Reading::number(12.3)), ("hall/state", Reading::Good(Value::State(4)))];
    gateway.image.send_replace(Arc::new(image_with(&gateway.plant, &readings, now(5))));
    until(|| "the state".into(), || broker.retained("points/hall/state").is_some()).await;
    let shown = broker.retained("points/hall/state").unwrap();
    assert_eq!((&shown["value"], &shown["quality"]), (&json!(4), &json!("good")));
    let all = gateway.plant.points.len() + 2;
    until(|| "all of it".into(), || broker.handle.stats().retained == all).await;
    assert_eq!(broker.retained("zones/hall/demand").unwrap()["cap_w"], 12300.0);
    let status = broker.retained("gateway/status").unwrap();
    assert_eq!(
        (&status["state"], &status["boot_id"], &status["version"]),
        (&json!("online"), &json!("boot"), &json!("0.1.0"))
    );
}

#[tokio::test]
async fn a_gateway_that_dies_is_reported_by_its_will() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    let state = || broker.retained("gateway/status").map(|status| status["state"].clone());
    until(|| "online".into(), || state() == Some(json!("online"))).await;
    drop(gateway);
    until(|| "offline".into(), || state() == Some(json!("offline"))).await;
}

#[tokio::test]
async fn on_the_way_down_last_commands_go_out_before_offline() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let everybody = Peer::start(broker.address, "#").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    gateway.desire(&[(1, 0, 9000.0)]);
    everybody.hears("heaters/rack-a/command", "the first command", |command| command["seq"] == 1).await;
    gateway.stop.cancel();
    gateway.desire(&[(2, 0, 7500.0)]);
    tokio::time::timeout(PATIENCE, gateway.task).await.unwrap().unwrap();
    everybody.hears("gateway/status", "offline", |status| status["state"] == "offline").await;
    let heard = everybody.heard.lock().unwrap();
    let place = |tail: &str, field: &str, value: Json| {
        heard.iter().position(|(topic, payload, _)| topic == tail && payload[field] == value).unwrap()
    };
    let released = place("heaters/rack-a/command", "seq", json!(2));
    assert!(released < place("gateway/status", "state", json!("offline")));
    drop(heard);
    // A goodbye, so the will is not published: published are status twice, commands twice, the views; nothing follows.
    assert_eq!(broker.retained("gateway/status").unwrap()["state"], "offline");
    let offline = everybody.payloads("gateway/status").iter().filter(|status| status["state"] == "offline").count();
    assert_eq!(offline, 1);
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_or_goes_is_found_again_on_its_port() {
    let address = RunningBroker::start("127.0.0.1:0").halt().await;
    let mut gateway = Gateway::start(address);
    gateway.link_reads(false).await;
    gateway.desire(&[(1, 0, 9000.0), (1, 90, 8000.0)]);

    let broker = RunningBroker::start(&address.to_string());
    let controller = Peer::start(address, "heaters/+/command").await;
    gateway.link_reads(true).await;
    until(|| "published".into(), || broker.handle.stats().published >= 2).await;
    drop(controller);
    broker.halt().await;
    gateway.link_reads(false).await;

    // The lease of rack-a's command ends while nobody is there; that of rack-b's still runs.
    gateway.clock.set(Duration::from_secs(200));
    let broker = RunningBroker::start(&address.to_string());
    gateway.link_reads(true).await;
    let controller = Peer::start(address, "heaters/+/command").await;
    controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", "3000")).await;
    gateway.reads(HeaterRole::Power, Reading::number(3.0)).await;
    broker.handle.wipe_sessions();
    let again = controller.hears("heaters/rack-b/command", "the command again", |_| true).await;
    assert_eq!((again["seq"].as_u64(), again["ttl_s"].as_f64()), (Some(1), Some(70.0)));
    assert!(controller.payloads("heaters/rack-a/command").is_empty());
}

#[tokio::test]
async fn after_a_stall_only_the_newest_command_follows() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "heaters/+/command").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    gateway.desire(&[(1, 0, 1000.0)]);
    controller.hears("heaters/rack-a/command", "the first command", |_| true).await;
    broker.handle.stall(true);
    for seq in 2..=5 {
        gateway.desire(&[(seq, 0, 1000.0)]);
        tokio::task::yield_now().await;
    }
    gateway.link_reads(false).await;
    for seq in 6..=9 {
        gateway.desire(&[(seq, 0, 1000.0)]);
        tokio::task::yield_now().await;
    }
    broker.handle.stall(false);
    gateway.link_reads(true).await;
    controller.hears("heaters/rack-a/command", "the newest command", |command| command["seq"] == 9).await;
    gateway.desire(&[(10, 0, 1000.0)]);
    controller.hears("heaters/rack-a/command", "its successor", |command| command["seq"] == 10).await;
    let seqs = seqs(&controller);
    assert!(seqs.is_sorted(), "{seqs:?}");
    // One may have been on its way when the stall began; all that waited behind it are gone.
    assert!(seqs.len() <= 4, "{seqs:?}");
}

#[tokio::test]
async fn a_stalled_broker_does_not_hold_up_the_way_down() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    broker.handle.stall(true);
    gateway.stop.cancel();
    let ended = tokio::time::timeout(TIMING.farewell + TIMING.settle * 3, gateway.task).await;
    assert!(ended.is_ok(), "the client still waits");
}

#[tokio::test]
async fn wiped_sessions_are_made_anew() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    for _ in 0..3 {
        broker.handle.wipe_sessions();
        gateway.link_reads(false).await;
        gateway.link_reads(true).await;
    }
    let controller = Peer::start(broker.address, "none").await;
    controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", "4000")).await;
    gateway.reads(HeaterRole::Power, Reading::number(4.0)).await;
}

#[tokio::test]
async fn without_a_broker_for_longer_than_telemetry_may_age_its_points_say_so() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "none").await;
    let mut gateway = Gateway::start(broker.address);
    gateway.link_reads(true).await;
    controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", "4000")).await;
    gateway.reads(HeaterRole::Power, Reading::number(4.0)).await;
    broker.halt().await;
    gateway.link_reads(false).await;
    assert_eq!(gateway.seen.get(&gateway.heater_point(HeaterRole::Power)), Some(&Reading::number(4.0)));
    gateway.clock.set(Duration::from_secs(31));
    gateway.reads(HeaterRole::Power, Reading::Bad(Fault::NoCommunication)).await;
    gateway.reads(HeaterRole::Online, Reading::Bad(Fault::NoCommunication)).await;
}

#[tokio::test]
async fn a_slow_engine_delays_no_command() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let controller = Peer::start(broker.address, "heaters/+/command").await;
    let gateway = Gateway::start(broker.address);
    // Nobody takes readings: the channel of 4 batches fills up and stays full.
    for watts in 1..200 {
        controller.say("heaters/rack-a/telemetry", telemetry_json("power_w", &watts.to_string())).await;
    }
    gateway.desire(&[(1, 0, 1000.0)]);
    controller.hears("heaters/rack-a/command", "the command", |_| true).await;
}

#[tokio::test]
async fn closed_intervals_survive_a_broker_that_goes_and_are_marked_when_they_have_arrived() {
    let broker = RunningBroker::start("127.0.0.1:0");
    let address = broker.address;
    let mut gateway = Gateway::start(address);
    gateway.link_reads(true).await;
    broker.handle.stall(true);
    let all: Vec<SavedInterval> = (1..=100).map(interval).collect();
    gateway.unsent.send_replace(Arc::new(all.clone()));
    gateway.link_reads(false).await;
    assert!(gateway.sent.try_recv().is_err(), "nothing was acknowledged");
    broker.handle.stall(false);
    broker.halt().await;

    let broker = RunningBroker::start(&address.to_string());
    let biller = Peer::start(address, "meters/+/interval").await;
    gateway.link_reads(true).await;
    let mut marked = std::collections::BTreeSet::new();
    while marked.len() < 100 {
        let some = tokio::time::timeout(PATIENCE, gateway.sent.recv()).await.unwrap().unwrap();
        marked.extend(some.into_iter().map(|(_, seq)| seq));
        let left = all.iter().filter(|interval| !marked.contains(&interval.seq)).cloned().collect();
        gateway.unsent.send_replace(Arc::new(left));
    }
    // The biller may have come after the first ones; what it heard came in order, and nothing twice on one connection.
    biller.hears("meters/hall-meter/interval", "the last one", |interval| interval["seq"] == 100).await;
    let seqs: Vec<u64> =
        biller.payloads("meters/hall-meter/interval").iter().filter_map(|interval| interval["seq"].as_u64()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    drop(broker);
}
