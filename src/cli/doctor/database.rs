//! The ledger's database: reaches it, and asks what it is and what may be done with it.

use std::path::PathBuf;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;

use super::check::{Check, Group};
use super::configuration::{Configured, Place};
use super::server;
use crate::cli::ledger::connect_options;
use crate::clock::Clock;
use crate::domain::Instant;
use crate::error::Chain;
use crate::store::private::{self, Options, Private, PrivateError};
use crate::store::{Roster, Standing, Store, StoreError};

/// What the ledger says of the sources, or why nobody knows.
pub(super) type Known = Result<Recorded, String>;

/// What the ledger says of the sources.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// When it said so: ages count up to then, however long an API takes to answer afterwards.
    pub read_at: Instant,
    pub standings: Vec<Standing>,
    /// `None`: the login may not read it.
    pub rosters: Option<Vec<Roster>>,
}

impl Recorded {
    pub fn standing(&self, source: &str) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.source == source)
    }

    /// What is known of a source's desktops: nothing, of one that was never recorded.
    pub fn roster(&self, source: &str) -> Option<(i64, i64)> {
        let rosters = self.rosters.as_ref()?;
        let roster = rosters.iter().find(|roster| roster.source == source);
        Some(roster.map_or((0, 0), |roster| (roster.desktops, roster.users)))
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub checks: Vec<Check>,
    pub known: Known,
    /// The number of the user who keeps the ledger on this machine, if anybody does.
    pub keeper: Option<u32>,
}

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
    let keeper = match &configured.place {
        Place::Private(data_dir) => {
            private::keeper(Options { data_dir: data_dir.clone(), ..Options::default() })
        }
        Place::Url(_) | Place::Unknown => None,
    };
    let checks = checks.into_iter().map(|check| check.of(Group::Database)).collect();
    Found { checks, known, keeper }
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
    let began = tokio::time::Instant::now();
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
    let known = ask(&store, configured, clock, checks).await;
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
    let room = server::room(&look.root);
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
                "`deskledger collect` makes it; set DATABASE_URL if another was meant",
            ),
            Err(error) if look.would_fetch => Check::warning(
                "connection",
                format!("a private PostgreSQL, not made yet: {place}; {error}"),
                "`deskledger collect` fetches PostgreSQL and makes it, if it has a way to the internet",
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
    let known = ask(&store, configured, clock, checks).await;
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
async fn ask(
    store: &Store,
    configured: &Configured,
    clock: &Clock,
    checks: &mut Vec<Check>,
) -> Known {
    let (began, before) = (tokio::time::Instant::now(), clock.now());
    match store.server_facts().await {
        Ok(facts) => {
            let ahead = before + began.elapsed() / 2 - facts.now;
            checks.extend(server::of_server(&facts, ahead));
        }
        Err(error) => checks.push(server::broken("version", &error)),
    }
    let version = store.schema_version().await;
    checks.push(server::schema(&version));
    let has_schema = !matches!(version, Ok(0));
    match store.rights().await {
        Ok(rights) => {
            checks.push(server::rights(&rights, has_schema, !configured.sources.is_empty()))
        }
        Err(error) => checks.push(server::broken("rights", &error)),
    }
    checks.push(if has_schema {
        match store.roles_missing().await {
            Ok(missing) => server::roles(&missing),
            Err(error) => server::broken("roles", &error),
        }
    } else {
        Check::skipped("roles", "there is no schema yet; they are made with it")
    });
    checks.push(match (store.size_bytes().await, store.table_sizes().await) {
        (Ok(all), Ok(tables)) => server::size(all, &tables),
        (Err(error), _) | (_, Err(error)) => server::broken("size", &error),
    });
    if !has_schema {
        let (standings, rosters) = (Vec::new(), Some(Vec::new()));
        return Ok(Recorded { read_at: clock.now(), standings, rosters });
    }
    let standings = store.standings().await.map_err(|error| Chain(&error).to_string())?;
    let read_at = clock.now();
    Ok(Recorded { read_at, standings, rosters: store.rosters().await.ok() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let url = secrecy::SecretString::from("postgres://me:very-secret@db.example:5433/ledger");
        let shown = target(&connect_options(&url).unwrap());
        assert_eq!(shown, "database `ledger` at db.example:5433 as `me`");
    }
}
