//! `deskledger psql`: a psql shell on the ledger.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::store::private::Private;
use crate::store::private::installing::{self, Part};

/// Open a psql shell on the ledger.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// On the private server as its owner, who may change and drop everything; without it as one who may read. Of a
    /// configured database the login decides
    #[arg(long)]
    pub write: bool,
    /// Arguments for psql, after `--`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// The database to open.
#[derive(Debug)]
pub enum Target<'a> {
    /// The configured one.
    Url(&'a str),
    /// The private one, kept running for as long as psql runs.
    Private(&'a Private),
}

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PsqlError {
    /// No psql: archives of the server often come without it.
    #[error("find psql on this system: install it with `{0}`")]
    Missing(String),
    /// It is there and does not run.
    #[error("run `{}`", .program.display())]
    Run {
        /// The psql that was tried.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Runs psql on the ledger, in this terminal, and gives its exit code.
///
/// # Errors
///
/// When there is no psql, or it does not run.
pub async fn run(target: Target<'_>, args: &Args) -> Result<u8, PsqlError> {
    let (url, folder) = match target {
        Target::Url(url) => (Cow::Borrowed(url), None),
        Target::Private(private) if args.write => {
            (Cow::Owned(private.url()), Some(private.bin_dir()))
        }
        Target::Private(private) => (Cow::Owned(private.reading_url()), Some(private.bin_dir())),
    };
    let program =
        find(folder).ok_or_else(|| PsqlError::Missing(installing::command(Part::Client, None)))?;
    let failed = |source| PsqlError::Run { program: program.clone(), source };
    let (url, password) = for_libpq(&url);
    let mut command = Command::new(&program);
    // As an option and not an operand: operands of the user's own then still mean what psql's manual says.
    command.arg("--dbname").arg(url).args(&args.arguments);
    if let Some(password) = password {
        // Everybody on the machine may read arguments; the environment is the user's own.
        command.env("PGPASSWORD", password);
    }
    if let Target::Private(private) = target {
        // For `\! pg_dump` and the like: the server is there only while psql is.
        command.envs(for_children(private, args.write));
    }
    // Ctrl-C is for psql, which cancels its query: we must be there to release the server when it ends.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut child = command.spawn().map_err(failed)?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(failed)?,
            _ = interrupts.recv() => {}
        }
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// What programs that psql starts need to find the private server, and its own programs first.
fn for_children(private: &Private, is_owner: bool) -> Vec<(&'static str, OsString)> {
    let options = if is_owner { private.connect_options() } else { private.reading_options() };
    let socket = options.get_socket().map(|folder| folder.as_os_str().to_owned());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(private.bin_dir().to_owned()).chain(std::env::split_paths(&path));
    let mut variables = vec![
        ("PGHOST", socket.unwrap_or_default()),
        ("PGPORT", options.get_port().to_string().into()),
        ("PGUSER", options.get_username().into()),
        ("PGDATABASE", options.get_database().unwrap_or_default().into()),
    ];
    // A folder with a colon in its name cannot be in PATH: then the system's programs have to do.
    variables.extend(std::env::join_paths(folders).ok().map(|path| ("PATH", path)));
    variables
}

/// The psql that belongs to the server, else the first in PATH.
fn find(folder: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    folder
        .map(Path::to_owned)
        .into_iter()
        .chain(on_path)
        .map(|folder| folder.join("psql"))
        .find(|file| file.is_file())
}

/// The URL as libpq reads it, and the password apart.
///
/// sqlx also takes `ssl-mode` and the like, with hyphens, and `statement-cache-capacity`; libpq stops at any key that
/// it does not know.
fn for_libpq(url: &str) -> (String, Option<String>) {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("postgresql", rest));
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, mut password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password))),
        None => (login, None),
    };
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "password" => password = Some(decoded(value)),
            "statement-cache-capacity" => {}
            "ssl-mode" | "ssl-root-cert" | "ssl-ca" | "ssl-cert" | "ssl-key" => {
                let key =
                    if key == "ssl-ca" { "sslrootcert".to_owned() } else { key.replace('-', "") };
                pairs.push(format!("{key}={value}"));
            }
            _ => pairs.push(pair.to_owned()),
        }
    }
    let at = if user.is_empty() { "" } else { "@" };
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    (format!("{scheme}://{user}{at}{host}{path}{query}"), password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_becomes_an_argument() {
        for (url, expected) in [
            ("postgres://me:s%40cret@db:5432/x", "postgres://me@db:5432/x"),
            ("postgres://me:s@cret@db:5432/x", "postgres://me@db:5432/x"),
            (
                "postgres://me@db/x?password=s%40cret&sslmode=require",
                "postgres://me@db/x?sslmode=require",
            ),
        ] {
            let (url, password) = for_libpq(url);
            assert_eq!(url, expected);
            assert_eq!(password.as_deref(), Some("s@cret"));
        }
    }

    #[test]
    fn keys_that_only_the_driver_knows_are_translated() {
        assert_eq!(
            for_libpq(
                "postgres://db/x?ssl-mode=verify-full&ssl-ca=/ca.pem&statement-cache-capacity=0"
            ),
            ("postgres://db/x?sslmode=verify-full&sslrootcert=/ca.pem".to_owned(), None)
        );
        let socket = "postgresql://deskledger@%2Ftmp%2Fs:5432/deskledger";
        assert_eq!(for_libpq(socket), (socket.to_owned(), None));
    }
}
