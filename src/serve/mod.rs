//! `deskledger serve`: the reports in a browser, for whoever may ask.
//!
//! - `guard` lets in: by token, or, without one, only what was addressed to this machine.
//! - `routes` answers, a few at a time; nothing here knows what a figure means.
//!
//! It only reads: the login is a role that may do nothing else, and each statement has its time.

mod guard;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

pub use guard::Guard;

use crate::report::catalogue::Catalogue;

/// How many questions are answered at once; each may keep a core of the database busy.
pub const AT_ONCE: u32 = 2;

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
}

/// How long those that were asked when it ends may take.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stop` is over, and then until those that were asked are answered, or a few seconds later.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    served: Served,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let permits = usize::try_from(AT_ONCE).unwrap_or(1);
    let shared = Arc::new(routes::Shared { served, turns: Semaphore::new(permits) });
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
        ended = axum::serve(listener, routes::router(shared)).with_graceful_shutdown(stop).into_future() => ended,
        () = late => {
            tracing::warn!("some of those that were asked are left without an answer");
            Ok(())
        }
    }
}
