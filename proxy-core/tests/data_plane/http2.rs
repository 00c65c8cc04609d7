use crate::support::*;
use bytes::Bytes;
use http::{Method, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proxy_core::detect::PREFACE;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

type Trailed = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// An application that speaks HTTP/2 and answers with trailers; and how many connections it has seen.
async fn http2_app() -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(|request| async { Ok::<_, Infallible>(trailed(told(request).await)) });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

fn trailed(text: String) -> Response<Trailed> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "5".parse().unwrap());
    let frames = vec![Ok(Frame::data(Bytes::from(text))), Ok(Frame::trailers(trailers))];
    Response::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn ask(uri: &str) -> http::Request<Full<Bytes>> {
    let mut request = request("POST", &format!("http://called.shop{uri}"), "asked");
    request.headers_mut().remove("host");
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    *request.version_mut() = Version::HTTP_2;
    request
}

#[tokio::test]
async fn grpc_passes_both_proxies_with_its_trailers_and_is_counted_by_its_status() {
    within(async {
        let (app, _) = http2_app().await;
        let called = Proxy::plain(app);
        let calling = Proxy::plain(called.inbound);
        let response = http2_caller(calling.outbound).await.send_request(ask("/shop.Called/Ask")).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "5");
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        assert!(
            text.starts_with("POST http://called.shop/shop.Called/Ask HTTP/2.0\n") && text.ends_with("\nasked"),
            "{text}"
        );
        for proxy in [&called, &calling] {
            proxy.until(|proxy| proxy.metric("outrigger_requests_total", &["rpc_grpc_status_code=\"5\""]) == 1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn requests_of_many_callers_share_one_connection() {
    within(async {
        let (app, connections) = http2_app().await;
        let proxy = Proxy::plain(app);
        let mut asking = tokio::task::JoinSet::new();
        for caller in 0..4 {
            let mut caller_connection = http2_caller(proxy.inbound).await;
            for number in 0..20 {
                let answer = caller_connection.send_request(ask(&format!("/{caller}/{number}")));
                asking.spawn(async move { answer.await.unwrap().into_body().collect().await.unwrap().to_bytes() });
            }
        }
        while let Some(answer) = asking.join_next().await {
            assert!(!answer.unwrap().is_empty());
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn an_error_of_ours_is_told_to_grpc_as_its_status() {
    within(async {
        let proxy = Proxy::plain(closed_port().await);
        let response = http2_caller(proxy.inbound).await.send_request(ask("/")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["x-outrigger-undelivered"], "connect");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_its_stream_with_an_error_and_no_other() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let breaks = Arc::new(tokio::sync::Notify::new());
        let broken = Arc::clone(&breaks);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let broken = Arc::clone(&broken);
                let half = request.uri().path() == "/half";
                let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from("half")))]);
                let then = futures_util::stream::once(async move {
                    if half {
                        broken.notified().await;
                        return Err(std::io::Error::other("gone"));
                    }
                    Ok(Frame::data(Bytes::from(" and half")))
                });
                let body = StreamBody::new(Box::pin(futures_util::StreamExt::chain(first, then)));
                async { Ok::<_, Infallible>(Response::new(body)) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        let mut caller = http2_caller(proxy.outbound).await;
        let mut body = caller.send_request(ask("/half")).await.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().data_ref().unwrap(), "half");
        breaks.notify_one();
        assert!(body.collect().await.is_err());
        let whole = caller.send_request(ask("/whole")).await.unwrap();
        assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "half and half");
        proxy.until(|proxy| proxy.metric("outrigger_requests_total", &["flag=\"UC\""]) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn connect_makes_a_tunnel_of_a_stream() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|mut request: http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.method(), Method::CONNECT);
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                    tokio::io::copy(&mut from, &mut to).await.unwrap();
                    to.shutdown().await.unwrap();
                });
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        let mut asked = http::Request::new(Full::new(Bytes::new()));
        *asked.method_mut() = Method::CONNECT;
        *asked.uri_mut() = "example.com:443".parse().unwrap();
        let response = http2_caller(proxy.outbound).await.send_request(asked).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        io.write_all(b"echo").await.unwrap();
        io.shutdown().await.unwrap();
        let mut back = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut io, &mut back).await.unwrap();
        assert_eq!(back, b"echo");
    })
    .await;
}

#[tokio::test]
async fn garbage_after_the_preface_hurts_nobody() {
    within(async {
        let (app, _) = http2_app().await;
        let proxy = Proxy::plain(app);
        let mut stream = TcpStream::connect(proxy.inbound).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&[0xff; 1000]).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await;
        assert!(http2_caller(proxy.inbound).await.send_request(ask("/")).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_second_connection_is_opened_when_the_destination_takes_no_more_on_the_first() {
    within(async {
        let (listener, app) = listen().await;
        let proxy = Proxy::plain(app);
        let together = Arc::new(tokio::sync::Barrier::new(4));
        let met = Arc::clone(&together);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let met = Arc::clone(&met);
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let met = Arc::clone(&met);
                    async move {
                        if request.uri().path() == "/together" {
                            met.wait().await;
                        }
                        Ok::<_, Infallible>(text(200, "ok"))
                    }
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.max_concurrent_streams(2).serve_connection(TokioIo::new(stream), service));
            }
        });
        let mut caller = http2_caller(proxy.inbound).await;
        // by its answer the destination's limit is known
        read(caller.send_request(ask("/first")).await.unwrap()).await;
        let mut asking: Vec<_> = (0..4).map(|_| tokio::spawn(caller.send_request(ask("/together")))).collect();
        for answer in asking.drain(..) {
            assert_eq!(answer.await.unwrap().unwrap().status(), 200);
        }
    })
    .await;
}
