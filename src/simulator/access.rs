//! Who may ask: signatures, tokens, and the exchange of a password for a token.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};

use crate::clock::Clock;
use crate::domain::Instant;
use crate::workspace::sign::{self, Claim};

/// So many failures in a row are forgiven; the next one locks the access key.
const FORGIVEN: u32 = 5;
/// For how long it is locked.
const LOCKED_FOR: TimeDelta = TimeDelta::minutes(5);

/// How far a signature's date may be off the server's clock.
const SKEW: TimeDelta = TimeDelta::minutes(15);

/// A user that a token is given to.
#[derive(Clone, Debug)]
pub struct Password {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: SecretString,
    /// The account that the user belongs to.
    pub domain: String,
}

/// A refusal: status, code, message.
pub(super) type Refusal = (StatusCode, &'static str, String);

/// The keys of one project.
pub(super) struct Access {
    pub project_id: String,
    pub region: String,
    pub access_key: Option<(String, SecretString)>,
    pub security_token: Option<SecretString>,
    pub token: Option<SecretString>,
    pub password: Option<Password>,
    pub token_life: TimeDelta,
    /// How many projects of the region's name there are.
    pub projects: u8,
    pub clock: Clock,
    /// The tokens given out.
    pub issued: Mutex<HashMap<String, Issued>>,
    pub key_failures: Mutex<KeyFailures>,
}

/// A token that was given out.
pub(super) struct Issued {
    pub user: String,
    pub expires_at: Instant,
    pub is_revoked: bool,
}

/// What is held against the access key.
#[derive(Default)]
pub(super) struct KeyFailures {
    in_a_row: u32,
    locked_until: Option<Instant>,
    locks: u64,
}

impl Access {
    /// Who asks, if it is somebody who may: the access key, or the user that a token belongs to.
    pub fn check(&self, parts: &Parts, body: &[u8]) -> Result<String, Refusal> {
        if let Some(token) = parts.headers.get("x-auth-token") {
            return self.check_token(token.to_str().unwrap_or_default());
        }
        let Some(header) = parts.headers.get(AUTHORIZATION) else {
            return Err(unauthorized("x-auth-token not found"));
        };
        let asker = self.check_key(parts, header.to_str().unwrap_or_default(), body)?;
        match parts.headers.get("x-project-id") {
            Some(project) if project.as_bytes() != self.project_id.as_bytes() => Err((
                StatusCode::FORBIDDEN,
                "APIGW.0302",
                "Incorrect app authentication information: project id not match".into(),
            )),
            _ => Ok(asker),
        }
    }

    /// All tokens given out so far are dead from now on.
    pub fn revoke_tokens(&self) {
        for token in self.issued.lock().expect("nobody panics while holding it").values_mut() {
            token.is_revoked = true;
        }
    }

    /// How often the access key was locked.
    pub fn locks(&self) -> u64 {
        self.key_failures().locks
    }

    fn check_token(&self, token: &str) -> Result<String, Refusal> {
        if self.token.as_ref().is_some_and(|own| own.expose_secret() == token) {
            return Ok("the token without an end".into());
        }
        let issued = self.issued.lock().expect("nobody panics while holding it");
        match issued.get(token) {
            Some(token) if !token.is_revoked && token.expires_at > self.clock.now() => {
                Ok(token.user.clone())
            }
            Some(_) => Err(expired()),
            None => Err(unauthorized("decrypt token fail")),
        }
    }

    /// A signature, unless its key is locked for having failed too often.
    fn check_key(&self, parts: &Parts, header: &str, body: &[u8]) -> Result<String, Refusal> {
        let claim = Claim::parse(header)
            .ok_or_else(|| unauthorized("verify aksk signature fail, bad Authorization"))?;
        let known = self.access_key.as_ref().filter(|(known, _)| *known == claim.access_key);
        let Some((access_key, secret_key)) = known else {
            return Err(unauthorized("verify aksk signature fail, ak not exist"));
        };
        let now = self.clock.now();
        if self.key_failures().locked_until.is_some_and(|until| now < until) {
            return Err(locked());
        }
        let checked = self.check_signature(parts, &claim, secret_key.expose_secret(), body);
        let mut failures = self.key_failures();
        match checked {
            Ok(()) => {
                failures.in_a_row = 0;
                Ok(access_key.clone())
            }
            Err(why) => {
                failures.in_a_row += 1;
                if failures.in_a_row > FORGIVEN {
                    failures.in_a_row = 0;
                    failures.locked_until = Some(now + LOCKED_FOR);
                    failures.locks += 1;
                }
                Err(unauthorized(&why))
            }
        }
    }

    fn key_failures(&self) -> MutexGuard<'_, KeyFailures> {
        self.key_failures.lock().expect("nobody panics while holding it")
    }

    fn check_signature(
        &self,
        parts: &Parts,
        claim: &Claim,
        secret_key: &str,
        body: &[u8],
    ) -> Result<(), String> {
        let value = |name: &str| -> Option<String> {
            match parts.headers.get(name) {
                Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
                // In HTTP/2 the host is no header.
                None if name == HOST.as_str() => Some(parts.uri.authority()?.to_string()),
                None => None,
            }
        };
        let date = value("x-sdk-date").ok_or("verify aksk signature fail, no X-Sdk-Date")?;
        let signed_at = sign::parse_date(&date).ok_or("verify aksk signature fail, bad date")?;
        if (self.clock.now() - signed_at).abs() > SKEW {
            return Err("verify aksk signature fail, signature expired".into());
        }
        if let Some(token) = &self.security_token
            && value("x-security-token").as_deref() != Some(token.expose_secret())
        {
            return Err("verify aksk signature fail, bad X-Security-Token".into());
        }
        // Whatever the client says that it signed is checked, and nothing else is believed.
        let mut headers = Vec::with_capacity(claim.signed_headers.len());
        for name in &claim.signed_headers {
            let value = value(name)
                .ok_or_else(|| format!("verify aksk signature fail, no header {name}"))?;
            headers.push((name.clone(), value));
        }
        if !claim.signed_headers.iter().any(|name| name == "x-sdk-date") {
            return Err("verify aksk signature fail, X-Sdk-Date is not signed".into());
        }
        let query = sign::parse_query(parts.uri.query().unwrap_or_default());
        let signed = sign::Parts {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: &query,
            headers: &headers,
            body,
        };
        if !signed.verify(secret_key, &date, &claim.signature) {
            return Err("verify aksk signature fail".into());
        }
        Ok(())
    }
}

fn unauthorized(why: &str) -> Refusal {
    let message = format!("Incorrect IAM authentication information: {why}");
    (StatusCode::UNAUTHORIZED, "APIGW.0301", message)
}

/// A token that was good once.
pub(super) fn expired() -> Refusal {
    (StatusCode::UNAUTHORIZED, "APIGW.0307", "The token must be updated.".into())
}

/// A token whose time is over, as the gateway says it elsewhere.
pub(super) fn stale(expires_at: Instant) -> Refusal {
    unauthorized(&format!("token expires, expires_at: {}", expires_at.format("%Y-%m-%dT%H:%M:%SZ")))
}

/// An access key that failed too often.
pub(super) fn locked() -> Refusal {
    unauthorized("AK access failed to reach the limit,forbidden")
}
