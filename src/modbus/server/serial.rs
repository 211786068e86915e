//! A serial port that is opened again whenever it goes: an adapter that is unplugged, or was never there at the start.

use std::time::Duration;

use super::access::Rights;
use super::diagnostics::Counters;
use super::session::{Session, Shared};
use crate::modbus::serial;
use crate::plant::SerialLine;
use crate::request::{Origin, Side};

/// Between attempts to open, at first and at most.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(5);

/// Serve until the gateway stops.
pub(super) async fn run(shared: &Shared, line: &SerialLine, echo: bool, rights: Rights) {
    let name = &shared.settings.name;
    let metrics = &shared.ports.metrics;
    let origin = Origin { side: Side::Modbus, peer: line.path.as_str().into() };
    let session = Session { shared, origin, rights };
    let mut counters = Counters::default();
    let mut pause = FIRST;
    let mut opened = false;
    loop {
        match serial::open(line) {
            Ok(mut port) => {
                if opened {
                    metrics.reconnect(name);
                }
                opened = true;
                metrics.up(name, true);
                tracing::info!(port = %line, "modbus server listens");
                let began = counters.messages;
                match session.talk_serial(&mut port, line, echo, &mut counters).await {
                    Ok(()) => break,
                    Err(error) => {
                        metrics.failure(name, "serial port lost");
                        tracing::warn!(port = %line, %error, "modbus server lost its serial port");
                    }
                }
                // A port that opens and is gone at once is not worth trying at full speed.
                if counters.messages != began {
                    pause = FIRST;
                }
            }
            Err(error) => {
                metrics.failure(name, "serial port not opened");
                if pause == FIRST {
                    tracing::warn!(port = %line, %error, "modbus server cannot open its serial port; it goes on trying");
                }
            }
        }
        metrics.up(name, false);
        tokio::select! {
            () = shared.ports.stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
        pause = LAST.min(2 * pause);
    }
    metrics.up(name, false);
}
