//! Mutated frames at the Modbus server: through its pure halves, and over loopback into a live one. Nothing panics, it
//! still answers, and its memory stays flat.
//!
//! `cargo bench --bench modbus_fuzz [-- FRAMES]`, a million of each by default; exit 1 when something is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use heatgate::decision::Desired;
use heatgate::gateway::clock::SystemClock;
use heatgate::mapping::{BuiltinFiles, compile};
use heatgate::modbus::fuzz::{self, Dice};
use heatgate::modbus::server::{Server, Settings, Wire};
use heatgate::point::Image;
use heatgate::ports::{Keepsakes, Ports, Requests};
use heatgate::request::Accepted;
use heatgate::telemetry::Metrics;
use heatgate::time::Now;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Frames between two looks whether it still answers.
const BATCH: usize = 50;
/// Memory may grow by so much after the first tenth.
const GROWTH_KB: u64 = 4096;

fn main() -> std::process::ExitCode {
    let frames = std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).next().unwrap_or(1_000_000);
    let mut dice = Dice::new(20_261);
    let mut bytes = Vec::new();
    for _ in 0..frames / 2 {
        bytes.clear();
        dice.tcp(&mut bytes);
        fuzz::mbap(&bytes);
        bytes.clear();
        dice.rtu(&mut bytes);
        fuzz::rtu(&bytes);
    }
    println!("{frames} mutated frames through the pure halves: no panic");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let panics = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("{info}");
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    let mut wrong = false;
    for (name, wire) in [("TCP", Wire::Tcp(LOOPBACK.into())), ("RTU over TCP", Wire::RtuOverTcp(LOOPBACK.into()))] {
        let rtu = matches!(wire, Wire::RtuOverTcp(_));
        let at = serve(wire);
        let mut line = Line::to(at, rtu);
        let (mut sent, mut warm) = (0, 0);
        while sent < frames / 2 {
            bytes.clear();
            for _ in 0..BATCH {
                if rtu { dice.rtu(&mut bytes) } else { dice.tcp(&mut bytes) }
            }
            line.send(&bytes);
            sent += BATCH;
            if warm == 0 && sent >= frames / 20 {
                warm = memory_kb();
            }
        }
        let answers = Line::to(at, rtu).answers();
        let grown = memory_kb().saturating_sub(warm);
        let panicked = panics.load(Ordering::Relaxed);
        println!(
            "{sent} over {name}: {panicked} panics, still answers: {answers}, {} connections, memory +{grown} kB",
            line.made
        );
        wrong |= panicked > 0 || !answers || grown > GROWTH_KB;
    }
    std::process::ExitCode::from(u8::from(wrong))
}

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A connection that is made anew whenever the server ends it, as it does after a header that lies.
struct Line {
    at: SocketAddr,
    stream: TcpStream,
    rtu: bool,
    made: u64,
}

impl Line {
    fn to(at: SocketAddr, rtu: bool) -> Self {
        Self { at, stream: Self::connect(at), rtu, made: 1 }
    }

    fn connect(at: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Send bytes, and take what comes until a read of ours is answered or the connection ends.
    fn send(&mut self, bytes: &[u8]) {
        let ok = self.stream.write_all(bytes).is_ok() && self.answers();
        if !ok {
            self.stream = Self::connect(self.at);
            self.made += 1;
        }
    }

    /// A read of 4 registers is answered; it is the only reply of that length in its place of the stream.
    fn answers(&mut self) -> bool {
        let (request, reply): (&[u8], &[u8]) = if self.rtu {
            // Silence first would take half a second: enough zeros end whatever frame was begun.
            (&[0x01, 0x04, 0x00, 0x05, 0x00, 0x01, 0x21, 0xCB], &[0x01, 0x04, 0x02, 0x00, 0x00])
        } else {
            (&[0xBE, 0xEF, 0, 0, 0, 6, 1, 4, 0, 90, 0, 1], &[0xBE, 0xEF, 0, 0, 0, 5, 1, 4, 2, 0, 0])
        };
        let padding = if self.rtu { vec![0; 600] } else { Vec::new() };
        if self.stream.write_all(&padding).is_err() || self.stream.write_all(request).is_err() {
            return false;
        }
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return false,
                Ok(count) => got.extend_from_slice(&buffer[..count]),
            }
            if got.windows(reply.len()).any(|window| window[..3] == reply[..3] && window.len() == reply.len()) {
                return true;
            }
        }
    }
}

/// The demonstration's registers, and an engine that agrees to everything.
fn serve(wire: Wire) -> SocketAddr {
    let plant = compile("demo.toml", &BuiltinFiles).plant.unwrap();
    let image = Image::empty(plant.points.len(), Now::default());
    let (images, image) = watch::channel(Arc::new(image));
    let (desireds, desired) = watch::channel(Arc::new(Desired::default()));
    let (readings, batches) = mpsc::channel(1);
    let (requests, mut submissions) = Requests::channel(8);
    tokio::spawn(async move {
        let _kept = (images, desireds, batches);
        while let Some(submission) = submissions.recv().await {
            let _ = submission.reply.send(Ok(Accepted { image_seq: 0 }));
        }
    });
    let ports = Ports {
        image,
        desired,
        readings,
        requests,
        keepsakes: Keepsakes::default(),
        restart: CancellationToken::new(),
        time: Arc::new(SystemClock::new(1.0).unwrap()),
        metrics: Arc::new(Metrics::new()),
        stop: CancellationToken::new(),
    };
    let server = Server::bind(Settings::on(wire), Arc::new(plant)).unwrap();
    let at = server.local_addr().unwrap();
    tokio::spawn(server.run(ports));
    at
}

fn memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
