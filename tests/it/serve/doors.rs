//! Who is let in.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;

use super::{DAY, Serving, example};
use crate::support::program::Home;

const TOKEN: &str = "correct-horse-battery";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_only_what_is_addressed_to_this_machine_is_answered() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &[]).await;
    for host in ["localhost:8090", "127.0.0.1", "[::1]:8090"] {
        serving.ask(Method::GET, "/reports", &[("host", host)]).await.expect(200);
    }
    for path in
        ["/", "/reports", "/report/connected-at", "/report/utilisation/csv", "/sql/coverage", "/x"]
    {
        for host in
            ["rebound.example", "rebound.example:8090", "10.0.0.1", "localhost.rebound.example"]
        {
            let answer = serving.ask(Method::GET, path, &[("host", host)]).await.expect(421);
            assert!(!answer.text().contains("prod"), "{}", answer.text());
        }
    }
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_only_who_knows_it_is_answered() {
    let database = example().await;
    let home = Home::new(&database);
    home.write("token", format!("{TOKEN}\n").as_bytes());
    let serving = Serving::listening(&home, "0.0.0.0:0", &["--token", "file:token"]).await;
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let whole = format!("/?{DAY}");
    for path in [whole.as_str(), "/reports", "/report/connected-at/csv", "/sql/coverage", "/x"] {
        for wrong in [
            None,
            Some("Bearer wrong".to_owned()),
            Some(format!("Bearer {TOKEN}x")),
            Some(format!("Bearer {}", &TOKEN[1..])),
            Some(basic("anyone:wrong")),
            Some(basic(TOKEN)),
            Some(format!("Digest {TOKEN}")),
        ] {
            let headers: Vec<_> =
                wrong.iter().map(|value| ("authorization", value.as_str())).collect();
            let answer = serving.ask(Method::GET, path, &headers).await.expect(401);
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"deskledger\", charset=\"UTF-8\""
            );
            assert!(!answer.text().contains("prod"), "{}", answer.text());
        }
    }
    for right in [
        format!("Bearer {TOKEN}"),
        format!("bearer  {TOKEN}"),
        basic(&format!("anyone:{TOKEN}")),
        basic(&format!(":{TOKEN}")),
    ] {
        // Behind a proxy the host is another one.
        let headers = [("authorization", right.as_str()), ("host", "reports.example")];
        let page = serving.ask(Method::GET, &whole, &headers).await.expect(200);
        page.holds("prod");
        assert!(!page.text().contains(TOKEN));
        let missing = serving.ask(Method::GET, "/x", &headers).await.expect(404);
        assert!(!missing.text().contains(TOKEN));
    }
    let done = serving.end().await.expect(0);
    assert!(!done.err.contains(TOKEN) && !done.out.contains(TOKEN), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_another_site_sends_gets_a_link_and_no_answer() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &["--token", TOKEN]).await;
    let authorized = format!("Bearer {TOKEN}");
    let from = async |site: &str, path: &str| {
        let headers = [("authorization", authorized.as_str()), ("sec-fetch-site", site)];
        serving.ask(Method::GET, path, &headers).await
    };
    let whole = format!("/?{DAY}&source=prod");
    let file = "/report/connected-at/csv?at=2026-10-05T08:07:00Z";
    for path in [whole.as_str(), file, "/report/outages?share=5", "/sql/coverage", "/reports"] {
        for site in ["cross-site", "same-site"] {
            let page = from(site, path).await.expect(403);
            page.holds(&format!("<a href=\"{}\">", path.replace('&', "&amp;")));
            assert!(!page.text().contains("alice"), "{}", page.text());
        }
        for site in ["same-origin", "none"] {
            from(site, path).await.expect(200);
        }
    }
    // No link leads to another host, and none is markup.
    from("cross-site", "//evil.example/?x").await.expect(403).holds("<a href=\"/\">");
    let page = from("cross-site", "/x?%22%3E%3Cscript%3E'\"").await.expect(403).text();
    assert!(!page.contains("<script"), "{page}");
    // Who does not know the token is told that first.
    let headers = [("sec-fetch-site", "cross-site")];
    serving.ask(Method::GET, &whole, &headers).await.expect(401);
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_stand_in_a_file_a_variable_or_the_configuration() {
    let database = example().await;
    let home = Home::new(&database);
    home.write("token", TOKEN.as_bytes());
    home.configure("[serve]\nlisten = \"0.0.0.0:0\"\ntoken = \"file:token\"\n");
    let authorized = format!("Bearer {TOKEN}");
    let running = home.start(&["serve"]);
    running.says("Reports are at http://0.0.0.0:").await;
    drop(running);
    // The variable names another one than the file.
    let shell = ["env", "DESKLEDGER_SERVE_TOKEN=env:KEPT", "KEPT=another-token"];
    let running = home.start_under(&shell, &["serve", "--listen", "127.0.0.1:0"]);
    running.says("until Ctrl-C").await;
    let said = running.said();
    let at = said.split("Reports are at ").nth(1).unwrap().split(" until").next().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |token: &str| {
        client
            .get(format!("{at}reports"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!((ask(TOKEN).await, ask("another-token").await), (401, 200));
    // And the flag another one than both.
    let serving = Serving::start(&home, &["--token", "the-flags-own"]).await;
    serving.ask(Method::GET, "/reports", &[("authorization", &authorized)]).await.expect(401);
    serving
        .ask(Method::GET, "/reports", &[("authorization", "Bearer the-flags-own")])
        .await
        .expect(200);
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_a_token() {
    let database = example().await;
    let home = Home::new(&database);
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let done = home.run(&["serve", "--listen", listen]).await.expect(2);
        assert!(
            done.errors()[0].contains("that needs a token, `--token file:PATH`"),
            "{}",
            done.err
        );
        assert!(done.errors()[0].contains(listen), "{}", done.err);
    }
    home.write("empty", b"\n");
    for (token, text) in [
        ("file:nowhere", "nowhere"),
        ("env:NOWHERE", "NOWHERE"),
        ("file:empty", "empty"),
        ("fifteen-letters", "needs a token of 16 characters"),
    ] {
        let done = home.run(&["serve", "--listen", "0.0.0.0:0", "--token", token]).await.expect(2);
        assert!(done.errors()[0].contains(text), "{}", done.err);
    }
    for listen in ["8090", "localhost", "127.0.0.1", ":8090"] {
        let done = home.run(&["serve", "--listen", listen]).await.expect(2);
        assert!(done.errors()[0].contains("write an address and a port"), "{}", done.err);
    }
    home.configure("[serve]\nlisten = \"0.0.0.0:0\"\n");
    let done = home.run(&["serve"]).await.expect(2);
    assert!(
        done.errors()[0].contains("deskledger.toml") && done.errors()[0].contains("needs a token"),
        "{}",
        done.err
    );
}
