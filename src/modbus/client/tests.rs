//! The client against slaves that follow a script, over real sockets.

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::poller::{BackOff, next_due};
use super::*;
use crate::modbus::mbap::{self, Frame};
use crate::modbus::server::{Server, Settings};
use crate::modbus::testing::*;
use crate::plant::RegisterType::{F32, U16};
use crate::plant::Table;
use crate::point::{Fault, PointId, Reading, Value};
use crate::time::Mono;

/// Longer than anything here takes; only a failing test waits for it.
const BOUND: Duration = Duration::from_secs(20);

const UP: Reading = Reading::Good(Value::Bool(true));
const DOWN: Reading = Reading::Good(Value::Bool(false));

/// What a slave does with a request.
enum Do {
    /// Answer with this PDU.
    Answer(Vec<u8>),
    /// Answer with this PDU, and close.
    AnswerAndClose(Vec<u8>),
    /// Answer with this PDU as if to another request.
    Wrong(Vec<u8>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// Nothing.
    Silence,
    /// Close.
    Close,
}

use Do::{Answer, AnswerAndClose, Close, Raw, Silence, Wrong};

/// Unit, PDU and connection (from 0) of each request that a slave saw.
type Seen = Arc<StdMutex<Vec<(u8, Vec<u8>, usize)>>>;

/// A slave on a port of its own that serves one connection after the other; a request's number counts from 0 over all.
async fn slave(mut script: impl FnMut(usize, u8, &[u8]) -> Do + Send + 'static) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Some((transaction, unit, pdu)) = request(&mut stream).await {
                let number = log.lock().unwrap().len();
                log.lock().unwrap().push((unit, pdu.clone(), connection));
                let (transaction, reply, close) = match script(number, unit, &pdu) {
                    Answer(reply) => (transaction, reply, false),
                    AnswerAndClose(reply) => (transaction, reply, true),
                    Wrong(reply) => (transaction.wrapping_add(1), reply, false),
                    Raw(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        continue;
                    }
                    Silence => continue,
                    Close => break,
                };
                let mut out = Vec::new();
                let start = mbap::open(&mut out, transaction, unit);
                out.extend(reply);
                mbap::close(&mut out, start);
                stream.write_all(&out).await.unwrap();
                if close {
                    break;
                }
            }
        }
    });
    (port, seen)
}

async fn request(stream: &mut TcpStream) -> Option<(u16, u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Frame::Whole { transaction, unit, pdu, .. } = mbap::first(&bytes) {
            return Some((transaction, unit, pdu.to_vec()));
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// One register with a number.
fn one(n: u8) -> Vec<u8> {
    vec![4, 2, 0, n]
}

/// Start polling; ends with the rig's `stop` or with the test.
fn start(plant: Plant) -> Rig {
    let plant = Arc::new(plant);
    let rig = Rig::new(&plant);
    for group in spawn_list(&plant) {
        tokio::spawn(run(group, Setup::default(), Arc::clone(&plant), rig.ports.clone()));
    }
    rig
}

async fn batch(rig: &mut Rig) -> Vec<(PointId, Reading)> {
    let batch = timeout(BOUND, rig.readings.recv()).await.expect("a batch in time").expect("somebody polls");
    batch.into_iter().map(|update| (update.point, update.reading)).collect()
}

const fn p(n: u32) -> PointId {
    PointId(n)
}

const LOST: Reading = Reading::Bad(Fault::NoCommunication);
const MALFORMED: Reading = Reading::Bad(Fault::Malformed);

#[tokio::test]
async fn answers_become_readings_one_batch_per_transaction() {
    let (port, seen) = slave(|_, _, pdu| match pdu[0] {
        4 => Answer(vec![4, 8, 0, 7, 0, 0, 0x42, 0x51, 0, 0]),
        _ => Answer(vec![1, 1, 0b0000_0010]),
    })
    .await;
    let reads = [(Table::Input, 100, U16), (Table::Input, 102, F32), (Table::Coil, 3, U16), (Table::Coil, 4, U16)];
    let mut rig = start(polled(port, &reads));
    assert_eq!(batch(&mut rig).await, [(p(2), good(0.0)), (p(3), good(1.0)), (p(4), UP)]);
    assert_eq!(batch(&mut rig).await, [(p(0), good(7.0)), (p(1), good(52.25))]);
    assert_eq!(batch(&mut rig).await.len(), 3, "and again");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0], (1, vec![1, 0, 3, 0, 2], 0));
    assert_eq!(seen[1], (1, vec![4, 0, 100, 0, 4], 0));
    assert!(rig.ports.metrics.render().contains("heatgate_link_up{link=\"device0\"} 1"));
}

#[tokio::test]
async fn an_exception_spoils_only_what_was_asked() {
    let (port, seen) = slave(|_, _, pdu| if pdu[2] == 0 { Answer(vec![0x84, 2]) } else { Answer(one(9)) }).await;
    let mut rig = start(polled(port, &[(Table::Input, 0, U16), (Table::Input, 100, U16)]));
    for _ in 0..3 {
        assert_eq!(batch(&mut rig).await, [(p(0), Reading::Bad(Fault::Refused(2))), (p(2), UP)]);
        assert_eq!(batch(&mut rig).await, [(p(1), good(9.0))]);
    }
    assert!(seen.lock().unwrap().iter().all(|(_, _, connection)| *connection == 0), "the connection is kept");
}

#[tokio::test]
async fn a_gateway_that_cannot_reach_the_device_is_a_device_lost() {
    let (port, seen) = slave(|n, _, _| if n == 0 { Answer(vec![0x84, 0x0B]) } else { Answer(one(1)) }).await;
    let mut rig = start(polled(port, &[(Table::Input, 0, U16)]));
    assert_eq!(batch(&mut rig).await, [(p(0), Reading::Bad(Fault::Refused(0x0B)))]);
    assert_eq!(batch(&mut rig).await, [(p(1), DOWN)]);
    assert_eq!(batch(&mut rig).await, [(p(0), good(1.0)), (p(1), UP)]);
    assert_eq!(seen.lock().unwrap()[1].2, 0, "the connection is kept");
}

/// A device that misbehaves once is lost with all its points, and found again on a new connection.
async fn lost_and_found(first: fn() -> Do, reading: Reading) {
    let (port, seen) = slave(move |n, _, _| if n == 0 { first() } else { Answer(one(5)) }).await;
    let mut rig = start(polled(port, &[(Table::Input, 0, U16), (Table::Input, 100, U16)]));
    assert_eq!(batch(&mut rig).await, [(p(0), reading), (p(1), reading), (p(2), DOWN)]);
    assert_eq!(batch(&mut rig).await, [(p(0), good(5.0)), (p(2), UP)]);
    assert_eq!(batch(&mut rig).await, [(p(1), good(5.0))]);
    assert_eq!(seen.lock().unwrap()[1].2, 1, "a new connection");
    assert!(rig.ports.metrics.render().contains("heatgate_reconnects_total{link=\"device0\"} 1"));
}

#[tokio::test]
async fn no_answer_in_time() {
    lost_and_found(|| Silence, LOST).await;
}

#[tokio::test]
async fn half_an_answer() {
    lost_and_found(|| Raw(vec![0, 0, 0, 0, 0, 5, 1, 4]), LOST).await;
}

#[tokio::test]
async fn a_frame_length_that_never_comes() {
    lost_and_found(|| Raw(vec![0, 0, 0, 0, 0xFF, 0xFF, 1, 4, 2, 0, 0]), LOST).await;
}

#[tokio::test]
async fn a_connection_closed_instead_of_an_answer() {
    lost_and_found(|| Close, LOST).await;
}

#[tokio::test]
async fn too_many_registers() {
    lost_and_found(|| Answer(vec![4, 4, 0, 1, 0, 2]), MALFORMED).await;
}

#[tokio::test]
async fn too_few_registers() {
    lost_and_found(|| Answer(vec![4, 0]), MALFORMED).await;
}

#[tokio::test]
async fn fewer_bytes_than_it_says() {
    lost_and_found(|| Answer(vec![4, 2, 0]), MALFORMED).await;
}

#[tokio::test]
async fn the_answer_to_another_request() {
    lost_and_found(|| Wrong(one(66)), MALFORMED).await;
}

#[tokio::test]
async fn another_function() {
    lost_and_found(|| Answer(vec![3, 2, 0, 66]), MALFORMED).await;
}

#[tokio::test]
async fn not_modbus() {
    lost_and_found(|| Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), LOST).await;
}

#[tokio::test]
async fn a_slave_that_closes_after_each_answer_is_no_failure() {
    let (port, seen) = slave(|_, _, _| AnswerAndClose(one(3))).await;
    let mut rig = start(polled(port, &[(Table::Input, 0, U16)]));
    for _ in 0..5 {
        assert_eq!(batch(&mut rig).await, [(p(0), good(3.0)), (p(1), UP)]);
    }
    assert!(seen.lock().unwrap()[4].2 >= 4, "each on its own connection");
}

#[tokio::test]
async fn a_dead_endpoint_delays_no_other() {
    let (port, _) = slave(|_, _, _| Answer(one(3))).await;
    // Bound, and nobody accepts: connecting works, answers never come.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Bound, and nobody listens: refused, and no other test gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let mut plant = polled(port, &[(Table::Input, 0, U16)]);
    for port in [silent.local_addr().unwrap().port(), closed.local_addr().unwrap().port()] {
        add_device(&mut plant, "127.0.0.1", port, 1, &[(Table::Input, 0, U16)]);
    }
    let mut rig = start(plant);
    let (mut live, mut dead) = (0, 0);
    while live < 20 || dead < 2 {
        for (point, reading) in batch(&mut rig).await {
            match (point.0, reading) {
                (0, reading) => {
                    assert_eq!(reading, good(3.0));
                    live += 1;
                }
                (2 | 4, reading) => {
                    assert_eq!(reading, LOST);
                    dead += 1;
                }
                (1, UP) | (3 | 5, DOWN) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(live > dead, "{live} {dead}");
}

#[tokio::test]
async fn devices_behind_one_endpoint_share_its_connection_in_turn() {
    let (port, seen) = slave(|_, unit, _| if unit == 9 { Silence } else { Answer(one(unit)) }).await;
    let mut plant = polled(port, &[(Table::Input, 0, U16)]);
    add_device(&mut plant, "127.0.0.1", port, 2, &[(Table::Input, 0, U16)]);
    add_device(&mut plant, "127.0.0.1", port, 9, &[(Table::Input, 0, U16)]);
    add_device(&mut plant, "127.0.0.1", port + 1, 9, &[]);
    let groups = spawn_list(&plant);
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0].devices, [DeviceId(0), DeviceId(1), DeviceId(2)]);
    let mut rig = start(plant);
    let mut good_ones = [0; 2];
    while good_ones.iter().any(|count| *count < 20) {
        for (point, reading) in batch(&mut rig).await {
            match (point.0, reading) {
                (0, reading) => {
                    assert_eq!(reading, good(1.0));
                    good_ones[0] += 1;
                }
                (2, reading) => {
                    assert_eq!(reading, good(2.0));
                    good_ones[1] += 1;
                }
                (1 | 3, UP) | (4, LOST) | (5, DOWN) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let seen = seen.lock().unwrap();
    let probes = seen.iter().filter(|(unit, ..)| *unit == 9).count();
    assert!(probes <= 3, "a dead device is left alone for longer and longer: {probes} of {}", seen.len());
}

#[tokio::test]
async fn it_reads_our_own_server() {
    let served = Arc::new(plant());
    let serving = Rig::new(&served);
    serving.show(&[(HEAT, good(52.25)), (ALARM, UP)]);
    let server = Server::bind(Settings::new(([127, 0, 0, 1], 0).into()), served).unwrap();
    let port = server.local_addr().unwrap().port();
    tokio::spawn(server.run(serving.ports.clone()));
    let mut rig = start(polled(port, &[(Table::Input, 10, F32), (Table::Discrete, 0, U16)]));
    assert_eq!(batch(&mut rig).await, [(p(1), good(1.0)), (p(2), UP)]);
    assert_eq!(batch(&mut rig).await, [(p(0), good(52.25))]);
}

#[tokio::test]
async fn a_stop_ends_it_in_the_middle_of_a_request() {
    let (port, seen) = slave(|_, _, _| Silence).await;
    let mut plant = polled(port, &[(Table::Input, 0, U16)]);
    plant.devices[0].timeout = crate::time::Timeout::millis(600_000);
    let plant = Arc::new(plant);
    let rig = Rig::new(&plant);
    let group = spawn_list(&plant).remove(0);
    let task = tokio::spawn(run(group, Setup::default(), plant, rig.ports.clone()));
    let asked = async {
        while seen.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(BOUND, asked).await.expect("it asks");
    rig.ports.stop.cancel();
    timeout(BOUND, task).await.expect("it ends").unwrap();
}

#[test]
fn a_failed_device_is_left_alone_for_longer_and_longer() {
    let mut back_off = BackOff::default();
    let waits: Vec<u64> = (0..8).map(|_| back_off.next().as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn cycles_are_measured_from_start_to_start() {
    let at = |secs| Mono::from_start(Duration::from_secs(secs));
    let ten = Duration::from_secs(10);
    assert_eq!(next_due(at(100), ten, at(103)), at(110), "a cycle of 3 s");
    assert_eq!(next_due(at(100), ten, at(135)), at(135), "missed ones are not made up for");
    assert_eq!(next_due(at(135), ten, at(136)), at(145));
}
