//! Names from the ledger are text, whatever they look like.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Serving, own_reports};
use crate::support::ledger::{ledger, record};
use crate::support::program::Home;

const SOURCE: &str = "<script>alert(1)</script>";
const DESKTOP: &str = "\"><img src=x onerror=alert(2)>";
const USER: &str = "</td></title><svg onload=alert(3)>";
const GROUP: &str = "'\"--></style></svg><iframe src=javascript:alert(4)>&lt;b&gt;";

/// The tags of our own pages and pictures.
const TAGS: &[&str] = &[
    "!--",
    "!DOCTYPE",
    "a",
    "body",
    "br",
    "button",
    "caption",
    "circle",
    "code",
    "dd",
    "defs",
    "details",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "footer",
    "form",
    "g",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "i",
    "input",
    "label",
    "li",
    "line",
    "link",
    "main",
    "meta",
    "nav",
    "option",
    "p",
    "path",
    "pattern",
    "polygon",
    "polyline",
    "pre",
    "rect",
    "section",
    "select",
    "small",
    "span",
    "strong",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];

/// Names of tags, and of their attributes, as a browser reads them.
fn tags(html: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut attributes) = (BTreeSet::new(), BTreeSet::new());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = rest[at + 1..].trim_start_matches('/');
        let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap();
        names.insert(rest[..end].to_owned());
        rest = &rest[end..];
        let (mut quote, mut name) = (None, String::new());
        for (at, c) in rest.char_indices() {
            match (quote, c) {
                (None, '>') => {
                    rest = &rest[at + 1..];
                    break;
                }
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (Some(_), _) => {}
                (None, '=') => {
                    attributes.insert(std::mem::take(&mut name));
                }
                (None, c) if c.is_whitespace() => name.clear(),
                (None, c) => name.push(c),
            }
        }
    }
    (names, attributes)
}

fn evil_history() -> String {
    let line = |minute: u32, status: &str| {
        json!({
            "source": SOURCE, "observed_at": format!("2026-10-05T08:{minute:02}:00Z"), "max_gap": "15m", "total_count": 1,
            "desktops": [{
                "desktop_id": DESKTOP, "desktop_name": DESKTOP, "connect_status": status,
                "attach_users": [{ "id": USER, "name": USER, "user_group": GROUP, "type": "USER" }],
            }],
            "statics": [{ "static_name": GROUP, "in_use_num": 1, "attached_num": 3, "total_num": 4, "running_num": 1 }],
        })
        .to_string()
    };
    let statuses =
        ["CONNECTED", "DISCONNECTED", "CONNECTED", "DISCONNECTED", "REGISTERED", "CONNECTED"];
    let lines = (0..12).map(|nth| line(nth * 5, statuses[nth as usize % statuses.len()]));
    lines.collect::<Vec<_>>().join("\n")
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_names_stays_text() {
    let (database, store) = ledger().await;
    record(&store, &evil_history(), 1, usize::MAX).await;
    let home = Home::new(&database);
    let own = "-- <script>alert(5)</script>\n--\n-- </p><script>alert(6)</script>\n\
               select '<i>' as \"<u>\", :'x' as b";
    own_reports(&home, &[("<b>bold<!--", own)]);
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    let source = encoded(SOURCE);
    let period = "from=2026-10-05&to=2026-10-06";
    let mut seen = String::new();
    let mut pages = vec![
        format!("/?{period}"),
        format!("/?{period}&source={source}&bucket=hour"),
        format!("/?from={source}&to={source}&tz={source}&source={source}&bucket={source}"),
        format!("/?{period}&source={}", encoded(DESKTOP)),
        "/reports".to_owned(),
        "/report/connected-at?at=2026-10-05T08:02:00Z".to_owned(),
        format!("/report/desktop-history?{period}&desktop={}", encoded(DESKTOP)),
        format!("/report/user-history?{period}&user={}", encoded(USER)),
        format!("/report/user-history?{period}&user={}&{source}={source}", encoded(DESKTOP)),
        format!("/report/user-days?{period}"),
        format!("/report/user-hours?{period}"),
        format!("/report/{source}"),
        format!("/sql/{}", encoded(DESKTOP)),
        format!("/{}", encoded(DESKTOP)),
    ];
    for name in ["group-utilisation", "utilisation", "flapping", "disconnects", "capacity"] {
        pages.push(format!("/report/{name}?{period}"));
        pages.push(format!("/report/{name}?{period}&source={source}&bucket={source}"));
    }
    for path in ["/report/{}", "/report/{}?x=%3Cs%3E", "/sql/{}"] {
        pages.push(path.replace("{}", &encoded("<b>bold<!--")));
    }
    for path in pages {
        let answer = serving.get(&path).await;
        let page = answer.text();
        assert!([200, 400, 404].contains(&answer.status), "{path}: {page}");
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        for evil in [
            "<script",
            "<img",
            "<iframe",
            "<svg onload",
            "<b>",
            "<i>",
            "<u>",
            "<s>",
            "</style></svg>",
        ] {
            assert!(!page.contains(evil), "{path}: {evil}\n{page}");
        }
        let style = page.find("<style>").unwrap();
        let body = page.find("</style>").unwrap();
        let (names, attributes) = tags(&format!("{}{}", &page[..style], &page[body + 8..]));
        for name in &names {
            assert!(TAGS.contains(&name.as_str()), "{path}: <{name}>");
        }
        for name in &attributes {
            assert!(!name.starts_with("on") && !name.contains('<'), "{path}: {name}=");
        }
        seen.push_str(&page);
    }
    // And they were there to be seen: in a form, a table, a title, a picture's text.
    for text in [
        "<option value=\"&lt;script&gt;",
        "<title>Virtual desktops of &lt;script&gt;",
        "&lt;img src=x",
        "&lt;svg onload",
        "&lt;iframe",
    ] {
        assert!(seen.contains(text), "{text}");
    }
    let texts: Vec<&str> =
        seen.split("<text ").skip(1).map(|rest| rest.split("</text>").next().unwrap()).collect();
    assert!(
        texts.iter().any(|text| text.contains("iframe") || text.contains("script")),
        "no picture shows a name"
    );

    let file = serving
        .get(&format!("/report/connected-at/json?at=2026-10-05T08:02:00Z&source={source}"))
        .await
        .expect(200);
    assert_eq!(file.header("content-type"), "application/json");
    let rows: serde_json::Value = serde_json::from_slice(&file.body).unwrap();
    assert_eq!((&rows[0]["source"], &rows[0]["desktop_name"]), (&json!(SOURCE), &json!(DESKTOP)));
    for (name, value) in &file.headers {
        assert!(!value.to_str().unwrap().contains("script>"), "{name}");
    }
    let name = encoded("<b>bold<!--");
    let file = serving.get(&format!("/report/{name}/csv?x=%0D%0AX-Evil%3A%201")).await.expect(200);
    assert!(file.headers.get("x-evil").is_none());
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"_b_bold__--.csv\"");
    serving.end().await.expect(0);
}
