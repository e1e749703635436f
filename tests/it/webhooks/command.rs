//! The commands: a wiring is proven, and `verify` tells by itself.

use serde_json::Value;

use super::receiver::{Mood, Receiver};
use super::{SECRET, webhook};
use crate::support::ledger::{ledger, record};
use crate::support::program::Home;
use crate::verify::history;

#[tokio::test]
async fn a_wiring_is_proven_by_the_receivers_answer() {
    let home = Home::on("postgres://nobody@127.0.0.1:1/nowhere".to_owned());
    let done = home.run(&["webhook", "test"]).await.expect(2);
    assert_eq!(done.errors(), ["error: no webhook is configured"]);
    let secret = home.run(&["webhook", "secret"]).await.expect(0).out;
    assert!(secret.starts_with("whsec_") && secret.trim_end().len() == 50, "{secret}");

    let (good, bad) = (Receiver::start(Mood::Takes).await, Receiver::start(Mood::Says(401)).await);
    home.write("secret", secret.as_bytes());
    let from_file = webhook("pager", &good.at, "").replace(SECRET, "file:secret");
    home.configure(&(from_file + &webhook("other", &bad.at, "")));
    let done = home.run(&["webhook", "test", "pager"]).await.expect(0);
    assert!(done.out.starts_with("ok       pager (127.0.0.1): HTTP 200, after "), "{}", done.out);
    assert!(done.out.contains("as it was told"), "{}", done.out);
    let [message] = &good.messages()[..] else { panic!("there is one") };
    assert_eq!(
        (message.kind(), &message.body["data"]["webhook"]),
        ("webhook.test", &"pager".into())
    );
    assert_eq!(message.headers["content-type"], "application/json");
    assert!(done.out.contains(message.id()) && !done.out.contains("very-secret"), "{}", done.out);

    let done = home.run(&["webhook", "test"]).await.expect(1);
    assert!(
        done.out.contains("failed   other (127.0.0.1): HTTP 401: does the receiver have the same")
    );
    assert_eq!(done.errors(), ["error: not taken by `other`"]);
    assert_eq!((good.messages().len(), bad.messages().len()), (2, 1));
    let done = home.run(&["webhook", "test", "pagr"]).await.expect(2);
    assert!(done.errors()[0].contains("there are `pager`, `other`"), "{}", done.err);
    let done = home.run(&["webhook", "list"]).await.expect(0);
    assert_eq!(done.out, "pager (127.0.0.1): nothing waits\nother (127.0.0.1): nothing waits\n");
    let doctor = home.run(&["doctor", "--format", "json"]).await.out;
    let doctor: Value = serde_json::from_str(&doctor).unwrap();
    let checks = doctor["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == "webhooks").unwrap();
    assert_eq!(check["state"], "ok");
    assert_eq!((good.messages().len(), bad.messages().len()), (2, 1), "the doctor wakes nobody");
}

#[tokio::test]
async fn what_verify_finds_is_told_once_and_so_is_that_it_is_mended() {
    let (database, store) = ledger().await;
    record(&store, &history::history(), 1, usize::MAX).await;
    let receiver = Receiver::start(Mood::Takes).await;
    let home = Home::configured(&database, &webhook("pager", &receiver.at, "timeout = \"1s\""));
    home.run(&["verify"]).await.expect(0);
    assert!(receiver.messages().is_empty(), "nothing is wrong");
    let right: Option<String> = sqlx::query_scalar(
        "select error_message from deskledger_data.snapshot where sequence = 17 and source_id = 1",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    let write = async |message: Option<&str>| {
        sqlx::query("update deskledger_data.snapshot set error_message = $1 where sequence = 17 and source_id = 1")
            .bind(message)
            .execute(&database.pool)
            .await
            .unwrap();
    };
    write(Some("all well")).await;
    home.run(&["verify"]).await.expect(1);
    assert_eq!(receiver.takes(1).await, ["verify.failed"]);
    home.run(&["verify"]).await.expect(1);
    let [message] = &receiver.messages()[..] else { panic!("it was told already") };
    let data = &message.body["data"];
    assert_eq!((&data["source"], &data["entry"]), (&"prod".into(), &17.into()));
    let at: Value = sqlx::query_scalar::<_, sqlx::types::Json<Value>>(
        "select to_jsonb(observed_at) from deskledger_data.snapshot where sequence = 17 and source_id = 1",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap()
    .0;
    let instant = |value: &Value| -> chrono::DateTime<chrono::Utc> {
        value.as_str().unwrap().parse().unwrap()
    };
    assert_eq!(instant(&data["observed_at"]), instant(&at));

    // Nobody takes it: the command waits for a moment, and the next one goes on.
    receiver.turn(Mood::Says(503));
    write(right.as_deref()).await;
    let done = home.run(&["verify"]).await.expect(0);
    assert!(done.err.contains("webhook `pager`: not delivered yet"), "{}", done.err);
    receiver.turn(Mood::Takes);
    home.run(&["verify"]).await.expect(0);
    assert_eq!(receiver.takes(2).await, ["verify.failed", "verify.passed"]);
    home.run(&["verify"]).await.expect(0);
    assert_eq!(receiver.taken().len(), 2);
}
