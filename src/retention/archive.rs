//! The files of an archived month.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::Instant;
use crate::domain::digest::Digest;
use crate::domain::retell::{Ends, Standing};
use crate::store::prune::{
    LateLine, ends_from_json, ends_to_json, standing_from_json, standing_to_json,
};

/// The version of manifests.
const VERSION: u32 = 1;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be read or written.
    #[error("`{path}`")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no manifest.
    #[error("`{path}` is no manifest of an archive: {why}")]
    NoManifest {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// It is no file of headers.
    #[error("`{path}` is no archive of headers: {why}")]
    NoHeaders {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
}

impl ArchiveError {
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { path: path.clone(), source }
    }
}

/// An entry of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) sequence: i64,
    pub(super) observed_at: Instant,
    pub(super) digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    deskledger_archive: u32,
    source: String,
    month: String,
    made_at: Instant,
    file: String,
    sha256: String,
    snapshots: i64,
    spans: i64,
    groups: i64,
    first: Option<Place>,
    last: Option<Place>,
    late: Vec<(i64, Option<String>, String)>,
    ends: serde_json::Value,
    standing: serde_json::Value,
}

/// An archived month.
#[derive(Debug)]
pub struct Archive {
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    pub month: Instant,
    /// The file of snapshots.
    pub(super) lines: PathBuf,
    /// Its checksum.
    pub(super) sha256: Digest,
    pub(super) snapshots: i64,
    pub(super) spans: i64,
    pub(super) groups: i64,
    pub(super) first: Option<Place>,
    pub(super) last: Option<Place>,
    pub(super) late: Vec<LateLine>,
    pub(super) ends: Ends,
    pub(super) standing: Option<Standing>,
    /// The checksum of the manifest, which the chain holds.
    pub(super) digest: Digest,
}

impl Archive {
    /// Reads a manifest; or that of a file of snapshots, which lies beside it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, ArchiveError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let path = match name.strip_suffix(ENDING) {
            Some(stem) => path.with_file_name(format!("{stem}.json")),
            None => path.to_owned(),
        };
        let failed = ArchiveError::at(&path);
        // What is no file may never end.
        if !std::fs::metadata(&path).map_err(&failed)?.is_file() {
            return Err(failed(io::Error::other("it is no file")));
        }
        let bytes = std::fs::read(&path).map_err(&failed)?;
        let wrong = |why: &str| ArchiveError::NoManifest {
            path: path.display().to_string(),
            why: why.to_owned(),
        };
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
        if manifest.deskledger_archive != VERSION {
            return Err(wrong("it is of another version"));
        }
        let month = format!("{}-01T00:00:00Z", manifest.month);
        let month = month.parse().map_err(|_| wrong("`month` is none"))?;
        let digest = hex::decode(&manifest.sha256).ok().and_then(|hash| hash.try_into().ok());
        if Path::new(&manifest.file).file_name() != Some(manifest.file.as_ref()) {
            return Err(wrong("`file` is no name of a file beside it"));
        }
        let late = manifest.late.into_iter().map(|(sequence, salt, line)| {
            Some((sequence, salt.map(hex::decode).transpose().ok()?, line))
        });
        Ok(Self {
            source: manifest.source,
            month,
            lines: path.with_file_name(&manifest.file),
            sha256: digest.ok_or_else(|| wrong("`sha256` is none"))?,
            snapshots: manifest.snapshots,
            spans: manifest.spans,
            groups: manifest.groups,
            first: manifest.first,
            last: manifest.last,
            late: late.collect::<Option<_>>().ok_or_else(|| wrong("`late` is none"))?,
            ends: ends_from_json(manifest.ends).ok_or_else(|| wrong("`ends` are none"))?,
            standing: match manifest.standing {
                serde_json::Value::Null => None,
                state => {
                    Some(standing_from_json(state).ok_or_else(|| wrong("`standing` is none"))?)
                }
            },
            digest: Sha256::digest(&bytes).into(),
        })
    }

    /// Removes both files of an archive that nothing was pruned with. One that stays does no harm: no chain names it.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_file(manifest_of(&self.lines));
        let _ = std::fs::remove_file(&self.lines);
    }

    /// Writes the manifest beside the file of snapshots, has both on disk, and reads it back.
    pub(super) fn write(&self, made_at: Instant) -> Result<Self, ArchiveError> {
        let path = manifest_of(&self.lines);
        let failed = ArchiveError::at(&path);
        let text = |path: &Path| {
            path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
        };
        let manifest = Manifest {
            deskledger_archive: VERSION,
            source: self.source.clone(),
            month: self.month.format("%Y-%m").to_string(),
            made_at,
            file: text(&self.lines),
            sha256: hex::encode(self.sha256),
            snapshots: self.snapshots,
            spans: self.spans,
            groups: self.groups,
            first: self.first.clone(),
            last: self.last.clone(),
            late: self
                .late
                .iter()
                .map(|(sequence, salt, line)| {
                    (*sequence, salt.as_ref().map(hex::encode), line.clone())
                })
                .collect(),
            ends: ends_to_json(&self.ends),
            standing: self.standing.as_ref().map_or(serde_json::Value::Null, standing_to_json),
        };
        let mut json =
            serde_json::to_vec_pretty(&manifest).map_err(|error| failed(error.into()))?;
        json.push(b'\n');
        let write = || {
            let mut file = new_file(&path)?;
            file.write_all(&json)?;
            file.sync_all()?;
            // And that it is there.
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(&failed)?;
        let read = Self::read(&path)?;
        let is_same =
            read.ends == self.ends && read.standing == self.standing && read.late == self.late;
        if !is_same || read.digest != <Digest>::from(Sha256::digest(&json)) {
            return Err(failed(io::Error::other("it does not read back as it was written")));
        }
        Ok(read)
    }
}

/// A file that is nobody else's to read: archives name people.
fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// The same for what is not whole yet, in the place of what an end without warning left of one.
pub(super) fn part_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => new_file(path),
    }
}

/// How files of snapshots end.
pub(super) const ENDING: &str = ".ndjson.zst";

fn manifest_of(lines: &Path) -> PathBuf {
    let name = lines.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    lines.with_file_name(format!("{}.json", name.strip_suffix(ENDING).unwrap_or(name)))
}

/// A new file for a source's month; and the one that it is written to until it is whole. No archive is ever written over.
pub(super) fn new_files(
    folder: &Path,
    source: &str,
    month: Instant,
    ending: &str,
) -> (PathBuf, PathBuf) {
    let name: String = source
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
        .collect();
    let stem = format!("{name}-{}", month.format("%Y-%m"));
    let stems = std::iter::once(stem.clone()).chain((2..).map(|nth: u32| format!("{stem}.{nth}")));
    let lines = stems
        .map(|stem| folder.join(format!("{stem}{ending}")))
        .find(|lines| !lines.exists() && !manifest_of(lines).exists())
        .expect("there are more numbers than files");
    (lines, folder.join(format!("{stem}.part{ending}")))
}

/// The checksum of a file.
pub(super) fn sha256_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..read]);
    }
}
