//! Who may ask.

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, HeaderValue, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Lets requests in.
#[derive(Debug)]
pub struct Guard {
    token: Option<SecretString>,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or another one.
    Unauthorized,
    /// It was addressed to another host: a page elsewhere may have had its name point here, to read with the eyes of
    /// whoever sits at this machine.
    OtherHost,
    /// A page of another site sent the browser here, and the browser brings along what it knows: an address that only this
    /// machine reaches, or the password. That page cannot read the answer, but it could have costly questions asked.
    OtherSite,
}

impl Guard {
    /// A guard for this token, or for none.
    #[must_use]
    pub fn new(token: Option<SecretString>) -> Self {
        Self { token }
    }

    pub(super) fn admit(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            let host = headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .or_else(|| uri.authority().map(|host| host.as_str()));
            return if host.is_some_and(is_this_machine) {
                own_site(headers)
            } else {
                Err(Refusal::OtherHost)
            };
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(presented) {
            // Digests are compared, so that the time it takes tells nothing about the token.
            Some(given)
                if Sha256::digest(&given) == Sha256::digest(token.expose_secret().as_bytes()) =>
            {
                own_site(headers)
            }
            _ => Err(Refusal::Unauthorized),
        }
    }
}

/// Whether the browser was sent here by a page of ours or by its user. Programs, and browsers where the address is neither
/// `https` nor this machine, say nothing of it.
fn own_site(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Refusal::OtherSite),
    }
}

/// The user name that came with a password. Nobody has checked it.
pub(super) fn user_said(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(rest.trim()))?;
    let pair = String::from_utf8(pair.ok()?).ok()?;
    let user = pair.split_once(':')?.0.trim();
    (!user.is_empty()).then(|| user.chars().take(100).collect())
}

/// The token of `Bearer TOKEN`, or of `Basic` with any user, as browsers ask for it.
fn presented(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// `localhost`, `127.0.0.1`, `[::1]`, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(token: Option<&str>, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        Guard::new(token.map(SecretString::from)).admit(&map, &Uri::from_static("/"))
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        for host in [
            "localhost",
            "localhost:8090",
            "127.0.0.1:8090",
            "127.1.2.3",
            "[::1]:8090",
            "LOCALHOST",
        ] {
            assert_eq!(admit(None, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8090",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
        ] {
            assert_eq!(admit(None, &[("host", host)]), Err(Refusal::OtherHost), "{host}");
        }
        assert_eq!(admit(None, &[]), Err(Refusal::OtherHost));
    }

    #[test]
    fn a_page_of_another_site_sends_nobody_here() {
        for (site, outcome) in [
            ("same-origin", Ok(())),
            ("none", Ok(())),
            ("cross-site", Err(Refusal::OtherSite)),
            // Another port of this machine, another host of the same domain.
            ("same-site", Err(Refusal::OtherSite)),
            ("", Err(Refusal::OtherSite)),
        ] {
            let headers = [("host", "localhost"), ("sec-fetch-site", site)];
            assert_eq!(admit(None, &headers), outcome, "{site}");
            let headers = [("authorization", "Bearer x"), ("sec-fetch-site", site)];
            assert_eq!(admit(Some("x"), &headers), outcome, "{site}");
        }
    }

    #[test]
    fn a_token_lets_in_and_nothing_else_does() {
        let token = Some("s3cret:with colon");
        assert_eq!(admit(token, &[("authorization", "Bearer s3cret:with colon")]), Ok(()));
        let basic = format!("Basic {}", BASE64_STANDARD.encode("anyone:s3cret:with colon"));
        assert_eq!(admit(token, &[("authorization", &basic)]), Ok(()));
        for wrong in ["", "Bearer", "Bearer x", "Bearer ", "Basic !!", "Digest s3cret:with colon"] {
            assert_eq!(
                admit(token, &[("authorization", wrong), ("host", "localhost")]),
                Err(Refusal::Unauthorized),
                "{wrong}"
            );
        }
    }
}
