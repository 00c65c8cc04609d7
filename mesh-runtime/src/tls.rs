//! TLS for servers: a certificate that is replaced while connections come in, and the accept loop.
//!
//! The provider is aws-lc-rs and named everywhere, so nothing depends on what the process installed. A certificate
//! only goes into service when its key matches; the one before stays otherwise. Clients aren't asked for certificates
//! here: mutual TLS is the proxy's, where identity is the point.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::signals::Shutdown;

/// Why a certificate wasn't taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates can't be read.
    #[error("the certificate isn't PEM: {0}")]
    CertificatePem(pem::Error),
    /// There is no certificate in the PEM text.
    #[error("no CERTIFICATE section in the certificate's PEM")]
    NoCertificate,
    /// The key can't be read.
    #[error("the private key isn't PEM: {0}")]
    KeyPem(pem::Error),
    /// The key is of no kind that we can sign with.
    #[error("the private key can't be used: {0}")]
    Key(rustls::Error),
    /// The key is of another certificate.
    #[error("private key and certificate don't belong together: {0}")]
    Mismatch(rustls::Error),
    /// None of the roots can be used.
    #[error("no usable root certificate: {0}")]
    Roots(String),
    /// Whoever trusts the roots wouldn't accept the certificate.
    #[error("the certificate isn't valid for {name}: {reason}")]
    Chain {
        /// For which name.
        name: String,
        /// Why not.
        reason: rustls::Error,
    },
}

/// Makes aws-lc-rs the process's default for libraries that ask for one (kube does). Calling it again changes nothing.
pub fn install_provider() {
    // An error means that one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificate in service. Clones share it, so one half of a program can replace what the other half serves.
#[derive(Clone, Debug, Default)]
pub struct CertResolver {
    current: Arc<ArcSwapOption<CertifiedKey>>,
}

impl CertResolver {
    /// Nothing yet: handshakes fail until the first [`replace_pem`](Self::replace_pem).
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves this certificate (with its chain) from the next handshake on. On an error the one before stays.
    pub fn replace_pem(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.current.store(Some(Arc::new(certified_key(certificate, key)?)));
        Ok(())
    }

    /// Is there a certificate to serve?
    pub fn is_loaded(&self) -> bool {
        self.current.load().is_some()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

fn certified_key(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::KeyPem)?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(TlsError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(TlsError::Mismatch)?;
    Ok(certified)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::CertificatePem)?;
    if chain.is_empty() { Err(TlsError::NoCertificate) } else { Ok(chain) }
}

/// Is this the key of this certificate (the first one, if there are several)?
pub fn check_key(certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
    certified_key(certificate, key).map(drop)
}

/// Can these certificates be trusted at all? (Every one must be usable as a root.)
pub fn check_root(roots: &[u8]) -> Result<(), TlsError> {
    root_store(roots).map(drop)
}

fn root_store(roots: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in certificates(roots)? {
        store.add(root).map_err(|error| TlsError::Roots(error.to_string()))?;
    }
    Ok(store)
}

/// Would a client that trusts `roots` accept `certificate` for each of these names, at that time (since 1970)?
pub fn check_chain(certificate: &[u8], roots: &[u8], names: &[String], at: Duration) -> Result<(), TlsError> {
    let chain = certificates(certificate)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(root_store(roots)?), provider())
        .build()
        .map_err(|error| TlsError::Roots(error.to_string()))?;
    let (leaf, intermediates) = chain.split_first().ok_or(TlsError::NoCertificate)?;
    for name in names {
        let wrong = |reason| TlsError::Chain { name: name.clone(), reason };
        let server = ServerName::try_from(name.as_str()).map_err(|e| wrong(rustls::Error::General(e.to_string())))?;
        verifier
            .verify_server_cert(leaf, intermediates, &server, &[], UnixTime::since_unix_epoch(at))
            .map_err(wrong)?;
    }
    Ok(())
}

/// TLS 1.3 and 1.2, the resolver's certificate, these protocols in this order (`["h2", "http/1.1"]`; none: no ALPN).
pub fn server_config(resolver: CertResolver, alpn: &[&str]) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("aws-lc-rs has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What [`serve_tls`] grants its callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the whole handshake.
    pub handshake: Duration,
    /// Connections at a time, on all listeners together, handshakes included; more wait in the kernel's queue.
    pub connections: usize,
    /// How long open connections may stay once shutdown was asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { handshake: Duration::from_secs(10), connections: 1024, drain: Duration::from_secs(10) }
    }
}

/// Accepts until `shutdown`, one task per connection; a handshake that fails ends that connection only.
///
/// What `serve` is given has no timeouts: it sets its own, and closes its connection when it sees `shutdown` itself.
/// Listeners come from [`listen::bind`](crate::listen::bind).
pub async fn serve_tls<F, Fut>(
    listeners: Vec<TcpListener>,
    config: Arc<ServerConfig>,
    limits: Limits,
    shutdown: Shutdown,
    serve: F,
) -> io::Result<()>
where
    F: Fn(TlsStream<TcpStream>, SocketAddr) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(config);
    crate::listen::serve(listeners, limits.connections, limits.drain, &shutdown, move |stream, peer| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            match timeout(limits.handshake, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve(stream, peer).await,
                // A connection that says nothing is a probe or a scan.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tracing::debug!(%peer, %error, "no TLS handshake");
                }
                Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
