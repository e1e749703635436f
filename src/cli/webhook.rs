//! `deskledger webhook`: makes secrets, proves that a receiver takes what is posted, and says what waits for whom.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Map, json};

use super::Globals;
use crate::clock::Clock;
use crate::config::{Config, SpoolConfig, WebhookConfig};
use crate::domain::harmless;
use crate::error::{refusal, usage, with_hint};
use crate::notify::{Answer, Event, Outbox, Poster, TEST, instant, new_secret};

/// What is done with webhooks.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a secret, for the configuration and the receiver.
    Secret,
    /// Post an event of the type `webhook.test`, and say what the receiver answers.
    Test(Test),
    /// List the webhooks, and what waits for each.
    List(List),
}

/// Arguments of `webhook test`.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// Only this webhook.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `webhook list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Write JSON instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// Where the outboxes of a ledger's webhooks are.
pub(super) fn outboxes(spool: &SpoolConfig) -> PathBuf {
    spool.dir.join("webhooks")
}

/// Runs the command.
///
/// # Errors
/// The configuration cannot be used, a receiver does not take what is posted, or an outbox cannot be read.
pub async fn run(command: Command, globals: &Globals) -> anyhow::Result<()> {
    match command {
        Command::Secret => Ok(writeln!(std::io::stdout(), "{}", new_secret())?),
        Command::Test(args) => test(&configured(globals)?.1, args.name.as_deref()).await,
        Command::List(args) => {
            let (config, webhooks) = configured(globals)?;
            list(&config, &webhooks, args.json)
        }
    }
}

fn configured(globals: &Globals) -> anyhow::Result<(Config, Vec<WebhookConfig>)> {
    let config = globals.configuration()?;
    let webhooks = config.webhooks()?;
    if webhooks.is_empty() {
        return Err(usage(with_hint(
            anyhow::anyhow!("no webhook is configured"),
            "write a `[[webhook]]` into deskledger.toml: docs/operating.md says how",
        )));
    }
    Ok((config, webhooks))
}

async fn test(webhooks: &[WebhookConfig], only: Option<&str>) -> anyhow::Result<()> {
    let chosen: Vec<_> =
        webhooks.iter().filter(|webhook| only.is_none_or(|only| only == webhook.name)).collect();
    if chosen.is_empty() {
        let known: Vec<_> = webhooks.iter().map(|webhook| format!("`{}`", webhook.name)).collect();
        let only = only.unwrap_or_default();
        return Err(usage(anyhow::anyhow!(
            "no webhook `{only}` is configured; there are {}",
            known.join(", ")
        )));
    }
    let mut untaken = Vec::new();
    for webhook in chosen {
        let now = Clock::System.now();
        let mut data = Map::new();
        data.insert("webhook".to_owned(), webhook.name.clone().into());
        let event = Event::new(TEST, &webhook.name, now, now, data);
        let poster = Poster::new(webhook.clone(), Clock::System).context("prepare to post")?;
        let begun = std::time::Instant::now();
        let (answer, text) = poster.post(&event.id, &event.body()).await;
        let (is_taken, said) = verdict(&answer);
        let (state, took) = (if is_taken { "ok" } else { "failed" }, begun.elapsed().as_millis());
        let host = webhook.host();
        let mut line =
            format!("{state:8} {} ({host}): {said}, after {took} ms, {}", webhook.name, event.id);
        if !text.trim().is_empty() {
            line += &format!("\n         {}", harmless(text.trim()));
        }
        writeln!(std::io::stdout(), "{line}")?;
        if !is_taken {
            untaken.push(format!("`{}`", webhook.name));
        }
    }
    match untaken.is_empty() {
        true => Ok(()),
        false => Err(refusal(anyhow::anyhow!("not taken by {}", untaken.join(", ")))),
    }
}

/// Whether it was taken, and what that means for whoever wires it.
fn verdict(answer: &Answer) -> (bool, String) {
    match answer {
        Answer::Taken(status) => (true, format!("HTTP {status}")),
        Answer::Refused(status @ (401 | 403)) => (
            false,
            format!("HTTP {status}: does the receiver have the same secret, and the right clock?"),
        ),
        Answer::Refused(status) => (false, format!("HTTP {status}: is the address right?")),
        Answer::Gone => (false, "HTTP 410: it wants nothing any more".to_owned()),
        Answer::Busy(status @ 300..=399, _) => (
            false,
            format!("HTTP {status}: redirects are not followed; write the address that it names"),
        ),
        Answer::Busy(status, _) => (false, format!("HTTP {status}: a recorder would try again")),
        Answer::Silent(why) => (false, harmless(why)),
    }
}

fn list(config: &Config, webhooks: &[WebhookConfig], is_json: bool) -> anyhow::Result<()> {
    let folder = outboxes(&config.spool_config()?);
    let mut rows = Vec::with_capacity(webhooks.len());
    for webhook in webhooks {
        let is_there = folder.join(&webhook.name).is_dir();
        // Nothing is made by looking.
        let (pending, open) = match is_there {
            true => {
                let outbox =
                    Outbox::open(&folder, &webhook.name).context("look into the outbox")?;
                (outbox.pending()?, outbox.opened()?)
            }
            false => Default::default(),
        };
        rows.push((webhook, pending, open));
    }
    let mut text = String::new();
    if is_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(webhook, pending, open)| {
                let events: Vec<_> = webhook.topics.iter().map(|topic| topic.begins_as()).collect();
                json!({
                    "name": webhook.name,
                    "host": webhook.host(),
                    "events": events,
                    "pending": pending.iter().map(|event| json!({
                        "id": event.id, "type": event.kind, "since": instant(event.added_at),
                    })).collect::<Vec<_>>(),
                    "open": open.iter().map(|(_, open)| json!({
                        "type": open.kind, "about": open.about, "since": instant(open.since),
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        text = format!("{}\n", serde_json::to_string_pretty(&rows)?);
    } else {
        for (webhook, pending, open) in &rows {
            let waits = match pending.first() {
                None => "nothing waits".to_owned(),
                Some(first) => {
                    format!("{} wait, the first since {}", pending.len(), instant(first.added_at))
                }
            };
            text += &format!("{} ({}): {waits}\n", webhook.name, webhook.host());
            for (_, open) in open {
                text += &format!(
                    "  {} {} since {}\n",
                    open.kind,
                    harmless(&open.about),
                    instant(open.since)
                );
            }
        }
    }
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
