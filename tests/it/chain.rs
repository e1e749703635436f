//! The digest chain, worked out again from nothing but the rows of the ledger.
//!
//! This is an implementation of its own, after the description of the bytes in `domain::digest`: if it comes to the
//! same digests, nothing that is needed to verify a ledger is missing from its tables.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::oracle::generate::histories;
use crate::support::ledger::{ledger, record, record_with_late, rows};

type Hash = [u8; 32];
/// Microseconds since 1970.
type Micros = i64;
type Row = serde_json::Map<String, Value>;

/// Puts the bytes of one hash together.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new(tag: &str) -> Self {
        Self(Vec::new()).text(tag)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn number(self, number: i64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    fn text(self, text: &str) -> Self {
        let length = i64::try_from(text.len()).unwrap();
        self.number(length).raw(text.as_bytes())
    }

    fn maybe<T>(self, value: Option<T>, feed: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            None => self.raw(&[0]),
            Some(value) => feed(self.raw(&[1]), value),
        }
    }

    fn maybe_text(self, text: Option<&str>) -> Self {
        self.maybe(text, Self::text)
    }

    fn maybe_number(self, number: Option<i64>) -> Self {
        self.maybe(number, Self::number)
    }

    fn hash(self) -> Hash {
        Sha256::digest(&self.0).into()
    }
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(value.as_str().unwrap(), &mut bytes).unwrap();
    bytes
}

fn number(row: &Row, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row:?} is no number"))
}

fn counters(row: &Row) -> Vec<Option<i64>> {
    deskledger::domain::COUNTERS.iter().map(|name| row[*name].as_i64()).collect()
}

/// A table's rows of one source.
async fn table(pool: &PgPool, source_id: i64, columns: &str, table: &str) -> Vec<Row> {
    let sql =
        format!("select {columns} from deskledger_data.{table} where source_id = {source_id}");
    rows(pool, &sql).await
}

/// What stands in the chain for texts, by number: every commitment checked against text and salt.
struct Commitments {
    desktops: BTreeMap<i64, Hash>,
    names: BTreeMap<i64, Hash>,
    assignments: BTreeMap<i64, Hash>,
    /// The assignment of each label.
    labels: BTreeMap<i64, i64>,
    statuses: BTreeMap<i64, Option<String>>,
}

impl Commitments {
    async fn read(pool: &PgPool, source_id: i64) -> Self {
        let mut desktops = BTreeMap::new();
        for row in table(pool, source_id, "*", "desktop").await {
            let commitment = Bytes::new("deskledger.desktop.1")
                .raw(&bytes::<16>(&row["salt"]))
                .text(row["desktop_id"].as_str().unwrap())
                .hash();
            assert_eq!(commitment, bytes(&row["commitment"]), "the commitment of {row:?}");
            desktops.insert(number(&row, "desktop_no"), commitment);
        }
        let mut persons = BTreeMap::new();
        for row in table(pool, source_id, "*", "person").await {
            let commitment = Bytes::new("deskledger.person.1")
                .raw(&bytes::<16>(&row["salt"]))
                .maybe_text(row["type"].as_str())
                .maybe_text(row["id"].as_str())
                .maybe_text(row["name"].as_str())
                .hash();
            assert_eq!(commitment, bytes(&row["commitment"]), "the commitment of {row:?}");
            persons.insert(number(&row, "person_no"), commitment);
        }
        let mut assignments = BTreeMap::new();
        let columns = "assignment_no, attach_users, to_jsonb(entry_person_nos) as entries";
        for row in table(pool, source_id, columns, "assignment").await {
            let mut hash = Bytes::new("deskledger.assignment.1");
            let entries = row["attach_users"].as_array().unwrap();
            let nos = row["entries"].as_array().unwrap();
            assert_eq!(entries.len(), nos.len());
            for (entry, no) in entries.iter().zip(nos) {
                hash = hash
                    .raw(&persons[&no.as_i64().unwrap()])
                    .maybe_text(entry["user_group"].as_str());
            }
            assignments.insert(number(&row, "assignment_no"), hash.hash());
        }
        let (mut names, mut labels) = (BTreeMap::new(), BTreeMap::new());
        for row in table(pool, source_id, "*", "label").await {
            let commitment = Bytes::new("deskledger.name.1")
                .raw(&bytes::<16>(&row["salt"]))
                .maybe_text(row["desktop_name"].as_str())
                .hash();
            assert_eq!(commitment, bytes(&row["commitment"]), "the commitment of {row:?}");
            names.insert(number(&row, "label_no"), commitment);
            labels.insert(number(&row, "label_no"), number(&row, "assignment_no"));
        }
        let statuses = table(pool, source_id, "*", "status").await;
        let statuses = statuses
            .iter()
            .map(|row| (number(row, "status_id"), row["status"].as_str().map(str::to_owned)))
            .collect();
        Self { desktops, names, assignments, labels, statuses }
    }
}

/// A span, put together from its pieces.
struct Span {
    desktop: i64,
    label: i64,
    status: i64,
    first_seen: Micros,
    started_after: Option<Micros>,
    /// `None`: it is open.
    closed: Option<Closed>,
}

struct Closed {
    last_seen: Micros,
    to: Micros,
    ended: i64,
}

async fn spans(pool: &PgPool, source_id: i64) -> Vec<Span> {
    let mut spans = Vec::new();
    let columns = "*, coalesce(first_seen, piece_from) as begun";
    for row in table(pool, source_id, columns, "span").await {
        // The piece that goes on in the next month says nothing that the last one does not.
        if number(&row, "ended") == -5 {
            continue;
        }
        spans.push(Span {
            desktop: number(&row, "desktop_no"),
            label: number(&row, "label_no"),
            status: number(&row, "status_id"),
            first_seen: number(&row, "begun"),
            started_after: row["started_after"].as_i64(),
            closed: Some(Closed {
                last_seen: number(&row, "last_seen"),
                to: number(&row, "piece_to"),
                ended: number(&row, "ended"),
            }),
        });
    }
    for row in table(pool, source_id, "*", "open_span").await {
        spans.push(Span {
            desktop: number(&row, "desktop_no"),
            label: number(&row, "label_no"),
            status: number(&row, "status_id"),
            first_seen: number(&row, "first_seen"),
            started_after: row["started_after"].as_i64(),
            closed: None,
        });
    }
    spans
}

/// The records of each snapshot's body: by instant, then by the number of what they speak of.
type Records = BTreeMap<Micros, BTreeMap<(i64, u8), Vec<u8>>>;

/// What each snapshot changed of desktops.
async fn desktop_records(
    pool: &PgPool,
    source_id: i64,
    snapshots: &[Row],
    commitments: &Commitments,
) -> Records {
    let usable: BTreeMap<Micros, i64> = snapshots
        .iter()
        .filter(|row| number(row, "desktops_outcome") > 0)
        .map(|row| (number(row, "observed_at"), number(row, "desktops_outcome")))
        .collect();
    let usable_after = |at: Micros| usable.range(at + 1..).next().map(|(at, _)| *at);
    let complete_after =
        |at: Micros| usable.range(at + 1..).find(|(_, outcome)| **outcome == 2).map(|(at, _)| *at);
    let mut records = Records::new();
    let mut say = |at: Micros, desktop: i64, kind: u8, more: &[u8]| {
        let bytes = [&[kind], &commitments.desktops[&desktop][..], more].concat();
        let before = records.entry(at).or_default().insert((desktop, kind), bytes);
        assert!(before.is_none(), "two records of one kind");
    };
    let spans = spans(pool, source_id).await;
    let mut begun: BTreeMap<i64, BTreeSet<Micros>> = BTreeMap::new();
    for span in &spans {
        begun.entry(span.desktop).or_default().insert(span.first_seen);
        let state = Bytes(Vec::new())
            .maybe_text(commitments.statuses[&span.status].as_deref())
            .raw(&commitments.names[&span.label])
            .raw(&commitments.assignments[&commitments.labels[&span.label]])
            .maybe_number(span.started_after);
        say(span.first_seen, span.desktop, b'S', &state.0);
    }
    for span in &spans {
        let Some(closed) = &span.closed else { continue };
        // The observation that closed it: the desktop's next span, or a complete listing without it.
        let next = begun[&span.desktop].range(closed.last_seen + 1..).next().copied();
        let absent =
            complete_after(closed.last_seen).filter(|at| next.is_none_or(|next| *at < next));
        let observed = absent.or(next).expect("something closed it");
        if closed.ended == -4 {
            assert_eq!(closed.to, closed.last_seen, "what ended unseen holds no longer than seen");
        } else {
            assert_eq!(closed.to, observed, "it held until it was seen otherwise");
            assert_eq!(closed.ended == -3, absent.is_some());
        }
        if absent.is_some() {
            say(observed, span.desktop, b'A', &[]);
        }
        let left_out = usable_after(closed.last_seen).expect("something closed it");
        if left_out < observed {
            say(left_out, span.desktop, b'U', &[]);
        }
    }
    let stretches = table(pool, source_id, "desktop_no, from_at, to_at", "unlisted").await;
    for row in stretches {
        say(number(&row, "from_at"), number(&row, "desktop_no"), b'U', &[]);
        let again = usable_after(number(&row, "to_at")).expect("it was listed again");
        say(again, number(&row, "desktop_no"), b'L', &[]);
    }
    let columns = "desktop_no, unlisted_since";
    for row in table(pool, source_id, columns, "open_span").await {
        if let Some(since) = row["unlisted_since"].as_i64() {
            say(since, number(&row, "desktop_no"), b'U', &[]);
        }
    }
    records
}

/// What each snapshot changed of groups: what begins, and then what is gone.
async fn group_records(pool: &PgPool, source_id: i64, snapshots: &[Row]) -> Records {
    let read: BTreeSet<Micros> = snapshots
        .iter()
        .filter(|row| number(row, "groups_outcome") > 0)
        .map(|row| number(row, "observed_at"))
        .collect();
    let groups: BTreeMap<i64, (Option<String>, i64)> = table(pool, source_id, "*", "desktop_group")
        .await
        .iter()
        .map(|row| {
            let name = row["static_name"].as_str().map(str::to_owned);
            (number(row, "group_no"), (name, number(row, "ordinal")))
        })
        .collect();
    let key = |no: i64| {
        let (name, ordinal) = &groups[&no];
        Bytes(Vec::new()).maybe_text(name.as_deref()).number(*ordinal)
    };
    let mut records = Records::new();
    // The view joins the counters that need eight bytes; the pieces that go on are told by the tables.
    let narrow = "g.*, w.counters is not null as is_wide, to_jsonb(w.counters) as wide";
    let sql = format!(
        "select {narrow} from deskledger_data.group_span g
           left join deskledger_data.group_span_wide w
                on w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at
          where g.source_id = {source_id}"
    );
    let closed = rows(pool, &sql).await;
    let open = table(
        pool,
        source_id,
        "group_no, from_at, is_continued, to_jsonb(counters) as wide",
        "open_group_span",
    )
    .await;
    let wide = |row: &Row| -> Vec<Option<i64>> {
        row["wide"].as_array().unwrap().iter().map(Value::as_i64).collect()
    };
    let mut begun: BTreeMap<i64, BTreeSet<Micros>> = BTreeMap::new();
    for row in closed.iter().chain(&open) {
        if row["is_continued"] == true {
            continue;
        }
        let all = if row["wide"].is_null() { counters(row) } else { wide(row) };
        let (no, at) = (number(row, "group_no"), number(row, "from_at"));
        begun.entry(no).or_default().insert(at);
        let mut record = Bytes(vec![b'G']).raw(&key(no).0);
        for counter in all {
            record = record.maybe_number(counter);
        }
        records.entry(at).or_default().insert((no, b'G'), record.0);
    }
    // Whatever has no piece after it was gone from, or changed in, the next statistics read.
    let piece_goes_on: BTreeSet<(i64, Micros)> = closed
        .iter()
        .chain(&open)
        .filter(|row| row["is_continued"] == true)
        .map(|row| (number(row, "group_no"), number(row, "from_at")))
        .collect();
    for row in &closed {
        let (no, last_seen) = (number(row, "group_no"), number(row, "last_seen"));
        if piece_goes_on.contains(&(no, number(row, "to_at"))) {
            continue;
        }
        let at = *read.range(last_seen + 1..).next().expect("something closed it");
        if !begun[&no].contains(&at) {
            records.entry(at).or_default().insert((no, b'X'), Bytes(vec![b'X']).raw(&key(no).0).0);
        }
    }
    records
}

/// Works every digest of a source out again; says how many there were.
async fn verify(pool: &PgPool, source_id: i64, name: &str) -> usize {
    let order = "* , body_hash is null as is_unchanged";
    let mut snapshots = table(pool, source_id, order, "snapshot").await;
    snapshots.sort_by_key(|row| number(row, "sequence"));
    let commitments = Commitments::read(pool, source_id).await;
    let desktops = desktop_records(pool, source_id, &snapshots, &commitments).await;
    let groups = group_records(pool, source_id, &snapshots).await;
    let late = table(pool, source_id, "*", "late").await;
    let mut entries: Vec<(&Row, bool)> = snapshots.iter().map(|row| (row, false)).collect();
    entries.extend(late.iter().map(|row| (row, true)));
    entries.sort_by_key(|(row, _)| number(row, "sequence"));
    let mut previous = Bytes::new("deskledger.genesis.1").text(name).hash();
    for ((row, is_late), sequence) in entries.iter().copied().zip(1..) {
        assert_eq!(number(row, "sequence"), sequence, "a link is missing");
        if is_late {
            let body = Bytes::new("deskledger.late.1")
                .raw(&bytes::<16>(&row["salt"]))
                .text(row["line"].as_str().unwrap())
                .hash();
            assert_eq!(body, bytes(&row["body_hash"]), "the body of {row:?}");
            let header = header(Bytes::new("deskledger.late.header.1"), row, 0)
                .number(number(row, "received_at"))
                .hash();
            previous = entry(&previous, sequence, b'L', &header, &body);
            assert_eq!(hex::encode(previous), row["digest"].as_str().unwrap(), "{row:?}");
            continue;
        }
        let at = number(row, "observed_at");
        let (of_desktops, of_groups) = (desktops.get(&at), groups.get(&at));
        let begun =
            of_groups.iter().flat_map(|all| all.iter().filter(|((_, kind), _)| *kind == b'G'));
        let gone =
            of_groups.iter().flat_map(|all| all.iter().filter(|((_, kind), _)| *kind == b'X'));
        let body: Vec<&Vec<u8>> = of_desktops
            .iter()
            .flat_map(|all| all.iter())
            .chain(begun)
            .chain(gone)
            .map(|(_, bytes)| bytes)
            .collect();
        let changed = of_desktops.iter().flat_map(|all| all.keys());
        let changes = changed.filter(|(_, kind)| matches!(kind, b'S' | b'A')).count();
        assert_eq!(number(row, "changes"), i64::try_from(changes).unwrap(), "{row:?}");

        let body = (!body.is_empty()).then(|| {
            body.into_iter().fold(Bytes::new("deskledger.body.1"), |all, one| all.raw(one)).hash()
        });
        let stored = (!row["body_hash"].is_null()).then(|| bytes(&row["body_hash"]));
        assert_eq!(body.map(hex::encode), stored.map(hex::encode::<Hash>), "the body of {row:?}");
        let header = header(Bytes::new("deskledger.header.1"), row, number(row, "changes")).hash();
        previous = entry(&previous, sequence, b'S', &header, &body.unwrap_or([0; 32]));
        assert_eq!(hex::encode(previous), row["digest"].as_str().unwrap(), "the digest of {row:?}");
    }
    let head = &table(pool, source_id, "sequence, digest", "head").await[0];
    assert_eq!(number(head, "sequence"), i64::try_from(entries.len()).unwrap());
    assert_eq!(head["digest"].as_str().unwrap(), hex::encode(previous));
    entries.len()
}

/// What an entry says of its own row.
fn header(begun: Bytes, row: &Row, changes: i64) -> Bytes {
    begun
        .number(number(row, "observed_at"))
        .number(number(row, "finished_at"))
        .maybe_number(row["scheduled_at"].as_i64())
        .number(number(row, "max_gap"))
        .raw(&[u8::try_from(number(row, "desktops_outcome")).unwrap()])
        .raw(&[u8::try_from(number(row, "groups_outcome")).unwrap()])
        .maybe_number(row["desktops_total"].as_i64())
        .maybe_number(row["desktops_recorded"].as_i64())
        .maybe_number(row["groups_recorded"].as_i64())
        .number(changes)
        .maybe_text(row["error_code"].as_str())
        .maybe_text(row["error_message"].as_str())
}

fn entry(previous: &Hash, sequence: i64, kind: u8, header: &Hash, body: &Hash) -> Hash {
    Bytes::new("deskledger.entry.1")
        .raw(previous)
        .number(sequence)
        .raw(&[kind])
        .raw(header)
        .raw(body)
        .hash()
}

/// Verifies every source of a ledger.
async fn verify_all(pool: &PgPool) -> usize {
    let mut all = 0;
    for source in rows(pool, "select source_id, name from deskledger_data.source").await {
        all += verify(pool, number(&source, "source_id"), source["name"].as_str().unwrap()).await;
    }
    all
}

#[tokio::test]
async fn the_digests_of_the_worked_example_follow_from_its_rows() {
    let (database, store) = ledger().await;
    record(&store, include_str!("../data/example/history.ndjson"), 1, usize::MAX).await;
    assert_eq!(verify_all(&database.pool).await, 10);
}

/// A history in which groups come in another order each time, which says nothing about them.
#[tokio::test]
async fn the_order_of_groups_in_an_answer_is_in_no_digest() {
    let (database, store) = ledger().await;
    let line = |minute: u32, groups: [(&str, i64); 3]| {
        let groups =
            groups.map(|(name, n)| serde_json::json!({ "static_name": name, "in_use_num": n }));
        serde_json::json!({
            "source": "prod", "observed_at": format!("2026-10-05T08:{minute:02}:00Z"),
            "total_count": 0, "desktops": [], "statics": groups,
        })
        .to_string()
    };
    let history = [
        line(0, [("a", 1), ("b", 1), ("c", 1)]),
        line(5, [("c", 2), ("a", 2), ("b", 2)]),
        line(10, [("b", 3), ("b", 4), ("a", 2)]),
    ];
    record(&store, &history.join("\n"), 1, usize::MAX).await;
    assert_eq!(verify_all(&database.pool).await, 3);
}

#[test]
fn every_digest_follows_from_the_rows_of_the_ledger() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, store) = runtime.block_on(ledger());
    let config = Config {
        cases: 12,
        source_file: Some(file!()),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(
        &(histories(), 1_usize..5, 1_usize..9),
        |(history, commit, restart)| {
            runtime.block_on(async {
                store.forget_everything().await.unwrap();
                let late = record_with_late(&store, &history.0, commit, restart).await;
                let verified = verify_all(&database.pool).await;
                prop_assert_eq!(verified, history.0.lines().count() + late);
                Ok(())
            })
        },
    );
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The other way round: a row that is changed by hand is found out.
#[tokio::test]
async fn a_row_changed_by_hand_breaks_the_chain() {
    let changes = [
        "update deskledger_data.snapshot set desktops_total = 7 where sequence = 4",
        "update deskledger_data.span set status_id = 2 where status_id = 1",
        "update deskledger_data.open_span set status_id = 3",
        "update deskledger_data.person set name = 'mallory'",
        "update deskledger_data.group_span set in_use_num = in_use_num + 1",
        "delete from deskledger_data.span where ctid = (select min(ctid) from deskledger_data.span)",
    ];
    for change in changes {
        let (database, store) = ledger().await;
        record(&store, include_str!("../data/example/history.ndjson"), 1, usize::MAX).await;
        let changed = sqlx::query(change).execute(&database.pool).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let pool = database.pool.clone();
        let found = tokio::spawn(async move { verify_all(&pool).await }).await;
        assert!(found.is_err_and(|error| error.is_panic()), "not found out: {change}");
    }
}
