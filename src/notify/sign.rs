//! The signature of a message, by the Standard Webhooks specification 1.0.0: what its libraries verify.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;

use crate::config::SECRET_PREFIX;

/// How many random bytes a new secret has: as many as the digest.
const SECRET_BYTES: usize = 32;

/// The value of `webhook-signature`: one signature for each secret, so that either verifies while one takes the place of
/// the other. `timestamp` is the value of `webhook-timestamp`: seconds since 1970, of this attempt.
#[must_use]
pub fn signature(secrets: &[SecretSlice<u8>], id: &str, timestamp: i64, body: &str) -> String {
    let signed = secrets.iter().map(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret())
            .expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

/// A new secret, as the configuration and receivers take it.
#[must_use]
pub fn new_secret() -> String {
    let bytes: [u8; SECRET_BYTES] = rand::random();
    format!("{SECRET_PREFIX}{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretSlice<u8> {
        STANDARD.decode(text).unwrap().into()
    }

    /// The values that the libraries of the specification are tested with.
    #[test]
    fn a_signature_is_the_specifications_own_example() {
        let secrets = [secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&secrets, id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_secret_signs() {
        let [one, other] =
            ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"].map(secret);
        let alone = |secret: &SecretSlice<u8>| signature(std::slice::from_ref(secret), "a", 1, "b");
        let both = signature(&[one.clone(), other.clone()], "a", 1, "b");
        assert_eq!(both, format!("{} {}", alone(&one), alone(&other)));
        assert_ne!(new_secret(), new_secret());
    }
}
