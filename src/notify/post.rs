//! One attempt to deliver a message.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect;
use secrecy::ExposeSecret as _;

use super::sign::signature;
use crate::clock::Clock;
use crate::config::WebhookConfig;
use crate::domain::Instant;
use crate::error::Chain;

/// No receiver is left alone for longer, whatever it asks for: a night is short.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// More of an answer is of no use to anybody.
const SHOWN_BYTES: usize = 200;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the message.
    Taken(u16),
    /// It does not want this one: asking again soon cannot help.
    Refused(u16),
    /// It wants nothing any more.
    Gone,
    /// It is not able to take messages now, and asks to be left alone for so long.
    Busy(u16, Option<Duration>),
    /// There was no answer, for this reason.
    Silent(String),
}

/// The way to one receiver.
#[derive(Clone, Debug)]
pub struct Poster {
    client: reqwest::Client,
    config: WebhookConfig,
    clock: Clock,
}

impl Poster {
    /// Prepares the way.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(config: WebhookConfig, clock: Clock) -> reqwest::Result<Self> {
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("deskledger/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            // What is signed is for this address, and for no other that it names.
            .redirect(redirect::Policy::none());
        if config.is_loopback() {
            // A proxy cannot reach this machine's own loopback addresses.
            client = client.no_proxy();
        }
        Ok(Self { client: client.build()?, config, clock })
    }

    /// Posts a message once, and reads what is said; with that, the beginning of the answer's text.
    pub async fn post(&self, id: &str, body: &str) -> (Answer, String) {
        let timestamp = self.clock.now().timestamp();
        let request = self
            .client
            .post(self.config.url.expose_secret())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature(&self.config.secrets, id, timestamp, body))
            .body(body.to_owned());
        let mut response = match request.send().await {
            Ok(response) => response,
            // Without the address, which nobody is to read.
            Err(error) => return (Answer::Silent(reason(&error.without_url())), String::new()),
        };
        let answer = answer(response.status().as_u16(), response.headers(), self.clock.now());
        let text = match response.chunk().await {
            Ok(Some(bytes)) => {
                String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
            }
            _ => String::new(),
        };
        (answer, text)
    }
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() { "no answer in time".to_owned() } else { Chain(error).to_string() }
}

fn answer(status: u16, headers: &HeaderMap, now: Instant) -> Answer {
    match status {
        200..=299 => Answer::Taken(status),
        410 => Answer::Gone,
        // Too slow, too early, too many: they mean the moment and not the message.
        400..=499 if !matches!(status, 408 | 425 | 429) => Answer::Refused(status),
        _ => Answer::Busy(status, pause(headers, now)),
    }
}

/// `Retry-After` in both of its forms.
fn pause(headers: &HeaderMap, now: Instant) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(text).ok()?;
            (until.to_utc() - now).to_std().unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_what_its_status_says() {
        let now = "2026-11-21T20:00:00Z".parse().unwrap();
        let asking = |text: &str| HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (status, headers, expected) in [
            (200, HeaderMap::new(), Answer::Taken(200)),
            (204, HeaderMap::new(), Answer::Taken(204)),
            (302, HeaderMap::new(), Answer::Busy(302, None)),
            (400, asking("3"), Answer::Refused(400)),
            (404, HeaderMap::new(), Answer::Refused(404)),
            (410, HeaderMap::new(), Answer::Gone),
            (429, asking("7"), Answer::Busy(429, seconds(7))),
            (503, asking("Sat, 21 Nov 2026 20:00:05 GMT"), Answer::Busy(503, seconds(5))),
            (503, asking("99999999"), Answer::Busy(503, seconds(3600))),
            (500, asking("soon"), Answer::Busy(500, None)),
        ] {
            assert_eq!(answer(status, &headers, now), expected);
        }
    }
}
