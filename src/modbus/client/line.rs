//! One line to one or more devices, with one owner at a time: a TCP connection, a TLS connection, a serial port.
//!
//! Over TCP and TLS the vendor's client is right as long as every request gets its answer. It is taken out for each
//! request and put back only when the whole answer came and fits; whatever else happens (time-out, cancellation, an
//! answer of the wrong shape) drops it, and with it the connection, so that no late answer can be taken for the next
//! one's. Lines of RTU frames are ours: see `rtu`.

use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client as _, Context, tcp};
use tokio_modbus::slave::SlaveContext as _;
use tokio_modbus::{Error, Request, Response, Slave};
use tokio_rustls::TlsConnector;

use super::owed::Owed;
use super::pdu;
use super::rtu::RtuPort;
use crate::modbus::{serial, tls};
use crate::plant::ModbusLine;
use crate::point::Fault;

/// What the device answered: its response, or its exception code.
pub(super) type Answer = Result<Response, u8>;

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection could not be made, or the port not opened.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the adapter is gone.
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

/// The line, opened when it is needed.
pub(super) struct Line {
    to: ModbusLine,
    tls: Option<tls::Client>,
    open: Option<Open>,
    /// How often it was opened so far.
    made: u64,
    /// On lines of RTU frames.
    owed: Owed,
}

enum Open {
    Mbap(Context),
    Rtu(RtuPort),
}

impl Line {
    pub(super) fn new(to: ModbusLine, tls: Option<tls::Client>) -> Self {
        Self { to, tls, open: None, made: 0, owed: Owed::default() }
    }

    /// How often it was opened so far.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// One exchange. Opening and answering may each take `within`, on the wall; where an earlier request was not answered
    /// another may come first, and takes as long.
    pub(super) async fn ask(
        &mut self,
        unit: u8,
        request: &Request<'static>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        if let Some(first) = self.owed.before(unit, request) {
            match self.exchange(unit, &first, within).await {
                Ok(Ok(_)) => {}
                // The device refuses such a read: what was on its way has had its quarantine, and this answer's time.
                Ok(Err(_)) => self.owed.forget(unit),
                Err(failure) => return Err(failure),
            }
        }
        self.exchange(unit, request, within).await
    }

    async fn exchange(&mut self, unit: u8, request: &Request<'static>, within: Duration) -> Result<Answer, Failure> {
        // Devices close connections that were idle for long: an old connection that breaks is worth one new one.
        if let Some(old) = self.open.take() {
            match self.call(old, unit, request, within).await {
                Err(Failure::Lost) => {}
                outcome => return outcome,
            }
        }
        let fresh = timeout(within, make(&self.to, self.tls.as_ref())).await.map_err(|_| Failure::Connect)?;
        let open = fresh.map_err(|error| {
            tracing::debug!(line = %self.to, %error, "cannot be opened");
            Failure::Connect
        })?;
        self.made += 1;
        self.call(open, unit, request, within).await
    }

    async fn call(
        &mut self,
        open: Open,
        unit: u8,
        request: &Request<'static>,
        within: Duration,
    ) -> Result<Answer, Failure> {
        match open {
            Open::Mbap(mut context) => {
                context.set_slave(Slave(unit));
                let call = timeout(within, context.call(request.clone()));
                let answer = match call.await.map_err(|_| Failure::Timeout)? {
                    Ok(Ok(response)) if pdu::fits(request, &response) => Ok(response),
                    Ok(Ok(_)) => return Err(Failure::Malformed),
                    Ok(Err(exception)) => Err(u8::from(exception)),
                    Err(Error::Protocol(_)) => return Err(Failure::Malformed),
                    Err(Error::Transport(error)) => return Err(broken(&error)),
                };
                self.open = Some(Open::Mbap(context));
                Ok(answer)
            }
            Open::Rtu(mut port) => {
                let outcome = port.call(unit, request, within, self.owed.exceptions(unit)).await;
                match outcome {
                    Ok(Ok(_)) => self.owed.answered(unit, request),
                    Ok(Err(_)) | Err(Failure::Connect) => {}
                    Err(Failure::Timeout | Failure::Malformed | Failure::Lost) => self.owed.add(unit, request),
                }
                // A serial port is as good as it was. A connection that no answer comes through may be dead.
                let keep = match outcome {
                    Ok(_) => true,
                    Err(Failure::Timeout | Failure::Malformed) => matches!(self.to, ModbusLine::Rtu { .. }),
                    Err(Failure::Connect | Failure::Lost) => false,
                };
                if keep {
                    self.open = Some(Open::Rtu(port));
                }
                outcome
            }
        }
    }
}

async fn make(to: &ModbusLine, tls: Option<&tls::Client>) -> io::Result<Open> {
    Ok(match to {
        ModbusLine::Tcp { host, port } => Open::Mbap(tcp::attach(connect(host, *port).await?)),
        ModbusLine::RtuOverTcp { host, port } => Open::Rtu(RtuPort::over_tcp(connect(host, *port).await?)),
        ModbusLine::Tls { host, port } => {
            let missing = || io::Error::new(io::ErrorKind::InvalidInput, "no certificate is configured");
            let tls::Client(config) = tls.cloned().ok_or_else(missing)?;
            let name = ServerName::try_from(host.clone());
            let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = connect(host, *port).await?;
            Open::Mbap(tcp::attach(TlsConnector::from(config).connect(name, stream).await?))
        }
        ModbusLine::Rtu { serial, echo } => Open::Rtu(RtuPort::serial(serial::open(serial)?, serial, *echo)),
    })
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Without it a request may wait for the acknowledgement of the one before; not worth failing for.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The codec reports bytes that it cannot read as errors of the transport, too.
fn broken(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => Failure::Malformed,
        _ => Failure::Lost,
    }
}
