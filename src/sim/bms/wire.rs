//! How a simulated BMS reaches the gateway: a small trait, and Modbus TCP behind it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::Slave;
use tokio_modbus::client::{Context, Reader, Writer, tcp};

use super::both::Compared;
use super::programme::Ask;
use super::view::{self, BoilerView};

/// Why a transaction was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// The gateway answered with a refusal; the connection is good.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no connection (any more); connect again.
    #[error("lost: {0}")]
    Lost(String),
}

/// The outcome of a transaction, later.
pub type WireFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, WireFault>> + Send + 'a>>;

/// One way to a zone of the gateway. A future that is dropped half-way leaves a connection to make again.
pub trait BmsWire: Send {
    /// Connect, or connect again.
    fn connect(&mut self) -> WireFuture<'_, ()>;
    /// Write the request: its mode, its heat, and that it is enabled.
    fn ask(&mut self, ask: Ask) -> WireFuture<'_, ()>;
    /// Write the heartbeat.
    fn beat(&mut self, count: u16) -> WireFuture<'_, ()>;
    /// Read the zone.
    fn read(&mut self) -> WireFuture<'_, BoilerView>;

    /// Take back what was written, where the protocol can: over Modbus a value stands until another is written.
    fn leave(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// How the readings of several protocols compare, on a wire that has several.
    fn compared(&self) -> Option<&Compared> {
        None
    }
}

/// How long a transaction may take on the wall.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Holding registers of a zone, and what stands in them.
const HEAT_REQUEST_PERCENT: u16 = 0;
const DEMAND_MODE: u16 = 3;
const HEARTBEAT: u16 = 7;
const ROOM_TEMPERATURE: u16 = 10;
const MODE_PERCENT: u16 = 2;
const ENABLED: u16 = 1;
/// A temperature that is not available.
const NO_TEMPERATURE: u16 = 0x8000;

/// Modbus TCP, the gateway as slave.
pub struct ModbusWire {
    host: String,
    port: u16,
    unit: u8,
    /// First register of the zone.
    base: u16,
    context: Option<Context>,
}

impl ModbusWire {
    /// To zone `zone` (0 to 9; a larger one is taken as 9) of unit `unit`.
    pub fn new(host: impl Into<String>, port: u16, unit: u8, zone: u8) -> Self {
        Self { host: host.into(), port, unit, base: 100 * u16::from(zone.min(9)), context: None }
    }

    /// One transaction. Whatever goes wrong with the connection drops it: a late answer must not be taken for the next one.
    async fn transact<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Context) -> tokio_modbus::Result<T>,
    ) -> Result<T, WireFault> {
        let mut context = self.context.take().ok_or_else(|| WireFault::Lost("not connected".to_owned()))?;
        match timeout(TIMEOUT, call(&mut context)).await {
            Ok(Ok(answer)) => {
                self.context = Some(context);
                answer.map_err(|exception| WireFault::Refused(exception.to_string()))
            }
            Ok(Err(error)) => Err(WireFault::Lost(error.to_string())),
            Err(_) => Err(WireFault::Lost("no answer in time".to_owned())),
        }
    }

    async fn write(&mut self, address: u16, words: &[u16]) -> Result<(), WireFault> {
        let address = self.base + address;
        self.transact(async |context| context.write_multiple_registers(address, words).await).await
    }
}

impl BmsWire for ModbusWire {
    fn connect(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async {
            self.context = None;
            let stream = match timeout(TIMEOUT, TcpStream::connect((self.host.as_str(), self.port))).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(WireFault::Lost(error.to_string())),
                Err(_) => return Err(WireFault::Lost("no connection in time".to_owned())),
            };
            // Without it small requests may wait; they still arrive.
            let _ = stream.set_nodelay(true);
            self.context = Some(tcp::attach_slave(stream, Slave(self.unit)));
            Ok(())
        })
    }

    fn ask(&mut self, ask: Ask) -> WireFuture<'_, ()> {
        Box::pin(async move {
            // The heat first, so that enabling it never asks for an older one.
            self.write(HEAT_REQUEST_PERCENT, &[tenths(ask.heat.get(), 0.0, 1000.0)]).await?;
            self.write(DEMAND_MODE, &[MODE_PERCENT, ENABLED]).await?;
            if ask.room.is_some() || ask.outdoor.is_some() {
                let celsius = |at: Option<crate::units::Celsius>| {
                    at.map_or(NO_TEMPERATURE, |at| tenths(at.get(), -500.0, 1000.0))
                };
                self.write(ROOM_TEMPERATURE, &[celsius(ask.room), celsius(ask.outdoor)]).await?;
            }
            Ok(())
        })
    }

    fn beat(&mut self, count: u16) -> WireFuture<'_, ()> {
        Box::pin(async move {
            let address = self.base + HEARTBEAT;
            self.transact(async |context| context.write_single_register(address, count).await).await
        })
    }

    fn read(&mut self) -> WireFuture<'_, BoilerView> {
        Box::pin(async {
            let base = self.base;
            let words = self.transact(async |context| context.read_input_registers(base, view::COUNT).await).await?;
            BoilerView::decode(&words).ok_or_else(|| WireFault::Refused("the block is too short".to_owned()))
        })
    }
}

/// A number x0.1 in a register, two's complement, held between two raw bounds.
fn tenths(value: f64, low: f64, high: f64) -> u16 {
    ((value * 10.0).round().clamp(low, high) as i16).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_two_s_complement_and_bounded() {
        assert_eq!(tenths(75.04, 0.0, 1000.0), 750);
        assert_eq!(tenths(120.0, 0.0, 1000.0), 1000);
        assert_eq!(tenths(-3.2, -500.0, 1000.0), 0xffe0);
    }
}
