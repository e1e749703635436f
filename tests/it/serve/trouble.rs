//! When something is slow, away, too much, or over.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{DAY, SLEEP, SOON, Serving, example, own_reports};
use crate::support::postgres::TestDatabase;
use crate::support::program::{Home, until};

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_is_told_and_the_form_stays() {
    let database = example().await;
    let home = Home::new(&database);
    own_reports(&home, &[("sleep", SLEEP)]);
    let serving = Serving::start(&home, &["--queries", "own", "--timeout", "1s"]).await;
    let page = serving.get("/report/sleep?seconds=60").await.expect(504);
    page.holds("took longer than 1 s");
    page.holds("value=\"60\"");
    serving.get("/report/sleep/csv?seconds=60").await.expect(504).holds("took longer than 1 s");
    serving.get("/report/sleep?seconds=0").await.expect(200).holds("slept");
    serving.end().await.expect(0);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_without_its_address_and_found_again() {
    use crate::support::proxy::{Flow, Proxy};
    let database = example().await;
    let options = database.pool.connect_options();
    let Some(socket) = options.get_socket() else {
        // The server was named by the environment, and is behind no socket.
        return;
    };
    let proxy = Proxy::start(&socket.join(format!(".s.PGSQL.{}", options.get_port()))).await;
    let (user, name) = (options.get_username(), options.get_database().unwrap());
    let home = Home::on(format!("postgres://{user}@{}/{name}?sslmode=disable", proxy.address));
    let serving = Serving::start(&home, &[]).await;
    let whole = format!("/?{DAY}");
    serving.get(&whole).await.expect(200).holds("prod");
    proxy.set(Flow::Refuse);
    proxy.cut();
    for path in [whole.as_str(), "/report/utilisation", "/report/utilisation/csv"] {
        let page = serving.get(path).await.expect(503);
        page.holds("The ledger does not answer");
        let text = page.text();
        let told = text.split("<main").nth(1).unwrap();
        let port = proxy.address.port().to_string();
        for internal in [port.as_str(), name, "sqlx", "pool", "127.0.0.1", "connect"] {
            assert!(!told.contains(internal), "{internal}: {told}");
        }
    }
    // What needs no database is there all the same.
    serving.get("/sql/utilisation").await.expect(200);
    assert!(serving.running.said().contains("could not answer a browser"));
    proxy.set(Flow::Pass);
    serving.get(&whole).await.expect(200).holds("prod");
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_wait_for_their_turn() {
    let database = example().await;
    let home = Home::new(&database);
    own_reports(&home, &[("sleep", SLEEP)]);
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    let asking = join_all((0..50).map(|nth| {
        let path =
            if nth % 5 == 0 { format!("/?{DAY}") } else { "/report/sleep?seconds=0.1".to_owned() };
        let serving = &serving;
        async move { serving.get(&path).await.status }
    }));
    let watching = async {
        let mut most = 0;
        loop {
            let busy: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle'
                    and backend_type = 'client backend' and pid <> pg_backend_pid()",
            )
            .fetch_one(&database.pool)
            .await
            .unwrap();
            most = most.max(busy);
            if most > 2 {
                break most;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let statuses = tokio::select! {
        statuses = asking => statuses,
        most = watching => panic!("{most} were answered at once"),
    };
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 10, "{statuses:?}");
    // Whoever goes away leaves the place to others.
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(200)).build().unwrap();
    let slow = format!("{}/report/sleep?seconds=3", serving.at);
    let gone = join_all((0..20).map(|_| client.get(&slow).send())).await;
    assert!(gone.iter().all(Result::is_err), "nobody waited");
    let asked = Instant::now();
    serving.get(&format!("/?{DAY}")).await.expect(200);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    serving.end().await.expect(0);
}

/// How many statements sleep.
async fn sleeping(database: &TestDatabase) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'
            and wait_event = 'PgSleep'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_question_keeps_nobody_from_another_one() {
    let database = example().await;
    let home = Home::new(&database);
    let needing = "-- T\n--\n-- Parameters\n--   x  text  required  what\nselect :'x' as x";
    own_reports(&home, &[("sleep", SLEEP), ("needing", needing)]);
    let serving = Serving::start(&home, &["--queries", "own", "--timeout", "10m"]).await;
    let ask = |address: &'static str| {
        let url = format!("{}/report/sleep?seconds=600", serving.at);
        tokio::spawn(serving.client.get(url).header("x-forwarded-for", address).send())
    };
    let mut slow: Vec<_> = (0..4).map(|_| ask("192.0.2.1")).collect();
    until("one of them is answered", async || sleeping(&database).await == 1).await;
    let asked = Instant::now();
    let headers = [("x-forwarded-for", "192.0.2.1")];
    serving.ask(Method::GET, &format!("/?{DAY}"), &headers).await.expect(200).holds("prod");
    slow.extend((0..4).map(|_| ask("192.0.2.2")));
    until("one of another address is, too", async || sleeping(&database).await == 2).await;
    let headers = [("x-forwarded-for", "192.0.2.3")];
    serving.ask(Method::GET, &format!("/?{DAY}"), &headers).await.expect(200).holds("prod");
    // What asks nothing of the ledger needs no turn, whoever comes for it.
    let headers = [("x-forwarded-for", "192.0.2.2")];
    for path in ["/reports", "/sql/sleep", "/report/needing"] {
        serving.ask(Method::GET, path, &headers).await.expect(200);
    }
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    // Those who asked go away, and what they asked for ends with them: in a second, not in ten minutes.
    for waiting in slow {
        waiting.abort();
    }
    until("nothing runs for those who are gone", async || sleeping(&database).await == 0).await;
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_say_what_is_wanted_is_cut_off() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &[]).await;
    let host = serving.at.trim_start_matches("http://").to_owned();
    let say = async |text: &[u8]| {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        stream.write_all(text).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        end.expect("it is cut off").ok();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (silent, half, second) = tokio::join!(
        say(b""),
        say(b"GET / HTTP/1.1\r\nHost: loc"),
        say(b"GET /reports HTTP/1.1\r\nHost: localhost\r\n\r\nGET /rep"),
    );
    assert!(!silent.contains("200 OK") && !half.contains("200 OK"), "{silent}{half}");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
    serving.end().await.expect(0);
}

/// The most memory that a process took so far, in MiB.
#[cfg(target_os = "linux")]
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_any_size_takes_a_bounded_memory() {
    let database = example().await;
    let home = Home::new(&database);
    let many = "select n as number, repeat('x', 1000) as text from generate_series(1, :'rows'::integer) as n";
    own_reports(&home, &[("many", many)]);
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    let page = serving.get("/report/many?rows=2000").await.expect(200);
    page.holds("1000 more rows are not shown here");
    for rows in ["100000", "300000"] {
        let page = serving.get(&format!("/report/many?rows={rows}")).await.expect(507);
        page.holds("the result is too large for a page");
        assert!(page.body.len() < 50_000);
        for format in ["csv", "json"] {
            let file = serving.get(&format!("/report/many/{format}?rows={rows}")).await.expect(507);
            file.holds("larger than 64 MB");
        }
    }
    let most = peak(serving.running.pid());
    assert!(most < 400, "{most} MiB");
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_even_while_some_are_not_answered() {
    let database = example().await;
    let home = Home::new(&database);
    own_reports(&home, &[("sleep", SLEEP)]);
    let ends_by = async |signal| {
        let serving = Serving::start(&home, &["--queries", "own", "--timeout", "10m"]).await;
        serving.get("/reports").await.expect(200);
        // One that says half of what it wants, one that says nothing, and one that waits for long.
        let host = serving.at.trim_start_matches("http://").to_owned();
        let mut half = TcpStream::connect(&host).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
        let silent = TcpStream::connect(&host).await.unwrap();
        let path = format!("{}/report/sleep?seconds=600", serving.at);
        let waiting = tokio::spawn(serving.client.get(path).send());
        // One that is being answered when it comes is answered.
        let short = serving.client.get(format!("{}/report/sleep?seconds=3", serving.at));
        let short = tokio::spawn(short.header("x-forwarded-for", "192.0.2.1").send());
        tokio::time::sleep(Duration::from_secs(1)).await;
        serving.running.signal(signal);
        let asked = Instant::now();
        serving.running.end().await.expect(0);
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        assert_eq!(short.await.unwrap().unwrap().status().as_u16(), 200);
        assert!(waiting.await.unwrap().is_err());
        drop((half, silent));
    };
    tokio::join!(ends_by(Signal::SIGTERM), ends_by(Signal::SIGINT));
}
