//! What recording, importing, spooling, storing and reporting take, beside what they should.
//!
//! Prints figures and asserts none: on a busy machine they say little, and a timed test would fail there. It starts a
//! durable PostgreSQL of its own below `target/`, which is removed at the end, and needs about 2 GB there.
//!
//! ```text
//! cargo bench                                  everything, in the sizes that the targets speak of
//! cargo bench -- --only import                 one part
//! cargo bench -- --desktops 2000 --days 3      a quick look
//! ```

mod collecting;
mod figures;
mod importing;
mod reading;
mod recording;
mod server;
mod spooling;
mod workload;
mod writing;

use clap::Parser;
use figures::Figures;
use server::Server;

/// What is measured, on what.
#[derive(Debug, Clone, Parser)]
#[command(about = "Measures deskledger on a private, durable PostgreSQL")]
struct Args {
    /// How many desktops the fleet has.
    #[arg(long, default_value_t = 10_000)]
    desktops: u32,
    /// How many days the ledger holds that is weighed and reported on.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Seconds between two snapshots.
    #[arg(long, default_value_t = 60)]
    interval: u32,
    /// How many snapshots are imported.
    #[arg(long, default_value_t = 300)]
    import: u32,
    /// One part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Keeps the long history's database until Enter is pressed, to look at it with psql.
    #[arg(long)]
    hold: bool,
    /// What cargo passes on to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Snapshots from memory to commit.
    Record,
    /// The program against a simulated API.
    Collect,
    /// The program on a file.
    Import,
    /// Snapshots onto the disk, and from there into the ledger.
    Spool,
    /// Size, reports and replay of a long history.
    Ledger,
    /// A long result, in every format.
    Write,
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Outcome {
    let server = Server::start().await?;
    let outcome = measure_on(&server, args).await;
    server.stop().await?;
    outcome
}

async fn measure_on(server: &Server, args: &Args) -> Outcome {
    println!(
        "{} desktops, a snapshot every {} s, {}",
        args.desktops, args.interval, server.version
    );
    let mut figures = Figures::default();
    let is_wanted = |part| args.only.is_none_or(|only| only == part);
    if is_wanted(Part::Record) {
        recording::measure(server, args, &mut figures).await?;
    }
    if is_wanted(Part::Collect) {
        collecting::measure(server, args, &mut figures).await?;
    }
    if is_wanted(Part::Import) {
        importing::measure(server, args, &mut figures).await?;
    }
    if is_wanted(Part::Spool) {
        spooling::measure(server, args, &mut figures).await?;
    }
    if is_wanted(Part::Ledger) {
        reading::measure(server, args, &mut figures).await?;
    }
    if is_wanted(Part::Write) {
        writing::measure(server, &mut figures).await?;
    }
    figures.end();
    Ok(())
}
