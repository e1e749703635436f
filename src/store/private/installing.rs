//! The one command that installs PostgreSQL on this system.

use std::path::Path;

/// Which half of PostgreSQL is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The server and its tools.
    Server,
    /// `psql`.
    Client,
}

/// The command for this system; `major` asks for one version, where the system names its packages by version.
#[must_use]
pub fn command(part: Part, major: Option<u32>) -> String {
    if cfg!(target_os = "macos") {
        return format!("brew install postgresql@{}", major.unwrap_or(18));
    }
    // os-release(5): /etc first, /usr/lib where an image has no /etc of its own.
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(Path::new(path)).ok())
        .unwrap_or_default();
    command_for(&text, part, major)
}

fn command_for(os_release: &str, part: Part, major: Option<u32>) -> String {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']))
            .unwrap_or_default()
    };
    // ID_LIKE lists the relatives, nearest first, so that derivatives need no entry here.
    let mut families = std::iter::once(value("ID")).chain(value("ID_LIKE").split_whitespace());
    families
        .find_map(|family| {
            Some(match (family, part, major) {
                ("debian" | "ubuntu", Part::Server, None) => {
                    "apt-get install postgresql".to_owned()
                }
                ("debian" | "ubuntu", Part::Server, Some(major)) => {
                    format!("apt-get install postgresql-{major}")
                }
                ("debian" | "ubuntu", Part::Client, _) => {
                    "apt-get install postgresql-client".to_owned()
                }
                ("fedora" | "rhel" | "centos", Part::Server, None) => {
                    "dnf install postgresql-server".to_owned()
                }
                ("fedora", Part::Server, Some(major)) => {
                    format!("dnf install postgresql{major}-server")
                }
                ("rhel" | "centos", Part::Server, Some(major)) => {
                    format!("dnf module install postgresql:{major}/server")
                }
                ("fedora" | "rhel" | "centos", Part::Client, _) => {
                    "dnf install postgresql".to_owned()
                }
                // Arch has one version at a time; its older ones are packaged as `postgresql-old-upgrade`.
                ("arch", Part::Server, _) => "pacman -S postgresql".to_owned(),
                ("arch", Part::Client, _) => "pacman -S postgresql-libs".to_owned(),
                ("alpine", Part::Server, major) => {
                    format!("apk add postgresql{}", major.unwrap_or(17))
                }
                ("alpine", Part::Client, _) => "apk add postgresql-client".to_owned(),
                ("opensuse" | "suse" | "sles", Part::Server, None) => {
                    "zypper install postgresql-server".to_owned()
                }
                ("opensuse" | "suse" | "sles", Part::Server, Some(major)) => {
                    format!("zypper install postgresql{major}-server")
                }
                ("opensuse" | "suse" | "sles", Part::Client, _) => {
                    "zypper install postgresql".to_owned()
                }
                _ => return None,
            })
        })
        .unwrap_or_else(|| match part {
            Part::Server => {
                "your package manager (package postgresql or postgresql-server)".to_owned()
            }
            Part::Client => "your package manager (package postgresql-client)".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_gets_its_own_command() {
        for (os_release, expected) in [
            ("ID=debian\n", "apt-get install postgresql"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install postgresql"),
            ("ID=fedora\n", "dnf install postgresql-server"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install postgresql-server"),
            ("ID=arch\n", "pacman -S postgresql"),
            ("ID=alpine\n", "apk add postgresql17"),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", "zypper install postgresql-server"),
        ] {
            assert_eq!(command_for(os_release, Part::Server, None), expected);
        }
    }

    #[test]
    fn a_version_is_named_where_packages_have_one() {
        assert_eq!(
            command_for("ID=ubuntu\n", Part::Server, Some(16)),
            "apt-get install postgresql-16"
        );
        assert_eq!(
            command_for("ID=ubuntu\n", Part::Client, None),
            "apt-get install postgresql-client"
        );
    }

    #[test]
    fn an_unknown_system_still_gets_a_package_to_look_for() {
        assert!(command_for("ID=plan9\n", Part::Server, None).contains("package postgresql"));
    }
}
