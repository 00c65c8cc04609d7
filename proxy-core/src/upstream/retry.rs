//! Whether and when a request is sent once more without anybody having asked for retries: when it provably never reached
//! an application, or (idempotent methods) when doing it twice is the same as once. Pure: the time is passed in.
//!
//! This isn't the retry policy that people write, which has attempts, conditions and a budget.

use crate::error::Error;
use http::Method;
use std::time::{Duration, Instant};

/// Behind a Service address every second try can meet the Pod that is leaving, until kube-proxy has heard of it.
const FOR_UP_TO: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The tries of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    /// When the first one had failed, and how long the next pause is.
    failing: Option<(Instant, Duration)>,
}

impl Tries {
    /// The pause before the next try; `None`: there is none. `replayable`: the body can be sent again from its beginning.
    pub fn next(&mut self, because: Error, method: &Method, replayable: bool, now: Instant) -> Option<Duration> {
        if !replayable || !because.may_retry(method) {
            return None;
        }
        let (since, pause) = self.failing.unwrap_or((now, FIRST_PAUSE));
        self.failing = Some((since, (pause * 2).min(LONGEST_PAUSE)));
        (now + pause <= since + FOR_UP_TO).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(because: Error, method: &Method, replayable: bool, each_takes: Duration) -> Vec<u128> {
        let (mut tries, mut now, mut pauses) = (Tries::default(), Instant::now(), vec![]);
        while let Some(pause) = tries.next(because, method, replayable, now) {
            pauses.push(pause.as_millis());
            now += pause + each_takes;
        }
        pauses
    }

    #[test]
    fn pauses_grow_and_last_two_seconds_in_all() {
        let want = [10, 20, 40, 80, 160, 250, 250, 250, 250, 250, 250];
        assert_eq!(pauses(Error::ConnectRefused, &Method::POST, true, Duration::ZERO), want);
        // a try that waits for its connection until the timeout leaves time for one more
        assert_eq!(pauses(Error::ConnectTimeout, &Method::POST, true, Duration::from_secs(1)), [10, 20]);
    }

    #[test]
    fn what_may_be_sent_again_depends_on_what_happened_and_on_the_method() {
        for (error, method, replayable, again) in [
            (Error::RefusedStream, Method::POST, true, true),
            (Error::Undelivered, Method::POST, true, true),
            (Error::Undelivered, Method::POST, false, false),
            (Error::UpstreamReset, Method::POST, true, false),
            (Error::UpstreamReset, Method::PUT, true, true),
            (Error::UndeliveredReset, Method::GET, true, true),
            (Error::UndeliveredReset, Method::PATCH, true, false),
            (Error::BackendTimeout, Method::GET, true, false),
            (Error::Unauthorized, Method::GET, true, false),
        ] {
            let tried = !pauses(error, &method, replayable, Duration::ZERO).is_empty();
            assert_eq!(tried, again, "{error:?} {method} {replayable}");
        }
    }
}
