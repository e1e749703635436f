//! The headers of a month's snapshots: into an archive of their own and out of the ledger, and back.
//!
//! The archive is one file, a line for each snapshot. Its checksum is in the source's chain.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::{ArchiveError, new_files, part_file, sha256_of};
use super::month::{
    Outcome, RetentionError, another, blocking, differs, make_folder, source_named,
};
use crate::domain::Instant;
use crate::domain::audit::Visit;
use crate::domain::digest::Digest;
use crate::domain::pruning::{Class, KeptVisit};
use crate::exchange::{Input, Output};
use crate::store::Store;
use crate::store::prune::{Month, Pruned};

/// How its name ends.
const ENDING: &str = ".headers.ndjson.zst";
/// The version of these files.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Top {
    deskledger_headers: u32,
    source: String,
    month: String,
    snapshots: usize,
}

/// Any other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    snapshot_id: i64,
    sequence: i64,
    observed_at: Instant,
    finished_at: Instant,
    scheduled_at: Option<Instant>,
    max_gap: i32,
    desktops_outcome: i16,
    groups_outcome: i16,
    desktops_total: Option<i64>,
    desktops_recorded: Option<i32>,
    groups_recorded: Option<i32>,
    changes: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    body_hash: Option<String>,
    digest: String,
}

impl From<&Visit> for Line {
    fn from(visit: &Visit) -> Self {
        Self {
            snapshot_id: visit.snapshot_id,
            sequence: visit.sequence,
            observed_at: visit.observed_at,
            finished_at: visit.finished_at,
            scheduled_at: visit.scheduled_at,
            max_gap: visit.max_gap,
            desktops_outcome: visit.desktops_outcome,
            groups_outcome: visit.groups_outcome,
            desktops_total: visit.desktops_total,
            desktops_recorded: visit.desktops_recorded,
            groups_recorded: visit.groups_recorded,
            changes: visit.changes,
            error_code: visit.error_code.clone(),
            error_message: visit.error_message.clone(),
            body_hash: visit.body_hash.as_ref().map(hex::encode),
            digest: hex::encode(&visit.digest),
        }
    }
}

impl TryFrom<Line> for Visit {
    type Error = hex::FromHexError;

    fn try_from(line: Line) -> Result<Self, hex::FromHexError> {
        Ok(Self {
            snapshot_id: line.snapshot_id,
            sequence: line.sequence,
            observed_at: line.observed_at,
            finished_at: line.finished_at,
            scheduled_at: line.scheduled_at,
            max_gap: line.max_gap,
            desktops_outcome: line.desktops_outcome,
            groups_outcome: line.groups_outcome,
            desktops_total: line.desktops_total,
            desktops_recorded: line.desktops_recorded,
            groups_recorded: line.groups_recorded,
            changes: line.changes,
            error_code: line.error_code,
            error_message: line.error_message,
            body_hash: line.body_hash.map(hex::decode).transpose()?,
            digest: hex::decode(line.digest)?,
        })
    }
}

/// The archived headers of a month.
#[derive(Debug)]
pub struct Headers {
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    pub month: Instant,
    visits: Vec<Visit>,
    /// The checksum of the file, which the chain holds.
    digest: Digest,
}

impl Headers {
    /// Whether a file is one of headers, by its name.
    #[must_use]
    pub fn are_in(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ENDING))
    }

    /// Reads them.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, ArchiveError> {
        let failed = ArchiveError::at(path);
        // What is no file may never end.
        if !std::fs::metadata(path).map_err(&failed)?.is_file() {
            return Err(failed(std::io::Error::other("it is no file")));
        }
        let wrong = |why: String| ArchiveError::NoHeaders { path: path.display().to_string(), why };
        let mut lines = Input::open(path).map_err(&failed)?.into_reader().lines();
        let cut = |error: std::io::Error| wrong(format!("it was cut off or altered: {error}"));
        let Some(top) = lines.next().transpose().map_err(cut)? else {
            return Err(wrong("it is empty".to_owned()));
        };
        let top: Top = serde_json::from_str(&top).map_err(|error| wrong(error.to_string()))?;
        if top.deskledger_headers != VERSION {
            return Err(wrong("it is of another version".to_owned()));
        }
        let month = format!("{}-01T00:00:00Z", top.month);
        let month = month.parse().map_err(|_| wrong("`month` is none".to_owned()))?;
        let mut visits = Vec::new();
        for line in lines {
            let line: Line = serde_json::from_str(&line.map_err(cut)?)
                .map_err(|error| wrong(format!("line {}: {error}", visits.len() + 2)))?;
            visits.push(Visit::try_from(line).map_err(|error| wrong(error.to_string()))?);
        }
        if visits.len() != top.snapshots {
            return Err(wrong("it has not as many lines as its first one says".to_owned()));
        }
        let digest = sha256_of(path).map_err(&failed)?;
        Ok(Self { source: top.source, month, visits, digest })
    }
}

/// Writes the headers of a month, has them on disk, and reads them back.
fn write(
    folder: &Path,
    month: &Month,
    visits: &[Visit],
) -> Result<(PathBuf, Headers), ArchiveError> {
    let (path, part) = new_files(folder, &month.source, month.month, ENDING);
    let failed = ArchiveError::at(&part);
    let mut output = Output::over(part_file(&part).map_err(&failed)?, &part).map_err(&failed)?;
    let top = Top {
        deskledger_headers: VERSION,
        source: month.source.clone(),
        month: month.month.format("%Y-%m").to_string(),
        snapshots: visits.len(),
    };
    let mut line = |json: serde_json::Result<String>| writeln!(output, "{}", json?);
    line(serde_json::to_string(&top)).map_err(&failed)?;
    for visit in visits {
        line(serde_json::to_string(&Line::from(visit))).map_err(&failed)?;
    }
    output.finish().map_err(&failed)?;
    std::fs::rename(&part, &path).map_err(ArchiveError::at(&path))?;
    let on_disk = || std::fs::File::open(folder)?.sync_all();
    on_disk().map_err(ArchiveError::at(folder))?;
    let read = Headers::read(&path)?;
    if read.visits != visits || read.month != month.month || read.source != month.source {
        return Err(ArchiveError::at(&path)(std::io::Error::other(
            "it does not read back as it was written",
        )));
    }
    Ok((path, read))
}

/// Prunes the headers of a month, of which the rest is pruned; only what comes to its digests may go.
///
/// # Errors
/// The ledger or the archive failed, or what is to go is not what was recorded. Then nothing went.
pub(super) async fn prune(
    store: &Store,
    month: &Month,
    folder: Option<&Path>,
    now: Instant,
) -> Result<Outcome, RetentionError> {
    let visits = store.visits(month).await?;
    check_digests(&visits)?;
    let archived = match folder {
        None => None,
        Some(folder) => {
            make_folder(folder)?;
            let (folder, month, visits) = (folder.to_owned(), month.clone(), visits.clone());
            Some(blocking(move || write(&folder, &month, &visits)).await??)
        }
    };
    let digest = archived.as_ref().map(|(_, headers)| headers.digest);
    Ok(match store.prune_headers(month, &visits, digest, now).await? {
        Pruned::Gone(rows) => Outcome::Gone(rows, archived.map(|(path, _)| path)),
        Pruned::Busy => Outcome::Busy,
    })
}

/// Brings the headers of a month back from their archive; says how many.
///
/// # Errors
/// The ledger failed, or the archive does not say what was recorded. Then nothing came back.
pub async fn restore_headers(
    store: &Store,
    headers: Headers,
    now: Instant,
) -> Result<i64, RetentionError> {
    let Headers { source, month, visits, digest } = headers;
    let source_id = source_named(store, &source).await?;
    let month = Month { source_id, source, month };
    let pruned = store.pruned(&month).await?;
    let Some(pruned) = pruned.into_iter().find(|pruned| pruned.class == Class::Headers) else {
        return Err(RetentionError::HeadersThere {
            source_name: month.source,
            month: month.month.format("%Y-%m").to_string(),
        });
    };
    let kept = store.kept_visits(&month).await?;
    // Ticks are in the digests, and looked at with them.
    let is_other = |(visit, kept): &(&Visit, &KeptVisit)| visit.kept(kept.ticked_at) != **kept;
    if let Some((visit, _)) = visits.iter().zip(&kept).find(is_other) {
        return Err(differs(visit, "it is not the one of which the ledger keeps the digest"));
    }
    if visits.len() != kept.len() {
        return Err(RetentionError::Altered(
            "it does not come to as many snapshots as were pruned",
        ));
    }
    check_digests(&visits)?;
    if pruned.archive != Some(digest) {
        return Err(another(&month, pruned.archive));
    }
    match store.restore_headers(&month, &visits, digest, now).await? {
        true => Ok(pruned.rows),
        false => Err(RetentionError::Busy(month.source)),
    }
}

/// Whether each header comes to its digest, as far as the entry before it is one of these.
fn check_digests(visits: &[Visit]) -> Result<(), RetentionError> {
    for pair in visits.windows(2) {
        let [before, visit] = pair else { continue };
        let Ok(digest) = Digest::try_from(before.digest.as_slice()) else { continue };
        if before.sequence + 1 == visit.sequence
            && visit.entry_digest(&digest, None).is_none_or(|digest| digest[..] != visit.digest[..])
        {
            return Err(differs(visit, "its header does not come to its digest"));
        }
    }
    Ok(())
}
