//! What polls one device and writes to it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_modbus::{Request, Response};

use super::line::{Answer, Failure, Line};
use super::output::{Output, holds, outputs};
use crate::modbus::plan::{Read, Round, rounds};
use crate::modbus::readings::{Content, link, lost, readings, refused};
use crate::plant::{Device, DeviceId, Link, ModbusLine, Plant, Table};
use crate::point::{Fault, Value};
use crate::ports::{Batch, Ports};
use crate::telemetry::LinkCounter;
use crate::time::Mono;

/// Exceptions by which a gateway says that the device behind it does not answer (Application Protocol V1.1b3, 7).
const GATEWAY: [u8; 2] = [0x0A, 0x0B];

/// The function is not known (7).
const ILLEGAL_FUNCTION: u8 = 1;

/// How long a failed device is left alone: 1 s, doubled each time, at most 60 s; on the wall.
#[derive(Debug, Default)]
pub(super) struct BackOff(Option<Duration>);

impl BackOff {
    const FIRST: Duration = Duration::from_secs(1);
    const LAST: Duration = Duration::from_secs(60);

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0.map_or(Self::FIRST, |before| (before * 2).min(Self::LAST));
        self.0 = Some(wait);
        wait
    }
}

/// When the next cycle starts: one interval after the start of the last, or now where that has passed already.
pub(super) fn next_due(started: Mono, interval: Duration, now: Mono) -> Mono {
    started.after(interval).max(now)
}

/// How the exchanges of one turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The device answered.
    Up,
    /// It did not: the cause, in words.
    Down(&'static str),
    /// Nobody takes readings any more.
    Over,
}

/// Reads that are due together, and when next.
struct Due {
    round: Round,
    next: Mono,
}

/// What polls one device.
pub(super) struct Poller<'a> {
    plant: &'a Plant,
    device: &'a Device,
    unit: u8,
    /// A late answer can be taken for the next one's: who did not answer is left alone for so long.
    quarantine: Duration,
    line: Arc<Mutex<Line>>,
    counter: LinkCounter,
    ports: &'a Ports,
}

impl<'a> Poller<'a> {
    /// `None` for a device that is not one of Modbus.
    pub(super) fn new(id: DeviceId, plant: &'a Plant, line: Arc<Mutex<Line>>, ports: &'a Ports) -> Option<Self> {
        let device = plant.device(id)?;
        let Link::Modbus { line: by, unit } = &device.link else { return None };
        let quarantine = match by {
            ModbusLine::Tcp { .. } | ModbusLine::Tls { .. } => Duration::ZERO,
            ModbusLine::Rtu { .. } | ModbusLine::RtuOverTcp { .. } => device.timeout.get(),
        };
        let counter = ports.metrics.link(&device.name);
        Some(Self { plant, device, unit: *unit, quarantine, line, counter, ports })
    }

    /// Round after round, measured from start to start in site time; one that is due while it still runs is skipped.
    pub(super) async fn poll(&self, observe: bool) {
        let Ports { time, metrics, .. } = self.ports;
        let name = self.device.name.as_str();
        let start = time.now().mono;
        let mut rounds: Vec<Due> = rounds(self.device).into_iter().map(|round| Due { round, next: start }).collect();
        let mut outputs = if observe { Vec::new() } else { outputs(self.device) };
        if rounds.is_empty() && outputs.is_empty() {
            return;
        }
        let mut image = self.ports.image.clone();
        let mut back_off = BackOff::default();
        let mut was: Option<Outcome> = None;
        loop {
            let retries = if matches!(was, Some(Outcome::Up)) { self.device.retries } else { 0 };
            let outcome = self.turn(&mut rounds, &mut outputs, retries, was).await;
            let now = time.now().mono;
            let wait = match outcome {
                Outcome::Over => return,
                Outcome::Up => {
                    back_off = BackOff::default();
                    let reads = rounds.iter().map(|due| due.next.since(now));
                    let next = reads.chain(outputs.iter().map(|output| output.sleeps(now))).min();
                    time.wall(next.unwrap_or(BackOff::LAST))
                }
                Outcome::Down(_) => {
                    outputs.iter_mut().for_each(Output::forget);
                    back_off.next().max(self.quarantine)
                }
            };
            metrics.up(name, outcome == Outcome::Up);
            if was != Some(outcome) {
                match outcome {
                    Outcome::Down(cause) => tracing::warn!(device = name, cause, "device lost"),
                    _ => tracing::info!(device = name, "device answers"),
                }
                was = Some(outcome);
            }
            self.wait(wait, &mut image, outcome == Outcome::Up && !outputs.is_empty()).await;
            if outcome != Outcome::Up {
                let now = time.now().mono;
                rounds.iter_mut().for_each(|due| due.next = now);
            }
        }
    }

    /// Until so much time has passed, or the image has changed and something may have to be written.
    async fn wait(
        &self,
        time: Duration,
        image: &mut tokio::sync::watch::Receiver<Arc<crate::point::Image>>,
        write: bool,
    ) {
        let mut sleep = pin!(tokio::time::sleep(time));
        if write {
            tokio::select! {
                () = &mut sleep => return,
                changed = image.changed() => if changed.is_ok() { return },
            }
        }
        sleep.await;
    }

    /// All that is due once: reads, each handed over by itself, then writes.
    async fn turn(&self, rounds: &mut [Due], outputs: &mut [Output<'_>], retries: u8, was: Option<Outcome>) -> Outcome {
        let now = self.ports.time.now().mono;
        let mut asked = false;
        let mut answered = false;
        for due in rounds.iter_mut().filter(|due| due.next <= now) {
            for read in &due.round.reads {
                asked = true;
                match self.read(read, retries, answered).await {
                    Ok(itself) => answered |= itself,
                    Err(outcome) => return outcome,
                }
            }
            due.next = next_due(due.next, due.round.every, self.ports.time.now().mono);
        }
        for output in outputs.iter_mut() {
            let image = self.ports.image.borrow().clone();
            let Some(value) = output.due(&image, self.ports.time.now().mono) else { continue };
            asked = true;
            match self.write(output, value, retries).await {
                Ok(itself) => answered |= itself,
                Err(failure) => return self.lose(failure).await,
            }
        }
        if answered && rounds.is_empty() && was != Some(Outcome::Up) {
            return self.hand_over(vec![link(self.device, true)]).await.err().unwrap_or(Outcome::Up);
        }
        if answered || !asked {
            return if asked { Outcome::Up } else { was.unwrap_or(Outcome::Up) };
        }
        // Every answer was the gateway's: its points have the codes already.
        self.hand_over(vec![link(self.device, false)]).await.err().unwrap_or(Outcome::Down("gateway cannot reach it"))
    }

    /// One read, handed over. Whether the device itself answered.
    async fn read(&self, read: &Read, retries: u8, answered: bool) -> Result<bool, Outcome> {
        let request = match read.table {
            Table::Coil => Request::ReadCoils(read.address, read.count),
            Table::Discrete => Request::ReadDiscreteInputs(read.address, read.count),
            Table::Input => Request::ReadInputRegisters(read.address, read.count),
            Table::Holding => Request::ReadHoldingRegisters(read.address, read.count),
        };
        let (mut batch, itself) = match self.exchange(&request, retries).await {
            Ok(Ok(response)) => (readings(self.plant, self.device, read, &content(read, response)), true),
            Ok(Err(code)) => (refused(self.device, read, Fault::Refused(code.into())), !GATEWAY.contains(&code)),
            Err(failure) => return Err(self.lose(failure).await),
        };
        if itself && !answered {
            batch.push(link(self.device, true));
        }
        self.hand_over(batch).await?;
        Ok(itself)
    }

    /// Write a value and read it back. Whether the device itself answered.
    async fn write(&self, output: &mut Output<'_>, value: Value, retries: u8) -> Result<bool, Failure> {
        let key = self.plant.point(output.write().point).map_or("", |def| def.key.as_str());
        let Some(raw) = output.raw(self.plant, value) else {
            if output.refused(self.ports.time.now().mono) {
                tracing::warn!(device = self.device.name, point = key, %value, "does not fit into the device's register");
                self.ports.metrics.failure(&self.device.name, "does not fit");
            }
            return Ok(false);
        };
        let mut answer = self.exchange(&output.request(&raw), retries).await?;
        if answer == Err(ILLEGAL_FUNCTION) && output.use_multiple() {
            answer = self.exchange(&output.request(&raw), retries).await?;
        }
        let mut taken = answer;
        // Nobody answers a broadcast, and nothing can be read back.
        let broadcast =
            self.unit == 0 && !matches!(self.device.link, Link::Modbus { line: ModbusLine::Tcp { .. }, .. });
        if taken.is_ok() && !broadcast {
            taken = self.exchange(&output.read_back(), retries).await?;
        }
        let now = self.ports.time.now().mono;
        match taken {
            Ok(response) if broadcast || holds(&raw, &response) => output.written(value, now),
            Ok(_) => {
                self.ports.metrics.failure(&self.device.name, "not taken");
                if output.refused(now) {
                    tracing::warn!(device = self.device.name, point = key, %value, "the device holds another value");
                }
            }
            Err(code) => {
                if output.refused(now) {
                    tracing::warn!(device = self.device.name, point = key, %value, code, "the device refuses it");
                }
                return Ok(!GATEWAY.contains(&code));
            }
        }
        Ok(true)
    }

    /// One exchange, repeated where no answer came; the line is free between the tries.
    async fn exchange(&self, request: &Request<'static>, retries: u8) -> Result<Answer, Failure> {
        let (device, metrics) = (self.device, &self.ports.metrics);
        let mut left = retries;
        loop {
            let mut line = self.line.lock().await;
            let made = line.made();
            let outcome = line.ask(self.unit, request, device.timeout.get()).await;
            if made > 0 && line.made() > made {
                metrics.reconnect(&device.name);
            }
            drop(line);
            match &outcome {
                Ok(Ok(_)) => self.counter.transaction(),
                Ok(Err(_)) => {
                    self.counter.transaction();
                    metrics.failure(&device.name, "exception");
                }
                Err(failure) => metrics.failure(&device.name, failure.cause()),
            }
            let again = matches!(outcome, Err(Failure::Timeout | Failure::Malformed)) && left > 0;
            if again {
                left -= 1;
                tokio::time::sleep(self.quarantine.max(device.pause)).await;
                continue;
            }
            if !device.pause.is_zero() {
                tokio::time::sleep(device.pause).await;
            }
            return outcome;
        }
    }

    /// The device is lost: all its points turn bad.
    async fn lose(&self, failure: Failure) -> Outcome {
        self.hand_over(lost(self.device, failure.fault())).await.err().unwrap_or(Outcome::Down(failure.cause()))
    }

    /// Waits while the engine is behind: samples age, and that shows as quality.
    async fn hand_over(&self, batch: Batch) -> Result<(), Outcome> {
        self.ports.readings.send(batch).await.map_err(|_| Outcome::Over)
    }
}

/// The content of a response that fits its request.
fn content(read: &Read, response: Response) -> Content {
    match response {
        Response::ReadCoils(mut bits) | Response::ReadDiscreteInputs(mut bits) => {
            bits.truncate(read.count.into());
            Content::Bits(bits)
        }
        Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => Content::Registers(words),
        _ => Content::Registers(Vec::new()),
    }
}
