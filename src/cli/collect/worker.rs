//! A source's worker: visits on schedule, and between them writes what waits, and looks whether it is to lead.

use std::sync::Arc;
use std::time::{Duration, Instant as Moment};

use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::recording::Change;
use super::vacancies::Vacancies;
use super::{LAST_PATIENCE, log};
use crate::cli::sources::visit_budget;
use crate::clock::Clock;
use crate::collector::{Cycle, PATIENCE, Standing, Step, Tick};
use crate::config::SourceConfig;
use crate::domain::{Instant, format_duration};
use crate::metrics::Loop;
use crate::notify::Teller;
use crate::workspace::Client;

/// How often one that stands by looks whether it is to lead.
const STANDBY: Duration = Duration::from_secs(1);
/// How often what waits in the spool is tried again between visits.
const RETRY: Duration = Duration::from_secs(5);
/// How often the loop comes round when there is nothing to do, so that others see that it does. Longer than the other two,
/// which begin anew each time that it does.
const ROUND: Duration = Duration::from_secs(10);
/// However long the steps are, a turn at the ledger is not waited for longer than that.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What a worker is told.
pub(super) struct Told {
    /// When it is to visit.
    pub ticks: Receiver<Tick>,
    /// What it is to do otherwise.
    pub change: Arc<Change>,
    /// That it is to end.
    pub stop: CancellationToken,
}

/// Records a source until told to stop: a visit at once if the newest is a step old, then one at each tick.
pub(super) async fn record(
    mut source: SourceConfig,
    mut cycle: Cycle<Client>,
    told: Told,
    vacancies: Arc<Vacancies>,
    (seen, teller): (Loop, Teller),
) {
    let (name, ear) = (source.name.clone(), teller.clone());
    cycle.heard_by(move |beliefs| ear.learns(&name, beliefs));
    let Told { mut ticks, change, stop } = told;
    let mut longest = longest(&source);
    let mut said = Said::default();
    let mut step = source.schedule.shortest_step();
    let mut is_due = true;
    loop {
        seen.works(longest);
        if std::mem::take(&mut is_due) {
            let standing = cycle.keeper.lead().await;
            said.follow(&source, &standing);
            let is_recent =
                cycle.keeper.newest().is_some_and(|at| (Clock::System.now() - at).abs() < step);
            if !is_recent && !stop.is_cancelled() {
                visit(&mut cycle, None, &source, &mut said, (&seen, &teller)).await;
            }
        }
        seen.rests(&cycle.keeper).await;
        teller.rests(&source.name, &cycle.keeper, source.max_gap);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            tick = ticks.recv() => match tick {
                Some(tick) => {
                    seen.works(longest);
                    visit(&mut cycle, Some(tick.scheduled_at), &source, &mut said, (&seen, &teller)).await;
                }
                None => break,
            },
            changed = change.next() => {
                let client;
                (source, client) = *changed;
                cycle.change(client, source.max_gap);
                step = source.schedule.shortest_step();
                cycle.keeper.visit_every(step.to_std().unwrap_or(PATIENCE));
                longest = self::longest(&source);
                said.changed(&source);
                is_due = true;
            }
            () = tokio::time::sleep(STANDBY), if said.is_standing_by() => {
                seen.works(longest);
                is_due = vacancies.may_have(&source.name).await
                    && cycle.keeper.lead().await == Standing::Leading;
            }
            () = tokio::time::sleep(RETRY), if cycle.keeper.waiting() > 0 => {
                seen.works(longest);
                cycle.keeper.catch_up().await;
            }
            () = tokio::time::sleep(ROUND) => {}
        }
    }
    if !cycle.keeper.finish(LAST_PATIENCE).await {
        if cycle.keeper.is_holding() {
            tracing::error!(
                source.name = source.name,
                "source `{}`: the last snapshot is LOST: it has found a place neither in the ledger nor on disk",
                source.name
            );
        }
        tracing::warn!(
            source.name = source.name,
            "source `{}`: {} snapshots wait in the spool until the next start",
            source.name,
            cycle.keeper.waiting()
        );
    }
    cycle.keeper.step_down().await;
}

/// One cycle, which is logged and counted.
async fn visit(
    cycle: &mut Cycle<Client>,
    scheduled_at: Option<Instant>,
    source: &SourceConfig,
    said: &mut Said,
    (seen, teller): (&Loop, &Teller),
) {
    let begun = Moment::now();
    teller.begins(&source.name);
    let step = cycle.run(scheduled_at).await;
    seen.made(&step, begun.elapsed());
    teller.made(&source.name, &step, source.max_gap);
    said.log(source, &step);
}

fn recording(source: &SourceConfig) -> String {
    let max_gap = format_duration(source.max_gap);
    format!(
        "recording source `{}` {}; observations hold for up to {max_gap}",
        source.name, source.schedule
    )
}

/// How long the loop may be at one thing: a visit, and waiting for a turn at the ledger before and after it.
fn longest(source: &SourceConfig) -> Duration {
    let step = source.schedule.shortest_step().to_std().unwrap_or(LONGEST_WAIT);
    visit_budget(source) + step.min(LONGEST_WAIT) + Duration::from_mins(1)
}

/// What was last said of who records a source, so that it is said once.
#[derive(Debug, Default)]
enum Said {
    #[default]
    Nothing,
    Recording,
    /// Whom we stand by for.
    StandingBy(String),
}

impl Said {
    fn is_standing_by(&self) -> bool {
        matches!(self, Self::StandingBy(_))
    }

    /// What is said when recording begins holds no more.
    fn changed(&self, source: &SourceConfig) {
        if matches!(self, Self::Recording) {
            tracing::info!(source.name = source.name, "{} from here on", recording(source));
        }
    }

    fn follow(&mut self, source: &SourceConfig, standing: &Standing) {
        let name = &source.name;
        match (&*self, standing) {
            (Self::StandingBy(before), Standing::StandingBy { leader, .. }) if before == leader => {
            }
            (_, Standing::StandingBy { leader, .. }) => {
                tracing::info!(
                    source.name = name,
                    leader,
                    "source `{name}`: standing by, it is recorded by {leader}"
                );
                *self = Self::StandingBy(leader.clone());
            }
            (Self::Recording, _) | (Self::StandingBy(_), Standing::Unknown) => {}
            (Self::StandingBy(_), Standing::Leading) => {
                tracing::info!(source.name = name, "leading now: recording source `{name}`");
                *self = Self::Recording;
            }
            (Self::Nothing, Standing::Leading | Standing::Unknown) => {
                tracing::info!(source.name = name, "{}", recording(source));
                *self = Self::Recording;
            }
        }
    }

    /// One line for what was done, and one more where who records has changed.
    fn log(&mut self, source: &SourceConfig, step: &Step) {
        match step {
            Step::StoodBy { leader, until } => {
                let (leader, until) = (leader.clone(), *until);
                self.follow(source, &Standing::StandingBy { leader, until });
            }
            step => {
                self.follow(source, &Standing::Leading);
                log::step(&source.name, step);
            }
        }
    }
}
