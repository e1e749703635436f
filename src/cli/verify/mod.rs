//! `deskledger verify`: rechecks the whole ledger, makes seals, and holds a ledger against one.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;

use super::Globals;
use super::ledger::Ledger;
use super::progress::Bar;
use crate::clock::Clock;
use crate::domain::audit::{Checkpoint, Fault, Wrong};
use crate::domain::harmless;
use crate::error::{refusal, usage, with_hint};
use crate::seal::{Head, PublicKey, Seal, SealError, SealingKey};
use crate::store::{Progress, Store, StoreError, Verdict};

mod notice;
mod output;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// How the result is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Prove against this seal that the history up to it is unchanged.
    #[arg(long, value_name = "SEAL")]
    pub against: Option<PathBuf>,
    /// The key that must have signed the seal, in 64 hexadecimal digits. Without it any key will do, and
    /// the seal is as good as the place where it was kept.
    #[arg(long, value_name = "HEX", requires = "against")]
    pub public_key: Option<PublicKey>,
    /// If nothing is wrong, write a seal to this new file: where every source's chain stands, signed.
    /// Keep it elsewhere.
    #[arg(long, value_name = "SEAL", requires = "key")]
    pub seal: Option<PathBuf>,
    /// The Ed25519 key that signs the seal: PKCS#8 in PEM.
    #[arg(long, value_name = "KEY", requires = "seal")]
    pub key: Option<PathBuf>,
    /// Make a key in this new file, print its public half, and do nothing else.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["source", "format", "against", "seal"])]
    pub new_key: Option<PathBuf>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// In words.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command.
///
/// # Errors
/// Something is wrong with the ledger; or it, the seal or the key cannot be read.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    if let Some(path) = &args.new_key {
        return new_key(path);
    }
    let config = globals.configuration()?;
    let seal = args.against.as_deref().map(|path| read_seal(path, args.public_key)).transpose()?;
    // Before the work, so that nobody waits for it in vain.
    let key = args.key.as_deref().map(read_key).transpose()?;
    if let Some(path) = args.seal.as_deref().filter(|path| path.exists()) {
        return Err(usage(anyhow!("`{}` exists: a seal is written to a new file", path.display())));
    }
    let webhooks = config.webhooks()?;
    let ledger = Ledger::open_to_read(&config).await?;
    let result = verify(&ledger.store, args.source.as_deref(), seal.as_ref()).await;
    ledger.close().await?;
    let mut verdicts = result?;
    if args.source.is_some() && verdicts.is_empty() {
        return Err(usage(anyhow!("there is no source of that name in the ledger")));
    }
    if let Some(seal) = &seal {
        check_pins(&mut verdicts, seal);
    }
    let missing = missing_sources(&verdicts, seal.as_ref(), args.source.as_deref());
    let text = match args.format {
        Format::Text => output::as_text(&verdicts, &missing, seal.as_ref(), args.public_key),
        Format::Json => output::as_json(&verdicts, &missing, seal.as_ref()),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    notice::tell(&config, &webhooks, &verdicts, &missing).await;
    if let Some((verdict, fault)) =
        verdicts.iter().find_map(|verdict| Some((verdict, verdict.fault.as_ref()?)))
    {
        return Err(refusal(anyhow!(
            "the ledger is wrong: source `{}`, {}",
            harmless(&verdict.source.name),
            output::fault(fault)
        )));
    }
    if let Some(source) = missing.first() {
        return Err(refusal(anyhow!(
            "the ledger is wrong: source `{}` is sealed, and not in the ledger",
            harmless(source)
        )));
    }
    if let (Some(path), Some(key)) = (&args.seal, key) {
        write_seal(path, &key, &verdicts)?;
    }
    Ok(())
}

/// Verifies the ledger, with a bar.
async fn verify(
    store: &Store,
    source: Option<&str>,
    seal: Option<&Seal>,
) -> anyhow::Result<Vec<Verdict>> {
    let checkpoints: BTreeMap<String, Checkpoint> = seal
        .iter()
        .flat_map(|seal| &seal.heads)
        .map(|head| {
            let Head { sequence, observed_at, digest, .. } = *head;
            (head.source.clone(), Checkpoint { sequence, observed_at, digest })
        })
        .collect();
    let progress = Progress::default();
    let verifying = store.verify(source, &checkpoints, &progress);
    tokio::pin!(verifying);
    let mut bar: Option<Bar> = None;
    let result = loop {
        match tokio::time::timeout(Duration::from_millis(200), &mut verifying).await {
            Ok(result) => break result,
            Err(_) => {
                let (done, all) = progress.now();
                if all > 0 {
                    bar.get_or_insert_with(|| Bar::steps(all, "snapshots")).at(done, String::new());
                }
            }
        }
    };
    if let Some(bar) = bar {
        bar.finish();
    }
    result.map_err(|error| {
        if is_forbidden(&error) {
            with_hint(error, "verify reads the tables of the schema `deskledger_data`: run it as the user that records")
        } else {
            error.into()
        }
    })
}

/// Whether the database does not let us read.
fn is_forbidden(error: &StoreError) -> bool {
    let StoreError::Database { source: sqlx::Error::Database(error), .. } = error else {
        return false;
    };
    error.code().as_deref() == Some("42501")
}

/// A source is still pinned to what it was sealed with; what was not known then may be by now.
fn check_pins(verdicts: &mut [Verdict], seal: &Seal) {
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.fault.is_none()) {
        let source = &verdict.source;
        let Some(head) = seal.heads.iter().find(|head| head.source == source.name) else {
            continue;
        };
        let pins = [
            ("region", &head.region, &source.region),
            ("project_id", &head.project_id, &source.project_id),
            ("endpoint", &head.endpoint, &source.endpoint),
        ];
        let changed = pins.into_iter().find(|(_, sealed, now)| sealed.is_some() && sealed != now);
        let shown =
            |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), harmless);
        let wrong = match changed {
            Some((column, sealed, now)) => Some(Wrong::new(
                format!("`{column}` of the source, which is sealed"),
                shown(sealed),
                shown(now),
            )),
            None if head.created_at != verdict.created_at => Some(Wrong::new(
                "`created_at` of the source, which is sealed",
                output::instant(head.created_at),
                output::instant(verdict.created_at),
            )),
            None => None,
        };
        verdict.fault = wrong.map(|wrong| Fault::at(None, wrong));
    }
}

/// What a source is pinned to by now and was not when it was sealed: a later recorder may have known it, and
/// so may whoever wrote it by hand. The column and its value.
fn pinned_since<'a>(verdict: &'a Verdict, seal: Option<&Seal>) -> Vec<(&'static str, &'a str)> {
    let source = &verdict.source;
    let Some(head) =
        seal.and_then(|seal| seal.heads.iter().find(|head| head.source == source.name))
    else {
        return Vec::new();
    };
    [
        ("region", &head.region, &source.region),
        ("project_id", &head.project_id, &source.project_id),
        ("endpoint", &head.endpoint, &source.endpoint),
    ]
    .into_iter()
    .filter(|(_, sealed, _)| sealed.is_none())
    .filter_map(|(column, _, now)| Some((column, now.as_deref()?)))
    .collect()
}

/// The sources that are sealed, and not in the ledger.
fn missing_sources(verdicts: &[Verdict], seal: Option<&Seal>, only: Option<&str>) -> Vec<String> {
    let sealed = seal.iter().flat_map(|seal| &seal.heads).map(|head| &head.source);
    sealed
        .filter(|name| only.is_none_or(|only| only == *name))
        .filter(|name| !verdicts.iter().any(|verdict| verdict.source.name == **name))
        .cloned()
        .collect()
}

fn read_seal(path: &Path, trusted: Option<PublicKey>) -> anyhow::Result<Seal> {
    let failed = || format!("read the seal `{}`", path.display());
    let text = std::fs::read_to_string(path).map_err(usage).with_context(failed)?;
    let seal = Seal::read(&text, trusted).map_err(|error| match error {
        SealError::Forged | SealError::OtherKey { .. } => refusal(error),
        _ => usage(error),
    });
    seal.with_context(failed)
}

fn read_key(path: &Path) -> anyhow::Result<SealingKey> {
    let failed = || format!("read the key `{}`", path.display());
    let mut text = String::new();
    let mut file = std::fs::File::open(path).map_err(usage).with_context(failed)?;
    file.read_to_string(&mut text).map_err(usage).with_context(failed)?;
    SealingKey::from_pem(&text)
        .map_err(|error| {
            let hint =
                format!("`deskledger verify --new-key {}` makes one in a new file", path.display());
            with_hint(usage(error), hint)
        })
        .with_context(failed)
}

fn write_seal(path: &Path, key: &SealingKey, verdicts: &[Verdict]) -> anyhow::Result<()> {
    let heads = verdicts.iter().map(|verdict| Head {
        source: verdict.source.name.clone(),
        region: verdict.source.region.clone(),
        project_id: verdict.source.project_id.clone(),
        endpoint: verdict.source.endpoint.clone(),
        created_at: verdict.created_at,
        sequence: verdict.summary.entries,
        observed_at: verdict.summary.newest_at,
        digest: verdict.summary.digest,
    });
    let seal = Seal::sign(key, Clock::System.now(), heads.collect());
    create(path, 0o644, &seal.to_json())
        .with_context(|| format!("write the seal `{}`", path.display()))
}

fn new_key(path: &Path) -> anyhow::Result<()> {
    let (key, pem) = SealingKey::generate()?;
    create(path, 0o600, &pem).with_context(|| format!("write the key `{}`", path.display()))?;
    writeln!(std::io::stdout(), "{}", key.public_key())?;
    Ok(())
}

/// Writes a file that is not there yet, so that none is lost.
fn create(path: &Path, mode: u32, content: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => usage(error),
        _ => error.into(),
    })?;
    file.write_all(content.as_bytes())?;
    Ok(file.sync_all()?)
}
