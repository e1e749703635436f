//! From a request to a response: faults first, then the answer, compressed where that was asked for.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, DATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::access::Refusal;
use super::api::{Answer, Call, Shared};
use super::bodies::{broken, compress, dripping};
use super::connection::Fuse;
use super::fault::Fault;
use super::misbehave::{Scene, answer, misbehave};
use crate::domain::Instant;
use crate::workspace::sign;

/// The longest body that a request may have.
const LARGEST_REQUEST: usize = 1 << 20;
/// Below this, compression costs more than it saves.
const SMALLEST_COMPRESSED: usize = 1024;

/// Answers one request.
pub(super) async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(fuse): ConnectInfo<Fuse>,
    request: Request,
) -> Response {
    let _under_way = shared.counting.under_way();
    let (parts, body) = request.into_parts();
    let call = Call::of(&parts.method, parts.uri.path());
    // An id as long as the real ones, so that nothing is fitted to a short one.
    let request_id = format!("{:032x}", shared.counting.arrived(call));
    let mut response = match to_bytes(body, LARGEST_REQUEST).await {
        Ok(body) => respond(&shared, call, &parts, &body, &request_id, &fuse).await,
        Err(_) => refuse(
            (StatusCode::PAYLOAD_TOO_LARGE, "APIGW.0201", "Request entity too large".into()),
            &request_id,
        ),
    };
    let headers = response.headers_mut();
    headers.entry(DATE).or_insert_with(|| http_date(shared.access.clock.now()));
    let id = HeaderValue::from_str(&request_id).expect("digits are a header value");
    headers.insert("x-request-id", id);
    response
}

async fn respond(
    shared: &Shared,
    call: Option<Call<'_>>,
    parts: &Parts,
    body: &Bytes,
    request_id: &str,
    fuse: &Fuse,
) -> Response {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if let Err(refusal) = shared.limits.check_target(target) {
        shared.counting.lock().violations += 1;
        return refuse(refusal, request_id);
    }
    let Some(call) = call else {
        let message = "The API does not exist or has not been published in the environment";
        return refuse((StatusCode::NOT_FOUND, "APIGW.0101", message.into()), request_id);
    };
    let query = sign::parse_query(parts.uri.query().unwrap_or_default());
    let offset = query
        .iter()
        .find(|(name, _)| name == "offset")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let faults = shared.faults.at(call.on(), offset);
    if !faults.is_empty() {
        shared.counting.lock().faulty += 1;
    }
    for fault in &faults {
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(*delay).await,
            Fault::KillTokens => shared.access.revoke_tokens(),
            _ => {}
        }
    }
    let mut date = shared.access.clock.now();
    for fault in &faults {
        if let Fault::Skew(by) = fault {
            date += *by;
        }
    }
    let gzip = parts
        .headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let scene = Scene { request_id, date, gzip, fuse };
    let mut response = match faults.iter().find_map(|fault| misbehave(fault, &scene)) {
        Some(response) => response,
        None => match shared.answer(call, parts, body, &query, &faults) {
            Ok(answer) => finish(answer, gzip, &faults),
            Err(refusal) => refuse(refusal, request_id),
        },
    };
    response.headers_mut().insert(DATE, http_date(date));
    response
}

fn finish(made: Answer, gzip: bool, faults: &[Fault]) -> Response {
    let gzip = gzip && made.body.len() >= SMALLEST_COMPRESSED;
    let body = Bytes::from(if gzip { compress(&made.body) } else { made.body });
    let length = body.len();
    let slow = faults.iter().find_map(|fault| match fault {
        Fault::Slow(time) => Some(*time),
        _ => None,
    });
    let body = if faults.contains(&Fault::Truncate) {
        broken(body.slice(..length / 2))
    } else if let Some(time) = slow {
        dripping(&body, time)
    } else {
        Body::from(body)
    };
    let mut response = answer(made.status, "application/json", body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in made.headers {
        headers.insert(name, HeaderValue::from_str(&value).expect("made of letters and digits"));
    }
    response
}

/// An error in the gateway's and the service's shape, which differ only in the id of the request.
pub(super) fn refuse((status, code, message): Refusal, request_id: &str) -> Response {
    let mut body = json!({"error_code": code, "error_msg": message});
    if code.starts_with("APIGW.") {
        body["request_id"] = json!(request_id);
    }
    answer(status, "application/json", body.to_string())
}

/// An instant as HTTP writes it.
pub(super) fn http_date(at: Instant) -> HeaderValue {
    let text = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).expect("letters and digits are a header value")
}
