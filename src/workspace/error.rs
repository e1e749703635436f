//! Why a request was not answered, in words for whoever is woken up by it.

use std::time::Duration;

use crate::domain::Failure;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// No whole answer came in time.
    Timeout,
    /// No connection was made: refused, unreachable, no such host, no trusted certificate.
    Connect,
    /// The connection broke before the answer began.
    Connection,
    /// The answer broke off.
    Truncated,
    /// The answer is larger than any sane one.
    TooLarge,
    /// The server sent us elsewhere; credentials are not carried there.
    Redirect,
    /// The answer is no JSON, or not of the documented form.
    Unreadable,
    /// The API answered with an error.
    Api,
    /// It was not sent: the time or the requests of the visit were used up.
    Budget,
    /// It was not sent: the credential was refused a moment ago, and more refusals would lock it.
    Withheld,
    /// The request could not be made: a bug or an unusable secret.
    Request,
}

impl Kind {
    /// The word that stands in the ledger where the API gave no code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Connection => "connection",
            Self::Truncated => "truncated",
            Self::TooLarge => "too large",
            Self::Redirect => "redirect",
            Self::Unreadable => "unreadable",
            Self::Api => "api",
            Self::Budget => "budget",
            Self::Withheld => "withheld",
            Self::Request => "request",
        }
    }
}

/// A request that was not answered as it should, after all attempts.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{call}: {message}")]
pub struct ApiError {
    /// The call, for example `connect-desktops`.
    pub call: &'static str,
    /// What kind of failure it was.
    pub kind: Kind,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The API's own code, where it gave one.
    pub code: Option<Box<str>>,
    /// What happened, without secrets.
    pub message: String,
    /// The server's id for the request, for the vendor's support.
    pub request_id: Option<Box<str>>,
    /// What to do about it, where that is known.
    pub hint: Option<Box<str>>,
    /// How long the server asks us to wait.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    pub(super) fn new(call: &'static str, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            call,
            kind,
            status: None,
            code: None,
            message: message.into(),
            request_id: None,
            hint: None,
            retry_after: None,
        }
    }

    /// What happened to the connection. The URL is left out: it may name persons.
    pub(super) fn from_transport(call: &'static str, error: reqwest::Error) -> Self {
        let kind = if error.is_timeout() {
            Kind::Timeout
        } else if error.is_connect() {
            Kind::Connect
        } else if error.is_body() || error.is_decode() {
            Kind::Truncated
        } else if error.is_builder() {
            Kind::Request
        } else {
            Kind::Connection
        };
        let error = error.without_url();
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::new(call, kind, message)
    }

    /// Whether the same request may be answered if it is sent again. Errors that say that *we* are
    /// wrong are not repeated: five refused signatures in a row lock a key.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            Kind::Timeout
            | Kind::Connect
            | Kind::Connection
            | Kind::Truncated
            | Kind::Unreadable => true,
            Kind::Api => matches!(self.status, Some(500 | 502 | 503 | 504)) || self.is_throttled(),
            Kind::TooLarge | Kind::Redirect | Kind::Budget | Kind::Withheld | Kind::Request => {
                false
            }
        }
    }

    /// Whether the server says: too many requests.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.status == Some(429) || self.is_gateways(&["0308"])
    }

    /// Whether the server does not believe who we are. A right that is missing is something else.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.kind == Kind::Api && (self.status == Some(401) || self.is_locked())
    }

    /// Whether it is refused because it was refused too often: for five minutes, as documented.
    pub(super) fn is_locked(&self) -> bool {
        let message = self.message.to_lowercase();
        // "AK access failed to reach the limit,forbidden", and the identity service's words.
        matches!(self.status, Some(401 | 403))
            && (message.contains("reach the limit") || message.contains("locked"))
    }

    /// Whether a token is refused in a way that another one may not be.
    pub(super) fn asks_for_another_token(&self) -> bool {
        self.status == Some(401) && self.is_gateways(&["0301", "0307"])
    }

    /// Whether the code is one of the service's own, behind the gateway.
    pub(super) fn is_workspaces(&self) -> bool {
        self.code.as_deref().is_some_and(|code| code.starts_with("WKS."))
    }

    /// Whether the code is one of the gateway's, which comes with two prefixes.
    pub(super) fn is_gateways(&self, numbers: &[&str]) -> bool {
        let Some(code) = &self.code else { return false };
        ["APIGW.", "APIG."]
            .iter()
            .any(|prefix| code.strip_prefix(prefix).is_some_and(|number| numbers.contains(&number)))
    }

    /// What the ledger keeps of it.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        let code = match (&self.code, self.status) {
            (Some(code), _) => code.to_string(),
            (None, Some(status)) if self.kind == Kind::Api => format!("HTTP {status}"),
            (None, _) => self.kind.as_str().to_owned(),
        };
        let mut message = self.to_string();
        if let Some(id) = &self.request_id {
            message = format!("{message} (request id {id})");
        }
        if let Some(hint) = &self.hint {
            message = format!("{message}; {hint}");
        }
        Failure { code: Some(code), message: Some(message) }
    }
}
