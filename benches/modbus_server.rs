//! Reads a second from the Modbus server over loopback, beside libmodbus's server and a bare TCP server that answers with
//! as many bytes.
//!
//! `cargo bench --bench modbus_server [-- SECONDS] [--libmodbus PROGRAM]`; PROGRAM is `libmodbus_server.c`, compiled.
//! One blocking master has all connections, each with one request outstanding or eight, and asks again on each as soon as it
//! has the answer: many threads would measure the scheduler. Each server has one thread, as in the gateway; all in one run
//! and in turns, so the ratio is what counts, not the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
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
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut seconds, mut libmodbus) = (5.0, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--libmodbus" => libmodbus = args.next(),
            number => seconds = number.parse().expect("SECONDS or --libmodbus PROGRAM"),
        }
    }
    let turn = seconds / f64::from(ROUNDS);
    let (modbus, _ends) = serve();
    let peer = libmodbus.as_deref().map(Peer::start);
    if peer.is_none() {
        println!(
            "libmodbus is absent: cc -O2 -o PROGRAM benches/libmodbus_server.c -lmodbus, then --libmodbus PROGRAM"
        );
    }
    println!(
        "{:>11} {:>9} {:>9} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "connections", "pipelined", "registers", "ours/s", "libmodbus/s", "bare tcp/s", "of libmodbus", "of bare tcp"
    );
    for (connections, depth) in [(1, 1), (16, 1), (16, 8)] {
        for registers in [10u8, 125] {
            let load = Load { connections, depth, registers, reply: 9 + 2 * usize::from(registers), seconds: turn };
            let other = bare(load.reply);
            // In turns, so that whatever else the machine does falls on all alike.
            let (mut served, mut beside, mut raw) = (0.0, 0.0, 0.0);
            for _ in 0..ROUNDS {
                served += measure(modbus, load) / f64::from(ROUNDS);
                beside += peer.as_ref().map_or(0.0, |peer| measure(peer.at, load)) / f64::from(ROUNDS);
                raw += measure(other, load) / f64::from(ROUNDS);
            }
            let (shown, ratio) = match &peer {
                Some(_) => (format!("{beside:.0}"), format!("{:.2}", served / beside)),
                None => ("-".to_owned(), "-".to_owned()),
            };
            println!(
                "{connections:>11} {depth:>9} {registers:>9} {served:>12.0} {shown:>12} {raw:>12.0} {ratio:>12} {:>12.2}",
                served / raw
            );
        }
    }
}

/// libmodbus's server as a process of its own; it ends with this one.
struct Peer {
    child: std::process::Child,
    at: SocketAddr,
}

impl Peer {
    fn start(program: &str) -> Self {
        let mut child = std::process::Command::new(program).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, at: ([127, 0, 0, 1], line.trim().parse().unwrap()).into() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    apart(async move { server.run(ports).await.unwrap() });
    (addr, vec![Box::new((images, desireds, batches, submissions))])
}

/// On a thread with a runtime of its own, as the gateway runs its servers.
fn apart(server: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(server);
    });
}

/// A server that answers each request with `reply` bytes and looks at nothing.
fn bare(reply: usize) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    apart(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let (mut requests, mut part) = ([0; 64 * REQUEST], 0);
                let replies = vec![0; 65 * reply];
                while let Ok(count @ 1..) = stream.read(&mut requests).await {
                    part += count;
                    let whole = part / REQUEST;
                    part %= REQUEST;
                    if stream.write_all(&replies[..whole * reply]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

/// What masters ask.
#[derive(Clone, Copy)]
struct Load {
    connections: usize,
    /// Requests under way on each connection.
    depth: usize,
    registers: u8,
    /// Bytes of one reply.
    reply: usize,
    seconds: f64,
}

/// Requests answered a second.
fn measure(addr: SocketAddr, load: Load) -> f64 {
    let request = [0, 1, 0, 0, 0, 6, 1, 4, 0, 0, 0, load.registers].repeat(load.depth);
    let mut buffer = vec![0; load.reply * load.depth];
    let mut streams: Vec<TcpStream> = (0..load.connections).map(|_| TcpStream::connect(addr).unwrap()).collect();
    streams.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
    let mut ask = |stream: &mut TcpStream| stream.write_all(&request).unwrap();
    streams.iter_mut().for_each(&mut ask);
    let mut rounds = |time: Duration| {
        let (start, mut answered) = (Instant::now(), 0usize);
        while start.elapsed() < time {
            for stream in &mut streams {
                stream.read_exact(&mut buffer).unwrap();
                assert!(buffer.chunks(load.reply).all(|reply| reply[7] & 0x80 == 0), "an exception");
                ask(stream);
                answered += load.depth;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
        let answered = answered as f64;
        answered / start.elapsed().as_secs_f64()
    };
    rounds(Duration::from_millis(50));
    rounds(Duration::from_secs_f64(load.seconds))
}
