//! Who records a source: leases, by the database's clock.
//!
//! Of several recorders of a source one leads. It holds a lease, which it renews while it lives; once that
//! has run out, whoever asks first takes over. Each change of leader begins another epoch, and what is recorded
//! under an old epoch is refused ([`StoreError::Deposed`]).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, gethostname};
use sha2::{Digest as _, Sha256};

use super::source::SourceId;
use super::{Store, StoreError, newest_schema_version};
use crate::domain::Instant;

/// No lease is shorter, so that a renewal may be late.
const SHORTEST_TERM: Duration = Duration::from_secs(2);
/// No lease is longer, however seldom a source is visited: so long nobody records after a crash.
pub const LONGEST_TERM: Duration = Duration::from_secs(60);

/// Who asks to lead, and for how long each time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Machine and process, for people; different for each process.
    pub name: Arc<str>,
    /// How long a lease lasts that is not renewed.
    pub term: Duration,
}

impl Candidate {
    /// This process, under the same name each time, for a source that is visited every `step`: a lease lasts that
    /// long, within bounds, so that another recorder takes over within two steps.
    #[must_use]
    pub fn for_visits_every(step: Duration) -> Self {
        Self::this_process(step.clamp(SHORTEST_TERM, LONGEST_TERM))
    }

    /// This process, under the same name each time.
    #[must_use]
    pub fn this_process(term: Duration) -> Self {
        static NAME: LazyLock<Arc<str>> = LazyLock::new(|| {
            let host = gethostname().unwrap_or_default().to_string_lossy().into_owned();
            // Numbers of processes come again.
            let nonce: u32 = rand::random();
            format!("{host}, process {} in {}, {nonce:08x}", std::process::id(), place()).into()
        });
        Self { name: Arc::clone(&NAME), term }
    }

    /// Whether a leader's process is known to have ended: it ran where this one runs, and is no more. So a
    /// recorder that was killed and is started again goes on at once.
    fn is_gone(leader: &str) -> bool {
        let Some((_, rest)) = leader.rsplit_once(", process ") else { return false };
        let Some((process, rest)) = rest.split_once(" in ") else { return false };
        let Some((where_it_ran, _)) = rest.split_once(", ") else { return false };
        let Ok(process) = process.parse() else { return false };
        where_it_ran == place() && kill(Pid::from_raw(process), None) == Err(Errno::ESRCH)
    }
}

/// A name for what numbers of processes mean: this boot of this machine, and the container in it.
fn place() -> String {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let container = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(boot);
    hasher.update(container.as_os_str().as_encoded_bytes());
    hex::encode(&hasher.finalize()[..4])
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The one who asked.
    Ours {
        /// Grows with each change of leader.
        epoch: i64,
    },
    /// Somebody else.
    Others {
        /// Its name.
        leader: String,
        /// When its lease runs out, unless it is renewed.
        until: Instant,
    },
}

impl Store {
    /// Takes the lease of a source, or renews it, unless somebody else holds it.
    ///
    /// # Errors
    /// The database is away, or a newer deskledger has migrated it.
    pub async fn take_lease(
        &self,
        source_id: SourceId,
        candidate: &Candidate,
    ) -> Result<Leadership, StoreError> {
        let failed = StoreError::while_trying("take the lease of a source");
        let mut gone: Option<String> = None;
        loop {
            let taken: Option<i64> = sqlx::query_scalar(
                "-- store::lease::take_lease
                 update deskledger_data.head
                    set epoch = epoch + case when leader = $2 then 0 else 1 end,
                        led_since = case when leader = $2 then led_since else clock_timestamp() end,
                        leased_until = clock_timestamp() + make_interval(secs => $3),
                        leader = $2
                  where source_id = $1
                    and (leader is null or leader in ($2, $4) or leased_until <= clock_timestamp())
                 returning epoch",
            )
            .bind(source_id)
            .bind(&*candidate.name)
            .bind(candidate.term.as_secs_f64())
            .bind(&gone)
            .fetch_optional(&self.pool)
            .await
            .map_err(&failed)?;
            if let Some(epoch) = taken {
                // A newer deskledger that migrated has deposed whoever led: its schema may want to be told what this one
                // does not know of. Asked afterwards, since it may have been at it while we waited. Where there is no answer the
                // lease is ours all the same, so that somebody visits; whoever records asks again before writing anything.
                let known = newest_schema_version();
                match self.schema_version().await {
                    Ok(found) if found > known => {
                        self.give_lease_back(source_id, candidate).await?;
                        return Err(StoreError::SchemaTooNew { found, known });
                    }
                    _ => return Ok(Leadership::Ours { epoch }),
                }
            }
            // It may have been given back meanwhile.
            if let Some((leader, until)) = self.leader(source_id).await? {
                if gone.is_none() && Candidate::is_gone(&leader) {
                    gone = Some(leader);
                    continue;
                }
                return Ok(Leadership::Others { leader, until });
            }
        }
    }

    /// Who leads, and until when unless that is renewed; `None`: nobody.
    ///
    /// # Errors
    /// The database is away.
    pub async fn leader(
        &self,
        source_id: SourceId,
    ) -> Result<Option<(String, Instant)>, StoreError> {
        sqlx::query_as(
            "-- store::lease::leader
             select leader, leased_until from deskledger_data.head where source_id = $1 and leader is not null",
        )
        .bind(source_id)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::while_trying("read who records a source"))
    }

    /// The sources that nobody records, as far as can be seen from here: their leases were given back, have run out, or
    /// are held by a process that ran here and has ended.
    ///
    /// # Errors
    /// The database is away.
    pub async fn vacant_sources(&self) -> Result<HashSet<String>, StoreError> {
        let rows: Vec<(String, Option<String>, bool)> = sqlx::query_as(
            "-- store::lease::vacant_sources
             select name, leader, leader is null or leased_until <= clock_timestamp()
               from deskledger_data.head join deskledger_data.source using (source_id)",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read which sources nobody records"))?;
        let mut gone: HashMap<String, bool> = HashMap::new();
        let is_vacant = |(name, leader, has_run_out): (String, Option<String>, bool)| {
            let is_gone = leader.is_some_and(|leader| {
                *gone.entry(leader).or_insert_with_key(|leader| Candidate::is_gone(leader))
            });
            (has_run_out || is_gone).then_some(name)
        };
        Ok(rows.into_iter().filter_map(is_vacant).collect())
    }

    /// Gives a lease back, so that another one may lead at once.
    ///
    /// # Errors
    /// The database is away; then the lease runs out by itself.
    pub async fn give_lease_back(
        &self,
        source_id: SourceId,
        candidate: &Candidate,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "-- store::lease::give_lease_back
             update deskledger_data.head set leader = null, led_since = null, leased_until = null
              where source_id = $1 and leader = $2",
        )
        .bind(source_id)
        .bind(&*candidate.name)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::while_trying("give the lease of a source back"))
    }
}
