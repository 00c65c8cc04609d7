use super::*;
use crate::alarm;
use crate::worker::Worker;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

/// Serves one connection with time paused; gives its caller's end.
fn with_connection<F: Future>(version: Version, test: impl FnOnce(TcpStream) -> F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap();
    runtime.block_on(async {
        tokio::task::spawn_local(alarm::run());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let downstream = Rc::new(Downstream::new(Worker::for_test(), peer, peer));
        let io = Io::new(stream, Bytes::new(), &downstream.meter);
        tokio::task::spawn_local(serve(io, version, downstream, |downstream, _| {
            let in_flight = crate::downstream::InFlight::new(downstream);
            async move {
                drop(in_flight);
                Response::new(Body::Text("ok".into()))
            }
        }));
        test(caller).await
    })
}

#[test]
fn a_head_without_end_is_given_up_after_a_minute_however_slowly_it_goes_on() {
    with_connection(Version::HTTP_11, async |mut caller| {
        let began = Instant::now();
        let (mut from, mut to) = caller.split();
        let slowly = async {
            for byte in b"GET / HTTP/1.1\r\nx-slow: ".iter().chain(std::iter::repeat(&b'a')) {
                if to.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = slowly => {}
            _ = from.read_to_end(&mut answer) => {}
        }
        let took = began.elapsed();
        assert!((HEAD_TIMEOUT..HEAD_TIMEOUT + LOOK + Duration::from_secs(5)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_connection_without_requests_is_kept_for_an_hour() {
    with_connection(Version::HTTP_11, async |mut caller| {
        caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let began = Instant::now();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
        let took = began.elapsed();
        assert!((KEEP_ALIVE..KEEP_ALIVE + LOOK + Duration::from_secs(5)).contains(&took), "{took:?}");
    });
}

#[test]
fn a_minute_between_two_requests_is_no_slow_head() {
    with_connection(Version::HTTP_11, async |mut caller| {
        for _ in 0..3 {
            caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut answer = [0; 40];
            caller.read_exact(&mut answer).await.unwrap();
            assert!(answer.ends_with(b"ok"), "{}", answer.escape_ascii());
            sleep(HEAD_TIMEOUT * 2).await;
        }
    });
}

#[test]
fn a_connection_of_http2_is_kept_while_it_only_pings() {
    with_connection(Version::HTTP_2, async |caller| {
        let (sender, mut connection) = h2::client::handshake(caller).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        for _ in 0..10 {
            let asked = Request::builder().uri("http://a/").body(()).unwrap();
            let (answer, _) = sender.clone().ready().await.unwrap().send_request(asked, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
            pings.ping(h2::Ping::opaque()).await.unwrap();
            sleep(HEAD_TIMEOUT * 2).await;
        }
    });
}
