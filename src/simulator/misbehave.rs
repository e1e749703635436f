//! The answers that faults give instead of the right one.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use chrono::TimeDelta;
use serde_json::json;

use super::access;
use super::bodies::{bad_gzip, broken, huge, huge_gzip};
use super::connection::Fuse;
use super::fault::{Fault, Shape};
use super::respond::{http_date, refuse};
use super::throttle::throttled;
use crate::domain::Instant;

/// What an answer may depend on.
pub(super) struct Scene<'a> {
    pub request_id: &'a str,
    /// The date of the answer.
    pub date: Instant,
    /// Whether the client takes gzip.
    pub gzip: bool,
    pub fuse: &'a Fuse,
}

/// The answer that a fault gives instead of the right one, for those that do.
pub(super) fn misbehave(fault: &Fault, scene: &Scene<'_>) -> Option<Response> {
    Some(match fault {
        Fault::Throttle(seconds) => throttle(scene, seconds.map(HeaderValue::from)),
        Fault::ThrottleUntil(seconds) => {
            throttle(scene, Some(http_date(scene.date + TimeDelta::seconds((*seconds).into()))))
        }
        Fault::Status(status) => {
            let refusal = (code(*status), "WKS.00000003", "Internal service error.".into());
            refuse(refusal, scene.request_id)
        }
        Fault::Shaped(shape, status) => shaped(*shape, code(*status)),
        Fault::Html(status) => {
            let page = "<html><head><title>Bad Gateway</title></head><body>proxy</body></html>";
            answer(code(*status), "text/html", page)
        }
        Fault::Drop => {
            scene.fuse.close();
            Response::new(broken(Bytes::new()))
        }
        Fault::Reset => {
            scene.fuse.reset();
            Response::new(broken(Bytes::new()))
        }
        Fault::BadJson => {
            answer(StatusCode::OK, "application/json", r#"{"desktops":[{"desktop_id":"21616aa6-"#)
        }
        Fault::Empty => answer(StatusCode::OK, "application/json", ""),
        Fault::BadGzip => compressed(Body::from(bad_gzip())),
        Fault::Huge(bytes) if scene.gzip => compressed(huge_gzip(*bytes)),
        Fault::Huge(bytes) => answer(StatusCode::OK, "application/json", huge(*bytes)),
        Fault::ErrorInside => {
            let body = json!({"error_code": "WKS.00010109", "error_msg": "The task failed."});
            answer(StatusCode::OK, "application/json", body.to_string())
        }
        Fault::Redirect => {
            let mut response = answer(StatusCode::TEMPORARY_REDIRECT, "text/plain", "");
            let elsewhere = HeaderValue::from_static("https://elsewhere.example/v2");
            response.headers_mut().insert(LOCATION, elsewhere);
            response
        }
        Fault::ExpiredToken => refuse(access::expired(), scene.request_id),
        Fault::StaleToken => {
            refuse(access::stale(scene.date - TimeDelta::minutes(1)), scene.request_id)
        }
        Fault::Locked => refuse(access::locked(), scene.request_id),
        // What spoils the right answer is done where that is made.
        Fault::Delay(_)
        | Fault::Slow(_)
        | Fault::Truncate
        | Fault::WrongTotal(_)
        | Fault::NullTotal
        | Fault::RepeatPage
        | Fault::Duplicate
        | Fault::NoId
        | Fault::Nulls
        | Fault::OddNames
        | Fault::Extra
        | Fault::ShortPage(_)
        | Fault::Lose(_)
        | Fault::WildCounters
        | Fault::Move(_)
        | Fault::KillTokens
        | Fault::Skew(_) => return None,
    })
}

fn throttle(scene: &Scene<'_>, retry_after: Option<HeaderValue>) -> Response {
    let mut response = refuse(throttled(200, std::time::Duration::from_secs(60)), scene.request_id);
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, retry_after);
    }
    response
}

fn shaped(shape: Shape, status: StatusCode) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let (code, message) = ("WKS.00000003", "Internal service error.");
    let body = match shape {
        Shape::Iam => json!({"error": {
            "code": status.as_u16(),
            "message": "The request you have made requires authentication.",
            "title": title,
        }}),
        Shape::Camel => json!({"errorCode": code, "errorMsg": message}),
        Shape::Nested => json!({"error": {"error_code": code, "error_msg": message}}),
        Shape::Text => return answer(status, "text/plain", format!("{title}: upstream is gone\n")),
        Shape::Silent => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            return response;
        }
    };
    answer(status, "application/json", body.to_string())
}

fn compressed(body: Body) -> Response {
    let mut response = answer(StatusCode::OK, "application/json", body);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

/// An answer of a kind.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
