//! What to do about a refusal, where that is known: for whoever reads it at three in the morning.

use super::run::Skew;
use super::{ApiError, Credentials};
use crate::domain::Instant;

/// A refusal by the Workspace API or its gateway, and its circumstances.
pub(super) struct Refused<'a> {
    pub error: &'a ApiError,
    /// The answer's own date.
    pub server_time: Option<Instant>,
    pub now: Instant,
    pub credentials: &'a Credentials,
    pub project_id: &'a str,
    pub host: &'a str,
}

impl Refused<'_> {
    /// The advice, without secrets.
    pub fn hint(&self) -> Option<String> {
        let who = self.credentials.describe();
        if self.error.is_locked() {
            return Some(locked(&who));
        }
        let hint = match self.error.status? {
            401 => match self.credentials {
                _ if self.error.is_gateways(&["0307"]) => match self.credentials {
                    Credentials::Password { .. } => format!(
                        "a new token of the {who} is refused like the one before: is the identity service of the same region as `{}`?",
                        self.host
                    ),
                    _ => format!(
                        "the {who} has expired or belongs to another region: obtain a new one"
                    ),
                },
                Credentials::AccessKey { security_token, .. } => {
                    return Some(refused_key(
                        &who,
                        security_token.is_some(),
                        self.server_time,
                        self.now,
                    ));
                }
                Credentials::Token(_) => format!(
                    "the {who} is refused: obtain a new one; it lives for a day at most, and in one project of one region"
                ),
                Credentials::Password { .. } => format!(
                    "the identity service gave the {who} a token that is refused here: is it the one of the same region as `{}`?",
                    self.host
                ),
            },
            403 => format!(
                "grant the IAM action `{}` to the user of the {who} in project {}",
                match self.error.call {
                    "connect-desktops" => "workspace:desktops:listWithConnectStatus",
                    _ => "workspace:desktops:getConnectStatus",
                },
                self.project_id
            ),
            404 => format!(
                "is project {} of the region behind `{}`, and is Workspace enabled there?",
                self.project_id, self.host
            ),
            _ => return throttled(self.error),
        };
        Some(hint)
    }
}

/// A refusal by the identity service.
pub(super) struct RefusedByIam<'a> {
    pub error: &'a ApiError,
    pub server_time: Option<Instant>,
    pub now: Instant,
    pub credentials: &'a Credentials,
    pub host: &'a str,
}

impl RefusedByIam<'_> {
    /// The advice, without secrets.
    pub fn hint(&self) -> Option<String> {
        let who = self.credentials.describe();
        let said = self.error.message.to_lowercase();
        let is_user = matches!(self.credentials, Credentials::Password { .. });
        if self.error.is_locked() {
            return Some(if is_user {
                format!(
                    "the {who} are locked after wrong passwords: wait for a quarter of an hour, or have them unlocked"
                )
            } else {
                locked(&who)
            });
        }
        let hint = match (self.error.status?, self.credentials) {
            (400..=403, _) if ["mfa", "multi-factor", "totp"].iter().any(|word| said.contains(word)) => {
                "the user has to give a second factor, which a recorder has not: use a user without one, or an access key".to_owned()
            }
            (401 | 403, Credentials::Password { .. }) if said.contains("programmatic") => {
                "the user may only use the console: allow it programmatic access".to_owned()
            }
            (401, Credentials::Password { .. }) => {
                format!("the {who} are refused by `{}`: are they right, and is the user's password to be changed first?", self.host)
            }
            (401, Credentials::AccessKey { security_token, .. }) => {
                refused_key(&who, security_token.is_some(), self.server_time, self.now)
            }
            (401, Credentials::Token(_)) => {
                format!("the {who} is refused by `{}`: obtain a new one", self.host)
            }
            (403, _) if self.error.call == "projects" => format!(
                "the user of the {who} may not list projects: set `project_id`, or grant `iam:projects:listProjects`"
            ),
            (403, _) => format!("the {who} may not have tokens of this project: give the user a role in it"),
            (404, _) => "is the project or the region right, and `iam_endpoint` the identity service's?".to_owned(),
            _ => return throttled(self.error),
        };
        Some(hint)
    }
}

fn throttled(error: &ApiError) -> Option<String> {
    error.is_throttled().then(|| {
        "the account's requests are throttled: a smaller `requests_per_minute` or a longer interval helps"
            .to_owned()
    })
}

fn locked(who: &str) -> String {
    format!(
        "the {who} is locked for five minutes after too many refusals: mend it before the next try"
    )
}

fn refused_key(who: &str, is_temporary: bool, server: Option<Instant>, now: Instant) -> String {
    let skew =
        server.map(|server| Skew { machine: now, server }).filter(|skew| skew.is_noticeable());
    match skew {
        Some(skew) => format!(
            "this machine's clock is {} minutes off the server's, and signatures die at 15: set it right",
            skew.ahead().num_minutes()
        ),
        None if is_temporary => {
            format!("the {who} is refused: has it expired, and is its security token beside it?")
        }
        None => format!("the {who} is refused: is it right, enabled, and of this account?"),
    }
}
