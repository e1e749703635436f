//! Which sources nobody records, asked for all that stand by together.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Chain;
use crate::store::Store;

/// How old an answer may be: as often one that stands by looks.
const FRESH: Duration = Duration::from_millis(900);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What those who stand by share.
#[derive(Debug)]
pub(super) struct Vacancies {
    store: Store,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    /// `None`: that could not be learnt.
    vacant: Option<HashSet<String>>,
}

impl Vacancies {
    pub(super) fn new(store: Store) -> Self {
        Self { store, seen: Mutex::default() }
    }

    /// Whether it is worth asking for the lease of a source.
    pub(super) async fn may_have(&self, source: &str) -> bool {
        let mut seen = self.seen.lock().await;
        if seen.as_ref().is_none_or(|seen| seen.at.elapsed() > FRESH) {
            let asked = tokio::time::timeout(PATIENCE, self.store.vacant_sources()).await;
            let vacant = asked.ok().and_then(|vacant| {
                vacant
                    .inspect_err(|error| tracing::debug!("cannot tell who leads: {}", Chain(error)))
                    .ok()
            });
            *seen = Some(Seen { at: Instant::now(), vacant });
        }
        // Where nothing is known, each has to look for itself.
        let vacant = seen.as_ref().and_then(|seen| seen.vacant.as_ref());
        vacant.is_none_or(|vacant| vacant.contains(source))
    }
}
