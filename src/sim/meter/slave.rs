//! A small Modbus TCP slave for registers that are only read: FC 3 and 4, everything else is an exception.
//!
//! Its own code, so that the gateway's client meets a slave that shares nothing with it. Bytes that are no Modbus TCP
//! close their connection; nothing closes the slave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::registers::COUNT;

/// Connections at once; more are closed at once.
const CONNECTIONS: usize = 16;
/// A connection without a request for this long (wall time) is closed.
const IDLE: Duration = Duration::from_secs(300);
/// A peer must take its answer within this (wall time).
const SEND: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as "too many open files", which would otherwise fail in a loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Function codes and exceptions: Modbus Application Protocol V1.1b3, 6.3, 6.4 and 7.
const READ_HOLDING: u8 = 3;
const READ_INPUT: u8 = 4;
const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
/// Largest PDU: 253 bytes (V1.1b3, 4.1), and the unit identifier before it.
const LARGEST: usize = 254;

/// Serve until stopped.
pub(super) async fn serve(listener: TcpListener, registers: watch::Receiver<[u16; COUNT]>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS => {
                    connections.spawn(converse(stream, registers.clone()));
                }
                Ok((_, peer)) => tracing::debug!(%peer, "too many connections to the simulated meter"),
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One connection, until its peer leaves or sends what is no Modbus TCP.
async fn converse(mut stream: TcpStream, registers: watch::Receiver<[u16; COUNT]>) {
    // Without it answers wait for the peer's delayed acknowledgement; a slave without it still works.
    let _ = stream.set_nodelay(true);
    while let Ok(Some((header, pdu))) = tokio::time::timeout(IDLE, frame(&mut stream)).await {
        let answer = answer(&pdu, &*registers.borrow());
        let Ok(length) = u16::try_from(answer.len() + 1) else { return };
        let mut message = Vec::with_capacity(answer.len() + 7);
        message.extend(header.transaction);
        message.extend([0, 0]);
        message.extend(length.to_be_bytes());
        message.push(header.unit);
        message.extend(answer);
        if !matches!(tokio::time::timeout(SEND, stream.write_all(&message)).await, Ok(Ok(()))) {
            return;
        }
    }
}

struct Header {
    transaction: [u8; 2],
    unit: u8,
}

/// The next request; `None` when the connection is of no more use.
async fn frame(stream: &mut TcpStream) -> Option<(Header, Vec<u8>)> {
    let mut mbap = [0; 7];
    stream.read_exact(&mut mbap).await.ok()?;
    let [t0, t1, p0, p1, l0, l1, unit] = mbap;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    // The length counts the unit identifier; at least a function code follows it.
    if (p0, p1) != (0, 0) || !(2..=LARGEST).contains(&length) {
        return None;
    }
    let mut pdu = vec![0; length - 1];
    stream.read_exact(&mut pdu).await.ok()?;
    Some((Header { transaction: [t0, t1], unit }, pdu))
}

/// The answer to a request PDU: registers or an exception.
fn answer(pdu: &[u8], registers: &[u16]) -> Vec<u8> {
    let (function, read) = match *pdu {
        [function @ (READ_HOLDING | READ_INPUT), a0, a1, n0, n1] => {
            let (address, count) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([n0, n1]));
            (function, words(registers, address, count))
        }
        [function @ (READ_HOLDING | READ_INPUT), ..] => (function, Err(ILLEGAL_VALUE)),
        [function, ..] => (function, Err(ILLEGAL_FUNCTION)),
        [] => (0, Err(ILLEGAL_FUNCTION)),
    };
    match read {
        Ok(words) => {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            let mut answer = vec![function, u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
            answer.extend(bytes);
            answer
        }
        Err(exception) => vec![function | 0x80, exception],
    }
}

fn words(registers: &[u16], address: u16, count: u16) -> Result<&[u16], u8> {
    if !(1..=125).contains(&count) {
        return Err(ILLEGAL_VALUE);
    }
    let from = usize::from(address);
    registers.get(from..from + usize::from(count)).ok_or(ILLEGAL_ADDRESS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REGISTERS: [u16; COUNT] = [10, 11, 12, 13, 14, 15, 16, 17, 18, 0x1234];

    #[test]
    fn registers_are_read_by_both_functions() {
        assert_eq!(answer(&[4, 0, 8, 0, 2], &REGISTERS), [4, 4, 0, 18, 0x12, 0x34]);
        assert_eq!(answer(&[3, 0, 0, 0, 1], &REGISTERS), [3, 2, 0, 10]);
    }

    #[test]
    fn what_cannot_be_answered_is_an_exception() {
        assert_eq!(answer(&[4, 0, 9, 0, 2], &REGISTERS), [0x84, 2]);
        assert_eq!(answer(&[4, 0xff, 0xff, 0, 125], &REGISTERS), [0x84, 2]);
        assert_eq!(answer(&[4, 0, 0, 0, 0], &REGISTERS), [0x84, 3]);
        assert_eq!(answer(&[4, 0, 0, 0, 126], &REGISTERS), [0x84, 3]);
        assert_eq!(answer(&[3, 0], &REGISTERS), [0x83, 3]);
        assert_eq!(answer(&[6, 0, 0, 0, 1], &REGISTERS), [0x86, 1]);
    }

    proptest! {
        #[test]
        fn any_request_has_an_answer(pdu in proptest::collection::vec(any::<u8>(), 0..253)) {
            let answer = answer(&pdu, &REGISTERS);
            prop_assert!(answer.len() >= 2 && answer.len() < LARGEST);
        }
    }
}
