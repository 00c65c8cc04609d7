//! One HTTP/1.1 request over a connection of its own. No redirects, no retries, no proxy settings.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(15);

pub async fn run(url: &str, header: Option<&str>) -> Result<()> {
    let header = match header {
        Some(header) => {
            let (name, value) = header.split_once(':').context("a header is NAME:VALUE")?;
            Some((name.to_owned(), value.trim().parse::<HeaderValue>()?))
        }
        None => None,
    };
    let response = fetch(url, header.as_ref().map(|(name, value)| (name.as_str(), value.clone()))).await?;
    println!("{}", response.status().as_u16());
    for (name, value) in response.headers() {
        println!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    println!("\n{}", String::from_utf8_lossy(response.body()));
    Ok(())
}

pub async fn fetch(url: &str, header: Option<(&str, HeaderValue)>) -> Result<Response<Bytes>> {
    tokio::time::timeout(TIMEOUT, exchange(url, header)).await.with_context(|| format!("no answer in {TIMEOUT:?}"))?
}

async fn exchange(url: &str, header: Option<(&str, HeaderValue)>) -> Result<Response<Bytes>> {
    let uri: Uri = url.parse().with_context(|| format!("'{url}' is not a URL"))?;
    let mut sender = connect(&uri).await?;
    let mut request = request(&uri)?;
    if let Some((name, value)) = header {
        request.headers_mut().insert(http::HeaderName::try_from(name)?, value);
    }
    let (head, body) = sender.send_request(request).await.context("no answer")?.into_parts();
    Ok(Response::from_parts(head, body.collect().await.context("the answer broke off")?.to_bytes()))
}

pub async fn connect(uri: &Uri) -> Result<http1::SendRequest<Empty<Bytes>>> {
    let host = uri.host().context("the URL has no host")?.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

pub fn request(uri: &Uri) -> Result<Request<Empty<Bytes>>> {
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = uri.authority().context("the URL has no host")?;
    Ok(Request::get(path).header("host", authority.as_str()).body(Empty::new())?)
}
