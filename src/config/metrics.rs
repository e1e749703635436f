//! Where a recorder shows its metrics and its health.

use std::net::SocketAddr;

use super::{Config, ConfigError, Located, Place};

/// Where a recorder shows them unless told otherwise: on this machine alone.
pub const METRICS_LISTEN: &str = "127.0.0.1:9464";

/// The word by which nothing is shown.
const OFF: &str = "off";

/// What is configured, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The address; `None`: nothing is shown. Port 0: any that is free.
    pub listen: Option<SocketAddr>,
    /// Somebody has asked for this address: without it a start fails.
    pub is_asked_for: bool,
}

impl Config {
    /// Where the metrics are shown; `flag`: as `[metrics] listen`.
    ///
    /// # Errors
    /// An address that is none.
    pub fn metrics(&self, flag: Option<String>) -> Result<MetricsSettings, ConfigError> {
        let told = flag
            .map(|text| Located::new(text, Place::flag("--metrics-listen")))
            .or_else(|| self.raw.metrics.listen.clone());
        let is_asked_for = told.is_some();
        let listen = match told {
            Some(told) if told.value == OFF => None,
            Some(told) => Some(told.value.parse().map_err(|_| {
                told.refuse(
                    "write an address and a port, `127.0.0.1:9464` or `[::]:9464`, or `off`",
                )
            })?),
            None => Some(METRICS_LISTEN.parse().expect("it is an address")),
        };
        Ok(MetricsSettings { listen, is_asked_for })
    }
}
