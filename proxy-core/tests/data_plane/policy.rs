use crate::support::*;
use serde_json::{Value, json};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn deny(to: Value) -> Value {
    let rules = json!([{"name": "no", "action": "Deny", "to": [to]}]);
    layer(json!({"authorization": {"rules": rules}}))
}

#[tokio::test]
async fn a_denied_request_gets_403_and_the_next_one_on_the_same_connection_may_pass() {
    within(async {
        let proxy = Proxy::new(&deny(json!({"paths": [{"value": "/admin"}]})), echo_app().await);
        let mut caller = http1_caller(proxy.inbound).await;
        let denied = read(caller.send_request(get("/admin/users")).await.unwrap()).await;
        assert_eq!(
            (denied.status, denied.text.as_str()),
            (403, "outrigger: access denied by an authorization policy (RBAC)\n")
        );
        assert!(!denied.headers.contains_key("x-outrigger-undelivered"), "denied is not undelivered");
        caller.ready().await.unwrap();
        assert_eq!(read(caller.send_request(get("/other")).await.unwrap()).await.status, 200);
        proxy.until(|proxy| proxy.metric("outrigger_authorization_total", &["deny", "no", "enforce"]) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_denied_to_grpc_is_permission_denied() {
    within(async {
        let proxy = Proxy::new(&deny(json!({"methods": ["POST"]})), closed_port().await);
        let mut asked = request("POST", "http://called.shop/shop.Called/Ask", "");
        asked.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = http2_caller(proxy.inbound).await.send_request(asked).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &"7".parse().unwrap()));
    })
    .await;
}

#[tokio::test]
async fn a_denied_connection_is_reset_before_anything_is_opened() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::new(&layer(json!({"authorization": {"default": "Deny"}})), app);
        let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
        stream.write_all(b"\0\x01\x02").await.unwrap();
        assert!(was_reset(&mut stream).await);
        proxy.until(|proxy| proxy.metric("outrigger_opaque_connections_closed_total", &["flag=\"RBAC\""]) == 1).await;
        let nobody = std::future::poll_fn(|cx| std::task::Poll::Ready(listener.poll_accept(cx).is_pending())).await;
        assert!(nobody, "the application hasn't heard of it");
    })
    .await;
}

#[tokio::test]
async fn a_silent_client_that_may_only_speak_http_opens_nothing_but_may_still_speak() {
    within(async {
        let rules = json!([{"name": "reads", "action": "Allow", "to": [{"methods": ["GET"]}]}]);
        let document = layer(json!({"authorization": {"rules": rules}, "protocol": {"detectTimeout": "0s"}}));
        let proxy = Proxy::new(&document, echo_app().await);
        let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
        // judged as a connection it isn't allowed, so it is waited for; by then it is in the worker's hands
        proxy.until(|proxy| proxy.handle.connections() == [1]).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    })
    .await;
}

#[tokio::test]
async fn what_is_open_is_authorised_again_when_the_configuration_changes() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut opaque = TcpStream::connect(proxy.inbound).await.unwrap();
        opaque.write_all(b"\0").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 0);

        // another document that still allows it cuts nothing
        proxy.update(&deny(json!({"ports": [1]})));
        opaque.write_all(b"x").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');

        proxy.update(&layer(json!({"authorization": {"default": "Deny"}})));
        assert!(was_reset(&mut opaque).await);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn requests_on_an_open_connection_see_the_configuration_in_force() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut caller = http1_caller(proxy.inbound).await;
        for (document, status) in [
            (deny(json!({"ports": [1]})), 200),
            (layer(json!({"authorization": {"default": "Deny"}})), 403),
            (json!({"version": 1}), 200),
        ] {
            proxy.update(&document);
            caller.ready().await.unwrap();
            assert_eq!(read(caller.send_request(get("/")).await.unwrap()).await.status, status);
        }
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_denies_nothing_and_is_counted() {
    within(async {
        let document = layer(json!({"dryRun": true, "authorization": {"default": "Deny"}}));
        let proxy = Proxy::new(&document, echo_app().await);
        assert_eq!(call(proxy.inbound, get("/")).await.status, 200);
        proxy.until(|proxy| proxy.metric("outrigger_authorization_total", &["deny", "dry_run"]) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn requests_are_shared_out_by_weight_and_a_dry_run_of_routes_is_counted() {
    within(async {
        let old = http1_app(|_| async { text(200, "old") }).await;
        let new = http1_app(|_| async { text(200, "new") }).await;
        let canary = json!([{"name": "canary", "backends": [{"cluster": "old", "weight": 90}, {"cluster": "new", "weight": 10}]}]);
        let mut document = service(old, json!({"routes": canary, "dryRunRoutes": []}));
        let cluster = |app: std::net::SocketAddr| json!({"endpoints": [{"addresses": [app.ip()], "port": app.port()}]});
        document["clusters"] = json!({"old": cluster(old), "new": cluster(new)});
        let proxy = Proxy::new(&document, called(old));
        let mut caller = http1_caller(proxy.outbound).await;
        let mut new = 0;
        for _ in 0..2000 {
            caller.ready().await.unwrap();
            new += usize::from(read(caller.send_request(get("/")).await.unwrap()).await.text == "new");
        }
        // 200 are expected; six standard deviations are 80
        assert!((120..280).contains(&new), "{new}");
        assert!(proxy.metric("outrigger_dry_run_routes_total", &[]) >= 1999, "{}", proxy.telemetry.metrics.encode());
    })
    .await;
}

#[tokio::test]
async fn a_backend_without_endpoints_answers_500() {
    within(async {
        let app = closed_port().await;
        let mut document = service(app, json!({}));
        document["clusters"]["app"]["endpoints"] = json!([]);
        let proxy = Proxy::new(&document, called(app));
        let got = call(proxy.outbound, get("/")).await;
        assert_eq!(
            (got.status, got.text.as_str()),
            (500, "outrigger: the backend has no endpoint of this address family (UH)\n")
        );
    })
    .await;
}

#[tokio::test]
async fn without_any_document_every_connection_is_reset() {
    within(async {
        let app = echo_app().await;
        let proxy = Proxy::without_document(1, Some(app));
        for entry in [proxy.outbound, proxy.inbound] {
            let answer = raw(entry, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
        proxy.update(&json!({"version": 1}));
        assert_eq!(call(proxy.inbound, get("/")).await.status, 200);
    })
    .await;
}
