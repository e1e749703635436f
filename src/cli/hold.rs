//! `deskledger hold`: what must not be pruned.

use std::io::Write as _;

use chrono::SecondsFormat;

use super::Globals;
use super::ledger::Ledger;
use crate::domain::{Instant, harmless};
use crate::error::usage;
use crate::report::params::time_zone;
use crate::store::Store;
use crate::store::prune::{Hold, NewHold, Seen};

/// What is done with holds.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Hold whatever is of this source, desktop, user and period. A month in which anything of it lies is kept as a whole.
    Add(Add),
    /// List the holds, those that were dropped too.
    List,
    /// Drop a hold. That it was there, and why it was dropped, stays in the list.
    Drop(Drop),
}

/// Arguments of `hold add`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub struct Add {
    /// Only of this source.
    #[arg(long, value_name = "NAME", group = "what")]
    pub source: Option<String>,
    /// A desktop, by id or name.
    #[arg(long, value_name = "DESKTOP", group = "what")]
    pub desktop: Option<String>,
    /// A user or user group, by id or name.
    #[arg(long, value_name = "USER", group = "what")]
    pub user: Option<String>,
    /// From when on: RFC 3339, a date or a local time.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true, group = "what")]
    pub from: Option<String>,
    /// Up to when.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true, group = "what")]
    pub to: Option<String>,
    /// The time zone of dates and times given without one.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// Why: a case number, who asked for it.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Arguments of `hold drop`.
#[derive(Debug, clap::Args)]
pub struct Drop {
    /// The hold's number.
    #[arg(value_name = "NUMBER")]
    pub hold: i32,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Runs the command.
///
/// # Errors
/// A parameter is wrong, or the ledger fails.
pub async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let ledger = Ledger::open_to_read(&config).await?;
    let result = run_on(command, &ledger.store).await;
    ledger.close().await?;
    std::io::stdout().write_all(result?.as_bytes())?;
    Ok(())
}

async fn run_on(command: Command, store: &Store) -> anyhow::Result<String> {
    match command {
        Command::Add(add) => {
            check_reason(&add.reason)?;
            time_zone(&add.tz).map_err(usage)?;
            let from = super::export::instant(store, add.from.as_deref(), &add.tz).await?;
            let to = super::export::instant(store, add.to.as_deref(), &add.tz).await?;
            if from.zip(to).is_some_and(|(from, to)| from >= to) {
                return Err(usage(anyhow::anyhow!("`--from` is not before `--to`")));
            }
            let Add { source, desktop, user, reason, .. } = add;
            for (what, name) in [(Seen::Desktop, &desktop), (Seen::User, &user)] {
                if let Some(name) = name
                    && !store.has_seen(what, name, source.as_deref()).await?
                {
                    // It would hold nothing, and nobody would notice until that is gone.
                    return Err(usage(anyhow::anyhow!(
                        "the ledger never saw a {} `{}`, so nothing would be held; names are written as they were seen",
                        what.word(),
                        harmless(name)
                    )));
                }
            }
            if let Some(name) = &source
                && !store.sources().await?.iter().any(|(_, source)| source.name == *name)
            {
                return Err(usage(anyhow::anyhow!(
                    "there is no source `{}` in the ledger",
                    harmless(name)
                )));
            }
            let hold = NewHold { source, desktop, user, from, to, reason };
            let mut text = format!("hold {} is set\n", store.add_hold(&hold).await?);
            for gone in store.pruned_of(&hold).await? {
                let month = |at: Instant| at.format("%Y-%m").to_string();
                let months = match gone.months {
                    1 => format!("{} is", month(gone.first)),
                    several => format!(
                        "{several} months from {} to {} are",
                        month(gone.first),
                        month(gone.last)
                    ),
                };
                text += &format!(
                    "of source `{}` {months} pruned already, and not held: `restore` what is needed of it\n",
                    harmless(&gone.source)
                );
            }
            Ok(text)
        }
        Command::List => {
            let holds = store.holds().await?;
            if holds.is_empty() {
                return Ok("nothing is held\n".to_owned());
            }
            Ok(holds.iter().map(line).collect())
        }
        Command::Drop(drop) => {
            check_reason(&drop.reason)?;
            if store.drop_hold(drop.hold, &drop.reason).await? {
                Ok(format!("hold {} is dropped\n", drop.hold))
            } else {
                Err(usage(anyhow::anyhow!("there is no hold {} that could be dropped", drop.hold)))
            }
        }
    }
}

fn check_reason(reason: &str) -> anyhow::Result<()> {
    if reason.trim().is_empty() {
        return Err(usage(anyhow::anyhow!("`--reason` says nothing")));
    }
    Ok(())
}

fn line(hold: &Hold) -> String {
    let instant = |at: Instant| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let mut of = Vec::new();
    for (what, value) in
        [("source", &hold.source), ("desktop", &hold.desktop), ("user", &hold.user)]
    {
        of.extend(value.as_ref().map(|value| format!("{what} `{}`", harmless(value))));
    }
    of.extend(hold.held_from.map(|at| format!("from {}", instant(at))));
    of.extend(hold.held_to.map(|at| format!("to {}", instant(at))));
    let dropped = hold.dropped_at.map_or_else(String::new, |at| {
        let reason = harmless(hold.dropped_reason.as_deref().unwrap_or_default());
        format!("; dropped {}: {reason}", instant(at))
    });
    format!(
        "{}  {}; set {}: {}{dropped}\n",
        hold.hold_id,
        of.join(", "),
        instant(hold.set_at),
        harmless(&hold.reason)
    )
}
