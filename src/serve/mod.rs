//! `deskledger serve`: the reports in a browser, for whoever may ask.
//!
//! - `connections` are bounded, and so is the time that one takes to say what it wants.
//! - `guard` lets in: by token, or, without one, only what was addressed to this machine; and nobody whom another site sends.
//! - `turns` are given to a few at a time, so that nobody is kept waiting by one.
//! - `routes` answers; nothing here knows what a figure means.
//!
//! It only reads: the login is a role that may do nothing else, and each statement has its time.

mod connections;
mod guard;
mod routes;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

pub(crate) use connections::answer;
pub use guard::Guard;

use crate::report::catalogue::Catalogue;

/// How many connections to the database it takes: one for each question that is answered at once, and one for what takes no
/// turn, such as the sources that a form offers.
pub const CONNECTIONS: u32 = 4;

/// What is served, and to whom.
#[derive(Debug)]
pub struct Served {
    /// As a role that can only read.
    pub pool: PgPool,
    /// The reports.
    pub catalogue: Catalogue,
    /// Of each statement.
    pub timeout: Duration,
    /// Who may ask.
    pub guard: Guard,
    /// Whoever writes down who asked what.
    pub notes: Option<mpsc::Sender<Asked>>,
}

/// A question, and who asked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name that the caller gave, which nobody has checked, and the address.
    pub caller: String,
    /// The report; `None`: the page of all of them.
    pub report: Option<String>,
    /// The parameters.
    pub given: Vec<(String, String)>,
}

/// How long those that were asked when it ends may take.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stop` is over, and then until those that were asked are answered, or a few seconds later.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let shared = Arc::new(routes::Shared { served, turns: Arc::default() });
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        let _ = stopping.send(());
    };
    let late = async move {
        // Sent, or dropped where serving has ended by itself.
        let _ = stopped.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = answer(listener, routes::router(shared), stop) => {}
        () = late => tracing::warn!("some of those that were asked are left without an answer"),
    }
}
