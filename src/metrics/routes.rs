//! What is answered to which address.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use super::Watch;
use crate::serve::answer;

/// The format that scrapers prefer where they know it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Shared {
    watch: Arc<Watch>,
    registry: Registry,
}

type At = State<Arc<Shared>>;

/// Answers until `stop` is over.
pub async fn serve(listener: TcpListener, watch: Arc<Watch>, stop: impl Future<Output = ()>) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&watch)));
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, "There is /metrics, /livez and /readyz.\n"))
        .with_state(Arc::new(Shared { watch, registry }));
    answer(listener, router, stop).await;
}

async fn metrics(State(shared): At, headers: HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut page = String::new();
    let (written, kind) = if accepted.contains("application/openmetrics-text") {
        (text::encode(&mut page, &shared.registry), OPENMETRICS)
    } else {
        (prometheus_text::encode(&mut page, &shared.registry), prometheus_text::CONTENT_TYPE)
    };
    match written {
        Ok(()) => ([(CONTENT_TYPE, kind)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn livez(State(shared): At) -> Response {
    verdict("alive", "stuck", shared.watch.stuck())
}

async fn readyz(State(shared): At) -> Response {
    verdict("ready", "not ready", shared.watch.unready())
}

fn verdict(well: &str, ill: &str, why: Vec<String>) -> Response {
    let (code, body) = if why.is_empty() {
        (StatusCode::OK, json!({ "status": well }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": ill, "why": why }))
    };
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (code, headers, format!("{body}\n")).into_response()
}
