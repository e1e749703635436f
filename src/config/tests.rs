use std::error::Error;

use chrono::{DateTime, TimeDelta};
use reqwest::Url;
use secrecy::ExposeSecret;

use super::raw::REQUESTS_PER_MINUTE;
use super::*;
use crate::domain::{Instant, format_duration};

const SOURCE: &str = r#"
[[source]]
name = "prod"
region = "ap-southeast-3"
project_id = "0bec"
auth = { access_key = "AK", secret_key = "SK" }
"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = Environment::of(variables);
    Config::from_text(text, Path::new("deskledger.toml"), &Flags::default(), environment)
}

fn sources_with(text: &str, variables: &[(&str, &str)]) -> Result<Vec<SourceConfig>, ConfigError> {
    load(text, variables)?.sources()
}

fn sources(text: &str) -> Vec<SourceConfig> {
    sources_with(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused_with(text: &str, variables: &[(&str, &str)]) -> String {
    let error = sources_with(text, variables).expect_err(text);
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

fn refused(text: &str) -> String {
    refused_with(text, &[])
}

fn at(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).expect("the test knows its instants").to_utc()
}

#[test]
fn a_source_has_the_documented_defaults() {
    let [source] = &sources(SOURCE)[..] else { panic!("there is one") };
    assert_eq!(source.name, "prod");
    assert_eq!((source.page_size, source.max_offset), (1000, 2000));
    assert_eq!((source.requests_per_minute, source.concurrency), (180, 4));
    assert_eq!(source.schedule, Schedule::Every(TimeDelta::minutes(5)));
    assert_eq!(source.max_gap, TimeDelta::minutes(15));
    assert!(matches!(&source.auth, Auth::Keys { access_key, security_token: None, .. }
        if access_key.expose_secret() == "AK"));
}

#[test]
fn the_environment_alone_is_enough() {
    let variables = [
        ("HUAWEICLOUD_SDK_AK", "AK"),
        ("HUAWEICLOUD_SDK_SK", "SK"),
        ("HUAWEICLOUD_SDK_SECURITY_TOKEN", "ST"),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "0bec"),
        ("DESKLEDGER_REGION", "eu-west-101"),
        ("DATABASE_URL", "postgres://u:p@h/d"),
    ];
    let environment = Environment::of(&variables);
    let config = Config::check(RawConfig::default(), None, &Flags::default(), environment)
        .expect("it is complete");
    assert!(config.database_url.is_some());
    let [source] = &config.sources().expect("it is complete")[..] else { panic!("there is one") };
    assert_eq!(source.name, "eu-west-101");
    assert!(matches!(&source.auth, Auth::Keys { security_token: Some(_), .. }));
    // With an endpoint instead of a region there is no better name.
    let variables = [
        ("DESKLEDGER_TOKEN", "T"),
        ("HUAWEICLOUD_SDK_PROJECT_ID", "0bec"),
        ("DESKLEDGER_ENDPOINT", "http://127.0.0.1:8080"),
    ];
    let found = sources_with("", &variables).expect("it is complete");
    assert_eq!(found[0].name, "default");
    assert!(matches!(&found[0].auth, Auth::Token(_)));
}

#[test]
fn a_user_and_what_is_asked_of_the_identity_service_may_come_from_the_environment() {
    let variables = [
        ("DESKLEDGER_USER", "u"),
        ("DESKLEDGER_PASSWORD", "p"),
        ("DESKLEDGER_DOMAIN", "d"),
        ("DESKLEDGER_REGION", "ap-southeast-3"),
    ];
    let found = sources_with("", &variables).expect("it is complete");
    assert!(matches!(&found[0].auth, Auth::Password { user, domain, .. }
        if user == "u" && domain == "d"));
    assert_eq!((&found[0].project_id, &found[0].iam_endpoint), (&None, &None));
    let iam = |name: &'static str| (name, "https://iam.example");
    for name in ["DESKLEDGER_IAM_ENDPOINT", "HUAWEICLOUD_SDK_IAM_ENDPOINT"] {
        let found = sources_with(SOURCE, &[iam(name)]).expect("it is complete");
        assert_eq!(found[0].iam_endpoint.as_ref().map(Url::as_str), Some("https://iam.example/"));
        let refused = refused_with(SOURCE, &[(name, "http://iam.example")]);
        assert!(refused.contains(name) && refused.contains("https is needed"), "{refused}");
    }
}

#[test]
fn a_sources_own_pace_wins_over_the_common_one() {
    let text = format!(
        "[collect]\nrequests_per_minute = 100\nconcurrency = 8\n{SOURCE}{}requests_per_minute = 7\n",
        SOURCE.replace("prod", "test")
    );
    let [prod, test] = &sources(&text)[..] else { panic!("there are two") };
    assert_eq!((prod.requests_per_minute, test.requests_per_minute), (100, 7));
    assert_eq!((prod.concurrency, test.concurrency), (8, 8));
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let text = format!("[database]\nurl = \"postgres://file\"\n{SOURCE}");
    let url = |config: Config| config.database_url.expect("it is given").expose_secret().to_owned();
    assert_eq!(url(load(&text, &[]).expect("right")), "postgres://file");
    let variables = [("DATABASE_URL", "postgres://environment")];
    assert_eq!(url(load(&text, &variables).expect("right")), "postgres://environment");
    let flags = Flags { database_url: Some("postgres://flag".into()), ..Flags::default() };
    let config =
        Config::from_text(&text, Path::new("x/y.toml"), &flags, Environment::of(&variables));
    assert_eq!(url(config.expect("right")), "postgres://flag");
    let token = [("DESKLEDGER_TOKEN", "T"), ("HUAWEICLOUD_SDK_PROJECT_ID", "other")];
    let found = sources_with(&text, &token).expect("right");
    assert_eq!((found[0].name.as_str(), found[0].project_id.as_deref()), ("prod", Some("other")));
    assert!(matches!(&found[0].auth, Auth::Token(_)));
    // Of two sources it cannot be known which is meant.
    let two = format!("{text}{}", SOURCE.replace("prod", "test"));
    let found = sources_with(&two, &token).expect("right");
    assert!(found.iter().all(|source| source.project_id.as_deref() == Some("0bec")));
}

#[test]
fn secrets_come_from_variables_and_files_without_their_line_end() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    std::fs::write(folder.path().join("sk"), "from file\r\n").expect("it is writable");
    let text = SOURCE.replace("\"AK\"", "\"env:MY_AK\"").replace("\"SK\"", "\"file:sk\"");
    let path = folder.path().join("deskledger.toml");
    let environment = Environment::of(&[("MY_AK", "from env")]);
    let config = Config::from_text(&text, &path, &Flags::default(), environment).expect("right");
    let found = config.sources().expect("right");
    let Auth::Keys { access_key, secret_key, .. } = &found[0].auth else { panic!("keys") };
    assert_eq!(access_key.expose_secret(), "from env");
    assert_eq!(secret_key.expose_secret(), "from file");
    // Who only runs reports needs neither.
    assert!(load(&text, &[]).is_ok());
    assert_eq!(
        refused(&text),
        "`source.prod.auth.access_key` (deskledger.toml:6) cannot be read: the environment \
         variable `MY_AK` is not set or empty"
    );
    assert_eq!(
        refused_with(&text, &[("MY_AK", "x")]),
        "`source.prod.auth.secret_key` (deskledger.toml:6) cannot be read: read `sk`: No such file \
         or directory (os error 2)"
    );
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let text = r#"
        [database]
        url = "postgres://u:hunter2@h/d"
        [[source]]
        name = "a"
        endpoint = "https://example.com"
        project_id = "p"
        auth = { access_key = "hunter2", secret_key = "hunter2", security_token = "hunter2" }
        [[source]]
        name = "b"
        region = "r"
        project_id = "p"
        auth = { token = "hunter2" }
        [[source]]
        name = "c"
        region = "r"
        project_id = "p"
        auth = { user = "u", password = "hunter2", domain = "d" }
    "#;
    let variables = [("HUAWEICLOUD_SDK_SK", "hunter2"), ("DATABASE_URL", "postgres://hunter2")];
    let config = load(text, &variables).expect("right");
    let flags = Flags { database_url: Some("hunter2".into()), ..Flags::default() };
    let shown = format!("{config:?} {:?} {flags:?}", config.sources().expect("right"));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("REDACTED"), "{shown}");
    for wrong in [
        text.replace("postgres://u", "mysql://u"),
        text.replace("{ token = \"hunter2\" }", "\"hunter2\""),
        text.replace("token = \"hunter2\"", "token = \"hunter2"),
        text.replace("token = \"hunter2\"", "token = [\"hunter2\"]"),
        text.replace("https://example.com", "https://u:hunter2@example.com"),
        text.replace("{ token", "{ access_key = \"hunter2\", token"),
    ] {
        let message = refused_with(&wrong, &[]);
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn each_mistake_is_one_clear_line() {
    let replaced = |from: &str, to: &str| SOURCE.replace(from, to);
    let mut wrong = Vec::new();
    for (text, message) in [
        (
            String::new(),
            "no source is configured; write a `[[source]]` into deskledger.toml, or set HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and DESKLEDGER_REGION",
        ),
        (
            "[colect]\n".into(),
            "`colect` (deskledger.toml:1) is no known key; did you mean `collect`? (known here: database, private, spool, reports, retention, serve, access, metrics, collect, source, webhook)",
        ),
        (
            format!("{SOURCE}pagesize = 5\n"),
            "`source.prod.pagesize` (deskledger.toml:7) is no known key; did you mean `page_size`? (known here: name, region, project_id, endpoint, iam_endpoint, allow_http, page_size, max_offset, requests_per_minute, interval, schedule, max_gap, auth)",
        ),
        (
            format!("{SOURCE}page_size = 0\n"),
            "`source.prod.page_size` (deskledger.toml:7) is `0`; allowed are 1 to 2000",
        ),
        (
            format!("{SOURCE}page_size = 2_001\n"),
            "`source.prod.page_size` (deskledger.toml:7) is `2001`; allowed are 1 to 2000",
        ),
        (
            format!("{SOURCE}page_size = \"1\"\n"),
            "`source.prod.page_size` (deskledger.toml:7) is a text; it must be a whole number",
        ),
        (
            format!("{SOURCE}max_offset = -1\n"),
            "`source.prod.max_offset` (deskledger.toml:7) is `-1`; allowed are 0 to 2147483647",
        ),
        (
            format!("{SOURCE}{SOURCE}"),
            "`source.prod.name` (deskledger.toml:9) is `prod`; another source has that name; each needs its own",
        ),
        (
            replaced("\"prod\"", "\" \""),
            "`source. .name` (deskledger.toml:3) is ` `; it must not be empty",
        ),
        (
            replaced("\"prod\"", "\"(all)\""),
            "`source.(all).name` (deskledger.toml:3) is `(all)`; a source's name has 1 to 64 characters, all of them printable, neither begins nor ends with a space, and is not `(all)`, as reports call all sources as one",
        ),
        (
            replaced("name = \"prod\"", ""),
            "`source[1]` (deskledger.toml:2) has no `name`; choose one, it stays with the history",
        ),
        (
            replaced("project_id = \"0bec\"", "endpoint = \"https://a.b\"")
                .replace("region = \"ap-southeast-3\"", ""),
            "`source.prod` (deskledger.toml:2) has no `project_id` and no `region` to look it up by; or set HUAWEICLOUD_SDK_PROJECT_ID",
        ),
        (
            replaced("0bec", "0b/ec"),
            "`source.prod.project_id` (deskledger.toml:5) is `0b/ec`; allowed are letters, digits, `-` and `_`",
        ),
        (
            replaced("ap-southeast-3", "evil.example/"),
            "`source.prod.region` (deskledger.toml:4) is `evil.example/`; allowed are letters, digits and `-`, as `ap-southeast-3`",
        ),
        (
            replaced("region = \"ap-southeast-3\"", ""),
            "`source.prod` (deskledger.toml:2) has no `region` and no `endpoint`; give one of them, or set DESKLEDGER_REGION or DESKLEDGER_ENDPOINT",
        ),
        (
            format!("{SOURCE}endpoint = \"example.com\"\n"),
            "`source.prod.endpoint` (deskledger.toml:7) is `example.com`; write it as `https://workspace.ap-southeast-3.myhuaweicloud.com`",
        ),
        (
            format!("{SOURCE}endpoint = \"http://example.com\"\n"),
            "`source.prod.endpoint` (deskledger.toml:7) is `http://example.com`; https is needed, or credentials cross the network in the clear; on a network you trust, set `allow_http = true` beside it or DESKLEDGER_ALLOW_HTTP=1",
        ),
        (
            format!("{SOURCE}endpoint = \"https://example.com/?a\"\n"),
            "`source.prod.endpoint` (deskledger.toml:7) is `https://example.com/?a`; nothing may follow the path",
        ),
        (
            format!("{SOURCE}endpoint = \"https://me@example.com\"\n"),
            "`source.prod.endpoint` (deskledger.toml:7) is an address with a user in it; put secrets under `auth`",
        ),
        (
            format!("[collect]\ninterval = \"5\"\n{SOURCE}"),
            "`collect.interval` (deskledger.toml:2) is `5`; allowed are `1s` to `30d`, written as `90s`, `15m`, `2h` or `1h30m`",
        ),
        (
            format!("[collect]\ninterval = \"31d\"\n{SOURCE}"),
            "`collect.interval` (deskledger.toml:2) is `31d`; allowed are `1s` to `30d`",
        ),
        (
            format!("[collect]\ninterval = \"5m\"\nschedule = \"0 * * * * *\"\n{SOURCE}"),
            "`collect.schedule` (deskledger.toml:3) is `0 * * * * *`; there is an `interval` too; give one of them, not both",
        ),
        (
            format!("[collect]\nschedule = \"*/5 * * * *\"\n{SOURCE}"),
            "`collect.schedule` (deskledger.toml:2) is `*/5 * * * *`; write six fields from seconds to weekdays, as `0 */5 * * * *` (Invalid pattern: Pattern must have 6 or 7 fields when seconds are required and years are optional)",
        ),
        (
            format!("[collect]\nschedule = \"0 0 0 31 2 *\"\n{SOURCE}"),
            "`collect.schedule` (deskledger.toml:2) is `0 0 0 31 2 *`; it must come round at least twice in 400 days",
        ),
        (
            format!("[collect]\nschedule = \"0 */5 8-18 * * 1-5\"\n{SOURCE}"),
            "`collect.schedule` (deskledger.toml:2) has no `max_gap` beside it, which is needed where the ticks are not evenly spaced: the longest time between two visits that is no gap",
        ),
        (
            format!("[collect]\nmax_gap = \"4m\"\n{SOURCE}"),
            "`collect.max_gap` (deskledger.toml:2) is `4m`; it must be at least the time between two visits, `5m`, or nothing would ever hold",
        ),
        (
            format!("[collect]\nmax_gap = \"long\"\n{SOURCE}"),
            "`collect.max_gap` (deskledger.toml:2) is `long`; allowed are durations as `90s`, `15m`, `2h` or `1h30m`",
        ),
        (
            replaced("auth = {", "# {"),
            "`source.prod` (deskledger.toml:2) has no `auth`; or set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or DESKLEDGER_TOKEN, or DESKLEDGER_USER, DESKLEDGER_PASSWORD and DESKLEDGER_DOMAIN",
        ),
        (
            replaced(
                "access_key = \"AK\", secret_key = \"SK\"",
                "user = \"u\", password = \"p\", domain = \"d\"",
            )
            .replace("region = \"ap-southeast-3\"", "endpoint = \"https://a.b\""),
            "`source.prod` (deskledger.toml:2) has no `region` and no `iam_endpoint`; a user and password are exchanged for a token, and one of them says where; or set DESKLEDGER_REGION or DESKLEDGER_IAM_ENDPOINT",
        ),
        (
            format!("{SOURCE}requests_per_minute = 0\n"),
            "`source.prod.requests_per_minute` (deskledger.toml:7) is `0`; allowed are 1 to 100000",
        ),
        (
            format!("[collect]\nconcurrency = 65\n{SOURCE}"),
            "`collect.concurrency` (deskledger.toml:2) is `65`; allowed are 1 to 64",
        ),
        (
            "a = \n".into(),
            "deskledger.toml:1: no valid TOML: string values must be quoted, expected literal string",
        ),
        (
            "[database]\nurl = \"sqlite://x\"".into(),
            "`database.url` (deskledger.toml:2) is no address of a PostgreSQL; write it as `postgres://user:password@host/database`",
        ),
    ] {
        let got = refused(&text);
        if got != message {
            wrong.push((got, message));
        }
    }
    // All at once, to see them together.
    assert_eq!(wrong, []);
    let kinds = "allowed is exactly one of: `access_key` and `secret_key` (and `security_token`); `token`; `user`, `password` and `domain`";
    for (auth, found) in [
        ("", "empty"),
        ("access_key = \"a\"", "half a pair of keys"),
        ("security_token = \"a\"", "half a pair of keys"),
        ("user = \"a\", password = \"b\"", "an incomplete user"),
        ("access_key = \"a\", secret_key = \"b\", token = \"c\"", "several kinds at once"),
    ] {
        let text = replaced("access_key = \"AK\", secret_key = \"SK\"", auth);
        let message = format!("`source.prod.auth` (deskledger.toml:6) is {found}; {kinds}");
        assert_eq!(refused(&text), message);
    }
    let path = PathBuf::from("/nonexistent/deskledger.toml");
    let flags = Flags { config: Some(path), ..Flags::default() };
    let error = Config::load(&flags, Environment::of(&[])).expect_err("it is not there");
    assert_eq!(error.to_string(), "read the configuration `/nonexistent/deskledger.toml`");
}

#[test]
fn http_is_for_loopback_or_on_request() {
    let with = |endpoint: &str, more: &str| format!("{SOURCE}endpoint = \"{endpoint}\"\n{more}");
    for loopback in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"] {
        assert!(sources_with(&with(loopback, ""), &[]).is_ok(), "{loopback}");
    }
    let remote = "http://localhost.example.com";
    assert!(sources_with(&with(remote, ""), &[]).is_err());
    assert!(sources_with(&with(remote, "allow_http = true"), &[]).is_ok());
    assert!(sources_with(&with(remote, ""), &[("DESKLEDGER_ALLOW_HTTP", "1")]).is_ok());
}

#[test]
fn a_source_may_have_its_own_timing() {
    let text = format!(
        "[collect]\ninterval = \"1m\"\n{SOURCE}schedule = \"0 */7 * * * *\"\n{}max_gap = \"10m\"\n",
        SOURCE.replace("prod", "test")
    );
    let [prod, test] = &sources(&text)[..] else { panic!("there are two") };
    // Seven minutes, four at the hour's end.
    assert_eq!(prod.max_gap, TimeDelta::minutes(21));
    assert_eq!(prod.schedule.shortest_step(), TimeDelta::minutes(4));
    assert_eq!(test.schedule, Schedule::Every(TimeDelta::minutes(1)));
    assert_eq!(test.max_gap, TimeDelta::minutes(10));
}

#[test]
fn ticks_are_the_same_for_every_recorder() {
    let every = Schedule::Every(TimeDelta::minutes(7));
    let first = every.next_after(at("2026-10-01T08:00:00.5Z")).expect("it goes on");
    assert_eq!(first.timestamp() % 420, 0);
    assert!(first > at("2026-10-01T08:00:00.5Z"));
    assert_eq!(every.next_after(first), Some(first + TimeDelta::minutes(7)));
    let text = format!("[collect]\nschedule = \"30 */5 * * * *\"\n{SOURCE}");
    let cron = &sources(&text)[0].schedule;
    for (from, next) in [
        ("2026-10-01T08:00:30Z", "2026-10-01T08:05:30Z"),
        ("2026-10-01T08:00:29.999999Z", "2026-10-01T08:00:30Z"),
        ("2026-10-01T08:00:30.000001Z", "2026-10-01T08:05:30Z"),
    ] {
        assert_eq!(cron.next_after(at(from)), Some(at(next)), "{from}");
    }
}

#[test]
fn paths_in_the_file_are_relative_to_it() {
    let text = "[private]\ndata_dir = \"data\"\n[reports]\nqueries = \"/srv/queries\"\n";
    let path = Path::new("/etc/deskledger/deskledger.toml");
    let read = |flags: &Flags, variables: &[(&str, &str)]| {
        Config::from_text(text, path, flags, Environment::of(variables)).expect("right")
    };
    let config = read(&Flags::default(), &[]);
    assert_eq!(config.data_dir, Some("/etc/deskledger/data".into()));
    assert_eq!(config.queries, Some("/srv/queries".into()));
    let variables = [("DESKLEDGER_DATA_DIR", "here")];
    assert_eq!(read(&Flags::default(), &variables).data_dir, Some("here".into()));
    let flags = Flags { data_dir: Some("flag".into()), ..Flags::default() };
    assert_eq!(read(&flags, &variables).data_dir, Some("flag".into()));
}

/// A configuration in which nothing but a value at one key is given beside what has to be.
fn with_one(head: &str, line: &str) -> String {
    let webhook = format!("{WEBHOOK}secret = '{WHSEC}'\n");
    match head {
        "[[source]]" => format!("{SOURCE}{line}\n{webhook}"),
        "[[webhook]]" => format!("{SOURCE}{webhook}{line}\n"),
        head => format!("{head}\n{line}\n{SOURCE}{webhook}"),
    }
}

/// All that a configuration comes to.
fn settings(text: &str) -> Result<String, String> {
    let read = || {
        let config = load(text, &[])?;
        let webhooks = config.webhooks()?.into_iter().map(|webhook| {
            let WebhookConfig { failing_after, disconnect_share, disconnect_min, .. } = webhook;
            let WebhookConfig { topics, timeout, .. } = webhook;
            format!("{topics:?} {timeout:?} {failing_after} {disconnect_share} {disconnect_min}")
        });
        Ok(format!(
            "{:?} {:?} {} {:?} {:?} {:?} {:?}",
            config.sources()?,
            config.spool,
            config.audits,
            config.retention,
            config.serve(ServeFlags::default())?,
            config.metrics(None)?.listen,
            webhooks.collect::<Vec<_>>()
        ))
    };
    read().map_err(|error: ConfigError| error.to_string())
}

fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    TABLES.iter().flat_map(|(head, keys)| keys.iter().map(|key| (*head, key)))
}

#[test]
fn a_documented_default_is_what_holds_without_the_key() {
    let nothing = settings(&with_one("[collect]", "")).expect("complete");
    let mut compared = 0;
    for (head, key) in keys() {
        let Some(default) = key.default() else { continue };
        let line = format!("{} = {}", key.name, key.written(&default));
        assert_eq!(settings(&with_one(head, &line)).as_ref(), Ok(&nothing), "{head} {line}");
        compared += 1;
    }
    assert!(compared > 15, "{compared}");
}

#[test]
fn documented_bounds_are_those_that_hold() {
    let nothing = settings(&with_one("[collect]", "")).expect("complete");
    for (head, key) in keys() {
        let (inside, outside, allowed) = match key.takes {
            Takes::Words(_) => continue,
            Takes::Flag => (vec!["true".to_owned()], vec![], String::new()),
            Takes::Whole(Whole { least, most, .. }) => (
                vec![least.to_string(), most.to_string()],
                vec![(i64::from(least) - 1).to_string(), (i64::from(most) + 1).to_string()],
                format!("allowed are {least} to {most}"),
            ),
            Takes::Size(Size { least, .. }) => (
                vec![format_size(least)],
                least.checked_sub(1).map(format_size).into_iter().collect(),
                format!("allowed is `{}` and more", format_size(least)),
            ),
            Takes::Length(Length { least, most, .. }) => {
                let second = TimeDelta::seconds(1);
                (
                    vec![format_duration(least), format_duration(most)],
                    vec![format_duration(least - second), format_duration(most + second)],
                    format!(
                        "allowed are `{}` to `{}`",
                        format_duration(least),
                        format_duration(most)
                    ),
                )
            }
            Takes::OneOf(names) => (
                names.iter().map(|name| (*name).to_owned()).collect(),
                vec!["anything".to_owned()],
                format!("allowed are `{}`", names.join("` and `")),
            ),
            Takes::SomeOf(names) => (
                names().into_iter().map(str::to_owned).collect(),
                vec!["anything".to_owned()],
                format!("allowed are `{}`", names().join("`, `")),
            ),
        };
        let with = |value: &str| {
            settings(&with_one(head, &format!("{} = {}", key.name, key.written(value))))
        };
        for value in inside {
            let found = with(&value).unwrap_or_else(|error| panic!("{head} {error}"));
            // A key that nothing reads would change nothing. Plain http is a matter of addresses.
            let is_same = key.default().as_ref() == Some(&value)
                || (head == "[[webhook]]" && key.name == "allow_http")
                || (head == "[[source]]" && value == REQUESTS_PER_MINUTE.default.to_string());
            assert_eq!(found == nothing, is_same, "{head} {} = {value}", key.name);
        }
        for value in outside {
            let refused = with(&value).expect_err(&value);
            assert!(refused.contains(&allowed), "{head} {refused}");
        }
    }
}

#[test]
fn a_refusal_lists_the_documented_keys() {
    for (head, keys) in TABLES {
        let refusal = match head {
            "auth" => refused("[[source]]\nauth = { x = 1 }"),
            head => refused(&format!("{head}\nx = 1")),
        };
        let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        assert!(refusal.ends_with(&format!("(known here: {})", names.join(", "))), "{refusal}");
    }
    // And of the tables none is left out.
    let heads = TABLES.map(|(head, _)| head.trim_matches(['[', ']']));
    let heads: Vec<&str> = heads.into_iter().filter(|head| *head != "auth").collect();
    assert!(refused("x = 1").ends_with(&format!("(known here: {})", heads.join(", "))));
}

#[test]
fn a_documented_variable_stands_for_its_key() {
    let mut compared = 0;
    for (head, key) in keys().filter(|(head, _)| !matches!(*head, "[[source]]" | "auth")) {
        for name in key.variables {
            let environment = Environment::of(&[(name, "of the environment")]);
            let mut raw = RawConfig::parse(&with_one(head, ""), Path::new("x")).expect("right");
            raw.overlay(&environment);
            let place = format!("Place {{ key: \"{name}\", origin: Environment }}");
            assert!(format!("{raw:?}").contains(&place), "{name}: {raw:?}");
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn the_spool_has_the_documented_defaults_and_its_values_are_checked() {
    let settings = load(SOURCE, &[]).expect("right").spool;
    assert_eq!((settings.max_bytes, settings.min_free), (2 << 30, 256 << 20));
    assert_eq!((settings.dir, settings.when_full), (None, WhenFull::Stop));
    let text = "[spool]\ndir = 'x'\nmax_size = '500MB'\nmin_free = '0B'\nwhen_full = 'drop-oldest'";
    let path = Path::new("/etc/deskledger.toml");
    let settings = Config::from_text(text, path, &Flags::default(), Environment::of(&[]));
    let settings = settings.expect("right").spool;
    assert_eq!((settings.max_bytes, settings.min_free), (500_000_000, 0));
    assert_eq!((settings.dir, settings.when_full), (Some("/etc/x".into()), WhenFull::DropOldest));
    for (value, message) in [
        ("max_size = '1G'", "`spool.max_size` (deskledger.toml:2) is `1G`; write a whole number"),
        ("max_size = '3B'", "`spool.max_size` (deskledger.toml:2) is `3B`; allowed is `1MiB`"),
        ("min_free = 3", "`spool.min_free` (deskledger.toml:2) is a whole number; it must be"),
        ("when_full = 'drop'", "is `drop`; allowed are `stop` and `drop-oldest`"),
        ("maxsize = '1GiB'", "did you mean `max_size`?"),
    ] {
        let refused = refused(&format!("[spool]\n{value}\n{SOURCE}"));
        assert!(refused.contains(message), "{refused}");
    }
}

#[test]
fn each_ledger_has_a_spool_of_its_own_whoever_logs_in_to_it() {
    let dir = |flags: &Flags, variables: &[(&str, &str)]| {
        let environment = Environment::of(variables);
        let config = Config::from_text("", Path::new("deskledger.toml"), flags, environment);
        config.expect("right").spool_config().expect("complete").dir
    };
    let spool = ("DESKLEDGER_SPOOL_DIR", "/s");
    let of = |url: &str| dir(&Flags::default(), &[spool, ("DATABASE_URL", url)]);
    let ours = of("postgres://someone:very-secret@db.example:5433/ledger");
    assert_eq!(of("postgresql://other@db.example:5433/ledger?sslmode=require"), ours);
    let name = ours.file_name().and_then(|name| name.to_str()).expect("it has one");
    assert!(name.starts_with("db.example-5433-ledger-") && name.len() == 31, "{name}");
    for other in [
        "postgres://u@db.example:5432/ledger",
        "postgres://u@db.example:5433/ledger_",
        "postgres://u@db/ledger",
        "postgres://u@%2Frun%2Fpostgresql:5433/ledger",
    ] {
        let other = of(other);
        assert_ne!(other, ours);
        assert_eq!(other.parent(), Some(Path::new("/s")), "{}", other.display());
    }
    assert_eq!(dir(&Flags::default(), &[spool]), Path::new("/s/private"));
    let home = [("XDG_DATA_HOME", "/home/data")];
    let expected = Path::new("/home/data/deskledger/spool/private");
    assert_eq!(dir(&Flags::default(), &home), expected);
    let flags = Flags { data_dir: Some("/d".into()), ..Flags::default() };
    assert_eq!(dir(&flags, &home), Path::new("/d/spool/private"));
}

fn serve_with(
    text: &str,
    flags: ServeFlags,
    variables: &[(&str, &str)],
) -> Result<ServeSettings, String> {
    let one_line = |error: ConfigError| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    };
    load(text, variables).and_then(|config| config.serve(flags)).map_err(one_line)
}

#[test]
fn reports_are_served_to_this_machine_unless_told_otherwise() {
    let settings = serve_with("", ServeFlags::default(), &[]).expect("right");
    assert_eq!((settings.listen.to_string().as_str(), settings.token.is_none()), (LISTEN, true));
    let text = "[serve]\nlisten = \"[::1]:1\"\ntoken = \"of the file\"\n";
    let given = |flags: ServeFlags, variables: &[(&str, &str)]| {
        let settings = serve_with(text, flags, variables).expect("right");
        let token = settings.token.expect("given");
        (settings.listen.port(), token.expose_secret().to_owned())
    };
    assert_eq!(given(ServeFlags::default(), &[]), (1, "of the file".to_owned()));
    let variables = [
        ("DESKLEDGER_SERVE_LISTEN", "0.0.0.0:2"),
        ("DESKLEDGER_SERVE_TOKEN", "env:T"),
        ("T", "of 16 characters"),
    ];
    assert_eq!(given(ServeFlags::default(), &variables), (2, "of 16 characters".to_owned()));
    let flags =
        ServeFlags { listen: Some("127.0.0.1:3".to_owned()), token: Some("of the flag".into()) };
    assert_eq!(given(flags, &variables), (3, "of the flag".to_owned()));
}

#[test]
fn what_is_wrong_about_serving_is_told_with_its_line() {
    for (text, told) in [
        ("[serve]\nlisten = \"0.0.0.0:80\"", "needs a token"),
        ("[serve]\nlisten = \"192.0.2.1:80\"", "needs a token"),
        ("[serve]\nlisten = \"[::ffff:127.0.0.1]:80\"", "needs a token"),
        ("[serve]\nlisten = \"0.0.0.0:80\"\ntoken = \"of 15 letters..\"", "needs a token of 16"),
        ("[serve]\nlisten = \"localhost\"", "write an address and a port"),
        ("[serve]\ntoken = \"env:NOWHERE\"", "NOWHERE"),
        ("[serve]\ntoken = \"file:nowhere\"", "nowhere"),
        ("[serve]\nlisten = 8090", "it must be a text in quotes"),
        ("[serve]\ntokn = \"x\"", "`token`"),
        ("[serve]\n\ntls = \"x\"", ":3)"),
    ] {
        let error = serve_with(text, ServeFlags::default(), &[]).expect_err(text);
        assert!(error.contains(told), "{text}: {error}");
        assert!(error.contains("deskledger.toml"), "{text}: {error}");
    }
}

#[test]
fn metrics_are_shown_to_this_machine_unless_told_otherwise() {
    let metrics = |text: &str, flag: Option<&str>, variables: &[(&str, &str)]| {
        load(text, variables)
            .and_then(|config| config.metrics(flag.map(str::to_owned)))
            .map_err(|error| error.to_string())
    };
    let shown = |settings: MetricsSettings| settings.listen.map(|at| at.to_string());
    let settings = metrics("", None, &[("DESKLEDGER_METRICS_LISTEN", "")]).expect("right");
    assert_eq!(shown(settings).as_deref(), Some(METRICS_LISTEN));
    assert!(settings.listen.is_some_and(|at| at.ip().is_loopback()) && !settings.is_asked_for);
    let file = "[metrics]\nlisten = \"0.0.0.0:1\"\n";
    let variable = [("DESKLEDGER_METRICS_LISTEN", "[::]:2")];
    for (flag, variables, expected) in [
        (None, &[][..], Some("0.0.0.0:1")),
        (None, &variable[..], Some("[::]:2")),
        (Some("127.0.0.1:3"), &variable[..], Some("127.0.0.1:3")),
        (Some("off"), &variable[..], None),
    ] {
        let settings = metrics(file, flag, variables).expect("right");
        assert_eq!(shown(settings).as_deref(), expected);
        assert!(settings.is_asked_for);
    }
    for (text, wanted) in [
        ("[metrics]\nlisten = \"9464\"", "write an address and a port"),
        ("[metrics]\nlisten = 9464", "it must be a text in quotes"),
        ("[metrics]\nlitsen = \"off\"", "`listen`"),
    ] {
        let error = metrics(text, None, &[]).expect_err(text);
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn retention_says_how_old_what_may_grow_and_nothing_goes_before_what_needs_it() {
    let read = |text: &str| load(text, &[]);
    let config = read("[retention]\nspans = \"400d\"\nrollups = \"800d\"\narchive = \"old\"\n")
        .expect("well formed");
    assert_eq!(config.retention.ages.spans, Some(TimeDelta::days(400)));
    assert_eq!(config.retention.ages.groups, None);
    assert_eq!(config.retention.archive, Some(Archiving::Folder("old".into())));
    let off = read("[retention]\narchive = \"off\"\n").expect("well formed");
    assert_eq!(
        (off.retention.ages.keep_all(), off.retention.archive),
        (true, Some(Archiving::Off))
    );
    for (text, part) in [
        ("spans = \"400\"", "write it as `400d`"),
        ("groups = \"400d\"", "`groups` may not go before `spans`"),
        ("spans = \"400d\"\nrollups = \"399d\"", "`rollups` may not go before `spans`"),
        ("snapshots = \"400d\"", "snapshots"),
    ] {
        let error = read(&format!("[retention]\n{text}\n")).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A webhook as it has to be, and where its secret may be put in.
const WEBHOOK: &str =
    "[[webhook]]\nname = 'pager'\nurl = 'https://hooks.example/very-secret-path'\n";
/// 24 bytes.
const WHSEC: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

#[test]
fn a_webhook_has_the_documented_defaults_and_shows_nothing_secret() {
    let text = format!("{WEBHOOK}secret = 'env:HOOK'\n");
    let config = load(&text, &[("HOOK", WHSEC)]).expect("well formed");
    let [webhook] = &config.webhooks().expect("right")[..] else { panic!("there is one") };
    assert_eq!((webhook.name.as_str(), webhook.host().as_str()), ("pager", "hooks.example"));
    assert_eq!(webhook.topics, Topic::ALL);
    assert_eq!((webhook.failing_after, webhook.timeout.as_secs()), (3, 15));
    assert_eq!((webhook.disconnect_share, webhook.disconnect_min), (20, 10));
    assert_eq!(webhook.secrets[0].expose_secret(), (0..24).collect::<Vec<u8>>());
    assert!(!format!("{webhook:?}").contains("very-secret"));
    let chosen = load(&format!("{text}events = ['gap.opened']"), &[("HOOK", WHSEC)]);
    assert_eq!(chosen.expect("well formed").webhooks().expect("right")[0].topics, [Topic::Gap]);
    assert!(load("", &[]).expect("well formed").webhooks().expect("none").is_empty());
}

#[test]
fn what_is_wrong_about_a_webhook_is_told_without_its_address_and_its_secret() {
    let secret = format!("secret = '{WHSEC}'\n");
    let with = |more: &str| format!("{WEBHOOK}{secret}{more}");
    for (text, told) in [
        (WEBHOOK.to_owned(), "`webhook.pager` (deskledger.toml:1) has no `secret`: add one"),
        (format!("[[webhook]]\n{secret}"), "`webhook[1]` (deskledger.toml:1) has no `name`"),
        (with("") + &with(""), "another webhook has that name"),
        (with("").replace("pager", "a/b"), "is `a/b`; allowed are 1 to 64 letters"),
        (with("").replace("https", "http"), "is an address of plain http; https is needed"),
        (with("").replace("https://", "https://very-secret:x@"), "an address with a user in it"),
        (with("").replace("https://", "very-secret"), "is no address; write it as"),
        (with("").replace("whsec_", ""), "is no secret of a webhook; it is `whsec_` and 24 to 64"),
        (with("").replace("FRYX", ""), "is no secret of a webhook"),
        (with("events = ['gap']"), "is `gap`; allowed are `source.failing`, `gap.opened`,"),
        (with("events = ['gap.closed']"), "it comes with `gap.opened`: write that"),
        (with("events = []"), "is empty; allowed are"),
        (with("events = 'gap.opened'"), "is a text; it must be a list of texts"),
        (with("failing_after = 0"), "is `0`; allowed are 1 to 1000"),
        (with("disconnect_share = 101"), "is `101`; allowed are 1 to 100"),
        (with("timeout = '2m'"), "is `2m`; allowed are `1s` to `1m`"),
        (with("tiemout = '2s'"), "did you mean `timeout`?"),
        (with("").replace("[[webhook]]", "[webhook]"), "must be tables, each under its own"),
    ] {
        let error = load(&text, &[]).and_then(|config| config.webhooks()).expect_err(&text);
        let error = error.to_string();
        assert!(error.contains(told), "{text}: {error}");
        assert!(!error.contains("very-secret") && !error.contains("AAECAw"), "{error}");
    }
    for fine in ["http://127.0.0.1:1/x", "http://localhost:1", "http://[::1]:1"] {
        let text = with("").replace("https://hooks.example/very-secret-path", fine);
        assert!(load(&text, &[]).expect("well formed").webhooks().is_ok(), "{fine}");
    }
    let trusted = with("allow_http = true").replace("https", "http");
    assert!(load(&trusted, &[]).expect("well formed").webhooks().is_ok());
}
