//! `deskledger erase-user`: puts a pseudonym in the place of a person, everywhere and for good.

use std::borrow::Cow;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use chrono::TimeDelta;

use super::Globals;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::collector::spool::{Rewritten, inspect, rewrite};
use crate::config::SpoolConfig;
use crate::domain::{AttachUser, Snapshot, harmless};
use crate::error::{refusal, usage};
use crate::exchange::{bare_line, parse_line};
use crate::store::prune::Hold;
use crate::store::{Holdings, LineFormat, OfSource, Store, ToErase};

/// Put a pseudonym in the place of a person, everywhere and for good.
///
/// The name and the id of the user are replaced wherever they are: in the views and reports, inside the names of desktops,
/// in late snapshots, in what waits in the spool of this machine, and in the record of who ran which report. Whatever names
/// the user from then on gets the same pseudonym when it is recorded. The digests stay valid, and the erasure becomes an
/// entry among them, without the name. It cannot be undone. docs/privacy.md says what is not reached.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The user's name or id, exactly.
    #[arg(value_name = "NAME")]
    name: String,
    /// Only say what would be touched.
    #[arg(long, conflicts_with = "yes")]
    plan: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Only in this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Leave the names of desktops as they are, also where the user's name is in them.
    #[arg(long)]
    keep_desktop_names: bool,
}

/// How late snapshots are kept. Every line of ours says its own `max_gap`.
const FORMAT: LineFormat = LineFormat {
    read: |line| Some(parse_line(line.as_bytes(), TimeDelta::seconds(1)).ok()?.snapshot),
    write: bare_line,
};

/// Runs the command.
///
/// # Errors
/// There is nobody of that name, it is not confirmed, or the ledger fails: then nothing is erased.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let spool = config.spool_config()?;
    if args.name.is_empty() {
        return Err(usage(anyhow::anyhow!("give the user's name or id")));
    }
    if !(args.plan || args.yes || std::io::stdin().is_terminal()) {
        return Err(usage(anyhow::anyhow!(
            "erasing cannot be undone, and nobody is there to ask: `--plan` says what it would touch, `--yes` does it"
        )));
    }
    let ledger = Ledger::open_to_read(&config).await?;
    let result = erase(&args, &ledger.store, &spool).await;
    ledger.close().await?;
    result
}

async fn erase(args: &Args, store: &Store, spool: &SpoolConfig) -> anyhow::Result<()> {
    let sources = store.sources().await?;
    if let Some(name) = &args.source
        && !sources.iter().any(|(_, source)| source.name == *name)
    {
        return Err(usage(anyhow::anyhow!(
            "there is no source `{}` in the ledger",
            harmless(name)
        )));
    }
    // 48 bits: nobody else's, and nothing of the name.
    let pseudonym = format!("erased-{}", hex::encode(rand::random::<[u8; 6]>()));
    let wanted = ToErase {
        name_or_id: &args.name,
        source: args.source.as_deref(),
        pseudonym: &pseudonym,
        is_in_desktop_names: !args.keep_desktop_names,
    };
    let erased_as = store.erased_as(&args.name).await?;
    if erased_as.as_ref() == Some(&args.name) {
        return Err(usage(anyhow::anyhow!("`{}` is a pseudonym already", harmless(&args.name))));
    }
    let held = store.holdings(wanted, FORMAT).await?;
    if held.person.is_none() {
        return match erased_as {
            Some(pseudonym) => {
                let again = spool_rewritten(store, spool).await?;
                say(&format!("that user is erased already, and is {pseudonym}\n{again}"))
            }
            None => Err(refusal(anyhow::anyhow!(
                "nobody of the name or id `{}` is in the ledger",
                harmless(&args.name)
            ))),
        };
    }
    let holds = holds_on(&held, store.holds().await?);
    if args.plan {
        return say(&format!("{}{}{}", plan(&held), waiting(spool)?, of_holds(&holds)));
    }
    if let Some(hold) = holds.first() {
        return Err(refusal(anyhow::anyhow!(
            "hold {} is on that user ({}), and what it holds would lose its name: `deskledger hold drop {}` comes first",
            hold.hold_id,
            harmless(&hold.reason),
            hold.hold_id
        )));
    }
    if !args.yes && !is_confirmed(&format!("{}{}", plan(&held), waiting(spool)?))? {
        return Err(refusal(anyhow::anyhow!("nothing was erased")));
    }
    let held = store.erase(wanted, FORMAT, Clock::System.now()).await?;
    let mut text = format!("that user is {pseudonym} from now on\n{}", touched(&held));
    // From here on the ledger is without the name: what fails is said, and may be done again.
    text += &spool_rewritten(store, spool).await?;
    let left = store.scrub().await?;
    if !left.is_empty() {
        text += "these tables are in use, and their dead rows hold the name until somebody runs:\n";
        left.iter().for_each(|statement| text += &format!("  {statement}\n"));
    }
    say(&text)
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn is_confirmed(plan: &str) -> anyhow::Result<bool> {
    eprint!("{plan}This cannot be undone. Type `yes` to erase: ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// The holds that stand on one of these users by name or id.
fn holds_on(held: &Holdings, holds: Vec<Hold>) -> Vec<Hold> {
    let is_of = |hold: &Hold, user: &AttachUser| {
        let held = hold.user.as_deref();
        held.is_some() && (held == user.id.as_deref() || held == user.name.as_deref())
    };
    let is_on = |hold: &Hold| {
        held.sources.iter().any(|of_source| {
            hold.source.as_ref().is_none_or(|source| *source == of_source.source)
                && of_source.users.iter().any(|(_, user, _)| is_of(hold, user))
        })
    };
    holds.into_iter().filter(|hold| hold.dropped_at.is_none() && is_on(hold)).collect()
}

fn of_holds(holds: &[Hold]) -> String {
    holds
        .iter()
        .map(|hold| {
            format!(
                "hold {} is on that user, and has to be dropped first: {}\n",
                hold.hold_id,
                harmless(&hold.reason)
            )
        })
        .collect()
}

/// What would be touched, with the names: whoever asks has to see whether it is the right person.
fn plan(held: &Holdings) -> String {
    let mut text = String::new();
    for of_source in &held.sources {
        text += &format!("source `{}`\n", harmless(&of_source.source));
        for (_, user, _) in &of_source.users {
            text += &format!("  {}\n", shown(user));
        }
        for (_, old, _) in &of_source.desktop_names {
            text += &format!("  the desktop's name `{}`\n", harmless(old));
        }
        text += &counts(of_source);
    }
    text + &of_accesses(held)
}

/// What was touched, without the names.
fn touched(held: &Holdings) -> String {
    let mut text = String::new();
    for of_source in &held.sources {
        text += &format!("source `{}`\n{}", harmless(&of_source.source), counts(of_source));
    }
    text + &of_accesses(held)
}

fn shown(user: &AttachUser) -> String {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(harmless);
    let kind = text(&user.kind).unwrap_or_else(|| "a user without a type".to_owned());
    let name = text(&user.name).map_or_else(|| "no name".to_owned(), |name| format!("`{name}`"));
    let id = text(&user.id).map_or_else(|| "no id".to_owned(), |id| format!("id `{id}`"));
    format!("{kind} {name}, {id}")
}

fn counts(of_source: &OfSource) -> String {
    let OfSource { users, assignments, desktops, desktop_names, late, staying, .. } = of_source;
    let mut text = format!(
        "  {}, in {}; assigned to {}, {} of them present\n",
        count(users.len(), "pair of id and name", "pairs of id and name"),
        count(*assignments, "set of users", "sets of users"),
        count(desktops.0, "desktop", "desktops"),
        desktops.1
    );
    if !desktop_names.is_empty() {
        text += &format!("  {}\n", count(desktop_names.len(), "desktop's name", "desktops' names"));
    }
    if !late.is_empty() {
        text += &format!("  {}\n", count(late.len(), "late snapshot", "late snapshots"));
    }
    let unread = late.iter().filter(|(_, line)| line.is_none()).count();
    if unread > 0 {
        text += &format!("  {unread} of those cannot be read, and go as a whole\n");
    }
    for (stays, one, many) in [
        (staying.groups, "group's name holds the user's", "groups' names hold the user's"),
        (
            staying.user_groups,
            "set of users holds it as `user_group`",
            "sets of users hold it as `user_group`",
        ),
        (staying.errors, "error message holds it", "error messages hold it"),
    ] {
        if stays > 0 {
            let what = count(stays, one, many);
            text += &format!("  stays: {what}, and the digests hold them as they are\n");
        }
    }
    text
}

fn count(all: impl TryInto<u64>, one: &str, many: &str) -> String {
    match all.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        all => format!("{all} {many}"),
    }
}

fn of_accesses(held: &Holdings) -> String {
    match held.accesses.len() {
        0 => String::new(),
        all => format!("{}\n", count(all, "record of a report's run", "records of reports' runs")),
    }
}

/// What waits on this machine, before.
fn waiting(spool: &SpoolConfig) -> anyhow::Result<String> {
    let slots = inspect(&spool.dir)?;
    let waiting: usize = slots.iter().flat_map(|slot| &slot.sources).map(|of| of.waiting).sum();
    Ok(match waiting {
        0 => String::new(),
        _ => format!(
            "{} in the spool of this machine, whomever they name\n",
            count(waiting, "snapshot waits", "snapshots wait")
        ),
    })
}

/// Erases from the spool of this machine all who are erased from the ledger.
async fn spool_rewritten(store: &Store, spool: &SpoolConfig) -> anyhow::Result<String> {
    let (veils, config) = (store.veils().await?, spool.clone());
    let rewriting = tokio::task::spawn_blocking(move || {
        rewrite(&config, &|source: &str, snapshot: &Snapshot| match veils
            .get(source)?
            .over(snapshot)
        {
            Cow::Borrowed(_) => None,
            Cow::Owned(other) => Some(other),
        })
    });
    let Rewritten { snapshots, in_use, unread } = rewriting.await??;
    let mut text = String::new();
    if snapshots > 0 {
        text += &format!(
            "{} anew in the spool of this machine\n",
            count(snapshots, "snapshot written", "snapshots written")
        );
    }
    for slot in in_use {
        text += &format!(
            "slot {slot} of the spool is in use: its recorder hands in what waits there, and with the pseudonym\n"
        );
    }
    for path in unread {
        let path = harmless(&path.display().to_string());
        text += &format!("`{path}` does not check, and may hold the name: delete it\n");
    }
    Ok(text)
}
