//! A million rows in every format, by the program itself.

use std::ffi::OsStr;

use super::figures::Figures;
use super::server::Server;
use super::{Outcome, process};

/// What a history is like: names, lists, instants, lengths of time, figures, and what was not observed.
const MANY: &str = "select 'prod' as source, 'desktop-' || n as desktop_id, array['anna', 'bob'] as users,
       timestamptz '2026-10-01Z' + n * interval '1 minute' as first_seen, n * interval '1 second' as min_duration,
       case when n % 7 > 0 then n / 3.0::float8 end as share
  from generate_series(1, 1000000) as n";

pub async fn measure(server: &Server, figures: &mut Figures) -> Outcome {
    figures.part("write", "A report of 1,000,000 rows with six columns, written to a file")?;
    let ledger = server.ledger("writing").await?;
    let folder = server.folder();
    std::fs::write(folder.join("many.sql"), MANY)?;
    let output = folder.join("written");
    for format in ["csv", "ndjson", "json", "markdown", "table", "xlsx"] {
        let words = [OsStr::new("report"), OsStr::new("--queries"), folder.as_os_str()];
        let rest = ["many", "--timeout", "1h", "--format", format, "--output"].map(OsStr::new);
        let words = [&words[..], &rest, &[output.as_os_str()]].concat();
        let run = process::run(&words, &ledger.url).await?;
        figures.note(&format!("{format}_seconds"), format, run.took.as_secs_f64(), "s");
        let what = format!("{format}: resident memory, most");
        figures.below(&format!("{format}_memory"), &what, run.memory / 1e6, "MB", 64.0);
        let bytes = std::fs::metadata(&output)?.len() as f64;
        let what = format!("{format}: the file");
        figures.note(&format!("{format}_bytes"), &what, bytes / 1e6, "MB");
    }
    ledger.drop().await
}
