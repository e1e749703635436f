//! One month: into its archive and out of the ledger, and back.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use tokio::sync::mpsc;

use super::archive::{Archive, ArchiveError, ENDING, Place, new_files, part_file, sha256_of};
use super::headers;
use crate::domain::Instant;
use crate::domain::audit::Visit;
use crate::domain::digest::Digest;
use crate::domain::erasure::Veil;
use crate::domain::months::next_month;
use crate::domain::pruning::Class;
use crate::domain::retell::{Retelling, Told, Unlike};
use crate::exchange::{Input, Lines, Output, bare_line, parse_line, write_line};
use crate::store::prune::{Month, Pruned, Stored, Sum};
use crate::store::{Replay, SourceId, Store, StoreError};

/// Why a month was neither pruned nor restored; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive does not say what was recorded.
    #[error(
        "snapshot {snapshot_id} of {observed_at} (entry {sequence}) is another in the archive: {why}"
    )]
    Differs {
        /// The first snapshot that differs.
        snapshot_id: i64,
        /// Its place in the chain.
        sequence: i64,
        /// When it was taken.
        observed_at: String,
        /// What differs.
        why: String,
    },
    /// The archive says more than what was recorded.
    #[error("the archive holds {0}")]
    More(&'static str),
    /// The archive is another than the one that the chain names.
    #[error("the archive was altered: {0}")]
    Altered(&'static str),
    /// The chain names another archive for the month.
    #[error(
        "it is not the archive that the chain of the source names for this month: a later one may have taken its place, it \
         may be of another ledger, or its manifest was altered"
    )]
    Another,
    /// There is nothing to restore.
    #[error("nothing of source `{source_name}` in {month} is pruned")]
    NotPruned {
        /// The source.
        source_name: String,
        /// The month.
        month: String,
    },
    /// What the month is told from is pruned too.
    #[error(
        "the headers of source `{source_name}` in {month} are pruned: restore those first, from the file of headers of that month"
    )]
    HeadersFirst {
        /// The source.
        source_name: String,
        /// The month.
        month: String,
    },
    /// The headers are there.
    #[error("the headers of source `{source_name}` in {month} are there already")]
    HeadersThere {
        /// The source.
        source_name: String,
        /// The month.
        month: String,
    },
    /// The chain names no archive for the month.
    #[error(
        "what is pruned of source `{source_name}` in {month} went without an archive: the chain names none, and nothing proves that this is it"
    )]
    NoArchive {
        /// The source.
        source_name: String,
        /// The month.
        month: String,
    },
    /// There is no such source.
    #[error("there is no source `{0}` in the ledger")]
    NoSource(String),
    /// Someone else is at this source.
    #[error("someone else packs, prunes or restores source `{0}`: try again later")]
    Busy(String),
}

impl RetentionError {
    /// Whether the archive is to blame.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Differs { .. }
                | Self::More(_)
                | Self::Altered(_)
                | Self::Another
                | Self::NoArchive { .. }
        )
    }
}

/// What came of pruning a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many rows went; the manifest of their archive, if they were archived just now.
    Gone(i64, Option<PathBuf>),
    /// Someone else was at the source, or a hold was set meanwhile.
    Busy,
}

/// Prunes a month of `classes`: its headers alone, or what is not its headers. Where its spans are among them, it is told again
/// before, from its archive in `folder`, or without
/// one from the ledger; and only what was told may go.
///
/// # Errors
/// The ledger or the archive failed, or what is to go is not what was told. Then nothing went.
pub async fn prune(
    store: &Store,
    month: &Month,
    classes: &[Class],
    folder: Option<&Path>,
    now: Instant,
) -> Result<Outcome, RetentionError> {
    if classes == [Class::Headers] {
        return headers::prune(store, month, folder, now).await;
    }
    if !classes.contains(&Class::Spans) {
        let archive = store
            .pruned(month)
            .await?
            .into_iter()
            .find_map(|pruned| pruned.archive.filter(|_| pruned.class == Class::Spans));
        let pruned = store.prune(month, classes, None, archive, now).await?;
        return Ok(match pruned {
            Pruned::Gone(rows) => Outcome::Gone(rows, None),
            Pruned::Busy => Outcome::Busy,
        });
    }
    store.split_at(month.source_id, month.month).await?;
    store.split_at(month.source_id, next_month(month.month)).await?;
    let (before, beliefs) = store.standing_before(month).await?;
    let visits = store.visits(month).await?;
    let stored = store.stored(month).await?;
    let late = store.late_lines(month).await?;
    let telling = Retelling::begin(beliefs, &month.source, before.as_ref(), month.month);
    let mut sum = Sum::default();
    let (telling, lines) = match folder {
        None => (tell_stored(store, month, &visits, telling, &mut sum).await?, None),
        Some(folder) => {
            make_folder(folder)?;
            let (lines, part) = new_files(folder, &month.source, month.month, ENDING);
            let part = Part(part);
            write_lines(store, month, &part.0).await?;
            let (told, telling) = {
                let (part, visits) = (part.0.clone(), visits.clone());
                blocking(move || {
                    let mut sum = Sum::default();
                    let telling = tell(&part, &visits, &Veil::default(), telling, |told| {
                        sum.add(&told);
                        true
                    })?;
                    Ok::<_, RetentionError>((sum, telling))
                })
                .await??
            };
            sum = told;
            (telling, Some((lines, part)))
        }
    };
    let ends = stored.ends(&telling);
    let (told, after, _) = telling.finish(&ends);
    sum.add(&told);
    check_sum(month, &sum, &stored)?;
    let archive = match lines {
        None => None,
        Some((lines, part)) => {
            std::fs::rename(&part.0, &lines).map_err(ArchiveError::at(&lines))?;
            let sha256 = sha256_of(&lines).map_err(ArchiveError::at(&lines))?;
            let archive = Archive {
                source: month.source.clone(),
                month: month.month,
                lines,
                sha256,
                snapshots: visits.len().try_into().unwrap_or(i64::MAX),
                spans: sum.spans,
                groups: sum.groups,
                first: visits.first().map(place),
                last: visits.last().map(place),
                late,
                ends,
                standing: before,
                digest: [0; 32],
            };
            Some(blocking(move || archive.write(now)).await??)
        }
    };
    let digest = archive.as_ref().map(|archive| archive.digest);
    let pruned = store.prune(month, classes, Some((&sum, &after)), digest, now).await?;
    Ok(match pruned {
        Pruned::Gone(rows) => Outcome::Gone(rows, archive.map(|archive| archive.lines)),
        Pruned::Busy => {
            // Nothing went, so that nobody will ask for it.
            archive.iter().for_each(Archive::remove);
            Outcome::Busy
        }
    })
}

/// A file that is not whole yet, and gone where it does not become another.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // There is none where it became another; and what cannot be removed the next one takes the place of.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What came of restoring a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// So many rows are back; `None`: they were there, and only its counts came.
    pub rows: Option<i64>,
    /// Its counts are not: those of the next month are pruned, from which they are reckoned.
    pub lacks_counts: bool,
}

/// Brings a month back from its archive, all classes of it that are pruned and can be. Once more: its counts, where the rest
/// came back while those of the next month were away.
///
/// # Errors
/// The ledger failed, the archive cannot be read, or it does not say what was recorded. Then nothing came back.
pub async fn restore(
    store: &Store,
    archive: Archive,
    now: Instant,
) -> Result<Restored, RetentionError> {
    let source_id = source_named(store, &archive.source).await?;
    let month = Month { source_id, source: archive.source.clone(), month: archive.month };
    let pruned = store.pruned(&month).await?;
    if pruned.iter().any(|pruned| pruned.class == Class::Headers) {
        return Err(RetentionError::HeadersFirst {
            source_name: month.source,
            month: month.month.format("%Y-%m").to_string(),
        });
    }
    let classes = restorable(store, &month, pruned.iter().map(|pruned| pruned.class)).await?;
    let lacks_counts = pruned.iter().any(|pruned| !classes.contains(&pruned.class));
    let of = |class: Class| pruned.iter().find(|pruned| pruned.class == class);
    let Some(spans) = of(Class::Spans) else {
        return match of(Class::Rollups) {
            Some(counts) if classes.contains(&Class::Rollups) => {
                if counts.archive != Some(archive.digest) {
                    return Err(another(&month, counts.archive));
                }
                let Some(restoring) = store.begin_restoring(&month, &[Class::Rollups]).await?
                else {
                    return Err(RetentionError::Busy(month.source));
                };
                restoring.commit(None, &Sum::default(), archive.digest, now).await?;
                Ok(Restored { rows: None, lacks_counts: false })
            }
            _ => Err(not_pruned(&month)),
        };
    };
    let beliefs = store.load_beliefs(source_id).await?;
    let visits = store.visits(&month).await?;
    let telling = Retelling::begin(beliefs, &month.source, archive.standing.as_ref(), month.month);
    let Some(mut restoring) = store.begin_restoring(&month, &classes).await? else {
        return Err(RetentionError::Busy(month.source));
    };
    // Who was erased since then does not come back.
    let veil = store.veil(source_id).await?;
    let (sender, mut receiver) = mpsc::channel::<Told>(8);
    let reading = {
        let (lines, veil) = (archive.lines.clone(), veil.clone());
        tokio::task::spawn_blocking(move || {
            let mut batch = Told::default();
            let telling = tell(&lines, &visits, &veil, telling, |told| {
                batch.spans.extend(told.spans);
                batch.groups.extend(told.groups);
                batch.unlisted.extend(told.unlisted);
                batch.spans.len() + batch.groups.len() < AT_ONCE
                    || sender.blocking_send(std::mem::take(&mut batch)).is_ok()
            })?;
            let sha256 = sha256_of(&lines).map_err(ArchiveError::at(&lines))?;
            Ok::<_, RetentionError>((batch, telling, sha256))
        })
    };
    let mut sum = Sum::default();
    while let Some(told) = receiver.recv().await {
        sum.add(&told);
        restoring.add(&told).await?;
    }
    let (rest, telling, sha256) = reading.await.map_err(broken)??;
    let (last, _, _) = telling.finish(&archive.ends);
    for told in [rest, last] {
        sum.add(&told);
        restoring.add(&told).await?;
    }
    // That every snapshot is right says nothing yet of what stood before, and of what ended later.
    if sha256 != archive.sha256 {
        return Err(RetentionError::Altered("its file is not the one that its manifest names"));
    }
    if spans.archive != Some(archive.digest) {
        return Err(another(&month, spans.archive));
    }
    if (sum.spans, sum.groups) != (archive.spans, archive.groups) || sum.spans != spans.rows {
        return Err(RetentionError::Altered("it does not come to as many rows as were pruned"));
    }
    for late in &archive.late {
        let veiled = without_erased(&late.2, &month.source, &veil);
        if !restoring.add_late(late, veiled.as_deref()).await? {
            return Err(RetentionError::Altered(
                "what it says of a late snapshot is not what that said",
            ));
        }
    }
    let mut rows = 0;
    if classes.contains(&Class::Spans) {
        rows += sum.spans;
    }
    if classes.contains(&Class::Groups) {
        rows += sum.groups;
    }
    restoring.commit(archive.standing.as_ref(), &sum, archive.digest, now).await?;
    Ok(Restored { rows: Some(rows), lacks_counts })
}

/// The number of a source.
pub(super) async fn source_named(store: &Store, name: &str) -> Result<SourceId, RetentionError> {
    let sources = store.sources().await?;
    sources
        .into_iter()
        .find_map(|(id, source)| (source.name == name).then_some(id))
        .ok_or_else(|| RetentionError::NoSource(name.to_owned()))
}

/// Why an archive is not the one that the chain names.
pub(super) fn another(month: &Month, named: Option<Digest>) -> RetentionError {
    if named.is_some() {
        return RetentionError::Another;
    }
    RetentionError::NoArchive {
        source_name: month.source.clone(),
        month: month.month.format("%Y-%m").to_string(),
    }
}

pub(super) fn not_pruned(month: &Month) -> RetentionError {
    RetentionError::NotPruned {
        source_name: month.source.clone(),
        month: month.month.format("%Y-%m").to_string(),
    }
}

/// What a late snapshot says without the names of the erased; `None`: it names none.
fn without_erased(line: &str, source: &str, veil: &Veil) -> Option<String> {
    let snapshot = parse_line(line.as_bytes(), TimeDelta::minutes(15)).ok()?.snapshot;
    match veil.over(&snapshot) {
        Cow::Borrowed(_) => None,
        Cow::Owned(veiled) => Some(bare_line(source, &veiled)),
    }
}

/// How many rows are brought back by one statement.
const AT_ONCE: usize = 5_000;

/// The figures of a month are reckoned from the later ones: while those of the next are pruned, its own cannot come back.
async fn restorable(
    store: &Store,
    month: &Month,
    pruned: impl Iterator<Item = Class>,
) -> Result<Vec<Class>, RetentionError> {
    let next = Month { month: next_month(month.month), ..month.clone() };
    let later = store.pruned(&next).await?;
    let is_later_kept = later.iter().all(|pruned| pruned.class != Class::Rollups);
    Ok(pruned
        .filter(|class| match class {
            Class::Spans | Class::Groups => true,
            Class::Rollups => is_later_kept,
            Class::Headers => false,
        })
        .collect())
}

/// Tells a month from a file of snapshots. `take` gets what each filed, and says whether to go on.
fn tell(
    lines: &Path,
    visits: &[Visit],
    veil: &Veil,
    mut telling: Retelling,
    mut take: impl FnMut(Told) -> bool,
) -> Result<Retelling, RetentionError> {
    let open = || Lines::new(Input::open(lines)?, TimeDelta::minutes(15));
    let mut read = open().map_err(ArchiveError::at(lines))?;
    for visit in visits {
        let line = match read.next() {
            None => return Err(differs(visit, "it is not there")),
            Some(Err(error)) => return Err(differs(visit, &error.to_string())),
            Some(Ok(numbered)) => numbered.line,
        };
        let told =
            telling.tell(&veil.over(&line.snapshot), visit).map_err(|why| unlike(visit, &why))?;
        if !take(told) {
            break;
        }
    }
    match read.next() {
        None => Ok(telling),
        Some(Ok(_)) => Err(RetentionError::More("a snapshot more than the ledger")),
        Some(Err(_)) => Err(RetentionError::More("something after its last snapshot")),
    }
}

/// Tells a month from the ledger itself.
async fn tell_stored(
    store: &Store,
    month: &Month,
    visits: &[Visit],
    mut telling: Retelling,
    sum: &mut Sum,
) -> Result<Retelling, RetentionError> {
    let to = next_month(month.month);
    let mut replay = Replay::open(store, month.source_id, Some(month.month), Some(to)).await?;
    for visit in visits {
        let snapshot = replay.next().await?.ok_or_else(|| differs(visit, "it is not there"))?;
        sum.add(&telling.tell(&snapshot, visit).map_err(|why| unlike(visit, &why))?);
    }
    Ok(telling)
}

/// Writes what `export` does, and has it on disk.
async fn write_lines(store: &Store, month: &Month, path: &Path) -> Result<(), RetentionError> {
    let failed = ArchiveError::at(path);
    let to = next_month(month.month);
    let mut replay = Replay::open(store, month.source_id, Some(month.month), Some(to)).await?;
    let file = part_file(path).map_err(&failed)?;
    let mut output = Output::over(file, path).map_err(&failed)?;
    while let Some(snapshot) = replay.next().await? {
        write_line(&mut output, &month.source, None, &snapshot).map_err(&failed)?;
    }
    blocking(move || output.finish()).await?.map_err(&failed)?;
    Ok(())
}

/// Makes the folder where it is not there: for nobody else, since archives name people.
pub(super) fn make_folder(folder: &Path) -> Result<(), ArchiveError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(ArchiveError::at(folder))
}

fn check_sum(month: &Month, told: &Sum, stored: &Stored) -> Result<(), StoreError> {
    if *told == stored.sum {
        return Ok(());
    }
    Err(StoreError::PrunedWrong {
        source_name: month.source.clone(),
        month: month.month.format("%Y-%m").to_string(),
    })
}

fn place(visit: &Visit) -> Place {
    Place {
        sequence: visit.sequence,
        observed_at: visit.observed_at,
        digest: hex::encode(&visit.digest),
    }
}

fn unlike(visit: &Visit, why: &Unlike) -> RetentionError {
    differs(visit, &why.to_string())
}

pub(super) fn differs(visit: &Visit, why: &str) -> RetentionError {
    RetentionError::Differs {
        snapshot_id: visit.snapshot_id,
        sequence: visit.sequence,
        observed_at: visit.observed_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        why: why.to_owned(),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RetentionError> {
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

fn broken(error: tokio::task::JoinError) -> RetentionError {
    StoreError::Inconsistent(format!("it broke off: {error}")).into()
}
