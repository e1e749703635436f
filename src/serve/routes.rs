//! What is answered to which address.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::Mutex;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::guard::{Refusal, user_said};
use super::turns::{Peer, Turn, Turns};
use super::{Asked, Served};
use crate::clock::Clock;
use crate::report::page::{Given, Live, Outcome, Told, detour, refusal};
use crate::report::params::Values;
use crate::report::render::{Format, Look};
use crate::report::{ReportError, run};

pub(super) struct Shared {
    pub served: Served,
    /// Who is answered now.
    pub turns: Arc<Turns>,
}

type At = State<Arc<Shared>>;

/// The largest file that is handed out; more is for the command line, which streams.
const LARGEST_FILE: usize = 64 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(whole))
        .route("/reports", get(list))
        .route("/report/{name}", get(one))
        .route("/report/{name}/{format}", get(file))
        .route("/sql/{name}", get(sql))
        .fallback(async || told(StatusCode::NOT_FOUND, "Not found", "There is no such page."))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

/// Lets in, and says to browsers what no page of ours needs.
async fn admit(State(shared): At, request: Request, next: Next) -> Response {
    let mut response = match shared.served.guard.admit(request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Unauthorized) => {
            let mut response = told(
                StatusCode::UNAUTHORIZED,
                "Who are you?",
                "This needs the token as the password; the user name does not matter.",
            );
            let realm = HeaderValue::from_static("Basic realm=\"deskledger\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
            response
        }
        Err(Refusal::OtherHost) => told(
            StatusCode::MISDIRECTED_REQUEST,
            "Not here",
            "Without a token only `localhost` is answered; `--token` lets others in.",
        ),
        Err(Refusal::OtherSite) => elsewhere(request.uri()),
    };
    let always: [(HeaderName, &str); 4] = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // Who was connected when is nothing for a cache.
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in always {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn html(status: StatusCode, page: String) -> Response {
    (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

fn told(status: StatusCode, title: &str, problem: &str) -> Response {
    match refusal(title, problem) {
        Ok(page) => html(status, page),
        Err(_) => status.into_response(),
    }
}

/// A page for those whom another site sends here: their own click goes on.
fn elsewhere(uri: &Uri) -> Response {
    // Two slashes at its beginning would name another host.
    let here = uri.path_and_query().map(|here| here.as_str());
    let here = here.filter(|here| !here.starts_with("//") && !here.starts_with("/\\"));
    match detour(here.unwrap_or("/")) {
        Ok(page) => html(StatusCode::FORBIDDEN, page),
        Err(_) => StatusCode::FORBIDDEN.into_response(),
    }
}

fn answered(page: Result<String, ReportError>) -> Response {
    page.map_or_else(|error| failed(&error), |page| html(StatusCode::OK, page))
}

/// What became of a question.
fn asked(page: Result<Told, ReportError>) -> Response {
    match page {
        Ok(Told { html: page, outcome }) => {
            let status = match outcome {
                Outcome::Answered => StatusCode::OK,
                Outcome::Wrong => StatusCode::BAD_REQUEST,
                Outcome::Late => StatusCode::GATEWAY_TIMEOUT,
                Outcome::TooLarge => StatusCode::INSUFFICIENT_STORAGE,
            };
            html(status, page)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &ReportError) -> Response {
    match error {
        ReportError::UnknownReport { .. } => {
            told(StatusCode::NOT_FOUND, "Not found", &error.to_string())
        }
        ReportError::Timeout(_) => {
            told(StatusCode::GATEWAY_TIMEOUT, "Too slow", &error.to_string())
        }
        error if error.is_denied() => told(
            StatusCode::FORBIDDEN,
            "Not allowed",
            "The database login may not read the names that this shows.",
        ),
        error if error.is_too_large() => told(
            StatusCode::INSUFFICIENT_STORAGE,
            "Too large",
            "The result is larger than 64 MB: ask for less, or use the command line, which writes any size.",
        ),
        ReportError::Output { .. } => {
            tracing::error!(error = %crate::error::Chain(error), "could not write a page");
            told(StatusCode::INTERNAL_SERVER_ERROR, "It cannot be shown", "The log says more.")
        }
        error if error.is_usage() => {
            told(StatusCode::BAD_REQUEST, "That cannot be answered", &error.for_others())
        }
        error => {
            // Its text may name hosts and logins: that is for the log.
            tracing::error!(error = %crate::error::Chain(error), "could not answer a browser");
            told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The ledger does not answer",
                "Try again in a minute; the log says more.",
            )
        }
    }
}

/// Waits for a turn to answer something about a report; without a name, about all of them.
async fn turn(
    shared: &Shared,
    peer: Peer,
    headers: &HeaderMap,
    about: &str,
) -> Result<Turn, Response> {
    let turn = shared.turns.wait(peer.asking(headers), about).await;
    turn.ok_or_else(|| {
        let problem = "Others are being answered, or what you asked before; try again in a minute.";
        told(StatusCode::SERVICE_UNAVAILABLE, "Busy", problem)
    })
}

/// Has it written down who asks what, where that is asked for; nobody waits for it.
fn note(shared: &Shared, peer: Peer, headers: &HeaderMap, report: Option<&str>, given: &Given) {
    let Some(notes) = &shared.served.notes else { return };
    let address = peer.asking(headers);
    let caller = match user_said(headers) {
        Some(user) => format!("{user}@{address}"),
        None => address.to_string(),
    };
    let asked = Asked { caller, report: report.map(str::to_owned), given: given.clone() };
    if notes.try_send(asked).is_err() {
        tracing::warn!("it is not written down who asked: too many wait for that");
    }
}

/// What was given, but for what was left empty.
fn given(pairs: Vec<(String, String)>) -> Given {
    pairs.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect()
}

fn live(shared: &Shared) -> Live<'_> {
    let Served { pool, catalogue, timeout, .. } = &shared.served;
    Live { pool, catalogue, timeout: *timeout, now: Clock::System.now() }
}

async fn whole(
    State(shared): At,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(pairs): Query<Given>,
) -> Response {
    let _turn = match turn(&shared, peer, &headers, "").await {
        Ok(turn) => turn,
        Err(busy) => return busy,
    };
    let given = given(pairs);
    note(&shared, peer, &headers, None, &given);
    asked(live(&shared).whole(&given).await)
}

async fn list(State(shared): At) -> Response {
    answered(live(&shared).list())
}

async fn sql(State(shared): At, Path(name): Path<String>, Query(pairs): Query<Given>) -> Response {
    asked(live(&shared).sql(&name, &given(pairs)))
}

async fn one(
    State(shared): At,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(pairs): Query<Given>,
) -> Response {
    let (live, given) = (live(&shared), given(pairs));
    // A form that is not filled in yet asks nothing.
    let _turn = if live.is_ready(&name, &given) {
        match turn(&shared, peer, &headers, &name).await {
            Ok(turn) => {
                note(&shared, peer, &headers, Some(&name), &given);
                Some(turn)
            }
            Err(busy) => return busy,
        }
    } else {
        None
    };
    asked(live.one(&name, &given).await)
}

/// A report's result as a file.
async fn file(
    State(shared): At,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path((name, format)): Path<(String, String)>,
    Query(pairs): Query<Given>,
) -> Response {
    let Some((form, kind)) = form(&format) else {
        return told(StatusCode::NOT_FOUND, "Not found", "There is csv, json, ndjson and xlsx.");
    };
    let _turn = match turn(&shared, peer, &headers, &name).await {
        Ok(turn) => turn,
        Err(busy) => return busy,
    };
    let Served { pool, catalogue, timeout, .. } = &shared.served;
    let given = given(pairs);
    note(&shared, peer, &headers, Some(&name), &given);
    let buffer = Bounded::default();
    let outcome = async {
        let report = catalogue.get(&name)?;
        let values = Values::new(report, given)?;
        let mut sink = form.sink(buffer.clone(), Look::default());
        run(pool, report, &values, *timeout, sink.as_mut()).await
    };
    match outcome.await {
        Ok(()) => {
            // The name is that of a file of the user's own, and may hold anything.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let name = name.replace(|c| !is_plain(c), "_");
            let disposition = format!("attachment; filename=\"{name}.{format}\"");
            let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, disposition.as_str())];
            (headers, Body::from(buffer.take())).into_response()
        }
        Err(error) => failed(&error),
    }
}

fn form(name: &str) -> Option<(Format, &'static str)> {
    Some(match name {
        "csv" => (Format::Csv, "text/csv; charset=utf-8"),
        "json" => (Format::Json, "application/json"),
        "ndjson" => (Format::Ndjson, "application/x-ndjson"),
        "xlsx" => {
            (Format::Xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        }
        _ => return None,
    })
}

/// Keeps what is written, up to a bound.
#[derive(Clone, Default)]
struct Bounded(Arc<Mutex<Vec<u8>>>);

impl Bounded {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() + bytes.len() > LARGEST_FILE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
