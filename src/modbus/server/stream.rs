//! Modbus TCP over a stream of bytes, plain or TLS: requests in, replies out, in order.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::MissedTickBehavior;

use super::input::Input;
use super::seats::Seat;
use super::session::Session;
use crate::modbus::mbap::{self, Frame};
use crate::modbus::pdu::Exception;
use crate::modbus::reply;

/// Unit identifiers by which a TCP server itself is addressed.
const SELF_UNITS: [u8; 2] = [0, 255];

/// Received and not yet answered bytes of one connection: some fifteen of the longest frames, hundreds of reads.
const INPUT: usize = 4096;

/// Replies of one connection that are gathered before they are sent.
const OUTPUT: usize = 16 * 1024;

/// Why a connection ended.
pub(super) enum End {
    /// The master closed it, or the network did, or the gateway stops.
    Closed,
    /// Cause, for the metric.
    Rejected(&'static str),
}

/// A tick each quarter of the idle time-out. Five without a whole request are the time-out and up to a quarter: cheaper
/// than a timer for each request.
pub(super) async fn quarters(idle: Duration) -> tokio::time::Interval {
    let mut quarter = tokio::time::interval(idle / 4);
    quarter.set_missed_tick_behavior(MissedTickBehavior::Delay);
    quarter.tick().await;
    quarter
}

impl Session<'_> {
    /// Requests in, replies out, in order, until something ends it.
    pub(super) async fn talk_tcp<S>(&self, stream: &mut S, seat: &Seat) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let idle = self.shared.settings.idle_timeout.get();
        let mut input = Input::new(INPUT);
        let mut output = Vec::with_capacity(2 * mbap::LONGEST);
        let mut quarter = quarters(idle).await;
        let mut over = pin!(seat.over.cancelled());
        loop {
            let mut answered = false;
            loop {
                match mbap::first(input.unread()) {
                    Frame::Partial => break,
                    Frame::Lie(cause) => {
                        // What was asked before the lie is still answered.
                        let _ = send(stream, &mut output, idle, seat).await;
                        return End::Rejected(cause);
                    }
                    Frame::Whole { transaction, unit, pdu, size } => {
                        let start = mbap::open(&mut output, transaction, unit);
                        self.answer_unit(unit, pdu, &mut output).await;
                        mbap::close(&mut output, start);
                        input.consume(size);
                        answered = true;
                        self.shared.counter.transaction();
                    }
                }
                if output.len() >= OUTPUT
                    && let Err(end) = send(stream, &mut output, idle, seat).await
                {
                    return end;
                }
            }
            if answered {
                seat.active();
            }
            if let Err(end) = send(stream, &mut output, idle, seat).await {
                return end;
            }
            tokio::select! {
                biased;
                () = &mut over => return self.over(),
                read = stream.read(input.room()) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(count) => input.received(count),
                },
                _ = quarter.tick() => if seat.silent() >= 5 {
                    return End::Rejected("idle");
                },
            }
        }
    }

    /// A unit that is not in the list is answered with exception 0x0B: nothing stands behind this gateway by number.
    async fn answer_unit(&self, unit: u8, pdu: &[u8], out: &mut Vec<u8>) {
        let units = &self.shared.units;
        let space = units.get(unit).or_else(|| units.first().filter(|_| SELF_UNITS.contains(&unit)));
        match space {
            Some(space) => self.answer(space, pdu, out).await,
            None => reply::refuse(pdu, Exception::Target, out),
        }
    }

    /// The seat is gone.
    pub(super) fn over(&self) -> End {
        if self.shared.ports.stop.is_cancelled() { End::Closed } else { End::Rejected("seat given to another") }
    }
}

/// Send what is gathered; a master that does not take it within the time is let go.
pub(super) async fn send<S>(stream: &mut S, output: &mut Vec<u8>, within: Duration, seat: &Seat) -> Result<(), End>
where
    S: AsyncWrite + Unpin,
{
    if output.is_empty() {
        return Ok(());
    }
    let mut all = pin!(async {
        stream.write_all(output).await?;
        // TLS keeps the last record until it is told.
        stream.flush().await
    });
    // Mostly the kernel takes it at once: then there is no timer to set and nothing to wait for.
    let sent = match poll_fn(|context| Poll::Ready(all.as_mut().poll(context))).await {
        Poll::Ready(sent) => Ok(sent),
        Poll::Pending => tokio::select! {
            biased;
            sent = tokio::time::timeout(within, all) => sent,
            () = seat.over.cancelled() => return Err(End::Closed),
        },
    };
    match sent {
        Ok(Ok(())) => {
            output.clear();
            Ok(())
        }
        Ok(Err(_)) => Err(End::Closed),
        Err(_) => Err(End::Rejected("replies not taken")),
    }
}
