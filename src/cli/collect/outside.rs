//! A recorder as others see it: where it answers, and what it looks up for them beside its work.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::sources::Prepared;
use crate::clock::Clock;
use crate::config::{MetricsSettings, SourceConfig, SpoolConfig};
use crate::error::with_hint;
use crate::metrics::{Watch, WatchedSource, serve};
use crate::store::Store;

/// How often the ledger is asked for what only it knows, and how often again where it does not answer.
const LOOK: Duration = Duration::from_mins(5);
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How long its answer is waited for. Nobody else waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is going to be watched.
pub(super) fn watch(sources: &[Prepared], spool: &SpoolConfig) -> Watch {
    let sources = sources.iter().map(|prepared| watched(&prepared.source)).collect();
    Watch::new(sources, spool.max_bytes, Clock::System)
}

/// What of a source is shown.
pub(super) fn watched(source: &SourceConfig) -> WatchedSource {
    WatchedSource {
        name: source.name.clone(),
        interval: source.schedule.shortest_step().to_std().unwrap_or_default(),
        max_gap: source.max_gap.to_std().unwrap_or_default(),
    }
}

/// Answers from here on, until what is returned is dropped. Of several recorders on one machine only the first has the
/// address that nobody asked for: that is no reason not to record.
///
/// # Errors
/// Somebody asked for an address that cannot be listened on.
pub(super) async fn show(
    settings: MetricsSettings,
    watch: &Arc<Watch>,
) -> anyhow::Result<Option<AbortOnDropHandle<()>>> {
    let Some(address) = settings.listen else { return Ok(None) };
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) if settings.is_asked_for => {
            return Err(with_hint(
                anyhow::Error::from(error).context(format!("listen on {address}")),
                "`[metrics] listen` says where /metrics, /livez and /readyz are answered; `off`: nowhere",
            ));
        }
        Err(error) => {
            tracing::info!(
                "no /metrics, /livez and /readyz: cannot listen on {address} ({error}); `[metrics] listen` names \
                 another address"
            );
            return Ok(None);
        }
    };
    let address = listener.local_addr().context("read the address that was given")?;
    tracing::info!("/metrics, /livez and /readyz are answered at http://{address}");
    let serving = serve(listener, Arc::clone(watch), std::future::pending());
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(serving))))
}

/// Asks the ledger now and then for what only it knows.
pub(super) async fn look_at_ledger(store: &Store, watch: &Watch) {
    loop {
        let size = timeout(PATIENCE, store.size_bytes()).await;
        let size = size.ok().and_then(Result::ok).and_then(|bytes| u64::try_from(bytes).ok());
        watch.database(size);
        let complete = timeout(PATIENCE, store.newest_complete()).await.ok().and_then(Result::ok);
        let knows_all = size.is_some() && complete.is_some();
        for (source, at) in complete.into_iter().flatten() {
            watch.recorded_complete(&source, at);
        }
        sleep(if knows_all { LOOK } else { LOOK_AGAIN }).await;
    }
}
