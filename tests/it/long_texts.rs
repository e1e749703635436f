//! Texts of a length that nobody would give anything: they are recorded like all others, and stop nothing.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::erasure::found;
use crate::exchange::views;
use crate::support::ledger::ledger;
use crate::support::program::Home;

/// So many characters that no compression makes shorter, beginning with `name`.
fn long(name: &str, characters: usize) -> String {
    let mut text = name.to_owned();
    for block in 0_u64.. {
        if text.len() >= characters {
            break;
        }
        for byte in Sha256::digest([name.as_bytes(), &block.to_le_bytes()].concat()) {
            write!(text, "{byte:02x}").unwrap();
        }
    }
    text.truncate(characters);
    text
}

/// A visit that saw two desktops whose ids differ in their last character, and one as they all are.
fn visit(minute: u32, status: &str) -> Value {
    let id = long("d-long-", 9_999);
    let user = json!({ "type": "USER", "id": long("u-", 30_000), "name": long("anna-", 30_000),
                       "user_group": long("group-", 30_000) });
    let desktop = |id: String, name: String, users: Value| json!({ "desktop_id": id, "desktop_name": name, "connect_status": status, "attach_users": users });
    json!({
        "source": "prod",
        "observed_at": format!("2026-10-05T08:{minute:02}:00Z"),
        "max_gap": "15m",
        "total_count": 3,
        "desktops": [
            desktop(format!("{id}1"), long("DESK-", 40_000), json!([user])),
            desktop(format!("{id}2"), long(status, 5_000), json!([])),
            desktop("d-short".to_owned(), "DESK-SHORT".to_owned(), json!([])),
        ],
        "statics": [{ "static_name": long("static-", 9_000), "in_use_num": 1 }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_any_length_are_recorded_asked_for_moved_and_erased() {
    let (database, _store) = ledger().await;
    let (home, pool) = (Home::new(&database), &database.pool);
    let other_status = long("STATUS-", 6_000);
    let history: String =
        [(0, "CONNECTED"), (5, &other_status), (10, "CONNECTED"), (15, "DISCONNECTED")]
            .iter()
            .map(|(minute, status)| format!("{}\n", visit(*minute, status)))
            .collect();
    home.write("history.ndjson", history.as_bytes());
    home.run(&["import", "history.ndjson"]).await.expect(0);
    home.run(&["verify"]).await.expect(0);

    let ids: Vec<String> =
        sqlx::query_scalar("select distinct desktop_id from deskledger.desktop_states order by 1")
            .fetch_all(pool)
            .await
            .unwrap();
    let id = long("d-long-", 9_999);
    assert_eq!(ids, [format!("{id}1"), format!("{id}2"), "d-short".to_owned()]);

    // By each of what can be asked for, in each format.
    let (name, desktop) = (long("anna-", 30_000), long("DESK-", 40_000));
    for format in ["csv", "ndjson", "json", "markdown", "table", "xlsx", "html"] {
        for (report, parameter) in [
            ("user-history", format!("--user={name}")),
            ("desktop-history", format!("--desktop={desktop}")),
            ("desktop-history", format!("--desktop={id}1")),
        ] {
            let file = format!("out.{format}");
            let given =
                ["report", report, &parameter, "--from", "2026-10-05", "--to", "2026-10-06"];
            home.run(&[&given[..], &["--format", format, "-o", &file]].concat()).await.expect(0);
            let written = std::fs::read(home.path().join(file)).unwrap();
            assert!(written.len() > 1_000, "{format} of {report} is {} bytes", written.len());
        }
    }

    // What comes out goes in again.
    let exported = home.run(&["export"]).await.expect(0).out;
    let (copy, _store) = ledger().await;
    let copied = Home::new(&copy);
    copied.write("exported.ndjson", exported.as_bytes());
    copied.run(&["import", "exported.ndjson"]).await.expect(0);
    assert_eq!(views(&copy.pool).await, views(pool).await);

    home.run(&["erase-user", &name, "--yes"]).await.expect(0);
    assert_eq!(found(pool, &name[..200]).await, Vec::<String>::new());
    home.run(&["verify"]).await.expect(0);
}
