//! Who asks: the credentials, the headers that prove them, and what of them must never be shown.

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
    /// An IAM user, whose password is exchanged for tokens.
    Password {
        /// The user's name.
        user: String,
        /// The user's password.
        password: SecretString,
        /// The account that the user belongs to.
        domain: String,
    },
}

/// A secret that cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the {0} is empty or holds a character that no HTTP header can carry")]
pub struct UnusableSecret(&'static str);

/// The request that is to be proven; everything in it goes into the signature.
pub(super) struct Target<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub query: &'a [(String, String)],
    /// Whose things are asked for; the identity service is asked for nobody's.
    pub project_id: Option<&'a str>,
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
            // These go into a body, which carries everything.
            Self::Password { user, password, domain } => {
                for (name, text) in [
                    ("user", user.as_str()),
                    ("password", password.expose_secret()),
                    ("domain", domain),
                ] {
                    if text.is_empty() {
                        return Err(UnusableSecret(name));
                    }
                }
                Ok(())
            }
        }
    }

    /// The headers of one attempt; `token`: the one that the password was exchanged for. Signatures
    /// carry their instant, so each attempt asks anew.
    pub(super) fn headers(
        &self,
        target: &Target<'_>,
        token: Option<&SecretString>,
        now: Instant,
    ) -> Result<HeaderMap, UnusableSecret> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let token = match self {
            Self::Token(token) => Some(token),
            _ => token,
        };
        if let Some(token) = token {
            headers.insert(
                HeaderName::from_static("x-auth-token"),
                sensitive("token", token.expose_secret())?,
            );
        } else if let Self::AccessKey { access_key, secret_key, security_token } = self {
            let date = sign::format_date(now);
            let mut signed = vec![
                (CONTENT_TYPE.to_string(), "application/json".to_owned()),
                (HOST.to_string(), target.host.to_owned()),
                ("x-sdk-date".to_owned(), date.clone()),
            ];
            if let Some(project_id) = target.project_id {
                signed.push(("x-project-id".to_owned(), project_id.to_owned()));
            }
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
            let authorization = parts.authorization(access_key, secret_key.expose_secret(), &date);
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
        Ok(headers)
    }

    /// Which credential a refusal is about, without its secret, and without the user's name: refusals
    /// go into logs, and names do not.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::AccessKey { access_key, security_token, .. } => {
                let temporary = if security_token.is_some() { "temporary " } else { "" };
                format!("{temporary}access key {}", shorten(access_key))
            }
            Self::Token(_) => "token".to_owned(),
            Self::Password { domain, .. } => format!("user and password of account `{domain}`"),
        }
    }

    /// Takes the secrets out of a text that came from outside: a server may echo what it was sent.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = mask_signatures(text);
        match self {
            Self::AccessKey { access_key, secret_key, security_token } => {
                text = without(&text, secret_key, REDACTED);
                if let Some(token) = security_token {
                    text = without(&text, token, REDACTED);
                }
                // No secret, but half of one, and a whole one finds its account.
                if !access_key.is_empty() {
                    text = text.replace(access_key, &shorten(access_key));
                }
            }
            Self::Token(token) => text = without(&text, token, REDACTED),
            Self::Password { user, password, .. } => {
                text = without(&text, password, REDACTED);
                text = without_word(&text, user);
            }
        }
        text
    }
}

/// A text without a secret.
pub(super) fn redact_token(text: &str, token: &SecretString) -> String {
    without(text, token, REDACTED)
}

fn without(text: &str, secret: &SecretString, with: &str) -> String {
    let secret = secret.expose_secret();
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, with) }
}

/// A text without a name where it stands as a word: a short one is part of many others.
fn without_word(text: &str, name: &str) -> String {
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '[' | ']');
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name).filter(|_| !name.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let begins = before.chars().next_back().or(cleaned.chars().next_back());
        let is_word =
            !begins.is_some_and(is_inside) && !after.chars().next().is_some_and(is_inside);
        cleaned.push_str(before);
        cleaned.push_str(if is_word { "[user]" } else { name });
        rest = after;
    }
    cleaned.push_str(rest);
    cleaned
}

/// A signature lets whoever has it send the same request again for a quarter of an hour.
fn mask_signatures(text: &str) -> String {
    const BEFORE: &str = "Signature=";
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEFORE) {
        let (before, after) = rest.split_at(at + BEFORE.len());
        let value = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
        masked.push_str(before);
        if value > 0 {
            masked.push_str(REDACTED);
        }
        rest = &after[value..];
    }
    masked.push_str(rest);
    masked
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.describe())
    }
}

/// Enough of an access key's id to tell it from another.
pub(super) fn shorten(access_key: &str) -> String {
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
        let password = Credentials::Password {
            user: "jane.doe".into(),
            password: SecretString::from("very-secret"),
            domain: "acme".into(),
        };
        for credentials in [key(), Credentials::Token(SecretString::from("very-secret")), password]
        {
            let shown = format!(
                "{credentials:?} {} {}",
                credentials.describe(),
                credentials.redact("you sent very-secret")
            );
            assert!(!shown.contains("very-secret") && !shown.contains("also-secret"), "{shown}");
            assert!(!shown.contains("jane.doe"), "{shown}");
        }
        let echoed = "header SDK-HMAC-SHA256 Access=EXAMPLEKEY, SignedHeaders=host, \
                      Signature=0123abcd, X-Security-Token: also-secret";
        assert_eq!(
            key().redact(echoed),
            "header SDK-HMAC-SHA256 Access=EXAM…, SignedHeaders=host, Signature=[redacted], \
             X-Security-Token: [redacted]"
        );
        assert_eq!(mask_signatures("Signature=, Signature=ab"), "Signature=, Signature=[redacted]");
    }

    #[test]
    fn a_user_is_taken_out_as_a_word_and_once() {
        assert_eq!(
            without_word("u: user u, \\u001b u-1 (u)", "u"),
            "[user]: user [user], \\u001b u-1 ([user])"
        );
        let once = without_word("who is user?", "user");
        assert_eq!(once, "who is [user]?");
        assert_eq!(without_word(&once, "user"), once);
        assert_eq!(without_word("as it is", ""), "as it is");
    }

    #[test]
    fn headers_that_are_logged_show_no_secret() {
        let target = Target { host: "h", path: "/v2", query: &[], project_id: Some("p") };
        let now = crate::clock::Clock::System.now();
        let password = Credentials::Password {
            user: "jane.doe".into(),
            password: SecretString::from("very-secret"),
            domain: "acme".into(),
        };
        for credentials in [key(), Credentials::Token(SecretString::from("very-secret")), password]
        {
            let shown = format!("{:?}", credentials.headers(&target, None, now).unwrap());
            assert!(!shown.contains("-secret") && !shown.contains("Signature"), "{shown}");
        }
    }

    #[test]
    fn a_secret_that_no_header_can_carry_is_refused() {
        let broken = Credentials::Token(SecretString::from("line\nbreak"));
        assert_eq!(broken.check(), Err(UnusableSecret("token")));
        let empty = Credentials::Password {
            user: "u".into(),
            password: SecretString::from(""),
            domain: "d".into(),
        };
        assert_eq!(empty.check(), Err(UnusableSecret("password")));
        assert_eq!(key().check(), Ok(()));
    }
}
