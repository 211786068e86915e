//! The BACnet server over real sockets, spoken to in octets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

// The shared plant names its vocabulary as the library does.
use heatgate::{decision, plant, point, ports, request, telemetry, time, units};

#[path = "../src/bacnet/testing.rs"]
mod testing;

use std::net::SocketAddr;
use std::time::Duration;

use heatgate::bacnet::{Node, Settings};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use testing::World;
use tokio::net::UdpSocket;

/// A node on a free port, its world, and where it is.
fn node(extra: u32) -> (World, Node, SocketAddr) {
    let world = World::new(extra);
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let address = node.local_addr();
    (world, node, address)
}

/// A peer that speaks in octets.
struct Peer {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Peer {
    async fn new(server: SocketAddr) -> Self {
        Self { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), server }
    }

    async fn send(&self, apdu: &[u8]) {
        let length = u16::try_from(apdu.len() + 6).unwrap().to_be_bytes();
        let frame = [&[0x81, 0x0A, length[0], length[1], 1, 4][..], apdu].concat();
        self.socket.send_to(&frame, self.server).await.unwrap();
    }

    /// The next APDU for us.
    async fn next(&self) -> Vec<u8> {
        let mut frame = vec![0; 2048];
        let read = tokio::time::timeout(Duration::from_secs(5), self.socket.recv_from(&mut frame));
        let (length, from) = read.await.expect("no answer").unwrap();
        assert_eq!(from, self.server);
        assert_eq!(frame[..2], [0x81, 0x0A]);
        frame[6..length].to_vec()
    }

    async fn exchange(&self, apdu: &[u8]) -> Vec<u8> {
        self.send(apdu).await;
        self.next().await
    }

    /// Present_Value of analog-value 1, which is a REAL.
    async fn percent(&self) -> f32 {
        let answer = self.exchange(&[0x02, 0x75, 200, 12, 0x0C, 0x00, 0x80, 0, 1, 0x19, 85]).await;
        assert_eq!(answer[..3], [0x30, 200, 12]);
        let value: [u8; 4] = answer[12..16].try_into().unwrap();
        f32::from_be_bytes(value)
    }
}

/// WriteProperty of analog-value 1 at priority 10.
fn write(invoke: u8, value: f32) -> Vec<u8> {
    let head = [0x02, 0x75, invoke, 15, 0x0C, 0x00, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44];
    [&head[..], &value.to_be_bytes(), &[0x3F, 0x49, 10]].concat()
}

#[tokio::test]
async fn the_device_answers_who_is_reads_and_writes() {
    let (world, node, server) = node(0);
    let (ports, stop) = (world.ports.clone(), world.ports.stop.clone());
    let running = tokio::spawn(node.run(ports));
    tokio::spawn(world.engine());
    let peer = Peer::new(server).await;
    // I-Am: device 47001, 1476 octets, segmented both ways, vendor 0
    let i_am = [0x10, 0, 0xC4, 2, 0, 0xB7, 0x99, 0x22, 5, 0xC4, 0x91, 0, 0x21, 0];
    assert_eq!(peer.exchange(&[0x10, 8]).await, i_am);
    assert_eq!(peer.exchange(&[0x10, 8, 0x0A, 0xB7, 0x99, 0x1A, 0xB7, 0x99]).await, i_am);
    // a range without us is silent: the next answer is the read's
    peer.send(&[0x10, 8, 0x09, 1, 0x19, 2]).await;
    assert_eq!(peer.percent().await, 0.0);
    // Who-Has by name draws I-Have
    let who_has = [&[0x10, 7, 0x3D, 15, 0][..], b"analog-value 1"].concat();
    assert_eq!(peer.exchange(&who_has).await[..2], [0x10, 1]);
    assert_eq!(peer.exchange(&write(1, 52.5)).await, [0x20, 1, 15]);
    assert_eq!(peer.percent().await, 52.5);
    // value-out-of-range; unrecognized service; nothing changed
    assert_eq!(peer.exchange(&write(2, 101.0)).await, [0x50, 2, 15, 0x91, 2, 0x91, 37]);
    assert_eq!(peer.exchange(&[0x02, 0x75, 3, 19]).await, [0x60, 3, 9]);
    assert_eq!(peer.percent().await, 52.5);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_under_way_blocks_no_read_and_writes_keep_their_order() {
    let (mut world, node, server) = node(0);
    tokio::spawn(node.run(world.ports.clone()));
    let peer = Peer::new(server).await;
    peer.send(&write(1, 10.0)).await;
    let first = world.requests.recv().await.unwrap();
    // the engine thinks; a second write of this peer waits behind the first, repeated ones are not taken twice
    peer.send(&write(2, 20.0)).await;
    peer.send(&write(1, 10.0)).await;
    peer.send(&write(2, 20.0)).await;
    assert_eq!(peer.percent().await, 0.0);
    assert!(world.requests.try_recv().is_err());
    first.reply.send(Err(heatgate::request::Refusal::Busy)).unwrap();
    // device, device-busy
    assert_eq!(peer.next().await, [0x50, 1, 15, 0x91, 0, 0x91, 3]);
    let second = world.requests.recv().await.unwrap();
    world.publish(|image| drop(testing::apply(&testing::plant(0), image, &second.request)));
    second.reply.send(Ok(heatgate::request::Accepted { image_seq: 2 })).unwrap();
    assert_eq!(peer.next().await, [0x20, 2, 15]);
    assert_eq!(peer.percent().await, 20.0);
    // its answer was lost: the same again, and the engine is not asked
    assert_eq!(peer.exchange(&write(2, 20.0)).await, [0x20, 2, 15]);
    assert!(world.requests.try_recv().is_err());
}

#[tokio::test]
async fn broadcasts_are_heard_and_a_second_node_on_the_address_is_refused() {
    let (world, node, server) = node(0);
    tokio::spawn(node.run(world.ports.clone()));
    let peer = Peer::new(server).await;
    peer.socket.set_broadcast(true).unwrap();
    let everybody = SocketAddr::from(([127, 255, 255, 255], server.port()));
    peer.socket.send_to(&[0x81, 0x0B, 0, 8, 1, 0, 0x10, 8], everybody).await.unwrap();
    assert_eq!(peer.next().await[..2], [0x10, 0]);
    let settings = Settings { listen: server, ..Settings::default() };
    let second = Node::bind(settings, world.plant.clone()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn twenty_thousand_mutated_frames_change_nothing() {
    let (world, node, server) = node(5);
    let metrics = world.ports.metrics.clone();
    let image = world.image.subscribe();
    let before = format!("{:?}", image.borrow());
    let running = tokio::spawn(node.run(world.ports.clone()));
    // Whatever gets through as a write is refused, so that a value can only change by our own fault.
    let mut requests = world.requests;
    let refusing = tokio::spawn(async move {
        while let Some(submission) = requests.recv().await {
            let _ = submission.reply.send(Err(heatgate::request::Refusal::Busy));
        }
    });
    let peer = Peer::new(server).await;
    let frame = |apdu: &[u8]| {
        let length = u16::try_from(apdu.len() + 6).unwrap().to_be_bytes();
        [&[0x81, 0x0A, length[0], length[1], 1, 4][..], apdu].concat()
    };
    let seeds: Vec<Vec<u8>> = [
        &[0x10, 8, 0x0A, 0xB7, 0x99, 0x1A, 0xB7, 0x99][..],
        &[0x10, 7, 0x2C, 0x00, 0x80, 0, 1],
        &[0x02, 0x02, 1, 12, 0x0C, 0x02, 0, 0xB7, 0x99, 0x19, 76],
        &[
            0x02, 0x75, 2, 14, 0x0C, 0x00, 0x80, 0, 1, 0x1E, 0x09, 8, 0x1F, 0x0C, 0x02, 0, 0xB7, 0x99, 0x1E, 0x09, 105,
            0x1F,
        ],
        &write(3, 10.0),
        &[0x02, 0x75, 4, 5, 0x09, 7, 0x1C, 0x00, 0x80, 0, 1, 0x29, 1, 0x39, 60],
        &[0x0E, 0x75, 5, 0, 4, 14, 0x0C, 0x00, 0x80, 0, 1, 0x1E, 0x09, 8],
        &[0x40, 1, 0, 4],
        &[0x71, 1, 0],
        &[0x30, 1, 12, 0x0C, 0x00, 0x80, 0, 1, 0x19, 85],
    ]
    .iter()
    .map(|apdu| frame(apdu))
    .collect();
    let mut rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for round in 0..20_000usize {
        let mut mutant = seeds[round % seeds.len()].clone();
        for _ in 0..=rng.next_u32() % 3 {
            let place = rng.next_u32() as usize % mutant.len();
            let octet = (rng.next_u32() & 0xFF) as u8;
            match rng.next_u32() % 4 {
                0 => mutant[place] = octet,
                1 => mutant[place] ^= 1 << (octet & 7),
                2 => mutant.insert(place, octet),
                _ => mutant.truncate(place.max(1)),
            }
        }
        // Half of them with a right length, so that they get past the first door.
        if round % 2 == 0 && mutant.len() >= 4 {
            let length = u16::try_from(mutant.len()).unwrap().to_be_bytes();
            mutant[2..4].copy_from_slice(&length);
        }
        peer.socket.send_to(&mutant, server).await.unwrap();
        if round % 100 == 0 {
            // Let it keep up, and see that it still answers: a peer of its own gets its own answers.
            assert_eq!(Peer::new(server).await.percent().await, 0.0);
        }
    }
    assert_eq!(Peer::new(server).await.percent().await, 0.0);
    assert!(!running.is_finished() && !refusing.is_finished());
    assert_eq!(format!("{:?}", image.borrow()), before);
    assert!(metrics.rejected_so_far("bacnet-server", "bvll") > 1_000);
    assert!(metrics.rejected_so_far("bacnet-server", "npdu") > 100);
}
