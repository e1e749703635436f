//! A receiver that behaves as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::program::until;

/// What it does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It takes it.
    Takes,
    /// It answers so.
    Says(u16),
    /// It answers so to events of one type, and takes the others.
    SaysTo(&'static str, u16),
    /// It takes the request, and never answers.
    Hangs,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
    /// Whether it was taken.
    pub is_taken: bool,
}

impl Message {
    pub fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub fn id(&self) -> &str {
        assert_eq!(self.headers["webhook-id"], self.body["id"].as_str().unwrap());
        self.body["id"].as_str().unwrap()
    }
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    messages: Mutex<Vec<Message>>,
}

/// It runs until it is dropped.
#[derive(Debug)]
pub struct Receiver {
    pub at: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start(mood: Mood) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), mood)
    }

    pub fn start_on(listener: TcpListener, mood: Mood) -> Self {
        let at = format!("http://{}/very-secret-path", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { mood: Mutex::new(mood), messages: Mutex::default() });
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { at, shared, task }
    }

    pub fn turn(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// The types of what was taken, in order.
    pub fn taken(&self) -> Vec<String> {
        let messages = self.messages().into_iter().filter(|message| message.is_taken);
        messages.map(|message| message.kind().to_owned()).collect()
    }

    /// Waits until so many were taken.
    pub async fn takes(&self, messages: usize) -> Vec<String> {
        until(&format!("{messages} messages"), async || self.taken().len() >= messages).await;
        self.taken()
    }

    /// Waits until so many came, taken or not.
    pub async fn hears(&self, messages: usize) {
        until(&format!("{messages} came"), async || self.messages().len() >= messages).await;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    text: String,
) -> axum::response::Response {
    let body: Value = serde_json::from_str(&text).unwrap();
    let mood = shared.mood.lock().unwrap().clone();
    let status = match mood {
        Mood::Takes => 200,
        Mood::Says(status) => status,
        Mood::SaysTo(kind, status) if body["type"] == kind => status,
        Mood::SaysTo(..) => 200,
        Mood::Hangs => 0,
    };
    shared.messages.lock().unwrap().push(Message { headers, text, body, is_taken: status == 200 });
    if status == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), "as it was told").into_response()
}
