//! Facts about the database, for whoever wants to know whether recording would succeed. Nothing here
//! changes anything.

use super::{Store, StoreError};
use crate::domain::{Instant, Source};

/// The server, as one connection sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ServerFacts {
    /// Its version as a number: 150014 is 15.14.
    pub version_num: i32,
    /// Its version as it says it.
    pub version: String,
    /// Its clock.
    pub now: Instant,
    /// Who asks.
    pub login: String,
    /// The database.
    pub database: String,
    /// Whether who asks is a superuser.
    pub is_superuser: bool,
    /// Whether it only replays what another server writes.
    pub is_standby: bool,
    /// Whether this connection goes through a socket or stays on one machine.
    pub is_local: bool,
    /// Whether this connection is encrypted.
    pub is_encrypted: bool,
    /// Whether what was committed survives a power cut, and what says otherwise: names of settings.
    pub unsafe_settings: Vec<String>,
}

/// What the one who asks may do.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Rights {
    /// May make schemas in the database.
    pub may_create_schemas: bool,
    /// May write into every table.
    pub may_write: bool,
    /// May make the partitions of a new month: owns the tables, and may make others beside them.
    pub may_create_partitions: bool,
    /// May read the views that name desktops and users.
    pub may_read: bool,
    /// May read the views that name nobody.
    pub may_plan: bool,
}

/// How large something is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct TableSize {
    /// The table; its partitions are counted with it.
    pub name: String,
    /// Bytes, indexes included.
    pub bytes: i64,
}

/// How far a source is recorded.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Standing {
    /// The source.
    pub source: String,
    /// What it is pinned to.
    pub region: Option<String>,
    /// What it is pinned to.
    pub project_id: Option<String>,
    /// What it is pinned to.
    pub endpoint: Option<String>,
    /// Its newest snapshot of any outcome.
    pub last_snapshot_at: Option<Instant>,
    /// Up to when everything is recorded, or known to be lost.
    pub complete_until: Option<Instant>,
    /// How the newest snapshot's listing and statistics ended.
    pub desktops_outcome: Option<String>,
    /// How the newest snapshot's listing and statistics ended.
    pub groups_outcome: Option<String>,
    /// The desktops that it recorded.
    pub desktops_recorded: Option<i32>,
    /// The API's `total_count` then.
    pub desktops_total: Option<i64>,
    /// Its error.
    pub newest_error: Option<String>,
    /// Since when nothing is observed; `None`: no gap is open.
    pub gap_from: Option<Instant>,
    /// How many visits failed in that gap.
    pub failed_snapshots: Option<i64>,
    /// The newest error in that gap.
    pub last_error: Option<String>,
    /// The recorder that records it, if one does.
    pub leader: Option<String>,
    /// When its lease runs out, unless it is renewed.
    pub leased_until: Option<Instant>,
}

/// What a ledger knows of one source's desktops: those that can be asked for when a listing lacks them.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Roster {
    /// The source.
    pub source: String,
    /// The desktops that are believed to be there and have users with names.
    pub desktops: i64,
    /// The different names of those users.
    pub users: i64,
}

impl Standing {
    /// The source that it is pinned as.
    #[must_use]
    pub fn pinned(&self) -> Source {
        Source {
            name: self.source.clone(),
            region: self.region.clone(),
            project_id: self.project_id.clone(),
            endpoint: self.endpoint.clone(),
        }
    }
}

impl Store {
    /// What the server is, and how it is connected to.
    ///
    /// # Errors
    /// The database is away.
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        sqlx::query_as(
            "-- store::facts::server_facts
             select current_setting('server_version_num')::integer as version_num,
                    current_setting('server_version') as version,
                    clock_timestamp() as now,
                    current_user::text as login, current_database()::text as database,
                    (select rolsuper from pg_roles where rolname = current_user) as is_superuser,
                    pg_is_in_recovery() as is_standby,
                    coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1'
                             or inet_server_addr() = inet_client_addr(), true) as is_local,
                    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as is_encrypted,
                    array(select s from unnest(array['fsync', 'full_page_writes', 'synchronous_commit']) s
                           where current_setting(s) = 'off') as unsafe_settings",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("read what the server is"))
    }

    /// What the one who asks may do with the ledger.
    ///
    /// # Errors
    /// The database is away.
    pub async fn rights(&self) -> Result<Rights, StoreError> {
        sqlx::query_as(
            "-- store::facts::rights
             select has_database_privilege(current_database(), 'create') as may_create_schemas,
                    d.oid is not null and has_schema_privilege(d.oid, 'usage') and coalesce(t.writable, false)
                        as may_write,
                    d.oid is not null and has_schema_privilege(d.oid, 'create') and coalesce(t.owned, false)
                        as may_create_partitions,
                    coalesce(has_schema_privilege(v.oid, 'usage') and has_table_privilege(readable.oid, 'select'), false)
                        as may_read,
                    coalesce(has_schema_privilege(p.oid, 'usage') and has_table_privilege(plannable.oid, 'select'), false)
                        as may_plan
               from (select) one
               left join pg_namespace d on d.nspname = 'deskledger_data'
               left join pg_namespace v on v.nspname = 'deskledger'
               left join pg_namespace p on p.nspname = 'deskledger_planner'
               left join pg_class readable on readable.relnamespace = v.oid and readable.relname = 'connections'
               left join pg_class plannable on plannable.relnamespace = p.oid and plannable.relname = 'sources'
              cross join lateral (
                    select bool_and(has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update')
                                    and has_table_privilege(c.oid, 'select')) as writable,
                           bool_and(pg_has_role(c.relowner, 'usage')) filter (where c.relkind = 'p') as owned
                      from pg_class c
                     where c.relnamespace = d.oid and c.relkind in ('r', 'p') and c.relname <> 'migration') t",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("read what this login may do"))
    }

    /// The roles that read, of those that are missing or were granted nothing here.
    ///
    /// # Errors
    /// The database is away.
    pub async fn roles_missing(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar(
            "-- store::facts::roles_missing
             select wanted.role
               from (values ('deskledger_reader', 'deskledger', 'connections'),
                            ('deskledger_planner', 'deskledger_planner', 'sources')) wanted (role, place, view)
              where not exists (
                    select from pg_roles r, pg_namespace n, pg_class c
                     where r.rolname = wanted.role and n.nspname = wanted.place
                       and c.relnamespace = n.oid and c.relname = wanted.view
                       and has_schema_privilege(r.oid, n.oid, 'usage')
                       and has_table_privilege(r.oid, c.oid, 'select'))
              order by 1",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read which roles there are"))
    }

    /// The tables of the ledger with their sizes, the largest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn table_sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        sqlx::query_as(
            "-- store::facts::table_sizes
             select coalesce(parent.relname, c.relname)::text as name,
                    sum(pg_total_relation_size(c.oid))::bigint as bytes
               from pg_class c
               join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'deskledger_data'
               left join pg_inherits i on i.inhrelid = c.oid
               left join pg_class parent on parent.oid = i.inhparent
              where c.relkind = 'r'
              group by 1 order by 2 desc, 1",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read how large the tables are"))
    }

    /// How far each source is recorded, by name; for everyone who may read the views.
    ///
    /// # Errors
    /// The database is away, or the views may not be read.
    pub async fn standings(&self) -> Result<Vec<Standing>, StoreError> {
        sqlx::query_as(
            "-- store::facts::standings
             select s.source, s.region, s.project_id, s.endpoint, s.last_snapshot_at, s.complete_until,
                    n.desktops_outcome, n.groups_outcome, n.desktops_recorded, n.desktops_total,
                    nullif(concat_ws(': ', n.error_code, n.error_message), '') as newest_error,
                    g.gap_from, g.failed_snapshots, g.last_error, s.leader, s.leased_until
               from deskledger.sources s
               left join deskledger_report.newest_snapshot n on n.source = s.source
               left join deskledger.gaps g on g.source = s.source and g.gap_to is null
              order by s.source",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read how far the sources are recorded"))
    }

    /// The desktops of each source that can be asked for by their users' names; for who may read the tables.
    ///
    /// # Errors
    /// The database is away, or the tables may not be read.
    pub async fn rosters(&self) -> Result<Vec<Roster>, StoreError> {
        sqlx::query_as(
            "-- store::facts::rosters
             with present as (
                 select o.source_id, l.assignment_no, count(*) as desktops
                   from deskledger_data.open_span o
                   join deskledger_data.label l using (source_id, label_no)
                  group by 1, 2
             ),
             assigned as (
                 select p.source_id, p.desktops, a.users
                   from present p join deskledger_data.assignment a using (source_id, assignment_no)
                  where cardinality(a.users) > 0
             )
             select s.name as source,
                    (select coalesce(sum(desktops), 0)::bigint
                       from assigned a where a.source_id = s.source_id) as desktops,
                    (select count(distinct name)
                       from assigned a, unnest(a.users) name where a.source_id = s.source_id) as users
               from deskledger_data.source s
              order by s.name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("count the desktops whose users are known"))
    }
}
