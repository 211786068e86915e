//! Reads a second from the Modbus server over loopback, beside a bare TCP server that answers with as many bytes.
//!
//! `cargo bench --bench modbus_server [-- SECONDS]`. Masters are blocking threads, one connection each, one request
//! outstanding; both servers run on one two-worker runtime, so the ratio is what counts, not the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use heatgate::decision::Desired;
use heatgate::gateway::clock::SystemClock;
use heatgate::modbus::server::{Server, Settings};
use heatgate::plant::{Codec, Offline, Plant, PointDef, RegisterFace, RegisterType, Source, Table};
use heatgate::point::{Image, Kind, PointId, PointKey, Reading};
use heatgate::ports::{Keepsakes, Ports, Requests};
use heatgate::telemetry::Metrics;
use heatgate::time::Now;
use heatgate::units::Unit;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Turns of each server in a measurement.
const ROUNDS: u32 = 10;

/// A request is a header of 7 bytes and a PDU of 5.
const REQUEST: usize = 12;

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse::<f64>().ok()).next().unwrap_or(5.0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let turn = seconds / f64::from(ROUNDS);
    let (modbus, _ends) = serve();
    println!("{:>12} {:>10} {:>14} {:>14} {:>7}", "connections", "registers", "modbus reads/s", "bare tcp /s", "ratio");
    for connections in [1, 16] {
        for registers in [10u8, 125] {
            let reply = 9 + 2 * usize::from(registers);
            let other = bare(reply);
            // In turns, so that whatever else the machine does falls on both alike.
            let (mut served, mut raw) = (0.0, 0.0);
            for _ in 0..ROUNDS {
                served += measure(modbus, connections, registers, reply, turn) / f64::from(ROUNDS);
                raw += measure(other, connections, registers, reply, turn) / f64::from(ROUNDS);
            }
            println!("{connections:>12} {registers:>10} {served:>14.0} {raw:>14.0} {:>7.2}", served / raw);
        }
    }
}

/// The server over 125 input registers: singles with a scaled 16-bit twin each, as on the building's face.
fn serve() -> (SocketAddr, Vec<Box<dyn std::any::Any>>) {
    let mut plant = Plant::default();
    let mut address = 0;
    for number in 0..42 {
        plant.points.push(PointDef {
            id: PointId(number),
            key: PointKey::new(format!("bench/p{number}")).unwrap(),
            description: String::new(),
            kind: Kind::Number,
            unit: Unit::Kilowatt,
            range: None,
            absent: None,
            texts: Vec::new(),
            source: Source::Engine,
            deadband: 0.0,
        });
        for (kind, scale) in [(RegisterType::F32, 1.0), (RegisterType::U16, 0.1)] {
            let codec = Codec { scale, ..Codec::plain(kind) };
            plant.modbus.faces.push(RegisterFace {
                point: PointId(number),
                table: Table::Input,
                address,
                codec,
                writable: false,
                offline: Offline::Hold,
            });
            address += kind.width();
        }
    }
    let mut image = Image::empty(plant.points.len(), Now::default());
    for number in 0..42 {
        image.get_mut(PointId(number)).unwrap().sample.reading = Reading::number(f64::from(number) + 0.5);
    }
    let (images, image) = watch::channel(Arc::new(image));
    let (desireds, desired) = watch::channel(Arc::new(Desired::default()));
    let (readings, batches) = mpsc::channel(1);
    let (requests, submissions) = Requests::channel(1);
    let ports = Ports {
        image,
        desired,
        readings,
        requests,
        keepsakes: Keepsakes::default(),
        time: Arc::new(SystemClock::new(1.0).unwrap()),
        metrics: Arc::new(Metrics::new()),
        restart: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let server = Server::bind(Settings::new(([127, 0, 0, 1], 0).into()), Arc::new(plant)).unwrap();
    let addr = server.local_addr().unwrap();
    tokio::spawn(server.run(ports));
    (addr, vec![Box::new((images, desireds, batches, submissions))])
}

/// A server that answers each request with `reply` bytes and looks at nothing.
fn bare(reply: usize) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let mut request = [0; REQUEST];
                let reply = vec![0; reply];
                while stream.read_exact(&mut request).await.is_ok() && stream.write_all(&reply).await.is_ok() {}
            });
        }
    });
    addr
}

/// Requests answered a second.
fn measure(addr: SocketAddr, connections: usize, registers: u8, reply: usize, seconds: f64) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let request = [0, 1, 0, 0, 0, 6, 1, 4, 0, 0, 0, registers];
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut stream = TcpStream::connect(addr).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = vec![0; reply];
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&request).unwrap();
                    stream.read_exact(&mut buffer).unwrap();
                    assert!(buffer[7] & 0x80 == 0, "an exception");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
        let (before, start) = (count.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(Duration::from_secs_f64(seconds));
        took = start.elapsed();
        count.fetch_sub(before, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
    });
    #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
    let answered = count.load(Ordering::Relaxed) as f64;
    answered / took.as_secs_f64()
}
