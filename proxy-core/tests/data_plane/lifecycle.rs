use crate::support::*;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_draining_proxy_asks_http_1_callers_to_leave_and_still_takes_what_comes() {
    within(async {
        let proxy = Proxy::plain(echo_app().await);
        let mut caller = http1_caller(proxy.inbound).await;
        assert!(read(caller.send_request(get("/")).await.unwrap()).await.headers.get("connection").is_none());
        proxy.handle.drain();
        caller.ready().await.unwrap();
        // an idle connection isn't closed under its caller, which hears it with its next answer
        let got = read(caller.send_request(get("/")).await.unwrap()).await;
        assert_eq!((got.status, &got.headers["connection"]), (200, &"close".parse().unwrap()));
        assert!(caller.ready().await.is_err(), "and then it is closed");
        assert_eq!(call(proxy.inbound, get("/")).await.status, 200, "a new connection is taken");
    })
    .await;
}

#[tokio::test]
async fn a_draining_proxy_sends_goaway_and_finishes_what_is_in_flight() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let stream = TcpStream::connect(proxy.inbound).await.unwrap();
        let (caller, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let asked = http::Request::builder().uri("http://called.shop/").body(()).unwrap();
        let (asking, _) = caller.clone().ready().await.unwrap().send_request(asked, true).unwrap();
        let (application, _) = listener.accept().await.unwrap();
        let mut server = h2::server::handshake(application).await.unwrap();
        let (_, mut answer) = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });

        proxy.handle.drain();
        let goaway = loop {
            match caller.clone().ready().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(goaway.is_go_away() && goaway.is_remote() && goaway.reason() == Some(h2::Reason::NO_ERROR), "{goaway}");
        let mut body = answer.send_response(http::Response::new(()), false).unwrap();
        body.send_data("late".into(), true).unwrap();
        let mut body = asking.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "late");
        drop((body, caller));
        connection.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_stopping_proxy_finishes_what_is_in_flight_and_takes_nothing_new() {
    within(async {
        let (listener, app) = listen().await;
        let mut proxy = Proxy::plain(app);
        let mut idle = TcpStream::connect(proxy.inbound).await.unwrap();
        idle.write_all(b"GET /idle HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await;
        first.write_all(OK).await.unwrap();
        read_head(&mut idle).await;

        let asking = tokio::spawn(call(proxy.inbound, get("/busy")));
        let head = read_head(&mut first).await;
        assert!(head.starts_with("GET /busy"), "{head}");
        assert_eq!(proxy.handle.in_flight(), 1);
        proxy.handle.stop(Duration::from_secs(20));
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"ok", "what is idle is closed, in order");
        proxy.until(|proxy| proxy.handle.connections() == [1]).await;
        first.write_all(OK).await.unwrap();
        let got = asking.await.unwrap();
        assert_eq!((got.text.as_str(), &got.headers["connection"]), ("ok", &"close".parse().unwrap()));
        let began = std::time::Instant::now();
        proxy.ended().await;
        assert!(began.elapsed() < Duration::from_secs(10), "it doesn't wait for its deadline");
        assert!(TcpStream::connect(proxy.inbound).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_stopping_proxy_ends_at_its_deadline_whatever_is_open() {
    within(async {
        let (listener, app) = listen().await;
        let mut proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.outbound).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        let _server = listener.accept().await.unwrap();
        proxy.handle.stop(Duration::from_millis(50));
        proxy.ended().await;
    })
    .await;
}

#[tokio::test]
async fn connections_are_spread_over_the_workers() {
    within(async {
        let proxy = Proxy::without_document(3, Some(echo_app().await));
        proxy.update(&json!({"version": 1}));
        let mut callers = Vec::new();
        for _ in 0..30 {
            let mut caller = http1_caller(proxy.outbound).await;
            assert_eq!(read(caller.send_request(get("/")).await.unwrap()).await.status, 200);
            callers.push(caller);
        }
        let connections = proxy.handle.connections();
        assert_eq!(connections.iter().sum::<usize>(), 30);
        assert!(connections.iter().all(|count| (8..=12).contains(count)), "{connections:?}");
        drop(callers);
        proxy.until(|proxy| proxy.handle.connections() == [0, 0, 0]).await;
    })
    .await;
}

#[tokio::test]
async fn requests_that_come_while_the_called_pods_restart_are_not_lost() {
    within(async {
        // two "Pods" behind one address, by turns: each answers for a while, then closes its listener, finishes what is in
        // flight, and goes
        let address = closed_port().await;
        let called = Proxy::plain(address);
        let calling = Proxy::plain(called.inbound);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let pods = tokio::spawn(pods(address, stopped));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let mut caller = http1_caller(calling.outbound).await;
            callers.spawn(async move {
                for number in 0..150 {
                    caller.ready().await.unwrap();
                    let got = read(caller.send_request(get(&format!("/{number}"))).await.unwrap()).await;
                    assert_eq!((got.status, got.text.as_str()), (200, "ok"), "{number}");
                }
            });
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        stop.send(true).unwrap();
        assert!(pods.await.unwrap() > 5, "there were restarts");
    })
    .await;
}

/// Restarts after every 20 requests; gives how many times.
async fn pods(address: std::net::SocketAddr, mut stopped: tokio::sync::watch::Receiver<bool>) -> usize {
    for restarts in 0.. {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let (ends, ended) = tokio::sync::watch::channel(0_usize);
        let mut watched = ended.clone();
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.unwrap().0,
                _ = watched.wait_for(|count| *count >= 20) => break,
                _ = stopped.wait_for(|stopped| *stopped) => return restarts,
            };
            tokio::spawn(application(stream, ends.clone(), ended.clone()));
        }
    }
    unreachable!("restarts end with the test")
}

/// Answers until the Pod is told to end, then closes after the answer in flight.
async fn application(
    mut stream: TcpStream,
    ends: tokio::sync::watch::Sender<usize>,
    mut ended: tokio::sync::watch::Receiver<usize>,
) {
    loop {
        let head = tokio::select! {
            head = read_head(&mut stream) => head,
            _ = ended.wait_for(|count| *count >= 20) => return,
        };
        if head.is_empty() {
            return;
        }
        ends.send_modify(|count| *count += 1);
        stream.write_all(OK).await.unwrap();
    }
}
