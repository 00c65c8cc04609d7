//! A program that says what signals do to it, and whose drain never ends. The tests of `signals` run it: signals reach a
//! whole process, so they are tried on one of its own.
#![expect(clippy::print_stdout, reason = "its output is what the tests read")]

use mesh_runtime::signals::Shutdown;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    println!("running");
    shutdown.requested().await;
    println!("stopping");
    std::future::pending().await
}
