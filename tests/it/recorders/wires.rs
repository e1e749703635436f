//! Two recorders as processes, each with a wire of its own to the one database.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::processes::{SNAPSHOTS, count, simulator, source};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Home, until};
use crate::support::proxy::{Flow, Proxy};

/// A home whose way to the database can be disturbed; `more`: what the URL says besides. `None`: the server was named
/// by the environment, and is behind no socket.
async fn wired(database: &TestDatabase, configuration: &str, more: &str) -> Option<(Home, Proxy)> {
    let options = database.pool.connect_options();
    let socket = options.get_socket()?.join(format!(".s.PGSQL.{}", options.get_port()));
    let proxy = Proxy::start(&socket).await;
    let (user, name) = (options.get_username(), options.get_database().unwrap());
    let url = format!("postgres://{user}@{}/{name}?sslmode=disable{more}", proxy.address);
    let home = Home::on(url);
    home.configure(configuration);
    Some((home, proxy))
}

/// The visits that a recorder's log tells of.
fn visits(log: &str) -> i64 {
    let visits = log.lines().filter(|line| line.contains("40 of 40 desktops")).count();
    i64::try_from(visits).unwrap()
}

const LATE: &str = "select count(*) from deskledger.snapshots where late";

/// The standby reaches the database first, and the leader's lease has run out. But what the leader has read meanwhile
/// belongs into the history.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_waits_for_the_leader_when_the_database_is_back() {
    let simulator = simulator().await;
    let database = database().await;
    let configuration = source(&simulator, "1s");
    let Some((one, wire)) = wired(&database, &configuration, "").await else { return };
    let Some((other, standby_wire)) = wired(&database, &configuration, "").await else { return };
    let leader = one.start(&["collect"]);
    until("the leader records", async || count(&database.pool, SNAPSHOTS).await >= 1).await;
    let standby = other.start(&["collect"]);
    standby.says("standing by").await;
    for wire in [&wire, &standby_wire] {
        wire.set(Flow::Refuse);
        wire.cut();
    }
    leader.says("in the spool as number 4").await;
    let expired = "select count(*) from deskledger.sources where leased_until < now()";
    until("the lease runs out", async || count(&database.pool, expired).await == 1).await;
    standby_wire.set(Flow::Pass);
    // Several looks of the standby's.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(count(&database.pool, expired).await, 1, "the standby has taken over");
    wire.set(Flow::Pass);
    leader.says("caught up with the spool of source `prod`").await;
    let recorded = count(&database.pool, SNAPSHOTS).await;
    until("the leader goes on", async || count(&database.pool, SNAPSHOTS).await > recorded + 1)
        .await;
    standby.signal(Signal::SIGTERM);
    let stood_by = standby.end().await.expect(0);
    assert!(!stood_by.err.contains("leading now"), "{}", stood_by.err);
    leader.signal(Signal::SIGTERM);
    let led = leader.end().await.expect(0);
    assert_eq!(visits(&stood_by.err), 0);
    assert_eq!(count(&database.pool, SNAPSHOTS).await, visits(&led.err), "{}", led.err);
    assert_eq!(count(&database.pool, LATE).await, 0);
    other.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

/// It holds the source's head then, for which whoever takes over has to wait. The server ends the transaction; here
/// after a second, as the address says, instead of thirty.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_frozen_in_the_midst_of_a_transaction_is_followed_and_loses_nothing() {
    let simulator = simulator().await;
    let database = database().await;
    let configuration = source(&simulator, "2s");
    let impatient = "&options=-c%20idle_in_transaction_session_timeout%3D1s";
    let Some((one, wire)) = wired(&database, &configuration, impatient).await else { return };
    let leader = one.start(&["collect"]);
    until("the leader records", async || count(&database.pool, SNAPSHOTS).await >= 1).await;
    let other = Home::configured(&database, &configuration);
    let standby = other.start(&["collect"]);
    standby.says("standing by").await;
    wire.set(Flow::Delay(Duration::from_millis(150)));
    let is_amid = "select count(*) from pg_stat_activity
                    where datname = current_database() and state = 'idle in transaction' and query like '%move_head%'";
    until("the leader is in a transaction", async || count(&database.pool, is_amid).await == 1)
        .await;
    leader.signal(Signal::SIGSTOP);
    let recorded = count(&database.pool, SNAPSHOTS).await;
    standby.says("leading now").await;
    until("the other records", async || count(&database.pool, SNAPSHOTS).await > recorded + 1)
        .await;
    wire.set(Flow::Pass);
    leader.signal(Signal::SIGCONT);
    leader.says("standing by").await;
    until("what it held is there", async || count(&database.pool, LATE).await >= 1).await;
    until("nothing waits", async || one.run(&["spool", "--check"]).await.code == Some(0)).await;
    leader.signal(Signal::SIGTERM);
    let frozen = leader.end().await.expect(0);
    standby.signal(Signal::SIGTERM);
    let followed = standby.end().await.expect(0);
    let all = visits(&frozen.err) + visits(&followed.err);
    assert_eq!(count(&database.pool, SNAPSHOTS).await, all, "{}{}", frozen.err, followed.err);
    other.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}
