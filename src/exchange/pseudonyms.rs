//! Names and ids of persons and desktops, replaced under a key: for those who may see how desktops are used, and not whose.
//!
//! A text gets the same pseudonym wherever it stands, in every export with the same key; without the key nobody can work one
//! out of a name, or try names. What the pseudonyms do not hide is when who was connected.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

use crate::domain::{AttachUser, AttachUsers, Desktop, Failure, Listing, Snapshot};

/// Shorter keys could be guessed.
const SHORTEST_KEY: usize = 32;

/// A key that is too short.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the key has {0} bytes, and needs {SHORTEST_KEY} at least")]
pub struct KeyTooShort(usize);

/// Pseudonyms by what they stand for and by text.
type Known = HashMap<&'static str, HashMap<Box<str>, Arc<str>>>;

/// Replaces names and ids under a key.
pub struct Pseudonyms {
    key: SecretSlice<u8>,
    /// What was worked out already: each snapshot has the same texts again.
    known: Mutex<Known>,
}

/// Without what it knows: names.
impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// Those of a key: all bytes of it, less a line's end.
    ///
    /// # Errors
    /// It is too short.
    pub fn new(key: &[u8]) -> Result<Self, KeyTooShort> {
        let key = key.trim_ascii_end();
        if key.len() < SHORTEST_KEY {
            return Err(KeyTooShort(key.len()));
        }
        Ok(Self { key: key.to_vec().into(), known: Mutex::default() })
    }

    /// What stands for a text; `what` keeps an id and a name that are written alike apart.
    fn of(&self, what: &'static str, text: &str) -> Arc<str> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(what).or_default();
        if let Some(pseudonym) = known.get(text) {
            return Arc::clone(pseudonym);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret())
            .expect("a key may have any length");
        mac.update(what.as_bytes());
        mac.update(b"\0");
        mac.update(text.as_bytes());
        let pseudonym: Arc<str> =
            format!("{what}-{}", hex::encode(&mac.finalize().into_bytes()[..10])).into();
        known.insert(text.into(), Arc::clone(&pseudonym));
        pseudonym
    }

    /// The snapshot under pseudonyms, desktops in the order of theirs. The message of an error may quote anything, and is
    /// left out.
    #[must_use]
    pub fn over(&self, snapshot: &Snapshot) -> Snapshot {
        let desktops = snapshot.desktops.as_ref().map(|listing| {
            let mut desktops: Vec<Desktop> =
                listing.desktops().iter().map(|desktop| self.desktop(desktop)).collect();
            desktops.sort_by(|one, other| one.id.cmp(&other.id));
            Listing::new(desktops)
        });
        let code = |failure: &Failure| failure.code.clone();
        let failure = snapshot.failure.as_ref().and_then(code);
        let failure = failure.map(|code| Failure { code: Some(code), message: None });
        Snapshot { desktops, failure, ..snapshot.clone() }
    }

    fn desktop(&self, desktop: &Desktop) -> Desktop {
        let user = |user: &AttachUser| AttachUser {
            id: user.id.as_deref().map(|id| self.of("id", id)),
            name: user.name.as_deref().map(|name| self.of("user", name)),
            ..user.clone()
        };
        Desktop {
            id: self.of("desktop", &desktop.id),
            name: desktop.name.as_deref().map(|name| self.of("name", name)),
            status: desktop.status.clone(),
            users: AttachUsers::new(desktop.users.entries().iter().map(user).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_pseudonym_for_each_key_and_each_use() {
        let one = Pseudonyms::new(&[b'a'; 32]).expect("long enough");
        let other = Pseudonyms::new(&[b'b'; 32]).expect("long enough");
        let with_line_end = Pseudonyms::new(&[&[b'a'; 32][..], b"\n"].concat()).expect("the same");
        assert_eq!(one.of("user", "alice"), with_line_end.of("user", "alice"));
        assert_ne!(one.of("user", "alice"), other.of("user", "alice"));
        assert_ne!(one.of("user", "alice")[5..], one.of("name", "alice")[5..]);
        assert_eq!(one.of("user", "alice").len(), "user-".len() + 20);
        assert_eq!(Pseudonyms::new(b"secret\n").map(drop), Err(KeyTooShort(6)));
        assert!(!format!("{one:?}").contains("97"), "the key is in no message");
    }
}
