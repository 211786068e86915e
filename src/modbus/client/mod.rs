//! The Modbus TCP client: polls field devices and turns their answers into readings.
//!
//! One task per endpoint. Devices behind one endpoint (a TCP to RTU gateway) share its connection in turn; devices of
//! different endpoints share nothing, so a dead one delays no other. A device that fails has all its points turned bad
//! at once, with the cause, and is probed at a back-off; a Modbus exception is an answer and spoils only what was asked.

mod line;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::line::Line;
use super::plan::{Read, plan};
use super::readings::{link, lost, readings, refused};
use crate::plant::{Device, DeviceId, Link, Plant};
use crate::point::Fault;
use crate::ports::{Batch, Ports};
use crate::telemetry::LinkCounter;
use crate::time::Mono;

/// Exceptions by which a gateway says that the device behind it does not answer (Application Protocol V1.1b3, 7).
const GATEWAY: [u8; 2] = [0x0A, 0x0B];

/// One endpoint and the devices that are reached by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkGroup {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Its devices, in the plant's order.
    pub devices: Vec<DeviceId>,
}

/// The groups of a plant: one task each.
pub fn spawn_list(plant: &Plant) -> Vec<LinkGroup> {
    let mut groups: Vec<LinkGroup> = Vec::new();
    for device in &plant.devices {
        let Link::ModbusTcp { host, port, .. } = &device.link else { continue };
        match groups.iter_mut().find(|group| group.host.eq_ignore_ascii_case(host) && group.port == *port) {
            Some(group) => group.devices.push(device.id),
            None => groups.push(LinkGroup { host: host.clone(), port: *port, devices: vec![device.id] }),
        }
    }
    groups
}

/// Poll the devices of a group until `ports.stop`. Dropping it ends it, too, at any point.
pub async fn run(group: LinkGroup, plant: Arc<Plant>, ports: Ports) {
    let line = Arc::new(Mutex::new(Line::new(group.host, group.port)));
    let mut pollers = JoinSet::new();
    for id in group.devices {
        let (line, plant, ports) = (Arc::clone(&line), Arc::clone(&plant), ports.clone());
        pollers.spawn(async move {
            let Some(device) = plant.device(id) else { return };
            let Link::ModbusTcp { unit, .. } = device.link else { return };
            let counter = ports.metrics.link(&device.name);
            let reads = plan(device);
            if reads.is_empty() {
                return;
            }
            let poller = Poller { reads, plant: &plant, device, unit, line, counter, ports: &ports };
            // Waiting, asking and handing over are all safe to abandon: a half-done exchange drops its connection.
            tokio::select! {
                () = ports.stop.cancelled() => {}
                () = poller.poll() => {}
            }
        });
    }
    while let Some(ended) = pollers.join_next().await {
        if ended.is_err_and(|error| error.is_panic()) {
            ports.metrics.failure("modbus-client", "panic");
            tracing::error!("a modbus poller ended by a fault of the program");
        }
    }
}

/// How long a failed device is left alone: 1 s, doubled each time, at most 60 s; on the wall.
#[derive(Debug, Default)]
struct BackOff(Option<Duration>);

impl BackOff {
    const FIRST: Duration = Duration::from_secs(1);
    const LAST: Duration = Duration::from_secs(60);

    fn next(&mut self) -> Duration {
        let wait = self.0.map_or(Self::FIRST, |before| (before * 2).min(Self::LAST));
        self.0 = Some(wait);
        wait
    }
}

/// When the next cycle starts: one interval after the start of the last, or now where that has passed already.
fn next_due(started: Mono, interval: Duration, now: Mono) -> Mono {
    started.after(interval).max(now)
}

/// How a cycle went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The device answered.
    Up,
    /// It did not: the cause, in words.
    Down(&'static str),
    /// Nobody takes readings any more.
    Over,
}

/// What polls one device.
struct Poller<'a> {
    plant: &'a Plant,
    device: &'a Device,
    unit: u8,
    reads: Vec<Read>,
    line: Arc<Mutex<Line>>,
    counter: LinkCounter,
    ports: &'a Ports,
}

impl Poller<'_> {
    /// Cycle after cycle, measured from start to start in site time; a cycle that is due while one still runs is skipped.
    async fn poll(&self) {
        let Ports { time, metrics, .. } = self.ports;
        let name = self.device.name.as_str();
        let mut back_off = BackOff::default();
        let mut was = None;
        let mut due = time.now().mono;
        loop {
            let outcome = self.cycle().await;
            let wait = match outcome {
                Outcome::Over => return,
                Outcome::Up => {
                    back_off = BackOff::default();
                    let now = time.now().mono;
                    due = next_due(due, self.device.poll, now);
                    time.wall(due.since(now))
                }
                Outcome::Down(_) => back_off.next(),
            };
            metrics.up(name, outcome == Outcome::Up);
            if was != Some(outcome) {
                match outcome {
                    Outcome::Down(cause) => tracing::warn!(device = name, cause, "device lost"),
                    _ => tracing::info!(device = name, "device answers"),
                }
                was = Some(outcome);
            }
            tokio::time::sleep(wait).await;
            if outcome != Outcome::Up {
                due = time.now().mono;
            }
        }
    }

    /// All reads once, each handed over by itself.
    async fn cycle(&self) -> Outcome {
        let (device, metrics) = (self.device, &self.ports.metrics);
        let within = device.timeout.get();
        let mut line = self.line.lock().await;
        let mut answered = false;
        for read in &self.reads {
            let made = line.made();
            let outcome = line.read(self.unit, read, within).await;
            if made > 0 && line.made() > made {
                metrics.reconnect(&device.name);
            }
            let (mut batch, itself) = match outcome {
                Ok(Ok(content)) => (readings(self.plant, device, read, &content), true),
                Ok(Err(code)) => {
                    metrics.failure(&device.name, "exception");
                    (refused(device, read, Fault::Refused(code.into())), !GATEWAY.contains(&code))
                }
                Err(failure) => {
                    metrics.failure(&device.name, failure.cause());
                    // Handing over may have to wait; the devices beside it need not.
                    drop(line);
                    return self
                        .hand_over(lost(device, failure.fault()))
                        .await
                        .err()
                        .unwrap_or(Outcome::Down(failure.cause()));
                }
            };
            self.counter.transaction();
            if itself && !answered {
                answered = true;
                batch.push(link(device, true));
            }
            if let Err(over) = self.hand_over(batch).await {
                return over;
            }
        }
        drop(line);
        if answered {
            return Outcome::Up;
        }
        // Every answer was the gateway's: its points have the codes already.
        self.hand_over(vec![link(device, false)]).await.err().unwrap_or(Outcome::Down("gateway cannot reach it"))
    }

    /// Waits while the engine is behind: samples age, and that shows as quality.
    async fn hand_over(&self, batch: Batch) -> Result<(), Outcome> {
        self.ports.readings.send(batch).await.map_err(|_| Outcome::Over)
    }
}

#[cfg(test)]
mod tests;
