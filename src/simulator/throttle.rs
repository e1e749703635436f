//! The gateway's limit of how often one user may ask.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

use super::access::Refusal;

/// So many requests within so long a window, which slides, for each user.
///
/// By the monotonic clock: a server whose calendar stands still must let a client go on that waits.
/// What is refused does not count, so that a client that knocks all the time gets its share.
pub(super) struct Throttle {
    limit: Option<(u32, Duration)>,
    taken: Mutex<HashMap<String, VecDeque<Instant>>>,
}

impl Throttle {
    pub fn new(limit: Option<(u32, Duration)>) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    pub fn check(&self, asker: &str) -> Result<(), Refusal> {
        let Some((most, window)) = self.limit else { return Ok(()) };
        let now = Instant::now();
        let mut all = self.taken.lock().expect("nobody panics while holding it");
        let taken = all.entry(asker.to_owned()).or_default();
        while taken.front().is_some_and(|first| now.duration_since(*first) >= window) {
            taken.pop_front();
        }
        if taken.len() >= most as usize {
            return Err(throttled(most, window));
        }
        taken.push_back(now);
        Ok(())
    }
}

/// The gateway's refusal of a request too many.
pub(super) fn throttled(limit: u32, window: Duration) -> Refusal {
    let seconds = window.as_secs();
    let time = match seconds % 60 {
        0 if seconds > 0 => format!("{} minute", seconds / 60),
        _ => format!("{} second", window.as_secs_f64()),
    };
    let message = format!(
        "The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:{time}"
    );
    (StatusCode::TOO_MANY_REQUESTS, "APIGW.0308", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_window_slides_for_each_user() {
        let throttle = Throttle::new(Some((2, Duration::from_secs(60))));
        assert_eq!(throttle.check("anna"), Ok(()));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(throttle.check("anna"), Ok(()));
        let refused = throttle.check("anna").unwrap_err();
        assert!(refused.2.ends_with("over ratelimit,limit:2,time:1 minute"), "{}", refused.2);
        assert_eq!(throttle.check("ben"), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(throttle.check("anna"), Ok(()), "the first is a minute ago");
        assert!(throttle.check("anna").is_err(), "the second is not");
    }
}
