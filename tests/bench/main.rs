//! What recording, importing, spooling, storing and reporting take, beside what they should and beside what else there is.
//!
//! Prints figures and asserts none: on a busy machine they say little, and a timed test would fail there. It starts a
//! durable PostgreSQL of its own below `target/`, which is removed at the end, and needs about 2 GB there; 100,000
//! desktops for 90 days take 6.
//!
//! ```text
//! cargo bench                                          everything, for 10,000 desktops and 30 days
//! cargo bench -- --only import                         one part, or several: --only ledger,rows
//! cargo bench -- --desktops 2000 --days 3              a quick look
//! cargo bench -- --only ledger --desktops 1000,10000 --days 30,90 --interval 300 --json figures.json
//! ```

mod building;
mod collecting;
mod facts;
mod figures;
mod importing;
mod ledger;
mod peers;
mod process;
mod reporting;
mod server;
mod spooling;
mod storage;
mod workload;
mod writecost;
mod writing;

use std::path::PathBuf;

use clap::{Parser, ValueEnum as _};
use figures::Figures;
use server::Server;

/// What is measured, on what.
#[derive(Debug, Clone, Parser)]
#[command(about = "Measures deskledger on a private, durable PostgreSQL")]
struct Args {
    /// How many desktops the fleet has; several sizes, one after the other: `1000,10000`
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10000")]
    desktops: Vec<u32>,
    /// Parts alone
    #[arg(long, value_enum, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<Part>,
    /// Writes everything to a file as well, with the facts of the machine
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    /// What cargo passes on to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured of one fleet.
#[derive(Debug, Clone, clap::Args)]
struct Asked {
    /// How many desktops the fleet has.
    #[arg(skip)]
    desktops: u32,
    /// How many days the ledger holds that is weighed and reported on; of several, each is a stop on the way to the last
    #[arg(long, value_name = "DAYS,…", value_delimiter = ',', default_value = "30")]
    days: Vec<u32>,
    /// Seconds between two snapshots
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    interval: u32,
    /// How many snapshots are imported
    #[arg(long, value_name = "N", default_value_t = 300)]
    import: u32,
    /// How many polls are written as rows, beside the ledger
    #[arg(long, value_name = "N", default_value_t = 120)]
    polls: u32,
    /// How many visits dlt makes in each of its ways, and the program
    #[arg(long, value_name = "N", default_value_t = 5)]
    cycles: u32,
    /// Seconds after which a report on the ledger is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Packs nothing, to compare with
    #[arg(long)]
    unpacked: bool,
    /// Keeps the long history's database until Enter is pressed, to look at it with psql
    #[arg(long)]
    hold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Snapshots from memory to commit.
    Record,
    /// The program against a simulated API.
    Collect,
    /// dlt on the same API, right after the program: what else the machine does changes.
    Dlt,
    /// The program on a file.
    Import,
    /// Snapshots onto the disk, and from there into the ledger.
    Spool,
    /// A row for each desktop and poll, beside the ledger.
    Rows,
    /// A long history: its size, its reports, and what writing takes at its end.
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
    let facts = facts::at_start(server).await?;
    println!(
        "A snapshot every {} s, {}, {} cores with load {}",
        args.asked.interval, server.version, facts["cores"], facts["load_at_start"]
    );
    let mut figures = Figures::new(facts, args.json.clone());
    let outcome = measure_all(server, args, &mut figures).await;
    facts::at_end(&mut figures.facts);
    // What is known by then is known, whatever went wrong after it.
    figures.end()?;
    outcome
}

async fn measure_all(server: &Server, args: &Args, figures: &mut Figures) -> Outcome {
    let is_wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut first_failure = Ok(());
    for desktops in &args.desktops {
        let asked = Asked { desktops: *desktops, ..args.asked.clone() };
        println!("\n== {desktops} desktops");
        for part in Part::value_variants().iter().filter(|part| is_wanted(**part)) {
            let outcome = match part {
                Part::Record => writecost::measure(server, &asked, figures).await,
                Part::Collect => collecting::measure(server, &asked, figures).await,
                Part::Rows => peers::rows::measure(server, &asked, figures).await,
                Part::Dlt => peers::dlt::measure(server, &asked, figures).await,
                Part::Import => importing::measure(server, &asked, figures).await,
                Part::Spool => spooling::measure(server, &asked, figures).await,
                Part::Ledger => ledger::measure(server, &asked, figures).await,
                Part::Write => Ok(()),
            };
            // The others go on.
            if let Err(error) = outcome {
                figures.failed("part", "the rest of this part", &*error);
                first_failure = first_failure.and(Err(error));
            }
        }
    }
    if is_wanted(Part::Write) {
        writing::measure(server, figures).await?;
    }
    first_failure
}
