//! What is wanted: flags, else variables, else questions, where somebody is there to answer.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dialoguer::{Input, Password, Select};
use secrecy::{ExposeSecret as _, SecretString};

use super::files::NewFile;
use super::{Args, AuthArgs};
use crate::config::Flags;
use crate::error::{usage, with_hint};

/// A secret, and where the configuration has it.
#[derive(Clone, Debug)]
pub(super) enum Secret {
    /// `env:NAME` or `file:PATH`.
    At(String),
    /// The text itself: it goes into this file beside the configuration; `None`: into the configuration.
    Typed { text: SecretString, file: Option<String> },
}

/// How the source is allowed in.
#[derive(Debug)]
pub(super) enum Auth {
    Keys { access_key: String, secret_key: Secret, security_token: Option<Secret> },
    Token(Secret),
    User { user: String, password: Secret, domain: String },
}

/// All that the configuration says.
#[derive(Debug)]
pub(super) struct Answers {
    pub name: String,
    pub region: Option<String>,
    pub project_id: Option<String>,
    pub endpoint: Option<String>,
    pub iam_endpoint: Option<String>,
    pub allow_http: bool,
    pub interval: String,
    pub auth: Auth,
    pub database_url: Option<Secret>,
    pub data_dir: Option<String>,
}

impl Answers {
    /// Takes what is given, and asks for the rest.
    ///
    /// # Errors
    /// Something is missing, and nobody is there to be asked; or a secret stands on the command line.
    pub fn of(args: Args, flags: &Flags) -> anyhow::Result<Self> {
        let person =
            Person { is_there: std::io::stdin().is_terminal() && std::io::stderr().is_terminal() };
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let (endpoint, mut region) = (given(args.endpoint), given(args.region));
        if region.is_none() && endpoint.is_none() {
            let asked = person.asks(
                "Region",
                Some("ap-southeast-3"),
                "--region (or --endpoint and --project-id)",
            )?;
            region = Some(asked);
        }
        let mut project_id = given(args.project_id);
        if project_id.is_none() && region.is_none() {
            project_id = Some(person.asks("Project", None, "--project-id")?);
        } else if project_id.is_none() && person.is_there {
            // With one project in the region, there is nothing to know.
            project_id = given(Some(person.may_answer("Project (nothing: the region's one)")?));
        }
        let by_default = region.clone().unwrap_or_else(|| "default".to_owned());
        let name = match given(args.name) {
            Some(name) => name,
            None if person.is_there => {
                person.asks("Name of this source in the ledger", Some(&by_default), "--name")?
            }
            None => by_default,
        };
        let keeping = Keeping { is_inside: args.secrets_inside, source: &name };
        let auth = Auth::of(args.auth, &person, &keeping)?;
        let database_url = flags.database_url.as_ref().map(|url| keeping.url(url));
        Ok(Self {
            auth,
            database_url,
            data_dir: flags.data_dir.as_ref().map(|path| path.display().to_string()),
            name,
            region,
            project_id,
            endpoint,
            iam_endpoint: given(args.iam_endpoint),
            allow_http: args.allow_http,
            interval: args.interval,
        })
    }

    /// The files that secrets go into.
    pub fn secret_files(&self, folder: &Path) -> Vec<NewFile> {
        let of_auth = match &self.auth {
            Auth::Keys { secret_key, security_token, .. } => {
                [Some(secret_key), security_token.as_ref()]
            }
            Auth::Token(secret) | Auth::User { password: secret, .. } => [Some(secret), None],
        };
        let secrets = of_auth.into_iter().chain([self.database_url.as_ref()]).flatten();
        let files = secrets.filter_map(|secret| match secret {
            Secret::Typed { text, file: Some(file) } => Some(NewFile {
                path: folder.join(file),
                text: format!("{}\n", text.expose_secret()),
            }),
            Secret::Typed { file: None, .. } | Secret::At(_) => None,
        });
        files.collect()
    }
}

impl Auth {
    fn of(args: AuthArgs, person: &Person, keeping: &Keeping<'_>) -> anyhow::Result<Self> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let variable = |name: &str| is_set(name).then(|| format!("env:{name}"));
        let AuthArgs { access_key, secret_key, security_token, token, user, password, domain } =
            args;
        let is_keys = access_key.is_some() || secret_key.is_some() || security_token.is_some();
        let kind = if is_keys {
            Kind::Keys
        } else if token.is_some() {
            Kind::Token
        } else if user.is_some() {
            Kind::User
        } else if is_set("HUAWEICLOUD_SDK_AK") {
            Kind::Keys
        } else if is_set("DESKLEDGER_TOKEN") {
            Kind::Token
        } else if is_set("DESKLEDGER_USER") {
            Kind::User
        } else {
            person.chooses_kind()?
        };
        match kind {
            Kind::Keys => {
                let access_key = match access_key.or_else(|| variable("HUAWEICLOUD_SDK_AK")) {
                    Some(access_key) => access_key,
                    None => person.asks("Access key", None, "--access-key")?,
                };
                let secret_key = secret_key.or_else(|| variable("HUAWEICLOUD_SDK_SK"));
                let security_token =
                    security_token.or_else(|| variable("HUAWEICLOUD_SDK_SECURITY_TOKEN"));
                Ok(Self::Keys {
                    access_key,
                    secret_key: keeping.secret(secret_key, person, ("Secret key", "secret-key"))?,
                    security_token: security_token
                        .map(|token| keeping.given(token, "security-token"))
                        .transpose()?,
                })
            }
            Kind::Token => {
                let token = token.or_else(|| variable("DESKLEDGER_TOKEN"));
                Ok(Self::Token(keeping.secret(token, person, ("Token", "token"))?))
            }
            Kind::User => {
                let known = |given: Option<String>, name, prompt, flag| match given
                    .or_else(|| variable(name))
                {
                    Some(known) => Ok(known),
                    None => person.asks(prompt, None, flag),
                };
                let password = password.or_else(|| variable("DESKLEDGER_PASSWORD"));
                Ok(Self::User {
                    user: known(user, "DESKLEDGER_USER", "IAM user", "--user")?,
                    domain: known(domain, "DESKLEDGER_DOMAIN", "Account of that user", "--domain")?,
                    password: keeping.secret(password, person, ("Password", "password"))?,
                })
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Keys,
    Token,
    User,
}

/// Where secrets are kept.
struct Keeping<'a> {
    is_inside: bool,
    source: &'a str,
}

impl Keeping<'_> {
    /// A secret that is given somewhere, or typed now.
    fn secret(
        &self,
        given: Option<String>,
        person: &Person,
        (prompt, what): (&str, &'static str),
    ) -> anyhow::Result<Secret> {
        match given {
            Some(given) => self.given(given, what),
            None => {
                let typed = person.types_secret(prompt, what)?;
                if is_elsewhere(&typed) {
                    self.given(typed, what)
                } else {
                    Ok(self.typed(typed, what))
                }
            }
        }
    }

    /// A secret that a flag tells of.
    fn given(&self, place: String, what: &str) -> anyhow::Result<Secret> {
        if !is_elsewhere(&place) {
            return Err(with_hint(
                usage(anyhow::anyhow!(
                    "--{what} is to say where the secret is: `env:NAME` or `file:PATH`"
                )),
                "the secret itself on a command line is seen by every user of this machine",
            ));
        }
        if !self.is_inside {
            return Ok(Secret::At(place));
        }
        let text = if let Some(name) = place.strip_prefix("env:") {
            std::env::var(name).with_context(|| format!("--{what}: read the variable {name}"))
        } else {
            let path = PathBuf::from(place.trim_start_matches("file:"));
            std::fs::read_to_string(&path)
                .with_context(|| format!("--{what}: read `{}`", path.display()))
        };
        let text = text.map_err(usage)?;
        Ok(Secret::Typed { text: text.trim_end_matches(['\n', '\r']).into(), file: None })
    }

    fn typed(&self, text: String, what: &str) -> Secret {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let source: String =
            self.source.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let file = (!self.is_inside).then(|| format!("{source}.{what}"));
        Secret::Typed { text: text.into(), file }
    }

    /// The database's address, in which there may be a password.
    fn url(&self, url: &SecretString) -> Secret {
        let text = url.expose_secret();
        if is_elsewhere(text) {
            return Secret::At(text.to_owned());
        }
        if std::env::var("DATABASE_URL").is_ok_and(|variable| variable == text) && !self.is_inside {
            return Secret::At("env:DATABASE_URL".to_owned());
        }
        self.typed(text.to_owned(), "database-url")
    }
}

fn is_elsewhere(secret: &str) -> bool {
    ["env:", "file:"].iter().any(|kind| secret.starts_with(kind))
}

/// Who may be asked: nobody, where there is no terminal.
struct Person {
    is_there: bool,
}

impl Person {
    fn must_be_there(&self, flag: &str) -> anyhow::Result<()> {
        if self.is_there {
            return Ok(());
        }
        Err(usage(anyhow::anyhow!("without a terminal to ask on, {flag} must be given")))
    }

    fn asks(&self, prompt: &str, default: Option<&str>, flag: &str) -> anyhow::Result<String> {
        self.must_be_there(flag)?;
        let input = Input::<String>::new().with_prompt(prompt);
        let input = match default {
            Some(default) => input.default(default.to_owned()),
            None => input,
        };
        Ok(input.interact_text()?.trim().to_owned())
    }

    fn may_answer(&self, prompt: &str) -> anyhow::Result<String> {
        let input = Input::<String>::new().with_prompt(prompt).allow_empty(true);
        Ok(input.interact_text()?.trim().to_owned())
    }

    fn types_secret(&self, prompt: &str, what: &str) -> anyhow::Result<String> {
        self.must_be_there(&format!("--{what}"))?;
        let prompt = format!("{prompt} (not shown; or env:NAME, or file:PATH)");
        Ok(Password::new().with_prompt(prompt).interact()?)
    }

    fn chooses_kind(&self) -> anyhow::Result<Kind> {
        self.must_be_there(
            "--access-key and --secret-key (or --token, or --user, --password and --domain)",
        )?;
        let kinds = [
            ("a pair of keys", Kind::Keys),
            ("an IAM user and its password, exchanged for tokens", Kind::User),
            ("a token, which nobody renews", Kind::Token),
        ];
        let chosen = Select::new()
            .with_prompt("How is it allowed in")
            .items(kinds.map(|(name, _)| name))
            .default(0)
            .interact()?;
        Ok(kinds[chosen].1)
    }
}
