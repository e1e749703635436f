//! Who pays for a request: the credential that sources share, its pace and its standing.
//!
//! Limits are per user, and so is the lock after refusals. Several sources with one credential must
//! therefore know of each other, whatever their projects and regions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
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
    accounts: Mutex<HashMap<Key, Arc<Account>>>,
    /// The way out that they have in common.
    pub exits: Exits,
}

/// What makes two credentials the same.
#[derive(Debug, PartialEq, Eq, Hash)]
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
        let mut accounts = self.accounts.lock().expect("nobody panics while holding it");
        let account =
            accounts.entry(key).or_insert_with(|| Arc::new(Account::new(requests_per_minute)));
        account.pace.hold_to(requests_per_minute);
        Arc::clone(account)
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
}
