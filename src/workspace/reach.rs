//! Whether an endpoint can be reached at all, before anything is asked there: its name, a connection, and
//! the proxy that requests to it take.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::http::is_loopback;

/// The way to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Requests go through this proxy (`scheme://host:port`, never its password); what lies behind
    /// it cannot be seen from here.
    Proxy(String),
    /// Requests go straight there.
    Direct {
        /// How many addresses the name has.
        addresses: usize,
        /// How long the name took to resolve.
        resolved_in: Duration,
        /// How long the connection took to be made.
        connected_in: Duration,
    },
}

/// Why an endpoint cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// It has no address.
    #[error("the name `{host}` cannot be resolved")]
    Name {
        /// The host.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// No connection is made.
    #[error("no connection to `{host}` on port {port}")]
    Connection {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What the system says of the last address that was tried.
        #[source]
        source: io::Error,
    },
}

/// Looks how an endpoint is reached, and connects to it where no proxy is in between. Nothing is sent.
///
/// # Errors
/// The name has no address, or none of its addresses takes a connection within `patience`.
pub async fn reach(endpoint: &Url, patience: Duration) -> Result<Reach, ReachError> {
    if let Some(proxy) = proxy(endpoint) {
        return Ok(Reach::Proxy(proxy));
    }
    let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = endpoint.port_or_known_default().unwrap_or(443);
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let began = Instant::now();
    let looking =
        async { Ok(lookup_host((host.as_str(), port)).await?.collect::<Vec<SocketAddr>>()) };
    let found = timeout(patience, looking).await;
    let addresses = match found.unwrap_or_else(|_| Err(late())) {
        Ok(addresses) => addresses,
        Err(source) => return Err(ReachError::Name { host, source }),
    };
    let resolved_in = began.elapsed();
    let began = Instant::now();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in &addresses {
        let left = patience.saturating_sub(began.elapsed());
        match timeout(left, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(late())) {
            Ok(_) => {
                let connected_in = began.elapsed();
                return Ok(Reach::Direct { addresses: addresses.len(), resolved_in, connected_in });
            }
            Err(error) => last = error,
        }
    }
    Err(ReachError::Connection { host, port, source: last })
}

/// The proxy of the environment that requests to an endpoint take.
fn proxy(endpoint: &Url) -> Option<String> {
    // The client takes none there either.
    if is_loopback(endpoint) {
        return None;
    }
    taken(&Matcher::from_system(), endpoint)
}

fn taken(matcher: &Matcher, endpoint: &Url) -> Option<String> {
    let intercept = matcher.intercept(&endpoint.as_str().parse().ok()?)?;
    let uri = intercept.uri();
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{}{port}", uri.scheme_str().unwrap_or("http"), uri.host()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let matcher = Matcher::builder()
            .https("http://someone:very-secret@proxy.example:3128")
            .no("inside.example")
            .build();
        let through = |url: &str| taken(&matcher, &url.parse().unwrap());
        assert_eq!(through("https://a.example/").as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(through("https://inside.example/"), None);
        assert_eq!(through("http://a.example/"), None);
    }

    #[tokio::test]
    async fn a_closed_port_and_a_name_without_address_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url: Url = format!("http://127.0.0.1:{port}").parse().unwrap();
        let patience = Duration::from_secs(5);
        let found = reach(&url, patience).await.unwrap();
        assert!(matches!(found, Reach::Direct { addresses: 1, .. }), "{found:?}");
        drop(listener);
        let error = reach(&url, patience).await.unwrap_err();
        assert!(matches!(error, ReachError::Connection { .. }), "{error:?}");
        // Reserved never to exist (RFC 6761).
        let url: Url = "http://nowhere.invalid".parse().unwrap();
        let error = reach(&url, patience).await.unwrap_err();
        assert_eq!(error.to_string(), "the name `nowhere.invalid` cannot be resolved");
    }
}
