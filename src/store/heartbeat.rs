//! Renews the leases that a process holds, all together: hundreds of sources take one statement and not as many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::lease::Candidate;
use super::source::SourceId;

/// A renewal is tried so many times before a lease runs out.
const BEATS: u32 = 3;
/// What is due within so much of its time is renewed with what is due now.
const EARLY: u32 = 10;
/// When a row that somebody worked on is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The leases that are renewed.
#[derive(Clone, Debug, Default)]
pub(super) struct Heart(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    leases: HashMap<u64, Lease>,
    numbers: u64,
    beating: Option<AbortHandle>,
    changed: Arc<Notify>,
}

#[derive(Clone, Debug)]
struct Lease {
    source_id: SourceId,
    candidate: Candidate,
    due: Instant,
}

/// Renews a lease for as long as it is kept.
#[derive(Debug)]
pub(super) struct Heartbeat {
    heart: Heart,
    number: u64,
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.heart.lock().leases.remove(&self.number);
    }
}

impl Heart {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews a lease while its holder is busy with something else, such as a visit of minutes.
    pub(super) fn keep(
        &self,
        pool: &PgPool,
        source_id: SourceId,
        candidate: &Candidate,
    ) -> Heartbeat {
        let candidate = candidate.clone();
        let due = Instant::now() + candidate.term / BEATS;
        let mut held = self.lock();
        held.numbers += 1;
        let number = held.numbers;
        held.leases.insert(number, Lease { source_id, candidate, due });
        // It may have ended with the runtime that it was in.
        if held.beating.as_ref().is_none_or(AbortHandle::is_finished) {
            held.beating = Some(tokio::spawn(self.clone().beat(pool.clone())).abort_handle());
        }
        // It sleeps until what it knew of is due, and this may be due sooner.
        held.changed.notify_one();
        drop(held);
        Heartbeat { heart: self.clone(), number }
    }

    async fn beat(self, pool: PgPool) {
        loop {
            let (first, changed) = {
                let mut held = self.lock();
                let Some(first) = held.leases.values().map(|lease| lease.due).min() else {
                    held.beating = None;
                    return;
                };
                (first, Arc::clone(&held.changed))
            };
            tokio::select! {
                () = tokio::time::sleep_until(first) => {}
                () = changed.notified() => continue,
            }
            for (candidate, due) in self.due() {
                self.renew(&pool, &candidate, &due).await;
            }
        }
    }

    /// What is due about now, by who holds it; it is due again when its time has come, whatever becomes of this.
    fn due(&self) -> HashMap<Arc<str>, HashMap<SourceId, Lease>> {
        let now = Instant::now();
        let mut due: HashMap<_, HashMap<_, _>> = HashMap::new();
        for lease in self.lock().leases.values_mut() {
            if lease.due <= now + lease.candidate.term / EARLY {
                lease.due = now + lease.candidate.term / BEATS;
                let of_one = due.entry(Arc::clone(&lease.candidate.name)).or_default();
                of_one.insert(lease.source_id, lease.clone());
            }
        }
        due
    }

    /// What fails is tried again; if it goes on failing, the lease runs out, as it should.
    async fn renew(&self, pool: &PgPool, name: &str, due: &HashMap<SourceId, Lease>) {
        let (sources, seconds): (Vec<SourceId>, Vec<f64>) =
            due.values().map(|lease| (lease.source_id, lease.candidate.term.as_secs_f64())).unzip();
        // One source that somebody works on for long must not cost the others theirs.
        let renewed: Result<Vec<SourceId>, _> = sqlx::query_scalar(
            "-- store::heartbeat::renew
             update deskledger_data.head h set leased_until = clock_timestamp() + make_interval(secs => ours.seconds)
               from (select f.source_id, d.seconds
                       from unnest($2::int[], $3::float8[]) d (source_id, seconds)
                       join deskledger_data.head f using (source_id)
                      where f.leader = $1
                        for update of f skip locked) ours
              where h.source_id = ours.source_id
             returning h.source_id",
        )
        .bind(name)
        .bind(&sources)
        .bind(&seconds)
        .fetch_all(pool)
        .await;
        let renewed = match renewed {
            Ok(renewed) => renewed,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(sources = sources.len(), error, "could not renew leases");
                return;
            }
        };
        let soon = Instant::now() + AGAIN;
        for lease in self.lock().leases.values_mut() {
            let is_left = due.contains_key(&lease.source_id) && !renewed.contains(&lease.source_id);
            if is_left && *lease.candidate.name == *name {
                lease.due = lease.due.min(soon);
            }
        }
    }
}
