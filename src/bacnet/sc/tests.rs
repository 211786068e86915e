//! A node and a hub over TLS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bacnet_transport::sc::WebSocketPort as _;
use tokio::sync::mpsc;

use super::testing::{Authority, TestHub, port};
use super::*;
use crate::bacnet::testing::World;
use crate::bacnet::{Node, Settings};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const BMS: [u8; 6] = [0x02, 0xB0, 0, 0, 0, 1];
/// The bound of every wait.
const SOON: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    LOOPBACK.into()
}

/// A BMS that knows no more than octets.
struct Bms(Socket);

impl Bms {
    async fn join(hub: SocketAddr, pem: &Pem) -> Self {
        let hub = Hub::new(&format!("wss://{hub}")).unwrap();
        let socket = socket::dial(&hub, &Tls::new(pem, false).unwrap(), SOON).await.unwrap();
        let request = [&[6, 0, 0, 1][..], &BMS, &[7; 16], &[0x16, 0x49, 0x05, 0xD9]].concat();
        socket.send(&request).await.unwrap();
        let bms = Self(socket);
        assert_eq!(bms.hear().await[0], 7);
        bms
    }

    async fn hear(&self) -> Vec<u8> {
        tokio::time::timeout(SOON, self.0.recv()).await.expect("the hub is silent").unwrap()
    }

    /// The next I-Am: from whom.
    async fn i_am(&self) -> [u8; 6] {
        loop {
            let frame = self.hear().await;
            // Encapsulated-NPDU with an origin, to us or to everybody, an NPDU to here or to everywhere
            let apdu = frame.windows(2).position(|two| two == [0x10, 0]);
            if frame[0] == 1 && apdu.is_some() {
                return frame[4..10].try_into().unwrap();
            }
        }
    }

    /// Who answers a Who-Is, asked until somebody does.
    async fn find(&self) -> [u8; 6] {
        let ask = async {
            loop {
                self.say([0xFF; 6], &[1, 0, 0x10, 8]).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            from = self.i_am() => from,
            never = ask => never,
        }
    }

    async fn say(&self, to: [u8; 6], npdu: &[u8]) {
        self.0.send(&[&[1, 4, 0, 9][..], &to, npdu].concat()).await.unwrap();
    }

    /// ReadProperty: what follows the head of the ComplexACK.
    async fn read(&self, from: [u8; 6], object: [u8; 4], property: &[u8]) -> Vec<u8> {
        let ask = [&[1, 4, 0x02, 0x05, 3, 12, 0x0C][..], &object, property].concat();
        self.say(from, &ask).await;
        loop {
            let frame = self.hear().await;
            if frame[1] == 8 && frame[10..12] == [1, 0] && frame[12] != 0x10 {
                assert_eq!((frame[4..10].to_vec(), frame[12..15].to_vec()), (from.to_vec(), vec![0x30, 3, 12]));
                return frame[15..].to_vec();
            }
        }
    }
}

/// A node alone: what it tells.
struct Alone {
    events: mpsc::Receiver<Event>,
    metrics: Arc<Metrics>,
    _outgoing: mpsc::Sender<Outgoing>,
}

fn alone(port: Secure, identity: Option<Identity>) -> Alone {
    let (outgoing, receiver) = mpsc::channel(8);
    let (sender, events) = mpsc::channel(8);
    let metrics = Arc::new(Metrics::new());
    tokio::spawn(run(port, identity, receiver, sender, metrics.clone()));
    Alone { events, metrics, _outgoing: outgoing }
}

impl Alone {
    async fn connected(&mut self, to: Connected) -> [u8; 6] {
        loop {
            let event = tokio::time::timeout(SOON, self.events.recv()).await.expect("no news").expect("it has ended");
            if let Event::State { state: PortState::Secure(state), .. } = event
                && state.connected == to
            {
                return state.vmac.unwrap();
            }
        }
    }

    /// Until it has failed for a cause.
    async fn fails(&self, cause: &str) {
        let line = format!("heatgate_failures_total{{link=\"bacnet-sc\",cause=\"{cause}\"}}");
        let failed = async {
            while !self.metrics.render().contains(&line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let failed = tokio::time::timeout(SOON, failed).await;
        assert!(failed.is_ok(), "{}", self.metrics.render());
    }
}

#[tokio::test]
async fn the_device_is_read_through_a_hub_and_finds_it_again() {
    let authority = Authority::new();
    let pem = authority.issue("127.0.0.1", 2090);
    let hub = TestHub::start(loopback(), &pem).await;
    let world = World::new(0);
    let settings = Settings {
        listen: loopback(),
        instance: 47_001,
        secure: Some(port(hub.address, None, &pem, true)),
        ..Settings::default()
    };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let metrics = world.ports.metrics.clone();
    let stop = world.ports.stop.clone();
    let bms = Bms::join(hub.address, &pem).await;
    let at_work = tokio::spawn(node.run(world.ports.clone()));
    // It says that it is there as soon as it is connected.
    let gateway = bms.i_am().await;
    bms.say([0xFF; 6], &[1, 0, 0x10, 8]).await;
    assert_eq!(bms.i_am().await, gateway);
    // Object_Name of the Device, SC_Hub_Connector_State of the second port, what the hub has of us
    let name = bms.read(gateway, [0x02, 0, 0xB7, 0x99], &[0x19, 77]).await;
    assert!(name.windows(8).any(|part| part == b"heatgate"), "{name:?}");
    let state = bms.read(gateway, [0x0E, 0, 0, 2], &[0x1B, 0x40, 0, 14]).await;
    assert!(state.ends_with(&[0x3E, 0x91, 1, 0x3F]), "{state:02x?}");
    // What is no frame, or not for us: at most the connection ends, and comes again.
    for odd in [
        &[][..],
        &[1],
        &[0xFF; 40],
        &[1, 0x0F, 0, 0],
        &[1, 0xF8, 0, 1, 1, 0],
        &[12, 0, 0, 1],
        &[1, 0, 0, 1],
        &[0, 0, 0, 1],
    ] {
        hub.send(gateway, odd);
    }
    assert_eq!(bms.find().await, gateway);

    let address = hub.address;
    drop(bms);
    hub.stop().await;
    let hub = TestHub::start(address, &pem).await;
    let bms = Bms::join(address, &pem).await;
    assert_eq!(bms.find().await, gateway, "the VMAC is kept");
    assert_eq!(hub.nodes().len(), 2);
    assert!(metrics.render().contains("heatgate_link_up{link=\"bacnet-sc\"} 1"), "{}", metrics.render());
    // The hub is told of the end.
    stop.cancel();
    tokio::time::timeout(SOON, at_work).await.expect("it does not end").unwrap();
    let gone = async {
        while hub.nodes().contains(&gateway) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the connection stays open");
}

#[tokio::test]
async fn the_failover_hub_is_taken_and_left_again() {
    let pem = Authority::new().issue("127.0.0.1", 2090);
    let first = TestHub::start(loopback(), &pem).await;
    let second = TestHub::start(loopback(), &pem).await;
    let address = first.address;
    let mut node = alone(port(address, Some(second.address), &pem, false), None);
    let vmac = node.connected(Connected::Primary).await;
    first.stop().await;
    assert_eq!(node.connected(Connected::Failover).await, vmac);
    assert_eq!(second.nodes(), [vmac]);
    let first = TestHub::start(address, &pem).await;
    node.connected(Connected::Primary).await;
    assert_eq!(first.nodes(), [vmac]);
    // Both are away, and the second one comes back alone.
    let other = second.address;
    first.stop().await;
    second.stop().await;
    node.connected(Connected::No).await;
    let _second = TestHub::start(other, &pem).await;
    node.connected(Connected::Failover).await;
}

#[tokio::test]
async fn certificates_of_others_are_refused_on_both_sides() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let pem = ours.issue("127.0.0.1", 2090);
    let stranger = theirs.issue("127.0.0.1", 2090);
    // a hub of another authority; one of ours that is past its time, or names another host; none of them is joined
    let cases = [
        (theirs.issue("127.0.0.1", 2090), false),
        (ours.issue("127.0.0.1", 2020), false),
        (ours.issue("other.example", 2090), true),
    ];
    for (shown, named) in cases {
        let hub = TestHub::start(loopback(), &shown).await;
        let node = alone(port(hub.address, None, &pem, named), None);
        node.fails("tls").await;
        assert_eq!(hub.nodes().len(), 0);
    }
    // by the authority alone it would do
    let hub = TestHub::start(loopback(), &ours.issue("other.example", 2090)).await;
    alone(port(hub.address, None, &pem, false), None).connected(Connected::Primary).await;
    // the hub refuses us: TLS 1.3 says so after our side of it is done
    let mixed = Pem { authorities: pem.authorities.clone(), ..stranger };
    let node = alone(port(hub.address, None, &mixed, false), None);
    node.fails("websocket").await;
}

#[tokio::test]
async fn a_vmac_that_is_taken_is_given_up() {
    let pem = Authority::new().issue("127.0.0.1", 2090);
    let hub = TestHub::start(loopback(), &pem).await;
    let identity = Identity::random().unwrap();
    hub.taken.lock().unwrap().push(identity.vmac);
    let mut node = alone(port(hub.address, None, &pem, false), Some(identity));
    let kept = loop {
        let event = tokio::time::timeout(SOON, node.events.recv()).await.expect("no news").expect("it has ended");
        if let Event::Identity(kept) = event {
            break kept;
        }
    };
    assert_eq!(kept.uuid, identity.uuid);
    assert_ne!(kept.vmac, identity.vmac);
    assert_eq!(node.connected(Connected::Primary).await, kept.vmac);
    assert_eq!(Identity::from_octets(&kept.octets()), Some(kept));
    for odd in [&[][..], &[0; 22], &[1; 21], &[1; 23], &[0xFF; 22]] {
        assert_eq!(Identity::from_octets(odd), None, "{odd:?}");
    }
}

#[tokio::test]
async fn a_hub_that_is_none_or_says_nothing_is_left_alone() {
    let pem = Authority::new().issue("127.0.0.1", 2090);
    // nobody there
    let closed = std::net::TcpListener::bind(loopback()).unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    alone(port(nobody, None, &pem, false), None).fails("connect").await;
    // one that takes the connection and never speaks
    let mute = tokio::net::TcpListener::bind(loopback()).await.unwrap();
    let patient = port(mute.local_addr().unwrap(), None, &pem, false);
    let node = alone(Secure { connect_wait: Duration::from_millis(100), ..patient }, None);
    node.fails("silent").await;
}

#[test]
fn files_that_are_wrong_are_named_and_the_end_of_a_certificate_is_read() {
    let authority = Authority::new();
    let good = authority.issue("hub", 2031);
    assert_eq!(expiry(&good.certificate), Some([2031, 2, 3, 0, 0, 0]));
    assert_eq!(expiry(&authority.issue("hub", 2090).certificate), Some([2090, 2, 3, 0, 0, 0]));
    for bad in [&b""[..], b"rubbish", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let error = |pem: Pem| Tls::new(&pem, false).unwrap_err();
        assert!(matches!(error(Pem { certificate: bad.to_vec(), ..good.clone() }), TlsError::Certificate(_)));
        assert!(matches!(error(Pem { key: bad.to_vec(), ..good.clone() }), TlsError::Key(_)));
        assert!(matches!(error(Pem { authorities: bad.to_vec(), ..good.clone() }), TlsError::Authorities(_)));
        assert_eq!(expiry(bad), None);
    }
    let mixed = Pem { key: authority.issue("hub", 2031).key, ..good };
    assert!(matches!(Tls::new(&mixed, false), Err(TlsError::Unfit(_))), "a key of another certificate");
}
