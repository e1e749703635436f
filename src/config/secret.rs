//! The environment, and secrets that are kept elsewhere.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::{ConfigError, Located, Place, SecretError};

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Environment variables: the process's, or a test's own.
pub struct Environment(Box<Lookup>);

impl fmt::Debug for Environment {
    // Variables hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment {
    /// The variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// Only these variables.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self(Box::new(move |wanted| {
            let found = variables.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        }))
    }

    /// A variable; one that is set to nothing counts as not set, as compose files leave them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, name: &str) -> Option<Located<String>> {
        self.get(name).map(|value| Located::new(value, Place::environment(name)))
    }

    pub(super) fn secret(&self, name: &str) -> Option<Located<SecretString>> {
        self.get(name).map(|value| Located::new(value.into(), Place::environment(name)))
    }
}

/// The secret itself: `env:NAME` and `file:PATH` are looked up, anything else is it.
pub(super) fn resolve(
    secret: &Located<SecretString>,
    environment: &Environment,
    folder: &Path,
) -> Result<SecretString, ConfigError> {
    let value = secret.value.expose_secret();
    let found = if let Some(name) = value.strip_prefix("env:") {
        environment.get(name).ok_or_else(|| SecretError::Unset(name.to_owned()))
    } else if let Some(path) = value.strip_prefix("file:") {
        let path = folder.join(path);
        std::fs::read_to_string(&path)
            // Editors and `echo` end a file with a line end that is no part of the secret.
            .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|source| SecretError::File { path: path.display().to_string(), source })
    } else {
        Ok(value.to_owned())
    };
    found
        .and_then(|value| if value.is_empty() { Err(SecretError::Empty) } else { Ok(value.into()) })
        .map_err(|source| ConfigError::Secret { place: secret.place.clone(), source })
}
