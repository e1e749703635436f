//! What a history is made of, simplest first, so that it shrinks towards the plain.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

/// Where a history begins, and what it is about. Its snapshots fall around a moment at which
/// calendars do something.
#[derive(Clone, Debug)]
pub struct Plan {
    /// RFC 3339.
    pub moment: &'static str,
    /// How many times five minutes before the moment the first visit is.
    pub lead: i64,
    /// How many times slower all goes, where it is to take months.
    pub slow: Option<i64>,
    /// One for each source, at most two.
    pub fleets: Vec<Fleet>,
}

/// One source: what it holds at first, and all visits to it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Whether its lines say where it is.
    pub located: bool,
    pub delay_seconds: i64,
    pub desktops: Vec<Desktop>,
    pub groups: Vec<Group>,
    pub steps: Vec<Step>,
}

/// A desktop's state: places in the world's lists of statuses, names and users.
#[derive(Clone, Debug)]
pub struct Desktop {
    pub listed: bool,
    pub status: usize,
    pub name: usize,
    /// `None` is null.
    pub users: Option<Vec<usize>>,
}

#[derive(Clone, Debug)]
pub struct Group {
    /// How often its name comes in one answer; not listed at 0.
    pub copies: usize,
    pub counters: [Option<i64>; 13],
}

/// What happened, and then the visit.
#[derive(Clone, Debug)]
pub struct Step {
    pub events: Vec<Event>,
    pub pace: Pace,
    /// From this line on; `Some(None)` leaves the key out.
    pub max_gap: Option<Option<&'static str>>,
    /// `finished_at` − `observed_at`.
    pub took: Option<i64>,
    pub scheduled: bool,
    pub listing: Listing,
    pub statics: Statics,
    pub error: Option<Error>,
    pub noise: Noise,
}

#[derive(Clone, Debug)]
pub enum Event {
    Status {
        desktop: usize,
        status: usize,
    },
    /// All desktops at once: an outage, or its end.
    Everybody {
        status: usize,
    },
    Name {
        desktop: usize,
        name: usize,
    },
    Users {
        desktop: usize,
        users: Option<Vec<usize>>,
    },
    /// The same users, in other groups of users.
    Regroup {
        desktop: usize,
    },
    /// Listed, and no longer.
    ComeOrGo {
        desktop: usize,
    },
    Counter {
        group: usize,
        counter: usize,
        value: Option<i64>,
    },
    Copies {
        group: usize,
        copies: usize,
    },
}

/// How long after an earlier visit the next one is.
#[derive(Clone, Debug)]
pub enum Pace {
    /// About five minutes after the last visit.
    Cadence {
        jitter_seconds: i64,
        jitter_micros: i64,
    },
    /// As far after an earlier visit as the smaller `max_gap` of the two allows, give or take.
    Limit {
        after: Anchor,
        micros: i64,
    },
    Pause {
        minutes: i64,
    },
}

/// The last visit, the last with a listing, the last with a complete one.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Visit,
    Usable,
    Complete,
}

#[derive(Clone, Debug)]
pub enum Listing {
    Complete {
        total_given: bool,
    },
    /// Desktop `n` is read if bit `n` is set.
    Partial {
        read: u8,
        total: Total,
    },
    Failed {
        key_given: bool,
        total: Option<i64>,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Total {
    /// The distinct ids, and as many more (or fewer).
    Off(i64),
    Null,
}

#[derive(Clone, Copy, Debug)]
pub enum Statics {
    Read,
    Null,
    Missing,
}

#[derive(Clone, Debug)]
pub struct Error {
    pub code: Option<&'static str>,
    /// What stands after the first words of the message, which there are then.
    pub message: Option<&'static str>,
}

/// What must make no difference, or little.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Desktops, users and groups come in the opposite order.
    pub reversed: bool,
    /// Users come twice.
    pub doubled_users: bool,
    /// This desktop has another record before its own.
    pub doubled: Option<usize>,
    /// A record without an id.
    pub anonymous: bool,
}

/// Calendars at work: nothing; Berlin's clocks, forth and back; a month's end in UTC and in Kolkata; a
/// year's; Lord Howe's clocks, back and forth.
const MOMENTS: [&str; 8] = [
    "2026-10-05T08:00:00Z",
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-05-01T00:00:00Z",
    "2026-02-28T18:30:00Z",
    "2027-01-01T00:00:00Z",
    "2026-04-04T15:00:00Z",
    "2026-10-03T15:30:00Z",
];

const MAX_GAPS: [Option<&str>; 8] = [
    Some("15m"),
    None,
    Some("10m"),
    Some("6m"),
    Some("5m"),
    Some("1h"),
    Some("1h30m"),
    Some("90s"),
];

pub fn plans() -> impl Strategy<Value = Plan> {
    let moment = prop::sample::select(MOMENTS.to_vec());
    let fleets = vec(fleets(), 1..=2);
    let slow = weighted(0.4, 300i64..1500);
    (moment, 0i64..=20, slow, fleets).prop_map(|(moment, lead, slow, fleets)| Plan {
        moment,
        lead,
        slow,
        fleets,
    })
}

fn fleets() -> impl Strategy<Value = Fleet> {
    let steps = vec(steps(), 1..=40);
    let delay = prop_oneof![Just(0i64), 0i64..600];
    (any::<bool>(), delay, vec(desktops(), 0..=6), vec(groups(), 0..=2), steps).prop_map(
        |(located, delay_seconds, desktops, groups, steps)| Fleet {
            located,
            delay_seconds,
            desktops,
            groups,
            steps,
        },
    )
}

fn desktops() -> impl Strategy<Value = Desktop> {
    (statuses(), 0usize..8, users(), prop::bool::weighted(0.8))
        .prop_map(|(status, name, users, listed)| Desktop { listed, status, name, users })
}

fn groups() -> impl Strategy<Value = Group> {
    (copies(), prop::array::uniform13(counters()))
        .prop_map(|(copies, counters)| Group { copies, counters })
}

fn steps() -> impl Strategy<Value = Step> {
    let events = prop_oneof![2 => vec(events(), 0..=1), 3 => vec(events(), 0..=4)];
    let max_gap = weighted(0.08, prop::sample::select(MAX_GAPS.to_vec()));
    let when = (paces(), max_gap, weighted(0.7, 0i64..45), any::<bool>());
    let read = (listings(), statics(), weighted(0.7, errors()), noises());
    (events, when, read).prop_map(|(events, when, read)| {
        let (pace, max_gap, took, scheduled) = when;
        let (listing, statics, error, noise) = read;
        Step { events, pace, max_gap, took, scheduled, listing, statics, error, noise }
    })
}

fn events() -> impl Strategy<Value = Event> {
    let desktop = || 0usize..8;
    let group = || 0usize..3;
    prop_oneof![
        10 => (desktop(), statuses())
            .prop_map(|(desktop, status)| Event::Status { desktop, status }),
        4 => (0usize..2).prop_map(|status| Event::Everybody { status }),
        2 => (desktop(), 0usize..8).prop_map(|(desktop, name)| Event::Name { desktop, name }),
        3 => (desktop(), users()).prop_map(|(desktop, users)| Event::Users { desktop, users }),
        1 => desktop().prop_map(|desktop| Event::Regroup { desktop }),
        3 => desktop().prop_map(|desktop| Event::ComeOrGo { desktop }),
        2 => (group(), 0usize..13, counters())
            .prop_map(|(group, counter, value)| Event::Counter { group, counter, value }),
        1 => (group(), copies()).prop_map(|(group, copies)| Event::Copies { group, copies }),
    ]
}

/// Places in [`super::world::STATUSES`]: the documented ones first, and more often.
fn statuses() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0usize), 5 => Just(1usize), 4 => 2usize..4, 3 => 4usize..15]
}

fn users() -> impl Strategy<Value = Option<Vec<usize>>> {
    prop_oneof![
        5 => vec(0usize..3, 1..=1).prop_map(Some),
        3 => vec(0usize..14, 0..=3).prop_map(Some),
        1 => Just(None),
    ]
}

fn copies() -> impl Strategy<Value = usize> {
    prop_oneof![5 => Just(1usize), 2 => Just(0), 1 => Just(2)]
}

fn counters() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        12 => (0i64..30).prop_map(Some),
        1 => Just(None),
        1 => (i64::from(i16::MAX)..i64::from(i16::MAX) + 2).prop_map(Some),
        1 => (i64::from(i32::MAX)..10_000_000_000).prop_map(Some),
        1 => (-5i64..0).prop_map(Some),
    ]
}

fn paces() -> impl Strategy<Value = Pace> {
    let micros = prop_oneof![Just(0i64), 0i64..1_000_000];
    let cadence = (-30i64..=30, micros).prop_map(|(jitter_seconds, jitter_micros)| Pace::Cadence {
        jitter_seconds,
        jitter_micros,
    });
    let exactly = Just(Pace::Cadence { jitter_seconds: 0, jitter_micros: 0 });
    let after = prop_oneof![Just(Anchor::Visit), Just(Anchor::Usable), Just(Anchor::Complete),];
    let micros =
        prop_oneof![Just(0i64), Just(1i64), Just(-1i64), Just(1_000_000i64), Just(-1_000_000i64),];
    let limit = (after, micros).prop_map(|(after, micros)| Pace::Limit { after, micros });
    let pause = (10i64..300).prop_map(|minutes| Pace::Pause { minutes });
    prop_oneof![10 => exactly, 8 => cadence, 4 => limit, 1 => pause]
}

fn listings() -> impl Strategy<Value = Listing> {
    let complete = any::<bool>().prop_map(|given| Listing::Complete { total_given: !given });
    let total =
        prop_oneof![(1i64..4).prop_map(Total::Off), Just(Total::Null), Just(Total::Off(-1))];
    let partial = (prop_oneof![Just(u8::MAX), any::<u8>()], total)
        .prop_map(|(read, total)| Listing::Partial { read, total });
    let failed = (any::<bool>(), weighted(0.3, 0i64..5))
        .prop_map(|(key_given, total)| Listing::Failed { key_given, total });
    prop_oneof![8 => complete, 2 => partial, 1 => failed]
}

fn statics() -> impl Strategy<Value = Statics> {
    prop_oneof![8 => Just(Statics::Read), 1 => Just(Statics::Null), 1 => Just(Statics::Missing)]
}

fn errors() -> impl Strategy<Value = Error> {
    let code = prop_oneof![
        5 => Just("WKS.00000003"), 1 => Just("clock"), 1 => Just("spool"), 1 => Just("dropped"),
    ];
    let message = prop_oneof![
        5 => Just(""),
        1 => Just("; clock: the clock was set back by 2m"),
        1 => Just("; spool: nothing was visited from then on: full; clock: the clock was set forward by 1h"),
        1 => Just("; clock: says nothing"),
    ];
    (weighted(0.7, code), weighted(0.7, message))
        .prop_map(|(code, message)| Error { code, message })
}

fn noises() -> impl Strategy<Value = Noise> {
    let seldom = || prop::bool::weighted(0.06);
    (any::<bool>(), seldom(), weighted(0.06, 0usize..8), seldom()).prop_map(
        |(reversed, doubled_users, doubled, anonymous)| Noise {
            reversed,
            doubled_users,
            doubled,
            anonymous,
        },
    )
}
