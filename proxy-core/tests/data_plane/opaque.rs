use crate::support::*;
use serde_json::json;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        for entry in [proxy.outbound, proxy.inbound] {
            let mut stream = TcpStream::connect(entry).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            server.write_all(b"220 ready\r\n").await.unwrap();
            let mut greeting = [0; 11];
            stream.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"220 ready\r\n");
            // it is opaque now, whatever the client says
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!(read_head(&mut server).await, "GET / HTTP/1.1\r\n\r\n");
        }
        proxy.until(|proxy| proxy.metric("outrigger_protocol_detections_total", &["server_first"]) == 2).await;
    })
    .await;
}

#[tokio::test]
async fn a_declared_server_that_speaks_first_is_not_waited_for() {
    within(async {
        let (listener, app) = listen().await;
        let declared = json!({"protocol": {"detectTimeout": "1h", "ports": [{"port": app.port(), "protocol": "TCP"}]}});
        let proxy = Proxy::new(&layer(declared), app);
        let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"hello").await.unwrap();
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_silent_client_that_speaks_http_at_last_is_understood_and_its_connection_used() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        // the destination has been opened by now
        let (mut server, _) = listener.accept().await.unwrap();
        stream.write_all(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let head = read_head(&mut server).await;
        assert!(head.starts_with("GET /late HTTP/1.1\r\n") && head.contains("x-request-id: "), "{head}");
        proxy.until(|proxy| proxy.metric("outrigger_protocol_detections_total", &["client_late"]) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn bytes_of_an_unknown_protocol_pass_as_they_are_in_both_directions() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        for hello in
            [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".as_slice(), b"*1\r\n$4\r\nPING\r\n", b"\0", b"GET key\r\n"]
        {
            let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
            stream.write_all(hello).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let mut got = vec![0; hello.len()];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(got, hello);
            server.write_all(b"answer").await.unwrap();
            drop(server);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer");
        }
    })
    .await;
}

#[tokio::test]
async fn half_a_word_followed_by_silence_reaches_the_server() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"GE").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut got = [0; 2];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(b"?").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'?');
    })
    .await;
}

#[tokio::test]
async fn each_side_may_close_its_half() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"\0question").await.unwrap();
        stream.shutdown().await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        server.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"\0question");
        server.write_all(&vec![7; 1_000_000]).await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), 1_000_000);
        proxy.until(|proxy| proxy.handle.in_flight() == 0).await;
        proxy.until(|proxy| proxy.metric("outrigger_opaque_bytes_total", &["flow=\"sent\""]) == 1_000_000).await;
        proxy.until(|proxy| proxy.metric("outrigger_opaque_bytes_total", &["flow=\"received\""]) == 9).await;
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_looks_closed_to_whoever_is_silent_or_opaque() {
    within(async {
        let proxy = Proxy::plain(closed_port().await);
        for entry in [proxy.outbound, proxy.inbound] {
            for said in [b"".as_slice(), b"\0\x01"] {
                let mut stream = TcpStream::connect(entry).await.unwrap();
                stream.write_all(said).await.unwrap();
                assert!(was_reset(&mut stream).await, "{said:?}");
            }
        }
        proxy.until(|proxy| proxy.metric("outrigger_opaque_connections_closed_total", &["flag=\"UF\""]) == 4).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_goes_through() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 0);
        server.set_zero_linger().unwrap();
        drop(server);
        assert!(was_reset(&mut stream).await);

        let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 0);
        stream.set_zero_linger().unwrap();
        drop(stream);
        assert!(was_reset(&mut server).await);
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_our_own_port_is_reset_and_counted() {
    within(async {
        let proxy = Proxy::plain(closed_port().await);
        for (entry, destination) in [
            (proxy.inbound, proxy.inbound),
            (proxy.outbound, proxy.outbound),
            (proxy.outbound, proxy.inbound),
            (proxy.inbound, "127.0.0.1:15020".parse().unwrap()),
        ] {
            proxy.leads_to(destination);
            assert!(reset_at_once(entry).await, "{entry} {destination}");
        }
        proxy.until(|proxy| proxy.metric("outrigger_opaque_connections_closed_total", &["flag=\"LOOP\""]) == 4).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_nobody_redirected_is_reset() {
    within(async {
        // no document either: whatever is said, nothing is passed on
        let proxy = Proxy::without_document(1, None);
        let answer = raw(proxy.inbound, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn garbage_on_every_port_hurts_nobody() {
    within(async {
        let app = echo_app().await;
        let proxy = Proxy::plain(app);
        let mut seed = 1_u64;
        for round in 0..50 {
            let mut garbage = vec![0; round * 37 % 3000 + 1];
            for byte in &mut garbage {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 56) as u8;
            }
            for entry in [proxy.outbound, proxy.inbound] {
                let mut stream = TcpStream::connect(entry).await.unwrap();
                let _ = stream.write_all(&garbage).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
        for entry in [proxy.outbound, proxy.inbound] {
            assert_eq!(call(entry, get("/")).await.status, 200);
        }
    })
    .await;
}
