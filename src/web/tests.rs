//! The web as a peer sees it: over a socket, with hand-written requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::limit::CONNECTIONS;
use super::server::{Server, serve_within};
use super::{Readiness, WebState, api, router};
use crate::decision::{
    Alarm, Alarms, Command, Decision, DemandMode, Desired, Reason, RequestSource, SafetyLatch, ZoneDecision, ZoneState,
};
use crate::plant::{
    BmsLossPolicy, Commandable, Device, DeviceId, Heater, HeaterId, HeaterRole, Link, ModbusLine, Plant, PointDef,
    Roles, SiteRole, Source, TemperatureLimit, Zone, ZoneId, ZoneRole,
};
use crate::point::{
    Doubt, Fault, Image, Kind, PointId, PointKey, Priority, PriorityArray, Reading, Sample, Slot, Value,
};
use crate::telemetry::Metrics;
use crate::time::{Mono, Now, TimeSource, Utc};
use crate::units::{Celsius, Energy, Unit, Watts};

const BOUND: Duration = Duration::from_secs(10);

struct TestClock(AtomicU64);

impl TimeSource for TestClock {
    fn now(&self) -> Now {
        at(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self, site: Duration) -> Duration {
        site
    }
}

fn at(s: u64) -> Now {
    let utc = Utc::from_millis(1_764_000_000_000 + i64::try_from(s).unwrap() * 1000);
    Now { mono: Mono::from_start(Duration::from_secs(s)), utc }
}

fn roles<R: crate::plant::Role>(bound: &[(R, u32)]) -> Roles<R> {
    let mut roles = Roles::default();
    for (role, point) in bound {
        roles.bind(*role, PointId(*point));
    }
    roles
}

fn plant() -> Plant {
    let def = |n: u32, key: &str, kind, unit, source| PointDef {
        id: PointId(n),
        key: PointKey::new(key).unwrap(),
        description: String::new(),
        kind,
        unit,
        range: None,
        absent: None,
        texts: Vec::new(),
        source,
        deadband: 0.0,
    };
    let commandable = Commandable {
        relinquish_default: Value::number(0.0).unwrap(),
        expires: Some(Duration::from_secs(300)),
        persist: false,
        mqtt_set: false,
        momentary: false,
    };
    let mut request = def(0, "hall/heat_request_percent", Kind::Number, Unit::Percent, Source::Command(commandable));
    request.description = "<script>alert(1)</script>".into();
    request.range = Some((0.0, 100.0));
    let mut state = def(4, "rack-a/state", Kind::State, Unit::None, Source::Heater(HeaterId(0)));
    state.texts = vec!["ready".into(), "starting".into()];
    let limit = TemperatureLimit { soft: Celsius::of(55.0), max: Celsius::of(60.0) };
    Plant {
        points: vec![
            request,
            def(1, "hall/heat_delivered", Kind::Number, Unit::Kilowatt, Source::Engine),
            def(2, "hall/heat_energy", Kind::Energy, Unit::KilowattHour, Source::Engine),
            def(3, "rack-a/power", Kind::Number, Unit::Watt, Source::Heater(HeaterId(0))),
            state,
            def(5, "hall-meter/link", Kind::Bool, Unit::None, Source::Engine),
            def(6, "site/alarms", Kind::Unsigned, Unit::None, Source::Engine),
            def(7, "hall-meter/supply", Kind::Number, Unit::Celsius, Source::Device(DeviceId(0))),
        ],
        zones: vec![Zone {
            id: ZoneId(0),
            name: "hall".into(),
            index: 0,
            heaters: vec![HeaterId(0)],
            meter: None,
            rated: Watts::from_kw(60.0),
            nominal_heat: Watts::from_kw(57.0),
            ramp_up_per_min: 0.2,
            ramp_down_per_min: 1.0,
            supply_limit: limit,
            room_limit: limit,
            inlet_limit: limit,
            contracted: Watts::ZERO,
            law: crate::plant::Law::default(),
            on_bms_loss: BmsLossPolicy::Cancel,
            points: roles(&[(ZoneRole::HeatDelivered, 1)]),
        }],
        heaters: vec![Heater {
            id: HeaterId(0),
            name: "rack-a".into(),
            zone: ZoneId(0),
            rated: Watts::from_kw(30.0),
            idle: Watts::ZERO,
            eta: 0.95,
            fallback: Watts::ZERO,
            may_switch_off: false,
            lease: Duration::from_secs(180),
            max_age: Duration::from_secs(30),
            points: roles(&[(HeaterRole::Power, 3), (HeaterRole::State, 4)]),
        }],
        devices: vec![Device::new(
            DeviceId(0),
            "hall-meter".into(),
            Link::Modbus { line: ModbusLine::Tcp { host: "10.20.0.31".into(), port: 502 }, unit: 1 },
            PointId(5),
        )],
        site: roles(&[(SiteRole::SiteAlarms, 6)]),
        ..Plant::default()
    }
}

fn image(seq: u64, now: Now) -> Image {
    let mut image = Image::empty(8, now);
    image.seq = seq;
    let slot = |value: f64, by: &str| Slot {
        value: Value::number(value).unwrap(),
        at: now,
        by: by.into(),
        restored: by.starts_with("bacnet"),
    };
    let mut slots = PriorityArray::default();
    slots.set(Priority::PROGRAM, slot(40.5, "modbus 10.0.0.7"));
    slots.set(Priority::LOWEST, slot(30.0, "bacnet 10.0.0.9"));
    let readings = [
        Reading::number(40.5),
        Reading::number(21.5),
        Reading::Uncertain(Value::Energy(Energy::from_wh(9_007_199_254_740_993)), Doubt::Estimated),
        Reading::number(24_300.0),
        Reading::Good(Value::State(1)),
        Reading::Good(Value::Bool(false)),
        Reading::Good(Value::Unsigned(3)),
        Reading::Bad(Fault::NoCommunication),
    ];
    for (n, reading) in (0..).zip(readings) {
        let state = image.get_mut(PointId(n)).unwrap();
        state.sample = Sample { reading, at: now };
        state.last = Value::number(45.25);
    }
    image.get_mut(PointId(0)).unwrap().slots = Some(Arc::new(slots));
    image
}

fn decision(now: Now) -> Decision {
    let mut alarms = Alarms::default();
    alarms.set(Alarm::MeterLost, true);
    let command = Command {
        heater: HeaterId(0),
        seq: 17,
        issued: now,
        cap: Watts::from_kw(25.0),
        ttl: Duration::from_secs(180),
        ramp_w_per_s: 0.0,
        fallback: Watts::from_kw(5.0),
        reasons: vec![Reason::Share { of: Watts::from_kw(25.0), total: Watts::from_kw(25.0) }],
    };
    Decision {
        zones: vec![ZoneDecision {
            zone: ZoneId(0),
            state: ZoneState::Limited,
            source: RequestSource::Bms,
            mode: DemandMode::Percent,
            request: Some(Watts::from_kw(23.1)),
            cap: Watts::from_kw(25.0),
            floor: Watts::from_kw(5.0),
            ceiling: Watts::from_kw(30.0),
            eta: 0.91,
            heat_available: Watts::from_kw(27.0),
            heat_minimum: Watts::from_kw(4.0),
            heat_undelivered: Watts::from_kw(1.6),
            unmet_wh: [0.0; 5],
            dump: Watts::ZERO,
            alarms,
            backup_call: true,
            fault_code: 3,
            reasons: vec![Reason::HeaterOut { heater: HeaterId(0), why: "local mode" }],
        }],
        desired: Arc::new(Desired { commands: vec![Some(command)] }),
        latches: vec![Some(SafetyLatch { cause: Alarm::EmergencyStop, since: Utc::from_millis(0) })],
    }
}

/// A served site.
struct Site {
    at: SocketAddr,
    clock: Arc<TestClock>,
    image: watch::Sender<Arc<Image>>,
    ready: Arc<Readiness>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    _decision: watch::Sender<Arc<Decision>>,
}

async fn site(seq: u64, silence: Option<Duration>) -> Site {
    let clock = Arc::new(TestClock(AtomicU64::new(100)));
    let (image_out, image) = watch::channel(Arc::new(image(seq, at(98))));
    let (decision_out, decision) = watch::channel(Arc::new(decision(at(90))));
    let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
    let ready = Arc::new(Readiness::of(&["modbus-server"]));
    let state = WebState {
        site: "demo".into(),
        plant: Arc::new(plant()),
        image,
        decision,
        metrics: metrics.clone(),
        time: clock.clone(),
        ready: ready.clone(),
    };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let (at, served) = if let Some(silence) = silence {
        let listener = TcpListener::bind(free).await.unwrap();
        let at = listener.local_addr().unwrap();
        (at, tokio::spawn(serve_within(listener, "http", router(state), metrics.clone(), stop.clone(), silence)))
    } else {
        let server = Server::bind(free).await.unwrap();
        (server.local_addr(), tokio::spawn(server.run(router(state), metrics.clone(), stop.clone())))
    };
    Site { at, clock, image: image_out, ready, metrics, stop, served, _decision: decision_out }
}

impl Site {
    async fn raw(&self, request: &str) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.at).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        tokio::time::timeout(BOUND, exchange).await.unwrap()
    }

    /// Status code, head, body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let answer = self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (status, head, body) = self.ask("GET", path).await;
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn health_follows_the_age_of_the_image() {
    let site = site(7, None).await;
    assert_eq!(site.ask("GET", "/healthz").await.0, 200);
    site.clock.0.store(107, Ordering::Relaxed);
    assert_eq!(site.ask("GET", "/healthz").await.0, 200);
    site.clock.0.store(108, Ordering::Relaxed);
    let (status, _, body) = site.ask("GET", "/healthz").await;
    assert_eq!(status, 503);
    let health: api::Health = serde_json::from_str(&body).unwrap();
    assert!(!health.ok && health.checks[0].detail.contains("10.0 s old"), "{health:?}");
}

#[tokio::test]
async fn ready_is_only_what_has_published_and_come_up() {
    let site = site(0, None).await;
    assert_eq!(site.ask("GET", "/healthz").await.0, 503, "no image is no sign of life");
    site.ready.set("modbus-server", true);
    assert_eq!(site.ask("GET", "/readyz").await.0, 503, "no image yet");
    site.image.send_replace(Arc::new(image(1, at(99))));
    let health: api::Health = site.json("/readyz").await;
    assert_eq!(
        health.checks.iter().map(|c| (c.name.as_str(), c.ok)).collect::<Vec<_>>(),
        [("image", true), ("modbus-server", true)]
    );
    site.ready.set("modbus-server", false);
    assert_eq!(site.ask("GET", "/readyz").await.0, 503);
}

#[tokio::test]
async fn points_say_value_quality_cause_age_and_who_commands() {
    let site = site(7, None).await;
    let points: api::Points = site.json("/api/v1/points").await;
    assert_eq!((points.site.as_str(), points.image_seq, points.points.len()), ("demo", 7, 8));
    let request = &points.points[0];
    assert_eq!(request.value, Some(api::Scalar::Number(40.5)));
    assert_eq!((request.priority, request.by.as_deref()), (Some(15), Some("modbus 10.0.0.7")));
    assert_eq!((request.unit.as_str(), request.quality.as_str(), request.age_s), ("%", "good", 2.0));
    assert_eq!((request.range, request.expires_s), (Some((0.0, 100.0)), Some(300.0)));
    assert_eq!(request.slots.iter().map(|s| (s.priority, s.restored)).collect::<Vec<_>>(), [(15, false), (16, true)]);
    let energy = &points.points[2];
    assert_eq!(energy.value, Some(api::Scalar::Whole(9_007_199_254_740_993)), "every Wh");
    assert_eq!((energy.unit.as_str(), energy.cause.as_deref()), ("Wh", Some("estimated")));
    assert_eq!(points.points[4].text.as_deref(), Some("ready"));
    let supply: api::Point = site.json("/api/v1/points/hall-meter/supply").await;
    assert_eq!((supply.value, supply.last), (None, Some(api::Scalar::Number(45.25))));
    assert_eq!((supply.cause.as_deref(), supply.source.as_str()), (Some("no communication"), "device hall-meter"));
    let some: api::Points = site.json("/api/v1/points?prefix=rack-a/").await;
    assert_eq!(some.points.len(), 2);
    assert_eq!(site.ask("GET", "/api/v1/points/no/such").await.0, 404);
}

#[tokio::test]
async fn the_decision_says_why_in_names() {
    let site = site(7, None).await;
    let decision: api::Decision = site.json("/api/v1/decision").await;
    let zone = &decision.zones[0];
    assert_eq!((zone.state.as_str(), zone.source.as_str(), zone.request_w), ("limited", "bms", Some(23_100.0)));
    assert_eq!((zone.delivered_w, zone.power_w), (Some(21_500.0), None));
    assert_eq!(zone.reasons, ["heater rack-a takes no part: local mode"]);
    assert_eq!(zone.latched.as_ref().map(|latch| latch.cause.as_str()), Some("emergency stop"));
    let heater = &decision.heaters[0];
    assert_eq!((heater.power_w, heater.state.as_deref(), heater.online), (Some(24_300.0), Some("ready"), None));
    let command = heater.command.as_ref().unwrap();
    assert_eq!((command.seq, command.cap_w, command.age_s), (17, 25_000.0, 10.0));
    let status: api::Status = site.json("/api/v1/status").await;
    let expected = ["latched", "meter lost", "backup", "written to disk", "began anew", "no link to hall-meter"];
    assert_eq!(status.alarms.len(), expected.len(), "{:?}", status.alarms);
    assert!(status.alarms.iter().zip(expected).all(|(alarm, word)| alarm.contains(word)), "{:?}", status.alarms);
}

#[tokio::test]
async fn the_page_shows_it_safely() {
    let site = site(7, None).await;
    let (status, head, body) = site.ask("GET", "/").await;
    assert_eq!(status, 200);
    for header in [
        "content-type: text/html",
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "x-frame-options: deny",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(body.contains("&lt;script&gt;alert(1)") && !body.contains("<script>"), "descriptions are text");
    assert!(!body.contains("style=") && !body.contains("onclick"), "the policy would block it");
    for words in ["limited", "23.1 kW", "heater rack-a takes no part: local mode", "6 alarms", "9007199254740.993 kWh"]
    {
        assert!(body.contains(words), "{words}");
    }
    assert!(body.find("alarms").unwrap() < body.find("rack-a").unwrap(), "alarms first");
    assert!(site.ask("GET", "/page.css").await.1.contains("content-type: text/css"));
    assert!(site.ask("GET", "/page.js").await.1.contains("content-type: text/javascript"));
}

#[tokio::test]
async fn nothing_can_be_written_and_odd_requests_are_answered() {
    let site = site(7, None).await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/api/v1/points/hall/heat_request_percent", "/metrics"] {
            let (status, head, body) = site.ask(method, path).await;
            assert_eq!(status, 405, "{method} {path}");
            assert!(body.contains("read-only") && head.contains("allow: get"), "{head} {body}");
        }
    }
    assert_eq!(site.ask("GET", "/../../etc/passwd").await.0, 404);
    assert_eq!(site.ask("GET", "/api/v1/points/%ff%fe").await.0, 400);
    assert!(site.raw("GARBAGE\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1_000_000));
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    // The server may close before it has read all of it.
    let _ = stream.write_all(long.as_bytes()).await;
    assert_eq!(site.ask("GET", "/healthz").await.0, 200, "and it still serves");
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let site = site(7, None).await;
    site.metrics.up("mqtt", true);
    let (status, head, body) = site.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("heatgate_link_up{link=\"mqtt\"} 1") && body.trim_end().ends_with("# EOF"), "{body}");
}

#[tokio::test]
async fn a_peer_that_never_finishes_is_closed() {
    let site = site(7, Some(Duration::from_millis(100))).await;
    let mut stream = TcpStream::connect(site.at).await.unwrap();
    let trickle = async {
        // Bytes that trickle in do not keep it open.
        loop {
            if stream.write_all(b"G").await.is_err() {
                return;
            }
            let mut byte = [0];
            let read = tokio::time::timeout(Duration::from_millis(10), stream.read(&mut byte)).await;
            if let Ok(Ok(0) | Err(_)) = read {
                return;
            }
        }
    };
    tokio::time::timeout(BOUND, trickle).await.unwrap();
}

#[tokio::test]
async fn connections_are_bounded_and_counted() {
    let site = site(7, None).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(site.at).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }
    let mut one_more = TcpStream::connect(site.at).await.unwrap();
    let mut byte = [0];
    let refused = tokio::time::timeout(BOUND, one_more.read(&mut byte)).await.unwrap();
    assert!(matches!(refused, Ok(0) | Err(_)));
    let text = site.metrics.render();
    assert!(text.contains(&format!("heatgate_clients{{link=\"http\"}} {CONNECTIONS}")), "{text}");
    assert!(text.contains("heatgate_dropped_total{link=\"http\",cause=\"too many connections\"} 1"), "{text}");
    drop(held);
    let free = async {
        while !site.metrics.render().contains("heatgate_clients{link=\"http\"} 0") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, free).await.unwrap();
    assert_eq!(site.ask("GET", "/healthz").await.0, 200);
}

#[tokio::test]
async fn a_stop_ends_it_in_bounded_time_whoever_holds_a_connection() {
    let site = site(7, None).await;
    let mut idle = TcpStream::connect(site.at).await.unwrap();
    idle.write_all(b"GET / HT").await.unwrap();
    assert_eq!(site.ask("GET", "/healthz").await.0, 200);
    site.stop.cancel();
    tokio::time::timeout(BOUND, site.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(site.at).await.is_err());
}

#[test]
fn scalars_read_back_as_they_were() {
    for scalar in
        [api::Scalar::Bool(true), api::Scalar::Whole(u64::MAX), api::Scalar::Number(5.0), api::Scalar::Number(-1.5)]
    {
        let text = serde_json::to_string(&scalar).unwrap();
        assert_eq!(serde_json::from_str::<api::Scalar>(&text).unwrap(), scalar, "{text}");
    }
}
