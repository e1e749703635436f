use chrono::{TimeDelta, TimeZone as _, Utc};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::domain::beliefs::{CONNECTED, DISCONNECTED};

const REGISTERED: StatusId = 3;

fn instant(minutes: i64) -> Instant {
    Utc.timestamp_opt(1_790_812_800 + 60 * minutes, 0).single().expect("an instant")
}

/// A month of so many visits, one every ten minutes, each over after a minute.
fn month(visits: i64) -> Month {
    let end = instant(44_640);
    let visited = (0..visits).map(|nth| instant(5 + 10 * nth));
    let at = [instant(-5), instant(0)].into_iter().chain(visited.clone());
    let finished = visited.map(|at| at + TimeDelta::minutes(1));
    let never = [instant(-9_999_999), instant(9_999_999)];
    Month {
        at: at.chain([end - TimeDelta::microseconds(1), end]).collect(),
        finished: [never[0]; 2].into_iter().chain(finished).chain([never[1]; 2]).collect(),
    }
}

/// A piece by the numbers of its instants, before it is packed.
#[derive(Clone, Copy, Debug)]
struct Told {
    begins: i32,
    ends: i32,
    ended: StatusId,
    row: SpanRow,
}

/// How a piece is drawn: how long nothing was before it, how long it is, its status, how it ends, what is known of its
/// beginning, and of its disconnect.
type Drawn = (i32, i32, StatusId, u8, bool, u8);

/// The pieces of one desktop with one label.
fn told(month: &Month, desktop: DesktopNo, goes_on: bool, drawn: &[Drawn]) -> Vec<Told> {
    let mut pieces: Vec<Told> = Vec::new();
    let (newest_visit, end) = (month.instants() - 2, month.instants());
    let mut disconnect = None;
    for (pause, length, status, how, is_known, of_disconnect) in drawn {
        let before = pieces.last().copied();
        let is_first = goes_on && before.is_none();
        let begins = match before {
            None if goes_on => MONTH_BEGINS,
            None => FIRST_VISIT + pause,
            // Followed at once, in the state that it ended with.
            Some(Told { ends, ended, .. }) if ended == *status => ends,
            Some(Told { ends, .. }) => ends + 1 + pause,
        };
        let (mut ends, mut ended) = (begins.max(FIRST_VISIT - 1) + length, ended::UNKNOWN);
        match how {
            0 => {}
            1 => ended = ended::ABSENT,
            2 => ended = ended::CONTINUES,
            3 => (ends, ended) = (end, ended::CUT),
            how => ended = StatusId::from(how - 4),
        }
        if ended != ended::UNKNOWN {
            ends = ends.max(begins + 1);
        }
        ends = ends.max(FIRST_VISIT);
        if begins > newest_visit || ends > newest_visit && ended != ended::CUT {
            break;
        }
        let at = |nth| month.at(nth).expect("it is in the month");
        let before = |nth| at(nth - if nth == FIRST_VISIT { 2 } else { 1 });
        let from = at(begins);
        let disconnected_at = match of_disconnect {
            0 => None,
            1 if !is_first => Some(from),
            2 => disconnect,
            _ => Some(instant(-777)),
        };
        if disconnected_at == Some(from) {
            disconnect = disconnected_at;
        }
        let started_after = match is_first {
            true => Some(instant(-888)).filter(|_| *is_known),
            false => Some(before(begins)).filter(|_| *is_known),
        };
        let last_seen = if ended == ended::UNKNOWN { at(ends) } else { before(ends) };
        let row = SpanRow {
            desktop,
            label: 7,
            status: *status,
            from,
            first_seen: is_first.then(|| instant(-999)),
            started_after,
            connection_first_seen: None,
            connection_started_after: None,
            disconnected_at,
            end: End::Filed { to: at(ends), last_seen, ended },
        };
        pieces.push(Told { begins, ends, ended, row });
        if ended == ended::CUT {
            break;
        }
    }
    pieces
}

/// Packs pieces as SQL does.
fn pack(pieces: &[Told]) -> Row {
    let mut events: Vec<i32> = Vec::new();
    let (mut newest, mut elsewhere) = (None, None);
    for (nth, told) in pieces.iter().enumerate() {
        let row = &told.row;
        let place = events.len();
        if row.disconnected_at == Some(row.from) {
            newest = Some((row.from, place));
        }
        let back = match (row.disconnected_at, newest) {
            (None, _) => 0,
            (Some(at), Some((newest, then))) if at == newest && place - then < 126 => {
                place - then + 1
            }
            (Some(at), _) => {
                elsewhere = Some(at);
                IN_THE_ROW
            }
        };
        let is_unknown = row.started_after.is_none() && told.begins > MONTH_BEGINS;
        let back = i32::try_from(back).expect("seven bits");
        let status = i32::from(row.status);
        events.push(told.begins << 14 | status << 8 | i32::from(is_unknown) << 7 | back);
        let next = pieces.get(nth + 1);
        if next.is_none_or(|next| next.begins != told.ends || next.row.status != told.ended) {
            let code = match told.ended {
                ended::UNKNOWN => ENDED_UNKNOWN,
                code => 37 + i32::from(code),
            };
            events.push(told.ends << 14 | code << 8);
        }
    }
    let first = &pieces[0].row;
    Row {
        desktop: first.desktop,
        label: first.label,
        first_seen: first.first_seen,
        started_after: first.started_after.filter(|_| first.first_seen.is_some()),
        disconnected_at: elsewhere,
        events: events.into(),
    }
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let status = prop_oneof![4 => 1..5_i16, 1 => 0..26_i16];
    let how = prop_oneof![6 => 4..10_u8, 2 => 0..3_u8, 1 => 3..30_u8];
    let piece = (0..3, 0..4, status, how, any::<bool>(), 0..4_u8);
    prop::collection::vec(piece, 1..150)
}

proptest! {
    #[test]
    fn what_was_packed_comes_out_as_it_went_in(
        rows in prop::collection::vec((any::<bool>(), drawn()), 1..6),
        visits in 1..400_i64,
    ) {
        let month = month(visits);
        let (mut all, mut packed) = (Vec::new(), Vec::new());
        for ((goes_on, drawn), desktop) in rows.into_iter().zip(1..) {
            let told = told(&month, desktop, goes_on, &drawn);
            if told.is_empty() {
                continue;
            }
            let row = pack(&told);
            let pieces: Vec<SpanRow> = told.iter().map(|told| told.row).collect();
            prop_assert!(month.is_well_formed(&row), "{row:?}");
            prop_assert_eq!(month.pieces(&row).collect::<Vec<_>>(), &pieces[..]);
            all.extend(pieces);
            packed.push(row);
        }
        let ordered: Vec<SpanRow> = InOrder::new(month, packed).collect();
        prop_assert!(ordered.is_sorted_by_key(|row| row.from));
        // Of one desktop, two may begin at one instant.
        let of_each = |mut rows: Vec<SpanRow>| {
            rows.sort_by_key(|row| row.desktop);
            rows
        };
        prop_assert_eq!(of_each(ordered), of_each(all));
    }

    /// A change that is seen in nothing would not be found.
    #[test]
    fn what_is_changed_by_hand_is_malformed_or_comes_out_otherwise(
        drawn in drawn(),
        goes_on in any::<bool>(),
        at in any::<Index>(),
        event in prop_oneof![any::<i32>(), (0..31_u32).prop_map(|bit| 1 << bit)],
    ) {
        let month = month(200);
        let told = told(&month, 1, goes_on, &drawn);
        prop_assume!(!told.is_empty());
        let row = pack(&told);
        let mut changed = row.clone();
        *at.get_mut(&mut changed.events) ^= event;
        // Whatever it says, it can be read.
        let pieces: Vec<SpanRow> = month.pieces(&changed).collect();
        let _ = month.sums(&changed);
        prop_assert!(
            row == changed
                || !month.is_well_formed(&changed)
                || pieces != month.pieces(&row).collect::<Vec<_>>(),
            "{row:?} {changed:?}"
        );
    }
}

/// Reckoned by hand: a connection from before the month, one within it, and one that ends unseen, with a disconnect after each
/// of the first two, and a third one.
#[test]
fn sums_are_of_what_ends_in_the_month_and_name_what_may_reach_beyond_it() {
    let month = month(40);
    let status = |status: StatusId| u8::try_from(status + 4).expect("it is small");
    let pieces = told(
        &month,
        1,
        true,
        &[
            (0, 3, CONNECTED, status(DISCONNECTED), true, 0),
            (0, 2, DISCONNECTED, status(CONNECTED), true, 1),
            (0, 4, CONNECTED, status(DISCONNECTED), true, 2),
            (0, 1, DISCONNECTED, status(REGISTERED), true, 1),
            (0, 1, REGISTERED, 1, true, 0),
            (1, 1, CONNECTED, status(DISCONNECTED), false, 0),
            (0, 0, DISCONNECTED, 3, true, 1),
        ],
    );
    // They begin at minutes 0, 25, 45, 85, 95, 125 and 135; the desktop is absent from 105 on.
    let begun: Vec<i64> =
        pieces.iter().map(|told| (told.row.from - instant(0)).num_minutes()).collect();
    assert_eq!(begun, [0, 25, 45, 85, 95, 125, 135]);
    let minutes = |minutes: i64| Some(minutes * 60_000_000);
    let sums = Sums {
        observed: minutes(105 + 44_640 - 125),
        connected: minutes(25 + 40 + 10),
        // The one within the month was seen from 46 at the latest until 75; from 35 and until 86 at the most. Of the next one
        // nobody knows when it began.
        less: minutes(40 - 29 + 10),
        more: None,
        last_connected: Some(instant(125)),
        stretches: Some(2),
        disconnected: minutes(20 + 10),
        longest: minutes(20),
        last_disconnected: Some(instant(135)),
        loose: Some(vec![1, 8]),
        breaks: Some(vec![5]),
        closest: minutes(135 - 25),
        edges: Some(vec![2, 4, 8]),
    };
    assert_eq!(month.sums(&pack(&pieces)), sums);
    let known = month.sums(&pack(&pieces[..5]));
    assert_eq!((known.less, known.more), (minutes(11), minutes(10 + 1)));
}

/// Connected and disconnected in turn, five times.
fn in_turn(month: &Month) -> Row {
    let status = |status: StatusId| u8::try_from(status + 4).expect("it is small");
    let turn = [
        (0, 1, CONNECTED, status(DISCONNECTED), true, 2),
        (0, 1, DISCONNECTED, status(CONNECTED), true, 1),
    ];
    let drawn: Vec<Drawn> = std::iter::repeat_n(turn, 5).flatten().collect();
    pack(&told(month, 1, false, &drawn))
}

#[test]
fn of_many_disconnects_the_first_two_and_the_last_two_are_edges() {
    let month = month(100);
    assert_eq!(month.sums(&in_turn(&month)).edges, Some(vec![2, 4, 8, 10]));
}

#[test]
fn who_speaks_of_another_disconnect_than_the_newest_is_malformed() {
    let month = month(100);
    let mut row = in_turn(&month);
    assert!(month.is_well_formed(&row));
    let back = |row: &Row| row.events[4] & 127;
    assert_eq!(back(&row), 2);
    row.events[4] += 2;
    assert_eq!(back(&row), 4, "the disconnect before");
    assert!(!month.is_well_formed(&row));
}
