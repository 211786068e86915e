//! A simulated store BMS: asks for heat, shows its heartbeat, reads what it gets, and keeps account of both. Over Modbus,
//! over BACnet, or over both as a store has it.

mod bacnet_wire;
mod bip;
mod both;
mod programme;
mod report;
mod view;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use bacnet_wire::BacnetWire;
pub use both::{BothWires, Compared};
pub use programme::{Ask, Programme, RoomLoop, RoomPi, Steps};
pub use report::BmsReport;
use report::Tally;
pub use view::BoilerView;
pub use wire::{BmsWire, ModbusWire, WireFault, WireFuture};

use super::wait::{self, BackOff};
use crate::time::{Mono, TimeSource};
use crate::units::Watts;

/// Site time between two heartbeats; a changed request is written as often.
const BEAT: Duration = Duration::from_secs(10);
/// Site time between two writes of the same request.
const REWRITE: Duration = Duration::from_secs(30);
/// Wall time that it may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Site time between two readings.
const READ: Duration = Duration::from_secs(30);

/// A simulated BMS.
pub struct BmsSim {
    wire: Box<dyn BmsWire>,
    programme: Programme,
    tally: Tally,
    report: watch::Sender<BmsReport>,
    beat: u16,
    written: Option<(Ask, Mono)>,
    read: Option<Mono>,
}

impl BmsSim {
    /// One that asks a zone whose 100 % is `nominal` heat by a programme.
    pub fn new(wire: impl BmsWire + 'static, programme: Programme, nominal: Watts) -> Self {
        Self {
            wire: Box::new(wire),
            programme,
            tally: Tally::new(nominal),
            report: watch::Sender::default(),
            beat: 0,
            written: None,
            read: None,
        }
    }

    /// Its report, renewed at least every 10 s of site time while it runs.
    pub fn report(&self) -> watch::Receiver<BmsReport> {
        self.report.subscribe()
    }

    /// Run until stopped, through any outage of the gateway. At the end it takes back what it wrote, where its protocol can,
    /// and falls silent.
    pub async fn run(mut self, time: Arc<dyn TimeSource>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work(&*time) => {}
        }
        match tokio::time::timeout(GOODBYE, self.wire.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => tracing::debug!(%fault, "what was asked still stands"),
            Err(_) => tracing::debug!("what was asked may still stand: no answer in time"),
        }
        self.publish(&*time);
    }

    async fn work(&mut self, time: &dyn TimeSource) {
        let mut back_off = BackOff::new();
        loop {
            let lost = match self.wire.connect().await {
                Ok(()) => {
                    self.tally.connected();
                    // After a gap it says everything again.
                    (self.written, self.read) = (None, None);
                    self.talk(time, &mut back_off).await
                }
                Err(fault) => fault,
            };
            tracing::debug!(%lost, "the gateway does not answer");
            self.tally.lost();
            self.publish(time);
            tokio::time::sleep(back_off.next()).await;
        }
    }

    /// Until the connection is lost.
    async fn talk(&mut self, time: &dyn TimeSource, back_off: &mut BackOff) -> WireFault {
        loop {
            let due = time.now().mono.after(BEAT);
            if let Err(fault) = self.round(time).await {
                return fault;
            }
            // Only now: a gateway that accepts connections and drops them is not visited in a loop.
            *back_off = BackOff::new();
            self.publish(time);
            wait::until(time, due).await;
        }
    }

    /// One heartbeat, and what else is due.
    async fn round(&mut self, time: &dyn TimeSource) -> Result<(), WireFault> {
        let now = time.now();
        let ask = self.programme.ask(now);
        if self.written.is_none_or(|(last, at)| last.heat != ask.heat || now.mono.since(at) >= REWRITE) {
            let written = self.wire.ask(ask).await;
            if self.settle(written)?.is_some() {
                self.tally.accepted(ask, time.now().mono);
            }
            self.written = Some((ask, now.mono));
        }
        self.beat = self.beat.wrapping_add(1);
        let beaten = self.wire.beat(self.beat).await;
        self.settle(beaten)?;
        if self.read.is_none_or(|at| now.mono.since(at) >= READ) {
            let view = self.wire.read().await;
            let view = self.settle(view)?;
            self.programme.on_heat(view.and_then(|view| view.heat_delivered));
            if let Some(view) = view {
                self.tally.read(view, time.now().mono);
            }
            self.read = Some(now.mono);
        }
        Ok(())
    }

    /// A refusal is noted and life goes on; a loss is passed on.
    fn settle<T>(&mut self, outcome: Result<T, WireFault>) -> Result<Option<T>, WireFault> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(WireFault::Refused(why)) => {
                tracing::debug!(why, "the gateway refused");
                self.tally.refused(why);
                Ok(None)
            }
            Err(lost) => Err(lost),
        }
    }

    fn publish(&mut self, time: &dyn TimeSource) {
        self.tally.compared(self.wire.compared());
        self.report.send_replace(self.tally.report(time.now().mono));
    }
}

#[cfg(test)]
mod tests;
