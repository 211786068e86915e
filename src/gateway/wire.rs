//! Wiring: from a configuration and a plant to a running gateway, and down again.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::clock::boot_id;
use super::courier::Courier;
use super::engine_task::{EngineTask, LocalRearm};
use super::keeper;
use super::listeners;
use super::local::{Acts, LocalSocket};
use super::recorder::{Allowance, Recorder};
use super::supervise::{TaskEnded, Tasks};
use crate::config::{BacnetRole, Config};
use crate::decision::{Decision, Desired};
use crate::engine::{Engine, Restored, Settings as EngineSettings};
use crate::plant::{HeaterId, Plant};
use crate::point::Image;
use crate::ports::{Keepsakes, Ports, Requests};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::time::TimeSource;
use crate::trace::Header;
use crate::{bacnet, control, modbus, mqtt, web};

/// Requests that may wait for the engine; beyond that they are refused as busy.
const REQUEST_QUEUE: usize = 64;
/// Batches of readings that may wait; beyond that the poller waits.
const READING_QUEUE: usize = 256;
/// How long adapters may drain, on the wall.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last checkpoint may take, on the wall.
const LAST_SAVE: Duration = Duration::from_secs(5);

/// What a gateway is made of.
pub struct Setup {
    /// This box.
    pub config: Config,
    /// The site.
    pub plant: Arc<Plant>,
    /// The time.
    pub time: Arc<dyn TimeSource>,
    /// How much longer parties that report may stay silent, in site time, because they live in wall time.
    pub liveness: f64,
    /// The same for the BMS.
    pub bms_liveness: f64,
    /// Heaters whose controllers live in wall time.
    pub outside: BTreeSet<HeaterId>,
    /// Nothing is commanded or written.
    pub observe: bool,
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be had.
    #[error("{what} cannot listen on {address}: {source}; choose another with {option}")]
    Listen {
        /// Which server.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// The configuration key that moves it.
        option: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// A file that holds a password cannot be used.
    #[error("the password file {} cannot be used: {source}; it is named by {option}", .file.display())]
    Password {
        /// Which.
        file: PathBuf,
        /// The configuration key that names it.
        option: &'static str,
        /// The system's word, or what is wrong with it.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{} cannot be used: {why}; it is named in {section}", .file.display())]
    Certificate {
        /// Which file.
        file: PathBuf,
        /// The system's word, or what is wrong with its content.
        why: String,
        /// The section of the configuration that names it.
        section: &'static str,
    },
    /// The state directory cannot be used.
    #[error("the state directory {} cannot be used: {why}; choose another with state_dir", .dir.display())]
    State {
        /// Which.
        dir: PathBuf,
        /// The system's or the database's word.
        why: String,
    },
}

/// Where the gateway can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Modbus TCP.
    pub modbus: SocketAddr,
    /// BACnet/IP.
    pub bacnet: Option<SocketAddr>,
    /// Status page.
    pub http: SocketAddr,
    /// The local socket.
    pub local: PathBuf,
}

/// What others may watch.
#[derive(Clone)]
pub struct Views {
    /// The newest image.
    pub image: watch::Receiver<Arc<Image>>,
    /// The newest decision.
    pub decision: watch::Receiver<Arc<Decision>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A gateway that runs.
pub struct Gateway {
    addresses: Addresses,
    views: Views,
    adapters: Tasks,
    keeper: Tasks,
    engine: Tasks,
    release: CancellationToken,
    released: CancellationToken,
    restart: CancellationToken,
    stop: CancellationToken,
    stop_keeper: CancellationToken,
    stop_engine: CancellationToken,
}

fn listen<T>(
    what: &'static str,
    address: SocketAddr,
    option: &'static str,
    bound: io::Result<T>,
) -> Result<T, StartError> {
    bound.map_err(|source| StartError::Listen { what, address, option, source })
}

impl Gateway {
    /// Bind everything, then start everything. Nothing is recorded.
    pub async fn start(setup: Setup) -> Result<Self, StartError> {
        Self::start_recorded(setup, &[]).await
    }

    /// The same with a trace, where the configuration wants one. `files`: the mapping's, by name and text, the root first;
    /// none: nothing is recorded.
    pub async fn start_recorded(setup: Setup, files: &[(String, String)]) -> Result<Self, StartError> {
        let Setup { config, plant, time, liveness, bms_liveness, outside, observe } = setup;
        let mqtt_settings = mqtt_settings(&config, outside)?;
        let modbus_servers = listeners::bind(&config, &plant)?;
        let client_tls = listeners::client_tls(&config)?;
        let modbus_at = modbus_servers.iter().find_map(modbus::server::Server::local_addr);
        let modbus_at = modbus_at.unwrap_or(config.modbus.listen);
        let bacnet_node = if config.bacnet.enabled {
            let mut settings =
                bacnet::Settings { password: bacnet_password(&config)?, ..bacnet_settings(&config, observe) };
            if let Some(secure) = &mut settings.secure {
                secure.tls = listeners::hub_tls(&config)?;
            }
            let node = bacnet::Node::bind(settings, Arc::clone(&plant));
            Some(listen("the BACnet server", config.bacnet.port.listen.into(), "bacnet.listen", node)?)
        } else {
            None
        };
        let web_server = web::server::Server::bind(config.http.listen).await;
        let web_server = listen("the status page", config.http.listen, "http.listen", web_server)?;

        let state_error = |why: String| StartError::State { dir: config.state_dir.clone(), why };
        // The lock first: who does not hold it must not touch the socket of who does.
        let (store, restored) = Store::open(&config.state_dir).map_err(|error| state_error(error.to_string()))?;
        let local_at = config.state_dir.join("heatgate.sock");
        let local = LocalSocket::bind(&local_at).await.map_err(|error| state_error(error.to_string()))?;
        if let Some(reason) = &restored.unwritable {
            tracing::error!(%reason, "the state can be read and not written");
        }
        if let Some(reason) = &restored.lost {
            tracing::error!(%reason, "the memory of this gateway is lost; totals begin a new epoch");
        }
        let metrics = Arc::new(Metrics::new());
        let (keepsakes, desk) = Keepsakes::new(restored.keepsakes, Arc::clone(&metrics));
        let restored = Restored {
            new_epoch: restored.lost.as_ref().map(|_| restored.epoch),
            counters: restored.checkpoint.counters,
            latches: restored.checkpoint.latches,
            slots: restored.checkpoint.slots,
            efficiencies: restored.checkpoint.efficiencies,
            runtimes: restored.checkpoint.runtimes,
        };

        let settings = EngineSettings { control: control::Settings { observe, liveness, bms_liveness }, liveness };
        let now = time.now();
        let boot = boot_id();
        let header = (config.trace.enabled && !files.is_empty())
            .then(|| Header::new((&config.site.id, &boot), files, &plant, &settings, &restored, now));
        let (engine, first) = Engine::new(Arc::clone(&plant), settings, restored, now);
        let (recorder, recording) = header
            .map(|header| Recorder::new(allowance(&config), header, engine.decision(), Arc::clone(&metrics)))
            .unzip();

        let empty = Arc::new(Image::empty(plant.points.len(), time.now()));
        let (image_out, image) = watch::channel(first.image.clone().unwrap_or(empty));
        let (desired_out, desired) = watch::channel(Arc::new(Desired::default()));
        let (decision_out, decision) = watch::channel(Arc::clone(engine.decision()));
        let (readings_in, readings) = mpsc::channel(READING_QUEUE);
        let (requests_in, requests) = Requests::channel(REQUEST_QUEUE);
        let (rearm_in, rearm) = mpsc::channel::<LocalRearm>(4);
        let [release, released, restart, stop, stop_keeper, stop_engine] =
            std::array::from_fn(|_| CancellationToken::new());
        if bacnet_node.is_none() {
            let lost = bacnet::unreachable(&plant);
            if !lost.is_empty() {
                tracing::warn!(
                    "the mapping has BACnet devices, and bacnet.enabled is false: nobody reads or writes them"
                );
                // The queue is new and has room.
                let _ = readings_in.try_send(lost);
            }
        }
        let ports = Ports {
            image: image.clone(),
            desired,
            readings: readings_in,
            requests: requests_in,
            keepsakes,
            time: Arc::clone(&time),
            metrics: Arc::clone(&metrics),
            restart: restart.clone(),
            stop: stop.clone(),
        };
        let views = Views { image, decision, metrics: Arc::clone(&metrics) };
        let addresses = Addresses {
            modbus: modbus_at,
            bacnet: bacnet_node.as_ref().map(bacnet::Node::local_addr),
            http: web_server.local_addr(),
            local: local_at,
        };

        let store_writer = store.writer();
        let mut engine_tasks = Tasks::default();
        if let Some(recorder) = recorder {
            engine_tasks.spawn("the recorder", recorder.run());
        }
        let task = EngineTask {
            engine,
            readings,
            requests,
            rearm,
            image: image_out,
            desired: desired_out,
            decision: decision_out,
            store: store_writer.clone(),
            recording,
            time: Arc::clone(&time),
            metrics: Arc::clone(&metrics),
            release: release.clone(),
            released: released.clone(),
            stop: stop_engine.clone(),
        };
        engine_tasks.spawn("the engine", async move {
            task.run(first).await;
            store.close();
        });

        let mut keeping = Tasks::default();
        keeping.spawn("the keeper", keeper::run(desk, store_writer.clone(), stop_keeper.clone()));

        let mut adapters = Tasks::default();
        for server in modbus_servers {
            let serving = server.run(ports.clone());
            adapters.spawn_apart("Modbus server", async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "a Modbus server ended");
                }
            });
        }
        if let Some(node) = bacnet_node {
            adapters.spawn_apart("BACnet server", node.run(ports.clone()));
        }
        let polling = modbus::client::Setup { observe, tls: client_tls };
        for group in modbus::client::spawn_list(&plant) {
            adapters
                .spawn("a Modbus link", modbus::client::run(group, polling.clone(), Arc::clone(&plant), ports.clone()));
        }
        let (courier, intervals) = Courier::new(store_writer);
        adapters.spawn("the courier", courier.run(stop.clone()));
        let client = mqtt::client::run_with_intervals(mqtt_settings, Arc::clone(&plant), ports.clone(), intervals);
        adapters.spawn("the MQTT client", client);
        let ready = Arc::new(web::Readiness::of(&["listeners", "store"]));
        ready.set("listeners", true);
        ready.set("store", true);
        let state = web::WebState {
            site: config.site.id.as_str().into(),
            plant: Arc::clone(&plant),
            image: views.image.clone(),
            decision: views.decision.clone(),
            metrics: Arc::clone(&metrics),
            time,
            ready,
        };
        let router = web::router(state);
        adapters.spawn("the local socket", {
            let acts = Acts { plant, rearm: rearm_in };
            local.run(router.clone(), acts, Arc::clone(&metrics), stop.clone())
        });
        adapters.spawn("the status page", web_server.run(router, metrics, stop.clone()));
        Ok(Self {
            addresses,
            views,
            adapters,
            keeper: keeping,
            engine: engine_tasks,
            release,
            released,
            restart,
            stop,
            stop_keeper,
            stop_engine,
        })
    }

    /// Where it can be reached.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Cancelled when a device manager asks for a restart: end the gateway then, and start it again.
    pub const fn restart_asked(&self) -> &CancellationToken {
        &self.restart
    }

    /// What it shows.
    pub const fn views(&self) -> &Views {
        &self.views
    }

    /// Run until `stop` ends, then go down in bounded time. An error when a part ended by itself.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let result = tokio::select! {
            () = stop => Ok(()),
            ended = self.adapters.ended() => Err(ended),
            ended = self.keeper.ended() => Err(ended),
            ended = self.engine.ended() => Err(ended),
        };
        self.shut_down().await;
        result
    }

    /// Release, drain, save.
    async fn shut_down(mut self) {
        self.release.cancel();
        let _ = tokio::time::timeout(DRAIN, self.released.cancelled()).await;
        self.stop.cancel();
        if !self.adapters.drain(DRAIN).await {
            tracing::warn!("some adapters did not end in time and were broken off");
        }
        // What adapters kept on their way down, and before the store closes behind the engine.
        self.stop_keeper.cancel();
        if !self.keeper.drain(LAST_SAVE).await {
            tracing::error!("the last keepsakes took too long; those before them stand");
        }
        self.stop_engine.cancel();
        if !self.engine.drain(LAST_SAVE).await {
            tracing::error!("the last checkpoint took too long; the one before it stands");
        }
    }
}

fn allowance(config: &Config) -> Allowance {
    Allowance {
        dir: config.state_dir.join("trace"),
        segment_bytes: u64::from(config.trace.max_mb) * 1_000_000 / u64::from(config.trace.files.max(1)),
        segments: usize::from(config.trace.files),
    }
}

/// What the BACnet device says of itself.
pub(crate) fn bacnet_settings(config: &Config, observe: bool) -> bacnet::Settings {
    let bacnet = &config.bacnet;
    let role = match &bacnet.role {
        BacnetRole::Device => bacnet::Role::Device,
        BacnetRole::Foreign { bbmd, ttl_s } => bacnet::Role::Foreign { bbmd: *bbmd, ttl_s: *ttl_s },
        BacnetRole::Manager { peers, foreign_devices, writable } => {
            bacnet::Role::Manager { peers: peers.clone(), accept_foreign: *foreign_devices, writable: *writable }
        }
    };
    bacnet::Settings {
        listen: bacnet.port.listen.into(),
        broadcast: Some(bacnet.port.broadcast.into()),
        subnet_mask: bacnet.port.mask,
        more: bacnet
            .more
            .iter()
            .map(|port| bacnet::Interface {
                listen: port.listen,
                broadcast: port.broadcast,
                mask: port.mask.unwrap_or(Ipv4Addr::BROADCAST),
            })
            .collect(),
        role,
        // What is no URI did not come through the checks.
        secure: bacnet.secure.as_ref().and_then(|port| {
            let seconds = |seconds: u16| Duration::from_secs(seconds.into());
            Some(bacnet::Secure {
                primary: bacnet::Hub::new(&port.hub)?,
                failover: port.failover.as_deref().and_then(bacnet::Hub::new),
                tls: None,
                reconnect: (seconds(port.reconnect_s.0), seconds(port.reconnect_s.1)),
                connect_wait: seconds(port.connect_wait_s),
                heartbeat: seconds(port.heartbeat_s),
            })
        }),
        serial: bacnet.serial.as_ref().map(|port| bacnet::Serial {
            path: port.path.clone(),
            mac: port.mac,
            baud: port.baud,
            max_master: port.max_master,
            max_info_frames: port.max_info_frames,
            echo: port.echo,
        }),
        network: bacnet.network,
        instance: bacnet.instance,
        vendor_id: bacnet.vendor_id,
        vendor_name: bacnet.vendor_name.clone(),
        model: bacnet.model.clone(),
        name: bacnet.name.clone(),
        location: bacnet.location.clone(),
        description: bacnet.description.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        password: None,
        observe,
        quiet: false,
    }
}

/// The password alone in a file; a line end behind it does not belong to it.
fn password(file: &Path, option: &'static str) -> Result<String, StartError> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|source| StartError::Password { file: file.to_owned(), option, source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What BACnet device management must bring.
fn bacnet_password(config: &Config) -> Result<Option<bacnet::Password>, StartError> {
    const OPTION: &str = "bacnet.password_file";
    let Some(file) = &config.bacnet.password_file else { return Ok(None) };
    let secret = bacnet::Password::new(&password(file, OPTION)?);
    let source = || io::Error::new(io::ErrorKind::InvalidData, "it must hold 1 to 20 characters");
    secret.map(Some).ok_or_else(|| StartError::Password { file: file.clone(), option: OPTION, source: source() })
}

fn mqtt_settings(config: &Config, outside: BTreeSet<HeaterId>) -> Result<mqtt::client::Settings, StartError> {
    let mqtt = &config.mqtt;
    let password = match &mqtt.password_file {
        None => None,
        Some(file) => Some(password(file, "mqtt.password_file")?),
    };
    Ok(mqtt::client::Settings {
        site: config.site.id.clone(),
        host: mqtt.host.clone(),
        port: mqtt.port,
        client_id: mqtt.client_id.clone(),
        username: mqtt.username.clone(),
        password,
        keep_alive: Duration::from_secs(u64::from(mqtt.keep_alive_s)),
        boot_id: boot_id().into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        outside,
    })
}
