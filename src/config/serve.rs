//! Where the reports are served to browsers, and to whom.

use std::net::SocketAddr;
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::secret::resolve;
use super::{Config, ConfigError, Located, Place};

/// Where [`serve`](crate::serve) listens unless told otherwise: on this machine alone.
pub const LISTEN: &str = "127.0.0.1:8090";

/// What is configured, checked.
#[derive(Debug)]
pub struct ServeSettings {
    /// The address; port 0: any that is free.
    pub listen: SocketAddr,
    /// What those who ask have to know; `None`: only this machine may ask.
    pub token: Option<SecretString>,
}

/// What of it the command line says.
#[derive(Debug, Default)]
pub struct ServeFlags {
    /// As `[serve] listen`.
    pub listen: Option<String>,
    /// As `[serve] token`.
    pub token: Option<SecretString>,
}

/// Characters of a token that others than this machine may guess at.
const SHORTEST: usize = 16;

impl Config {
    /// Where and to whom the reports are served.
    ///
    /// # Errors
    /// An address that is none, a secret that cannot be read, or an address beyond this machine without a token.
    pub fn serve(&self, flags: ServeFlags) -> Result<ServeSettings, ConfigError> {
        let listen = flags
            .listen
            .map(|text| Located::new(text, Place::flag("--listen")))
            .or_else(|| self.raw.serve.listen.clone())
            .unwrap_or_else(|| Located::new(LISTEN.to_owned(), Place::flag("--listen")));
        let address: SocketAddr = listen.value.parse().map_err(|_| {
            listen.refuse("write an address and a port: `127.0.0.1:8090`, `[::]:8090`")
        })?;
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let token = flags
            .token
            .map(|token| Located::new(token, Place::flag("--token")))
            .or_else(|| self.raw.serve.token.clone());
        let token = token.map(|token| resolve(&token, &self.environment, folder)).transpose()?;
        if !address.ip().is_loopback() {
            let length = token.as_ref().map(|token| token.expose_secret().chars().count());
            match length {
                None => {
                    return Err(listen.refuse(
                        "others than this machine can reach it: that needs a token, `--token file:PATH`",
                    ));
                }
                Some(..SHORTEST) => {
                    return Err(listen.refuse(
                        "others than this machine can reach it, and guesses are not counted: that needs a token of 16 characters at \
                         least, as `openssl rand -hex 32` makes one",
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(ServeSettings { listen: address, token })
    }
}
