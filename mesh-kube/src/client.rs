//! The way to the API server: kubeconfig where there is one, else the Pod's own service account; and deadlines.
//!
//! kube by itself waits for an answer for ever, because a timeout on reading would cut watches. Ours is a deadline for
//! the *head* of an answer (kube's retries included), which a watch sends at once; what follows may take its time.

use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

const CONNECT: Duration = Duration::from_secs(5);
/// A busy API server answers a list of ten thousand Pods within seconds; its own limit is 60 s.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two reads. kube lets the server end a watch after 290 s, so only a dead connection is silent for longer.
const SILENCE: Duration = Duration::from_secs(300);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account.
    #[error("no way to the API server: set KUBECONFIG, or run in a Pod with a service account token")]
    Config(#[from] kube::config::InferConfigError),
    /// The name of this program can't be a header.
    #[error("user agent {0:?} has characters that a header can't have")]
    UserAgent(String),
    /// The credentials or certificates can't be used.
    #[error("the API server's configuration can't be used")]
    Build(#[from] kube::Error),
}

/// A client that calls itself `user_agent` (`outrigger-injector/0.1.0`) in the API server's audit log.
///
/// Makes aws-lc-rs the process's TLS provider. No request is sent: an API server that is away is no error here.
pub async fn connect(user_agent: &str) -> Result<Client, ConnectError> {
    mesh_runtime::tls::install_provider();
    build(Config::infer().await?, user_agent)
}

fn build(mut config: Config, user_agent: &str) -> Result<Client, ConnectError> {
    let agent = HeaderValue::from_str(user_agent).map_err(|_| ConnectError::UserAgent(user_agent.to_owned()))?;
    config.headers.push((USER_AGENT, agent));
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // Otherwise the time that a pooled connection idled would count as silence of the next answer.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?.with_layer(&TimeoutLayer::new(ANSWER)).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use kube::Api;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    async fn server() -> (TcpListener, Client) {
        mesh_runtime::tls::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        (listener, build(Config::new(uri), "outrigger-test/1").unwrap())
    }

    #[tokio::test]
    async fn requests_say_who_asks() {
        let (listener, client) = server().await;
        let asking = tokio::spawn(async move { client.apiserver_version().await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("user-agent: outrigger-test/1\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert!(asking.await.unwrap().is_err());

        let uri = "http://127.0.0.1".parse().unwrap();
        let Err(error) = build(Config::new(uri), "two\nlines") else { panic!("a header can't have two lines") };
        assert_eq!(error.to_string(), "user agent \"two\\nlines\" has characters that a header can't have");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_an_error_and_a_silent_watch_is_none() {
        let (listener, client) = server().await;
        let before = Instant::now();
        assert!(client.apiserver_version().await.is_err());
        assert!(before.elapsed() >= ANSWER && before.elapsed() < ANSWER * 2, "{:?}", before.elapsed());

        let pods = Api::<Pod>::namespaced(client, "shop");
        let watching = tokio::spawn(async move {
            let mut stream = std::pin::pin!(pods.watch(&kube::api::WatchParams::default(), "1").await.unwrap());
            let before = Instant::now();
            let first = futures_util::TryStreamExt::try_next(&mut stream).await;
            (before.elapsed(), first.is_ok_and(|event| event.is_some()))
        });
        // The first connection was the request that was never answered.
        let _ = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        tokio::time::sleep(ANSWER * 4).await;
        let event =
            r#"{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"2"}}}"#;
        let chunk = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
        stream.write_all(chunk.as_bytes()).await.unwrap();
        let (silence, heard) = watching.await.unwrap();
        assert!(heard && silence >= ANSWER * 3, "{silence:?}");
    }
}
