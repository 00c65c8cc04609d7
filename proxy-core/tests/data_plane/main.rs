//! The whole data plane in one process: real sockets on ports that the kernel chose, a mocked original destination, fakes
//! for programs and applications. Nothing sleeps to wait for something: what is waited for is awaited, and a test that
//! would hang fails after a while (`within`).

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers are tests too; clippy.toml exempts only what stands in #[test]"
)]

mod http1;
mod http2;
mod lifecycle;
mod opaque;
mod policy;
mod retries;
mod support;
