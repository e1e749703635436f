//! What an upgrade takes: which migrations are left, for how long, and who stands in their way.

use std::fmt;
use std::time::Duration;

use super::schema::{MIGRATIONS, newest_schema_version};
use super::{Store, StoreError};

/// What a migration works through that grows with the ledger.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Nothing: it takes the same moment on every ledger.
    Fixed,
    /// These tables, of which it works through so many bytes a second.
    Through { tables: &'static [&'static str], bytes_per_second: u64 },
}

/// What each migration works through. The rates are measured, on a machine that was busy; docs/operating.md says what each of them
/// stops meanwhile. A new migration gets a line here, and `tests/data/schemas/README.md` says how to measure it.
const WORK: [(i64, Work); 29] = [
    (1, Work::Fixed),
    (2, Work::Fixed),
    (3, Work::Fixed),
    (4, Work::Fixed),
    (5, Work::Fixed),
    (6, Work::Fixed),
    (7, Work::Fixed),
    (8, Work::Fixed),
    (9, Work::Through { tables: &["span"], bytes_per_second: 60_000_000 }),
    (10, Work::Through { tables: &["span"], bytes_per_second: 100_000_000 }),
    (11, Work::Through { tables: &["span"], bytes_per_second: 40_000_000 }),
    (12, Work::Fixed),
    (13, Work::Fixed),
    (14, Work::Fixed),
    (15, Work::Fixed),
    // And what is packed; but that nobody has who has not run one of the few builds between 15 and 16.
    (16, Work::Through { tables: &["span"], bytes_per_second: 100_000_000 }),
    (17, Work::Through { tables: &["late"], bytes_per_second: 200_000_000 }),
    (18, Work::Fixed),
    (19, Work::Through { tables: &["assignment"], bytes_per_second: 40_000_000 }),
    (20, Work::Through { tables: &["desktop", "person", "label"], bytes_per_second: 12_000_000 }),
    (21, Work::Fixed),
    (22, Work::Fixed),
    (23, Work::Fixed),
    (24, Work::Fixed),
    (25, Work::Fixed),
    (26, Work::Fixed),
    (27, Work::Fixed),
    (28, Work::Fixed),
    (29, Work::Fixed),
];

/// A migration that is left to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The schema's version after it.
    pub version: i64,
    /// What it is about, in the word or two of its file's name.
    pub subject: String,
    /// How long it will take; `None`: nobody has measured it.
    pub takes: Option<Duration>,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04} {}: ", self.version, self.subject)?;
        match self.takes {
            Some(takes) => write!(f, "{}", About(takes)),
            None => f.write_str("nobody has measured how long"),
        }
    }
}

/// A time that is only guessed.
#[derive(Clone, Copy, Debug)]
pub struct About(pub Duration);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs_f64().round() as u64 {
            0 | 1 => f.write_str("a moment"),
            seconds @ ..10 => write!(f, "about {seconds} s"),
            // More figures than the guess is good for would be a lie.
            seconds @ ..120 => write!(f, "about {} s", seconds.div_ceil(10) * 10),
            seconds @ ..7200 => write!(f, "about {} min", seconds.div_ceil(60)),
            seconds => write!(f, "about {} h", seconds.div_ceil(3600)),
        }
    }
}

/// Someone whose lock a migration waits for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Blocker {
    pid: i32,
    program: String,
    /// What it does, as PostgreSQL has it: `active`, `idle in transaction`.
    state: Option<String>,
    /// When its transaction began.
    since: Option<String>,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of the database", self.pid)?;
        if !self.program.is_empty() {
            write!(f, " (`{}`)", self.program)?;
        }
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        if let Some(since) = &self.since {
            write!(f, ", in a transaction since {since}")?;
        }
        Ok(())
    }
}

impl Store {
    /// The migrations that are left, in their order; none for a ledger that is still to be made.
    ///
    /// # Errors
    /// The database is away, or who asks may not see the tables.
    pub async fn pending_migrations(&self) -> Result<Vec<Pending>, StoreError> {
        let from = self.schema_version().await?;
        let mut pending = Vec::new();
        if from == 0 || from >= newest_schema_version() {
            return Ok(pending);
        }
        for migration in MIGRATIONS.iter().filter(|migration| migration.version > from) {
            let work = WORK.iter().find(|(version, _)| *version == migration.version);
            let takes = match work.map(|(_, work)| *work) {
                None => None,
                Some(Work::Fixed) => Some(Duration::ZERO),
                Some(Work::Through { tables, bytes_per_second }) => {
                    let bytes = self.bytes_of(tables).await?;
                    Some(Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64))
                }
            };
            let subject = migration.description.to_string();
            pending.push(Pending { version: migration.version, subject, takes });
        }
        Ok(pending)
    }

    /// What the rows of tables take, those of their partitions too. One that is not there yet takes nothing.
    async fn bytes_of(&self, tables: &[&str]) -> Result<i64, StoreError> {
        sqlx::query_scalar(
            "-- store::upgrade::bytes_of
             with asked as (
                 select c.oid from pg_class c
                  where c.relnamespace = to_regnamespace('deskledger_data') and c.relname = any ($1)
             )
             select coalesce(sum(pg_table_size(t.oid)), 0)::bigint
               from (select oid from asked
                      union all
                     select i.inhrelid from pg_inherits i join asked on asked.oid = i.inhparent) t",
        )
        .bind(tables)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("measure the ledger's tables"))
    }

    /// How long each migration after `from` took, as it was written down.
    pub(super) async fn times_of_migrations(
        &self,
        from: i64,
    ) -> Result<Vec<(i64, Duration)>, StoreError> {
        let times: Vec<(i64, i64)> = sqlx::query_as(
            "-- store::upgrade::times_of_migrations
             select version, execution_time from deskledger_data.migration where version > $1 order by version",
        )
        .bind(from)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read how long the migrations took"))?;
        // -1: whoever ran it ended before it could say.
        let known = |(version, nanos): (i64, i64)| {
            Some((version, Duration::from_nanos(nanos.try_into().ok()?)))
        };
        Ok(times.into_iter().filter_map(known).collect())
    }

    /// Whom another connection waits for.
    pub(super) async fn blockers(&self, of: i32) -> Result<Vec<Blocker>, sqlx::Error> {
        sqlx::query_as(
            "-- store::upgrade::blockers
             select a.pid, coalesce(a.application_name, '') as program, a.state,
                    to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS\"Z\"') as since
               from pg_stat_activity a
              where a.pid = any (pg_blocking_pids($1))
              order by a.xact_start, a.pid",
        )
        .bind(of)
        .fetch_all(&self.pool)
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_migration_it_is_said_what_it_works_through() {
        let said: Vec<i64> = WORK.iter().map(|(version, _)| *version).collect();
        let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(
            said, known,
            "a migration that is not in `WORK` is announced as one that nobody has measured"
        );
    }

    #[test]
    fn a_guess_is_said_as_one() {
        for (seconds, said) in [
            (0.2, "a moment"),
            (4.4, "about 4 s"),
            (11.0, "about 20 s"),
            (119.0, "about 120 s"),
            (121.0, "about 3 min"),
            (7300.0, "about 3 h"),
        ] {
            assert_eq!(About(Duration::from_secs_f64(seconds)).to_string(), said);
        }
    }
}
