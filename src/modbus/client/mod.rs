//! The Modbus client: polls field devices and turns their answers into readings, and mirrors points into them.
//!
//! One line at a time: devices behind one serial port or one TCP endpoint share it, exchange by exchange, in the order in
//! which they ask; devices of different lines share nothing. A device that fails has all its points turned bad at once,
//! with the cause, and is probed at a back-off, so that it costs its neighbours one time-out at a probe and nothing
//! between. A Modbus exception is an answer and spoils only what was asked.

mod line;
mod output;
mod owed;
mod pdu;
mod poller;
mod rtu;

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::line::Line;
use self::poller::Poller;
use super::tls;
use crate::plant::{DeviceId, Link, ModbusLine, Plant};
use crate::ports::Ports;

/// One line and the devices that are reached by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkGroup {
    /// What carries it.
    pub line: ModbusLine,
    /// Its devices, in the plant's order.
    pub devices: Vec<DeviceId>,
}

/// What holds for every line.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Nothing is written to any device.
    pub observe: bool,
    /// What we show to devices that speak TLS, and whom we believe; without it they cannot be reached.
    pub tls: Option<tls::Client>,
}

/// The groups of a plant: one task each.
pub fn spawn_list(plant: &Plant) -> Vec<LinkGroup> {
    let mut groups: Vec<LinkGroup> = Vec::new();
    for device in &plant.devices {
        let Link::Modbus { line, .. } = &device.link else { continue };
        match groups.iter_mut().find(|group| same(&group.line, line)) {
            Some(group) => group.devices.push(device.id),
            None => groups.push(LinkGroup { line: line.clone(), devices: vec![device.id] }),
        }
    }
    groups
}

/// Whether it is one wire: a host's name is written in either case, a serial port has one setting.
fn same(a: &ModbusLine, b: &ModbusLine) -> bool {
    use ModbusLine::{Rtu, RtuOverTcp, Tcp, Tls};
    match (a, b) {
        (Tcp { host: a, port: p }, Tcp { host: b, port: q })
        | (RtuOverTcp { host: a, port: p }, RtuOverTcp { host: b, port: q })
        | (Tls { host: a, port: p }, Tls { host: b, port: q }) => a.eq_ignore_ascii_case(b) && p == q,
        (Rtu { serial: a, .. }, Rtu { serial: b, .. }) => a.path == b.path,
        _ => false,
    }
}

/// Poll the devices of a group until `ports.stop`. Dropping it ends it, too, at any point.
pub async fn run(group: LinkGroup, setup: Setup, plant: Arc<Plant>, ports: Ports) {
    let line = Arc::new(Mutex::new(Line::new(group.line, setup.tls)));
    let mut pollers = JoinSet::new();
    for id in group.devices {
        let (line, plant, ports) = (Arc::clone(&line), Arc::clone(&plant), ports.clone());
        pollers.spawn(async move {
            let Some(poller) = Poller::new(id, &plant, line, &ports) else { return };
            // Waiting, asking and handing over are all safe to abandon: a half-done exchange drops its connection.
            tokio::select! {
                () = ports.stop.cancelled() => {}
                () = poller.poll(setup.observe) => {}
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

#[cfg(test)]
mod tests;
