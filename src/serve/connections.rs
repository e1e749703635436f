//! Connections: how many there are, and how long one may take to say what it wants.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::turns::Peer;

/// How many there are at most; more wait to be accepted.
const MOST: usize = 256;

/// How long one may take to say what it wants, the first thing or the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after that failed: most likely no more files can be opened.
const BREATH: Duration = Duration::from_millis(200);

/// Answers those who connect until `stop` is over, and then until those that were asked are answered.
pub(crate) async fn answer(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let places = Arc::new(Semaphore::new(MOST));
    let watched = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one(&error) {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
                continue;
            }
        };
        let _ = TcpStream::set_nodelay(&stream, true);
        let service = router.clone().layer(Extension(Peer(peer.ip())));
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = watched.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    watched.shutdown().await;
}

/// Whether only the one who wanted to connect is concerned.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
