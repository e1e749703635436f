//! Asks a source's API, in ten requests at most, each once.
//!
//! | requests | what for |
//! |---|---|
//! | 0 to 2 | a token for a password, the region's project |
//! | 2 | each of the two calls |
//! | 0 to 1 | whether the configured page and offset are taken |
//! | 0 to 5 | beyond one listing's reach: the totals of the four statuses, and a larger offset |

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::answers;
use super::check::Check;
use super::database::Known;
use super::pace::{Demand, Times};
use super::paging::Paging;
use crate::cli::sources::{Prepared, Ready, Visits};
use crate::clock::Clock;
use crate::config::SourceConfig;
use crate::domain::Source;
use crate::error::Chain;
use crate::store::Standing;
use crate::workspace::{Account, Accounts, ApiError, Glance, Kind, Look, ProjectError, reach};

/// For a name, and for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// For all requests of one source together.
const BUDGET: Duration = Duration::from_secs(60);

const LISTING: &str = "connect-desktops";
const STATISTICS: &str = "connections/status";

/// What is checked by asking, in the order in which it is shown.
const ASKED: [&str; 6] = ["credentials", "project", LISTING, STATISTICS, "clock", "paging"];

/// What was found of one source.
#[derive(Debug)]
pub(super) struct Found {
    pub checks: Vec<Check>,
    /// Its place, as far as it is known.
    pub place: Option<Source>,
    /// What its visits take of its account, where that is known.
    pub demand: Option<Demand>,
}

/// The checks of one source.
pub(super) async fn check(source: &SourceConfig, accounts: &Accounts, known: &Known) -> Found {
    // Nobody stops a doctor half-way.
    let halt = CancellationToken::new();
    let prepared = match Prepared::of(source.clone(), accounts, Visits::Doubted, &halt) {
        Ok(prepared) => prepared,
        Err(error) => {
            let found = Chain(error.as_ref()).to_string();
            let advice = "mend the region, `endpoint` or `auth` of this source";
            let mut checks = vec![Check::failed("endpoint", found, advice)];
            skip_rest(&mut checks, "the source cannot be used as it is configured");
            return Found { checks, place: None, demand: None };
        }
    };
    let endpoint = prepared.config().endpoint.clone();
    let mut checks: Vec<Check> = answers::encryption(&endpoint).into_iter().collect();
    // What is configured needs no answer.
    let mut place = prepared.place();
    let way = reach(&endpoint, PATIENCE).await;
    if way.is_err() {
        checks.push(answers::endpoint(&endpoint, &way, None));
        skip_rest(&mut checks, "the endpoint cannot be reached");
        return Found { checks, place: Some(place), demand: None };
    }
    let account = Arc::clone(&prepared.config().account);
    let mut demand = None;
    let recorded: Vec<Source> =
        known.iter().flat_map(|known| &known.standings).map(Standing::pinned).collect();
    match prepared.resolve(&recorded).await {
        Ok(ready) => {
            let asked = Asked::ask(&ready, &account).await;
            demand = asked.paging.as_ref().and_then(|paging| paging.as_ref().ok()).map(|paging| {
                let (requests, times) = (paging.takes(), paging.times);
                Demand { source: source.name.clone(), account, requests, times }
            });
            checks.push(answers::endpoint(&endpoint, &way, Some(&asked.listing)));
            checks.extend(asked.checks(&ready, known));
            place = ready.place;
        }
        Err(error) => {
            checks.push(answers::endpoint(&endpoint, &way, None));
            checks.push(no_project(&error));
            skip_rest(&mut checks, "the project is not known");
        }
    }
    Found { checks, place: Some(place), demand }
}

fn skip_rest(checks: &mut Vec<Check>, why: &str) {
    let rest: Vec<_> =
        ASKED.into_iter().filter(|name| checks.iter().all(|check| check.name != *name)).collect();
    checks.extend(rest.into_iter().map(|name| Check::skipped(name, why)));
}

/// The project could not be looked up: a credential that is refused, or an answer that is none.
fn no_project(error: &anyhow::Error) -> Check {
    match error.downcast_ref::<ProjectError>() {
        Some(ProjectError::Api(error)) if error.is_refused() || error.kind == Kind::Withheld => {
            // Before any request of the API itself: who it is, the error says.
            answers::credentials(&Err(error.clone()), None, Clock::System.now())
        }
        Some(ProjectError::Api(error)) => answers::failed_call("project", error),
        _ => Check::failed(
            "project",
            Chain(error.as_ref()).to_string(),
            "set `project_id`: the console shows it under My Credentials",
        ),
    }
}

/// What came back.
struct Asked {
    who: Result<crate::workspace::Who, ApiError>,
    listing: Result<Glance, ApiError>,
    groups: Result<usize, ApiError>,
    skew: Option<crate::workspace::Skew>,
    paging: Option<Result<Paging, ApiError>>,
}

impl Asked {
    async fn ask(ready: &Ready, account: &Account) -> Self {
        let who = ready.client.who().await;
        let look = ready.client.look(BUDGET);
        // One after the other: the first refusal keeps the others from being sent.
        let listing = look.desktops(None, 0, 1).await;
        let groups = look.groups().await;
        let paging = match listing.as_ref().ok().and_then(|listing| listing.total) {
            Some(total) => Some(paging(&look, &ready.source, total, account).await),
            None => None,
        };
        let skew = look.traffic().skew;
        Self { who, listing, groups, skew, paging }
    }

    fn checks(&self, ready: &Ready, known: &Known) -> Vec<Check> {
        let refused = self.listing.as_ref().err().or(self.groups.as_ref().err());
        vec![
            answers::credentials(&self.who, refused, Clock::System.now()),
            answers::project(&ready.source, &ready.place, known),
            answers::call(LISTING, &self.listing, |glance| {
                format!("allowed, answered in {}", answers::millis(glance.took))
            }),
            answers::call(STATISTICS, &self.groups, |groups| {
                format!("allowed, {groups} {}", if *groups == 1 { "group" } else { "groups" })
            }),
            answers::clock(self.skew),
            match (&self.paging, &self.listing) {
                (Some(Ok(paging)), _) => {
                    let roster =
                        known.as_ref().ok().and_then(|known| known.roster(&ready.place.name));
                    Paging { roster, ..*paging }.check()
                }
                (Some(Err(error)), _) => not_paged(error, &ready.source),
                (None, Ok(_)) => Check::failed(
                    "paging",
                    "the API gave no `total_count`",
                    "without it no listing is complete: ask the vendor's support",
                ),
                (None, Err(_)) => Check::skipped("paging", format!("{LISTING} was not answered")),
            },
        ]
    }
}

/// A page as the configuration asks for it was not given.
fn not_paged(error: &ApiError, source: &SourceConfig) -> Check {
    if error.status == Some(400) {
        return Check::failed(
            "paging",
            format!(
                "the server refuses a page as configured (`page_size` {}, `max_offset` {}): {}",
                source.page_size, source.max_offset, error.message
            ),
            "write smaller ones: the vendor documents 1000 and 2000",
        );
    }
    answers::failed_call("paging", error)
}

/// # Errors
/// The server does not give a page as the configuration asks for it.
async fn paging(
    look: &Look<'_>,
    source: &SourceConfig,
    total: i64,
    account: &Account,
) -> Result<Paging, ApiError> {
    let mut paging = Paging {
        total,
        page_size: source.page_size,
        max_offset: source.max_offset,
        statuses: None,
        takes_more: None,
        roster: None,
        times: Times::of(source),
        // Other sources of the account have said by now what they hold it to.
        requests_per_minute: account.requests_per_minute(),
    };
    // At the listing's end, where a full page holds few records.
    let last = u32::try_from(total - 1).unwrap_or(0);
    let (offset, limit) =
        if last <= source.max_offset { (last, source.page_size) } else { (source.max_offset, 1) };
    look.desktops(None, offset, limit).await?;
    if total > paging.reach() {
        let mut statuses = [0; 4];
        for (count, status) in statuses.iter_mut().zip(Look::STATUSES) {
            *count = look.desktops(Some(status), 0, 1).await?.total.unwrap_or(total);
        }
        paging.statuses = Some(statuses);
        paging.takes_more = match look.desktops(None, last, 1).await {
            Ok(glance) => Some(glance.records > 0),
            Err(error) if error.status == Some(400) => Some(false),
            Err(_) => None,
        };
    }
    Ok(paging)
}
