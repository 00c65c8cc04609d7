use super::*;
use tokio::io::{AsyncWriteExt, duplex};

const MS: Duration = Duration::from_millis(1);

/// What comes first on a connection, with what it is.
fn samples() -> Vec<(&'static [u8], Protocol)> {
    vec![
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Protocol::Http1),
        (b"OPTIONS * HTTP/1.1\r\n", Protocol::Http1),
        (b"CONNECT example.com:443 HTTP/1.1\r\n", Protocol::Http1),
        (b"GET http://example.com/ HTTP/1.0\r\n", Protocol::Http1),
        (b"\r\n\r\nPOST /a?b=c HTTP/1.1\r\n", Protocol::Http1),
        (b"PRIVATE-METHOD /x HTTP/1.1\r\n", Protocol::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", Protocol::Http2),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Protocol::Tls),
        (b"\x16\x03\x03\x00\x02\x02\x28", Protocol::Opaque),
        (b"\x16\x02\x01", Protocol::Opaque),
        (b"GET key\r\n", Protocol::Opaque),
        (b"GET  / HTTP/1.1\r\n", Protocol::Opaque),
        (b"GET / HTTP/2.0\r\n", Protocol::Opaque),
        (b"get / ftp\r\n", Protocol::Opaque),
        (b"*1\r\n$4\r\nPING\r\n", Protocol::Opaque),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol::Opaque),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Protocol::Opaque),
        (b"AVERYLONGWORDTHATCANNOTBEAMETHODATALL", Protocol::Opaque),
        (b" / HTTP/1.1\r\n", Protocol::Opaque),
        (b"PRI * HTTP/2.0\r\n\r\nXX", Protocol::Opaque),
    ]
}

#[test]
fn every_prefix_is_undecided_or_decided_right() {
    for (bytes, want) in samples() {
        let mut decided = None;
        for length in 1..=bytes.len() {
            let now = classify(&bytes[..length]);
            assert!(now.is_none() || now == Some(want), "{:?}: {now:?}", bytes[..length].escape_ascii().to_string());
            assert!(decided.is_none() || now == decided, "no change of mind: {:?}", bytes.escape_ascii().to_string());
            decided = now;
        }
        assert_eq!(decided, Some(want), "{:?}", bytes.escape_ascii().to_string());
    }
}

#[test]
fn however_much_comes_it_is_decided_in_the_end() {
    let long_target = [b"GET /".as_slice(), &[b'a'; LIMIT]].concat();
    assert_eq!(classify(&long_target), Some(Protocol::Http1));
    let long_word = [b'a'; LIMIT];
    assert_eq!(classify(&long_word), Some(Protocol::Opaque));
    let long_url = [b"GET x".as_slice(), &[b'a'; LIMIT]].concat();
    assert_eq!(classify(&long_url), Some(Protocol::Opaque));
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time_is_as_good_as_all_at_once() {
    for (bytes, want) in samples() {
        let (mut client, mut server) = duplex(1);
        let writer = tokio::spawn(async move {
            for byte in bytes {
                tokio::time::sleep(49 * MS).await;
                // the other side stops reading as soon as it knows
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            client
        });
        let mut read = BytesMut::new();
        let seen = detect(&mut server, &mut read, 50 * MS).await.unwrap();
        assert_eq!(seen, Seen::Protocol(want), "{:?}", bytes.escape_ascii().to_string());
        assert!(bytes.starts_with(&read), "all that was read is given back");
        drop(server);
        writer.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn silence_and_closing_are_told_apart_wherever_they_come() {
    for bytes in ["", "G", "GET /", "PRI * HTTP/2.0\r\n", "\x16\x03"] {
        let (mut client, mut server) = duplex(64);
        client.write_all(bytes.as_bytes()).await.unwrap();
        let mut read = BytesMut::new();
        let began = tokio::time::Instant::now();
        assert_eq!(detect(&mut server, &mut read, 50 * MS).await.unwrap(), Seen::Silence, "{bytes:?}");
        assert_eq!((began.elapsed(), &read[..]), (50 * MS, bytes.as_bytes()));
        client.shutdown().await.unwrap();
        assert_eq!(detect(&mut server, &mut read, 50 * MS).await.unwrap(), Seen::Closed, "{bytes:?}");
        assert_eq!(read, bytes.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_look_continues_with_the_bytes_of_the_first() {
    let (mut client, mut server) = duplex(64);
    let mut read = BytesMut::new();
    client.write_all(b"GET / HT").await.unwrap();
    assert_eq!(detect(&mut server, &mut read, MS).await.unwrap(), Seen::Silence);
    client.write_all(b"TP/1.1\r\n").await.unwrap();
    assert_eq!(detect(&mut server, &mut read, MS).await.unwrap(), Seen::Protocol(Protocol::Http1));
    assert_eq!(read, b"GET / HTTP/1.1\r\n".as_slice());
}

#[tokio::test(start_paused = true)]
async fn declared_http_waits_for_the_first_bytes_and_tells_the_versions_apart() {
    for (bytes, want) in
        [(PREFACE.as_slice(), Protocol::Http2), (b"GET / HTTP/1.1\r\n", Protocol::Http1), (b"PUT ", Protocol::Http1)]
    {
        let (mut client, mut server) = duplex(1);
        tokio::spawn(async move {
            for byte in bytes {
                tokio::time::sleep(3600 * 1000 * MS).await;
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        });
        let mut read = BytesMut::new();
        assert_eq!(http_version(&mut server, &mut read).await.unwrap(), Seen::Protocol(want));
        assert!(bytes.starts_with(&read));
    }
}

#[tokio::test]
async fn garbage_of_declared_http_is_left_to_hyper() {
    for (bytes, want) in
        [("", Seen::Closed), ("PRI * X", Seen::Protocol(Protocol::Http1)), ("PRI ", Seen::Protocol(Protocol::Http1))]
    {
        let mut read = BytesMut::new();
        assert_eq!(http_version(&mut bytes.as_bytes(), &mut read).await.unwrap(), want, "{bytes:?}");
    }
}
