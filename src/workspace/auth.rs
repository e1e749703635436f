//! Who asks: the credentials, and the headers that prove them.
//!
//! A user's password exchanged for a token will be one more kind here; nothing outside this file
//! asks which kind there is.

use std::fmt;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::sign::{self, Parts};
use crate::domain::Instant;

/// What is written where a secret stood.
const REDACTED: &str = "[redacted]";

/// How the recorder proves who it is.
#[derive(Clone)]
pub enum Credentials {
    /// An access key with its secret key, permanent or temporary.
    AccessKey {
        /// The key's id.
        access_key: String,
        /// The key's secret.
        secret_key: SecretString,
        /// What comes with a temporary key.
        security_token: Option<SecretString>,
    },
    /// A token that somebody else obtained; it dies after a day at most.
    Token(SecretString),
}

/// A secret that no HTTP header can carry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the {0} is empty or holds a character that no HTTP header can carry")]
pub struct UnusableSecret(&'static str);

/// The request that is to be proven; everything in it goes into the signature.
pub(super) struct Target<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub query: &'a [(String, String)],
    pub project_id: &'a str,
}

impl Credentials {
    /// Refuses what could never be sent, before the first request.
    pub(super) fn check(&self) -> Result<(), UnusableSecret> {
        let usable = |name, text: &str| {
            let fits = !text.is_empty() && HeaderValue::from_str(text).is_ok();
            if fits { Ok(()) } else { Err(UnusableSecret(name)) }
        };
        match self {
            Self::AccessKey { access_key, secret_key, security_token } => {
                usable("access key", access_key)?;
                usable("secret key", secret_key.expose_secret())?;
                security_token
                    .as_ref()
                    .map_or(Ok(()), |token| usable("security token", token.expose_secret()))
            }
            Self::Token(token) => usable("token", token.expose_secret()),
        }
    }

    /// The headers of one attempt. Signatures carry their instant, so each attempt asks anew.
    pub(super) fn headers(
        &self,
        target: &Target<'_>,
        now: Instant,
    ) -> Result<HeaderMap, UnusableSecret> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self {
            Self::Token(token) => {
                headers.insert(
                    HeaderName::from_static("x-auth-token"),
                    sensitive("token", token.expose_secret())?,
                );
            }
            Self::AccessKey { access_key, secret_key, security_token } => {
                let date = sign::format_date(now);
                let mut signed = vec![
                    (CONTENT_TYPE.to_string(), "application/json".to_owned()),
                    (HOST.to_string(), target.host.to_owned()),
                    ("x-project-id".to_owned(), target.project_id.to_owned()),
                    ("x-sdk-date".to_owned(), date.clone()),
                ];
                if let Some(token) = security_token {
                    signed.push(("x-security-token".to_owned(), token.expose_secret().to_owned()));
                }
                let parts = Parts {
                    method: "GET",
                    path: target.path,
                    query: target.query,
                    headers: &signed,
                    body: &[],
                };
                let authorization =
                    parts.authorization(access_key, secret_key.expose_secret(), &date);
                headers.insert(AUTHORIZATION, sensitive("access key", &authorization)?);
                for (name, value) in &signed {
                    // The client writes the host itself, from the same URL.
                    if name == HOST.as_str() {
                        continue;
                    }
                    let name =
                        HeaderName::from_bytes(name.as_bytes()).expect("the names are those above");
                    headers.insert(name, sensitive("project id or security token", value)?);
                }
            }
        }
        Ok(headers)
    }

    /// Which credential a refusal is about, without its secret.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::AccessKey { access_key, security_token, .. } => {
                let temporary = if security_token.is_some() { "temporary " } else { "" };
                format!("{temporary}access key {}", shorten(access_key))
            }
            Self::Token(_) => "token".to_owned(),
        }
    }

    /// Takes the secrets out of a text that came from outside: a server may echo what it was sent.
    pub(super) fn redact(&self, text: &str) -> String {
        let secrets = match self {
            Self::AccessKey { secret_key, security_token, .. } => {
                [Some(secret_key), security_token.as_ref()]
            }
            Self::Token(token) => [Some(token), None],
        };
        let mut text = text.to_owned();
        for secret in secrets.into_iter().flatten() {
            // A server that quotes an Authorization header quotes no secret key: a signature dies
            // after 15 minutes, and the key cannot be worked out from it.
            if !secret.expose_secret().is_empty() {
                text = text.replace(secret.expose_secret(), REDACTED);
            }
        }
        text
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.describe())
    }
}

/// Enough of an access key's id to tell it from another.
fn shorten(access_key: &str) -> String {
    let start: String = access_key.chars().take(4).collect();
    format!("{start}…")
}

fn sensitive(name: &'static str, text: &str) -> Result<HeaderValue, UnusableSecret> {
    let mut value = HeaderValue::from_str(text).map_err(|_| UnusableSecret(name))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Credentials {
        Credentials::AccessKey {
            access_key: "EXAMPLEKEY".into(),
            secret_key: SecretString::from("very-secret"),
            security_token: Some(SecretString::from("also-secret")),
        }
    }

    #[test]
    fn neither_debug_nor_a_message_shows_a_secret() {
        for credentials in [key(), Credentials::Token(SecretString::from("very-secret"))] {
            let shown = format!(
                "{credentials:?} {} {}",
                credentials.describe(),
                credentials.redact("you sent very-secret")
            );
            assert!(!shown.contains("very-secret") && !shown.contains("also-secret"), "{shown}");
        }
    }

    #[test]
    fn headers_that_are_logged_show_no_secret() {
        let target = Target { host: "h", path: "/v2", query: &[], project_id: "p" };
        let now = crate::clock::Clock::System.now();
        for credentials in [key(), Credentials::Token(SecretString::from("very-secret"))] {
            let shown = format!("{:?}", credentials.headers(&target, now).unwrap());
            assert!(!shown.contains("-secret") && !shown.contains("Signature"), "{shown}");
        }
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_refused() {
        let broken = Credentials::Token(SecretString::from("line\nbreak"));
        assert_eq!(broken.check(), Err(UnusableSecret("token")));
        assert_eq!(key().check(), Ok(()));
    }
}
