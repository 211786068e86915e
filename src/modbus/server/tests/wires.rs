//! The other wires, and who may do what.

use std::collections::BTreeMap;

use tokio::io::DuplexStream;

use super::*;
use crate::modbus::rtu;
use crate::modbus::server::diagnostics::Counters;
use crate::modbus::testing::pki::Authority;
use crate::plant::SerialLine;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn on(wire: Wire) -> Settings {
    Settings { wire, ..settings() }
}

fn rtu_frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = rtu::open(&mut out, unit);
    out.extend_from_slice(pdu);
    rtu::close(&mut out, start);
    out
}

/// So many bytes, in time.
async fn take<S: tokio::io::AsyncRead + Unpin>(stream: &mut S, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(BOUND, stream.read_exact(&mut bytes)).await.expect("a reply in time").unwrap();
    bytes
}

#[tokio::test]
async fn rtu_over_tcp_answers_in_order_and_skips_what_is_no_frame() {
    let site = site(on(Wire::RtuOverTcp(loopback())));
    let mut stream = connect(site.addr).await;
    let mut bytes = rtu_frame(1, &[6, 0, 0, 0, 77]);
    bytes.extend(rtu_frame(9, &[6, 0, 0, 0, 78]));
    bytes.extend([0xFF, 0x00, 0x55]);
    bytes.extend(rtu_frame(1, &[3, 0, 0, 0, 1]));
    stream.write_all(&bytes).await.unwrap();
    let want = [rtu_frame(1, &[6, 0, 0, 0, 77]), rtu_frame(1, &[3, 2, 0, 77])].concat();
    assert_eq!(take(&mut stream, want.len()).await, want, "another unit gets no answer from us");
    // Half a frame, then silence, then a whole one.
    stream.write_all(&[1, 16, 0, 0, 0, 2, 4]).await.unwrap();
    let metrics = Arc::clone(&site.rig.ports.metrics);
    let before = metrics.rejected_so_far(LINK, "no RTU frame");
    until("silence ends it", || metrics.rejected_so_far(LINK, "no RTU frame") > before).await;
    stream.write_all(&rtu_frame(1, &[8, 0, 0, 0xA5, 0x37])).await.unwrap();
    assert_eq!(take(&mut stream, 8).await, rtu_frame(1, &[8, 0, 0, 0xA5, 0x37]));
    stream.write_all(&rtu_frame(1, &[99])).await.unwrap();
    assert_eq!(take(&mut stream, 5).await, rtu_frame(1, &[0xE3, 1]));
}

/// A server on one end of a line in memory; the master has the other.
fn line(rig: &Rig, echo: bool, rights: Rights) -> DuplexStream {
    let (master, mut port) = tokio::io::duplex(4096);
    let settings = on(Wire::Serial { line: SerialLine::new("/dev/memory"), echo });
    let units = Units::new(&plant(), &settings.units);
    let counter = rig.ports.metrics.link(LINK);
    let shared = Shared { settings, units, ports: rig.ports.clone(), counter };
    tokio::spawn(async move {
        let origin = Origin { side: Side::Modbus, peer: "/dev/memory".into() };
        let session = Session { shared: &shared, origin, rights };
        let line = SerialLine { baud: 115_200, ..SerialLine::new("/dev/memory") };
        session.talk_serial(&mut port, &line, echo, &mut Counters::default()).await
    });
    master
}

fn rig() -> Rig {
    let plant = Arc::new(plant());
    let mut rig = Rig::new(&plant);
    rig.engine(&plant);
    rig
}

#[tokio::test]
async fn on_a_shared_line_only_our_requests_are_answered() {
    let rig = rig();
    let mut master = line(&rig, false, Rights::ALL);
    let bus = [
        rtu_frame(0, &[6, 0, 0, 0, 55]),
        rtu_frame(7, &[3, 0, 0, 0, 1]),
        rtu_frame(7, &[3, 2, 0, 9]),
        rtu_frame(7, &[6, 0, 0, 0, 1]),
        rtu_frame(7, &[6, 0, 0, 0, 1]),
        vec![1, 5, 0, 0, 0xFF, 0, 0, 0],
        rtu_frame(1, &[3, 0, 0, 0, 1]),
    ]
    .concat();
    master.write_all(&bus).await.unwrap();
    assert_eq!(take(&mut master, 7).await, rtu_frame(1, &[3, 2, 0, 55]), "a broadcast is carried out");
    master.write_all(&rtu_frame(1, &[8, 0, 0x0F, 0, 0])).await.unwrap();
    assert_eq!(take(&mut master, 8).await, rtu_frame(1, &[8, 0, 0x0F, 0, 1]), "and not answered");
    assert_eq!(rig.requests().len(), 1, "nobody else's write is ours");
}

#[tokio::test]
async fn a_late_answer_is_not_sent_when_the_master_asks_anew() {
    let rig = rig();
    let mut master = line(&rig, false, Rights::ALL);
    let twice = [rtu_frame(1, &[3, 0, 0, 0, 1]), rtu_frame(1, &[3, 0, 0, 0, 2])].concat();
    master.write_all(&twice).await.unwrap();
    assert_eq!(take(&mut master, 9).await[..3], [1, 3, 4], "the second only");
}

#[tokio::test]
async fn an_adapter_that_hears_itself_is_no_second_master() {
    let rig = rig();
    let mut master = line(&rig, true, Rights::ALL);
    for n in 0..5 {
        let request = rtu_frame(1, &[6, 0, 0, 0, n]);
        master.write_all(&request).await.unwrap();
        assert_eq!(take(&mut master, 8).await, request);
        // What the adapter heard, and the next request right behind it.
        master.write_all(&request).await.unwrap();
    }
    master.write_all(&rtu_frame(1, &[3, 0, 0, 0, 1])).await.unwrap();
    assert_eq!(take(&mut master, 7).await, rtu_frame(1, &[3, 2, 0, 4]));
    assert_eq!(rig.requests().len(), 5);
    // Without being told: what can be no request of ours is not answered, so that nothing goes round.
    let mut master = line(&rig, false, Rights::ALL);
    for pdu in [&[3, 2, 0, 4][..], &[0x83, 2]] {
        master.write_all(&rtu_frame(1, pdu)).await.unwrap();
    }
    master.write_all(&rtu_frame(1, &[3, 0, 0, 0, 1])).await.unwrap();
    assert_eq!(take(&mut master, 7).await, rtu_frame(1, &[3, 2, 0, 4]));
}

#[tokio::test]
async fn who_may_only_read_is_told_so() {
    let network = Network { address: [127, 0, 0, 1].into(), prefix: 32 };
    let clients = |allowed, writers| Clients { allowed, writers };
    let site1 = site(Settings { clients: clients(Some(vec![network]), Some(Vec::new())), ..settings() });
    let mut stream = connect(site1.addr).await;
    assert_eq!(exchange(&mut stream, &[3, 0, 0, 0, 1]).await[0], 3);
    for pdu in [&[6, 0, 0, 0, 1][..], &[5, 0, 0, 0, 0], &[22, 0, 0, 0, 0, 0, 0], &[16]] {
        assert_eq!(exchange(&mut stream, pdu).await, [pdu[0] | 0x80, 1], "{pdu:?}");
    }
    assert!(site1.rig.requests().is_empty());
    let site2 = site(Settings { clients: clients(Some(Vec::new()), None), ..settings() });
    assert!(rest(&mut connect(site2.addr).await).await.is_empty());
    assert_eq!(site2.rig.ports.metrics.rejected_so_far(LINK, "client not allowed"), 1);
}

#[tokio::test]
async fn units_show_windows() {
    let views = vec![(1, View::Whole), (2, View::Window { first: 70, count: 30 })];
    let site = site(Settings { units: views, ..settings() });
    site.rig.show(&[(HEAT, good(52.3))]);
    let mut stream = connect(site.addr).await;
    let mut ask = async |unit, pdu: &[u8]| {
        stream.write_all(&frame(1, unit, pdu)).await.unwrap();
        receive(&mut stream).await.2
    };
    assert_eq!(ask(2, &[4, 0, 0, 0, 2]).await, [4, 4, 0x02, 0x0B, 0, 0]);
    assert_eq!(ask(2, &[4, 0, 29, 0, 1]).await, [4, 2, 0, 0]);
    assert_eq!(ask(2, &[4, 0, 29, 0, 2]).await, [0x84, 2], "beyond the window there is nothing");
    assert_eq!(ask(2, &[6, 0, 0, 0, 1]).await, [0x86, 2]);
    assert_eq!(ask(1, &[4, 0, 70, 0, 1]).await, [4, 2, 0x02, 0x0B]);
    assert_eq!(ask(255, &[4, 0, 70, 0, 1]).await, [4, 2, 0x02, 0x0B], "the first is the server itself");
    assert_eq!(ask(3, &[4, 0, 0, 0, 1]).await, [0x84, 0x0B]);
}

#[tokio::test]
async fn a_role_decides_what_a_certificate_may_do() {
    let authority = Authority::new();
    let tls = tls::Server::new(&authority.issue(None)).unwrap();
    let roles = BTreeMap::from([("Operator".to_owned(), Rights::ALL), ("Viewer".to_owned(), Rights::READ)]);
    let site = site(on(Wire::Tls { listen: loopback(), tls, roles }));
    for (role, read, write) in [
        (Some("Operator"), [4, 2, 0, 0].as_slice(), [6, 0, 0, 0, 9].as_slice()),
        (Some("Viewer"), &[4, 2, 0, 0], &[0x86, 1]),
        (Some("Stranger"), &[0x84, 1], &[0x86, 1]),
        (None, &[0x84, 1], &[0x86, 1]),
    ] {
        let client = tls::Client::new(&authority.issue(role)).unwrap();
        let connector = tokio_rustls::TlsConnector::from(client.0);
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = connector.connect(name, connect(site.addr).await).await.unwrap();
        for (pdu, want) in [(&[4, 0, 0, 0, 1][..], read), (&[6, 0, 0, 0, 9], write)] {
            stream.write_all(&frame(5, 1, pdu)).await.unwrap();
            assert_eq!(take(&mut stream, 7 + want.len()).await[7..], *want, "{role:?} {pdu:?}");
        }
    }
    // No certificate, and no TLS at all.
    let mut plain = connect(site.addr).await;
    plain.write_all(&frame(1, 1, &[4, 0, 0, 0, 1])).await.unwrap();
    rest(&mut plain).await;
    until("it is counted", || site.rig.ports.metrics.rejected_so_far(LINK, "tls handshake") == 1).await;
}

#[tokio::test]
async fn a_flood_of_one_client_keeps_nobody_else_out() {
    let site = site(Settings { max_connections: 4, ..settings() });
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(site.addr).await;
        exchange(&mut stream, &[4, 0, 0, 0, 1]).await;
        held.push(stream);
    }
    // Loopback has many addresses.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 9], 0))).unwrap();
    let mut other = socket.connect(site.addr).await.unwrap();
    assert_eq!(exchange(&mut other, &[4, 0, 0, 0, 1]).await, [4, 2, 0, 0]);
    assert!(rest(&mut held[0]).await.is_empty(), "the flood's oldest gave way");
    exchange(&mut held[3], &[4, 0, 0, 0, 1]).await;
    until("it is counted", || site.rig.ports.metrics.rejected_so_far(LINK, "seat given to another") == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masks_of_two_masters_lose_nothing() {
    let site = site(settings());
    let (mut one, mut two) = (connect(site.addr).await, connect(site.addr).await);
    assert_eq!(exchange(&mut one, &[16, 0, 6, 0, 2, 4, 0, 0, 0, 0]).await[0], 16);
    exchange(&mut one, &[6, 0, 4, 0, 0]).await;
    // Each master owns one byte of one register and counts in it; neither may undo the other's.
    let count = async |stream: &mut TcpStream, low: bool| {
        for n in 1..=200u8 {
            let mask = if low { [22, 0, 4, 0xFF, 0x00, 0x00, n] } else { [22, 0, 4, 0x00, 0xFF, n / 10, 0x00] };
            let reply = exchange(stream, &mask).await;
            assert!(reply == mask || reply == [0x96, 6], "{reply:?}");
            if reply == mask {
                let now = exchange(stream, &[3, 0, 4, 0, 1]).await;
                assert_eq!(if low { now[3] } else { now[2] }, if low { n } else { n / 10 });
            }
        }
    };
    tokio::join!(count(&mut one, true), count(&mut two, false));
}
