//! The BMS against a gateway that only takes notes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::sim::testing::{FastTime, soon};
use crate::units::Percent;

/// What a gateway in a test knows and hears.
#[derive(Default)]
struct Notes {
    holding: BTreeMap<u16, u16>,
    writes: Vec<(u16, Vec<u16>)>,
    reads: Vec<(u16, u16)>,
    /// Answer every write with exception 03.
    refuse: bool,
}

/// Takes writes (FC 6, 16) and answers FC 4 with the example block.
async fn gateway() -> (SocketAddr, Arc<Mutex<Notes>>, watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let notes = Arc::new(Mutex::new(Notes::default()));
    let (cut, epoch) = watch::channel(0);
    let shared = Arc::clone(&notes);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (notes, mut epoch) = (Arc::clone(&shared), epoch.clone());
            epoch.mark_unchanged();
            tokio::spawn(async move {
                tokio::select! {
                    _ = epoch.changed() => {}
                    () = serve(stream, notes) => {}
                }
            });
        }
    });
    (address, notes, cut)
}

async fn serve(mut stream: TcpStream, notes: Arc<Mutex<Notes>>) {
    let mut header = [0; 7];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut pdu = vec![0; usize::from(header[5]) - 1];
        stream.read_exact(&mut pdu).await.unwrap();
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let answer = {
            let mut notes = notes.lock().unwrap();
            match pdu[0] {
                4 => {
                    notes.reads.push((word(1), word(3)));
                    let block = view::tests::block();
                    let bytes = block.iter().flat_map(|word| word.to_be_bytes());
                    [4, 200].into_iter().chain(bytes).collect()
                }
                function if notes.refuse => vec![function | 0x80, 3],
                6 => {
                    notes.holding.insert(word(1), word(3));
                    notes.writes.push((word(1), vec![word(3)]));
                    pdu.clone()
                }
                16 => {
                    let words: Vec<u16> = (0..usize::from(word(3))).map(|n| word(6 + 2 * n)).collect();
                    for (address, value) in (word(1)..).zip(&words) {
                        notes.holding.insert(address, *value);
                    }
                    notes.writes.push((word(1), words));
                    pdu[..5].to_vec()
                }
                function => vec![function | 0x80, 1],
            }
        };
        header[5] = u8::try_from(answer.len() + 1).unwrap();
        stream.write_all(&[&header[..], &answer].concat()).await.unwrap();
    }
}

fn bms(address: SocketAddr, zone: u8, programme: Programme) -> BmsSim {
    BmsSim::new(ModbusWire::new("127.0.0.1", address.port(), 1, zone), programme, Watts::from_kw(57.0))
}

#[tokio::test]
async fn it_asks_beats_and_reads() {
    let (address, notes, _cut) = gateway().await;
    let stop = CancellationToken::new();
    let steps = Steps::new(vec![Percent::of(30.0), Percent::of(75.0)], Duration::from_secs(180));
    let sim = bms(address, 2, Programme::Steps(steps));
    let mut report = sim.report();
    let task = tokio::spawn(sim.run(FastTime::start(), stop.clone()));
    let seen = soon(report.wait_for(|report| report.asked == Some(Percent::of(75.0)))).await.unwrap().clone();
    // 30 % for 3 min; written on a grid of 10 s, read on one of 30 s.
    assert!((seen.asked_wh - 0.3 * 57_000.0 / 20.0).abs() < 100.0, "{}", seen.asked_wh);
    assert!((seen.delivered_wh - 26_400.0 / 20.0).abs() < 300.0, "{}", seen.delivered_wh);
    assert_eq!((seen.connected, seen.connects, seen.refused, seen.losses), (true, 1, 0, 0));
    assert_eq!(seen.view.unwrap().state, 4);
    assert!(seen.writes >= 5, "rewritten every 30 s: {}", seen.writes);
    stop.cancel();
    soon(task).await.unwrap();
    let notes = notes.lock().unwrap();
    assert_eq!(notes.writes[..2], [(200, vec![300]), (203, vec![2, 1])]);
    assert_eq!(notes.holding[&200], 750);
    let beats: Vec<u16> = notes.writes.iter().filter(|write| write.0 == 207).map(|write| write.1[0]).collect();
    assert!(beats.len() > 15 && beats.windows(2).all(|pair| pair[1] == pair[0] + 1), "{beats:?}");
    assert!(notes.reads.iter().all(|read| *read == (200, 100)));
    assert!(!notes.holding.contains_key(&210), "it has no room to tell of");
}

#[tokio::test]
async fn a_room_tells_its_temperatures() {
    let (address, notes, _cut) = gateway().await;
    let stop = CancellationToken::new();
    let sim = bms(address, 0, Programme::Room(Box::default()));
    let mut report = sim.report();
    tokio::spawn(sim.run(FastTime::start(), stop.clone()));
    soon(report.wait_for(|report| report.writes > 2)).await.unwrap();
    stop.cancel();
    let notes = notes.lock().unwrap();
    // The test's clock begins at 16 h: 19 degC wanted, 17 degC there, some 5.9 degC outside.
    assert!((168..=172).contains(&notes.holding[&10]), "{}", notes.holding[&10]);
    assert!((50..=60).contains(&notes.holding[&11]), "{}", notes.holding[&11]);
    assert!((450..=560).contains(&notes.holding[&0]), "{}", notes.holding[&0]);
}

#[tokio::test]
async fn a_refusal_is_noted_and_the_connection_kept() {
    let (address, notes, _cut) = gateway().await;
    notes.lock().unwrap().refuse = true;
    let stop = CancellationToken::new();
    let sim = bms(address, 0, Programme::default());
    let mut report = sim.report();
    tokio::spawn(sim.run(FastTime::start(), stop.clone()));
    let seen = soon(report.wait_for(|report| report.refused > 5 && report.reads > 1)).await.unwrap().clone();
    assert_eq!((seen.connects, seen.writes, seen.asked_wh), (1, 0, 0.0));
    assert!(seen.refusal.is_some());
    notes.lock().unwrap().refuse = false;
    soon(report.wait_for(|report| report.writes > 0)).await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn it_connects_again_and_says_everything_again() {
    let (address, notes, cut) = gateway().await;
    let stop = CancellationToken::new();
    let sim = bms(address, 0, Programme::default());
    let mut report = sim.report();
    tokio::spawn(sim.run(FastTime::start(), stop.clone()));
    soon(report.wait_for(|report| report.reads > 0)).await.unwrap();
    notes.lock().unwrap().holding.clear();
    cut.send_modify(|epoch| *epoch += 1);
    let seen = soon(report.wait_for(|report| report.connects > 1 && report.writes > 1)).await.unwrap().clone();
    assert!(seen.losses >= 1);
    assert_eq!(notes.lock().unwrap().holding[&4], 1, "enabled again");
    stop.cancel();
}

#[tokio::test]
async fn without_a_gateway_it_tries_until_it_is_stopped() {
    let stop = CancellationToken::new();
    let sim = BmsSim::new(ModbusWire::new("127.0.0.1", 1, 1, 0), Programme::default(), Watts::from_kw(57.0));
    let mut report = sim.report();
    let task = tokio::spawn(sim.run(FastTime::start(), stop.clone()));
    let seen = soon(report.wait_for(|report| report.losses > 1)).await.unwrap().clone();
    assert!(!seen.connected && seen.connects == 0);
    stop.cancel();
    soon(task).await.unwrap();
}
