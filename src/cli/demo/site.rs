//! The demonstration's site: the simulated parts around a gateway, every one reached over a socket.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::{Args, Part};
use crate::cli::load;
use crate::gateway::clock::SystemClock;
use crate::gateway::{Gateway, Setup, StartError};
use crate::plant::{HeaterId, Link, ModbusLine, Plant};
use crate::sim::BrokerAddress;
use crate::sim::bms::{BacnetWire, BmsSim, BothWires, ModbusWire, Programme};
use crate::sim::broker::{Broker, Settings as BrokerSettings};
use crate::sim::heater::HeaterSim;
use crate::sim::meter::MeterSim;
use crate::time::TimeSource;
use crate::units::Watts;

/// The name of the simulated meter's device in the demonstration's mapping.
const METER: &str = "hall-meter";
/// The unit id of the gateway's Modbus server in the demonstration's configuration.
const MODBUS_UNIT: u8 = 1;
/// Wall time that simulated parts may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// A site that runs.
pub(super) struct Running {
    pub site_id: String,
    pub bacnet_device: u32,
    pub broker: SocketAddr,
    pub broker_outside: bool,
    pub meter: SocketAddr,
    pub meter_outside: bool,
    pub speed: f64,
    pub plant: Arc<Plant>,
    pub gateway: Gateway,
    pub parts: Parts,
}

/// The simulated parts, and how to end them.
pub(super) struct Parts {
    tasks: JoinSet<()>,
    /// The BMS, which ends first: nobody asks any more while the gateway goes down.
    bms: JoinSet<()>,
    stop_bms: CancellationToken,
    /// Ends the rest, after the gateway released what it commanded.
    stop: CancellationToken,
    /// Removed at the end.
    _state: Option<TemporaryDir>,
}

impl Parts {
    /// Nobody asks any more, and what was asked is taken back.
    pub async fn stop_asking(&mut self) {
        self.stop_bms.cancel();
        let ended = async { while self.bms.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }

    /// End all of them.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // They hold nothing that must be kept: what does not end in time is broken off with the runtime.
        let _ = tokio::time::timeout(PATIENCE, ended).await;
    }
}

/// Why a demonstration did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// A simulated part's address cannot be had.
    #[error("{what} cannot listen on {address}: {source}; choose another with {option}")]
    Listen { what: &'static str, address: SocketAddr, option: &'static str, source: std::io::Error },
    /// The gateway did not start.
    #[error("{0}")]
    Gateway(String),
    /// The shipped files do not fit the options: the findings were printed.
    #[error("the demonstration's configuration cannot be used")]
    Files,
}

/// The gateway's configuration keys as this command's options.
fn as_option(error: &StartError) -> String {
    let text = error.to_string();
    ["modbus", "bacnet", "http"]
        .iter()
        .fold(text, |text, part| {
            text.replace(&format!("choose another with {part}.listen"), &format!("choose another with --{part}"))
        })
        .replace("with state_dir", "with --state-dir")
}

/// Start everything: the broker and the meter first, so that the gateway finds them.
pub(super) async fn start(args: &Args, time: &Arc<SystemClock>) -> Result<Running, DemoError> {
    let left_out = args.left_out();
    let (stop, stop_bms) = (CancellationToken::new(), CancellationToken::new());
    let (mut tasks, mut bms) = (JoinSet::new(), JoinSet::new());
    let clock: Arc<dyn TimeSource> = Arc::clone(time) as Arc<dyn TimeSource>;

    let broker_outside = left_out.contains(&Part::Broker);
    let mut broker = args.broker;
    if !broker_outside {
        let failed = |source| DemoError::Listen {
            what: "the loopback broker",
            address: args.broker,
            option: "--broker (or leave it out with --without broker and name your own)",
            source,
        };
        let bound = Broker::bind(args.broker, BrokerSettings::default()).map_err(failed)?;
        broker = bound.local_addr();
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = bound.run(stop).await {
                tracing::error!(%error, "the loopback broker ended");
            }
        });
    }
    let link = BrokerAddress::new(broker.ip().to_string(), broker.port());

    let state = match &args.state_dir {
        Some(_) => None,
        None => {
            Some(TemporaryDir::new().map_err(|error| DemoError::Gateway(format!("no temporary directory: {error}")))?)
        }
    };
    let state_dir = args.state_dir.clone().or_else(|| state.as_ref().map(|dir| dir.0.clone())).unwrap_or_default();
    let load::Loaded { config, mut plant, files, .. } = configure(args, broker, &state_dir)?;
    let site_id = config.site.id.clone();

    let meter_outside = left_out.contains(&Part::Meter);
    let mut meter = args.meter;
    if !meter_outside {
        let failed = |source| DemoError::Listen {
            what: "the simulated heat meter",
            address: args.meter,
            option: "--meter",
            source,
        };
        let bound = MeterSim::new(site_id.as_str(), METER, link.clone()).bind(args.meter).await.map_err(failed)?;
        meter = bound.local_addr().map_err(failed)?;
        tasks.spawn(bound.run(Arc::clone(&clock), stop.clone()));
    }
    for device in plant.devices.iter_mut().filter(|device| device.name == METER) {
        if let Link::Modbus { line: ModbusLine::Tcp { host, port }, .. } = &mut device.link {
            (*host, *port) = (meter.ip().to_string(), meter.port());
        }
    }

    let outside = |out: bool| if out { time.speed() } else { 1.0 };
    let heaters_outside: BTreeSet<HeaterId> =
        plant.heaters.iter().filter(|heater| args.without_heater(&heater.name)).map(|heater| heater.id).collect();
    let bacnet_device = config.bacnet.instance;
    let plant = Arc::new(plant);
    let setup = Setup {
        config,
        plant: Arc::clone(&plant),
        time: Arc::clone(&clock),
        liveness: outside(!heaters_outside.is_empty() || meter_outside || broker_outside),
        bms_liveness: outside(left_out.contains(&Part::Bms)),
        outside: heaters_outside,
        observe: false,
    };
    let gateway =
        Gateway::start_recorded(setup, &files).await.map_err(|error| DemoError::Gateway(as_option(&error)))?;

    for name in super::HEATERS.iter().filter(|name| !args.without_heater(name)) {
        tasks.spawn(HeaterSim::new(site_id.as_str(), *name, link.clone()).run(Arc::clone(&clock), stop.clone()));
    }
    if !left_out.contains(&Part::Bms) {
        let at = gateway.addresses();
        let modbus = ModbusWire::new(at.modbus.ip().to_string(), at.modbus.port(), MODBUS_UNIT, 0);
        let nominal = plant.zones.first().map_or(Watts::ZERO, |zone| zone.nominal_heat);
        let sim = match at.bacnet {
            // As in a store: the head-end asks over BACnet at priority 16, the controller beside the boiler beats and reads
            // over Modbus. Whoever writes over Modbus, at 15, overrides the head-end until the value is relinquished.
            Some(SocketAddr::V4(device)) => {
                BmsSim::new(BothWires::new(BacnetWire::new(device, 0), modbus), Programme::default(), nominal)
            }
            _ => BmsSim::new(modbus, Programme::default(), nominal),
        };
        bms.spawn(sim.run(clock, stop_bms.clone()));
    }
    let parts = Parts { tasks, bms, stop_bms, stop, _state: state };
    Ok(Running {
        site_id,
        bacnet_device,
        broker,
        broker_outside,
        meter,
        meter_outside,
        speed: time.speed(),
        plant,
        gateway,
        parts,
    })
}

/// The shipped demonstration files with this run's addresses.
fn configure(args: &Args, broker: SocketAddr, state_dir: &std::path::Path) -> Result<load::Loaded, DemoError> {
    let overrides = [
        ("HEATGATE__MODBUS__LISTEN", args.modbus.to_string()),
        ("HEATGATE__BACNET__LISTEN", args.bacnet.to_string()),
        ("HEATGATE__HTTP__LISTEN", args.http.to_string()),
        ("HEATGATE__MQTT__URL", format!("mqtt://{broker}")),
        ("HEATGATE__STATE_DIR", state_dir.display().to_string()),
    ];
    let overrides: Vec<(String, String)> = overrides.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    load::demo(&overrides).map_err(|findings| {
        for finding in findings {
            crate::cli::complain(finding);
        }
        DemoError::Files
    })
}

/// A directory of this process's own, removed when it is dropped.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> std::io::Result<Self> {
        let name = format!("heatgate-demo-{}-{}", std::process::id(), crate::gateway::clock::boot_id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // Left behind at worst; the system clears its temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
