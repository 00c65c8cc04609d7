//! What the tests share. Each test binary uses some of it.
#![allow(dead_code)]

pub mod api_server;
pub mod cases;
pub mod server;
