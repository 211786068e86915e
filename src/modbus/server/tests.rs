//! The server over real sockets: raw bytes, and an independent master.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_modbus::client::{Context, Reader as _, Writer as _, tcp};
use tokio_modbus::prelude::ReadCode;
use tokio_modbus::{ExceptionCode, Slave};

use super::*;
use crate::modbus::mbap::{self, Frame};
use crate::modbus::testing::*;
use crate::plant::Table;
use crate::point::Priority;
use crate::point::{Reading, Value};
use crate::request::Request;
use crate::time::Timeout;
use crate::units::Energy;

/// Longer than anything here takes; only a failing test waits for it.
const BOUND: Duration = Duration::from_secs(20);

struct Site {
    addr: SocketAddr,
    rig: Rig,
    task: JoinHandle<io::Result<()>>,
}

fn settings() -> Settings {
    Settings { idle_timeout: Timeout::millis(60_000), ..Settings::new(SocketAddr::from(([127, 0, 0, 1], 0))) }
}

fn site(settings: Settings) -> Site {
    let plant = Arc::new(plant());
    let mut rig = Rig::new(&plant);
    rig.engine(&plant);
    let (addr, task) = serve_rig(settings, plant, &rig);
    Site { addr, rig, task }
}

fn serve_rig(settings: Settings, plant: Arc<Plant>, rig: &Rig) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let server = Server::bind(settings, plant).unwrap();
    (server.local_addr().unwrap(), tokio::spawn(server.run(rig.ports.clone())))
}

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = mbap::open(&mut out, transaction, unit);
    out.extend_from_slice(pdu);
    mbap::close(&mut out, start);
    out
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.unwrap()
}

/// The next frame: transaction, unit, PDU.
async fn receive(stream: &mut TcpStream) -> (u16, u8, Vec<u8>) {
    let mut head = [0; 7];
    timeout(BOUND, stream.read_exact(&mut head)).await.expect("a reply in time").unwrap();
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let mut pdu = vec![0; length - 1];
    timeout(BOUND, stream.read_exact(&mut pdu)).await.expect("a whole reply in time").unwrap();
    (u16::from_be_bytes([head[0], head[1]]), head[6], pdu)
}

async fn exchange(stream: &mut TcpStream, pdu: &[u8]) -> Vec<u8> {
    stream.write_all(&frame(7, 1, pdu)).await.unwrap();
    let (transaction, unit, reply) = receive(stream).await;
    assert_eq!((transaction, unit), (7, 1));
    reply
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset instead of an orderly end is the server letting go, too.
    let _ = timeout(BOUND, stream.read_to_end(&mut bytes)).await.expect("the server closes");
    bytes
}

/// Wait until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(BOUND, wait).await.is_ok(), "{what}");
}

async fn master(addr: SocketAddr) -> Context {
    tcp::connect_slave(addr, Slave(1)).await.unwrap()
}

#[tokio::test]
async fn an_independent_master_reads_and_writes_everything() {
    let site = site(settings());
    site.rig.show(&[(HEAT, good(52.3)), (ALARM, Reading::Good(Value::Bool(true)))]);
    let mut master = master(site.addr).await;
    assert_eq!(master.read_input_registers(10, 2).await.unwrap(), Ok(vec![0x4251, 0x3333]));
    assert_eq!(master.read_discrete_inputs(0, 3).await.unwrap(), Ok(vec![true, false, false]));
    assert_eq!(master.write_multiple_registers(0, &[523, 450]).await.unwrap(), Ok(()));
    assert_eq!(master.read_holding_registers(0, 2).await.unwrap(), Ok(vec![523, 450]));
    assert_eq!(master.write_single_register(2, 4).await.unwrap(), Ok(()));
    assert_eq!(master.masked_write_register(0, 0x00FF, 0x0100).await.unwrap(), Ok(()));
    assert_eq!(master.read_write_multiple_registers(0, 3, 1, &[500]).await.unwrap(), Ok(vec![267, 500, 4]));
    assert_eq!(master.write_single_coil(0, true).await.unwrap(), Ok(()));
    assert_eq!(master.read_coils(0, 9).await.unwrap().map(|coils| coils[0]), Ok(true));
    assert_eq!(master.read_holding_registers(3, 1).await.unwrap(), Ok(vec![1]), "a coil and a register, one point");
    assert_eq!(master.write_multiple_coils(0, &[false]).await.unwrap(), Ok(()));
    assert_eq!(master.read_holding_registers(3, 1).await.unwrap(), Ok(vec![0]));
    assert_eq!(master.read_holding_registers(100, 1).await.unwrap(), Err(ExceptionCode::IllegalDataAddress));
    assert_eq!(master.write_single_register(0, 1001).await.unwrap(), Err(ExceptionCode::IllegalDataValue));
    let who = master.read_device_identification(ReadCode::Basic, 0).await.unwrap().unwrap();
    assert_eq!(who.device_id_objects[0].value_as_str(), Some("heatgate"));
    assert_eq!(master.write_single_register(1010, 0).await.unwrap(), Err(ExceptionCode::IllegalDataAddress));
}

#[tokio::test]
async fn a_pdu_is_written_whole_or_not_at_all() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(exchange(&mut stream, &[16, 0, 0, 0, 2, 4, 0, 100, 1, 0xC2]).await, [16, 0, 0, 0, 2]);
    // 99.0 degC is out of range: the percent beside it stays as it was.
    assert_eq!(exchange(&mut stream, &[16, 0, 0, 0, 2, 4, 0, 200, 3, 0xDE]).await, [0x90, 3]);
    assert_eq!(exchange(&mut stream, &[3, 0, 0, 0, 2]).await, [3, 4, 0, 100, 1, 0xC2]);
    let requests = site.rig.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.writes.len(), 2, "one request with all writes of the PDU");
        assert_eq!(request.origin, Origin { side: Side::Modbus, peer: peer.as_str().into() });
        assert!(request.writes.iter().all(|write| write.priority == Priority::PROGRAM));
    }
}

#[tokio::test]
async fn units_are_one_two_names_of_the_server_and_nobody_else() {
    let site = site(Settings { units: vec![(17, View::Whole)], ..settings() });
    let mut stream = connect(site.addr).await;
    for (unit, reply) in
        [(17, &[4, 2, 0, 0][..]), (0, &[4, 2, 0, 0]), (255, &[4, 2, 0, 0]), (1, &[0x84, 0x0B]), (18, &[0x84, 0x0B])]
    {
        stream.write_all(&frame(unit.into(), unit, &[4, 0, 0, 0, 1])).await.unwrap();
        assert_eq!(receive(&mut stream).await, (unit.into(), unit, reply.to_vec()));
    }
    stream.write_all(&frame(1, 2, &[6, 0, 0, 0, 1])).await.unwrap();
    assert_eq!(receive(&mut stream).await.2, [0x86, 0x0B]);
    assert!(site.rig.requests().is_empty(), "a write to another unit is not ours");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    let mut bytes = Vec::new();
    for n in 0..1000u16 {
        // Every third writes what the next one reads.
        let pdu = if n % 3 == 0 { [6, 0, 0, 0, (n % 250) as u8] } else { [3, 0, 0, 0, 1] };
        bytes.extend(frame(n, 1, &pdu));
    }
    let (mut from, mut to) = stream.split();
    let send = async { to.write_all(&bytes).await.unwrap() };
    let check = async {
        let mut written = 0;
        for n in 0..1000u16 {
            let mut head = [0; 9];
            from.read_exact(&mut head).await.unwrap();
            assert_eq!(u16::from_be_bytes([head[0], head[1]]), n);
            let mut rest = vec![0; usize::from(head[5]) - 3];
            from.read_exact(&mut rest).await.unwrap();
            if n % 3 == 0 {
                written = (n % 250) as u8;
                assert_eq!(head[7], 6);
            } else {
                assert_eq!(rest, [0, written]);
            }
        }
    };
    timeout(BOUND, async { tokio::join!(send, check) }).await.expect("all replies in time");
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    stream.set_nodelay(true).unwrap();
    for byte in frame(9, 1, &[6, 0, 0, 0, 77]) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(receive(&mut stream).await, (9, 1, vec![6, 0, 0, 0, 77]));
}

#[tokio::test]
async fn a_malformed_pdu_is_answered_and_the_connection_lives() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    for (pdu, reply) in [
        (&[3][..], [0x83, 3]),
        (&[15, 0, 0, 0, 9, 1, 0xFF], [0x8F, 3]),
        (&[16, 0, 0, 0, 2, 4, 0, 1], [0x90, 3]),
        (&[3, 0, 0, 0, 126], [0x83, 3]),
        (&[43, 13, 1, 0], [0xAB, 1]),
        (&[0], [0x80, 1]),
        (&[0xFF; 253], [0xFF, 1]),
    ] {
        assert_eq!(exchange(&mut stream, pdu).await, reply, "{pdu:?}");
    }
    assert_eq!(exchange(&mut stream, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0]);
    assert!(site.rig.requests().is_empty());
}

#[tokio::test]
async fn what_is_not_modbus_closes_its_own_connection_only() {
    let site = site(settings());
    let mut other = connect(site.addr).await;
    for (bytes, cause) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "protocol identifier"),
        (&[0, 1, 0, 0, 0, 1, 1], "frame length"),
        (&[0, 1, 0, 0, 0xFF, 0xFF, 1, 3], "frame length"),
    ] {
        let before = site.rig.ports.metrics.rejected_so_far(LINK, cause);
        let mut stream = connect(site.addr).await;
        let mut sent = frame(5, 1, &[4, 0, 0, 0, 1]);
        let reply = frame(5, 1, &[4, 2, 0, 0]);
        sent.extend_from_slice(bytes);
        stream.write_all(&sent).await.unwrap();
        let got = rest(&mut stream).await;
        assert!(got == reply || got.is_empty(), "what came before is answered, unless the reset overtakes it");
        until(cause, || site.rig.ports.metrics.rejected_so_far(LINK, cause) == before + 1).await;
    }
    assert_eq!(exchange(&mut other, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0]);
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_counted() {
    // All of them are of one client and all are busy: nobody gives way.
    let site = site(Settings { max_connections: 2, ..settings() });
    let (mut first, mut second) = (connect(site.addr).await, connect(site.addr).await);
    exchange(&mut first, &[4, 0, 0, 0, 1]).await;
    exchange(&mut second, &[4, 0, 0, 0, 1]).await;
    let mut third = connect(site.addr).await;
    assert!(rest(&mut third).await.is_empty());
    assert_eq!(site.rig.ports.metrics.rejected_so_far(LINK, "too many connections"), 1);
    exchange(&mut first, &[4, 0, 0, 0, 1]).await;
    drop(second);
    let metrics = Arc::clone(&site.rig.ports.metrics);
    until("the place is free", || metrics.render().contains("heatgate_clients{link=\"modbus-server\"} 1\n")).await;
    let mut fourth = connect(site.addr).await;
    exchange(&mut fourth, &[4, 0, 0, 0, 1]).await;
}

#[tokio::test]
async fn who_sends_no_whole_request_is_let_go() {
    let site = site(Settings { idle_timeout: Timeout::millis(100), ..settings() });
    let mut silent = connect(site.addr).await;
    let mut half = connect(site.addr).await;
    half.write_all(&[0, 1, 0]).await.unwrap();
    assert!(rest(&mut silent).await.is_empty());
    assert!(rest(&mut half).await.is_empty());
    until("both are counted", || site.rig.ports.metrics.rejected_so_far(LINK, "idle") == 2).await;
}

#[tokio::test]
async fn who_takes_no_replies_is_let_go() {
    let site = site(Settings { idle_timeout: Timeout::millis(100), ..settings() });
    // A small buffer on this side, so that the server's is full soon.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(site.addr).await.unwrap();
    let burst: Vec<u8> = (0..1000).flat_map(|n| frame(n, 1, &[4, 0, 0, 0, 100])).collect();
    let flood = async { while stream.write_all(&burst).await.is_ok() {} };
    timeout(BOUND, flood).await.expect("the server closes");
    until("it is counted", || site.rig.ports.metrics.rejected_so_far(LINK, "replies not taken") == 1).await;
}

#[tokio::test]
async fn a_full_queue_and_a_stopped_engine_are_busy() {
    let plant = Arc::new(plant());
    let mut rig = Rig::new(&plant);
    let (addr, _task) = serve_rig(settings(), plant, &rig);
    let submissions = rig.submissions.take().unwrap();
    let origin = Origin { side: Side::Local, peer: "test".into() };
    for _ in 0..8 {
        let (requests, origin) = (rig.ports.requests.clone(), origin.clone());
        tokio::spawn(async move { requests.submit(Request { origin, writes: Vec::new() }).await });
    }
    until("the queue is full", || submissions.len() == 8).await;
    let mut stream = connect(addr).await;
    assert_eq!(exchange(&mut stream, &[6, 0, 0, 0, 1]).await, [0x86, 6]);
    assert_eq!(exchange(&mut stream, &[3, 0, 0, 0, 1]).await[0], 3, "reads go on");
    drop(submissions);
    assert_eq!(exchange(&mut stream, &[6, 0, 0, 0, 1]).await, [0x86, 6]);
    assert!(
        rig.ports.metrics.render().contains("heatgate_dropped_total{link=\"modbus-server\",cause=\"engine busy\"} 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_read_is_one_image() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    let image = site.rig.image.clone();
    let energy = |n: u64| Reading::Good(Value::Energy(Energy::from_wh(n * 0x0001_0001_0001_0001)));
    site.rig.show(&[(ENERGY, energy(0)), (HEAT, good(0.0))]);
    let publisher = tokio::spawn(async move {
        for n in (0..1000u64).cycle() {
            image.send_modify(|image| {
                let image = Arc::make_mut(image);
                image.seq += 1;
                image.get_mut(ENERGY).unwrap().sample.reading = energy(n);
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let heat = n as f64;
                image.get_mut(HEAT).unwrap().sample.reading = good(heat);
            });
            tokio::task::yield_now().await;
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3000 {
        // Input registers 10 to 33: heat as a single, and all four words of the energy.
        let reply = exchange(&mut stream, &[4, 0, 10, 0, 24]).await;
        let heat = f32::from_be_bytes(reply[2..6].try_into().unwrap());
        let words: Vec<u16> = reply[42..50].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        assert!(words.iter().all(|word| f32::from(*word) == heat), "{heat} {words:?}");
        seen.insert(words[0]);
    }
    assert!(seen.len() > 1, "the image changed while it was read");
    publisher.abort();
}

#[tokio::test]
async fn a_stop_ends_the_server_and_its_connections() {
    let site = site(settings());
    let mut stream = connect(site.addr).await;
    exchange(&mut stream, &[4, 0, 0, 0, 1]).await;
    site.rig.ports.stop.cancel();
    timeout(BOUND, site.task).await.expect("it ends").unwrap().unwrap();
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_takes_no_replies() {
    let site = site(Settings { idle_timeout: Timeout::millis(600_000), ..settings() });
    let mut stream = connect(site.addr).await;
    let burst: Vec<u8> = (0..1000).flat_map(|n| frame(n, 1, &[4, 0, 0, 0, 100])).collect();
    // Nothing is read: at some time nothing more can be sent either.
    while timeout(Duration::from_millis(500), stream.write_all(&burst)).await.is_ok() {}
    site.rig.ports.stop.cancel();
    timeout(BOUND, site.task).await.expect("it ends").unwrap().unwrap();
}

/// Runs again as a process of its own with few file descriptors, because the limit is one of the process.
#[test]
fn no_more_file_descriptors_is_not_the_end() {
    const FEW: &str = "HEATGATE_TEST_FEW_FILES";
    if std::env::var_os(FEW).is_none() {
        let again = std::process::Command::new("/bin/sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg("modbus::server::tests::no_more_file_descriptors_is_not_the_end")
            .env(FEW, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && output.contains("1 passed"), "{output}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let site = site(Settings { max_connections: 1000, ..settings() });
        let mut living = connect(site.addr).await;
        exchange(&mut living, &[4, 0, 0, 0, 1]).await;
        let mut held = Vec::new();
        while let Ok(stream) = TcpStream::connect(site.addr).await {
            held.push(stream);
        }
        let metrics = Arc::clone(&site.rig.ports.metrics);
        let failed = "heatgate_failures_total{link=\"modbus-server\",cause=\"accept\"}";
        until("accepting fails", || metrics.render().contains(failed)).await;
        assert_eq!(exchange(&mut living, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0], "who is connected is served");
        drop(held);
        until("the others are gone", || metrics.render().contains("heatgate_clients{link=\"modbus-server\"} 1\n"))
            .await;
        let mut new = connect(site.addr).await;
        assert_eq!(exchange(&mut new, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0]);
    });
}

/// What a whole frame may ask of the engine, said a second time and more plainly than the server does: each written
/// value, encoded by the face at its address, is exactly the bytes at that place of the frame.
fn intended(frame: &[u8], request: &Request, plant: &Plant) -> bool {
    let word = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let (table, address, count, data) = match frame[7] {
        5 => (Table::Coil, word(8), 1, 10),
        6 => (Table::Holding, word(8), 1, 10),
        15 => (Table::Coil, word(8), word(10), 13),
        16 => (Table::Holding, word(8), word(10), 13),
        23 => (Table::Holding, word(12), word(14), 17),
        _ => return false,
    };
    let mut covered = 0;
    let all = request.writes.iter().all(|write| {
        let Some(face) = plant.modbus.faces.iter().find(|face| face.point == write.point && face.table == table) else {
            return false;
        };
        let Some(value) = write.action.value() else { return false };
        let Some(offset) = usize::from(face.address).checked_sub(address) else { return false };
        covered += usize::from(face.width());
        face.writable
            && if table == Table::Coil {
                let bit =
                    if frame[7] == 5 { frame[data] == 0xFF } else { frame[data + offset / 8] >> (offset % 8) & 1 == 1 };
                value == Value::Bool(bit)
            } else {
                let words = face.codec.encode(value).unwrap();
                words.as_slice().iter().enumerate().all(|(n, w)| usize::from(*w) == word(data + 2 * (offset + n)))
            }
    });
    all && covered == count && !request.writes.is_empty()
}

#[test]
fn garbage_neither_stops_it_nor_writes_what_was_not_meant() {
    let seeds: Vec<Vec<u8>> = [
        &[1, 0, 0, 0, 10][..],
        &[2, 0, 0, 0, 16],
        &[3, 0, 0, 0, 8],
        &[4, 0, 10, 0, 40],
        &[5, 0, 0, 0xFF, 0],
        &[6, 0, 0, 0, 100],
        &[15, 0, 0, 0, 1, 1, 1],
        &[16, 0, 0, 0, 5, 10, 0, 10, 1, 0x22, 0, 3, 0, 1, 0, 20],
        &[16, 0, 6, 0, 2, 4, 0, 1, 0, 2],
        &[23, 0, 0, 0, 2, 0, 1, 0, 1, 2, 1, 0xF4],
    ]
    .iter()
    .map(|pdu| frame(3, 1, pdu))
    .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let site = runtime.block_on(async { site(settings()) });
    let plant = plant();
    let (frames, reached) = (Cell::new(0), Cell::new(0));
    let mutation = (0usize..4, any::<prop::sample::Index>(), any::<u8>());
    let case =
        (prop::sample::select(seeds), prop::collection::vec(mutation, 0..4), prop::collection::vec(any::<u8>(), 0..20));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(2000));
    let outcome = runner.run(&case, |(mut bytes, mutations, tail)| {
        for (kind, at, byte) in mutations {
            match kind {
                0 => bytes[at.index(12)] = byte,
                1 => bytes.truncate(12.max(at.index(bytes.len()))),
                2 => bytes.insert(at.index(bytes.len()), byte),
                _ => {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1 << (byte % 8);
                }
            }
        }
        bytes.extend(tail);
        site.rig.log.lock().unwrap().clear();
        let replies = runtime.block_on(async {
            let mut stream = connect(site.addr).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            rest(&mut stream).await
        });
        // Whole frames in, as many frames out, in order; then silence.
        let (mut sent, mut got) = (&bytes[..], &replies[..]);
        let mut requests = site.rig.requests().into_iter();
        while let Frame::Whole { transaction, unit, pdu, size } = mbap::first(sent) {
            frames.set(frames.get() + 1);
            if let Frame::Whole { transaction: t, unit: u, pdu: reply, size } = mbap::first(got) {
                prop_assert_eq!((t, u, reply[0] & 0x7F), (transaction, unit, pdu[0] & 0x7F));
                let writes = matches!(pdu[0], 5 | 6 | 15 | 16 | 22 | 23);
                if writes && (reply[0] & 0x80 == 0 || reply[1] == 3 && requests.len() > 0) {
                    // Carried out, or refused: if the engine was asked, then for this.
                    if reply[0] & 0x80 == 0 {
                        let request = requests.next();
                        prop_assert!(request.is_some_and(|request| pdu[0] == 22 || intended(sent, &request, &plant)));
                        reached.set(reached.get() + 1);
                    } else if requests.as_slice().first().is_some_and(|request| intended(sent, request, &plant)) {
                        requests.next();
                    }
                }
                got = &got[size..];
            } else {
                // Only a reset, which a lie further on causes, may swallow replies.
                prop_assert!(got.is_empty());
                return Ok(());
            }
            sent = &sent[size..];
        }
        prop_assert!(got.is_empty());
        prop_assert!(requests.next().is_none(), "a request that no frame asked for");
        Ok(())
    });
    outcome.unwrap();
    assert!(frames.get() > 1000 && reached.get() > 100, "{frames:?} whole frames, {reached:?} writes carried out");
    runtime.block_on(async {
        let mut stream = connect(site.addr).await;
        assert_eq!(exchange(&mut stream, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0]);
        assert!(!site.task.is_finished());
        assert!(!site.rig.ports.metrics.render().contains("panic"));
    });
}

mod wires;
