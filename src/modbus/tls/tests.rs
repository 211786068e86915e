//! Handshakes over a pipe in memory, with certificates made on the spot.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::modbus::testing::pki::Authority;

async fn handshake(server: &Pem, client: &Pem) -> Result<Option<String>, String> {
    let (here, there) = tokio::io::duplex(8192);
    let acceptor = tokio_rustls::TlsAcceptor::from(Server::new(server).unwrap().0);
    let connector = tokio_rustls::TlsConnector::from(Client::new(client).unwrap().0);
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let serve = async {
        let mut stream = acceptor.accept(here).await.map_err(|error| error.to_string())?;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
        Ok(peer.and_then(|der| role(&der).map(str::to_owned)))
    };
    let call = async {
        if let Ok(mut stream) = connector.connect(name, there).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    tokio::join!(serve, call).0
}

#[tokio::test]
async fn both_sides_show_certificates_and_the_role_is_read() {
    let ours = Authority::new();
    let server = ours.issue(None);
    assert_eq!(handshake(&server, &ours.issue(Some("Operator"))).await, Ok(Some("Operator".to_owned())));
    assert_eq!(handshake(&server, &ours.issue(None)).await, Ok(None));
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_handshake() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let stranger = Pem { authorities: ours.pem(), ..theirs.issue(Some("Operator")) };
    assert!(handshake(&ours.issue(None), &stranger).await.is_err());
    // And the client trusts only its own authorities.
    let careful = Pem { authorities: theirs.pem(), ..ours.issue(Some("Operator")) };
    assert!(handshake(&ours.issue(None), &careful).await.is_err());
}

#[test]
fn files_that_are_wrong_are_named() {
    let authority = Authority::new();
    let good = authority.issue(None);
    for bad in [&b""[..], b"rubbish", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let error = |pem: Pem| (Server::new(&pem).unwrap_err(), Client::new(&pem).unwrap_err());
        let (server, client) = error(Pem { certificate: bad.to_vec(), ..good.clone() });
        assert!(matches!((server, client), (TlsError::Certificate(_), TlsError::Certificate(_))));
        let (server, client) = error(Pem { key: bad.to_vec(), ..good.clone() });
        assert!(matches!((server, client), (TlsError::Key(_), TlsError::Key(_))));
        let (server, client) = error(Pem { authorities: bad.to_vec(), ..good.clone() });
        assert!(matches!((server, client), (TlsError::Authorities(_), TlsError::Authorities(_))));
    }
    let mixed = Pem { key: authority.issue(None).key, ..good };
    assert!(matches!(Server::new(&mixed), Err(TlsError::Unfit(_))), "a key of another certificate");
}
