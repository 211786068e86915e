//! A small hub (Annex AB.5.3) and the certificates of a site, for tests. Frames are put together here octet by octet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::{Hub, Pem, Tls};
use crate::bacnet::settings::Secure;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate that names a host, valid until a year.
    pub(crate) fn issue(&self, host: &str, until: i32) -> Pem {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 2, 3);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pem {
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
            authorities: self.0.pem().into_bytes(),
        }
    }
}

/// A port that tries again soon.
pub(crate) fn port(hub: SocketAddr, failover: Option<SocketAddr>, pem: &Pem, named: bool) -> Secure {
    let uri = |at: SocketAddr| Hub::new(&format!("wss://{at}/hub")).unwrap();
    Secure {
        primary: uri(hub),
        failover: failover.map(uri),
        tls: Some(Tls::new(pem, named).unwrap()),
        reconnect: (Duration::from_millis(50), Duration::from_millis(200)),
        connect_wait: Duration::from_secs(10),
        heartbeat: Duration::from_secs(60),
    }
}

type Nodes = Arc<Mutex<HashMap<[u8; 6], mpsc::UnboundedSender<Vec<u8>>>>>;

/// A hub at work; it ends when it is dropped.
pub(crate) struct TestHub {
    pub(crate) address: SocketAddr,
    nodes: Nodes,
    /// VMACs that are refused as another node's.
    pub(crate) taken: Arc<Mutex<Vec<[u8; 6]>>>,
    tasks: JoinSet<()>,
}

impl TestHub {
    pub(crate) async fn start(address: SocketAddr, pem: &Pem) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem.authorities).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(&pem.certificate).unwrap()],
                PrivateKeyDer::from_pem_slice(&pem.key).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (nodes, taken) = (Nodes::default(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let (shared, refused) = (nodes.clone(), taken.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, nodes, taken) = (acceptor.clone(), shared.clone(), refused.clone());
                open.spawn(async move {
                    serve(stream, acceptor, nodes, taken).await;
                });
            }
        });
        Self { address, nodes, taken, tasks }
    }

    /// Its end: its address is free.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// The nodes that are connected.
    pub(crate) fn nodes(&self) -> Vec<[u8; 6]> {
        self.nodes.lock().unwrap().keys().copied().collect()
    }

    /// Send a frame to a node, as it is.
    pub(crate) fn send(&self, to: [u8; 6], frame: &[u8]) {
        if let Some(node) = self.nodes.lock().unwrap().get(&to) {
            let _ = node.send(frame.to_vec());
        }
    }
}

#[allow(clippy::result_large_err, reason = "the handshake's own type")]
fn choose(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("hub.bsc.bacnet.org"));
    Ok(response)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, nodes: Nodes, taken: Arc<Mutex<Vec<[u8; 6]>>>) -> Option<()> {
    let stream = acceptor.accept(stream).await.ok()?;
    let socket = tokio_tungstenite::accept_hdr_async(stream, choose).await.ok()?;
    let (mut write, mut read) = socket.split();
    let (out, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut own = None;
    loop {
        let frame = tokio::select! {
            message = read.next() => match message {
                Some(Ok(Message::Binary(frame))) => frame.to_vec(),
                Some(Ok(_)) => continue,
                _ => break,
            },
            Some(frame) = queue.recv() => {
                write.send(Message::Binary(frame.into())).await.ok()?;
                continue;
            }
        };
        let answer = |function: u8, payload: &[u8]| {
            let _ = out.send([&[function, 0, frame[2], frame[3]], payload].concat());
        };
        match frame[0] {
            // Connect-Request
            6 => {
                let vmac: [u8; 6] = frame[4..10].try_into().unwrap();
                if taken.lock().unwrap().contains(&vmac) {
                    // BVLC-Result: NAK, no header marker, communication (7), node-duplicate-vmac (151)
                    answer(0, &[6, 1, 0, 0, 7, 0, 151]);
                    continue;
                }
                nodes.lock().unwrap().insert(vmac, out.clone());
                own = Some(vmac);
                answer(7, &[&[0x02, 0xAA, 0, 0, 0, 1][..], &[9; 16], &[0x16, 0x49, 0x05, 0xD9]].concat());
            }
            8 => answer(9, &[]),
            10 => answer(11, &[]),
            // Encapsulated-NPDU to one or to all
            1 => {
                let to: [u8; 6] = frame[4..10].try_into().unwrap();
                let from = own.unwrap();
                let others = nodes.lock().unwrap();
                let head = |control: u8| [&[1, control, frame[2], frame[3]][..], &from].concat();
                if to == [0xFF; 6] {
                    let relayed = [&head(0x0C)[..], &to, &frame[10..]].concat();
                    others
                        .iter()
                        .filter(|(vmac, _)| **vmac != from)
                        .for_each(|(_, node)| drop(node.send(relayed.clone())));
                } else if let Some(node) = others.get(&to) {
                    let _ = node.send([&head(0x08)[..], &frame[10..]].concat());
                }
            }
            _ => {}
        }
    }
    if let Some(own) = own {
        nodes.lock().unwrap().remove(&own);
    }
    Some(())
}
