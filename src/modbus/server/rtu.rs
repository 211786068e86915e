//! RTU as a slave, on a serial line or over TCP. It never gives up: what is no frame is skipped, what is for others is
//! left to them, and only a port that is gone ends the conversation.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::diagnostics::Counters;
use super::input::Input;
use super::seats::Seat;
use super::session::Session;
use super::stream::{End, quarters, send};
use crate::modbus::reply;
use crate::modbus::rtu::{self, BROADCAST, Reader};
use crate::plant::SerialLine;

/// Received bytes: two of the longest frames and some noise.
const INPUT: usize = 1024;

/// How much later than on the wire bytes may be seen: USB adapters gather for 16 ms, and a loaded machine adds to it.
/// Only noise waits for it.
const LATE: Duration = Duration::from_millis(50);

/// Function code of diagnostics, which only serial lines have.
const DIAGNOSTICS: u8 = 8;

/// What ends a part of a frame over TCP, where there is no silence to measure.
const TCP_GAP: Duration = Duration::from_millis(500);

impl Session<'_> {
    /// RTU frames over a TCP connection, until something ends it. All requests are answered in order.
    pub(super) async fn talk_rtu<S>(&self, stream: &mut S, seat: &Seat) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let idle = self.shared.settings.idle_timeout.get();
        let mut input = Input::new(INPUT);
        let mut counters = Counters::default();
        let mut output = Vec::with_capacity(2 * rtu::LONGEST);
        let mut quarter = quarters(idle).await;
        let mut silent = false;
        loop {
            while let Some(answered) = self.next(&mut input, silent, &mut counters, &mut output).await {
                if answered {
                    seat.active();
                }
                if let Err(end) = send(stream, &mut output, idle, seat).await {
                    return end;
                }
            }
            let waiting = !input.unread().is_empty();
            silent = false;
            tokio::select! {
                biased;
                () = seat.over.cancelled() => return self.over(),
                read = stream.read(input.room()) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(count) => input.received(count),
                },
                () = sleep(TCP_GAP), if waiting => silent = true,
                _ = quarter.tick() => if seat.silent() >= 5 {
                    return End::Rejected("idle");
                },
            }
        }
    }

    /// One of the slaves of a serial line, until the port is gone; `Ok` when the gateway stops.
    pub(super) async fn talk_serial<S>(
        &self,
        stream: &mut S,
        line: &SerialLine,
        echo: bool,
        counters: &mut Counters,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let gap = line.silence() + LATE;
        let mut input = Input::new(INPUT);
        let mut output = Vec::with_capacity(rtu::LONGEST);
        let mut sent = Vec::with_capacity(rtu::LONGEST);
        let mut silent = false;
        let stop = &self.shared.ports.stop;
        loop {
            while self.next(&mut input, silent, counters, &mut output).await.is_some() {
                // Only one request is ever under way on a line: when another frame has come already, this one's master
                // has given up waiting, and an answer now would be taken for the next one's.
                if rtu::first(input.unread(), Reader::Slave, false).frame.is_some() {
                    output.clear();
                }
                if output.is_empty() {
                    continue;
                }
                sleep(line.silence()).await;
                // Not flushed: that would block the thread until the last bit is out.
                match timeout(2 * line.takes(output.len()) + Duration::from_secs(1), stream.write_all(&output)).await {
                    Ok(written) => written?,
                    Err(_) => self.shared.ports.metrics.rejected(&self.shared.settings.name, "replies not taken"),
                }
                sent.clear();
                if echo {
                    sent.extend_from_slice(&output);
                }
                output.clear();
            }
            let waiting = !input.unread().is_empty();
            silent = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                read = stream.read(input.room()) => match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => {
                        input.received(count);
                        hear(&mut input, &mut sent);
                    }
                },
                () = sleep(gap), if waiting => silent = true,
            }
        }
    }

    /// Deal with the first frame, if there is a whole one: whether it was a request to us. A reply is appended.
    async fn next(&self, input: &mut Input, silent: bool, counters: &mut Counters, out: &mut Vec<u8>) -> Option<bool> {
        let found = rtu::first(input.unread(), Reader::Slave, silent);
        if found.skip > 0 {
            counters.bus_errors = counters.bus_errors.wrapping_add(1);
            self.shared.ports.metrics.rejected(&self.shared.settings.name, "no RTU frame");
        }
        let Some(frame) = found.frame else {
            let skip = found.skip;
            input.consume(skip);
            return None;
        };
        counters.bus_messages = counters.bus_messages.wrapping_add(1);
        let units = &self.shared.units;
        let broadcast = frame.unit == BROADCAST;
        let space = if broadcast { units.first() } else { units.get(frame.unit) };
        match space {
            Some(space) if frame.request => {
                counters.messages = counters.messages.wrapping_add(1);
                self.shared.counter.transaction();
                let start = rtu::open(out, frame.unit);
                let body = out.len();
                if frame.pdu.first() == Some(&DIAGNOSTICS) {
                    if let Err(exception) = counters.answer(frame.pdu, out) {
                        out.truncate(body);
                        reply::refuse(frame.pdu, exception, out);
                    }
                } else {
                    self.answer(space, frame.pdu, out).await;
                }
                if broadcast {
                    counters.no_response = counters.no_response.wrapping_add(1);
                    out.truncate(start);
                } else {
                    counters.replied(out.get(body..).unwrap_or_default());
                    rtu::close(out, start);
                }
            }
            // Our unit, and no request: an adapter that hears itself, or a second slave of this unit.
            Some(_) => self.shared.ports.metrics.rejected(&self.shared.settings.name, "reply of our own unit"),
            None => {}
        }
        let ours = space.is_some() && frame.request;
        let size = found.skip + frame.size;
        input.consume(size);
        Some(ours)
    }
}

/// Drop what an adapter heard of its own: exactly what was sent, as far as it is there.
fn hear(input: &mut Input, sent: &mut Vec<u8>) {
    if sent.is_empty() {
        return;
    }
    let heard = input.unread();
    let length = heard.len().min(sent.len());
    if heard.get(..length) == sent.get(..length) {
        input.consume(length);
        sent.drain(..length);
    } else {
        sent.clear();
    }
}
