//! The broker over real sockets: rumqttc as a client, and bare streams for what no client does.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, Subscribe};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    handle: Handle,
    stop: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

fn start(settings: Settings) -> Running {
    let broker = Broker::bind("127.0.0.1:0".parse().unwrap(), settings).unwrap();
    let (address, handle, stop) = (broker.local_addr(), broker.handle(), CancellationToken::new());
    Running { address, handle, stop: stop.clone(), task: tokio::spawn(broker.run(stop)) }
}

/// A client that does exactly what it is told.
struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: BytesMut::new() }
    }

    async fn connect(address: SocketAddr, connect: Connect) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(Packet::Connect(connect)).await;
        let Some(Packet::ConnAck(ack)) = raw.receive().await else { panic!("no answer to CONNECT") };
        assert_eq!(ack.code, ConnectReturnCode::Success);
        raw
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packet; `None` when the broker has closed the connection.
    async fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.buffer, usize::MAX) {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("the broker neither answers nor closes") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = 7;
        self.send(Packet::Subscribe(subscribe)).await;
        assert!(matches!(self.receive().await, Some(Packet::SubAck(_))));
    }

    async fn message(&mut self) -> Publish {
        match self.receive().await {
            Some(Packet::Publish(publish)) => {
                if publish.pkid != 0 {
                    self.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
                }
                publish
            }
            other => panic!("{other:?} instead of a message"),
        }
    }
}

fn publish(topic: &str, qos: QoS, pkid: u16, payload: &[u8]) -> Packet {
    let mut publish = Publish::new(topic, qos, payload);
    publish.pkid = pkid;
    Packet::Publish(publish)
}

fn with_will(id: &str, payload: &str) -> Connect {
    let mut connect = Connect::new(id);
    connect.last_will = Some(LastWill::new("will", payload, QoS::AtLeastOnce, true));
    connect
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come about"));
}

fn client(address: SocketAddr, id: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
    options.set_keep_alive(Duration::from_secs(5));
    AsyncClient::new(options, 50)
}

#[test]
fn it_listens_on_loopback_only_and_says_when_a_port_is_taken() {
    let off = Broker::bind("0.0.0.0:0".parse().unwrap(), Settings::default());
    assert_eq!(off.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let first = Broker::bind("127.0.0.1:0".parse().unwrap(), Settings::default()).unwrap();
    let second = Broker::bind(first.local_addr(), Settings::default());
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_common_client_publishes_and_subscribes() {
    let broker = start(Settings::default());
    let (client, mut events) = client(broker.address, "both");
    client.subscribe("a/+", QoS::AtLeastOnce).await.unwrap();
    client.publish("a/b", QoS::AtLeastOnce, false, "one").await.unwrap();
    client.publish("a/b", QoS::ExactlyOnce, false, "two").await.unwrap();
    client.publish("a/b", QoS::AtMostOnce, false, "three").await.unwrap();
    let mut got = Vec::new();
    while got.len() < 3 {
        let event = tokio::time::timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        if let Event::Incoming(Packet::Publish(publish)) = event {
            got.push((publish.qos, String::from_utf8(publish.payload.to_vec()).unwrap()));
        }
    }
    // QoS 2 is passed on as 1.
    let (at_least, at_most) = (QoS::AtLeastOnce, QoS::AtMostOnce);
    assert_eq!(got, [(at_least, "one".into()), (at_least, "two".into()), (at_most, "three".into())]);
}

#[tokio::test]
async fn a_will_is_published_when_a_client_breaks_off_is_replaced_or_falls_silent_and_not_after_a_goodbye() {
    let broker = start(Settings::default());
    let mut witness = Raw::connect(broker.address, Connect::new("witness")).await;
    witness.subscribe("will").await;

    let mut polite = Raw::connect(broker.address, with_will("polite", "polite")).await;
    polite.send(Packet::Disconnect).await;
    assert_eq!(polite.receive().await, None);

    drop(Raw::connect(broker.address, with_will("rude", "rude")).await);
    assert_eq!(witness.message().await.payload, "rude");

    let mut first = Raw::connect(broker.address, with_will("twin", "first")).await;
    let _second = Raw::connect(broker.address, with_will("twin", "second")).await;
    assert_eq!(witness.message().await.payload, "first");
    assert_eq!(first.receive().await, None);

    let mut silent = with_will("silent", "silent");
    silent.keep_alive = 1;
    let _silent = Raw::connect(broker.address, silent).await;
    assert_eq!(witness.message().await.payload, "silent");
    assert_eq!(broker.handle.retained("will").unwrap(), "silent");
}

#[tokio::test]
async fn garbage_closes_its_own_connection_and_no_other() {
    let broker = start(Settings::default());
    let mut good = Raw::connect(broker.address, Connect::new("good")).await;
    good.subscribe("t").await;
    let long_length: &[u8] = &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff];
    let server_only: &[u8] = &[0x20, 2, 0, 0];
    let wild_topic = {
        let mut bytes = BytesMut::new();
        publish("a/+", QoS::AtMostOnce, 0, b"x").write(&mut bytes, usize::MAX).unwrap();
        bytes.to_vec()
    };
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), long_length, server_only, &wild_topic, &[0xf0, 0]] {
        let mut before = Raw::open(broker.address).await;
        before.stream.write_all(garbage).await.unwrap();
        assert_eq!(before.receive().await, None, "{garbage:?} before CONNECT");
        let mut after = Raw::connect(broker.address, Connect::new("bad")).await;
        after.stream.write_all(garbage).await.unwrap();
        assert_eq!(after.receive().await, None, "{garbage:?} after CONNECT");
    }
    // A client id may be anything, and so may the topic of another client.
    let mut odd = Raw::connect(broker.address, Connect::new("+/#$é")).await;
    odd.send(publish("é", QoS::AtLeastOnce, 1, b"x")).await;
    assert!(matches!(odd.receive().await, Some(Packet::PubAck(_))));
    odd.send(publish("t", QoS::AtMostOnce, 0, b"still here")).await;
    assert_eq!(good.message().await.payload, "still here");
}

#[tokio::test]
async fn who_does_not_read_delays_nobody() {
    let broker = start(Settings { max_queue: 50, ..Settings::default() });
    let mut slow = Raw::connect(broker.address, Connect::new("slow")).await;
    slow.subscribe("#").await;
    let mut fast = Raw::connect(broker.address, Connect::new("fast")).await;
    fast.subscribe("#").await;
    let mut talker = Raw::connect(broker.address, Connect::new("talker")).await;
    let load = vec![7; 100_000];
    // 100 MB do not fit into any socket buffer.
    for _ in 0..1000 {
        talker.send(publish("t", QoS::AtMostOnce, 0, &load)).await;
        assert_eq!(fast.message().await.payload.len(), load.len());
    }
    assert!(broker.handle.stats().dropped_qos0 > 0, "{:?}", broker.handle.stats());
}

#[tokio::test]
async fn connections_are_limited() {
    let broker = start(Settings { max_clients: 1, ..Settings::default() });
    let first = Raw::connect(broker.address, Connect::new("first")).await;
    assert_eq!(Raw::open(broker.address).await.receive().await, None);
    drop(first);
    let handle = broker.handle.clone();
    until("a free place", || handle.stats().clients == 0).await;
    // The place is free as soon as the task has ended, which is a moment after its session.
    loop {
        let mut next = Raw::open(broker.address).await;
        next.send(Packet::Connect(Connect::new("next"))).await;
        if next.receive().await.is_some() {
            break;
        }
    }
    assert_eq!(broker.handle.stats().clients, 1);
}

#[tokio::test]
async fn other_versions_and_nameless_persistent_sessions_are_refused_by_code() {
    let broker = start(Settings::default());
    let mut version_5 = Connect::new("five");
    version_5.protocol = rumqttc::mqttbytes::Protocol::V5;
    let mut nameless = Connect::new("");
    nameless.clean_session = false;
    let (version, id) = (ConnectReturnCode::RefusedProtocolVersion, ConnectReturnCode::BadClientId);
    for (connect, code) in [(version_5, version), (nameless, id)] {
        let mut raw = Raw::open(broker.address).await;
        raw.send(Packet::Connect(connect)).await;
        let Some(Packet::ConnAck(ack)) = raw.receive().await else { panic!("no answer to CONNECT") };
        assert_eq!(ack.code, code);
        assert_eq!(raw.receive().await, None);
    }
    Raw::connect(broker.address, Connect::new("")).await;
}

#[tokio::test]
async fn it_stops_cleanly_and_its_port_can_be_taken_at_once() {
    let broker = start(Settings::default());
    let mut raw = Raw::connect(broker.address, with_will("a", "gone")).await;
    broker.stop.cancel();
    tokio::time::timeout(PATIENCE, broker.task).await.unwrap().unwrap().unwrap();
    assert_eq!(raw.receive().await, None);
    assert_eq!(broker.handle.retained("will"), None);
    Broker::bind(broker.address, Settings::default()).unwrap();
}

#[tokio::test]
async fn a_wiped_session_is_cut_and_unknown_afterwards() {
    let broker = start(Settings::default());
    let mut connect = Connect::new("p");
    connect.clean_session = false;
    let mut raw = Raw::connect(broker.address, connect.clone()).await;
    broker.handle.wipe_sessions();
    assert_eq!(raw.receive().await, None);
    let mut raw = Raw::open(broker.address).await;
    raw.send(Packet::Connect(connect)).await;
    let Some(Packet::ConnAck(ack)) = raw.receive().await else { panic!("no answer to CONNECT") };
    assert!(!ack.session_present);
}

#[tokio::test]
async fn a_stalled_broker_accepts_and_says_nothing_until_it_goes_on() {
    let broker = start(Settings::default());
    broker.handle.stall(true);
    let mut raw = Raw::open(broker.address).await;
    raw.send(Packet::Connect(Connect::new("a"))).await;
    let silence = tokio::time::timeout(Duration::from_millis(200), raw.stream.readable()).await;
    assert!(silence.is_err());
    broker.handle.stall(false);
    assert!(matches!(raw.receive().await, Some(Packet::ConnAck(_))));
}
