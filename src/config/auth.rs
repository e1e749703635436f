//! How a source is allowed in: exactly one kind, and all of it.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::raw::{RawAuth, Table as _};
use super::secret::resolve;
use super::{Auth, ConfigError, Environment, Located, Origin};

/// What a key is called by whoever gives it: in the environment the keys are variables.
fn called(key: &str, origin: &Origin) -> String {
    let variable = || {
        let key = RawAuth::KEYS.iter().find(|known| known.name == key);
        key.and_then(|key| key.variables.first()).expect("each of these has a variable")
    };
    match origin {
        Origin::Flag | Origin::File { .. } => format!("`{key}`"),
        Origin::Environment => (*variable()).to_owned(),
    }
}

pub(super) fn check(
    Located { value: raw, place }: &Located<RawAuth>,
    environment: &Environment,
    folder: &Path,
) -> Result<Auth, ConfigError> {
    let read = |secret: &Located<SecretString>| resolve(secret, environment, folder);
    let kinds = [
        raw.access_key.is_some() || raw.secret_key.is_some() || raw.security_token.is_some(),
        raw.token.is_some(),
        raw.user.is_some() || raw.password.is_some() || raw.domain.is_some(),
    ];
    let given = [
        ("access_key", raw.access_key.is_some()),
        ("secret_key", raw.secret_key.is_some()),
        ("security_token", raw.security_token.is_some()),
        ("token", raw.token.is_some()),
        ("user", raw.user.is_some()),
        ("password", raw.password.is_some()),
        ("domain", raw.domain.is_some()),
    ];
    let named = |is_meant: &dyn Fn(&str, bool) -> bool, between: &str| {
        let meant = given.iter().filter(|(key, is_given)| is_meant(key, *is_given));
        let names: Vec<_> = meant.map(|(key, _)| called(key, &place.origin)).collect();
        names.join(between)
    };
    let lacking = |keys: &[&str]| {
        let is_lacking = |key: &str, is_given: bool| keys.contains(&key) && !is_given;
        format!("add {}", named(&is_lacking, " and "))
    };
    let wrong = |found: &str, advice: String| {
        let allowed = "allowed is exactly one of: `access_key` and `secret_key` (and `security_token`); \
                       `token`; `user`, `password` and `domain`";
        place.clash(found, allowed, advice)
    };
    match kinds {
        [true, false, false] => {
            let (Some(access_key), Some(secret_key)) = (&raw.access_key, &raw.secret_key) else {
                return Err(wrong("half a pair of keys", lacking(&["access_key", "secret_key"])));
            };
            Ok(Auth::Keys {
                access_key: read(access_key)?,
                secret_key: read(secret_key)?,
                security_token: raw.security_token.as_ref().map(read).transpose()?,
            })
        }
        [false, true, false] => {
            let token = raw.token.as_ref().expect("its kind was found");
            Ok(Auth::Token(read(token)?))
        }
        [false, false, true] => {
            let (Some(user), Some(password), Some(domain)) =
                (&raw.user, &raw.password, &raw.domain)
            else {
                return Err(wrong("an incomplete user", lacking(&["user", "password", "domain"])));
            };
            Ok(Auth::Password {
                user: read(user)?.expose_secret().to_owned(),
                password: read(password)?,
                domain: read(domain)?.expose_secret().to_owned(),
            })
        }
        [false, false, false] => Err(wrong("empty", lacking(&["access_key", "secret_key"]))),
        _ => {
            let given = named(&|_, is_given| is_given, ", ");
            let advice = format!("take out all but one kind; given are {given}");
            Err(wrong("several kinds at once", advice))
        }
    }
}
