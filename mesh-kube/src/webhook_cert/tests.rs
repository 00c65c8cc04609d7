//! Whole life cycles against a fake API server, judged by real TLS handshakes of a client that trusts what the
//! configuration says, at the time that the test says.

use super::*;
use crate::fake_api::FakeApi;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::tls;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "outrigger-injector.outrigger-system.svc";
const SECRET: &str = "/api/v1/namespaces/outrigger-system/secrets/outrigger-injector-tls";
const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/outrigger-injector";

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Runs with tokio's time, and can be set forward by months.
#[derive(Clone, Debug)]
struct Clock {
    begin: Timestamp,
    started: Instant,
    ahead: Arc<Mutex<SignedDuration>>,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.begin + self.started.elapsed() + *self.ahead.lock().unwrap()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.now().as_second().try_into().unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

struct Cluster {
    server: FakeApi,
    clock: Clock,
}

struct Replica {
    resolver: CertResolver,
    readiness: Readiness,
    client: usize,
}

impl Cluster {
    /// With a configuration, as `kubectl replace` leaves it: without a caBundle.
    fn new() -> Self {
        let clock = Clock { begin: Timestamp::now(), started: Instant::now(), ahead: Arc::default() };
        let cluster = Self { server: FakeApi::new(), clock };
        cluster.install();
        cluster
    }

    fn install(&self) {
        let webhook = json!({"name": "pod.outrigger.dev", "clientConfig": {"service": {"name": "outrigger-injector"}}});
        let api = "admissionregistration.k8s.io/v1";
        let configuration = json!({"apiVersion": api, "kind": "MutatingWebhookConfiguration", "webhooks": [webhook]});
        self.server.put(CONFIGURATION, configuration);
    }

    fn start(&self) -> Replica {
        self.start_for(NAME)
    }

    fn start_for(&self, name: &str) -> Replica {
        let (client, number) = self.server.numbered_client();
        let replica = Replica { resolver: CertResolver::new(), readiness: Readiness::new(), client: number };
        let want = WebhookCert {
            namespace: "outrigger-system".into(),
            secret: "outrigger-injector-tls".into(),
            dns_names: vec![name.into()],
            configurations: vec![ConfigurationRef::Mutating("outrigger-injector".into())],
        };
        let (gate, clock) = (replica.readiness.gate("certificate"), self.clock.clone());
        tokio::spawn(want.run_by(client, replica.resolver.clone(), gate, Shutdown::new(), move || clock.now()));
        replica
    }

    /// Sets the clock forward, and gives everybody the time to look twice.
    async fn later(&self, time: SignedDuration) {
        *self.clock.ahead.lock().unwrap() += time;
        sleep(POLL * 2).await;
    }

    fn bundle(&self) -> String {
        let configuration = self.server.get(CONFIGURATION).expect("a configuration");
        let encoded = &configuration["webhooks"][0]["clientConfig"]["caBundle"];
        let bytes: ByteString = serde_json::from_value(encoded.clone()).unwrap_or_default();
        String::from_utf8(bytes.0).unwrap()
    }

    fn set(&self) -> Set {
        secret::read(&serde_json::from_value(self.server.get(SECRET).expect("a Secret")).unwrap()).unwrap()
    }

    /// Whoever trusts `bundle` shakes hands with the replica; gives back the certificate that it showed.
    async fn handshake(&self, bundle: &str, replica: &Replica) -> Option<CertificateDer<'static>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(self.clock.clone()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let acceptor = TlsAcceptor::from(tls::server_config(replica.resolver.clone(), &[]));
        let connector = TlsConnector::from(Arc::new(config));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (client, _) = tokio::join!(connector.connect(NAME.try_into().unwrap(), ours), acceptor.accept(theirs));
        let shown = client.ok()?.get_ref().1.peer_certificates()?.first()?.clone().into_owned();
        Some(shown)
    }

    /// Would the API server get through, and would it see what the Secret says?
    async fn reaches(&self, replica: &Replica) -> bool {
        let expected = CertificateDer::from_pem_slice(self.set().leaf.certificate.as_bytes()).unwrap();
        self.handshake(&self.bundle(), replica).await == Some(expected)
    }

    /// Type and reason of all Events so far.
    fn events(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        let events = requests.filter(|asked| asked.method == "POST" && asked.path.ends_with("/events"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events.map(|asked| format!("{} {}", word(&asked.body["type"]), word(&asked.body["reason"]))).collect()
    }

    fn writes(&self) -> usize {
        self.server.requests().iter().filter(|asked| asked.method != "GET").count()
    }

    /// Follows what happens second by second: with today's bundle, and with the one of half a minute ago, which a slow
    /// API server may still use, every replica is reached.
    async fn nobody_fails_for(&self, time: Duration, replicas: &[Replica]) {
        let end = Instant::now() + time;
        let mut bundles = vec![self.bundle(); 30];
        while Instant::now() < end {
            for replica in replicas {
                for bundle in [&bundles[0], bundles.last().unwrap()] {
                    assert!(self.handshake(bundle, replica).await.is_some(), "{:?}", self.set());
                }
            }
            sleep(Duration::from_secs(1)).await;
            bundles.remove(0);
            bundles.push(self.bundle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn from_nothing_to_a_handshake() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    assert!(!replica.readiness.is_ready());
    cluster.later(SECOND).await;
    assert_eq!(replica.readiness.report(), "ready\n");
    assert!(cluster.reaches(&replica).await);
    assert_eq!(cluster.server.get(SECRET).unwrap()["type"], "Opaque");
    assert_eq!(cluster.events(), ["Normal Created"]);

    let before = cluster.writes();
    cluster.later(DAY).await;
    assert_eq!(cluster.writes(), before, "nothing more to write");
}

#[tokio::test(start_paused = true)]
async fn all_replicas_serve_what_one_of_them_wrote() {
    let cluster = Cluster::new();
    let replicas: Vec<Replica> = (0..3).map(|_| cluster.start()).collect();
    cluster.later(SECOND).await;
    for replica in &replicas {
        assert!(replica.readiness.is_ready() && cluster.reaches(replica).await);
    }
    assert_eq!(cluster.events(), ["Normal Created"], "the others lost the race");
}

#[tokio::test(start_paused = true)]
async fn a_leaf_is_renewed_after_two_thirds_by_the_same_ca() {
    let cluster = Cluster::new();
    let replicas = [cluster.start(), cluster.start()];
    cluster.later(SECOND).await;
    let before = cluster.set();
    cluster.later(DAY * 59).await;
    assert_eq!(cluster.set(), before);
    cluster.later(DAY).await;
    let after = cluster.set();
    assert!(after.ca == before.ca && after.leaf != before.leaf);
    assert_eq!(cluster.events(), ["Normal Created", "Normal Renewed"]);
    for replica in &replicas {
        assert!(cluster.reaches(replica).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_ca_comes_without_a_failed_call() {
    let cluster = Cluster::new();
    let replicas = [cluster.start(), cluster.start()];
    cluster.later(SECOND).await;
    let old = cluster.set();
    // Years in which the leaf was renewed every 60 days.
    *cluster.clock.ahead.lock().unwrap() = DAY * (365 * 10 * 2 / 3 - 1);
    cluster.later(SECOND).await;
    assert!(cluster.set().ca == old.ca && cluster.set().leaf != old.leaf);

    *cluster.clock.ahead.lock().unwrap() += DAY * 2;
    cluster.nobody_fails_for(Duration::from_secs(300), &replicas).await;
    let switched = cluster.set();
    assert!(switched.ca != old.ca);
    assert_eq!(cluster.bundle(), format!("{}{}", switched.ca.certificate, old.ca.certificate));
    cluster.later(DAY).await;
    assert_eq!(cluster.bundle(), switched.ca.certificate);
    cluster.nobody_fails_for(Duration::from_secs(60), &replicas).await;
    let reasons = ["Created", "Renewed", "CaIntroduced", "CaSwitched", "OldCaDropped"];
    assert_eq!(cluster.events(), reasons.map(|reason| format!("Normal {reason}")));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_deletes_or_breaks_costs_no_call() {
    let cluster = Cluster::new();
    let replicas = [cluster.start(), cluster.start()];
    cluster.later(SECOND).await;

    cluster.server.delete(SECRET);
    cluster.nobody_fails_for(Duration::from_secs(200), &replicas).await;
    cluster.later(DAY).await;
    assert_eq!(
        cluster.events(),
        ["Normal Created", "Warning CaIntroduced", "Normal CaSwitched", "Normal OldCaDropped"]
    );

    let mut broken = cluster.server.get(SECRET).unwrap();
    broken["data"]["tls.key"] = "Z2FyYmFnZQ==".into();
    cluster.server.put(SECRET, broken);
    sleep(Duration::from_secs(1)).await;
    cluster.nobody_fails_for(Duration::from_secs(200), &replicas).await;
    assert!(matches!(cluster.set().rotation, material::Rotation::Retiring { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_broken_secret_that_nobody_remembers_is_made_anew() {
    let cluster = Cluster::new();
    let data = json!({"tls.crt": "Z2FyYmFnZQ=="});
    cluster
        .server
        .put(SECRET, json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data}));
    let replica = cluster.start();
    cluster.later(SECOND).await;
    assert!(replica.readiness.is_ready() && cluster.reaches(&replica).await);
    assert_eq!(cluster.events(), ["Warning Created"]);
    let note = cluster.server.requests().iter().find_map(|asked| asked.body["note"].as_str().map(str::to_owned));
    assert_eq!(note.unwrap(), "made a new CA and a new certificate (the Secret was broken: ca.crt is missing)");
    assert_eq!(cluster.server.get(SECRET).unwrap()["type"], "kubernetes.io/tls", "a type can't be changed");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_loses_its_bundle_gets_it_back_at_once() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    cluster.later(SECOND).await;
    for _ in 0..2 {
        cluster.install();
        assert_eq!(cluster.bundle(), "");
        sleep(Duration::from_millis(100)).await;
        assert!(cluster.reaches(&replica).await, "by watching");
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_may_come_later() {
    let cluster = Cluster::new();
    cluster.server.delete(CONFIGURATION);
    let replica = cluster.start();
    cluster.later(SECOND).await;
    assert!(replica.readiness.is_ready());
    assert_eq!(cluster.server.get(CONFIGURATION), None, "it isn't ours to make");
    cluster.install();
    sleep(Duration::from_millis(100)).await;
    assert!(cluster.reaches(&replica).await);
}

#[tokio::test(start_paused = true)]
async fn not_ready_before_the_configuration_could_be_written_and_the_report_says_why() {
    let cluster = Cluster::new();
    cluster.server.answer_with(|asked| {
        (asked.method == "PATCH" && asked.path == CONFIGURATION).then_some((403, "cannot patch resource"))
    });
    let replica = cluster.start();
    cluster.later(SECOND).await;
    assert_eq!(
        replica.readiness.report(),
        format!(
            "not ready: certificate: cannot write {CONFIGURATION} as outrigger-webhook-ca: \
             cannot patch resource (Forbidden, HTTP 403)\n"
        )
    );
    // What can be done is done all the same.
    let before = cluster.set();
    cluster.later(DAY * 61).await;
    assert!(cluster.set().leaf != before.leaf);

    cluster.server.answer_with(|_| None);
    cluster.later(SECOND).await;
    assert!(replica.readiness.is_ready() && cluster.reaches(&replica).await);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_away_takes_nothing_with_it() {
    let cluster = Cluster::new();
    let replica = cluster.start();
    cluster.later(SECOND).await;
    for outage in [true, false] {
        cluster.server.cut_off(replica.client, outage);
        cluster.later(DAY).await;
        assert!(replica.readiness.is_ready() && cluster.reaches(&replica).await);
    }
    cluster.server.answer_with(|_| Some((500, "etcd is away")));
    cluster.later(DAY).await;
    assert!(replica.readiness.is_ready() && cluster.reaches(&replica).await);
}

#[tokio::test(start_paused = true)]
async fn versions_that_want_different_names_share_a_certificate_during_an_update() {
    let cluster = Cluster::new();
    cluster.start_for("elsewhere.svc");
    cluster.later(SECOND).await;
    let before = cluster.set();
    let replica = cluster.start();
    cluster.later(SECOND).await;
    assert!(cluster.set().ca == before.ca);
    assert_eq!(cluster.set().names, [NAME, "elsewhere.svc"]);
    assert!(cluster.reaches(&replica).await);
    assert_eq!(cluster.events(), ["Normal Created", "Normal Renewed"], "neither takes the other's name out again");
}
