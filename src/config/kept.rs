//! Where secrets are kept, for whoever wants to know who else may read them.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::{Config, Located, Origin};

/// Where a configuration keeps its secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The keys whose secrets stand in the configuration file itself.
    pub in_file: Vec<String>,
    /// The files that secrets are read from.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Where the configuration keeps its secrets.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let folder = self.file.as_deref().and_then(std::path::Path::parent);
        let folder = folder.unwrap_or(std::path::Path::new(""));
        let auths = self.raw.sources.iter().filter_map(|source| source.value.auth.as_ref());
        let secrets = auths
            .map(|auth| &auth.value)
            // A user's and an account's names are no secrets, and neither is a key's id.
            .flat_map(|auth| [&auth.secret_key, &auth.security_token, &auth.token, &auth.password])
            .chain([&self.raw.database.url, &self.raw.serve.token])
            .chain(
                self.raw
                    .webhooks
                    .iter()
                    .map(|webhook| &webhook.value)
                    .flat_map(|webhook| [&webhook.secret, &webhook.previous_secret]),
            )
            .flatten();
        let mut kept = Kept::default();
        for secret in secrets {
            let value = secret.value.expose_secret();
            if let Some(path) = value.strip_prefix("file:") {
                kept.files.push(folder.join(path));
            } else if matches!(secret.place.origin, Origin::File { .. }) && is_secret(secret) {
                kept.in_file.push(secret.place.key.clone());
            }
        }
        kept
    }
}

/// Whether the text itself is a secret: a URL is one if there is a password in it.
fn is_secret(secret: &Located<SecretString>) -> bool {
    let value = secret.value.expose_secret();
    if value.starts_with("env:") {
        return false;
    }
    if !secret.place.key.ends_with("url") {
        return true;
    }
    let authority = value.split_once("://").map_or(value, |(_, rest)| rest);
    let user = authority.split('/').next().and_then(|part| part.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':')) || value.contains("password=")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags};

    #[test]
    fn secrets_are_found_where_they_are_kept() {
        let text = "
            [database]
            url = 'postgres://someone:very-secret@db/ledger'
            [[source]]
            name = 'a'
            auth = { access_key = 'AK', secret_key = 'file:keys/sk' }
            [[source]]
            name = 'b'
            auth = { user = 'u', password = 'env:PASSWORD', domain = 'd' }
            [[source]]
            name = 'c'
            auth = { token = 'very-secret' }
            [serve]
            token = 'file:keys/serve'";
        let path = Path::new("/etc/deskledger.toml");
        let load = |text: &str| {
            let environment = Environment::of(&[]);
            Config::from_text(text, path, &Flags::default(), environment).unwrap().kept()
        };
        let kept = load(text);
        assert_eq!(kept.in_file, ["source.c.auth.token", "database.url"]);
        assert_eq!(kept.files, [Path::new("/etc/keys/sk"), Path::new("/etc/keys/serve")]);
        let kept = load("[serve]\ntoken = 'sixteen-and-more-of-them'");
        assert_eq!(kept.in_file, ["serve.token"]);
        let kept = load("[database]\nurl = 'postgres://someone@db/ledger'");
        assert_eq!(kept, Kept::default());
    }
}
