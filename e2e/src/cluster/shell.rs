//! kubectl as a function.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// What a command said.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ok: bool,
    pub out: String,
    /// Warnings of the API server are here.
    pub err: String,
}

/// kubectl's standard output; a failure fails the test with what kubectl said.
#[track_caller]
pub fn kubectl(args: &[&str]) -> String {
    said(args, try_kubectl(args, ""))
}

/// The same with standard input.
#[track_caller]
pub fn kubectl_stdin(args: &[&str], input: &str) -> String {
    said(args, try_kubectl(args, input))
}

/// The same as somebody else, for tests of what roles allow.
pub fn kubectl_as(user: &str, args: &[&str], input: &str) -> Outcome {
    let mut all = vec!["--as", user];
    all.extend(args);
    try_kubectl(&all, input)
}

#[track_caller]
fn said(args: &[&str], outcome: Outcome) -> String {
    assert!(outcome.ok, "kubectl {} failed:\n{}{}", args.join(" "), outcome.out, outcome.err);
    outcome.out
}

/// For commands that may fail.
#[track_caller]
pub fn try_kubectl(args: &[&str], input: &str) -> Outcome {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "cluster tests need a cluster: run `make e2e`, or set KUBECONFIG to one on which Outrigger is installed"
    );
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on the PATH (e2e/cluster/deps.sh installs it)");
    let mut stdin = child.stdin.take().expect("piped");
    // kubectl may end without reading it all
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("kubectl ended");
    Outcome {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
