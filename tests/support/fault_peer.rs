//! A Modbus slave that misbehaves on purpose, and a client that has to live with it: nothing that it does may become a
//! value.
//!
//! Each register pair holds its own address and the number of the request that it answers, so that a value of another
//! address or of an older request shows. The slave keeps which requests it answered rightly and in time; a reading is
//! right when its request is among them, is of its address, and is younger than the reading before.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::cast_possible_truncation, clippy::expect_used)]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heatgate::decision::Desired;
use heatgate::gateway::clock::SystemClock;
use heatgate::modbus::client::{Setup, run, spawn_list};
use heatgate::plant::{
    Codec, Device, DeviceId, DevicePlace, DevicePoint, Link, ModbusLine, Plant, PointDef, RegisterPlace, RegisterType,
    SerialLine, Source, Table,
};
use heatgate::point::{Image, Kind, PointId, PointKey, Reading};
use heatgate::ports::{Keepsakes, Ports, Requests};
use heatgate::telemetry::Metrics;
use heatgate::time::{Now, Timeout};
use heatgate::units::Unit;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_serial::{SerialPort as _, SerialStream};
use tokio_util::sync::CancellationToken;

/// What carries the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Modbus TCP.
    Tcp,
    /// RTU frames over TCP.
    RtuOverTcp,
    /// RTU frames on a pair of pseudo terminals.
    Rtu,
}

/// How long the client waits for an answer, and then again before it asks the same device.
const TIMEOUT: Duration = Duration::from_millis(40);

/// What was seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Outcome {
    /// Requests that were not answered as they should be.
    pub faults: u64,
    /// Requests that were.
    pub answered: u64,
    /// Good readings.
    pub good: u64,
    /// Readings of another address, another request or the past.
    pub wrong: u64,
}

#[derive(Default)]
struct Log {
    /// By address: requests answered rightly and in time.
    right: HashMap<u16, HashSet<u16>>,
    /// By address: how many requests there were.
    asked: HashMap<u16, u16>,
    outcome: Outcome,
}

/// A small reproducible generator (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Let a client and such a slave talk until there were so many faults.
pub async fn talk(wire: Wire, seed: u64, faults: u64) -> Outcome {
    let log = Arc::new(Mutex::new(Log::default()));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut keep = None;
    let line = match wire {
        Wire::Tcp | Wire::RtuOverTcp => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let log = Arc::clone(&log);
            tasks.spawn(async move {
                let mut rng = Rng(seed);
                let mut open = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    open.spawn(slave(stream, wire, Rng(rng.next()), Arc::clone(&log)));
                }
            });
            let host = "127.0.0.1".to_owned();
            if wire == Wire::Tcp { ModbusLine::Tcp { host, port } } else { ModbusLine::RtuOverTcp { host, port } }
        }
        Wire::Rtu => {
            let (master, terminal) = SerialStream::pair().unwrap();
            let serial = SerialLine { baud: 115_200, ..SerialLine::new(terminal.name().unwrap()) };
            // The terminal stays open here, or the other end hangs up between two of the client's openings.
            keep = Some(terminal);
            let log = Arc::clone(&log);
            tasks.spawn(async move { slave(master, wire, Rng(seed), log).await });
            ModbusLine::Rtu { serial, echo: false }
        }
    };
    let addresses = [0u16, 40, 80];
    let plant = Arc::new(plant(line, &addresses));
    let (image, images) = watch::channel(Arc::new(Image::empty(plant.points.len(), Now::default())));
    let (readings_in, mut readings) = mpsc::channel(64);
    let ports = Ports {
        image: images,
        desired: watch::channel(Arc::new(Desired::default())).1,
        readings: readings_in,
        requests: Requests::channel(1).0,
        keepsakes: Keepsakes::default(),
        time: Arc::new(SystemClock::new(1.0).unwrap()),
        metrics: Arc::new(Metrics::new()),
        restart: CancellationToken::new(),
        stop: stop.clone(),
    };
    for group in spawn_list(&plant) {
        tasks.spawn(run(group, Setup::default(), Arc::clone(&plant), ports.clone()));
    }
    let mut before = HashMap::new();
    while let Some(batch) = readings.recv().await {
        let mut log = log.lock().unwrap();
        for update in batch {
            let Some(address) = addresses.get(update.point.index()) else { continue };
            let Reading::Good(value) = update.reading else { continue };
            log.outcome.good += 1;
            let value = value.as_u64().unwrap_or(u64::MAX);
            let (of, number) = ((value >> 16) as u16, value as u16);
            let last = before.insert(*address, number);
            let right = log.right.get(address).is_some_and(|right| right.contains(&number));
            if of != *address || !right || last.is_some_and(|last| last >= number) {
                log.outcome.wrong += 1;
                eprintln!("{wire:?}: {address} shows {of}, request {number} after {last:?}");
            }
        }
        // Request numbers have 16 bits: long before they run out, all begin anew with a slave that knows nothing.
        if log.outcome.faults >= faults {
            break;
        }
    }
    stop.cancel();
    tasks.shutdown().await;
    drop((keep, image));
    log.lock().unwrap().outcome
}

fn plant(line: ModbusLine, addresses: &[u16]) -> Plant {
    let mut plant = Plant::default();
    let mut define = |key: String, kind| {
        let id = PointId(u32::try_from(plant.points.len()).unwrap());
        plant.points.push(PointDef {
            id,
            key: PointKey::new(key).unwrap(),
            description: String::new(),
            kind,
            unit: Unit::None,
            range: None,
            absent: None,
            texts: Vec::new(),
            source: Source::Device(DeviceId(0)),
            deadband: 0.0,
        });
        id
    };
    let place = |address| RegisterPlace::plain(Table::Input, address, Codec::plain(RegisterType::U32));
    let points = addresses.iter().map(|address| DevicePoint {
        point: define(format!("device/p{address}"), Kind::Unsigned),
        place: DevicePlace::Register(place(*address)),
        poll: None,
    });
    let points = points.collect();
    let link_point = define("device/link".to_owned(), Kind::Bool);
    let link = Link::Modbus { line, unit: 7 };
    plant.devices.push(Device {
        poll: Duration::from_millis(1),
        timeout: Timeout::new(TIMEOUT).unwrap(),
        retries: 5,
        max_gap: 0,
        points,
        ..Device::new(DeviceId(0), "device".to_owned(), link, link_point)
    });
    plant
}

/// Answer each request, three of twenty wrongly: more, and the client would leave it alone for longer and longer.
async fn slave(mut stream: impl AsyncRead + AsyncWrite + Unpin, wire: Wire, mut rng: Rng, log: Arc<Mutex<Log>>) {
    let mut input = Vec::new();
    while let Some(request) = request(&mut stream, &mut input, wire).await {
        let number = {
            let mut log = log.lock().unwrap();
            let asked = log.asked.entry(request.address).or_default();
            *asked += 1;
            *asked
        };
        let registers = |address: u16, number: u16| {
            let words = (0..request.count).map(|n| if n % 2 == 0 { address } else { number });
            let bytes: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
            [&[4, u8::try_from(bytes.len()).unwrap()][..], &bytes].concat()
        };
        let right = registers(request.address, number);
        let frame = |pdu: &[u8]| framed(wire, request.transaction, request.unit, pdu);
        let fault = rng.below(120);
        {
            // Said before it is sent: the reading may arrive before the next line here runs.
            let mut log = log.lock().unwrap();
            if fault >= 18 {
                log.outcome.answered += 1;
                log.right.entry(request.address).or_default().insert(number);
            } else {
                log.outcome.faults += 1;
            }
        }
        let other_address = registers(request.address.wrapping_add(40), number);
        let sent: Vec<u8> = match fault {
            // Nothing.
            0 => continue,
            // Too late: within the quarantine, or after it, when the next request is on its way already.
            1 | 2 => {
                // On a serial line the client adds what the longest exchange takes on the wire.
                let wire = if wire == Wire::Rtu { 49 } else { 0 };
                let late = TIMEOUT + Duration::from_millis(wire + 2 + rng.below(80));
                tokio::time::sleep(late).await;
                frame(&right)
            }
            // Another transaction (RTU: another unit).
            3 => framed(
                wire,
                request.transaction.wrapping_add(1),
                request.unit ^ u8::from(wire != Wire::Tcp),
                &other_address,
            ),
            4 => framed(wire, request.transaction, request.unit ^ 1, &other_address),
            // Another function.
            5 => frame(&[&[3], &other_address[1..]].concat()),
            // Another length.
            6 => frame(&[&[4, 2], &other_address[2..4]].concat()),
            7 => frame(&[&[4, 8], &other_address[2..], &other_address[2..]].concat()),
            // A length that is not true.
            8 => frame(&[&[4, 200], &other_address[2..]].concat()),
            // A byte that changed on the way.
            9 | 10 => match wire {
                // TCP has its own checksum: what changes there is the header.
                Wire::Tcp => {
                    let mut bytes = frame(&other_address);
                    let at = rng.below(6) as usize;
                    bytes[at] ^= 1 << rng.below(8);
                    bytes
                }
                _ => {
                    let mut bytes = frame(&other_address);
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << rng.below(8);
                    bytes
                }
            },
            // Half of it, and the rest never.
            11 => {
                let mut bytes = frame(&right);
                bytes.truncate(1 + rng.below(bytes.len() as u64 - 1) as usize);
                bytes
            }
            // Noise alone.
            12 => rng.bytes(40),
            // Noise before a wrong frame.
            13 => [rng.bytes(10), framed(wire, request.transaction.wrapping_add(2), request.unit ^ 2, &other_address)]
                .concat(),
            // An exception.
            14 => frame(&[0x84, 1 + rng.below(6) as u8]),
            // The connection ends.
            15 | 16 => match wire {
                Wire::Rtu => continue,
                _ => return,
            },
            // A gateway's word.
            17 => frame(&[0x84, 0x0B]),
            // Right, after a while; in pieces; with noise behind it.
            18 => {
                tokio::time::sleep(Duration::from_millis(rng.below(10))).await;
                frame(&right)
            }
            19 => {
                let bytes = frame(&right);
                let (head, tail) = bytes.split_at(1 + rng.below(bytes.len() as u64 - 1) as usize);
                if stream.write_all(head).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
                tail.to_vec()
            }
            20 if wire != Wire::Tcp => [frame(&right), rng.bytes(10)].concat(),
            _ => frame(&right),
        };
        if stream.write_all(&sent).await.is_err() {
            return;
        }
    }
}

struct Asked {
    transaction: u16,
    unit: u8,
    address: u16,
    count: u16,
}

/// The next read of input registers.
async fn request(stream: &mut (impl AsyncRead + Unpin), input: &mut Vec<u8>, wire: Wire) -> Option<Asked> {
    let (head, size) = if wire == Wire::Tcp { (6, 12) } else { (0, 8) };
    while input.len() < size {
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
    let bytes: Vec<u8> = input.drain(..size).collect();
    let pdu = &bytes[head..];
    assert_eq!(pdu[1], 4, "the client reads input registers");
    let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
    let transaction = u16::from_be_bytes([bytes[0], bytes[1]]);
    Some(Asked { transaction, unit: pdu[0], address: word(2), count: word(4) })
}

fn framed(wire: Wire, transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    if wire == Wire::Tcp {
        let length = u16::try_from(pdu.len() + 1).unwrap();
        return [&transaction.to_be_bytes()[..], &[0, 0], &length.to_be_bytes(), &[unit], pdu].concat();
    }
    let mut bytes = [&[unit], pdu].concat();
    // MODBUS over Serial Line V1.02, 6.2.2, bit by bit: not the table that is tested.
    let crc = bytes.iter().fold(0xFFFFu16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 })
    });
    bytes.extend(crc.to_le_bytes());
    bytes
}
