//! The I/O half: one task for each BACnet device of the mapping. A device has its own requests, its own time-outs and its
//! own queue, so that a dead one delays no other.

use std::collections::HashMap;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::machine::{Machine, News};
use super::output::Output;
use super::wire::{Ask, Found};
use super::{CallError, Client, Datum, ObjectRef, Target};
use crate::bacnet::node::now;
use crate::plant::{Device, Link, Plant};
use crate::point::Fault;
use crate::point::Reading;
use crate::ports::{Ports, Update};
use crate::telemetry::LinkCounter;
use crate::time::Mono;

/// Notifications that may wait for a device's task; beyond that they are dropped and counted, and a read finds what they
/// said.
const QUEUE: usize = 256;
/// How often a request is sent again to a device that answers otherwise.
const RETRIES: u8 = 1;
/// How long the last writes may take, on the wall: the gateway waits 5 s for all adapters.
const RELEASE: Duration = Duration::from_secs(3);

/// What the node hears of a device.
#[derive(Debug)]
enum Event {
    /// A notification of one of our subscriptions.
    Told(ObjectRef, Vec<(u32, Datum)>),
    /// Its I-Am; whether anybody asked for it.
    Announced(bool),
}

/// The tasks of all devices, and the ways to them.
#[derive(Debug, Default)]
pub(in crate::bacnet) struct Devices {
    tasks: JoinSet<()>,
    by_instance: HashMap<u32, (String, mpsc::Sender<Event>)>,
}

/// The BACnet devices of a plant: our subscriber process identifier at each (from 1), its instance, and itself.
pub(in crate::bacnet) fn listed(plant: &Plant) -> impl Iterator<Item = (u32, u32, &Device)> {
    plant.devices.iter().filter_map(|device| match device.link {
        Link::Bacnet { instance, .. } => Some((u32::from(device.id.0) + 1, instance, device)),
        Link::Modbus { .. } => None,
    })
}

impl Devices {
    /// Start a task for each. With `observe` nothing is written.
    pub(in crate::bacnet) fn start(plant: &Arc<Plant>, client: &Client, observe: bool, ports: &Ports) -> Self {
        let mut this = Self::default();
        for (process, instance, device) in listed(plant) {
            if device.points.is_empty() && device.writes.is_empty() {
                continue;
            }
            let wall = |site: Duration| ports.time.wall(site).max(Duration::from_millis(20));
            let output = |write: &crate::plant::DeviceWrite| {
                let kind = plant.point(write.point)?.kind;
                Output::new(write, kind, wall(write.refresh))
            };
            let outputs = if observe { Vec::new() } else { device.writes.iter().filter_map(output).collect() };
            let (sender, events) = mpsc::channel(QUEUE);
            this.by_instance.insert(instance, (device.name.clone(), sender));
            let target = match device.link {
                Link::Bacnet { address: Some((ip, port)), .. } => {
                    Target::Address(SocketAddr::from((Ipv4Addr::from(ip), port)))
                }
                _ => Target::Device(instance),
            };
            let task = Task {
                machine: Machine::new(plant, device, instance, process, &wall).writing(outputs),
                name: device.name.clone(),
                counter: ports.metrics.link(&device.name),
                target,
                timeout: device.timeout.get(),
                client: client.clone(),
                calls: JoinSet::new(),
                met: false,
                ports: ports.clone(),
            };
            this.tasks.spawn(task.run(events));
        }
        this
    }

    /// A notification; false when its device has no room for it.
    pub(in crate::bacnet) fn told(&self, instance: u32, object: ObjectRef, values: Vec<(u32, Datum)>, ports: &Ports) {
        self.tell(instance, Event::Told(object, values), ports);
    }

    /// An I-Am.
    pub(in crate::bacnet) fn announced(&self, instance: u32, asked_for: bool, ports: &Ports) {
        self.tell(instance, Event::Announced(asked_for), ports);
    }

    fn tell(&self, instance: u32, event: Event, ports: &Ports) {
        if let Some((name, sender)) = self.by_instance.get(&instance)
            && sender.try_send(event).is_err()
        {
            ports.metrics.dropped(name, "notification");
        }
    }

    /// Until `stop` is cancelled and every device has been let go. May be called again after it was dropped.
    pub(in crate::bacnet) async fn over(&mut self, stop: &CancellationToken) {
        stop.cancelled().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What keeps one device live.
struct Task {
    machine: Machine,
    name: String,
    counter: LinkCounter,
    target: Target,
    timeout: Duration,
    client: Client,
    calls: JoinSet<(u64, Result<Vec<Found>, CallError>)>,
    /// It has answered once.
    met: bool,
    ports: Ports,
}

impl Task {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let stop = self.ports.stop.clone();
        let mut image = self.ports.image.clone();
        self.machine.on_image(&image.borrow());
        let mut images_end = !self.machine.writes();
        // Waiting, asking and handing over are all safe to abandon.
        loop {
            if stop.is_cancelled() {
                break;
            }
            self.work().await;
            let alarm = self.alarm();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(Ok((ticket, answer))) = self.calls.join_next(), if !self.calls.is_empty() => {
                    self.on_answer(ticket, answer);
                }
                Some(event) = events.recv() => match event {
                    Event::Told(object, values) => self.machine.on_told(object, &values),
                    Event::Announced(asked_for) => self.machine.on_i_am(asked_for, self.now()),
                },
                changed = image.changed(), if !images_end => {
                    images_end = changed.is_err();
                    self.machine.on_image(&image.borrow_and_update());
                }
                () = alarm => {}
            }
        }
        if tokio::time::timeout(RELEASE, self.let_go()).await.is_err() {
            tracing::warn!(device = self.name, "not everything that was written could be released in time");
        }
    }

    /// Take back what was written.
    async fn let_go(&mut self) {
        self.machine.release();
        loop {
            self.ask();
            if self.machine.released() {
                return;
            }
            let Some(Ok((ticket, answer))) = self.calls.join_next().await else { return };
            self.on_answer(ticket, answer);
        }
    }

    fn now(&self) -> Mono {
        now(&*self.ports.time).mono
    }

    fn alarm(&self) -> impl Future<Output = ()> + use<> {
        let at = self.now();
        let wait = self.machine.wake(at).map(|wake| wake.since(at));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => pending().await,
            }
        }
    }

    fn on_answer(&mut self, ticket: u64, answer: Result<Vec<Found>, CallError>) {
        self.counter.transaction();
        self.machine.on_answer(ticket, answer, self.now());
    }

    /// Make what requests there are to be made.
    fn ask(&mut self) {
        let at = self.now();
        while let Some((ticket, ask)) = self.machine.next(at) {
            let retries = if self.machine.is_up() { RETRIES } else { 0 };
            let patience = Some((self.timeout, retries));
            let (client, target) = (self.client.clone(), self.target);
            self.calls.spawn(async move { (ticket, answer(&client, target, &ask, patience).await) });
        }
    }

    /// Ask, and hand over what is known. Waits while the engine is behind: samples age, and that shows as quality.
    async fn work(&mut self) {
        self.ask();
        let metrics = &self.ports.metrics;
        for news in self.machine.take_news() {
            let device = self.name.as_str();
            match news {
                News::Up => {
                    metrics.up(device, true);
                    if std::mem::replace(&mut self.met, true) {
                        metrics.reconnect(device);
                    }
                    tracing::info!(device, "device answers");
                }
                News::Lost(cause) => {
                    metrics.up(device, false);
                    tracing::warn!(device, cause, "device lost");
                }
                News::Restarted => tracing::info!(device, "device has restarted; it is subscribed and written again"),
                News::Resubscribed => tracing::warn!(device, "device tells nothing any more; it is subscribed again"),
                News::Failure(cause) => metrics.failure(device, cause),
            }
        }
        let batch = self.machine.take_updates();
        if !batch.is_empty() {
            // Without an engine the node ends, too.
            let _ = self.ports.readings.send(batch).await;
        }
    }
}

async fn answer(
    client: &Client,
    target: Target,
    ask: &Ask,
    patience: Option<(Duration, u8)>,
) -> Result<Vec<Found>, CallError> {
    client.ask(target, ask, patience).await
}

/// A reading for each point of BACnet devices that nobody asks, because this gateway has no BACnet port.
pub fn unreachable(plant: &Plant) -> Vec<Update> {
    let bad = |point| Update { point, reading: Reading::Bad(Fault::NoCommunication) };
    listed(plant).flat_map(|(_, _, device)| device.points.iter().map(|read| bad(read.point))).collect()
}
