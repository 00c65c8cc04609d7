use crate::support::*;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Reserves an address at which nobody listens yet, and listens there as soon as it has refused somebody.
async fn opens_late(address: SocketAddr, proxy: &Proxy) -> TcpListener {
    proxy.until(|proxy| proxy.metric("outrigger_retries_total", &[]) >= 1).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(8).unwrap()
}

#[tokio::test]
async fn a_destination_that_refuses_first_is_asked_again_whatever_the_method() {
    within(async {
        let address = closed_port().await;
        let proxy = Proxy::plain(address);
        let calling = tokio::spawn(call(proxy.outbound, request("POST", "/", "once")));
        let listener = opens_late(address, &proxy).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("POST / "));
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"once");
        stream.write_all(OK).await.unwrap();
        assert_eq!(calling.await.unwrap().text, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_refuses_for_good_is_given_up_after_two_seconds() {
    within(async {
        let proxy = Proxy::plain(closed_port().await);
        let began = Instant::now();
        let got = call(proxy.outbound, get("/")).await;
        assert_eq!(got.status, 503);
        assert_eq!(got.text, "outrigger: connection refused by the destination: nothing listens on that port (UF)\n");
        assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn the_inbound_proxy_says_what_it_could_not_deliver_and_does_not_try_again() {
    within(async {
        let proxy = Proxy::plain(closed_port().await);
        let got = call(proxy.inbound, request("POST", "/", "x")).await;
        assert_eq!((got.status, &got.headers["x-outrigger-undelivered"]), (503, &"connect".parse().unwrap()));

        let (listener, app) = listen().await;
        proxy.leads_to(app);
        let calling = tokio::spawn(call(proxy.inbound, get("/")));
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        drop(stream);
        let got = calling.await.unwrap();
        assert_eq!((got.status, &got.headers["x-outrigger-undelivered"]), (503, &"reset".parse().unwrap()));
    })
    .await;
}

#[tokio::test]
async fn an_application_cannot_say_that_it_was_not_reached() {
    within(async {
        let app = http1_app(|_| async {
            let mut response = text(503, "mine");
            response.headers_mut().insert("x-outrigger-undelivered", "connect".parse().unwrap());
            response
        })
        .await;
        let called = Proxy::plain(app);
        let calling = Proxy::plain(called.inbound);
        let got = call(calling.outbound, get("/")).await;
        assert_eq!((got.status, got.text.as_str()), (503, "mine"));
        assert!(!got.headers.contains_key("x-outrigger-undelivered"));
    })
    .await;
}

#[tokio::test]
async fn through_both_proxies_an_application_that_starts_late_is_reached() {
    within(async {
        let address = closed_port().await;
        let called = Proxy::plain(address);
        let calling = Proxy::plain(called.inbound);
        let asking = tokio::spawn(call(calling.outbound, request("POST", "/", "once")));
        let listener = opens_late(address, &calling).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("POST / "));
        stream.write_all(OK).await.unwrap();
        assert_eq!(asking.await.unwrap().text, "ok");
    })
    .await;
}

#[tokio::test]
async fn through_both_proxies_an_application_that_breaks_off_is_asked_again_only_where_that_is_the_same() {
    within(async {
        for (method, status, text) in [
            ("GET", 200, "ok"),
            (
                "POST",
                503,
                "outrigger: the application closed its connection to the destination's proxy before it answered (UC)\n",
            ),
        ] {
            let (listener, app) = listen().await;
            let called = Proxy::plain(app);
            let calling = Proxy::plain(called.inbound);
            tokio::spawn(async move {
                let (mut first, _) = listener.accept().await.unwrap();
                read_head(&mut first).await;
                drop(first);
                let (mut second, _) = listener.accept().await.unwrap();
                read_head(&mut second).await;
                second.write_all(OK).await.unwrap();
            });
            let got = call(calling.outbound, request(method, "/", "")).await;
            assert_eq!((got.status, got.text.as_str()), (status, text), "{method}");
            assert!(!got.headers.contains_key("x-outrigger-undelivered"));
        }
    })
    .await;
}

#[tokio::test]
async fn through_both_proxies_a_grpc_application_that_starts_late_is_reached() {
    within(async {
        let address = closed_port().await;
        let called = Proxy::plain(address);
        let calling = Proxy::plain(called.inbound);
        let mut asked = request("POST", "http://called.shop/shop.Called/Ask", "once");
        asked.headers_mut().remove("host");
        asked.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let asking = tokio::spawn(http2_caller(calling.outbound).await.send_request(asked));
        let listener = opens_late(address, &calling).await;
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(|_| async { Ok::<_, Infallible>(text(200, "ok")) });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        let got = read(asking.await.unwrap().unwrap()).await;
        assert_eq!((got.text.as_str(), got.headers.get("grpc-status")), ("ok", None));
    })
    .await;
}

/// Answers the first request, closes the connection upon `how`, and answers on the next one.
async fn closes_after_one(listener: TcpListener, closes: impl AsyncFnOnce(TcpStream)) -> Vec<String> {
    let (mut first, _) = listener.accept().await.unwrap();
    let mut heads = vec![read_head(&mut first).await];
    first.write_all(OK).await.unwrap();
    closes(first).await;
    let (mut second, _) = listener.accept().await.unwrap();
    heads.push(read_head(&mut second).await);
    second.write_all(OK).await.unwrap();
    heads
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_not_used_even_for_what_may_not_be_repeated() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let server = tokio::spawn(closes_after_one(listener, async |stream| drop(stream)));
        let mut caller = http1_caller(proxy.outbound).await;
        for method in ["GET", "POST"] {
            caller.ready().await.unwrap();
            let asked = request(method, "/", "x");
            assert_eq!(read(caller.send_request(asked).await.unwrap()).await.text, "ok", "{method}");
        }
        assert_eq!(server.await.unwrap().len(), 2);
        assert_eq!(proxy.metric("outrigger_retries_total", &[]), 0, "nothing was sent twice");
    })
    .await;
}

#[tokio::test]
async fn a_reset_before_the_answer_is_repeated_only_where_that_is_the_same() {
    within(async {
        for (method, status) in [("GET", 200), ("PUT", 200), ("POST", 503)] {
            let (listener, app) = listen().await;
            let proxy = Proxy::plain(app);
            let server = tokio::spawn(async move {
                // reset with the request half read, then a good one
                let (mut first, _) = listener.accept().await.unwrap();
                first.read_u8().await.unwrap();
                first.set_zero_linger().unwrap();
                drop(first);
                let (mut second, _) = listener.accept().await.unwrap();
                let head = read_head(&mut second).await;
                let mut body = [0; 4];
                second.read_exact(&mut body).await.unwrap();
                second.write_all(OK).await.unwrap();
                (head, body)
            });
            let got = call(proxy.outbound, request(method, "/", "body")).await;
            assert_eq!(got.status, status, "{method}: {}", got.text);
            if status == 200 {
                let (head, body) = server.await.unwrap();
                assert!(head.starts_with(method) && &body == b"body");
            } else {
                assert_eq!(got.text, "outrigger: the destination closed the connection before it answered (UC)\n");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_beyond_the_buffer_limit_is_not_repeated() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            read_head(&mut first).await;
            let mut body = vec![0; 100_000];
            first.read_exact(&mut body).await.unwrap();
            drop(first);
            listener.accept().await.unwrap();
            panic!("the request must not come again");
        });
        let got = call(proxy.outbound, request("PUT", "/", vec![b'a'; 100_000])).await;
        assert_eq!(got.status, 503);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_sent_again_from_its_beginning() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            let next = receiver.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(next))), receiver))
        });
        let stream = TcpStream::connect(proxy.outbound).await.unwrap();
        let (mut caller, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = StreamBody::new(Box::pin(frames));
        let asked = http::Request::builder().method("PUT").uri("/").header("host", "a").body(body).unwrap();
        let asking = tokio::spawn(caller.send_request(asked));

        sender.send("first ").unwrap();
        let (mut one, _) = listener.accept().await.unwrap();
        read_head(&mut one).await;
        let mut chunk = [0; 11];
        one.read_exact(&mut chunk).await.unwrap();
        assert_eq!(&chunk, b"6\r\nfirst \r\n");
        drop(one);

        let (mut two, _) = listener.accept().await.unwrap();
        read_head(&mut two).await;
        two.read_exact(&mut chunk).await.unwrap();
        assert_eq!(&chunk, b"6\r\nfirst \r\n");
        sender.send("second").unwrap();
        drop(sender);
        let mut rest = [0; 16];
        two.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"6\r\nsecond\r\n0\r\n\r\n");
        two.write_all(OK).await.unwrap();
        assert_eq!(read(asking.await.unwrap().unwrap()).await.text, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_breaks_off_its_body_is_not_the_destinations_fault() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
        let (mut application, _) = listener.accept().await.unwrap();
        read_head(&mut application).await;
        let mut some = [0; 4];
        application.read_exact(&mut some).await.unwrap();
        drop(stream);
        assert_eq!(application.read(&mut [0]).await.unwrap(), 0);
        proxy.until(|proxy| proxy.metric("outrigger_requests_total", &["flag=\"DC\""]) == 1).await;
        assert_eq!(proxy.metric("outrigger_retries_total", &[]), 0);
    })
    .await;
}

#[tokio::test]
async fn a_refused_stream_is_asked_again() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        tokio::spawn(async move {
            // by hand: h2 as a server refuses only what is too much
            let (first, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(first).await.unwrap();
            let (_request, mut answer) = connection.accept().await.unwrap().unwrap();
            answer.send_reset(h2::Reason::REFUSED_STREAM);
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let (second, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|_| async { Ok::<_, Infallible>(text(200, "ok")) });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(second), service).await;
        });
        let mut asked = request("POST", "http://called.shop/", "once");
        asked.headers_mut().remove("host");
        let response = http2_caller(proxy.outbound).await.send_request(asked).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
        assert_eq!(proxy.metric("outrigger_retries_total", &[]), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stream_above_the_last_one_of_a_goaway_is_asked_again() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            // preface, then anything; SETTINGS and GOAWAY with last stream 0: no stream was processed
            first.read_exact(&mut [0; 24]).await.unwrap();
            first.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
            first.write_all(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0").await.unwrap();
            let (second, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(|_| async { Ok::<_, Infallible>(text(200, "ok")) });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(second), service).await;
            drop(first);
        });
        let mut asked = request("POST", "http://called.shop/", "once");
        asked.headers_mut().remove("host");
        let response = http2_caller(proxy.outbound).await.send_request(asked).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    })
    .await;
}
