//! From a request to a response: faults first, then the answer, compressed where that was asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::access::{self, Refusal};
use super::api::{Answer, Call, Shared};
use super::fault::Fault;
use crate::workspace::sign;

/// The longest body that a request may have.
const LARGEST_REQUEST: usize = 1 << 20;
/// Below this, compression costs more than it saves.
const SMALLEST_COMPRESSED: usize = 1024;

/// Answers one request.
pub(super) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    // An id as long as the real ones, so that nothing is fitted to a short one.
    let request_id = format!("{number:032x}");
    let (parts, body) = request.into_parts();
    let mut response = match to_bytes(body, LARGEST_REQUEST).await {
        Ok(body) => respond(&shared, &parts, &body, &request_id).await,
        Err(_) => refuse(
            (StatusCode::PAYLOAD_TOO_LARGE, "APIGW.0201", "Request entity too large".into()),
            &request_id,
        ),
    };
    let id = HeaderValue::from_str(&request_id).expect("digits are a header value");
    response.headers_mut().insert("x-request-id", id);
    response
}

async fn respond(shared: &Shared, parts: &Parts, body: &Bytes, request_id: &str) -> Response {
    let Some(call) = Call::of(&parts.method, parts.uri.path()) else {
        let message = "The API does not exist or has not been published in the environment";
        return refuse((StatusCode::NOT_FOUND, "APIGW.0101", message.into()), request_id);
    };
    let offset = sign::parse_query(parts.uri.query().unwrap_or_default())
        .iter()
        .find(|(name, _)| name == "offset")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let faults = shared.faults.at(call.on(), offset);
    for fault in &faults {
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(*delay).await;
        }
    }
    for fault in &faults {
        if let Some(response) = misbehave(fault, request_id) {
            return response;
        }
    }
    let answer = match shared.answer(call, parts, body, &faults) {
        Ok(answer) => answer,
        Err(refusal) => return refuse(refusal, request_id),
    };
    let asks_gzip = parts
        .headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    finish(answer, asks_gzip, faults.contains(&Fault::Truncate)).await
}

/// The answer that a fault gives instead of the right one, for those that do.
fn misbehave(fault: &Fault, request_id: &str) -> Option<Response> {
    Some(match fault {
        Fault::Throttle(retry_after) => {
            let message = "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 minute";
            let refusal = (StatusCode::TOO_MANY_REQUESTS, "APIGW.0308", message.into());
            let mut response = refuse(refusal, request_id);
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response
        }
        Fault::Status(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse((status, "WKS.00000003", "Internal service error.".into()), request_id)
        }
        Fault::Html(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            let page = "<html><head><title>Bad Gateway</title></head><body>proxy</body></html>";
            let mut response = Response::new(Body::from(page));
            *response.status_mut() = status;
            let html = HeaderValue::from_static("text/html");
            response.headers_mut().insert(CONTENT_TYPE, html);
            response
        }
        Fault::Drop => Response::new(broken(Bytes::new())),
        Fault::ErrorInside => {
            let body = json!({"error_code": "WKS.00010109", "error_msg": "The task failed."});
            let mut response = Response::new(Body::from(body.to_string()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Fault::Redirect => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let elsewhere = HeaderValue::from_static("https://elsewhere.example/v2");
            response.headers_mut().insert(LOCATION, elsewhere);
            response
        }
        Fault::ExpiredToken => refuse(access::expired(), request_id),
        Fault::Delay(_) | Fault::Truncate | Fault::WrongTotal(_) | Fault::RepeatPage => {
            return None;
        }
    })
}

/// A body that breaks off, and its connection with it.
fn broken(begun: Bytes) -> Body {
    // What was begun must be on its way before it breaks off, or nothing of it is sent.
    let pause = if begun.is_empty() { Duration::ZERO } else { Duration::from_millis(50) };
    let gone = stream::once(async move {
        tokio::time::sleep(pause).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter([Ok(begun)]).chain(gone))
}

async fn finish(answer: Answer, gzip: bool, truncate: bool) -> Response {
    let gzip = gzip && answer.body.len() >= SMALLEST_COMPRESSED;
    let body = Bytes::from(if gzip { compress(&answer.body) } else { answer.body });
    let length = body.len();
    let body = if truncate { broken(body.slice(..length / 2)) } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in answer.headers {
        headers.insert(name, HeaderValue::from_str(&value).expect("made of letters and digits"));
    }
    response
}

fn compress(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// An error in the gateway's and the service's shape, which differ only in the id of the request.
fn refuse((status, code, message): Refusal, request_id: &str) -> Response {
    let mut body = json!({"error_code": code, "error_msg": message});
    if code.starts_with("APIGW.") {
        body["request_id"] = json!(request_id);
    }
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
