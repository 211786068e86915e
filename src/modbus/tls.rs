//! TLS for Modbus, as "MODBUS/TCP Security Protocol Specification v36" wants it: 1.2 or newer, both sides show a
//! certificate, and the peer's role stands in its certificate. File contents are passed in; the vendor's types stay in
//! this room.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

mod role;

pub use role::role;

/// Contents of PEM files.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Our certificate, and those between it and the authority.
    pub certificate: Vec<u8>,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, unencrypted.
    pub key: Vec<u8>,
    /// The authorities whose certificates peers must show.
    pub authorities: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// Why certificates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file of our certificate.
    #[error("no certificate in PEM: {0}")]
    Certificate(String),
    /// The file of its key.
    #[error("no private key in PEM: {0}")]
    Key(String),
    /// The file of the authorities.
    #[error("no authority's certificate in PEM: {0}")]
    Authorities(String),
    /// They do not belong together, or are of a kind that is not supported.
    #[error("{0}")]
    Unfit(String),
}

/// What a server needs: it asks every client for a certificate of one of the authorities, and ends the handshake
/// without one.
#[derive(Debug, Clone)]
pub struct Server(pub(super) Arc<ServerConfig>);

impl Server {
    /// From file contents.
    pub fn new(pem: &Pem) -> Result<Self, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(pem)?), provider())
            .build()
            .map_err(|error| TlsError::Authorities(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(pem)?, key(pem)?)
            .map_err(unfit)?;
        Ok(Self(Arc::new(config)))
    }
}

/// What a client needs: it shows its certificate, and the server's must be of one of the authorities and name the host.
#[derive(Debug, Clone)]
pub struct Client(pub(super) Arc<ClientConfig>);

impl Client {
    /// From file contents.
    pub fn new(pem: &Pem) -> Result<Self, TlsError> {
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(pem)?), provider())
                .build()
                .map_err(|error| TlsError::Authorities(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(unfit)?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(certificates(pem)?, key(pem)?)
            .map_err(unfit)?;
        Ok(Self(Arc::new(config)))
    }
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unfit(error: rustls::Error) -> TlsError {
    TlsError::Unfit(error.to_string())
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.certificate).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Certificate("the file has none".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Certificate(error.to_string())),
    }
}

fn key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| TlsError::Key(error.to_string()))
}

fn authorities(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem.authorities) {
        let certificate = certificate.map_err(|error| TlsError::Authorities(error.to_string()))?;
        roots.add(certificate).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Authorities("the file has none".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
