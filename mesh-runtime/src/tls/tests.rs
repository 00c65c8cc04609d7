use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

const NAME: &str = "outrigger-injector.outrigger-system.svc";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { pem: params.self_signed(&key).unwrap().pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for [`NAME`] and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([NAME.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn client(&self, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(certificates(self.pem.as_bytes()).unwrap().remove(0)).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// Serves a connection: its ALPN protocol, then the end.
fn start(resolver: &CertResolver, limits: Limits) -> (SocketAddr, Shutdown) {
    let listeners = crate::listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let shutdown = Shutdown::new();
    let config = server_config(resolver.clone(), &["h2", "http/1.1"]);
    tokio::spawn(serve_tls(listeners, config, limits, shutdown.clone(), |mut stream, _| async move {
        let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        let _ = stream.write_all(&protocol).await;
        let _ = stream.shutdown().await;
    }));
    (address, shutdown)
}

async fn call(address: SocketAddr, client: &TlsConnector) -> io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = client.connect(NAME.try_into().unwrap(), stream).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn a_new_certificate_is_served_from_the_next_handshake_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let resolver = CertResolver::new();
    let (address, _shutdown) = start(&resolver, Limits::default());
    assert!(call(address, &old.client(&["h2"])).await.is_err(), "there is no certificate yet");
    assert!(!resolver.is_loaded());

    let (cert, key) = old.issue();
    resolver.replace_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!(call(address, &old.client(&["h2"])).await.unwrap(), "h2");
    assert_eq!(call(address, &old.client(&["http/1.1"])).await.unwrap(), "http/1.1");
    assert_eq!(call(address, &old.client(&[])).await.unwrap(), "");

    let (cert, key) = new.issue();
    resolver.replace_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    assert!(call(address, &old.client(&[])).await.is_err(), "the old root doesn't know the new certificate");
    assert_eq!(call(address, &new.client(&["h2"])).await.unwrap(), "h2");
}

#[tokio::test]
async fn a_certificate_that_is_refused_leaves_the_one_before_in_service() {
    let authority = Authority::new();
    let resolver = CertResolver::new();
    let (cert, key) = authority.issue();
    let (other_cert, _) = authority.issue();
    resolver.replace_pem(cert.as_bytes(), key.as_bytes()).unwrap();

    let refused = |cert: &str, key: &str| resolver.replace_pem(cert.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(refused(&other_cert, &key), TlsError::Mismatch(_)));
    assert!(matches!(refused("", &key), TlsError::NoCertificate));
    assert!(matches!(refused(&cert, ""), TlsError::KeyPem(_)));
    assert!(matches!(refused(&cert, &cert), TlsError::KeyPem(_)));
    assert!(matches!(refused(&cert[..cert.len() - 30], &key), TlsError::CertificatePem(_) | TlsError::NoCertificate));

    let (address, _shutdown) = start(&resolver, Limits::default());
    assert_eq!(call(address, &authority.client(&["h2"])).await.unwrap(), "h2");
}

#[tokio::test]
async fn a_caller_that_never_finishes_its_handshake_loses_its_place() {
    let authority = Authority::new();
    let resolver = CertResolver::new();
    let (cert, key) = authority.issue();
    resolver.replace_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    // Room for one: while the silent caller has it, nobody else gets in.
    let limits = Limits { handshake: Duration::from_secs(1), connections: 1, ..Limits::default() };
    let (address, shutdown) = start(&resolver, limits);

    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(call(address, &authority.client(&["h2"])).await.unwrap(), "h2");
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "closed");

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(call(address, &authority.client(&["h2"])).await.unwrap(), "h2");

    shutdown.trigger();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_chain_is_checked_for_root_name_and_time() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (cert, key) = authority.issue();
    let check = |roots: &str, name: &str, year: u64| {
        let at = Duration::from_secs((year - 1970) * 31_556_952);
        check_chain(cert.as_bytes(), roots.as_bytes(), &[name.to_owned()], at)
    };
    check(&authority.pem, NAME, 2026).unwrap();
    check(&format!("{}{}", stranger.pem, authority.pem), NAME, 2026).unwrap();
    let error = check(&authority.pem, "other.svc", 2026).unwrap_err().to_string();
    assert!(error.starts_with("the certificate isn't valid for other.svc: "), "{error}");
    assert!(check(&authority.pem, "no name", 2026).is_err());
    assert!(check(&stranger.pem, NAME, 2026).is_err());
    assert!(check(&authority.pem, NAME, 1971).is_err(), "rcgen's default begins in 1975");
    assert!(check("", NAME, 2026).is_err());

    check_root(format!("{}{}", stranger.pem, authority.pem).as_bytes()).unwrap();
    assert!(check_root(b"-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n").is_err());

    check_key(cert.as_bytes(), key.as_bytes()).unwrap();
    check_key(authority.pem.as_bytes(), authority.issuer.key().serialize_pem().as_bytes()).unwrap();
    assert!(check_key(authority.pem.as_bytes(), key.as_bytes()).is_err());
}
