//! Who pays for a request: the credential that sources share, its pace and its standing.
//!
//! Limits are per user, and so is the lock after refusals. Several sources with one credential must
//! therefore know of each other, whatever their projects and regions.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::Credentials;
use super::exits::Exits;
use super::guard::Guard;
use super::pace::{MINUTE, Pace};

/// For sibling calls 200 requests a minute and user are documented. The rest is for requests that are
/// on their way for different times, and so come closer to each other than they were sent.
pub const REQUESTS_PER_MINUTE: u32 = 180;

/// What all sources with one credential share.
#[derive(Debug)]
pub struct Account {
    pub(super) pace: Pace,
    pub(super) guard: Guard,
}

impl Account {
    /// An account of its own that sends at most so many requests a minute.
    #[must_use]
    pub fn new(requests_per_minute: u32) -> Self {
        Self::with_window(requests_per_minute, MINUTE)
    }

    /// The same with another length than a minute, for those who cannot wait for one; the waits after
    /// refusals are shortened likewise.
    #[must_use]
    pub fn with_window(requests: u32, window: Duration) -> Self {
        Self { pace: Pace::new(requests, window), guard: Guard::new(window) }
    }

    /// How many requests it sends a minute at most.
    #[must_use]
    pub fn requests_per_minute(&self) -> u32 {
        self.pace.limit()
    }
}

/// The accounts of a process.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: Mutex<HashMap<Key, Shared>>,
    /// Those of the configuration before, while it is not given up yet: with what they know they go on.
    before: Option<HashMap<Key, Shared>>,
    /// The way out that they have in common.
    pub exits: Exits,
}

/// An account, and what those who share it have said of it.
#[derive(Clone, Debug)]
struct Shared {
    account: Arc<Account>,
    /// The smallest limit that one of them asks for.
    requests_per_minute: u32,
    /// What they have for it.
    keys: BTreeSet<Unsaid>,
}

/// A digest that is not shown either: a password may be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Unsaid([u8; 32]);

impl fmt::Debug for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What makes two credentials the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pair(String),
    User {
        iam: Option<String>,
        domain: String,
        user: String,
    },
    /// A digest: a token is a secret.
    Token([u8; 32]),
}

impl Accounts {
    /// The account of a credential. Where several ask for it, the smallest of their limits holds.
    #[must_use]
    pub fn of(
        &self,
        credentials: &Credentials,
        iam_endpoint: Option<&Url>,
        requests_per_minute: u32,
    ) -> Arc<Account> {
        let key = match credentials {
            Credentials::AccessKey { access_key, .. } => Key::Pair(access_key.clone()),
            Credentials::Token(token) => {
                Key::Token(Sha256::digest(token.expose_secret().as_bytes()).into())
            }
            Credentials::Password { user, domain, .. } => Key::User {
                iam: iam_endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()),
                domain: domain.clone(),
                user: user.clone(),
            },
        };
        let secret = match credentials {
            Credentials::AccessKey { secret_key, .. } => secret_key,
            Credentials::Token(token) => token,
            Credentials::Password { password, .. } => password,
        };
        let secret = Unsaid(Sha256::digest(secret.expose_secret().as_bytes()).into());
        let mut accounts = self.lock();
        let before = self.before.as_ref().and_then(|before| before.get(&key));
        let shared = accounts.entry(key).or_insert_with(|| {
            let account = before.map(|before| Arc::clone(&before.account));
            Shared {
                account: account.unwrap_or_else(|| Arc::new(Account::new(requests_per_minute))),
                requests_per_minute,
                keys: BTreeSet::new(),
            }
        });
        shared.requests_per_minute = shared.requests_per_minute.min(requests_per_minute);
        shared.keys.insert(secret);
        // Nothing of what others go on with is changed before it is sure that there is a new configuration.
        if self.before.is_none() {
            shared.account.pace.hold_to(requests_per_minute);
        }
        Arc::clone(&shared.account)
    }

    /// The accounts of another configuration. Those that are in this one too go on, and change with [`Self::begin`].
    #[must_use]
    pub fn renewed(&self) -> Self {
        let before = Some(self.lock().clone());
        Self { accounts: Mutex::default(), before, exits: self.exits.clone() }
    }

    /// The configuration that these belong to holds from here on: its limits, and its secrets. One that is new may be
    /// tried at once, though the one before it was refused.
    pub fn begin(&mut self) {
        let Some(before) = self.before.take() else { return };
        for (key, shared) in &*self.lock() {
            shared.account.pace.hold_to_exactly(shared.requests_per_minute);
            if before.get(key).is_some_and(|before| shared.keys != before.keys) {
                shared.account.guard.try_again();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Shared>> {
        self.accounts.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, password: &str) -> Credentials {
        Credentials::Password { user: name.into(), password: password.into(), domain: "d".into() }
    }

    #[test]
    fn sources_with_one_credential_share_an_account_and_its_smallest_limit() {
        let accounts = Accounts::default();
        let key = |name: &str, secret: &str| Credentials::AccessKey {
            access_key: name.into(),
            secret_key: secret.into(),
            security_token: None,
        };
        let first = accounts.of(&key("A", "x"), None, 100);
        assert!(Arc::ptr_eq(&first, &accounts.of(&key("A", "y"), None, 40)));
        assert!(Arc::ptr_eq(&first, &accounts.of(&key("A", "x"), None, 200)));
        assert_eq!(first.requests_per_minute(), 40);
        assert!(!Arc::ptr_eq(&first, &accounts.of(&key("B", "x"), None, 100)));

        let here: Url = "https://iam.here.example".parse().unwrap();
        let there: Url = "https://iam.there.example".parse().unwrap();
        let first = accounts.of(&user("u", "p"), Some(&here), 1);
        assert!(Arc::ptr_eq(&first, &accounts.of(&user("u", "other"), Some(&here), 1)));
        assert!(!Arc::ptr_eq(&first, &accounts.of(&user("u", "p"), Some(&there), 1)));
        assert!(!Arc::ptr_eq(&first, &accounts.of(&user("v", "p"), Some(&here), 1)));

        let token = |token: &str| Credentials::Token(token.into());
        let first = accounts.of(&token("very-secret"), None, 1);
        assert!(Arc::ptr_eq(&first, &accounts.of(&token("very-secret"), None, 1)));
        assert!(!Arc::ptr_eq(&first, &accounts.of(&token("another"), None, 1)));
        assert!(!format!("{accounts:?}").contains("secret"));
    }
    #[test]
    fn another_configuration_goes_on_with_the_accounts_and_changes_nothing_before_it_holds() {
        let accounts = Accounts::default();
        let key = |secret: &str| Credentials::AccessKey {
            access_key: "A".into(),
            secret_key: secret.into(),
            security_token: None,
        };
        let first = accounts.of(&key("x"), None, 100);
        // Refused: nothing was touched.
        assert!(Arc::ptr_eq(&first, &accounts.renewed().of(&key("y"), None, 10)));
        assert_eq!(first.requests_per_minute(), 100);
        let mut next = accounts.renewed();
        assert!(Arc::ptr_eq(&first, &next.of(&key("x"), None, 300)));
        assert!(Arc::ptr_eq(&first, &next.of(&key("x"), None, 200)));
        next.begin();
        assert_eq!(first.requests_per_minute(), 200);
        // From then on as ever.
        assert_eq!(next.of(&key("x"), None, 50).requests_per_minute(), 50);
        assert!(!format!("{next:?}").contains("\"x\""));
    }
}
