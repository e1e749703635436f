//! `deskledger serve`: the reports in a browser.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Globals;
use super::access::notes;
use super::ledger::Ledger;
use super::report::timeout;
use crate::config::ServeFlags;
use crate::error::usage;
use crate::report::catalogue::Catalogue;
use crate::serve::{CONNECTIONS, Guard, Served, serve};

/// Serve the reports to browsers.
///
/// The page of all reports for any period, source and time zone, who was connected when, and the SQL of each figure. It
/// only reads, and asks nothing of any other host. On this machine alone unless --listen says otherwise, and then only
/// to those who know the token: as `Authorization: Bearer`, or as the password that a browser asks for. The token
/// crosses the network as it is: put a proxy with TLS before it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it listens [default: 127.0.0.1:8090].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// What those who ask have to know: `file:PATH` or `env:NAME` [env: DESKLEDGER_SERVE_TOKEN]. Needed beyond this
    /// machine.
    #[arg(long, value_name = "TOKEN")]
    token: Option<SecretString>,
    /// A folder with reports of your own, one `.sql` file each.
    #[arg(long, value_name = "DIR", env = "DESKLEDGER_QUERIES")]
    queries: Option<PathBuf>,
    /// Give up on a report after this long.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout)]
    timeout: Duration,
}

/// Runs the command.
///
/// # Errors
/// Wrong configuration, no database, or an address that cannot be listened on.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let settings = config.serve(ServeFlags { listen: args.listen, token: args.token })?;
    let mut catalogue = Catalogue::built_in();
    if let Some(folder) = args.queries.as_deref().or(config.queries.as_deref()) {
        catalogue.add_folder(folder).map_err(usage)?;
        for defect in catalogue.defects() {
            tracing::warn!("{defect}");
        }
    }
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listen on {}", settings.listen))?;
    let address = listener.local_addr().context("read the address that was given")?;
    let ledger = Ledger::open_to_read(&config).await?;
    let reading = ledger.only_reading(&config, CONNECTIONS).await?;
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let notes = notes(&config, &ledger.store);
    let (notes, writing) = notes.unzip();
    let served = Served {
        pool: reading.pool().clone(),
        catalogue,
        timeout: args.timeout,
        guard: Guard::new(settings.token),
        notes,
    };
    eprintln!("Reports are at http://{address}/ until Ctrl-C.");
    serve(listener, served, stop).await;
    // What was asked last is written down, too.
    if let Some(writing) = writing {
        let _ = tokio::time::timeout(Duration::from_secs(2), writing).await;
    }
    // Whoever is left without an answer still holds a connection.
    let _ = tokio::time::timeout(Duration::from_secs(1), reading.pool().close()).await;
    ledger.close().await
}
