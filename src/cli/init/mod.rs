//! `deskledger init`: asks what is not given as a flag, tries it on the API, and writes a configuration.
//!
//! | file | what it does |
//! |---|---|
//! | `answers` | what is wanted: flags, else variables, else questions, where somebody is there to answer |
//! | `text` | the configuration that says so |
//! | `files` | whole or not at all, for its owner alone, and over nothing that is there |

mod answers;
mod files;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Globals, doctor};
use crate::config::{Config, Environment, Flags, SourceConfig};
use crate::error::{refusal, usage, with_hint};
use answers::Answers;
use files::NewFile;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The source's name in the ledger; it stays with the history [default: the region].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The cloud's region, as ap-southeast-3.
    #[arg(long, value_name = "REGION", env = "DESKLEDGER_REGION")]
    pub region: Option<String>,
    /// The cloud's project [default: the region's one project, which is looked up].
    #[arg(long, value_name = "ID", env = "HUAWEICLOUD_SDK_PROJECT_ID")]
    pub project_id: Option<String>,
    /// Where the Workspace API is [default: the region's].
    #[arg(long, value_name = "URL", env = "DESKLEDGER_ENDPOINT")]
    pub endpoint: Option<String>,
    /// Where the identity service is [default: the region's].
    #[arg(long, value_name = "URL", env = "DESKLEDGER_IAM_ENDPOINT")]
    pub iam_endpoint: Option<String>,
    /// Take plain http to other addresses than loopback ones: credentials cross the network in the clear.
    #[arg(long)]
    pub allow_http: bool,
    /// A visit each so often.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub interval: String,
    /// How the source is allowed in.
    #[command(flatten)]
    pub auth: AuthArgs,
    /// Write the secrets themselves into the configuration, instead of where they are.
    #[arg(long)]
    pub secrets_inside: bool,
    /// Ask the API nothing.
    #[arg(long)]
    pub no_check: bool,
    /// Overwrite what is there.
    #[arg(long)]
    pub force: bool,
}

/// How the source is allowed in. Secrets are `env:NAME` or `file:PATH`: a command line is seen by others.
#[derive(Debug, clap::Args)]
pub struct AuthArgs {
    /// The access key, or `env:NAME` or `file:PATH` [default: env:HUAWEICLOUD_SDK_AK, if that is set].
    #[arg(long, value_name = "KEY", conflicts_with_all = ["token", "user"])]
    pub access_key: Option<String>,
    /// Where its secret key is: `env:NAME` or `file:PATH` [default: env:HUAWEICLOUD_SDK_SK, if that is set].
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["token", "user"])]
    pub secret_key: Option<String>,
    /// Where the security token of a temporary pair of keys is: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "WHERE", conflicts_with_all = ["token", "user"])]
    pub security_token: Option<String>,
    /// Where a token is that nobody renews: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "WHERE", conflicts_with = "user")]
    pub token: Option<String>,
    /// An IAM user, who is exchanged for tokens.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Where the user's password is: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "WHERE", requires = "user")]
    pub password: Option<String>,
    /// The account that the user belongs to.
    #[arg(long, value_name = "NAME", requires = "user")]
    pub domain: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Something is there already, what is given cannot be used or is not enough, the API does not take it or cannot be reached, or the
/// file cannot be written.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let flags = globals.flags();
    let path = flags.config.clone().unwrap_or_else(|| PathBuf::from("deskledger.toml"));
    let is_forced = args.force;
    // Before anybody has answered questions for nothing.
    if !is_forced && path.symlink_metadata().is_ok() {
        return Err(there_already(&path));
    }
    let is_checked = !args.no_check;
    let mut answers = Answers::of(args, &flags)?;
    let mut source = parsed(&answers, &path)?;
    if is_checked {
        let found = doctor::ask(&source).await?;
        if !found.is_well {
            return Err(with_hint(
                refusal(anyhow::anyhow!("nothing was written: not all went well")),
                "mend what is said above; --no-check writes it as it is",
            ));
        }
        // What was looked up need not be looked up at each start.
        if answers.project_id.is_none() {
            answers.project_id = found.project_id;
            source = parsed(&answers, &path)?;
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut new: Vec<NewFile> = answers.secret_files(folder);
    new.push(NewFile { path: path.clone(), text: text::of(&answers, text::Secrets::AsWritten) });
    files::write(&new, is_forced).map_err(|error| match error {
        files::WriteError::There(path) => there_already(&path),
        error @ files::WriteError::Io { .. } => error.into(),
    })?;
    for file in &new {
        eprintln!("wrote `{}`, which only its owner may read", file.path.display());
    }
    say_next(&path, &source)?;
    Ok(())
}

fn there_already(path: &Path) -> anyhow::Error {
    with_hint(
        usage(anyhow::anyhow!("`{}` is there already", path.display())),
        "--force overwrites it, and --config names another file",
    )
}

/// What the answers are worth as a configuration: refused with the message that a start would have.
fn parsed(answers: &Answers, path: &Path) -> anyhow::Result<SourceConfig> {
    // Secrets that are typed are in no file yet.
    let text = text::of(answers, text::Secrets::Inside);
    let config = Config::from_text(&text, path, &Flags::default(), Environment::of_process())?;
    Ok(config.sources()?.remove(0))
}

fn say_next(path: &Path, source: &SourceConfig) -> std::io::Result<()> {
    let is_default = path == Path::new("deskledger.toml");
    let named = if is_default { String::new() } else { format!(" --config {}", quoted(path)) };
    eprintln!(
        "source `{}` is visited {}; one visit now, to see that it works:",
        source.name, source.schedule
    );
    writeln!(std::io::stdout(), "deskledger{named} collect --once")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
