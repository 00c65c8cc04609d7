use super::*;
use crate::logs::Format;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Server {
    fn start(table: Table) -> Self {
        let listeners = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let server = Self { address: listeners[0].local_addr().unwrap(), shutdown: Shutdown::new() };
        tokio::spawn(serve(listeners, table, server.shutdown.clone()));
        server
    }

    /// Sends it on a connection of its own and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses a long body may close before all of it is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// The status, the head and the body.
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        let answer = self
            .raw(&format!(
                "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }
}

fn table() -> Table {
    Table::new()
        .get("/config_dump", "the configuration in force", |request: Request<Bytes>| async move {
            json(StatusCode::OK, format!("{{\"query\":{:?}}}", request.uri().query().unwrap_or_default()))
        })
        .post(
            "/drain",
            "start to drain",
            |request: Request<Bytes>| async move { text(StatusCode::OK, request.into_body()) },
        )
        .get("/drain", "is it draining", async |_| text(StatusCode::OK, "no\n"))
}

const INDEX: &str = "\
GET   /config_dump  the configuration in force
POST  /drain        start to drain
GET   /drain        is it draining
";

#[tokio::test]
async fn the_table_makes_the_routes_the_index_and_the_404() {
    let server = Server::start(table());
    let (status, head, body) = server.call("GET", "/config_dump?a=1", "").await;
    assert_eq!((status, body.as_str()), (200, r#"{"query":"a=1"}"#));
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(server.call("POST", "/drain", "now").await.2, "now");
    assert_eq!(server.call("GET", "/drain", "").await.2, "no\n");

    assert_eq!(server.call("GET", "/", "").await.2, INDEX);
    let (status, _, body) = server.call("GET", "/stats", "").await;
    assert_eq!((status, body), (404, format!("there is no /stats here; there is:\n{INDEX}")));
}

#[tokio::test]
async fn a_wrong_method_hears_the_right_ones() {
    let server = Server::start(table());
    for (method, path, allow) in [
        ("POST", "/config_dump", "allow: get\r\n"),
        ("PUT", "/drain", "allow: post, get\r\n"),
        ("POST", "/", "allow: get\r\n"),
    ] {
        let (status, head, _) = server.call(method, path, "").await;
        assert_eq!(status, 405);
        assert!(format!("{head}\r\n").contains(allow), "{head}");
    }
    let (status, head, body) = server.call("HEAD", "/drain", "").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-length: 3"), "{head}");
}

#[tokio::test]
async fn a_later_route_takes_the_place_of_an_earlier_one() {
    let server =
        Server::start(table().merge(Table::new().get("/drain", "other", async |_| text(StatusCode::OK, "other\n"))));
    assert_eq!(server.call("GET", "/drain", "").await.2, "other\n");
    assert_eq!(server.call("GET", "/", "").await.2.matches("/drain").count(), 2, "GET and POST");
}

#[tokio::test]
async fn a_body_may_have_64_kib() {
    let server = Server::start(table());
    let most = "x".repeat(BODY_LIMIT);
    let (status, _, body) = server.call("POST", "/drain", &most).await;
    assert_eq!((status, body.len()), (200, BODY_LIMIT));

    // Declared, and found out while reading.
    assert_eq!(server.call("POST", "/drain", &format!("{most}x")).await.0, 413);
    let chunk = format!("10001\r\n{most}x\r\n");
    let chunked = format!("POST /drain HTTP/1.1\r\nhost: admin\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
    assert!(server.raw(&chunked).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let readiness = Readiness::new();
    let gate = readiness.gate("certificate");
    let server = Server::start(health_routes(&readiness));
    let ready = async || {
        let (status, _, body) = server.call("GET", "/healthz/ready", "").await;
        (status, body)
    };
    assert_eq!(ready().await, (503, "not ready: certificate: not done yet\n".into()));
    assert_eq!(server.call("GET", "/healthz", "").await.0, 200);
    gate.open();
    assert_eq!(ready().await, (200, "ready\n".into()));
}

#[tokio::test]
async fn the_log_level_is_read_and_set() {
    let (_subscriber, level) = crate::logs::build("info", Format::Text, io::sink).unwrap();
    let server = Server::start(log_level_routes(&level));
    assert_eq!(server.call("GET", "/log_level", "").await.2, "info\n");
    let (status, _, body) = server.call("POST", "/log_level", "warn,kube=debug\n").await;
    assert_eq!((status, body.as_str(), level.get().as_str()), (200, "warn,kube=debug\n", "warn,kube=debug"));
    let (status, _, body) = server.call("POST", "/log_level", "loud").await;
    assert_eq!((status, level.get().as_str()), (400, "warn,kube=debug"));
    assert!(body.contains("off, error, warn, info, debug, trace"), "{body}");
}

/// Time is paused: it jumps as soon as nothing else is to do, which is when only a timeout is left.
#[tokio::test(start_paused = true)]
async fn slow_callers_lose_their_connection() {
    let server = Server::start(table());
    for (what, partial) in [
        ("says nothing", ""),
        ("half a head", "GET /drain HTTP/1.1\r\nhos"),
        ("half a body", "POST /drain HTTP/1.1\r\nhost: admin\r\ncontent-length: 10\r\n\r\nhalf"),
        ("idles after its request", "GET /drain HTTP/1.1\r\nhost: admin\r\n\r\n"),
    ] {
        let before = Instant::now();
        let answer = server.raw(partial).await;
        let took = before.elapsed();
        assert!(took >= READ_TIMEOUT && took < READ_TIMEOUT * 3, "{what}: {took:?}");
        assert_eq!(answer.contains(" 408 "), what == "half a body", "{what}: {answer}");
    }
}

#[tokio::test]
async fn shutdown_finishes_the_answer_under_way() {
    let (entered_tx, mut entered) = tokio::sync::mpsc::channel::<()>(1);
    let go = Arc::new(tokio::sync::Notify::new());
    let server = Server::start(Table::new().get("/slow", "", {
        let go = Arc::clone(&go);
        move |_| {
            let (entered_tx, go) = (entered_tx.clone(), Arc::clone(&go));
            async move {
                entered_tx.send(()).await.unwrap();
                go.notified().await;
                text(StatusCode::OK, "done\n")
            }
        }
    }));
    let call = server.raw("GET /slow HTTP/1.1\r\nhost: admin\r\n\r\n");
    let (answer, ()) = tokio::join!(call, async {
        entered.recv().await.unwrap();
        server.shutdown.trigger();
        go.notify_one();
    });
    assert!(answer.ends_with("done\n"), "{answer}");
}
