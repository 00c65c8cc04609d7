use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Copied {
    received: u64,
    sent: u64,
}

impl Count for Copied {
    fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }
}

type Ended = (Result<(), Broken>, Copied);

/// Runs a copy between two pipes and gives their outer ends.
fn between(size: usize) -> (DuplexStream, DuplexStream, tokio::task::JoinHandle<Ended>) {
    let (client, mut downstream) = duplex(size);
    let (mut upstream, server) = duplex(size);
    let copying = tokio::task::spawn_local(async move {
        let mut copied = Copied::default();
        let ended = copy(&mut downstream, &mut upstream, &mut copied, || true).await;
        (ended, copied)
    });
    (client, server, copying)
}

fn local<F: Future>(test: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap().block_on(test)
}

#[test]
fn each_side_may_close_while_the_other_goes_on() {
    local(async {
        let (mut client, mut server, copying) = between(7);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question", "the server hears that the client has closed");
        server.write_all(b"a late answer").await.unwrap();
        server.shutdown().await.unwrap();
        text.clear();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "a late answer");
        let (ended, copied) = copying.await.unwrap();
        assert!(ended.is_ok());
        assert_eq!(copied, Copied { received: 8, sent: 13 });
    });
}

#[test]
fn many_bytes_arrive_in_order_through_a_slow_reader() {
    local(async {
        let (mut client, mut server, copying) = between(100_000);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::task::spawn_local(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        let mut received = Vec::new();
        let mut part = vec![0; 777];
        loop {
            match server.read(&mut part).await.unwrap() {
                0 => break,
                n => received.extend_from_slice(&part[..n]),
            }
        }
        assert!(received == expected);
        drop(server);
        drop(writer.await.unwrap());
        assert_eq!(copying.await.unwrap().1.received, 3_000_000);
    });
}

#[test]
fn a_side_that_is_gone_breaks_the_other() {
    local(async {
        let (mut client, server, copying) = between(64);
        drop(server);
        client.write_all(b"anybody?").await.unwrap();
        let (ended, _) = copying.await.unwrap();
        assert!(matches!(ended, Err(Broken::Upstream(_))), "{ended:?}");
    });
}

#[test]
fn whoever_asks_all_to_look_can_stop_it() {
    local(async {
        let (_client, mut downstream) = duplex(64);
        let (mut upstream, _server) = duplex(64);
        let mut asked = 0;
        let mut copied = Copied::default();
        let copying = copy(&mut downstream, &mut upstream, &mut copied, || {
            asked += 1;
            asked < 2
        });
        let waking = async {
            for _ in 0..2 {
                tokio::task::yield_now().await;
                crate::alarm::wake_all();
            }
        };
        let (ended, ()) = tokio::join!(copying, waking);
        assert!(matches!(ended, Err(Broken::Stopped)));
        assert_eq!(asked, 2);
    });
}

#[test]
fn an_idle_direction_holds_no_buffer() {
    local(async {
        let mut half = Half { left: Vec::with_capacity(1000), ..Half::default() };
        let (mut from, _writer) = duplex(8);
        let (mut to, _reader) = duplex(8);
        let polled = poll_fn(|cx| Poll::Ready(half.poll(cx, &mut from, &mut to, |_| ()).is_ok_and(|p| p.is_pending())));
        assert!(polled.await);
        assert_eq!(half.left.capacity(), 0);
    });
}
