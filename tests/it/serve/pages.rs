//! What a browser sees.

use std::io::{Cursor, Read as _};

use deskledger::report::catalogue::Catalogue;
use reqwest::Method;

use super::{DAY, SLEEP, Serving, example, own_reports};
use crate::support::program::Home;

/// Text as it stands between tags.
fn unescaped(html: &str) -> String {
    let mut text = html.to_owned();
    for (entity, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, character);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_all_reports_answers_its_form() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &[]).await;
    let whole = format!("/?{DAY}&tz=Europe%2FBerlin&source=prod&bucket=hour");
    let page = serving.get(&whole).await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    for text in [
        "value=\"2026-10-05\"",
        "value=\"Europe/Berlin\"",
        "<option value=\"prod\" selected>",
        "<option value=\"hour\" selected>",
        "Virtual desktops of prod",
        "Europe/Berlin",
        "2026-10-05 00:00 to 2026-10-06 00:00",
        "<section id=\"utilisation\"",
        "<section id=\"coverage\"",
        "<figure>",
        // The SQL of each figure, with the values that it has.
        "href=\"/sql/utilisation?from=2026-10-04T22%3A00%3A00Z&amp;to=2026-10-05T22%3A00%3A00Z&amp;bucket=hour&amp;source=prod&amp;tz=Europe%2FBerlin\">SQL",
        "bucket=all&amp;source=prod&amp;tz=Europe%2FBerlin#connected_peak\" aria-label=\"SQL: desktops connected at once, at the peak\"",
        "href=\"#def-utilisation-coverage_pct\"",
        "<div id=\"def-utilisation-coverage_pct\">",
    ] {
        page.holds(text);
    }
    assert!(!page.text().contains("class=\"problem\""), "{}", page.text());
    // All defaults, which is what a browser asks first, and what it sends of an empty form.
    for path in ["/", "/?from=&to=&tz=&source=&bucket="] {
        serving.get(path).await.expect(200).holds("placeholder=\"-30d\"");
    }
    let list = serving.get("/reports").await.expect(200);
    for report in Catalogue::built_in().reports() {
        list.holds(&format!("href=\"/report/{}\"", report.name));
    }
    let head = serving.ask(Method::HEAD, &whole, &[]).await.expect(200);
    assert!(
        head.body.is_empty() && head.header("content-length").parse::<usize>().unwrap() > 20_000
    );
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_connected_is_asked_in_a_form_and_taken_as_a_file() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &[]).await;
    let form = serving.get("/report/connected-at").await.expect(200);
    form.holds("<input name=\"at\"");
    form.holds("<em>assigned</em>");
    let page = serving.get("/report/connected-at?at=2026-10-05T08%3A07%3A00Z").await.expect(200);
    for text in ["alice", "bob", "value=\"2026-10-05T08:07:00Z\"", "deskledger report connected-at"]
    {
        page.holds(text);
    }
    for name in
        ["connected-at?at=2026-10-05T08%3A07%3A00Z", &format!("utilisation?{DAY}&tz=&source=")]
    {
        let (report, asked) = name.split_once('?').unwrap();
        let given: Vec<String> = asked
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| [format!("--{name}"), value.replace("%3A", ":")])
            .collect();
        for (format, kind) in [
            ("csv", "text/csv; charset=utf-8"),
            ("json", "application/json"),
            ("ndjson", "application/x-ndjson"),
            ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ] {
            let file = serving.get(&format!("/report/{report}/{format}?{asked}")).await.expect(200);
            assert_eq!(file.header("content-type"), kind);
            assert_eq!(
                file.header("content-disposition"),
                format!("attachment; filename=\"{report}.{format}\"")
            );
            let output = format!("{report}.{format}");
            let mut arguments = vec!["report", report, "--format", format, "--output", &output];
            arguments.extend(given.iter().map(String::as_str));
            home.run(&arguments).await.expect(0);
            let written = std::fs::read(home.path().join(&output)).unwrap();
            if format == "xlsx" {
                assert_eq!(sheets(&file.body), sheets(&written), "{report}");
            } else {
                assert_eq!(file.text(), String::from_utf8(written).unwrap(), "{report} {format}");
            }
        }
    }
    serving.end().await.expect(0);
}

/// What a workbook says, without when it was made.
fn sheets(file: &[u8]) -> Vec<(String, String)> {
    let mut parts = zip::ZipArchive::new(Cursor::new(file)).unwrap();
    let names: Vec<String> = parts.file_names().map(|name| name.unwrap().into_owned()).collect();
    let mut read = |name: String| {
        let mut text = String::new();
        parts.by_name(&name).unwrap().read_to_string(&mut text).unwrap();
        (name, text)
    };
    let sheets: Vec<_> = names
        .into_iter()
        .filter(|name| name.starts_with("xl/worksheets/"))
        .map(&mut read)
        .collect();
    assert!(sheets.len() >= 2, "the rows, and what they are");
    sheets
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_told_above_a_form_that_keeps_it() {
    let database = example().await;
    let home = Home::new(&database);
    let serving = Serving::start(&home, &[]).await;
    for (path, field, problem, kept) in [
        ("/?from=2026-02-30&bucket=week", "from", "is no instant", "value=\"2026-02-30\""),
        ("/?from=2026-02-30&bucket=week", "from", "is no", "<option value=\"week\" selected>"),
        ("/?from=2026-10-06&to=2026-10-05", "to", "ends before it begins", "value=\"2026-10-06\""),
        ("/?tz=berlin", "tz", "did you mean <code>Europe/Berlin</code>?", "value=\"berlin\""),
        ("/?source=prd&from=-3d", "source", "did you mean <code>prod</code>?", "value=\"-3d\""),
        ("/?bucket=dya&to=-1d", "bucket", "did you mean <code>day</code>?", "value=\"-1d\""),
        ("/?from=a%00b&to=-1d", "from", "a character that PostgreSQL cannot", "value=\"-1d\""),
        ("/?from=-3d&from=-4d", "from", "<code>from</code> is given twice", "value=\"-3d\""),
        (
            "/?buckt=day&to=-1d",
            "",
            "no field <code>buckt</code>; did you mean <code>bucket</code>?",
            "value=\"-1d\"",
        ),
        (
            "/?bogus=1",
            "",
            "no field <code>bogus</code>; there is from, to, bucket, tz, source",
            "-30d",
        ),
        ("/report/utilisation?bucket=dya&from=-3d", "bucket", "did you mean", "value=\"-3d\""),
        ("/report/connected-at?at=nooon", "at", "is no instant", "value=\"nooon\""),
        (
            "/report/utilisation?buckt=day&from=-3d",
            "",
            "did you mean <code>bucket</code>?",
            "value=\"-3d\"",
        ),
        ("/report/utilisation?from=-3d&from=-4d", "from", "given twice", "value=\"-3d\""),
        (
            "/report/utilisation?from=1990-01-01&bucket=hour",
            "",
            "buckets of an hour",
            "value=\"1990-01-01\"",
        ),
        ("/report/outages?share=x", "share", "<code>x</code> is no number", "value=\"x\""),
        (
            "/sql/utilisation?tz=berlin",
            "",
            "did you mean <code>Europe/Berlin</code>?",
            "-v tz=berlin",
        ),
    ] {
        let page = serving.get(path).await.expect(400);
        let told = page.text();
        let told = told.split("<p class=\"problem\" role=\"alert\"").nth(1).expect(path);
        let told = told.split("</p>").next().unwrap();
        assert!(told.contains(problem), "{path}: {told}");
        assert!(!told.contains("--"), "{path} speaks of options: {told}");
        page.holds(kept);
        if !field.is_empty() {
            // Beside its field, which says so to those who do not see it.
            page.holds(&format!("id=\"{field}-problem\""));
            page.holds(&format!("aria-invalid=\"true\" aria-describedby=\"{field}-problem\""));
        }
        if !path.starts_with("/sql") {
            page.holds("<button>Show</button>");
        }
    }
    // All that is wrong is told at once, each beside its field.
    for (path, fields) in [
        (
            "/?from=2026-02-30&to=nooon&tz=UTC%2B2&source=prd&bucket=dya&buckt=day",
            &["from", "to", "tz", "source", "bucket"][..],
        ),
        (
            "/report/user-history?user=alic&from=x&to=2026-02-30&tz=berlin",
            &["user", "from", "to", "tz"],
        ),
        ("/report/outages?share=x&from=2026-10-06&to=2026-10-05&tz=CET", &["share", "tz", "to"]),
        ("/report/outages?share=x&from=2026-10-06&to=2026-10-05", &["share", "to"]),
        ("/report/capacity?day_from=9&day_to=9&headroom_pct=-1", &["day_to", "headroom_pct"]),
        ("/report/utilisation?from=2026-10-06&to=2026-10-06", &["to"]),
    ] {
        let page = serving.get(path).await.expect(400);
        let told: Vec<&str> = page
            .text()
            .split("role=\"alert\" id=\"")
            .skip(1)
            .map(|rest| rest.split_once("-problem\"").unwrap().0.to_owned().leak() as &str)
            .collect();
        let mut expected = fields.to_vec();
        let mut found = told.clone();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{path}");
        assert_eq!(page.text().contains("no field <code>buckt</code>"), path.contains("buckt="));
    }
    // A name of any length is compared with none.
    let long = format!("/?tz={}", "x".repeat(20_000));
    serving.get(&long).await.expect(400).holds("there is no time zone");
    serving.get("/report/utilisation/csv?bucket=dya").await.expect(400).holds("`day`?");
    serving.get("/report/user-history/csv").await.expect(400).holds("needs `--user`");
    serving
        .get("/report/idle-desktops/csv?days=1e308")
        .await
        .expect(400)
        .holds("beyond what can be worked out");
    for path in [
        "/nothing",
        "/report/utilisatio",
        "/sql/nothing",
        "/report/utilisation/pdf",
        "/sql/..%2f..%2fetc%2fpasswd",
    ] {
        serving.get(path).await.expect(404).holds("Not found");
    }
    serving.get("/report/utilisatio").await.expect(404).holds("did you mean `utilisation`?");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for path in
            ["/", "/reports", "/report/utilisation", "/report/utilisation/csv", "/sql/utilisation"]
        {
            let answer = serving.ask(method.clone(), path, &[]).await.expect(405);
            assert_eq!(answer.header("allow"), "GET,HEAD");
        }
    }
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_of_a_report_is_its_file() {
    let database = example().await;
    let home = Home::new(&database);
    let evil = "-- </pre><script>alert(1)</script> & \"so\"\nselect 1 as one";
    own_reports(&home, &[("evil", evil)]);
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    for report in Catalogue::built_in().reports() {
        let page = serving.get(&format!("/sql/{}", report.name)).await.expect(200).text();
        let pre =
            page.split("<pre tabindex=\"0\">").nth(1).unwrap().split("</pre>").next().unwrap();
        assert!(!pre.contains('<'), "{}", report.name);
        assert_eq!(unescaped(pre), report.text);
    }
    // As psql is asked for the same, and what its columns mean, each by its own address.
    let page = serving.get("/sql/utilisation?from=2026-10-05&tz=Europe%2FBerlin").await.expect(200);
    page.holds("-v from=2026-10-05 -v to=now -v bucket=day -v tz=Europe/Berlin -v source= -f queries/utilisation.sql</pre>");
    page.holds(
        "<div id=\"connected_peak\"><dt>connected_peak</dt><dd>the most that were CONNECTED",
    );
    page.holds("href=\"/report/utilisation?from=2026-10-05&amp;tz=Europe%2FBerlin\"");
    serving
        .get("/sql/user-history")
        .await
        .expect(200)
        .holds("psql -v user=&#x27;…&#x27; -v from=-30d");
    serving.get("/sql/user-history?user=it%27s").await.expect(200).holds("-v user=&#x27;it");
    let page = serving.get("/sql/evil").await.expect(200);
    assert!(!page.text().contains("<script"));
    page.holds("&lt;script&gt;");
    serving.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_ones_own_has_a_form_for_what_it_needs() {
    let database = example().await;
    let home = Home::new(&database);
    own_reports(
        &home,
        &[
            ("sleep", SLEEP),
            (
                "named",
                "-- Desktops of a name\n--\n-- Who calls them so?\n--\n-- Parameters\n--   name  text  required  what they are called\n\
                 -- Columns\n--   desktop_name  the name\n\
                 select distinct desktop_name from deskledger.desktop_states where desktop_name like :'name'",
            ),
            ("odd & name?#", "select 'here' as \"<b>bold</b>\""),
            ("wrong", "select *\n  from nowhere"),
        ],
    );
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    serving.get("/reports").await.expect(200).holds("Desktops of a name");
    let form = serving.get("/report/named").await.expect(200);
    form.holds("<h1>Desktops of a name</h1>");
    form.holds("<label title=\"what they are called\">name");
    form.holds("required");
    assert!(!form.text().contains("<table"), "nothing is asked before it is given");
    let page = serving.get("/report/named?name=DESK-B%25").await.expect(200);
    page.holds("<th scope=\"row\">DESK-B</th>");
    page.holds("value=\"DESK-B%\"");
    page.holds("href=\"/report/named/csv?name=DESK-B%25\"");
    let file = serving.get("/report/named/csv?name=DESK%2DB%25").await.expect(200);
    assert_eq!(file.text(), "desktop_name\nDESK-B\n");
    // A name that no address and no header can hold as it is.
    let page = serving.get("/report/odd%20%26%20name%3F%23").await.expect(200);
    page.holds("here");
    page.holds("<form action=\"/report/odd%20%26%20name%3F%23\"");
    page.holds("href=\"/sql/odd%20%26%20name%3F%23\"");
    let file = serving.get("/report/odd%20%26%20name%3F%23/csv").await.expect(200);
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"odd___name__.csv\"");
    // A mistake in it is shown, but not where it lies.
    let page = serving.get("/report/wrong").await.expect(400);
    page.holds("line 2: relation &quot;nowhere&quot; does not exist");
    assert!(!page.text().contains("own/wrong"), "{}", page.text());
    let list = serving.get("/reports").await.text();
    assert!(list.contains("odd%20%26%20name%3F%23"), "{list}");
    serving.end().await.expect(0);
}
