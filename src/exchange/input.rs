//! Where lines come from: a file or standard input, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the reader asks the system for at a time.
const CHUNK: usize = 256 << 10;

/// How far reading has come, in bytes of the file as it lies on disk. Clones see the same number.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Progress {
    /// Bytes read, compressed if the file is.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The file's size; `None` for standard input, pipes and the like.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

/// An opened input, decompressed on the fly.
pub struct Input {
    name: String,
    progress: Progress,
    bytes: Box<dyn BufRead + Send>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// Opens a file, or standard input for `-`.
    ///
    /// Compression is recognised by the first bytes, never by the name: what comes through a pipe has
    /// none. Files put together from several compressed ones are read to their end.
    ///
    /// # Errors
    /// The file cannot be opened or its first bytes cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::from_reader("standard input", io::stdin(), None);
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let total = metadata.is_file().then_some(metadata.len());
        Self::from_reader(&path.display().to_string(), file, total)
    }

    /// Reads from anything; `name` stands for it in messages.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn from_reader(
        name: &str,
        reader: impl Read + Send + 'static,
        total: Option<u64>,
    ) -> io::Result<Self> {
        let progress = Progress { total, ..Progress::default() };
        let mut counted = Counted { inner: reader, read: Arc::clone(&progress.read) };
        let mut magic = Vec::with_capacity(4);
        counted.by_ref().take(4).read_to_end(&mut magic)?;
        let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
        // Skippable frames (as pzstd and seekable archives begin with) have magics of their own.
        let is_zstd = magic == [0x28, 0xb5, 0x2f, 0xfd]
            || (magic.len() == 4 && magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18]);
        let raw = BufReader::with_capacity(CHUNK, Cursor::new(magic).chain(counted));
        let bytes: Box<dyn BufRead + Send> = if is_gzip {
            Box::new(BufReader::with_capacity(CHUNK, flate2::bufread::MultiGzDecoder::new(raw)))
        } else if is_zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
            Box::new(BufReader::with_capacity(CHUNK, decoder))
        } else {
            Box::new(raw)
        };
        Ok(Self { name: name.to_owned(), progress, bytes })
    }

    /// The path, or `standard input`, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far reading has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The decompressed bytes, of what is no file of snapshots.
    #[must_use]
    pub fn into_reader(self) -> impl BufRead + Send {
        self.bytes
    }

    /// The name and the decompressed bytes.
    pub(super) fn into_parts(self) -> (String, Box<dyn BufRead + Send>) {
        (self.name, self.bytes)
    }
}

struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
