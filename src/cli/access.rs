//! Who ran which report: writing it down where `[access] audit` asks for that, and `deskledger access`, which shows it.

use std::io::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use nix::unistd::{User, gethostname, getuid};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Globals;
use super::export::instant;
use super::ledger::Ledger;
use crate::config::Config;
use crate::domain::harmless;
use crate::error::{Chain, usage};
use crate::report::params::time_zone;
use crate::serve::Asked;
use crate::store::{Access, AccessRow, Store};

/// How long writing it down may take: whoever asked waits for the report, and not for this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many of the questions that `serve` answers may wait to be written down.
const QUEUE: usize = 1_000;
/// The table's width where it goes to no terminal.
const WIDTH: u16 = 140;

/// Show who ran which report, export or page, when, and with which parameters: the names of persons too.
///
/// It is written down where `[access] audit = true` is configured. Reading it needs the rights of the recorder's login.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first instant: RFC 3339, a date, a local time, or a distance such as `-30d`.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    from: Option<String>,
    /// The instant before which it ends.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    to: Option<String>,
    /// The time zone of dates and times given without one.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Write JSON, one object a line, instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The ledger cannot be read, or a parameter is wrong.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    time_zone(&args.tz).map_err(usage)?;
    let ledger = Ledger::open_to_read(&config).await?;
    let read = async {
        let from = instant(&ledger.store, args.from.as_deref(), &args.tz).await?;
        let to = instant(&ledger.store, args.to.as_deref(), &args.tz).await?;
        anyhow::Ok(ledger.store.accesses(from, to).await?)
    };
    let rows = read.await;
    ledger.close().await?;
    let text = if args.json { as_json(&rows?) } else { as_table(&rows?) };
    std::io::stdout().write_all(text.as_bytes())?;
    if !config.audits {
        eprintln!(
            "nothing more is written down by commands under this configuration: `[access] audit` is not set"
        );
    }
    Ok(())
}

fn as_json(rows: &[AccessRow]) -> String {
    let line = |row: &AccessRow| {
        let AccessRow { at, login, os_user, machine, caller, command, report, parameters } = row;
        json!({
            "at": at, "login": login, "os_user": os_user, "machine": machine, "caller": caller,
            "command": command, "report": report, "parameters": parameters.0,
        })
        .to_string()
            + "\n"
    };
    rows.iter().map(line).collect()
}

fn as_table(rows: &[AccessRow]) -> String {
    if rows.is_empty() {
        return "nothing is written down\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(super::terminal_width().unwrap_or(WIDTH))
        .set_header(["at (UTC)", "who", "login", "what", "parameters"]);
    for row in rows {
        let text = |text: &Option<String>| text.as_deref().map(harmless);
        let who = match (text(&row.caller), text(&row.os_user), text(&row.machine)) {
            (Some(caller), ..) => caller,
            (None, user, machine) => {
                let known = [user, machine];
                known.into_iter().flatten().collect::<Vec<_>>().join("@")
            }
        };
        let parameters = row.parameters.0.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", harmless(&value))
        });
        let what = match &row.report {
            Some(report) => format!("{} {}", harmless(&row.command), harmless(report)),
            None => harmless(&row.command),
        };
        table.add_row([
            row.at.format("%Y-%m-%d %H:%M:%S").to_string(),
            who,
            harmless(&row.login),
            what,
            parameters.collect::<Vec<_>>().join(" "),
        ]);
    }
    format!("{table}\n")
}

/// What is written down of a command that this process runs.
pub(super) fn of_command(
    command: &str,
    report: Option<String>,
    parameters: impl IntoIterator<Item = (String, Value)>,
) -> Access {
    // What was left empty says nothing.
    let parameters: Map<String, Value> =
        parameters.into_iter().filter(|(_, value)| !matches!(value.as_str(), Some(""))).collect();
    let uid = getuid();
    let os_user = User::from_uid(uid).ok().flatten().map(|user| user.name);
    Access {
        os_user: Some(os_user.unwrap_or_else(|| uid.to_string())),
        machine: gethostname().ok().map(|name| name.to_string_lossy().into_owned()),
        caller: None,
        command: command.to_owned(),
        report,
        parameters,
    }
}

/// Writes a run down beside it, where that is asked for. The run goes on whatever becomes of this.
pub(super) async fn noted<T>(
    config: &Config,
    store: &Store,
    access: impl FnOnce() -> Access,
    run: impl Future<Output = T>,
) -> T {
    if !config.audits {
        return run.await;
    }
    let access = access();
    tokio::join!(note(store, &access), run).1
}

async fn note(store: &Store, access: &Access) {
    match tokio::time::timeout(PATIENCE, store.note_access(access)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            "it is not written down who ran this; the login needs `grant deskledger_access to …`: {}",
            Chain(&error)
        ),
        Err(_) => tracing::warn!(
            "it is not written down who ran this: the database did not answer in time"
        ),
    }
}

/// Writes down what `serve` is asked; `None`: that is not asked for.
pub(super) fn notes(
    config: &Config,
    store: &Store,
) -> Option<(mpsc::Sender<Asked>, JoinHandle<()>)> {
    if !config.audits {
        return None;
    }
    let (sender, mut asked) = mpsc::channel::<Asked>(QUEUE);
    let store = store.clone();
    let writing = tokio::spawn(async move {
        while let Some(Asked { caller, report, given }) = asked.recv().await {
            let given = given.into_iter().map(|(name, value)| (name, value.into()));
            let access = Access { caller: Some(caller), ..of_command("serve", report, given) };
            note(&store, &access).await;
        }
    });
    Some((sender, writing))
}
