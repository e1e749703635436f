//! The key that seals are signed with: Ed25519, in a PKCS#8 file in PEM, as `openssl genpkey -algorithm
//! ed25519` writes it too.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Why a key cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is none of ours.
    #[error("it is no Ed25519 key in PKCS#8 and PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    /// The text is no public key.
    #[error("a public key is 64 hexadecimal digits")]
    NoPublicKey,
    /// The machine gives no random numbers.
    #[error("no key could be made: the machine gives no random numbers")]
    NoRandomness,
}

/// The secret half, which signs.
pub struct SealingKey(Ed25519KeyPair);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}

impl SealingKey {
    /// Makes a key; the text is its file's content.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn generate() -> Result<(Self, String), KeyError> {
        let made = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| KeyError::NoRandomness)?;
        let key = Ed25519KeyPair::from_pkcs8(made.as_ref()).map_err(|_| KeyError::NoRandomness)?;
        let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(made.as_ref()));
        Ok((Self(key), pem))
    }

    /// Reads a key's file.
    ///
    /// # Errors
    /// It holds no such key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (_, rest) = text.split_once(BEGIN).ok_or(KeyError::NoKey)?;
        let (body, _) = rest.split_once(END).ok_or(KeyError::NoKey)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| KeyError::NoKey)?;
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_| KeyError::NoKey)
    }

    /// The half that everyone may know.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// The half that checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyError::NoPublicKey)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_made_is_a_key_read() {
        let (key, pem) = SealingKey::generate().unwrap();
        let read = SealingKey::from_pem(&pem).unwrap();
        assert_eq!(key.public_key(), read.public_key());
        assert_eq!(key.public_key().to_string().parse(), Ok(key.public_key()));
        assert!(read.public_key().has_signed(b"x", &key.sign(b"x")));
        assert!(!read.public_key().has_signed(b"y", &key.sign(b"x")));
    }

    /// RFC 8410, section 10.3, wraps this seed so; RFC 8032 has no other form for it.
    #[test]
    fn a_key_of_openssl_is_read() {
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = SealingKey::from_pem(pem).unwrap();
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(key.public_key().to_string(), public);
        for broken in ["", "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----", public] {
            assert_eq!(SealingKey::from_pem(broken).unwrap_err(), KeyError::NoKey);
        }
    }
}
