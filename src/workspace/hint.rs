//! What to do about a refusal, where that is known: for whoever reads it at three in the morning.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;

use super::Credentials;

/// From here on a clock that is off is worth a word; signatures die at 15 minutes.
const NOTICEABLE_SKEW_MINUTES: i64 = 5;

/// A refusal and its circumstances.
pub(super) struct Refused<'a> {
    pub call: &'static str,
    pub status: StatusCode,
    pub code: Option<&'a str>,
    /// The answer's own date.
    pub server_time: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
    pub credentials: &'a Credentials,
    pub project_id: &'a str,
    pub host: &'a str,
}

impl Refused<'_> {
    /// The advice, without secrets.
    pub fn hint(&self) -> Option<String> {
        let credentials = self.credentials.describe();
        let hint = match (self.status, self.code) {
            (StatusCode::UNAUTHORIZED, Some("APIGW.0307" | "APIG.0307")) => format!(
                "the {credentials} has expired or belongs to another region: obtain a new one"
            ),
            (StatusCode::UNAUTHORIZED, _) => match self.skew() {
                Some(skew) => format!(
                    "this machine's clock is {} minutes off the server's, and signatures die at 15: set it right",
                    skew.num_minutes()
                ),
                None => format!(
                    "the {credentials} is refused: is it right, enabled, and of this account?"
                ),
            },
            (StatusCode::FORBIDDEN, _) => format!(
                "grant the IAM action `{}` to the user of the {credentials} in project {}",
                match self.call {
                    "connect-desktops" => "workspace:desktops:listWithConnectStatus",
                    _ => "workspace:desktops:getConnectStatus",
                },
                self.project_id
            ),
            (StatusCode::NOT_FOUND, _) => format!(
                "is project {} of the region behind `{}`, and is Workspace enabled there?",
                self.project_id, self.host
            ),
            (StatusCode::TOO_MANY_REQUESTS, _) => {
                "the account's requests are throttled: a longer interval helps".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    fn skew(&self) -> Option<TimeDelta> {
        let skew = self.now - self.server_time?;
        (skew.num_minutes().abs() >= NOTICEABLE_SKEW_MINUTES).then_some(skew)
    }
}
