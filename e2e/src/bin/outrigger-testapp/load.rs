//! A load generator that never retries: every request that isn't answered 2xx is a loss, and the summary says so.
//! Requests leave at a fixed rate over keep-alive connections; one that is still waiting for its turn is never dropped.

use super::get;
use anyhow::Result;
use http::Uri;
use http_body_util::BodyExt;
use serde_json::json;
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};
use tokio::time::Instant;

#[derive(Default)]
struct Summary {
    sent: u64,
    ok: u64,
    /// What happened to the others.
    lost: BTreeMap<String, u64>,
    /// By the answering program's host name.
    answered_by: BTreeMap<String, u64>,
    slowest: Duration,
}

pub async fn run(url: &str, rate: u32, seconds: u64, connections: u32) -> Result<()> {
    let uri: Uri = url.parse()?;
    let summary = Rc::new(RefCell::new(Summary::default()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|number| {
            let interval = Duration::from_secs(1) * connections / rate;
            let first = start + Duration::from_secs(1) * number / rate;
            let (uri, summary) = (uri.clone(), summary.clone());
            let run = one_connection(uri, first, interval, start + Duration::from_secs(seconds), number, summary);
            tokio::task::spawn_local(run)
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let summary = summary.borrow();
    println!(
        "{}",
        json!({"sent": summary.sent, "ok": summary.ok, "lost": summary.lost, "answeredBy": summary.answered_by,
            "slowestMs": summary.slowest.as_millis(), "seconds": start.elapsed().as_secs_f64()})
    );
    Ok(())
}

async fn one_connection(
    uri: Uri,
    mut next: Instant,
    interval: Duration,
    end: Instant,
    number: u32,
    summary: Rc<RefCell<Summary>>,
) {
    let mut sender = None;
    let mut serial = 0;
    while next < end {
        tokio::time::sleep_until(next).await;
        next += interval;
        serial += 1;
        let begun = Instant::now();
        summary.borrow_mut().sent += 1;
        let result = one_request(&uri, &mut sender, &format!("load-{number}-{serial}")).await;
        let mut summary = summary.borrow_mut();
        summary.slowest = summary.slowest.max(begun.elapsed());
        match result {
            Ok(host) => {
                summary.ok += 1;
                *summary.answered_by.entry(host).or_default() += 1;
            }
            Err(why) => {
                sender = None;
                *summary.lost.entry(why).or_default() += 1;
            }
        }
    }
}

async fn one_request(
    uri: &Uri,
    sender: &mut Option<hyper::client::conn::http1::SendRequest<http_body_util::Empty<bytes::Bytes>>>,
    id: &str,
) -> Result<String, String> {
    let text = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    if sender.as_ref().is_none_or(hyper::client::conn::http1::SendRequest::is_closed) {
        *sender = Some(get::connect(uri).await.map_err(|error| text("connect", &error))?);
    }
    let Some(connection) = sender else { return Err("no connection".into()) };
    connection.ready().await.map_err(|error| text("not ready", &error))?;
    let mut request = get::request(uri).map_err(|error| text("request", &error))?;
    request.headers_mut().insert("x-request-id", id.parse().map_err(|error| text("id", &error))?);
    let response = connection.send_request(request).await.map_err(|error| text("no answer", &error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| text("broke off", &error))?.to_bytes();
    if !status.is_success() {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body).chars().take(120).collect::<String>()));
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(answer["host"].as_str().unwrap_or_default().to_owned())
}
