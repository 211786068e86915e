//! One TCP connection to an endpoint, with one owner at a time.
//!
//! The vendor's client is right as long as every request gets its answer. It is taken out for each request and put back
//! only when the whole answer came and fits; whatever else happens (time-out, cancellation, an answer of the wrong
//! shape) drops it, and with it the connection, so that no late answer can be taken for the next one's.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Error, Request, Response, Slave};

use crate::modbus::plan::Read;
use crate::modbus::readings::Content;
use crate::plant::Table;
use crate::point::Fault;

/// What the device answered: content, or its exception code.
pub(super) type Answer = Result<Content, u8>;

/// Why there was no answer. Each of them ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection could not be made.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Lost,
    /// An answer that is not one to what was asked.
    Malformed,
}

impl Failure {
    /// For the metric.
    pub(super) const fn cause(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Timeout => "no answer in time",
            Self::Lost => "connection lost",
            Self::Malformed => "malformed answer",
        }
    }

    /// What the device's points become.
    pub(super) const fn fault(self) -> Fault {
        match self {
            Self::Connect | Self::Timeout | Self::Lost => Fault::NoCommunication,
            Self::Malformed => Fault::Malformed,
        }
    }
}

/// The connection to an endpoint, made when it is needed.
pub(super) struct Line {
    host: String,
    port: u16,
    open: Option<Context>,
    /// Connections made so far.
    made: u64,
}

impl Line {
    pub(super) const fn new(host: String, port: u16) -> Self {
        Self { host, port, open: None, made: 0 }
    }

    /// How many connections were made so far.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// One read. Connecting and answering may each take `within`, on the wall.
    pub(super) async fn read(&mut self, unit: u8, read: &Read, within: Duration) -> Result<Answer, Failure> {
        // Devices close connections that were idle for long: an old connection that breaks is worth one new one.
        if let Some(old) = self.open.take() {
            match self.call(old, unit, read, within).await {
                Err(Failure::Lost) => {}
                outcome => return outcome,
            }
        }
        let fresh = timeout(within, TcpStream::connect((self.host.as_str(), self.port))).await;
        let stream = fresh.map_err(|_| Failure::Connect)?.map_err(|_| Failure::Connect)?;
        // Without it a request may wait for the acknowledgement of the one before; not worth failing for.
        let _ = stream.set_nodelay(true);
        self.made += 1;
        self.call(tcp::attach(stream), unit, read, within).await
    }

    async fn call(&mut self, mut context: Context, unit: u8, read: &Read, within: Duration) -> Result<Answer, Failure> {
        context.set_slave(Slave(unit));
        let request = match read.table {
            Table::Coil => Request::ReadCoils(read.address, read.count),
            Table::Discrete => Request::ReadDiscreteInputs(read.address, read.count),
            Table::Input => Request::ReadInputRegisters(read.address, read.count),
            Table::Holding => Request::ReadHoldingRegisters(read.address, read.count),
        };
        let outcome = timeout(within, context.call(request)).await.map_err(|_| Failure::Timeout)?;
        let answer = match outcome {
            Ok(Ok(response)) => Ok(content(read, response).ok_or(Failure::Malformed)?),
            Ok(Err(exception)) => Err(u8::from(exception)),
            Err(Error::Protocol(_)) => return Err(Failure::Malformed),
            Err(Error::Transport(error)) => return Err(broken(&error)),
        };
        self.open = Some(context);
        Ok(answer)
    }
}

/// The content of a response that is as long as was asked; bits come in whole bytes.
fn content(read: &Read, response: Response) -> Option<Content> {
    let count = usize::from(read.count);
    match (read.table, response) {
        (Table::Coil, Response::ReadCoils(mut bits)) | (Table::Discrete, Response::ReadDiscreteInputs(mut bits)) => {
            (bits.len() == count.next_multiple_of(8)).then(|| {
                bits.truncate(count);
                Content::Bits(bits)
            })
        }
        (Table::Input, Response::ReadInputRegisters(words))
        | (Table::Holding, Response::ReadHoldingRegisters(words)) => {
            (words.len() == count).then_some(Content::Registers(words))
        }
        _ => None,
    }
}

/// The codec reports bytes that it cannot read as errors of the transport, too.
fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => Failure::Malformed,
        _ => Failure::Lost,
    }
}
