//! `docs/troubleshooting.md`: every message that it explains is one that the program has, every error has its place
//! in it, and what the program prints begins as it says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{Fault, On, Rule, ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use sqlx::AssertSqlSafe;

use crate::support::ledger::ledger;
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Done, Home, until};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

/// Errors without an entry of their own, and why.
const EXPLAIN_THEMSELVES: &[(&str, &[&str], &str)] = &[
    (
        "ReportError",
        &[
            "WholeIsHtml",
            "UnknownReport",
            "UnknownParameter",
            "MissingParameter",
            "MissingValue",
            "GivenTwice",
            "StrayWord",
            "UnknownValue",
            "BadValue",
            "NoPeriod",
            "NoWorkingHours",
            "FixedOffset",
            "Refused",
            "UnknownEnding",
            "NoChart",
            "ChartIsText",
            "BinaryToTerminal",
        ],
        "wrong use of `report`: each names what to write instead",
    ),
    (
        "LineError",
        &[
            "Json",
            "Field",
            "Missing",
            "Repeated",
            "Unknown",
            "Instant",
            "Duration",
            "NoGap",
            "SourceName",
            "TooEarly",
            "FinishedBeforeObserved",
        ],
        "the cause behind `read line … of …`: each names the key and what it has to be",
    ),
    (
        "StatementError",
        &["Empty", "Several", "NotReading", "Open"],
        "the cause behind `report … (…)`",
    ),
    ("HeaderError", &["HeaderError"], "the cause behind `report … (…)`"),
    ("GapError", &["None"], "wrong use of `--max-gap`, and says what it must be"),
    ("DurationError", &["DurationError"], "says how a duration is written"),
    ("SourceNameError", &["SourceNameError"], "says how a name is written"),
    ("OutOfOrder", &["OutOfOrder"], "says which age is to be changed, and how"),
    (
        "ArchiveError",
        &["File"],
        "the cause behind `restore …`: the file's name, and what the system says",
    ),
    (
        "Unlike",
        &["Unknown", "Row", "Body"],
        "the cause behind `snapshot … is another in the archive`",
    ),
    (
        "ConfigError",
        &["OutOfRange"],
        "of a program that uses the library: the configuration has its own bounds",
    ),
    ("StoreError", &["NotLate"], "of a caller inside the program, which looks first"),
];

/// Messages of single commands without an entry, which all say what was wrongly asked for: no more can be said.
const ANSWERS: &[&str] = &[
    "`--from` is after `--to`",
    "`--from` is not before `--to`",
    "`--reason` says nothing",
    "`…` exists: a seal is written to a new file",
    "`…` is a pseudonym already",
    "give the user's name or id",
    "no page `…`; did you mean `…`?",
    "no source `…` is configured; there are …",
    "no webhook `…` is configured; there are …",
    "nothing was erased",
    "the ledger never saw a … `…`, so nothing would be held; names are written as they were seen",
    "there is no hold … that could be dropped",
    "there is no source of that name in the ledger",
    "--… is to say where the secret is: `env:NAME` or `file:PATH`",
    // Whole messages of errors that have their own entry.
    "…",
];

/// The page's headings, each message by itself.
fn headings() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let page = std::fs::read_to_string(path).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    headings.flat_map(|line| line.split(" · ").map(str::to_owned)).collect()
}

/// The program's own files, without its tests.
fn sources() -> Vec<String> {
    fn of(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                of(&path, found);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// Reads the text in quotes that begins here, and gives what comes after it.
fn text_in_quotes(code: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = code.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &code[at + 1..]),
            '\\' => match chars.next() {
                // The next line goes on without its indentation.
                Some((_, '\n')) => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, c)) => text.push(c),
                None => break,
            },
            c => text.push(c),
        }
    }
    panic!("a text that never ends: {}", &code[..code.len().min(80)]);
}

/// A message with `…` where something is put in.
fn with_gaps(format: &str) -> String {
    let (mut text, mut rest) = (String::new(), format);
    while let Some(at) = rest.find('{') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{{") {
            text.push('{');
            rest = after;
        } else {
            text.push('…');
            rest = rest.split_once('}').map_or("", |(_, after)| after);
        }
    }
    text + &rest.replace("}}", "}")
}

/// Every text in quotes of a file; comments and single characters have none.
fn texts(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        rest = &rest[at..];
        if rest.starts_with('"') {
            let (text, after) = text_in_quotes(rest);
            found.push(with_gaps(&text));
            rest = after;
        } else if rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest = rest.trim_start_matches(['\'', '\\', '"']);
        } else {
            rest = &rest[1..];
        }
    }
    found
}

/// The errors of a file: the type, the variant (or the type again) and the message.
fn errors(code: &str) -> Vec<(String, String, String)> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let (mut found, mut of) = (Vec::new(), String::new());
    let mut rest = code;
    let next = |rest: &str| {
        ["#[error(", " enum ", "\nenum "].iter().filter_map(|begin| rest.find(begin)).min()
    };
    while let Some(at) = next(rest) {
        rest = &rest[at..];
        let after = rest.strip_prefix(" enum ").or_else(|| rest.strip_prefix("\nenum "));
        if let Some(after) = after {
            of = word(after);
            rest = after;
            continue;
        }
        let argument = rest["#[error(".len()..].trim_start();
        let (message, mut after) = if argument.starts_with('"') {
            let (text, after) = text_in_quotes(argument);
            (Some(with_gaps(&text)), after)
        } else {
            (None, argument)
        };
        after = after.split_once(")]\n").expect("an attribute ends").1.trim_start();
        while after.starts_with("#[") || after.starts_with("//") {
            after = after.split_once('\n').unwrap().1.trim_start();
        }
        let is_struct = after.find("struct ").is_some_and(|at| at < 12);
        let name = word(if is_struct { after.split_once("struct ").unwrap().1 } else { after });
        if let Some(message) = message {
            let of = if is_struct { name.clone() } else { of.clone() };
            found.push((of, name, message));
        }
        rest = after;
    }
    found
}

/// What commands say that is no error of a type.
fn answers(code: &str) -> Vec<String> {
    let begins = code.match_indices("anyhow!(").chain(code.match_indices("bail!("));
    let arguments = begins.map(|(at, begin)| code[at + begin.len()..].trim_start());
    let texts = arguments.filter(|argument| argument.starts_with('"'));
    texts.map(|argument| with_gaps(&text_in_quotes(argument).0)).collect()
}

/// Whether a heading is how a message begins. What is put into the message may be anything (`…`), a number, or
/// another text of the program, such as what was attempted.
fn begins(message: &str, heading: &str, texts: &BTreeSet<String>) -> bool {
    let Some(gap) = message.find('…') else { return message.starts_with(heading) };
    let (fixed, rest) = (&message[..gap], &message[gap + '…'.len_utf8()..]);
    if fixed.starts_with(heading) {
        return true;
    }
    let Some(heading) = heading.strip_prefix(fixed) else { return false };
    let ends = heading.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.into_iter().any(|end| {
        let filled = &heading[..end];
        let is_number = filled.chars().all(|c| c.is_ascii_digit());
        (filled == "…" || is_number || texts.contains(filled))
            && (end == heading.len() || begins(rest, &heading[end..], texts))
    })
}

#[test]
fn every_heading_is_a_message_that_the_program_has() {
    let texts: BTreeSet<String> = sources().iter().flat_map(|code| texts(code)).collect();
    assert!(texts.len() > 2_000, "{} texts were found", texts.len());
    let (mut seen, mut unknown) = (BTreeSet::new(), Vec::new());
    for heading in headings() {
        if !texts.iter().any(|message| message != "…" && begins(message, &heading, &texts)) {
            unknown.push(heading.clone());
        }
        assert!(seen.insert(heading.clone()), "`{heading}` comes twice");
    }
    assert_eq!(unknown, [""; 0], "no message begins like this");
}

#[test]
fn every_error_has_an_entry_or_says_by_itself_what_to_do() {
    let sources = sources();
    let texts: BTreeSet<String> = sources.iter().flat_map(|code| texts(code)).collect();
    let headings = headings();
    let mut unsaid: BTreeMap<String, String> = BTreeMap::new();
    let mut listed: BTreeSet<(&str, &str)> = EXPLAIN_THEMSELVES
        .iter()
        .flat_map(|(of, variants, _)| variants.iter().map(|variant| (*of, *variant)))
        .collect();
    let all: Vec<_> = sources.iter().flat_map(|code| errors(code)).collect();
    assert!(all.len() > 100, "{} errors were found", all.len());
    for (of, variant, message) in &all {
        let is_explained = headings.iter().any(|heading| begins(message, heading, &texts));
        let is_listed = listed.remove(&(of.as_str(), variant.as_str()))
            || EXPLAIN_THEMSELVES
                .iter()
                .any(|(known, variants, _)| known == of && variants.contains(&variant.as_str()));
        if !is_explained && !is_listed {
            unsaid.insert(format!("{of}::{variant}"), message.clone());
        }
    }
    let mut unused: BTreeSet<&str> = ANSWERS.iter().copied().collect();
    for message in sources.iter().flat_map(|code| answers(code)) {
        let is_listed = unused.remove(message.as_str()) || ANSWERS.contains(&message.as_str());
        if !is_listed && !headings.iter().any(|heading| begins(&message, heading, &texts)) {
            unsaid.insert(message.clone(), message);
        }
    }
    assert_eq!(unused, BTreeSet::new(), "these are listed, and no message of the program");
    assert_eq!(unsaid, BTreeMap::new(), "docs/troubleshooting.md says nothing of these");
    assert_eq!(listed, BTreeSet::new(), "these are listed, and no error of the program");
}

/// Fails unless the error that was printed begins as a heading says which is on the page, or goes on so after a
/// colon; then its cause likewise.
#[track_caller]
fn assert_told(done: &Done, parts: &[&str]) {
    let headings = headings();
    let [line] = &done.errors()[..] else { panic!("not one error: {}", done.err) };
    let (mut before, mut rest) = (": ", line.strip_prefix("error: ").unwrap());
    for part in parts {
        assert!(headings.iter().any(|heading| heading == part), "`{part}` is no heading");
        for (nth, piece) in part.split('…').enumerate() {
            let found = rest.find(piece);
            let at = found.unwrap_or_else(|| panic!("`{part}` is not in its place: {line}"));
            let begins = if at == 0 { before.ends_with(": ") } else { rest[..at].ends_with(": ") };
            // What is put in is skipped, up to the next fixed words.
            assert!(nth > 0 || piece.is_empty() || begins, "`{part}` does not begin there: {line}");
            (before, rest) = rest.split_at(at + piece.len());
        }
    }
}

async fn simulator() -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 20, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    Simulator::start(config).await.unwrap()
}

fn source(endpoint: &str, secret: &str) -> String {
    format!(
        "[[source]]\nname = \"prod\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\ninterval = \"1s\"\n\
         auth = {{ access_key = \"TESTACCESSKEY\", secret_key = \"{secret}\" }}\n"
    )
}

fn with_option(database: &TestDatabase, option: &str) -> String {
    let sign = if database.url.contains('?') { '&' } else { '?' };
    format!("{}{sign}{option}", database.url)
}

const ONCE: &[&str] = &["collect", "--once"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_configuration_is_printed_as_the_page_has_it() {
    let home = Home::on("postgres://nobody@127.0.0.1:1/nothing".to_owned());
    let done = home.run(&["collect", "--once", "--config", "nowhere.toml"]).await.expect(2);
    assert_told(&done, &["read the configuration `…`"]);
    assert_told(&home.run(ONCE).await.expect(2), &["no source is configured"]);
    let right = source("http://127.0.0.1:9", "x");
    for (wrong, heading) in [
        (right.replace("[[source]]", "[[source"), "…:…: no valid TOML"),
        (right.replace("project_id", "projekt_id"), "… is no known key; did you mean `…`?"),
        (right.replace("http:", "ftp:"), "… is …; …"),
        (right.replace("auth = ", "# "), "… has no …"),
    ] {
        home.configure(&wrong);
        assert_told(&home.run(ONCE).await.expect(2), &[heading]);
    }
    for (secret, cause) in [
        ("file:nowhere", "read `…`"),
        ("env:NOWHERE", "the environment variable `…` is not set or empty"),
        ("file:empty", "it is empty"),
    ] {
        home.write("empty", b"\n");
        home.configure(&source("http://127.0.0.1:9", secret));
        assert_told(&home.run(ONCE).await.expect(2), &["… cannot be read", cause]);
    }
    let done = home.run_with(ONCE, &[("DESKLEDGER_REGION", "ap-southeast-33")]).await.expect(2);
    assert!(done.err.contains("cannot be read"), "a file wins over nothing: {}", done.err);
    home.configure("");
    let variables = [("DESKLEDGER_REGION", "ap-southeast-3")];
    let done = home.run_with(ONCE, &variables).await.expect(2);
    assert_told(&done, &["the environment describes a source without …"]);
    let done = home.run(&["status", "--database-url", "postgres://a:b:c:d"]).await.expect(2);
    assert_told(&done, &["the database's URL cannot be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_database_is_printed_as_the_page_has_it() {
    let (database, _) = ledger().await;
    let home = Home::configured(&database, &source("http://127.0.0.1:9", "x"));
    let status = async |url: &str| home.run(&["status", "--database-url", url]).await.expect(3);
    let name = database.pool.connect_options().get_database().unwrap().to_owned();
    let missing = database.url.replace(&name, "no_such_database");
    assert_told(&status(&missing).await, &["could not connect to the database"]);
    // A login that may connect, and has rights to nothing.
    let login = format!("stranger_{name}");
    let create = AssertSqlSafe(format!("create role \"{login}\""));
    sqlx::raw_sql(create).execute(&database.pool).await.unwrap();
    let stranger = with_option(&database, &format!("options[role]={login}"));
    assert_told(&status(&stranger).await, &["could not …"]);
    let drop = AssertSqlSafe(format!("drop role \"{login}\""));
    sqlx::raw_sql(drop).execute(&database.pool).await.unwrap();
    // A recorder of the day after tomorrow was here.
    sqlx::raw_sql(
        "insert into deskledger_data.migration (version, description, success, checksum, execution_time)
         values (9999, 'from tomorrow', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let newer = "the ledger's schema is at version …, and this deskledger knows versions up to …";
    assert_told(&status(&database.url).await, &[newer]);
    let empty = crate::support::postgres::database().await;
    let older = "the ledger's schema is at version …, and this deskledger needs version …";
    assert_told(&status(&empty.url).await, &[older]);
    // No database at all, and no private one either.
    let done = home.run_with(&["status"], &[("DATABASE_URL", "")]).await.expect(2);
    assert_told(&done, &["there is no ledger in `…` yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_refuses_is_printed_as_the_page_has_it() {
    for (faults, secret, heading) in [
        (vec![], "wrong", "HTTP 401"),
        (vec![Rule::new(Fault::Status(403)).on(On::Listing)], "test-secret-key", "HTTP 403"),
        (
            vec![Rule::new(Fault::Throttle(Some(3_600))).on(On::Statistics)],
            "test-secret-key",
            "HTTP 429",
        ),
    ] {
        let (simulator, database) = (simulator().await, database().await);
        simulator.set_faults(faults);
        let home = Home::configured(&database, &source(&simulator.endpoint(), secret));
        let done = home.run(ONCE).await.expect(3);
        assert_told(&done, &["visit source `…`: …", heading]);
        simulator.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_recorder_holds_is_printed_as_the_page_has_it() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = Home::configured(&database, &source(&simulator.endpoint(), "test-secret-key"));
    let recorder = home.start(&["collect"]);
    let led = "select count(*) from deskledger.sources where leader is not null";
    let is_led =
        async || sqlx::query_scalar::<_, i64>(led).fetch_one(&database.pool).await.unwrap() == 1;
    until("somebody leads", is_led).await;
    let line = r#"{"source": "prod", "observed_at": "2027-01-01T00:00:00Z", "desktops": [], "statics": []}"#;
    let done = home.run_with_input(&["import", "-"], line.as_bytes()).await.expect(2);
    assert_told(&done, &["the source is recorded just now by …"]);
    recorder.signal(Signal::SIGTERM);
    recorder.end().await.expect(0);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_machine_has_no_room_for_is_printed_as_the_page_has_it() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = Home::configured(&database, &source(&simulator.endpoint(), "test-secret-key"));
    // Root may write everywhere, but not into what is no folder.
    home.write("spool", b"");
    let spool = home.path().join("spool/here");
    let done = home.run_with(ONCE, &[("DESKLEDGER_SPOOL_DIR", spool.to_str().unwrap())]).await;
    assert_told(&done.expect(2), &["make the folder `…`"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in
        [&["serve", "--listen", &address][..], &["collect", "--metrics-listen", &address]]
    {
        assert_told(&home.run(arguments).await.expect(3), &["listen on …"]);
    }
    simulator.stop().await.unwrap();
}
