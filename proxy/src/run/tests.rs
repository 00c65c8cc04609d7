use super::*;
use crate::testing::{TempDir, To, Written, application, call, options};
use mesh_config::pod::{Probe, ProbeKind};
use mesh_config::settings::{AccessLogFormat, ProxySettings};
use mesh_config::{Duration as Span, Settings};
use serde_json::{Value, json};

struct Bench {
    addresses: Addresses,
    admin: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
    shutdown: Shutdown,
    log: Written,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Bench {
    /// A whole proxy on free ports, whose every connection was going to `application`.
    fn start(directory: &TempDir, application: SocketAddr) -> Bench {
        let probe = Probe {
            container: "web".into(),
            kind: ProbeKind::ReadinessProbe,
            timeout_seconds: 1,
            handler: json!({"httpGet": {"port": application.port(), "path": "/healthz"}}),
        };
        let proxy = ProxySettings {
            access_log: AccessLogFormat::Json,
            drain_duration: Span::from_secs(5),
            ..ProxySettings::default()
        };
        let settings = Settings { proxy, probes: vec![probe], ..Settings::default() };
        let any = vec!["127.0.0.1:0".parse().unwrap()];
        let listen = Listen {
            outbound: any.clone(),
            inbound: any.clone(),
            admin: any.clone(),
            metrics: any.clone(),
            health: any,
        };
        let options = options(directory.path(), settings);
        let proxy = Proxy::bind(options, listen, Arc::new(To(application))).unwrap();
        let addresses = proxy.addresses().clone();
        let [admin, metrics, health] = proxy.pages().unwrap();
        let (shutdown, log) = (Shutdown::new(), Written::default());
        let task = tokio::spawn(proxy.run(shutdown.clone(), None, log.clone()));
        Bench { addresses, admin, metrics, health, shutdown, log, task }
    }

    async fn ready(&self, wanted: bool) {
        timeout(Duration::from_secs(60), async {
            while (call(self.health, "GET", "/healthz/ready").await.0 == 200) != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("readiness");
    }
}

#[tokio::test]
async fn from_the_first_document_to_the_last_line_of_the_log() {
    let dir = TempDir::new();
    let (application, mut asked) = application("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let bench = Bench::start(&dir, application);
    assert_eq!(call(bench.health, "GET", "/healthz").await.0, 200, "alive before it is ready");
    bench.ready(false).await;
    dir.write("proxy.json", r#"{"version": 1}"#);
    bench.ready(true).await;

    for port in [&bench.addresses.inbound, &bench.addresses.outbound] {
        assert_eq!(call(port[0], "GET", "/a?token=1").await, (200, "hello".into()));
        let (_, head) = asked.recv().await.unwrap();
        assert!(head.starts_with("GET /a?token=1 HTTP/1.1\r\n"), "{head}");
    }
    let (status, page) = call(bench.metrics, "GET", "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"outrigger_requests_total{direction="inbound",destination_service="",server_port="other",route="",cluster="",network_protocol_version="1.1",rpc_system="",http_response_status_code="200",rpc_grpc_status_code="",response_flag=""} 1"#,
        r#"outrigger_config_reload_total{result="applied"} 1"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }

    let (status, page) = call(bench.admin, "GET", "/config_dump").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((status, &page["inForce"]["document"]["version"]), (200, &json!(1)));
    assert_eq!(call(bench.admin, "GET", "/config_dump/x").await.0, 404);

    assert_eq!(call(bench.metrics, "GET", "/app-probe/web/readinessProbe").await, (200, "ok\n".into()));
    assert!(asked.recv().await.unwrap().1.starts_with("GET /healthz HTTP/1.1\r\n"));

    assert_eq!(call(bench.admin, "POST", "/drain").await, (200, "draining\n".into()));
    bench.ready(false).await;
    assert_eq!(call(bench.addresses.inbound[0], "GET", "/late").await.0, 200, "still accepting");
    bench.shutdown.trigger();
    bench.task.await.unwrap().unwrap();

    let log: Vec<Value> = bench.log.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<&str> = log.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/a", "/a", "/late"]);
    assert!(log[1]["request_id"].as_str().is_some_and(|id| id.len() == 36), "made by the outbound side");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let dir = TempDir::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let any = vec!["127.0.0.1:0".parse().unwrap()];
    let listen =
        Listen { outbound: any.clone(), inbound: any.clone(), admin: any.clone(), metrics: any, health: vec![address] };
    let error = Proxy::bind(options(dir.path(), Settings::default()), listen, Arc::new(To(address))).err().unwrap();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
