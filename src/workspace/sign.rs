//! The vendor's request signature, SDK-HMAC-SHA256, as a pure function.
//!
//! Both ends use it: the client to sign, the simulator to work out again what a client should have
//! signed. It therefore takes whatever headers it is given; which ones are signed is the signer's
//! choice, and the server's to follow.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// The name of the algorithm, as it opens the `Authorization` header and the string to sign.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// How the instant of signing is written in `X-Sdk-Date`.
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Everything except RFC 3986's unreserved characters is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path as on the wire; escapes in it are decoded and written anew.
    pub path: &'a str,
    /// The query's pairs, decoded, in any order.
    pub query: &'a [(String, String)],
    /// The headers to sign, names in any case, in any order.
    pub headers: &'a [(String, String)],
    /// The body; empty where there is none.
    pub body: &'a [u8],
}

impl Parts<'_> {
    /// The request in the one form that both sides hash.
    #[must_use]
    pub fn canonical(&self) -> String {
        let headers = sorted_headers(self.headers);
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.method,
            canonical_path(self.path),
            canonical_query(self.query)
        );
        for (name, value) in &headers {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}:{value}");
        }
        let _ = write!(text, "\n{}\n", names(&headers));
        // A signer that does not hash its body says so in a header, and the word stands in its place.
        match headers.iter().find(|(name, _)| name == "x-sdk-content-sha256") {
            Some((_, value)) if !self.body.is_empty() => text.push_str(value),
            _ => text.push_str(&hex::encode(Sha256::digest(self.body))),
        }
        text
    }

    /// What the secret key is applied to. `date` is the value of `X-Sdk-Date`.
    #[must_use]
    pub fn string_to_sign(&self, date: &str) -> String {
        format!("{ALGORITHM}\n{date}\n{}", hex::encode(Sha256::digest(self.canonical())))
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn authorization(&self, access_key: &str, secret_key: &str, date: &str) -> String {
        let signature = mac(secret_key, &self.string_to_sign(date)).finalize().into_bytes();
        format!(
            "{ALGORITHM} Access={access_key}, SignedHeaders={}, Signature={}",
            names(&sorted_headers(self.headers)),
            hex::encode(signature)
        )
    }

    /// Whether a signature is the one that this secret key gives; takes the same time either way.
    #[must_use]
    pub fn verify(&self, secret_key: &str, date: &str, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|signature| {
            mac(secret_key, &self.string_to_sign(date)).verify_slice(&signature).is_ok()
        })
    }
}

/// What an `Authorization` header of this algorithm claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The access key that is said to have signed.
    pub access_key: String,
    /// The headers that are said to be signed, lower case.
    pub signed_headers: Vec<String>,
    /// The signature in hexadecimal digits.
    pub signature: String,
}

impl Claim {
    /// Reads an `Authorization` header; `None` where it is of another kind or broken.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (mut access_key, mut signed_headers, mut signature) = (None, None, None);
        for field in header.trim().strip_prefix(ALGORITHM)?.split(',') {
            match field.trim().split_once('=')? {
                ("Access", value) => access_key = Some(value.to_owned()),
                ("SignedHeaders", value) => {
                    signed_headers =
                        Some(value.split(';').map(str::to_ascii_lowercase).collect::<Vec<_>>());
                }
                ("Signature", value) => signature = Some(value.to_owned()),
                _ => return None,
            }
        }
        Some(Self {
            access_key: access_key?,
            signed_headers: signed_headers?,
            signature: signature?,
        })
    }
}

/// Writes an instant as `X-Sdk-Date` carries it.
#[must_use]
pub fn format_date(at: DateTime<Utc>) -> String {
    at.format(DATE_FORMAT).to_string()
}

/// Reads an `X-Sdk-Date`.
#[must_use]
pub fn parse_date(text: &str) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(text, DATE_FORMAT).ok().map(|at| at.and_utc())
}

/// The query as it is signed, and as it goes on the wire: sorted, so that nothing in between has a
/// reason to change it.
///
/// Sorted by the texts before they are escaped: that is what the vendor's signers do.
#[must_use]
pub fn canonical_query(pairs: &[(String, String)]) -> String {
    let mut pairs: Vec<&(String, String)> = pairs.iter().collect();
    pairs.sort_unstable();
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        let _ = write!(text, "{}={}", escape(name), escape(value));
    }
    text
}

/// Takes a query on the wire apart. A `+` is a plus: signers write a space as `%20`.
#[must_use]
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn mac(secret_key: &str, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret_key.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac
}

fn escape(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

/// The closing slash belongs to the canonical form only, never to the wire.
fn canonical_path(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut text = String::with_capacity(path.len() + 1);
    for (at, segment) in decoded.split('/').enumerate() {
        if at > 0 {
            text.push('/');
        }
        let _ = write!(text, "{}", escape(segment));
    }
    if !text.ends_with('/') {
        text.push('/');
    }
    text
}

fn sorted_headers(headers: &[(String, String)]) -> Vec<(String, &str)> {
    let mut headers: Vec<(String, &str)> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    headers.sort_unstable();
    headers
}

fn names(headers: &[(String, &str)]) -> String {
    headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn text(value: &Value) -> String {
        value.as_str().unwrap().to_owned()
    }

    #[test]
    fn every_vector_of_the_vendors_signer_is_met() {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/data/signing-vectors.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 10);
        for vector in vectors {
            let name = &vector["name"];
            let query: Vec<(String, String)> = vector["query_pairs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|pair| (text(&pair[0]), text(&pair[1])))
                .collect();
            let headers: Vec<(String, String)> = vector["headers_signed"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect();
            let (method, path) = (text(&vector["method"]), text(&vector["resource_path"]));
            let body = vector["body"].as_str().unwrap_or_default();
            let parts = Parts {
                method: &method,
                path: &path,
                query: &query,
                headers: &headers,
                body: body.as_bytes(),
            };
            let date = text(&vector["x_sdk_date"]);
            assert_eq!(parts.canonical(), text(&vector["canonical_request"]), "{name}");
            assert_eq!(parts.string_to_sign(&date), text(&vector["string_to_sign"]), "{name}");
            let authorization =
                parts.authorization(&text(&vector["ak"]), &text(&vector["sk"]), &date);
            assert_eq!(authorization, text(&vector["authorization"]), "{name}");

            // The wire, and back from it as a server sees it.
            let mut target = path.clone();
            if !query.is_empty() {
                target = format!("{path}?{}", canonical_query(&query));
            }
            assert_eq!(target, text(&vector["wire_request_target"]), "{name}");
            let received = parse_query(target.split_once('?').map_or("", |(_, query)| query));
            let claim = Claim::parse(&authorization).unwrap();
            let received = Parts { query: &received, ..parts };
            assert!(received.verify(&text(&vector["sk"]), &date, &claim.signature), "{name}");
            assert!(!received.verify("another key", &date, &claim.signature), "{name}");
        }
    }

    #[test]
    fn an_authorization_of_another_kind_is_no_claim() {
        for header in ["", "Bearer x", "SDK-HMAC-SHA256", "SDK-HMAC-SHA256 Access=a, Signature=b"] {
            assert_eq!(Claim::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_date_is_read_as_it_is_written() {
        let at = parse_date("20261121T202500Z").unwrap();
        assert_eq!(format_date(at), "20261121T202500Z");
        assert_eq!(parse_date("2026-11-21T20:25:00Z"), None);
    }
}
