//! Who we are to the cloud: the project that a region means for a credential, and the credential as the
//! identity service sees it.

use super::auth::shorten;
use super::run::Run;
use super::{ApiError, Client, ClientConfig, ConfigError, Credentials};
use crate::domain::Instant;

/// Why a region's project is not known.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// It cannot be asked for.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The identity service did not say.
    #[error("{}", .0.to_failure().message.unwrap_or_default())]
    Api(ApiError),
    /// It is not one project.
    #[error(
        "the identity service lists {} for region `{region}`, where exactly one enabled project is expected: set `project_id`",
        list(.found)
    )]
    NotOne {
        /// The region.
        region: String,
        /// The ids of the enabled projects with its name.
        found: Vec<String>,
    },
}

/// Who a client asks as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever an access key belongs to.
    AccessKey {
        /// The start of the key's id.
        starts: String,
        /// Whether it came with a security token.
        is_temporary: bool,
    },
    /// Whoever obtained the token.
    Token,
    /// A user, let in by the identity service.
    User {
        /// The user's name.
        user: String,
        /// The account that the user belongs to.
        domain: String,
        /// When the token in use dies.
        expires_at: Instant,
    },
}

/// Looks up the project of a region: the one that has its name. `config.project_id` is not used.
///
/// # Errors
/// The identity service cannot be asked, refuses, or lists none or several.
pub async fn find_project(config: &ClientConfig, region: &str) -> Result<String, ProjectError> {
    config.credentials.check().map_err(ConfigError::from)?;
    let iam = config.iam()?;
    let run = Run::starting_now(config.limits());
    let found = match config.credentials {
        Credentials::Password { .. } => iam.project_of_token(&run, region).await,
        Credentials::AccessKey { .. } | Credentials::Token(_) => iam.projects(&run, region).await,
    };
    let mut found = found.map_err(ProjectError::Api)?;
    match (found.pop(), &found[..]) {
        (Some(only), []) => Ok(only),
        (last, _) => {
            found.extend(last);
            Err(ProjectError::NotOne { region: region.to_owned(), found })
        }
    }
}

impl Client {
    /// Who it asks as. With a password, the identity service is asked for a token, unless there is a
    /// good one.
    ///
    /// # Errors
    /// No token was given.
    pub async fn who(&self) -> Result<Who, ApiError> {
        let run = Run::starting_now(self.config.limits());
        Ok(match &self.config.credentials {
            Credentials::AccessKey { access_key, security_token, .. } => Who::AccessKey {
                starts: shorten(access_key),
                is_temporary: security_token.is_some(),
            },
            Credentials::Token(_) => Who::Token,
            Credentials::Password { user, domain, .. } => Who::User {
                user: user.clone(),
                domain: domain.clone(),
                expires_at: self
                    .transport
                    .token(&run)
                    .await?
                    .expect("a password is exchanged for one")
                    .issued
                    .expires_at,
            },
        })
    }

    /// The project that is asked for.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.config.project_id
    }
}

fn list(found: &[String]) -> String {
    match found {
        [] => "no project".to_owned(),
        found => format!("{} projects ({})", found.len(), found.join(", ")),
    }
}
