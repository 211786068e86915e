//! Reads a second from the BACnet server over loopback, beside a bare UDP server that answers with as many octets.
//!
//! `cargo bench --bench bacnet_server [-- SECONDS]`. One blocking client keeps 1 or 32 requests outstanding; both
//! servers run on one two-worker runtime, so the ratio is what counts, not the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

// The shared plant names its vocabulary as the library does.
use heatgate::{decision, plant, point, ports, request, telemetry, time, units};

#[path = "../src/bacnet/testing.rs"]
mod testing;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use heatgate::bacnet::{Node, Settings};
use heatgate::point::Reading;
use testing::World;

/// BVLL and NPDU headers: what stands before the APDU.
const HEAD: usize = 6;

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse::<f64>().ok()).next().unwrap_or(3.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (bacnet, _world) = serve();
    println!("{:>12} {:>24} {:>10} {:>12} {:>7}", "outstanding", "request", "bacnet /s", "bare udp /s", "ratio");
    for outstanding in [1, 32] {
        for (name, request) in [("ReadProperty", read()), ("ReadPropertyMultiple, 10", read_multiple())] {
            let octets = one(bacnet, &request);
            let served = measure(bacnet, outstanding, &request, seconds);
            let bare = measure(bare(octets), outstanding, &request, seconds);
            println!("{outstanding:>12} {name:>24} {served:>10.0} {bare:>12.0} {:>7.2}", served / bare);
        }
    }
}

/// The server with 5,000 analog inputs that all have a value.
fn serve() -> (SocketAddr, World) {
    let world = World::new(5_000);
    world.publish(|image| {
        for def in &world.plant.points {
            if def.commandable().is_none() {
                testing::read(image, def.id, Reading::number(20.5));
            }
        }
    });
    let settings = Settings { listen: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let address = node.local_addr();
    tokio::spawn(node.run(world.ports.clone()));
    (address, world)
}

/// A server that answers each datagram with `octets` octets, the invoke id at its place.
fn bare(octets: usize) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    tokio::spawn(async move {
        let (mut request, mut reply) = ([0; 2048], vec![0; octets]);
        while let Ok((_, from)) = socket.recv_from(&mut request).await {
            reply[HEAD] = 0x30;
            reply[HEAD + 1] = request[HEAD + 2];
            let _ = socket.send_to(&reply, from).await;
        }
    });
    address
}

fn frame(apdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(apdu.len() + HEAD).unwrap().to_be_bytes();
    [&[0x81, 0x0A, length[0], length[1], 1, 4][..], apdu].concat()
}

/// Present_Value of analog-input 100.
fn read() -> Vec<u8> {
    frame(&[0x02, 0x75, 0, 12, 0x0C, 0, 0, 0, 100, 0x19, 85])
}

/// Present_Value of analog-inputs 100 to 109.
fn read_multiple() -> Vec<u8> {
    let specs = (100..110).flat_map(|instance| [0x0C, 0, 0, 0, instance, 0x1E, 0x09, 85, 0x1F]);
    frame(&[0x02, 0x75, 0, 14].into_iter().chain(specs).collect::<Vec<u8>>())
}

fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

/// How long the answer is.
fn one(server: SocketAddr, request: &[u8]) -> usize {
    let socket = client(server);
    socket.send(request).unwrap();
    let mut answer = [0; 2048];
    socket.recv(&mut answer).unwrap()
}

/// Requests answered a second.
fn measure(server: SocketAddr, outstanding: u8, request: &[u8], seconds: f64) -> f64 {
    let socket = client(server);
    let mut request = request.to_vec();
    let mut send = |invoke| {
        request[HEAD + 2] = invoke;
        socket.send(&request).unwrap();
    };
    (0..outstanding).for_each(&mut send);
    let mut answer = [0; 2048];
    let mut run = |time: Duration| {
        let (start, mut answered) = (Instant::now(), 0u32);
        while start.elapsed() < time {
            socket.recv(&mut answer).expect("an answer was lost");
            assert_eq!(answer[HEAD], 0x30, "not an acknowledgement");
            answered += 1;
            send(answer[HEAD + 1]);
        }
        f64::from(answered) / start.elapsed().as_secs_f64()
    };
    run(Duration::from_millis(300));
    run(Duration::from_secs_f64(seconds))
}
