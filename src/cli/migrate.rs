//! `deskledger migrate`: brings a ledger to this version's schema, and says beforehand how long that will take.

use std::io::Write as _;

use super::Globals;
use super::ledger::Ledger;
use crate::error::with_hint;
use crate::store::{MIGRATION_PATIENCE, StoreError, newest_schema_version};

/// Bring the ledger to this version's schema.
///
/// `collect` and `import` do so by themselves when they start. This is for an upgrade that is to be seen beforehand, or made at
/// an hour of one's own choice. It is done migration by migration: what was done stays if a later one fails. There is no way
/// back but a dump: docs/operating.md says how an upgrade is made.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what is left, and how long it will take.
    #[arg(long)]
    plan: bool,
}

/// Runs the command.
///
/// # Errors
/// The ledger cannot be reached, was migrated by a newer deskledger, or is in use by others for too long.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let ledger = Ledger::open_as_it_is(&config).await?;
    let result = migrate(&ledger, &args).await;
    ledger.close().await?;
    std::io::stdout().write_all(result?.as_bytes())?;
    Ok(())
}

async fn migrate(ledger: &Ledger, args: &Args) -> anyhow::Result<String> {
    let store = &ledger.store;
    let (from, known) = (store.schema_version().await?, newest_schema_version());
    if from > known {
        return Err(StoreError::SchemaTooNew { found: from, known }.into());
    }
    let pending = store.pending_migrations().await?;
    if args.plan {
        let mut text = format!("schema {from}, this deskledger's is {known}\n");
        for pending in pending {
            text += &format!("{pending}\n");
        }
        return Ok(text);
    }
    // Before it begins, for whoever wants to stop it.
    for pending in &pending {
        eprintln!("{pending}");
    }
    let migrated = store.migrate_within(MIGRATION_PATIENCE).await.map_err(|error| match error {
        StoreError::MigrationBlocked { .. } => with_hint(
            error,
            "let it end, or end it by `select pg_terminate_backend(…)`, and try again",
        ),
        other => other.into(),
    })?;
    if ledger.private().is_some() {
        store.let_reader_log_in().await?;
    }
    let mut text = String::new();
    for (version, took) in &migrated.took {
        text += &format!("{version:04} took {:.1} s\n", took.as_secs_f64());
    }
    text += &format!("the ledger's schema is at version {known}\n");
    for statement in migrated.left_to_do {
        text += &format!("someone with more rights may want to run: {statement}\n");
    }
    Ok(text)
}
