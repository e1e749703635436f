//! The ledger's database: whether it answers, what it is, what may be done with it, and how much room there is.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::TimeDelta;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use super::check::{Check, Group};
use super::configuration::{Configured, Place};
use crate::cli::ledger::connect_options;
use crate::clock::Clock;
use crate::domain::format_duration;
use crate::error::Chain;
use crate::store::private::{self, MAJOR_NEWEST, MAJOR_OLDEST, Options, Private, PrivateError};
use crate::store::{
    Rights, ServerFacts, Standing, Store, StoreError, TableSize, newest_schema_version,
};

/// How each source stands, or why nobody knows.
pub(super) type Known = Result<Vec<Standing>, String>;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub checks: Vec<Check>,
    pub known: Known,
}

/// PostgreSQL stops when it cannot write, and a checkpoint of the private server may keep this much.
const ROOM: u64 = 2 << 30;
/// Below this the next busy day may end the recording.
const NO_ROOM: u64 = 256 << 20;
/// So far apart the clocks may be: instants are compared with each other, and none is taken from the server.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// What each check of a server is called, in the order in which they are shown.
const OF_SERVER: [&str; 9] =
    ["version", "clock", "durability", "encryption", "schema", "rights", "roles", "size", "room"];

/// Looks at the database.
pub(super) async fn check(configured: &Configured, clock: &Clock) -> Found {
    let mut checks = Vec::new();
    let known = match &configured.place {
        Place::Unknown => {
            let why = "the configuration that says where it is cannot be used";
            checks.push(Check::skipped("connection", why));
            Err(why.to_owned())
        }
        Place::Url(url) => match connect_options(url) {
            Ok(options) => foreign(options, configured, clock, &mut checks).await,
            Err(error) => {
                let advice = "percent-encode what is special in the password";
                checks.push(Check::failed("connection", error.to_string(), advice));
                Err("the database's URL cannot be read".to_owned())
            }
        },
        Place::Private(folder) => own(folder.clone(), configured, clock, &mut checks).await,
    };
    let is_seen = |name: &str| checks.iter().any(|check| check.name == name);
    if let Err(why) = &known {
        let unseen: Vec<_> = OF_SERVER.into_iter().filter(|name| !is_seen(name)).collect();
        checks.extend(unseen.into_iter().map(|name| Check::skipped(name, why)));
    }
    Found { checks: checks.into_iter().map(|check| check.of(Group::Database)).collect(), known }
}

/// A session that can change nothing, whatever its login may.
fn harmless(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("default_transaction_read_only", "on")])
}

/// A PostgreSQL that somebody else runs.
async fn foreign(
    options: PgConnectOptions,
    configured: &Configured,
    clock: &Clock,
    checks: &mut Vec<Check>,
) -> Known {
    let target = target(&options);
    let began = Instant::now();
    let store = match Store::connect(harmless(options)).await {
        Ok(store) => store,
        Err(error) => {
            checks.push(Check::failed(
                "connection",
                format!("{target}: {}", Chain(&error)),
                unconnected(&error),
            ));
            return Err("the database cannot be reached".to_owned());
        }
    };
    let found = format!("{target}, in {}", super::answers::millis(began.elapsed()));
    checks.push(Check::ok("connection", found));
    let known = server(&store, configured, clock, checks).await;
    checks.push(Check::skipped(
        "room",
        "not observed: SQL does not show how much room the server's disk has; watch it there",
    ));
    store.pool().close().await;
    known
}

/// Where it is and as whom, without the password.
fn target(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("database `{database}` at {place} as `{}`", options.get_username())
}

/// The private PostgreSQL. It is started if it stands still, as for every command, and never made.
async fn own(
    data_dir: Option<PathBuf>,
    configured: &Configured,
    clock: &Clock,
    checks: &mut Vec<Check>,
) -> Known {
    let options = Options { data_dir, ..Options::default() };
    let look = match private::look(options.clone()).await {
        Ok(look) => look,
        Err(error) => {
            let advice = "give it a folder of its own with --data-dir, or set DATABASE_URL";
            checks.push(Check::failed("connection", Chain(&error).to_string(), advice));
            return Err("the private PostgreSQL cannot be looked at".to_owned());
        }
    };
    let place = look.root.display().to_string();
    let room = room(&look.root);
    let no_programs = |error: &PrivateError| {
        (Chain(error).to_string(), "install PostgreSQL as it says, or set DATABASE_URL")
    };
    if look.made_by.is_none() {
        checks.push(match &look.binaries {
            Ok(binaries) => Check::warning(
                "connection",
                format!(
                    "a private PostgreSQL, not made yet: {place}; version {} in {} will be used",
                    binaries.major(),
                    binaries.folder().display()
                ),
                "the first `deskledger collect` makes it; set DATABASE_URL if another was meant",
            ),
            Err(error) if look.would_fetch => Check::warning(
                "connection",
                format!("a private PostgreSQL, not made yet: {place}; {error}"),
                "the first `deskledger collect` fetches PostgreSQL, if it has a way to the internet",
            ),
            Err(error) => {
                let (found, advice) = no_programs(error);
                Check::failed("connection", found, advice)
            }
        });
        checks.push(room);
        return Err("there is no database yet".to_owned());
    }
    // Without this nothing would be fetched behind the user's back.
    if let Err(error) = &look.binaries {
        let (found, advice) = no_programs(error);
        checks.extend([Check::failed("connection", found, advice), room]);
        return Err("the private PostgreSQL cannot be started".to_owned());
    }
    let state = if look.is_running { "running" } else { "started for this look" };
    let (private, store) = match open(options).await {
        Ok(opened) => opened,
        Err(error) => {
            checks.push(Check::failed(
                "connection",
                Chain(error.as_ref()).to_string(),
                format!("its log is in {place}/log and {place}/start.log"),
            ));
            checks.push(room);
            return Err("the private PostgreSQL cannot be started".to_owned());
        }
    };
    checks.push(Check::ok("connection", format!("the private PostgreSQL in {place}, {state}")));
    let known = server(&store, configured, clock, checks).await;
    checks.push(room);
    store.pool().close().await;
    if let Err(error) = private.release().await {
        checks.push(Check::warning(
            "stopping",
            Chain(&error).to_string(),
            format!("its log is in {place}/log"),
        ));
    }
    known
}

async fn open(options: Options) -> anyhow::Result<(Private, Store)> {
    let private = private::acquire(options).await.context("start the private PostgreSQL")?;
    let store = Store::connect(harmless(private.connect_options())).await?;
    Ok((private, store))
}

/// What the server says of itself, and of the ledger in it.
async fn server(
    store: &Store,
    configured: &Configured,
    clock: &Clock,
    checks: &mut Vec<Check>,
) -> Known {
    let (began, before) = (Instant::now(), clock.now());
    match store.server_facts().await {
        Ok(facts) => {
            let ahead = before + began.elapsed() / 2 - facts.now;
            checks.extend(of_server(&facts, ahead));
        }
        Err(error) => checks.push(broken("version", &error)),
    }
    let version = store.schema_version().await;
    checks.push(schema(&version));
    let has_schema = !matches!(version, Ok(0));
    match store.rights().await {
        Ok(rights) => {
            checks.push(self::rights(&rights, has_schema, !configured.sources.is_empty()))
        }
        Err(error) => checks.push(broken("rights", &error)),
    }
    checks.push(if has_schema {
        match store.roles_missing().await {
            Ok(missing) => roles(&missing),
            Err(error) => broken("roles", &error),
        }
    } else {
        Check::skipped("roles", "there is no schema yet; they are made with it")
    });
    checks.push(match (store.size_bytes().await, store.table_sizes().await) {
        (Ok(all), Ok(tables)) => size(all, &tables),
        (Err(error), _) | (_, Err(error)) => broken("size", &error),
    });
    if !has_schema {
        return Ok(Vec::new());
    }
    store.standings().await.map_err(|error| Chain(&error).to_string())
}

/// A question that the database did not answer.
fn broken(name: &'static str, error: &StoreError) -> Check {
    Check::failed(name, Chain(error).to_string(), "the server's own log may say more")
}

fn unconnected(error: &StoreError) -> String {
    let StoreError::Database { source, .. } = error else { return "is it a ledger?".to_owned() };
    let code = source.as_database_error().and_then(|error| error.code());
    match (source, code.as_deref()) {
        (_, Some("28P01" | "28000")) => "is the login right, and does pg_hba.conf let it in from here?",
        (_, Some("3D000")) => "make it: `createdb`, owned by the login that records",
        (_, Some("53300")) => "the server has no connection left: raise max_connections, or close others",
        (_, Some("57P03")) => "the server is starting or stopping: try again in a minute",
        (sqlx::Error::Tls(_), _) => "does the server speak TLS? `sslmode` and `sslrootcert` in the URL say what is expected of it",
        (sqlx::Error::PoolTimedOut, _) => "nothing answers there: is a firewall in between, and the address right?",
        _ => "is PostgreSQL running there, and does it listen on that address?",
    }
    .to_owned()
}

fn of_server(facts: &ServerFacts, ahead: TimeDelta) -> Vec<Check> {
    let major = facts.version_num / 10_000;
    let supported = (MAJOR_OLDEST..=MAJOR_NEWEST).contains(&u32::try_from(major).unwrap_or(0));
    let version = format!("PostgreSQL {}", facts.version);
    let version = if facts.is_standby {
        Check::failed(
            "version",
            format!("{version}, a standby: nothing can be written to it"),
            "name the primary server in DATABASE_URL",
        )
    } else if supported {
        Check::ok("version", version)
    } else {
        Check::warning(
            "version",
            version,
            format!("deskledger is tried with {MAJOR_OLDEST} to {MAJOR_NEWEST}"),
        )
    };
    let seconds = ahead.abs().num_seconds();
    let clock = if ahead.abs() > SKEW {
        Check::warning(
            "clock",
            format!(
                "the server is {} {} this machine",
                format_duration(ahead.abs()),
                if ahead > TimeDelta::zero() { "behind" } else { "ahead of" }
            ),
            "one of the clocks is wrong: let NTP set both",
        )
    } else if seconds > 1 {
        Check::ok("clock", format!("{seconds} s off this machine's, which harms nothing"))
    } else {
        Check::ok("clock", "within a second of this machine's")
    };
    let durability = if facts.unsafe_settings.is_empty() {
        Check::ok("durability", "what is recorded survives a power cut")
    } else {
        Check::warning(
            "durability",
            format!(
                "off: {}; a power cut may lose or break the ledger",
                facts.unsafe_settings.join(", ")
            ),
            "turn them on in postgresql.conf",
        )
    };
    let encryption = match (facts.is_encrypted, facts.is_local) {
        (true, _) => Check::ok("encryption", "the connection is encrypted"),
        (false, true) => Check::ok("encryption", "none, and the connection stays on this machine"),
        (false, false) => Check::warning(
            "encryption",
            "the connection crosses the network in the clear, with the names of all users",
            "add `?sslmode=verify-full` to the URL, and turn ssl on at the server",
        ),
    };
    vec![version, clock, durability, encryption]
}

fn schema(version: &Result<i64, StoreError>) -> Check {
    let known = newest_schema_version();
    match version {
        Ok(0) => Check::warning(
            "schema",
            "none: nothing was ever recorded here",
            "the first `deskledger collect` makes it; is it the right database?",
        ),
        Ok(found) if *found < known => Check::warning(
            "schema",
            format!("version {found}, and this deskledger's is {known}"),
            "the next `deskledger collect` migrates it; make a backup before",
        ),
        Ok(found) if *found > known => Check::failed(
            "schema",
            format!("version {found}, and this deskledger knows up to {known}"),
            "use the deskledger that migrated it, or a newer one",
        ),
        Ok(found) => Check::ok("schema", format!("version {found}, the newest")),
        Err(StoreError::Database { source: sqlx::Error::Database(error), .. })
            if error.code().as_deref() == Some("42501") =>
        {
            Check::skipped("schema", "this login may not see the tables, only views")
        }
        Err(error) => broken("schema", error),
    }
}

/// Whoever is to record has to be able to; who is not may do with less.
fn rights(rights: &Rights, has_schema: bool, is_to_record: bool) -> Check {
    const NAME: &str = "rights";
    if !has_schema {
        return if rights.may_create_schemas {
            Check::ok(NAME, "may make the schema")
        } else {
            Check::failed(
                NAME,
                "may not make the schema",
                "as its owner: `grant create on database … to …` for this login",
            )
        };
    }
    if rights.may_write && rights.may_create_partitions {
        return Check::ok(NAME, "may record, and make the partitions of new months");
    }
    let may = match (rights.may_write, rights.may_read, rights.may_plan) {
        (true, ..) => "may write, but not make the partitions of new months",
        (_, true, _) => "may read everything, and not record",
        (_, _, true) => "may read the planner's views, and not record",
        _ => "may neither read nor record",
    };
    let advice = "let the login that made the schema record: the tables belong to it";
    if is_to_record || !(rights.may_read || rights.may_plan) {
        Check::failed(NAME, may, advice)
    } else {
        Check::warning(NAME, may, format!("enough for reports; for more, {advice}"))
    }
}

fn roles(missing: &[String]) -> Check {
    if missing.is_empty() {
        return Check::ok("roles", "deskledger_reader and deskledger_planner are there");
    }
    Check::warning(
        "roles",
        format!("missing, or may read nothing here: {}", missing.join(", ")),
        "only people who read as them need them; the log of `deskledger collect` shows the statements",
    )
}

fn size(all: i64, tables: &[TableSize]) -> Check {
    let bytes = |bytes: i64| human(u64::try_from(bytes).unwrap_or(0));
    let largest: Vec<String> = tables
        .iter()
        .take(3)
        .map(|table| format!("{} {}", table.name, bytes(table.bytes)))
        .collect();
    let of_them = if largest.is_empty() {
        String::new()
    } else {
        format!("; the largest tables: {}", largest.join(", "))
    };
    Check::ok("size", format!("{}{of_them}", bytes(all)))
}

fn room(folder: &Path) -> Check {
    match private::free_bytes(folder) {
        Some(bytes) => of_room(bytes, folder),
        None => Check::skipped("room", "the system does not say how much is free"),
    }
}

fn of_room(bytes: u64, folder: &Path) -> Check {
    let found = format!("{} free at {}", human(bytes), folder.display());
    let advice =
        "make room before the disk is full: PostgreSQL stops then, and nothing is recorded";
    match bytes {
        0..NO_ROOM => Check::failed("room", found, advice),
        NO_ROOM..ROOM => Check::warning("room", found, advice),
        _ => Check::ok("room", found),
    }
}

fn human(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version_num: 150_014,
            version: "15.14".into(),
            now: chrono::DateTime::UNIX_EPOCH,
            login: "me".into(),
            database: "ledger".into(),
            is_superuser: false,
            is_standby: false,
            is_local: false,
            is_encrypted: true,
            unsafe_settings: Vec::new(),
        }
    }

    fn states(facts: &ServerFacts, ahead: i64) -> Vec<State> {
        of_server(facts, TimeDelta::seconds(ahead)).iter().map(|check| check.state).collect()
    }

    #[test]
    fn a_server_is_judged_by_what_it_says() {
        use State::{Failed, Ok, Warning};
        assert_eq!(states(&facts(), 0), [Ok; 4]);
        assert_eq!(states(&facts(), -300), [Ok; 4]);
        assert_eq!(states(&facts(), 301), [Ok, Warning, Ok, Ok]);
        let change = |change: fn(&mut ServerFacts)| {
            let mut facts = facts();
            change(&mut facts);
            states(&facts, 0)
        };
        assert_eq!(change(|facts| facts.version_num = 130_012), [Warning, Ok, Ok, Ok]);
        assert_eq!(change(|facts| facts.version_num = 190_000), [Warning, Ok, Ok, Ok]);
        assert_eq!(change(|facts| facts.is_standby = true), [Failed, Ok, Ok, Ok]);
        assert_eq!(
            change(|facts| facts.unsafe_settings = vec!["fsync".into()]),
            [Ok, Ok, Warning, Ok]
        );
        assert_eq!(change(|facts| facts.is_encrypted = false), [Ok, Ok, Ok, Warning]);
        let local = |facts: &mut ServerFacts| (facts.is_encrypted, facts.is_local) = (false, true);
        assert_eq!(change(local), [Ok; 4]);
        let check = &of_server(&facts(), TimeDelta::minutes(7))[1];
        assert_eq!(check.found, "the server is 7m behind this machine");
    }

    #[test]
    fn a_schema_is_compared_with_ours() {
        let known = newest_schema_version();
        for (found, state) in [
            (0, State::Warning),
            (known - 1, State::Warning),
            (known, State::Ok),
            (known + 1, State::Failed),
        ] {
            assert_eq!(schema(&Ok(found)).state, state, "{found}");
        }
    }

    #[test]
    fn rights_are_judged_by_what_is_wanted() {
        let all = Rights {
            may_create_schemas: true,
            may_write: true,
            may_create_partitions: true,
            may_read: true,
            may_plan: true,
        };
        let reader = Rights {
            may_create_schemas: false,
            may_write: false,
            may_create_partitions: false,
            ..all.clone()
        };
        let nobody = Rights { may_read: false, may_plan: false, ..reader.clone() };
        let writer = Rights { may_write: true, ..reader.clone() };
        for (who, has_schema, is_to_record, state) in [
            (&all, true, true, State::Ok),
            (&all, false, true, State::Ok),
            (&reader, false, true, State::Failed),
            (&reader, true, true, State::Failed),
            (&reader, true, false, State::Warning),
            (&nobody, true, false, State::Failed),
            (&writer, true, true, State::Failed),
        ] {
            let check = rights(who, has_schema, is_to_record);
            assert_eq!(check.state, state, "{check:?}");
        }
    }

    #[test]
    fn room_runs_out_in_two_steps() {
        let state = |bytes| of_room(bytes, Path::new("/data")).state;
        assert_eq!(state(ROOM), State::Ok);
        assert_eq!(state(ROOM - 1), State::Warning);
        assert_eq!(state(NO_ROOM - 1), State::Failed);
    }

    #[test]
    fn no_password_is_shown() {
        let url = secrecy::SecretString::from("postgres://me:very-secret@db.example:5433/ledger");
        let shown = target(&connect_options(&url).unwrap());
        assert_eq!(shown, "database `ledger` at db.example:5433 as `me`");
    }
}
