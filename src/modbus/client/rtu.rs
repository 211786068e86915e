//! Exchanges in RTU frames, on a serial line or through a serial server.
//!
//! RTU frames carry no number, so what a reply answers is known by its order alone. Before each request the line is
//! drained of what came too late; a reply has to be of the unit, to the function, as long as was asked and whole by its
//! CRC, and everything else is passed over while the time lasts. Who did not answer is left alone by the caller until a
//! late answer should have come (its quarantine), so that it is drained; what is later still is told apart by its length
//! (see `owed`).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::Request;
use tokio_serial::SerialStream;

use super::line::{Answer, Failure};
use super::pdu;
use crate::modbus::rtu::{self, BROADCAST, Reader};
use crate::plant::SerialLine;

/// What is read at once.
const CHUNK: usize = 512;

/// How long slaves have to carry out what was said to all of them ("MODBUS over Serial Line V1.02", 2.4.1: 100 to 200 ms).
const TURNAROUND: Duration = Duration::from_millis(100);

/// The longest reply and request, for the time that they take on the wire.
const EXCHANGE: usize = 2 * rtu::LONGEST;

/// A stream of bytes, whatever carries it.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A line that is open.
pub(super) struct RtuPort {
    stream: Box<dyn Stream>,
    /// T3.5; nothing over TCP, where frames come in segments.
    silence: Duration,
    /// What the longest exchange takes on the wire.
    on_the_wire: Duration,
    /// What is sent comes back, too.
    echo: bool,
}

impl RtuPort {
    /// A serial line.
    pub(super) fn serial(stream: SerialStream, line: &SerialLine, echo: bool) -> Self {
        Self { stream: Box::new(stream), silence: line.silence(), on_the_wire: line.takes(EXCHANGE), echo }
    }

    /// A serial server.
    pub(super) fn over_tcp(stream: TcpStream) -> Self {
        Self { stream: Box::new(stream), silence: Duration::ZERO, on_the_wire: Duration::ZERO, echo: false }
    }

    /// One exchange: `within` is for the device to think, what the bytes take is added to it. The first `older` exceptions
    /// may belong to earlier requests: they count only when nothing follows.
    pub(super) async fn call(
        &mut self,
        unit: u8,
        request: &Request<'_>,
        within: Duration,
        older: usize,
    ) -> Result<Answer, Failure> {
        let within = within + self.on_the_wire;
        timeout(within, self.drain()).await.map_err(|_| Failure::Malformed)??;
        let mut frame = Vec::with_capacity(rtu::LONGEST);
        let start = rtu::open(&mut frame, unit);
        let function = pdu::write(request, &mut frame).ok_or(Failure::Malformed)?;
        rtu::close(&mut frame, start);
        let send = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        timeout(within, send).await.map_err(|_| Failure::Timeout)?.map_err(|_| Failure::Lost)?;
        let mut input = Vec::with_capacity(CHUNK);
        if self.echo {
            let echoed = timeout(within, self.fill(&mut input, frame.len())).await;
            echoed.map_err(|_| Failure::Timeout)??;
            if input.get(..frame.len()) != Some(&frame) {
                // Somebody else spoke at the same time.
                return Err(Failure::Malformed);
            }
            input.drain(..frame.len());
        }
        if unit == BROADCAST {
            tokio::time::sleep(self.on_the_wire.min(Duration::from_secs(1)) + TURNAROUND).await;
            return pdu::obeyed(request).map(Ok).ok_or(Failure::Malformed);
        }
        let reader = Reader::Master { unit, function };
        let (mut older, mut exception) = (older, None);
        let reply = async {
            loop {
                match take(&mut input, reader, request) {
                    Some(Err(code)) if older > 0 => {
                        older -= 1;
                        exception = Some(code);
                        continue;
                    }
                    Some(answer) => return Ok(answer),
                    None => {}
                }
                let more = input.len() + 1;
                self.fill(&mut input, more).await?;
            }
        };
        let outcome = timeout(within, reply).await;
        match (outcome, exception) {
            (Ok(outcome), _) => outcome,
            (Err(_), Some(code)) => Ok(Err(code)),
            (Err(_), None) if input.is_empty() => Err(Failure::Timeout),
            (Err(_), None) => Err(Failure::Malformed),
        }
    }

    /// Throw away what nobody waits for, until the line is silent.
    async fn drain(&mut self) -> Result<(), Failure> {
        let mut waste = [0; CHUNK];
        loop {
            match timeout(self.silence, self.stream.read(&mut waste)).await {
                Err(_) => return Ok(()),
                Ok(Ok(0) | Err(_)) => return Err(Failure::Lost),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Read until so much is there.
    async fn fill(&mut self, input: &mut Vec<u8>, length: usize) -> Result<(), Failure> {
        while input.len() < length {
            if self.stream.read_buf(input).await.map_err(|_| Failure::Lost)? == 0 {
                return Err(Failure::Lost);
            }
        }
        Ok(())
    }
}

/// The answer to this request among what came; what is before it is dropped, and so is a frame that does not fit.
fn take(input: &mut Vec<u8>, reader: Reader, request: &Request<'_>) -> Option<Answer> {
    loop {
        let found = rtu::first(input, reader, false);
        let (skip, frame) = (found.skip, found.frame.as_ref().map(|frame| frame.size));
        let answer = found.frame.and_then(|frame| pdu::answer(request, frame.pdu));
        input.drain(..(skip + frame.unwrap_or(0)).min(input.len()));
        if answer.is_some() || frame.is_none() {
            return answer;
        }
    }
}
