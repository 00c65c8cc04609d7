//! The programs of the tests and the demo in one static binary, so that one small image serves all of them. It is no
//! part of the product, and it knows nothing of the mesh: what a sidecar does must work for any program.
#![expect(clippy::print_stdout, reason = "a test program's output is what the tests read")]

mod get;
mod load;
mod serve;
mod tcp;

use anyhow::{Context, Result, bail};

const USAGE: &str = "outrigger-testapp
  serve ADDRESS NAME           HTTP/1.1 and h2c: says who answered (see serve.rs); on SIGTERM it closes the listener at
                               once, finishes what is in flight and exits
  get [-H NAME:VALUE] URL      one HTTP/1.1 request, prints status, headers and body; exit code 1 without an answer
  load URL RATE SECONDS CONNECTIONS
                               keep-alive requests at a fixed rate without any retry; prints a JSON summary
  echo ADDRESS                 TCP: sends back what comes; half-closes when the client does
  greet ADDRESS                TCP: the server speaks first, as SMTP or MySQL do
  talk ADDRESS TEXT            TCP: sends the text, half-closes, prints what comes back
  sleep                        until SIGTERM";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match args.as_slice() {
            ["serve", address, name] => serve::run(address.parse()?, name).await,
            ["get", "-H", header, url] => get::run(url, Some(header)).await,
            ["get", url] => get::run(url, None).await,
            ["load", url, rate, seconds, connections] => {
                load::run(url, rate.parse()?, seconds.parse()?, connections.parse()?).await
            }
            ["echo", address] => tcp::echo(address.parse()?).await,
            ["greet", address] => tcp::greet(address.parse()?).await,
            ["talk", address, text] => tcp::talk(address, text).await,
            ["sleep"] => terminated().await,
            _ => bail!("{USAGE}"),
        }
    })
}

/// Until SIGTERM.
async fn terminated() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?.recv().await;
    Ok(())
}
