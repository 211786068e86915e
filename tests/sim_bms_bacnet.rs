//! The simulated BMS over BACnet against a whole gateway, its meter and its heaters, on ephemeral ports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use heatgate::config;
use heatgate::decision::{Alarm, Decision};
use heatgate::gateway::clock::SystemClock;
use heatgate::gateway::{Addresses, Gateway, Setup, Views};
use heatgate::mapping::{BuiltinFiles, compile};
use heatgate::plant::{Link, ModbusLine, Plant};
use heatgate::point::{Image, Priority};
use heatgate::sim::BrokerAddress;
use heatgate::sim::bms::{BacnetWire, BmsReport, BmsSim, BmsWire, BothWires, ModbusWire, Programme, Steps};
use heatgate::sim::broker::{Broker, Settings as BrokerSettings};
use heatgate::sim::heater::HeaterSim;
use heatgate::sim::meter::MeterSim;
use heatgate::time::TimeSource;
use heatgate::units::{Percent, Watts};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How much faster than the wall the site lives.
const SPEED: f64 = 60.0;

/// A gateway that runs in its site.
struct Site {
    at: Addresses,
    plant: Arc<Plant>,
    views: Views,
    time: Arc<dyn TimeSource>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _parts: DropGuard,
    _state: tempfile::TempDir,
}

/// A bound on anything that is waited for.
async fn within<T>(task: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), task).await.expect("in time")
}

async fn site() -> Site {
    let time: Arc<dyn TimeSource> = Arc::new(SystemClock::new(SPEED).unwrap());
    let (parts, stop) = (CancellationToken::new(), CancellationToken::new());
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let state = tempfile::tempdir().unwrap();

    let broker = Broker::bind(any, BrokerSettings::default()).unwrap();
    let link = BrokerAddress::new("127.0.0.1", broker.local_addr().port());
    let settings = [
        ("HEATGATE__MODBUS__LISTEN", any.to_string()),
        ("HEATGATE__BACNET__LISTEN", any.to_string()),
        ("HEATGATE__HTTP__LISTEN", any.to_string()),
        ("HEATGATE__MQTT__URL", format!("mqtt://{}", broker.local_addr())),
        ("HEATGATE__STATE_DIR", state.path().display().to_string()),
    ];
    let settings: Vec<(String, String)> = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let (config, _) = config::load(Some(&config::builtin_demo()), &settings).unwrap();
    tokio::spawn(broker.run(parts.clone()));
    let meter = MeterSim::new("demo", "hall-meter", link.clone()).bind(any).await.unwrap();
    let mut plant = compile("demo.toml", &BuiltinFiles).plant.unwrap();
    let Link::Modbus { line: ModbusLine::Tcp { host, port }, .. } = &mut plant.devices[0].link else {
        panic!("the demo's meter is polled over Modbus")
    };
    (*host, *port) = ("127.0.0.1".to_owned(), meter.local_addr().unwrap().port());
    tokio::spawn(meter.run(Arc::clone(&time), parts.clone()));
    for name in ["rack-a", "rack-b"] {
        tokio::spawn(HeaterSim::new("demo", name, link.clone()).run(Arc::clone(&time), parts.clone()));
    }

    let plant = Arc::new(plant);
    let setup = Setup {
        config,
        plant: Arc::clone(&plant),
        time: Arc::clone(&time),
        liveness: 1.0,
        bms_liveness: 1.0,
        outside: BTreeSet::new(),
        observe: false,
    };
    let gateway = Gateway::start(setup).await.unwrap();
    let (at, views, stopped) = (gateway.addresses().clone(), gateway.views().clone(), stop.clone());
    let running = tokio::spawn(async move { gateway.run_until(stopped.cancelled()).await.unwrap() });
    Site { at, plant, views, time, stop, running, _parts: parts.drop_guard(), _state: state }
}

impl Site {
    fn bacnet(&self) -> BacnetWire {
        let Some(SocketAddr::V4(device)) = self.at.bacnet else { panic!("no BACnet") };
        BacnetWire::new(device, 0)
    }

    /// A BMS that asks for 40 % for 10 min of site time, and then for 70 %.
    fn bms(&self, wire: impl BmsWire + 'static) -> (watch::Receiver<BmsReport>, CancellationToken, JoinHandle<()>) {
        let levels = [40.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0].map(Percent::of).to_vec();
        let steps = Steps::new(levels, Duration::from_secs(600));
        let sim = BmsSim::new(wire, Programme::Steps(steps), self.plant.zones[0].nominal_heat);
        let (report, stop) = (sim.report(), CancellationToken::new());
        let task = tokio::spawn(sim.run(Arc::clone(&self.time), stop.clone()));
        (report, stop, task)
    }

    /// Which priorities hold a point of the zone.
    fn slots(&self, image: &Image, point: &str) -> Vec<u8> {
        let id = self.plant.by_key(&format!("hall/{point}")).unwrap().id;
        let Some(slots) = image.get(id).and_then(|state| state.slots.clone()) else { return Vec::new() };
        Priority::all().filter(|priority| slots.get(*priority).is_some()).map(Priority::get).collect()
    }

    async fn decided(&self, wanted: impl FnMut(&Arc<Decision>) -> bool) -> Arc<Decision> {
        let mut decision = self.views.decision.clone();
        Arc::clone(&*within(decision.wait_for(wanted)).await.unwrap())
    }

    async fn imaged(&self, wanted: impl FnMut(&Arc<Image>) -> bool) -> Arc<Image> {
        let mut image = self.views.image.clone();
        Arc::clone(&*within(image.wait_for(wanted)).await.unwrap())
    }

    async fn end(self) {
        self.stop.cancel();
        within(self.running).await.unwrap();
    }
}

fn requests(decision: &Decision, share: f64, nominal: Watts) -> bool {
    decision.zones[0].request.is_some_and(|request| (request - nominal * share).abs() < Watts::of(10.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_over_bacnet_and_read_over_both() {
    let site = site().await;
    let nominal = site.plant.zones[0].nominal_heat;
    let modbus = ModbusWire::new("127.0.0.1", site.at.modbus.port(), 1, 0);
    let (mut report, stop, task) = site.bms(BothWires::new(site.bacnet(), modbus));
    let asked = site.decided(|decision| requests(decision, 0.4, nominal)).await;
    assert!(!asked.zones[0].alarms.has(Alarm::BmsLost));
    site.decided(|decision| requests(decision, 0.7, nominal)).await;
    let warm = |report: &BmsReport| {
        let heat = report.view.and_then(|view| view.heat_delivered).unwrap_or_default();
        report.asked == Some(Percent::of(70.0))
            && heat > nominal * 0.1
            && report.compared.as_ref().is_some_and(|compared| compared.agreed > 10)
    };
    let seen = within(report.wait_for(warm)).await.unwrap().clone();
    let compared = seen.compared.unwrap();
    assert_eq!((compared.differed, compared.difference), (0, None));
    assert_eq!((seen.refused, seen.losses), (0, 0), "{:?}", seen.refusal);
    assert!(seen.metered_heat.is_some_and(|heat| heat.wh() > 0), "{:?}", seen.metered_heat);

    let image = Arc::clone(&site.views.image.borrow());
    for point in ["heat_request_percent", "demand_mode", "enable"] {
        assert_eq!(site.slots(&image, point), [16], "{point}");
    }
    assert_eq!(site.slots(&image, "bms_heartbeat"), [15]);

    // At the end it takes back what it asked, and only that: Modbus knows no way to.
    stop.cancel();
    within(task).await.unwrap();
    let image = site.imaged(|image| site.slots(image, "heat_request_percent").is_empty()).await;
    assert!(site.slots(&image, "enable").is_empty() && site.slots(&image, "demand_mode").is_empty());
    assert_eq!(site.slots(&image, "bms_heartbeat"), [15]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_bacnet_alone_at_a_chosen_priority() {
    let site = site().await;
    let nominal = site.plant.zones[0].nominal_heat;
    let (mut report, stop, task) = site.bms(site.bacnet().at(Priority::new(12).unwrap()));
    site.decided(|decision| requests(decision, 0.4, nominal)).await;
    let seen = within(report.wait_for(|report| report.reads > 5 && report.view.is_some_and(|view| view.state >= 3)));
    let seen = seen.await.unwrap().clone();
    assert_eq!((seen.refused, seen.losses, seen.compared), (0, 0, None), "{:?}", seen.refusal);
    let points = ["heat_request_percent", "demand_mode", "enable", "bms_heartbeat"];
    let image = Arc::clone(&site.views.image.borrow());
    for point in points {
        assert_eq!(site.slots(&image, point), [12], "{point}");
    }
    stop.cancel();
    within(task).await.unwrap();
    site.imaged(|image| points.iter().all(|point| site.slots(image, point).is_empty())).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_is_not_there_is_refused_and_a_gateway_that_is_not_there_is_lost() {
    let site = site().await;
    let Some(SocketAddr::V4(device)) = site.at.bacnet else { panic!("no BACnet") };
    let (mut report, stop, task) = site.bms(BacnetWire::new(device, 3));
    let seen = within(report.wait_for(|report| report.refused > 2)).await.unwrap().clone();
    assert_eq!((seen.connected, seen.connects, seen.losses, seen.writes, seen.reads), (true, 1, 0, 0, 0));
    assert!(seen.refusal.as_deref().is_some_and(|why| why.starts_with("BACnet: ")), "{:?}", seen.refusal);
    stop.cancel();
    within(task).await.unwrap();

    // A port that was free a moment ago; what it says there is heard by nobody.
    let gone = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let SocketAddr::V4(gone) = gone else { panic!() };
    let nobody = SocketAddrV4::new(*gone.ip(), gone.port());
    let (mut report, stop, task) = site.bms(BacnetWire::new(nobody, 0));
    let seen = within(report.wait_for(|report| report.losses > 1)).await.unwrap().clone();
    assert_eq!((seen.connected, seen.connects, seen.refused), (false, 0, 0));
    stop.cancel();
    within(task).await.unwrap();
    site.end().await;
}
