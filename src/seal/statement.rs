//! The statement: what it says, the bytes that are signed, and the file it is kept in.

use serde_json::{Value, json};

use super::key::{PublicKey, SealingKey};
use crate::domain::Instant;
use crate::domain::digest::Digest;

/// The form of the file.
const VERSION: u64 = 1;

/// Where one source's chain stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The source.
    pub source: String,
    /// What it is pinned to.
    pub region: Option<String>,
    /// What it is pinned to.
    pub project_id: Option<String>,
    /// What it is pinned to.
    pub endpoint: Option<String>,
    /// When it was registered.
    pub created_at: Instant,
    /// Its entries.
    pub sequence: i64,
    /// When the newest of them was taken; `None`: there is none.
    pub observed_at: Option<Instant>,
    /// The newest one's digest.
    pub digest: Digest,
}

/// A signed statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// When it was made, by the clock of whoever made it.
    pub made_at: Instant,
    /// Its sources, by name.
    pub heads: Vec<Head>,
    /// Whose signature it bears.
    pub public_key: PublicKey,
    signature: Vec<u8>,
}

/// Why a file is no seal.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// It is something else.
    #[error("it is no seal of deskledger: {0}")]
    Unreadable(String),
    /// A newer deskledger wrote it.
    #[error("it is a seal of version {found}, and this deskledger knows version {VERSION}")]
    Version {
        /// The file's.
        found: u64,
    },
    /// The signature is not that of its content.
    #[error("its signature is not that of its content: it was changed, or never was a seal")]
    Forged,
    /// It is signed, with another key.
    #[error("it is signed with the key {found}, and not with the one that was asked for")]
    OtherKey {
        /// The key that signed it.
        found: String,
    },
}

impl Seal {
    /// Signs where the chains stand.
    #[must_use]
    pub fn sign(key: &SealingKey, made_at: Instant, mut heads: Vec<Head>) -> Self {
        heads.sort_by(|one, other| one.source.cmp(&other.source));
        let signature = key.sign(&message(made_at, &heads));
        Self { made_at, heads, public_key: key.public_key(), signature }
    }

    /// The file's content.
    #[must_use]
    pub fn to_json(&self) -> String {
        let heads = self.heads.iter().map(|head| {
            json!({
                "source": head.source,
                "region": head.region,
                "project_id": head.project_id,
                "endpoint": head.endpoint,
                "created_at": written(head.created_at),
                "sequence": head.sequence,
                "observed_at": head.observed_at.map(written),
                "digest": hex::encode(head.digest),
            })
        });
        let seal = json!({
            "deskledger_seal": VERSION,
            "made_at": written(self.made_at),
            "sources": heads.collect::<Vec<_>>(),
            "public_key": self.public_key.to_string(),
            "signature": hex::encode(&self.signature),
        });
        format!("{seal:#}\n")
    }

    /// Reads a file and checks its signature; against `trusted`, if that is given.
    ///
    /// # Errors
    /// It is no seal, or not one that this key has signed.
    pub fn read(text: &str, trusted: Option<PublicKey>) -> Result<Self, SealError> {
        let seal: Value =
            serde_json::from_str(text).map_err(|error| SealError::Unreadable(error.to_string()))?;
        match seal["deskledger_seal"].as_u64() {
            Some(VERSION) => {}
            Some(found) => return Err(SealError::Version { found }),
            None => return Err(SealError::Unreadable("`deskledger_seal` is missing".to_owned())),
        }
        let heads = seal["sources"].as_array().ok_or_else(|| unreadable("sources"))?;
        let seal = Self {
            made_at: instant(&seal, "made_at")?.ok_or_else(|| unreadable("made_at"))?,
            heads: heads.iter().map(head).collect::<Result<_, _>>()?,
            public_key: text_of(&seal, "public_key")?
                .and_then(|key| key.parse().ok())
                .ok_or_else(|| unreadable("public_key"))?,
            signature: text_of(&seal, "signature")?
                .and_then(|signature| hex::decode(signature).ok())
                .ok_or_else(|| unreadable("signature"))?,
        };
        if !seal.public_key.has_signed(&message(seal.made_at, &seal.heads), &seal.signature) {
            return Err(SealError::Forged);
        }
        match trusted {
            Some(trusted) if trusted != seal.public_key => {
                Err(SealError::OtherKey { found: seal.public_key.to_string() })
            }
            _ => Ok(seal),
        }
    }
}

/// The bytes that are signed: each value so that its end is known, as in the digests.
fn message(made_at: Instant, heads: &[Head]) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    fn maybe<T>(bytes: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
        match value {
            None => bytes.push(0),
            Some(value) => {
                bytes.push(1);
                write(bytes, value);
            }
        }
    }
    let number = |bytes: &mut Vec<u8>, number: i64| bytes.extend(number.to_be_bytes());
    let mut bytes = Vec::new();
    text(&mut bytes, "deskledger.seal.1");
    number(&mut bytes, made_at.timestamp_micros());
    bytes.extend((heads.len() as u64).to_be_bytes());
    for head in heads {
        text(&mut bytes, &head.source);
        for pin in [&head.region, &head.project_id, &head.endpoint] {
            maybe(&mut bytes, pin.as_deref(), text);
        }
        number(&mut bytes, head.created_at.timestamp_micros());
        number(&mut bytes, head.sequence);
        maybe(&mut bytes, head.observed_at.map(|at| at.timestamp_micros()), number);
        bytes.extend(head.digest);
    }
    bytes
}

fn head(head: &Value) -> Result<Head, SealError> {
    let mut digest = [0; 32];
    text_of(head, "digest")?
        .filter(|text| hex::decode_to_slice(text, &mut digest).is_ok())
        .ok_or_else(|| unreadable("digest"))?;
    let owned = |name: &str| Ok(text_of(head, name)?.map(str::to_owned));
    Ok(Head {
        source: owned("source")?.ok_or_else(|| unreadable("source"))?,
        region: owned("region")?,
        project_id: owned("project_id")?,
        endpoint: owned("endpoint")?,
        created_at: instant(head, "created_at")?.ok_or_else(|| unreadable("created_at"))?,
        sequence: head["sequence"].as_i64().ok_or_else(|| unreadable("sequence"))?,
        observed_at: instant(head, "observed_at")?,
        digest,
    })
}

fn text_of<'a>(value: &'a Value, name: &str) -> Result<Option<&'a str>, SealError> {
    match &value[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(unreadable(name)),
    }
}

fn instant(value: &Value, name: &str) -> Result<Option<Instant>, SealError> {
    text_of(value, name)?.map(|text| text.parse().map_err(|_| unreadable(name))).transpose()
}

fn unreadable(name: &str) -> SealError {
    SealError::Unreadable(format!("`{name}` is missing or unreadable"))
}

fn written(at: Instant) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Seal, String) {
        let (key, _) = SealingKey::generate().unwrap();
        let head = |source: &str, sequence| Head {
            source: source.to_owned(),
            region: Some("ap-southeast-3".to_owned()),
            project_id: None,
            endpoint: None,
            created_at: "2026-10-01T00:00:00.000001Z".parse().unwrap(),
            sequence,
            observed_at: (sequence > 0).then(|| "2026-10-05T08:00:00Z".parse().unwrap()),
            digest: [7; 32],
        };
        let made_at = "2026-10-06T00:00:00Z".parse().unwrap();
        let seal = Seal::sign(&key, made_at, vec![head("prod", 3), head("empty", 0)]);
        let text = seal.to_json();
        (seal, text)
    }

    #[test]
    fn a_seal_is_read_as_it_was_written() {
        let (seal, text) = sealed();
        assert_eq!(Seal::read(&text, None), Ok(seal.clone()));
        assert_eq!(Seal::read(&text, Some(seal.public_key)), Ok(seal));
    }

    #[test]
    fn any_change_of_a_seal_is_seen() {
        let (seal, text) = sealed();
        let changes = [
            ("\"sequence\": 3", "\"sequence\": 2"),
            ("0707", "0708"),
            ("\"prod\"", "\"pro\""),
            ("2026-10-05", "2026-10-04"),
            ("2026-10-06", "2026-10-07"),
            ("ap-southeast-3", "ap-southeast-4"),
            ("\"project_id\": null", "\"project_id\": \"\""),
            (".000001Z", ".000002Z"),
        ];
        for (one, other) in changes {
            let changed = text.replacen(one, other, 1);
            assert_ne!(changed, text, "{one}");
            assert_eq!(Seal::read(&changed, None), Err(SealError::Forged), "{one}");
        }
        // Signed anew by someone else: only whoever knows the right key sees it.
        let (forger, _) = SealingKey::generate().unwrap();
        let forged = Seal::sign(&forger, seal.made_at, seal.heads.clone());
        assert!(Seal::read(&forged.to_json(), None).is_ok());
        let found = forger.public_key().to_string();
        let refused = Seal::read(&forged.to_json(), Some(seal.public_key));
        assert_eq!(refused, Err(SealError::OtherKey { found }));
        assert_eq!(
            Seal::read(&text.replace("_seal\": 1", "_seal\": 2"), None),
            Err(SealError::Version { found: 2 })
        );
        assert!(matches!(Seal::read("{}", None), Err(SealError::Unreadable(_))));
    }
}
