//! Who may ask: signatures, tokens, and the exchange of a password for a token.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::domain::Instant;
use crate::workspace::sign::{self, Claim};

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
    pub clock: Clock,
    /// The tokens given out, and when each dies.
    pub issued: Mutex<HashMap<String, Instant>>,
}

impl Access {
    /// Whether a request comes from somebody who may ask.
    pub fn check(&self, parts: &Parts, body: &[u8]) -> Result<(), Refusal> {
        if let Some(token) = parts.headers.get("x-auth-token") {
            return self.check_token(token.to_str().unwrap_or_default());
        }
        match parts.headers.get(AUTHORIZATION) {
            Some(header) => {
                let header = header.to_str().unwrap_or_default();
                self.check_signature(parts, header, body).map_err(|why| unauthorized(&why))?;
            }
            None => return Err(unauthorized("x-auth-token not found")),
        }
        match parts.headers.get("x-project-id") {
            Some(project) if project.as_bytes() != self.project_id.as_bytes() => Err((
                StatusCode::FORBIDDEN,
                "APIGW.0302",
                "Incorrect app authentication information: project id not match".into(),
            )),
            _ => Ok(()),
        }
    }

    fn check_token(&self, token: &str) -> Result<(), Refusal> {
        if self.token.as_ref().is_some_and(|own| own.expose_secret() == token) {
            return Ok(());
        }
        let issued = self.issued.lock().expect("nobody panics while holding it");
        match issued.get(token) {
            Some(expires_at) if *expires_at > self.clock.now() => Ok(()),
            Some(_) => Err(expired()),
            None => Err(unauthorized("decrypt token fail")),
        }
    }

    fn check_signature(&self, parts: &Parts, header: &str, body: &[u8]) -> Result<(), String> {
        let claim = Claim::parse(header).ok_or("verify aksk signature fail, bad Authorization")?;
        let (access_key, secret_key) =
            self.access_key.as_ref().ok_or("verify aksk signature fail, ak not exist")?;
        if claim.access_key != *access_key {
            return Err("verify aksk signature fail, ak not exist".into());
        }
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
        if !signed.verify(secret_key.expose_secret(), &date, &claim.signature) {
            return Err("verify aksk signature fail".into());
        }
        Ok(())
    }

    /// Exchanges a password for a token: the token, and the body that comes with it.
    ///
    /// Answers, good and bad, are in the identity service's own shape.
    pub fn exchange(&self, body: &[u8]) -> Result<(String, Value), (StatusCode, Value)> {
        let refuse = |status: StatusCode, message: &str| {
            let title = status.canonical_reason().unwrap_or_default();
            let code = status.as_u16();
            Err((status, json!({"error": {"code": code, "message": message, "title": title}})))
        };
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return refuse(StatusCode::BAD_REQUEST, "The request body is invalid");
        };
        let identity = &request["auth"]["identity"];
        let user = &identity["password"]["user"];
        let by_password = identity["methods"]
            .as_array()
            .is_some_and(|methods| methods.iter().any(|method| method == "password"));
        let (Some(name), Some(password), Some(domain)) =
            (user["name"].as_str(), user["password"].as_str(), user["domain"]["name"].as_str())
        else {
            return refuse(StatusCode::BAD_REQUEST, "The request body is invalid");
        };
        if !by_password {
            return refuse(StatusCode::BAD_REQUEST, "The request body is invalid");
        }
        let known = self.password.as_ref().is_some_and(|known| {
            known.user == name
                && known.domain == domain
                && known.password.expose_secret() == password
        });
        if !known {
            return refuse(StatusCode::UNAUTHORIZED, "The username or password is wrong.");
        }
        let project = &request["auth"]["scope"]["project"];
        let ours = match (project["name"].as_str(), project["id"].as_str()) {
            (Some(name), _) => name == self.region,
            (None, Some(id)) => id == self.project_id,
            (None, None) => true,
        };
        if !ours {
            return refuse(StatusCode::NOT_FOUND, "Could not find project.");
        }
        let token = format!("MII{}", hex::encode(rand::random::<[u8; 24]>()));
        let now = self.clock.now();
        let expires_at = now + self.token_life;
        let mut issued = self.issued.lock().expect("nobody panics while holding it");
        // Dead ones are kept for a while, so that they are called expired and not unknown.
        issued.retain(|_, until| now - *until < TimeDelta::days(1));
        issued.insert(token.clone(), expires_at);
        let write = |at: Instant| at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let body = json!({"token": {
            "expires_at": write(expires_at),
            "issued_at": write(now),
            "methods": ["password"],
            "catalog": [],
            "roles": [{"id": "0", "name": "Workspace ReadOnlyAccess"}],
            "project": {"id": self.project_id, "name": self.region,
                        "domain": {"id": "d", "name": domain}},
            "user": {"id": "u", "name": name, "password_expires_at": "",
                     "domain": {"id": "d", "name": domain}},
        }});
        Ok((token, body))
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
