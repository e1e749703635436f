//! Where lines go: a file, compressed by the ending of its name, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// An opened output. It must be [finished](Output::finish): a compressed file that is only dropped
/// lacks its end.
pub struct Output(Encoder);

enum Encoder {
    Stdout(BufWriter<io::Stdout>),
    Plain(BufWriter<File>),
    Gzip(Box<BufWriter<flate2::write::GzEncoder<File>>>),
    Zstd(BufWriter<zstd::stream::write::Encoder<'static, File>>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Output").finish_non_exhaustive()
    }
}

/// Encoders get chunks of this size: a line is written in many small pieces.
const CHUNK: usize = 256 << 10;

impl Output {
    /// Creates a file (`.gz`: gzip, `.zst`: zstd, else plain), or takes standard output for `-`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self(Encoder::Stdout(BufWriter::with_capacity(CHUNK, io::stdout()))));
        }
        Self::over(File::create(path)?, path)
    }

    /// The same into a file that is there; its name says how.
    ///
    /// # Errors
    /// An encoder cannot be set up.
    pub fn over(file: File, path: &Path) -> io::Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ending.eq_ignore_ascii_case("gz") {
            let encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            return Ok(Self(Encoder::Gzip(Box::new(BufWriter::with_capacity(CHUNK, encoder)))));
        }
        if ending.eq_ignore_ascii_case("zst") {
            let mut encoder =
                zstd::stream::write::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            // So that a damaged archive is found out instead of read wrong.
            encoder.include_checksum(true)?;
            return Ok(Self(Encoder::Zstd(BufWriter::with_capacity(CHUNK, encoder))));
        }
        Ok(Self(Encoder::Plain(BufWriter::with_capacity(CHUNK, file))))
    }

    /// Writes what is left and the end of a compressed file, and waits until a file is on disk.
    ///
    /// # Errors
    /// The last bytes cannot be written.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Encoder::Stdout(mut writer) => writer.flush(),
            Encoder::Plain(writer) => on_disk(&into_inner(writer)?),
            Encoder::Gzip(writer) => on_disk(&into_inner(*writer)?.finish()?),
            Encoder::Zstd(writer) => on_disk(&into_inner(writer)?.finish()?),
        }
    }
}

fn into_inner<W: Write>(writer: BufWriter<W>) -> io::Result<W> {
    writer.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Waits until a file is on disk; a pipe or a device (`/dev/stdout`) has nothing to wait for.
fn on_disk(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::Stdout(writer) => writer.write(buffer),
            Encoder::Plain(writer) => writer.write(buffer),
            Encoder::Gzip(writer) => writer.write(buffer),
            Encoder::Zstd(writer) => writer.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Encoder::Stdout(writer) => writer.flush(),
            Encoder::Plain(writer) => writer.flush(),
            Encoder::Gzip(writer) => writer.flush(),
            Encoder::Zstd(writer) => writer.flush(),
        }
    }
}
