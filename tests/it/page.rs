//! The page of all reports: one file that opens anywhere, looked at with a real browser.
//!
//! It needs Chromium and poppler's `pdftotext` (Debian: `chromium poppler-utils`); `DESKLEDGER_CHROMIUM` names another
//! browser of that family. axe-core, the accessibility checker, comes from PyPI on the first run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chrono::TimeDelta;
use deskledger::domain::{Instant, Listing, Snapshot, Source};
use deskledger::simulator::{MassDisconnect, World, WorldConfig};
use deskledger::store::{Recorder, Store};

use crate::support::ledger::ledger;
use crate::support::program::Home;

/// A Monday, at midnight where the fleet is.
fn start() -> Instant {
    "2026-09-28T00:00:00+08:00".parse().unwrap()
}

const DAYS: i64 = 21;

/// What somebody may call a desktop.
const EVIL: &str = "<script>document.title='owned'</script>\"'&amp;<img src=x onerror=alert(1)>";

/// Three weeks of a fleet, visited every ten minutes but for one night, in which many disconnect at once one morning.
async fn record(store: &Store, name: &str, seed: u64) {
    let source = Source { name: name.to_owned(), region: None, project_id: None, endpoint: None };
    let mut recorder = Recorder::open(store, &source).await.unwrap();
    let mut config = WorldConfig::new(seed, 40, start(), 20);
    config.mass_disconnects =
        vec![MassDisconnect { at: start() + TimeDelta::hours(15 * 24 + 10), share: 0.9 }];
    let mut world = World::new(&config);
    for visit in 0..DAYS * 24 * 6 {
        let at = start() + TimeDelta::minutes(10 * visit);
        world.advance_to(at);
        // The recorder was down for a day and a half.
        if (10 * 144..10 * 144 + 216).contains(&visit) {
            continue;
        }
        let mut desktops = world.desktops().to_vec();
        desktops[0].name = Some(EVIL.into());
        let snapshot = Snapshot {
            scheduled_at: Some(at),
            observed_at: at,
            finished_at: at + TimeDelta::seconds(2),
            max_gap: TimeDelta::minutes(30),
            total: Some(desktops.len() as i64),
            desktops: Some(Listing::new(desktops)),
            groups: Some(world.groups().to_vec()),
            failure: None,
        };
        recorder.add(&snapshot).await.unwrap();
        if visit % 288 == 287 {
            recorder.commit().await.unwrap();
        }
    }
    recorder.commit().await.unwrap();
}

fn browser() -> PathBuf {
    if let Some(named) = std::env::var_os("DESKLEDGER_CHROMIUM") {
        return named.into();
    }
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
        .expect("Chromium is needed: install it, or name one in DESKLEDGER_CHROMIUM")
}

/// Opens a file in a browser without a window, a network, or a user.
fn open(file: &Path, arguments: &[&str]) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser());
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The accessibility checker, as its authors publish it.
fn axe() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/axe");
    let script = folder.join("axe_playwright_python/axe.min.js");
    if !script.is_file() {
        let mut install = Command::new(crate::sdk::python());
        install
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--upgrade", "--target"])
            .arg(&folder)
            .arg("axe-playwright-python==0.1.8");
        let output = install.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::read_to_string(script).unwrap().replace("</script", "<\\/script")
}

/// What axe finds wrong with a page, in light (1) or dark (0).
fn complaints(page: &str, folder: &Path, scheme: u8) -> String {
    let (before, rest) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let rest = rest.split_once('>').unwrap().1;
    // Of all that is checked, only the contrast depends on the scheme.
    let rules = if scheme == 0 { "runOnly: ['color-contrast'], " } else { "" };
    let run = format!(
        "axe.run(document, {{{rules}resultTypes: ['violations']}}).then(found => {{ document.title = 'AXE' + \
         JSON.stringify(found.violations.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200))])) + 'END' }})"
    );
    let checked = format!("{before}{rest}<script>{}</script><script>{run}</script>", axe());
    let file = folder.join(format!("axe-{scheme}.html"));
    std::fs::write(&file, checked).unwrap();
    let scheme = format!("--blink-settings=preferredColorScheme={scheme}");
    let output = open(&file, &[&scheme, "--virtual-time-budget=30000", "--dump-dom"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.split_once("<title>AXE").and_then(|(_, rest)| rest.split_once("END</title>"));
    found.unwrap_or_else(|| panic!("axe did not come to an end")).0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_report_is_one_file_that_opens_anywhere() {
    let (database, store) = ledger().await;
    record(&store, "prod", 7).await;
    record(&store, "lab & <i>test</i>", 8).await;
    let program = Home::new(&database);
    let arguments = ["report", "--all", "--from", "2026-10-01", "--to", "2026-10-19 12:00"];
    let path = program.path().join("report.html");
    let output = ["--tz", "Asia/Singapore", "--output", path.to_str().unwrap()];
    program.run(&[arguments.as_slice(), &output].concat()).await.expect(0);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.len() < 1 << 20, "{} bytes", page.len());

    // It asks nobody for anything, and what the API said is text.
    let without_namespace = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for part in
        ["http://", "https://", "//cdn", "<script", "<img", "<iframe", "@import", "javascript:"]
    {
        assert!(!without_namespace.contains(part), "the page contains {part}");
    }
    assert!(page.contains("&lt;script&gt;document.title="), "the desktop's name is missing");
    assert!(
        page.contains("lab &amp; &lt;i&gt;test&lt;&#x2f;i&gt;"),
        "the source's name is missing"
    );
    assert!(page.contains("All sources as one") && page.contains("(all)"));
    // What is sampled says so, what is counted is named, and where the day is cut stands beside it.
    let utilisation = section(&page, "utilisation");
    assert!(utilisation.contains("<td class=\"n\">≥ "), "{utilisation}");
    assert!(!utilisation.split("<thead>").nth(1).unwrap().contains("<td class=\"n\">≥ –"));
    assert!(utilisation.contains("connected peak (≥), desktops</li>"));
    assert!(utilisation.contains(">\ndesktops\n</text>"), "the axis has no unit");
    assert!(utilisation.contains("connected avg</a> <small>desktops</small>"));
    let cut = "<th scope=\"row\" class=\"t\">2026-10-19 <i class=\"cut\">partial</i></th>";
    assert!(utilisation.contains(cut) && utilisation.matches("<i class=\"cut\"").count() == 4);
    assert!(utilisation.contains("<title>2026-10-19 (partial): connected avg "), "{utilisation}");
    assert!(utilisation.contains("; connected peak ≥ ") && utilisation.contains("; coverage "));
    assert!(section(&page, "disconnects").contains(">\nper 100 connected hours\n</text>"));
    assert!(section(&page, "disconnects").contains(": many disconnected at once</title>"));
    // Each cell of the week stands above its coverage.
    let week = section(&page, "busy-hours");
    assert_eq!(week.matches(" %</small></td>").count(), 24 * 7, "{week}");
    assert_eq!(week.matches(" %</title>").count(), 24 * 7, "{week}");
    assert_eq!(week.matches("<small>peak ≥ ").count(), 24 * 7, "{week}");
    assert!(week.matches("; connected peak ≥ ").count() >= 24 * 7, "{week}");
    assert!(
        week.contains("below each, its connected peak (≥) and its coverage</caption>"),
        "{week}"
    );
    // What looks at another time than the page's says at which.
    assert!(section(&page, "comparison").contains(
        "<p class=\"note\">Looks at 2026-10-01 00:00 to 2026-10-19 12:00 · compared with 2026-09-12 12:00 to 2026-10-01 00:00.</p>"
    ));
    assert!(section(&page, "comparison").contains("connected_peak</td><td class=\"n\">≥ "));
    // It is asked for hundredths of a day, and knows no time zone but the page's.
    let idle = section(&page, "idle-desktops");
    let starts = ["2026-09-30 23:5", "2026-10-01 00:0"];
    assert!(
        starts.iter().any(|at| idle.contains(&format!("<p class=\"note\">Looks at {at}"))),
        "{idle}"
    );
    let forecast = section(&page, "forecast");
    assert!(
        forecast.contains("<p class=\"note\">Looks at 2026-07-21 12:00 to 2026-10-19 12:00.</p>"),
        "{forecast}"
    );
    // So short a history gives no band, and what is not drawn has no legend.
    assert!(!forecast.contains("swatch band"), "{forecast}");
    assert!(!section(&page, "disconnects").contains("<p class=\"note\">Looks at "));
    // The SQL of each figure is in the file.
    for name in ["utilisation", "busy-hours", "coverage"] {
        assert!(section(&page, name).contains(&format!("<a href=\"#sql-{name}\">SQL</a>")));
        assert!(page.contains(&format!(
            "<pre class=\"line\" id=\"sql-{name}\">psql -v from=2026-09-30T16:00:00Z "
        )));
    }
    assert!(
        page.contains("<a href=\"#sql-concurrency\" aria-label=\"SQL: desktops connected at most")
    );

    let folder = program.path().to_owned();
    tokio::task::spawn_blocking(move || look_at(&page, &folder)).await.unwrap();
}

/// A section of the page, by its report.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{name}\"")).expect(name);
    let rest = &page[start..];
    &rest[..rest.find("</section>").unwrap()]
}

/// What is out of sight of a page that is so wide: it measures the page by a script of its own.
fn out_of_sight(page: &str, folder: &Path, width: u32) -> String {
    let (before, rest) = page.split_once("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let rest = rest.split_once('>').unwrap().1;
    let measure = "const found = [], wide = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth > wide) found.push('the page is wider than the window');
        for (const region of document.querySelectorAll('.scroll:has(table)')) {
          const name = region.getAttribute('aria-label'), r = region.getBoundingClientRect();
          if (region.tabIndex !== 0) found.push(name + ': no key scrolls it');
          if (r.right > wide) found.push(name + ': it is cut');
          const names = [...region.querySelectorAll('thead th')].map(th => th.textContent.trim());
          for (const kept of region.querySelectorAll('.k, tr > th:first-child')) {
            const k = kept.getBoundingClientRect();
            if (k.left < r.left || k.right > r.right) found.push(name + ': ' + kept.textContent);
          }
          if (names.some(name => name.startsWith('coverage')) && !region.querySelector('.k')) found.push(name + ': coverage');
          for (const th of region.querySelectorAll('thead th')) {
            if (th.scrollWidth > th.clientWidth + 1) found.push(name + ': heading ' + th.textContent);
          }
        }
        for (const picture of document.querySelectorAll('.picture.bars')) {
          if (picture.scrollWidth > picture.clientWidth) found.push(picture.getAttribute('aria-label') + ': cut');
        }
        if (document.querySelectorAll('.picture.bars').length < 3) found.push('no bars');
        document.title = 'SEEN' + JSON.stringify(found) + 'END'";
    let file = folder.join(format!("wide-{width}.html"));
    std::fs::write(&file, format!("{before}{rest}<script>{measure}</script>")).unwrap();
    let output = open(&file, &[&format!("--window-size={width},900"), "--dump-dom"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.split_once("<title>SEEN").and_then(|(_, rest)| rest.split_once("END</title>"));
    found.unwrap_or_else(|| panic!("nothing was measured")).0.to_owned()
}

/// The headings of the page's sections.
fn titles(page: &str) -> Vec<String> {
    let titles = page.split("-title\">").skip(1).filter_map(|rest| rest.split_once("</h2>"));
    titles.map(|(title, _)| title.to_owned()).collect()
}

fn look_at(page: &str, folder: &Path) {
    let file = folder.join("report.html");
    let titles = titles(page);
    assert!(titles.len() > 12, "{titles:?}");

    // No message on the console; a request for anything would give one, since the page's own policy forbids them all.
    let output =
        open(&file, &["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"]);
    assert!(
        page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("CONSOLE"), "{said}");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(dom.contains("<title>Virtual desktops</title>"), "a script ran");
    assert_eq!(complaints(page, folder, 1), "[]", "in light");
    assert_eq!(complaints(page, folder, 0), "[]", "in the dark");

    for width in [1280, 1024, 500] {
        assert_eq!(out_of_sight(page, folder, width), "[]", "at {width} pixels");
    }

    // On paper: everything is there, and no heading stands alone at a page's end.
    let pdf = folder.join("report.pdf");
    open(&file, &["--no-pdf-header-footer", &format!("--print-to-pdf={}", pdf.display())]);
    let text = Command::new("pdftotext").arg("-layout").arg(&pdf).arg("-").output();
    let text = text.expect("pdftotext is needed: install poppler-utils");
    let text = String::from_utf8(text.stdout).unwrap();
    let pages: Vec<&str> = text.split('\u{c}').filter(|page| !page.trim().is_empty()).collect();
    assert!((4..30).contains(&pages.len()), "{} pages", pages.len());
    let words = Command::new("pdftotext").arg("-bbox").arg(&pdf).arg("-").output().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    let rightmost = words.split("xMax=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let rightmost = rightmost.map(|at| at.parse::<f64>().unwrap()).fold(0.0, f64::max);
    assert!(rightmost < 595.0 - 36.0, "something is printed at {rightmost} of 595 points");
    // The file's SQL is for the screen.
    for title in titles.iter().filter(|title| *title != "SQL") {
        assert!(text.contains(title.as_str()), "`{title}` is not printed");
    }
    for (nth, page) in pages.iter().enumerate() {
        let last = page.lines().rev().find(|line| !line.trim().is_empty()).unwrap().trim();
        assert!(!titles.iter().any(|title| title == last), "page {} ends with `{last}`", nth + 1);
    }
}
