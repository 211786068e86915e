//! The BACnet server beside others, over loopback: reads a second, COV notifications a second, resident memory.
//!
//! `cargo bench --bench bacnet_server [-- SECONDS] [--peer NAME=COMMAND]...`
//!
//! Each server is a process of its own; one blocking client keeps 1 or 32 requests outstanding. Every figure is taken of
//! all servers in turn before the next one, so that a busy minute hits them alike. `bare udp` answers with as many octets
//! as ours and knows nothing of BACnet. A peer's COMMAND is split at spaces; `{port}` in it, and BACNET_IP_PORT in its
//! environment, name the UDP port of 127.0.0.1 that it must serve; it needs analog-input 1, and analog-value 1 that can be
//! commanded. bacnet-stack's server: `BACNET_IFACE=lo cargo bench ... -- --peer c="/path/to/bacserv 1234"`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

// The shared plant names its vocabulary as the library does.
use heatgate::{decision, plant, point, ports, request, telemetry, time, units};

#[path = "../src/bacnet/testing.rs"]
mod testing;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heatgate::bacnet::{Node, Settings};
use heatgate::point::{PointId, Reading};
use testing::World;

/// BVLL and NPDU headers: what stands before the APDU.
const HEAD: usize = 6;
/// Subscribers of one object when notifications are counted; the C server has room for 128.
const SUBSCRIBERS: u8 = 64;
/// Subscriptions that memory is measured with.
const MANY: u16 = 2_000;
/// Point updates on a quiet network.
const UPDATES: u32 = 10_000;
/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut seconds, mut peers) = (3.0, Vec::new());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--serve" => return serve(),
            "--bare" => return bare(),
            "--peer" => peers.push(args.next().expect("--peer NAME=COMMAND")),
            "--bench" => {}
            number => seconds = number.parse().expect("SECONDS or --peer NAME=COMMAND"),
        }
    }
    let me = std::env::current_exe().unwrap();
    let me = me.to_str().unwrap();
    let mut servers = vec![Server::start("heatgate", &[me, "--serve"]), Server::start("bare udp", &[me, "--bare"])];
    for peer in &peers {
        let (name, command) = peer.split_once('=').expect("--peer NAME=COMMAND");
        servers.push(Server::start(name, &command.split_whitespace().collect::<Vec<_>>()));
    }
    if peers.is_empty() {
        println!("no --peer: bacnet-stack's bacserv, bacpypes3 and others are not measured");
    }
    for server in &mut servers {
        server.ready();
    }
    print!("{:<34}", "");
    servers.iter().for_each(|server| print!(" {:>14}", server.name));
    println!();
    for outstanding in [1, 32] {
        for (name, request) in [("ReadProperty", Server::read as fn(&Server) -> Vec<u8>), ("RPM of 10", Server::read10)]
        {
            let rates = servers.iter().map(|server| server.rate(outstanding, &request(server), seconds));
            let (rates, spent): (Vec<f64>, Vec<f64>) = rates.unzip();
            row(&format!("{name}/s, {outstanding} outstanding"), rates);
            row("  processor time of each, us", spent);
        }
    }
    let notified = servers.iter().map(|server| server.notifications(seconds));
    row(&format!("COV notifications/s, {SUBSCRIBERS} subs"), notified.collect());
    row("VmRSS after that, MB", servers.iter().map(|server| server.rss()).collect());
    memory(&mut servers[0]);
}

fn row(name: &str, values: Vec<f64>) {
    print!("{name:<34}");
    for value in values {
        match value {
            none if none.is_nan() => print!(" {:>14}", "-"),
            small if small < 1_000.0 => print!(" {small:>14.1}"),
            _ => print!(" {value:>14.0}"),
        }
    }
    println!();
}

/// 5,000 objects, 2,000 subscriptions, then updates on a quiet network: nothing may grow.
fn memory(ours: &mut Server) {
    // Those of the notifications above still stand; one peer alone may not have them all.
    let clients: Vec<UdpSocket> = (0..64).map(|_| ours.client()).collect();
    for process in u16::from(SUBSCRIBERS)..MANY {
        ours.subscribe(&clients[usize::from(process) % clients.len()], process, 0, 100 + u32::from(process));
    }
    println!("{MANY} COV subscriptions of {} peers on 5,000 objects: {:.1} MB", clients.len() + 1, ours.rss());
    drop(clients);
    let mut before = 0.0;
    for round in 0..3 {
        ours.update(UPDATES);
        let now = ours.rss();
        println!("after {UPDATES} point updates more: {now:.2} MB");
        assert!(round < 2 || now - before < 0.3, "it grows");
        before = now;
    }
}

/// A server process; ended when dropped.
struct Server {
    name: String,
    child: Child,
    port: u16,
    own: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(name: &str, command: &[&str]) -> Self {
        // Its port is free now; whoever takes it meanwhile makes the start fail, loudly.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (program, args) = command.split_first().expect("a command");
        let child = Command::new(program)
            .args(args.iter().map(|arg| arg.replace("{port}", &port.to_string())))
            .env("BACNET_IP_PORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(if name == "heatgate" { Stdio::piped() } else { Stdio::null() })
            // bacserv says there what it does.
            .stderr(if name == "heatgate" { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {program}: {error}"));
        Self { name: name.to_owned(), child, port, own: matches!(name, "heatgate" | "bare udp") }
    }

    fn ready(&mut self) {
        let socket = self.client();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let start = Instant::now();
        loop {
            let mut answer = [0; 1500];
            if socket.send(&self.read()).is_ok() && socket.recv(&mut answer).is_ok() {
                assert_eq!(answer[HEAD], 0x30, "{} has no such object", self.name);
                return;
            }
            assert!(start.elapsed() < START, "{} does not answer", self.name);
            assert!(self.child.try_wait().unwrap().is_none(), "{} has ended", self.name);
            std::thread::yield_now();
        }
    }

    /// Its analog inputs begin here.
    fn first(&self) -> u8 {
        if self.own { 100 } else { 1 }
    }

    /// Present_Value of an analog-input.
    fn read(&self) -> Vec<u8> {
        frame(&[0x02, 0x75, 0, 12, 0x0C, 0, 0, 0, self.first(), 0x19, 85])
    }

    /// Present_Value of ten analog-inputs; of the first ten times where a peer need not have more.
    fn read10(&self) -> Vec<u8> {
        let step = u8::from(self.own);
        let specs = (0..10).flat_map(|n| [0x0C, 0, 0, 0, self.first() + n * step, 0x1E, 0x09, 85, 0x1F]);
        frame(&[0x02, 0x75, 0, 14].into_iter().chain(specs).collect::<Vec<u8>>())
    }

    fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Requests answered a second.
    /// Requests answered a second, and the server's processor time for each, microseconds.
    fn rate(&self, outstanding: u8, request: &[u8], seconds: f64) -> (f64, f64) {
        let socket = self.client();
        let mut request = request.to_vec();
        let mut send = |invoke| {
            request[HEAD + 2] = invoke;
            socket.send(&request).unwrap();
        };
        (0..outstanding).for_each(&mut send);
        let mut answer = [0; 2048];
        let mut run = |time: Duration| {
            let (start, before, mut answered) = (Instant::now(), self.processor(), 0u32);
            while start.elapsed() < time {
                socket.recv(&mut answer).unwrap_or_else(|_| panic!("{} lost an answer", self.name));
                // A peer that refuses so many at once has no rate.
                if answer[HEAD] != 0x30 {
                    return (f64::NAN, f64::NAN);
                }
                answered += 1;
                send(answer[HEAD + 1]);
            }
            let answered = f64::from(answered);
            (answered / start.elapsed().as_secs_f64(), (self.processor() - before) / answered)
        };
        if run(Duration::from_millis(300)).0.is_nan() {
            assert_ne!(self.name, "heatgate", "an answer is no acknowledgement");
            return (f64::NAN, f64::NAN);
        }
        run(Duration::from_secs_f64(seconds))
    }

    /// Unconfirmed COV, for an hour.
    fn subscribe(&self, socket: &UdpSocket, process: u16, kind: u8, instance: u32) {
        let [high, low] = process.to_be_bytes();
        let object = ((u32::from(kind) << 22) | instance).to_be_bytes();
        let mut apdu = vec![0x02, 0x75, 1, 5, 0x0A, high, low, 0x1C];
        apdu.extend(object);
        apdu.extend([0x29, 0, 0x3A, 0x0E, 0x10]);
        socket.send(&frame(&apdu)).unwrap();
        let mut answer = [0; 1500];
        loop {
            socket.recv(&mut answer).expect("a subscription was not answered");
            match answer[HEAD] {
                0x20 => return,
                0x10 => {}
                other => panic!("{}: a subscription was refused: {other:#x}", self.name),
            }
        }
    }

    /// Notifications a second while a client writes as fast as it is answered.
    fn notifications(&self, seconds: f64) -> f64 {
        if self.name == "bare udp" {
            return f64::NAN;
        }
        let subscriber = self.client();
        for process in 0..SUBSCRIBERS {
            self.subscribe(&subscriber, process.into(), 2, 1);
        }
        let writer = self.client();
        subscriber.set_nonblocking(true).unwrap();
        let (start, mut counted, mut answer) = (Instant::now(), 0u32, [0; 1500]);
        let mut value = 10.0f32;
        while start.elapsed().as_secs_f64() < seconds {
            value = if value > 50.0 { 10.0 } else { 90.0 };
            let mut apdu = vec![0x02, 0x75, 9, 15, 0x0C, 0, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44];
            apdu.extend(value.to_be_bytes());
            apdu.extend([0x3F, 0x49, 15]);
            writer.send(&frame(&apdu)).unwrap();
            writer.recv(&mut answer).expect("a write was not answered");
            assert_eq!(answer[HEAD], 0x20, "{}: a write was refused", self.name);
            // Each write is followed to its last notification: what is counted was delivered, not lost.
            let (wrote, mut heard) = (Instant::now(), 0);
            while heard < u32::from(SUBSCRIBERS) && wrote.elapsed() < Duration::from_secs(2) {
                if subscriber.recv(&mut answer).is_ok_and(|_| answer[HEAD] == 0x10) {
                    heard += 1;
                }
            }
            counted += heard;
        }
        f64::from(counted) / start.elapsed().as_secs_f64()
    }

    /// Megabytes of resident memory.
    /// Processor time of all its threads so far, microseconds.
    fn processor(&self) -> f64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let spent = |path: std::path::PathBuf| {
            let spent = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            spent.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default()
        };
        threads.map(|thread| spent(thread.unwrap().path())).sum::<f64>() / 1_000.0
    }

    fn rss(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// So many updates of its points, one image each.
    fn update(&mut self, count: u32) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{count}").unwrap();
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "done");
    }
}

fn frame(apdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(apdu.len() + HEAD).unwrap().to_be_bytes();
    [&[0x81, 0x0A, length[0], length[1], 1, 4][..], apdu].concat()
}

fn port() -> u16 {
    std::env::var("BACNET_IP_PORT").unwrap().parse().unwrap()
}

/// Our server with 5,000 analog inputs that all have a value, on a thread of its own as the gateway has it; a number on its
/// input is so many updates.
fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let world = World::new(5_000);
    world.publish(|image| {
        for def in &world.plant.points {
            if def.commandable().is_none() {
                testing::read(image, def.id, Reading::number(20.5));
            }
        }
    });
    let settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], port())), ..Settings::default() };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let serving = node.run(world.ports.clone());
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving)
    });
    let image = world.image.clone();
    let last = u32::try_from(world.plant.points.len() - 1).unwrap();
    tokio::spawn(world.engine());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        for n in 0..line.parse::<u32>().unwrap() {
            let point = PointId(last - n % 4_000);
            image.send_modify(|image| {
                testing::read(std::sync::Arc::make_mut(image), point, Reading::number(f64::from(n % 100)));
            });
            std::thread::yield_now();
        }
        println!("done");
    }
}

/// A server that answers each datagram with as many octets as ours and the invoke id at its place.
fn bare() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::bind(("127.0.0.1", port())).await.unwrap();
        let (mut request, mut reply) = ([0; 2048], [0; 2048]);
        while let Ok((octets, from)) = socket.recv_from(&mut request).await {
            reply[HEAD] = 0x30;
            reply[HEAD + 1] = request[HEAD + 2];
            // A ReadProperty is answered with 23 octets, ten values with 166.
            let answer = if octets > 20 { 166 } else { 23 };
            let _ = socket.send_to(&reply[..answer], from).await;
        }
    });
}
