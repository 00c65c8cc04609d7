//! What a request's stream may take: time for all of it, and silence in both directions.

use crate::alarm::{Alarm, Tick};
use crate::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

#[derive(Debug)]
pub struct Limits {
    /// Exact, and paid for only where somebody asked for it.
    deadline: Option<Pin<Box<Sleep>>>,
    idle: Option<Duration>,
    alarm: Alarm,
}

impl Limits {
    pub fn new(whole: Option<Duration>, idle: Option<Duration>) -> Limits {
        let deadline = whole.map(|whole| Box::pin(tokio::time::sleep(whole)));
        Limits { deadline, idle, alarm: idle.map_or_else(Alarm::new, Alarm::after) }
    }

    /// Ready with what was exceeded. `last`: when something went either way.
    pub fn poll_exceeded(&mut self, cx: &mut Context<'_>, last: Tick) -> Poll<Error> {
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Error::RequestTimeout);
        }
        let Some(idle) = self.idle else { return Poll::Pending };
        while self.alarm.poll(cx).is_ready() {
            match idle.checked_sub(last.elapsed()) {
                None | Some(Duration::ZERO) => return Poll::Ready(Error::StreamIdle),
                Some(rest) => self.alarm.set(rest),
            }
        }
        Poll::Pending
    }
}
