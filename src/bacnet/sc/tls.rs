//! TLS 1.3 for BACnet/SC (Annex AB.7.4): both sides show a certificate of one of the site's authorities. File contents
//! are passed in.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Contents of PEM files.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Our operational certificate, and those between it and the authority.
    pub certificate: Vec<u8>,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, unencrypted.
    pub key: Vec<u8>,
    /// The authorities of the site's BACnet/SC nodes.
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

/// What a node needs to speak to a hub.
#[derive(Debug, Clone)]
pub struct Tls(pub(super) Arc<ClientConfig>);

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl Tls {
    /// From file contents. `named`: the hub's certificate must name the host of its URI, too; the standard does not ask
    /// for it, and certificates of the site's authorities often name a device instead.
    pub fn new(pem: &Pem, named: bool) -> Result<Self, TlsError> {
        let unfit = |error: Error| TlsError::Unfit(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(authorities(pem)?);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unfit)?;
        let builder = if named {
            let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider).build();
            builder.with_webpki_verifier(verifier.map_err(|error| TlsError::Authorities(error.to_string()))?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(OfTheSite { roots, provider }))
        };
        let config = builder.with_client_auth_cert(certificates(&pem.certificate)?, key(pem)?).map_err(unfit)?;
        Ok(Self(Arc::new(config)))
    }
}

/// The hub's certificate is of one of the site's authorities, for a server, and in its time; whatever its name is.
#[derive(Debug)]
struct OfTheSite {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfTheSite {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
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

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, constructed: the version of a certificate (RFC 5280, 4.1).
const VERSION: u8 = 0xA0;

/// Until when the first certificate in a PEM file is valid: year, month, day, hour, minute, second, UTC. `None` where
/// that cannot be read.
pub fn expiry(pem: &[u8]) -> Option<[u16; 6]> {
    let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let (_, certificate, _) = element(&certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // serial number, signature algorithm, issuer
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, until) = element(validity)?;
    let (kind, text, _) = element(until)?;
    let digits =
        |from: usize, to: usize| -> Option<u16> { std::str::from_utf8(text.get(from..to)?).ok()?.parse().ok() };
    let (year, at) = match kind {
        // RFC 5280, 4.1.2.5.1
        UTC_TIME => (digits(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (digits(0, 4)?, 4),
        _ => return None,
    };
    let two = |place: usize| digits(at + 2 * place, at + 2 * place + 2);
    (tag == SEQUENCE).then_some([year, two(0)?, two(1)?, two(2)?, two(3)?, two(4)?])
}

/// Tag, content, and what follows, of one element of DER (ITU-T X.690).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}
