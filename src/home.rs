//! The folder that deskledger keeps its own things in: the private PostgreSQL and the spool.
//!
//! It has a room of its own because neither the store nor the configuration may know the other, and both have to
//! find the same place.

use std::path::PathBuf;

use nix::unistd::geteuid;

/// The user's folder, or for root the system's; `None`: the user has no home. `variable` looks into the
/// environment.
pub fn data_home(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The XDG rules: a relative path is invalid and to be ignored.
    let from = |name: &str| variable(name).filter(|path| path.is_absolute());
    // For root a system folder and not /root, which the server's user could not enter.
    if geteuid().is_root() && from("XDG_DATA_HOME").is_none() {
        return Some(PathBuf::from("/var/lib/deskledger"));
    }
    from("XDG_DATA_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("deskledger"))
}
