//! The identity service's two calls: a token for a password, and the projects of a region.

use axum::http::StatusCode;
use chrono::TimeDelta;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::access::{Access, Issued};
use crate::domain::Instant;

/// The other project, where there are two of one name.
const OTHER_PROJECT: &str = "00000000000000000000000000000002";

impl Access {
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
        issued.retain(|_, token| now - token.expires_at < TimeDelta::days(1));
        let user = name.to_owned();
        issued.insert(token.clone(), Issued { user, expires_at, is_revoked: false });
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

    /// The projects that a user sees, of one name where one is asked for.
    pub fn projects(&self, name: Option<&str>) -> Value {
        let project = |id: &str| {
            json!({
                "id": id, "name": self.region, "domain_id": "d", "parent_id": "d",
                "enabled": true, "is_domain": false, "description": "",
                "links": {"self": format!("/v3/projects/{id}")},
            })
        };
        let mut projects = Vec::new();
        if name.is_none_or(|name| name == self.region) {
            // The right one comes last, so that whoever takes the first is wrong.
            projects.extend((1..self.projects).map(|_| project(OTHER_PROJECT)));
            projects.extend((self.projects > 0).then(|| project(&self.project_id)));
        }
        let links = json!({"self": "/v3/projects", "next": null, "previous": null});
        json!({"projects": projects, "links": links})
    }
}
