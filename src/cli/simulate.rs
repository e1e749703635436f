//! `deskledger simulate`: the simulated API on this machine, for trying things out.

use std::net::SocketAddr;

use anyhow::Context as _;
use chrono::{Datelike as _, NaiveDate, TimeDelta};
use clap::Args;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::domain::{Instant, parse_duration};
use crate::simulator::{
    MassDisconnect, Password, Rule, ServerConfig, Simulator, Step, TotalCounts, WorldConfig, fault,
};

/// Serve a simulated Workspace API.
///
/// It serves both calls that deskledger reads, and the two of the identity service that give tokens
/// and projects, with the limits that the vendor documents, over a fleet made from a seed: the same
/// seed is always the same fleet. Keys and tokens are checked. What is printed when it starts is what
/// a recorder needs in its environment.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:18080")]
    pub listen: SocketAddr,
    /// How many desktops the fleet has at its start
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub desktops: u32,
    /// How many groups the desktops are in
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub groups: u32,
    /// The seed that the fleet is made from
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// When the fleet begins (RFC 3339) [default: the start of this year]
    #[arg(long, value_name = "INSTANT")]
    pub start: Option<Instant>,
    /// For how many days after its start desktops join, leave and are renamed
    #[arg(long, value_name = "DAYS", default_value_t = 730, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub days: u32,
    /// The share of desktops that something happens to within 30 days; 0 keeps the fleet as it is
    /// [default: 0.03; with --spread 0]
    #[arg(long, value_name = "SHARE")]
    pub churn: Option<f64>,
    /// Nobody works, and every desktop keeps its status: the shares of CONNECTED, DISCONNECTED,
    /// REGISTERED and UNREGISTER, `1:1:1:1`. Every desktop is assigned to a user of its own
    #[arg(long, value_name = "C:D:R:U", value_parser = parse_spread, hide_short_help = true)]
    pub spread: Option<Spread>,
    /// The fleet's local time, in minutes east of UTC
    #[arg(long, value_name = "MINUTES", default_value_t = 480, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-840..=840))]
    pub utc_offset: i64,
    /// What moves the fleet's time: `clock`, or `by-visit=5m`: so much at each new listing
    #[arg(long, value_name = "clock|by-visit=DURATION", default_value = "clock", value_parser = parse_step)]
    pub step: Step,
    /// The project that is served
    #[arg(long, value_name = "P", default_value = "0bec5db98280d2d02fd6c00c2de791ce")]
    pub project_id: String,
    /// The region that the project is named after
    #[arg(long, value_name = "REGION", default_value = "ap-southeast-3")]
    pub region: String,
    /// The access key that may ask
    #[arg(long, value_name = "AK", default_value = "SIMULATEDACCESSKEY00")]
    pub access_key: String,
    /// Its secret
    #[arg(
        long,
        value_name = "SK",
        default_value = "simulated-secret-key",
        hide_default_value = true
    )]
    pub secret_key: SecretString,
    /// The security token that has to come with the key, as with a temporary one
    #[arg(long, value_name = "T")]
    pub security_token: Option<SecretString>,
    /// A token that may ask, and never dies
    #[arg(long, value_name = "T")]
    pub token: Option<SecretString>,
    /// A user who may exchange a password for a token
    #[arg(long, value_name = "NAME", default_value = "recorder")]
    pub user: String,
    /// The user's password
    #[arg(
        long,
        value_name = "PASSWORD",
        default_value = "simulated-password",
        hide_default_value = true
    )]
    pub password: SecretString,
    /// The account that the user belongs to
    #[arg(long, value_name = "NAME", default_value = "simulated")]
    pub domain: String,
    /// How long such a token lives
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    pub token_life: TimeDelta,
    /// The largest offset that is taken; the vendor documents 2000
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub max_offset: u32,
    /// The most records of one page; the vendor documents 2000, and 1000 elsewhere
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub max_limit: u32,
    /// The longest path and query of a request, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 8192, hide_short_help = true)]
    pub max_url: usize,
    /// So many requests for desktops and statistics are answered within a rate window, and more are
    /// refused; for each user
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_limit: Option<u32>,
    /// The length of the rate window, which slides
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub rate_window: TimeDelta,
    /// What `total_count` counts in a listing with filters; the vendor does not say
    #[arg(long, value_name = "matching|everything", default_value = "matching", value_parser = parse_total_counts, hide_short_help = true)]
    pub total_counts: TotalCounts,
    /// How many projects have the region's name; the one that is served is the last of them
    #[arg(long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2), hide_short_help = true)]
    pub projects: u8,
    /// Let many connections break at one instant: `2026-10-07T02:30:00Z=0.8`
    #[arg(long, value_name = "INSTANT=SHARE", value_parser = parse_mass_disconnect, hide_short_help = true)]
    pub mass_disconnect: Vec<MassDisconnect>,
    /// Misbehave: `throttle=2,every=7`, `delay=3s,on=listing`, `drop,rate=0.01`, …
    #[arg(long, value_name = "FAULT", hide_short_help = true, long_help = fault::help())]
    pub fault: Vec<Rule>,
    /// The seed of the faults that come by chance
    #[arg(long, value_name = "S", default_value_t = 1, hide_short_help = true)]
    pub fault_seed: u64,
}

/// The shares of the four statuses.
type Spread = [u32; 4];

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// The address cannot be listened on.
pub async fn run(args: SimulateArgs) -> anyhow::Result<()> {
    let clock = Clock::System;
    let start = args.start.unwrap_or_else(|| start_of_year(clock.now()));
    let mut world = WorldConfig::new(args.seed, args.desktops, start, args.days);
    world.groups = args.groups;
    world.churn = args.churn.unwrap_or(if args.spread.is_some() { 0.0 } else { world.churn });
    world.spread = args.spread;
    world.utc_offset = TimeDelta::minutes(args.utc_offset);
    world.mass_disconnects.clone_from(&args.mass_disconnect);
    let mut config = ServerConfig::new(world, args.project_id.clone());
    config.step = args.step;
    config.region.clone_from(&args.region);
    config.access_key = Some((args.access_key.clone(), args.secret_key.clone()));
    config.security_token.clone_from(&args.security_token);
    config.token.clone_from(&args.token);
    config.password = Some(Password {
        user: args.user.clone(),
        password: args.password.clone(),
        domain: args.domain.clone(),
    });
    config.token_life = args.token_life;
    config.max_offset = args.max_offset;
    config.max_limit = args.max_limit;
    config.max_url = args.max_url;
    // What is parsed as a duration is not negative.
    let window = args.rate_window.to_std().unwrap_or_default();
    config.rate_limit = args.rate_limit.map(|most| (most, window));
    config.total_counts = args.total_counts;
    config.projects = args.projects;
    config.faults.clone_from(&args.fault);
    config.fault_seed = args.fault_seed;
    config.clock = clock;

    // Taken before the address is printed: whoever reads it may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("could not watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not watch for SIGINT")?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("could not listen on {}", args.listen))?;
    let simulator = Simulator::start_on(config, listener).context("could not start")?;
    eprint!("{}", introduction(&args, &simulator.endpoint()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    simulator.stop().await.context("could not go on serving")
}

/// Where it is, and how to use it. The secrets are shown only where they are the built-in ones:
/// whoever gave others knows them.
fn introduction(args: &SimulateArgs, endpoint: &str) -> String {
    use secrecy::ExposeSecret as _;

    let secret = match args.secret_key.expose_secret() {
        "simulated-secret-key" => "simulated-secret-key",
        _ => "…",
    };
    let mut text = format!(
        "simulating {} desktops (seed {}) at {endpoint}; stop with Ctrl-C\n\n\
         export HUAWEICLOUD_SDK_AK={}\n\
         export HUAWEICLOUD_SDK_SK={secret}\n\
         export HUAWEICLOUD_SDK_PROJECT_ID={}\n\
         export DESKLEDGER_ENDPOINT={endpoint}\n",
        args.desktops, args.seed, args.access_key, args.project_id
    );
    if args.security_token.is_some() {
        text.push_str("export HUAWEICLOUD_SDK_SECURITY_TOKEN=…\n");
    }
    if args.fault.iter().any(Rule::is_by_chance) {
        text.push_str(&format!("\nfaults come by chance, from --fault-seed {}\n", args.fault_seed));
    }
    text
}

fn start_of_year(now: Instant) -> Instant {
    NaiveDate::from_ymd_opt(now.year(), 1, 1)
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .expect("every year has a first of January")
        .and_utc()
}

fn parse_step(text: &str) -> Result<Step, String> {
    match text.split_once('=') {
        None if text == "clock" => Ok(Step::Clock),
        Some(("by-visit", interval)) => {
            parse_duration(interval).map(Step::ByVisit).map_err(|error| error.to_string())
        }
        _ => Err(format!("`{text}` is no step; write `clock` or `by-visit=5m`")),
    }
}

fn parse_spread(text: &str) -> Result<Spread, String> {
    let shares: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    shares
        .ok()
        .and_then(|shares| Spread::try_from(shares).ok())
        .filter(|shares| shares.iter().any(|share| *share > 0))
        .ok_or_else(|| {
            format!(
                "`{text}` is none; write the shares of CONNECTED, DISCONNECTED, REGISTERED and UNREGISTER, for example `5:1:3:1`"
            )
        })
}

fn parse_total_counts(text: &str) -> Result<TotalCounts, String> {
    match text {
        "matching" => Ok(TotalCounts::Matching),
        "everything" => Ok(TotalCounts::Everything),
        _ => Err(format!("`{text}` is neither `matching` nor `everything`")),
    }
}

fn parse_mass_disconnect(text: &str) -> Result<MassDisconnect, String> {
    let wrong = || format!("`{text}` is none; write for example `2026-10-07T02:30:00Z=0.8`");
    let (at, share) = text.split_once('=').ok_or_else(wrong)?;
    let at = at.parse().map_err(|_| wrong())?;
    let share: f64 = share.parse().map_err(|_| wrong())?;
    if !(0.0..=1.0).contains(&share) {
        return Err(wrong());
    }
    Ok(MassDisconnect { at, share })
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(args: &[&str]) -> Result<SimulateArgs, clap::Error> {
        let command = SimulateArgs::augment_args(Command::new("simulate").no_binary_name(true));
        SimulateArgs::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn the_arguments_are_sound_and_their_defaults_work() {
        SimulateArgs::augment_args(Command::new("simulate")).debug_assert();
        let args = parse(&[]).unwrap();
        assert_eq!(args.step, Step::Clock);
        let args = parse(&["--step", "by-visit=5m", "--fault", "drop,every=3"]).unwrap();
        assert_eq!(args.step, Step::ByVisit(TimeDelta::minutes(5)));
        let args = parse(&["--spread=5:1:3:1", "--total-counts=everything"]).unwrap();
        assert_eq!((args.spread, args.total_counts), (Some([5, 1, 3, 1]), TotalCounts::Everything));
        for wrong in [
            "--step=hourly",
            "--fault=what",
            "--mass-disconnect=now",
            "--groups=0",
            "--spread=1:1:1",
            "--spread=0:0:0:0",
            "--projects=3",
            "--rate-limit=0",
            "--total-counts=some",
        ] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn chance_names_its_seed() {
        let said = |fault| {
            let args = parse(&["--fault", fault, "--fault-seed", "77"]).unwrap();
            introduction(&args, "http://127.0.0.1:1").contains("--fault-seed 77")
        };
        assert!(said("drop,rate=0.1") && !said("drop"));
    }

    #[test]
    fn secrets_that_were_given_are_not_shown() {
        let args = parse(&["--secret-key", "very-secret", "--token", "also-secret"]).unwrap();
        let shown = format!("{args:?}{}", introduction(&args, "http://127.0.0.1:1"));
        assert!(!shown.contains("very-secret") && !shown.contains("also-secret"), "{shown}");
    }
}
