//! A well-behaved peer among peers that storm the BACnet server over real sockets: its reads and writes are answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

// The shared plant names its vocabulary as the library does.
use heatgate::{decision, plant, point, ports, request, telemetry, time, units};

#[path = "../src/bacnet/testing.rs"]
mod testing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heatgate::bacnet::{Node, Settings};
use testing::World;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// Peers that storm.
const STORMING: u8 = 64;
/// Frames that they send at least, and reads and writes of the good peer meanwhile.
const FRAMES: u64 = 20_000;
const LEAST: usize = 100;
/// How long a client waits before it sends again, and how often it does: what bounds the answer to each request. The
/// machine may be busy with other tests.
const TIMEOUT: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

fn frame(apdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(apdu.len() + 6).unwrap().to_be_bytes();
    [&[0x81, 0x0A, length[0], length[1], 1, 4][..], apdu].concat()
}

/// What a bad peer sends, round by round: Who-Is, subscriptions that come and go, confirmed ones that nobody answers,
/// requests that are never completed, long answers that nobody acknowledges, rubbish.
fn bad(round: u64, peer: u8) -> Vec<u8> {
    let [.., high, low] = round.to_be_bytes();
    let invoke = low;
    match round % 7 {
        0 => vec![0x10, 8],
        1 => [&[2, 0x75, invoke, 5, 0x0A, high, low][..], b"\x1c\0\0\0\x0c\x29\0\x39\x3c"].concat(),
        2 => [&[2, 0x75, invoke, 5, 0x0A, high, low.wrapping_sub(1)][..], b"\x1c\0\0\0\x0c"].concat(),
        3 => [&[2, 0x75, invoke, 5, 0x09, peer][..], b"\x1c\0\0\0\x0c\x29\x01\x39\0"].concat(),
        4 => [&[0x0E, 0x75, invoke, 0, 4, 14][..], b"\x0c\x02\0\xb7\x99\x1e\x09"].concat(),
        5 => [&[2, 0x02, invoke, 12][..], b"\x0c\x02\0\xb7\x99\x19\x4c"].concat(),
        _ => vec![0x30, invoke, high, low],
    }
}

/// Send a request until its answer is there; by how many tries.
async fn exchange(socket: &UdpSocket, server: SocketAddr, apdu: &[u8], answer: &[u8]) -> usize {
    let mut heard = vec![0; 2048];
    for attempt in 1..=TRIES {
        socket.send_to(&frame(apdu), server).await.unwrap();
        let arrives = async {
            loop {
                let (length, _) = socket.recv_from(&mut heard).await.unwrap();
                if heard[6..length].starts_with(answer) {
                    return;
                }
            }
        };
        if tokio::time::timeout(TIMEOUT, arrives).await.is_ok() {
            return attempt;
        }
    }
    panic!("no answer to {apdu:02x?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_are_answered_while_sixty_four_peers_storm() {
    let world = World::new(500);
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let server = node.local_addr();
    let metrics = world.ports.metrics.clone();
    let running = tokio::spawn(node.run(world.ports.clone()));
    tokio::spawn(world.engine());

    let calm = CancellationToken::new();
    let sent = Arc::new(AtomicU64::new(0));
    let storms: Vec<_> = (0..STORMING)
        .map(|peer| {
            let (calm, sent) = (calm.clone(), Arc::clone(&sent));
            tokio::spawn(async move {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                for round in 0.. {
                    if calm.is_cancelled() {
                        break;
                    }
                    socket.send_to(&frame(&bad(round, peer)), server).await.unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    // Some ten thousand frames in a second from all of them.
                    if round % 8 == 7 {
                        tokio::time::sleep(Duration::from_millis(40)).await;
                    }
                }
            })
        })
        .collect();

    let good = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut tries, mut asked) = (0, 0);
    let mut round = 0;
    while asked < LEAST || sent.load(Ordering::Relaxed) < FRAMES {
        asked += 2;
        round = (round + 1) % 100;
        let value = f32::from(round).to_be_bytes();
        let head = [2, 0x75, round, 15, 0x0C, 0, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44];
        let write = [&head[..], &value, &[0x3F, 0x49, 10]].concat();
        tries += exchange(&good, server, &write, &[0x20, round, 15]).await;
        let read = [2, 0x75, round + 100, 12, 0x0C, 0, 0x80, 0, 1, 0x19, 85];
        let shown = [&[0x30, round + 100, 12, 0x0C, 0, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44][..], &value].concat();
        tries += exchange(&good, server, &read, &shown).await;
    }
    calm.cancel();
    for storm in storms {
        storm.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(!running.is_finished());
    // Some are lost in the socket's buffer; most are not.
    assert!(tries <= asked + asked / 4, "{tries} tries for {asked} requests beside {sent} frames");
    println!("{asked} requests beside {sent} frames, by {tries} tries");
    assert!(metrics.rejected_so_far("bacnet-server", "answer") > 0, "the storm was heard");
}
