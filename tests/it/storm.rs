//! A cloud at its worst, for as many visits as there is time for: whatever was called complete was the
//! world as it was served, nobody was called absent who was there, no budget was passed, and every
//! failure stands in the ledger.
//!
//! The gate runs a few visits. The whole storm: `DESKLEDGER_STORM_VISITS=1000 cargo test --release
//! --test it storm -- --nocapture`. `DESKLEDGER_STORM_SEED` repeats one, as far as time does: requests
//! that are under way together arrive in another order each time.
//!
//! What is *not* a failure here: a partial or failed snapshot, however often; a state that was true at
//! any moment of its visit; a desktop that joined while the visit went on and is not in its listing.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::collector::Cycle;
use deskledger::domain::{Listing, Outcome, Snapshot, Source};
use deskledger::simulator::{Password, Rule, ServerConfig, Simulator, TotalCounts, WorldConfig};
use deskledger::store::Recorder;
use deskledger::workspace::{Account, Client, ClientConfig, Credentials};
use sqlx::PgPool;
use tempfile::TempDir;

use crate::support::cycle::{is_recorded, keeper, visited};
use crate::support::ledger::ledger;
use crate::support::postgres::TestDatabase;

const DESKTOPS: u32 = 12_000;
const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
/// So many requests a second, which an undisturbed visit would pass.
const BUDGET: u32 = 100;
/// So many may be under way at once, and so arrive closer to each other than they were sent.
const UNDER_WAY: u32 = 6;

/// What goes wrong, each at its own rate.
const WEATHER: [&str; 32] = [
    "throttle,rate=0.005",
    "retry-date=1,rate=0.001",
    "status=500,rate=0.005",
    "status=503,rate=0.005",
    "status=502,rate=0.005",
    "status=400,on=listing,rate=0.001",
    "html=502,rate=0.003",
    "html=200,rate=0.003",
    "camel-error=504,rate=0.002",
    "nested-error=500,rate=0.002",
    "text-error=500,rate=0.002",
    "silent=503,rate=0.002",
    "error-inside,rate=0.002",
    "drop,rate=0.003",
    "reset,rate=0.003",
    "truncate,rate=0.002",
    "bad-json,rate=0.002",
    "empty,rate=0.002",
    "bad-gzip,rate=0.002",
    "slow=100ms,rate=0.002",
    "total=-1,on=listing,rate=0.003",
    "total=7,on=listing,rate=0.003",
    "null-total,on=listing,rate=0.002",
    "repeat,on=listing,rate=0.005",
    "duplicate,on=listing,rate=0.01",
    "no-id,on=listing,rate=0.003",
    "short-page=300,on=listing,rate=0.003",
    "lose=3,on=listing,rate=0.005",
    "move=1m,on=listing,rate=0.02",
    "odd-names,on=listing,rate=0.05",
    "extra,rate=0.05",
    "wild-counters,on=statistics,rate=0.05",
];

/// What goes wrong with tokens besides.
const TOKENS: [&str; 4] = [
    "kill-tokens,on=listing,rate=0.003",
    "stale-token,on=listing,rate=0.003",
    "expired-token,on=statistics,rate=0.01",
    "status=503,on=tokens,rate=0.1",
];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_every_claim_is_true_in_any_weather() {
    let key = Credentials::AccessKey {
        access_key: "TESTACCESSKEY".into(),
        secret_key: "test-secret-key".into(),
        security_token: None,
    };
    // Most of the fleet is beyond the reach of its status's listing. Whoever joins there is not
    // to be found by any request, so nobody does.
    let server = |server: &mut ServerConfig| server.world.churn = 0.0;
    // A few desktops that are nobody's cannot be read at some times of the day either.
    storm(key, server, &[], 0, 33).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_password_every_claim_is_true_in_any_weather() {
    let password = Credentials::Password {
        user: "recorder".into(),
        password: "test-password".into(),
        domain: "company".into(),
    };
    // Each status is within reach, so that also those who join are.
    let server = |server: &mut ServerConfig| {
        server.world.churn = 2.0;
        server.max_offset = 9000;
        server.total_counts = TotalCounts::Everything;
    };
    storm(password, server, &TOKENS, 1, 80).await;
}

async fn storm(
    credentials: Credentials,
    server: impl FnOnce(&mut ServerConfig),
    more: &[&str],
    nth: u64,
    percent_complete: u64,
) {
    let visits = number("DESKLEDGER_STORM_VISITS", 14);
    let seed = number("DESKLEDGER_STORM_SEED", 20_261_122) + nth;
    println!("a storm of {visits} visits with seed {seed}");
    let start: DateTime<Utc> = "2026-10-07T00:00:00Z".parse().unwrap();
    let (clock, hands) = Clock::manual(start);
    let Setting { simulator, mut cycle, database, _folder } =
        set_up(credentials, server, seed, &clock).await;

    let mut claims = Claims::default();
    for visit in 0..visits {
        if visit == 3 {
            // By now the ledger knows the fleet.
            let rules = WEATHER.iter().chain(more).map(|rule| rule.parse::<Rule>().unwrap());
            simulator.set_faults(rules.collect());
        }
        hands.advance(TimeDelta::minutes(5));
        let pages = simulator.pages();
        let outcome = visited(cycle.run(Some(clock.now())).await);
        assert!(is_recorded(&outcome), "{:?}", outcome.kept);
        let snapshot = &outcome.snapshot;
        if snapshot.desktops_outcome() != Outcome::Complete {
            println!(
                "visit {visit}: {:?} of {:?} desktops; {}; {:?}",
                snapshot.desktops.as_ref().map(|listing| listing.desktops().len()),
                snapshot.total,
                outcome.effort.plan,
                snapshot.failure.as_ref().and_then(|failure| failure.code.as_deref()),
            );
        }
        let is_withheld = snapshot
            .failure
            .as_ref()
            .and_then(|failure| failure.message.as_deref())
            .is_some_and(|message| message.contains("not sent: refused"));
        if is_withheld {
            // After a refusal nothing is sent for a while. Visits five minutes apart would not notice.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        claims.add(&simulator, Snapshot::clone(&outcome.snapshot), pages..simulator.pages());
    }

    claims.check(&simulator);
    check_ledger(&simulator, &claims.visits, &database.pool).await;
    let tally = simulator.tally();
    let most = u32::try_from(tally.most_within(Duration::from_secs(1))).unwrap();
    let count = |is: fn(&Visit) -> bool| claims.visits.iter().filter(|visit| is(visit)).count();
    let complete = count(|visit| visit.outcome == Outcome::Complete) as u64;
    let failed = count(|visit| visit.code.is_some());
    println!(
        "{complete} complete, {failed} with a failure; {} requests, {} of them disturbed, at most \
         {most} a second, {} tokens",
        tally.requests, tally.faulty, tally.tokens,
    );
    assert!(most <= BUDGET + UNDER_WAY, "{most} requests within a second");
    assert_eq!((tally.throttled, tally.violations, tally.locks), (0, 0, 0));
    // Once an hour, and once for each death.
    assert!(
        tally.exchanges <= 3 + visits / 6 + tally.requests / 60,
        "{} exchanges",
        tally.exchanges
    );
    assert!(complete * 100 >= visits * percent_complete, "only {complete} of {visits} complete");
    assert!(tally.faulty > visits, "the storm was none");
    simulator.stop().await.unwrap();
}

struct Setting {
    simulator: Simulator,
    cycle: Cycle<Client>,
    database: TestDatabase,
    _folder: TempDir,
}

async fn set_up(
    credentials: Credentials,
    change: impl FnOnce(&mut ServerConfig),
    seed: u64,
    clock: &Clock,
) -> Setting {
    let world = WorldConfig::new(seed, DESKTOPS, clock.now(), 60);
    let mut server = ServerConfig::new(world, PROJECT);
    server.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    server.password = Some(Password {
        user: "recorder".into(),
        password: "test-password".into(),
        domain: "company".into(),
    });
    server.token_life = TimeDelta::hours(1);
    server.clock = clock.clone();
    server.keep_history = true;
    server.fault_seed = seed;
    server.rate_limit = Some((BUDGET + UNDER_WAY, Duration::from_secs(1)));
    change(&mut server);
    let max_offset = server.max_offset;
    let simulator = Simulator::start(server).await.unwrap();

    let endpoint: reqwest::Url = simulator.endpoint().parse().unwrap();
    let mut config = ClientConfig::new(endpoint.clone(), PROJECT, credentials);
    config.iam_endpoint = Some(endpoint);
    config.max_offset = max_offset;
    config.first_delay = Duration::from_millis(5);
    config.retry_budget = Duration::from_secs(20);
    config.account = Arc::new(Account::with_window(BUDGET, Duration::from_secs(1)));
    config.clock = clock.clone();
    let client = Client::new(config).unwrap();

    let (database, store) = ledger().await;
    let source = Source {
        name: "prod".into(),
        region: None,
        project_id: Some(PROJECT.into()),
        endpoint: Some(simulator.endpoint()),
    };
    // A fleet this size sleeps beyond the reach of its listings. The ledger knows it from better days.
    let mut recorder = Recorder::open(&store, &source).await.unwrap();
    let desktops = simulator.served().0;
    let first = Snapshot {
        scheduled_at: None,
        observed_at: clock.now(),
        finished_at: clock.now(),
        max_gap: TimeDelta::minutes(15),
        total: i64::try_from(desktops.len()).ok(),
        desktops: Some(Listing::new(desktops)),
        groups: None,
        failure: None,
    };
    recorder.record(&first).await.unwrap();
    let max_gap = TimeDelta::minutes(15);
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(&store, &source, folder.path(), clock, None);
    let cycle = Cycle::new("prod", client, keeper, clock.clone(), max_gap);
    Setting { simulator, cycle, database, _folder: folder }
}

/// What a visit came to, and the pages that were served meanwhile.
struct Visit {
    observed_at: DateTime<Utc>,
    outcome: Outcome,
    code: Option<String>,
    pages: Range<u64>,
}

/// What was claimed so far. Listings are held against the world some at a time, and let go: a thousand of
/// them would be gigabytes.
#[derive(Default)]
struct Claims {
    visits: Vec<Visit>,
    unchecked: Vec<(Snapshot, Range<u64>)>,
}

impl Claims {
    fn add(&mut self, simulator: &Simulator, snapshot: Snapshot, pages: Range<u64>) {
        self.visits.push(Visit {
            observed_at: snapshot.observed_at,
            outcome: snapshot.desktops_outcome(),
            code: snapshot.failure.as_ref().map(|failure| failure.code.clone().unwrap()),
            pages: pages.clone(),
        });
        self.unchecked.push((snapshot, pages));
        if self.unchecked.len() >= 50 {
            self.check(simulator);
        }
    }

    /// Every state listed was true at some moment of the visit, and every complete listing has
    /// everybody who was there throughout.
    fn check(&mut self, simulator: &Simulator) {
        let history = simulator.history();
        for (snapshot, pages) in self.unchecked.drain(..) {
            let Some(listing) = &snapshot.desktops else { continue };
            let at = snapshot.observed_at;
            let mut listed: HashSet<&str> = HashSet::new();
            for desktop in listing.desktops() {
                let states = history.states(&desktop.id, pages.clone());
                assert!(
                    states.contains(&Some(desktop)),
                    "{at}: {desktop:?} was none of {states:?}"
                );
                listed.insert(&desktop.id);
            }
            if snapshot.desktops_outcome() == Outcome::Complete {
                let hidden: Vec<_> = history
                    .always_there(pages.clone())
                    .filter(|id| !listed.contains(&***id))
                    .collect();
                assert!(hidden.is_empty(), "{at}: called complete without {hidden:?}");
            }
        }
    }
}

/// Every visit is a row with its failure's code, and every absence that the ledger claims was one.
async fn check_ledger(simulator: &Simulator, visits: &[Visit], pool: &PgPool) {
    let rows: Vec<(DateTime<Utc>, String, Option<String>)> = sqlx::query_as(
        "select observed_at, desktops_outcome, error_code from deskledger.snapshots
         order by observed_at offset 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected: Vec<_> = visits
        .iter()
        .map(|visit| (visit.observed_at, visit.outcome.as_str().to_owned(), visit.code.clone()))
        .collect();
    assert_eq!(rows, expected);

    let stretches: HashMap<DateTime<Utc>, &Range<u64>> =
        visits.iter().map(|visit| (visit.observed_at, &visit.pages)).collect();
    let absences: Vec<(DateTime<Utc>, String)> = sqlx::query_as(
        "select piece_to, desktop_id
         from deskledger_data.span join deskledger_data.desktop using (source_id, desktop_no)
         where ended = -3",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let history = simulator.history();
    for (at, id) in &absences {
        let states = history.states(id, stretches[at].clone());
        assert!(states.contains(&None), "{at}: {id} was never absent");
    }
    println!("{} absences, all true", absences.len());
}
