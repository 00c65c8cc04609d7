use crate::support::*;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use proxy_core::addr;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_request_passes_out_with_its_host_and_an_id_and_without_hop_by_hop_fields() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut asked = request("POST", "/a?b=c", "hello");
        asked.headers_mut().insert("connection", "x-hop".parse().unwrap());
        asked.headers_mut().insert("x-hop", "1".parse().unwrap());
        asked.headers_mut().insert("x-forwarded-for", "10.0.0.9".parse().unwrap());
        let got = call(proxy.outbound, asked).await;
        assert_eq!(got.status, 200);
        let mut lines: Vec<_> = got.text.lines().filter(|line| !line.starts_with("x-request-id: ")).collect();
        assert_eq!(lines.len(), got.text.lines().count() - 1, "one id: {}", got.text);
        lines[1..].sort_unstable();
        assert_eq!(
            lines,
            [
                "POST /a?b=c HTTP/1.1",
                "",
                "content-length: 5",
                "hello",
                "host: called.shop",
                "x-forwarded-for: 10.0.0.9"
            ]
        );
        assert!(got.headers.get("connection").is_none(), "{:?}", got.headers);
    })
    .await;
}

#[tokio::test]
async fn a_request_passes_in_from_the_passthrough_address_and_without_a_forged_identity() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut asked = get("/");
        asked.headers_mut().insert("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/a/sa/b".parse().unwrap());
        asked.headers_mut().insert("x-outrigger-peer", "admin".parse().unwrap());
        let calling = tokio::spawn(call(proxy.inbound, asked));
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.ip(), mesh_config::names::PASSTHROUGH_V4);
        let head = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(calling.await.unwrap().status, 204);
        assert!(head.starts_with("GET / HTTP/1.1\r\n") && !head.contains("x-"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    within(async {
        let connections = Arc::new(AtomicUsize::new(0));
        let (listener, app) = listen().await;
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    while !read_head(&mut stream).await.is_empty() {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                    }
                });
            }
        });
        let proxy = Proxy::plain(app);
        for _ in 0..3 {
            let mut caller = http1_caller(proxy.outbound).await;
            for _ in 0..5 {
                caller.ready().await.unwrap();
                assert_eq!(read(caller.send_request(get("/")).await.unwrap()).await.text, "ok");
            }
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1, "all callers share what is idle");
    })
    .await;
}

#[tokio::test]
async fn a_large_body_streams_both_ways() {
    within(async {
        let app = http1_app(|request| async {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            text(200, body)
        })
        .await;
        let proxy = Proxy::plain(app);
        let body: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut caller = http1_caller(proxy.inbound).await;
        let response = caller.send_request(request("PUT", "/", body.clone())).await.unwrap();
        assert!(response.into_body().collect().await.unwrap().to_bytes() == body);
    })
    .await;
}

#[tokio::test]
async fn a_request_without_exactly_one_host_is_refused_by_us() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        for bad in [
            "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        ] {
            let answer = raw(proxy.outbound, bad.as_bytes()).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(answer.ends_with("outrigger: the request is not valid HTTP (DPE)\n"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn http_1_0_becomes_http_1_1_and_is_answered_as_it_asked() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let answer = raw(proxy.outbound, b"GET /old HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.contains("GET /old HTTP/1.1\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_body_of_unknown_length_and_its_trailers_pass() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 3\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            read_head(&mut stream).await;
        });
        let mut asked = get("/");
        asked.headers_mut().insert("te", "trailers".parse().unwrap());
        let response = http1_caller(proxy.outbound).await.send_request(asked).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "3");
        assert_eq!(body.to_bytes(), "abc");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_waited_for_is_asked_for() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream
            .write_all(
                b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n",
            )
            .await
            .unwrap();
        assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\nbody"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_websocket_passes_in_both_directions_and_through_both_proxies() {
    within(async {
        let app = http1_app(|mut request| async move {
            assert_eq!(request.headers()["connection"], "upgrade");
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut word = [0; 4];
                io.read_exact(&mut word).await.unwrap();
                io.write_all(&word.map(|byte| byte.to_ascii_uppercase())).await.unwrap();
                io.shutdown().await.unwrap();
            });
            let mut response = text(101, "");
            response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            response
        })
        .await;
        let called = Proxy::plain(app);
        let calling = Proxy::plain(called.inbound);
        let mut asked = get("/chat");
        asked.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        asked.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        let response = http1_caller(calling.outbound).await.send_request(asked).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["upgrade"]), (101, &"websocket".parse().unwrap()));
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        io.write_all(b"ping").await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "PING");
        drop(io);
        called.until(|proxy| proxy.handle.in_flight() == 0).await;
        calling.until(|proxy| proxy.metric("outrigger_requests_total", &["status_code=\"101\""]) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_to_http2_is_not_passed_on_so_that_every_request_is_judged() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut asked = get("/");
        asked.headers_mut().insert("connection", "Upgrade, HTTP2-Settings".parse().unwrap());
        asked.headers_mut().insert("upgrade", "h2c".parse().unwrap());
        asked.headers_mut().insert("http2-settings", "AAMAAABkAAQAAP__".parse().unwrap());
        let got = call(proxy.inbound, asked).await;
        assert_eq!(got.status, 200);
        assert!(!got.text.contains("upgrade") && !got.text.contains("http2-settings"), "{}", got.text);
    })
    .await;
}

#[tokio::test]
async fn connect_to_an_explicit_proxy_is_tunnelled() {
    within(async {
        let (listener, squid) = listen().await;
        let proxy = Proxy::plain(squid);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(read_head(&mut stream).await.starts_with("CONNECT example.com:443 HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\nbanner").await.unwrap();
            let mut said = [0; 5];
            stream.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"hello");
        });
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        stream.write_all(b"hello").await.unwrap();
        let mut banner = String::new();
        stream.read_to_string(&mut banner).await.unwrap();
        assert_eq!(banner, "banner");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    within(async {
        // without a length an orderly end would look like the end of the answer
        for head in ["content-length: 100\r\n", "transfer-encoding: chunked\r\n"] {
            let (listener, app) = listen().await;
            let proxy = Proxy::plain(app);
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n2\r\nab\r\n").as_bytes()).await.unwrap();
            });
            let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
            assert!(was_reset(&mut stream).await, "{head}");
            proxy.until(|proxy| proxy.metric("outrigger_requests_total", &["flag=\"UC\""]) == 1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_request_with_it() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut application, _) = listener.accept().await.unwrap();
        read_head(&mut application).await;
        drop(stream);
        assert_eq!(application.read(&mut [0]).await.unwrap(), 0, "the application hears that nobody waits");
        proxy.until(|proxy| proxy.metric("outrigger_requests_total", &["flag=\"DC\""]) == 1).await;
        assert_eq!(proxy.handle.in_flight(), 0);
    })
    .await;
}

#[tokio::test]
async fn timeouts_of_a_route_end_what_takes_too_long() {
    within(async {
        for (timeouts, flag) in [
            (json!({"request": "50ms"}), "UT"),
            (json!({"backendRequest": "50ms"}), "UT"),
            (json!({"idle": "40ms"}), "SI"),
        ] {
            let (listener, app) = listen().await;
            let proxy =
                Proxy::new(&service(app, json!({"routes": [{"name": "all", "timeouts": timeouts}]})), called(app));
            let calling = tokio::spawn(call(proxy.outbound, get("/")));
            let (mut silent, _) = listener.accept().await.unwrap();
            read_head(&mut silent).await;
            let got = calling.await.unwrap();
            assert_eq!((got.status, got.text.ends_with(&format!("({flag})\n"))), (504, true), "{timeouts} {got:?}");
            assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "the application hears that nobody waits");
        }
    })
    .await;
}

#[tokio::test]
async fn a_whole_request_that_takes_too_long_is_cut_in_the_middle_of_its_answer() {
    within(async {
        let (listener, app) = listen().await;
        let routes = json!({"routes": [{"name": "all", "timeouts": {"request": "100ms"}}]});
        let proxy = Proxy::new(&service(app, routes), called(app));
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut application, _) = listener.accept().await.unwrap();
        read_head(&mut application).await;
        application.write_all(b"HTTP/1.1 200 OK\r\n\r\nsome").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        assert!(was_reset(&mut stream).await);
    })
    .await;
}

#[tokio::test]
async fn garbage_in_a_declared_http_port_is_refused_and_hurts_nobody() {
    within(async {
        let app = echo_app().await;
        let proxy = Proxy::new(&service(app, json!({"protocol": "HTTP"})), called(app));
        for garbage in
            [b"\0\x01\x02\x03\r\n\r\n".as_slice(), b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\0\0"]
        {
            let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        // request smuggling: two lengths
        let smuggled = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd";
        assert!(raw(proxy.outbound, smuggled).await.unwrap().starts_with("HTTP/1.1 400"));
        assert_eq!(call(proxy.outbound, get("/")).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-large: ").await.unwrap();
        // it may be refused before all of it is written
        let _ = stream.write_all(&vec![b'a'; 100_000]).await;
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 431 "));
    })
    .await;
}

#[tokio::test]
async fn ipv6_goes_the_same_way() {
    within(async {
        let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else { return };
        let app = listener.local_addr().unwrap();
        assert_eq!(addr::canonical(app), app);
        let proxy = Proxy::plain(app);
        let calling = tokio::spawn(call(proxy.inbound, get("/six")));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("GET /six"));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n6").await.unwrap();
        assert_eq!(calling.await.unwrap().text, "6");
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let two = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let answers = raw(proxy.outbound, two).await.unwrap();
        let (first, second) = (answers.find("GET /1").unwrap(), answers.find("GET /2").unwrap());
        assert!(first < second);
    })
    .await;
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_body() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let asked: Request<Full<Bytes>> = request("HEAD", "/", "");
        let calling = tokio::spawn(call(proxy.outbound, asked));
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await.unwrap();
        let got = calling.await.unwrap();
        assert_eq!(
            (got.status, &got.headers["content-length"], got.text.as_str()),
            (200, &"1234".parse().unwrap(), "")
        );
    })
    .await;
}
