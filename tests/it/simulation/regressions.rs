//! Lists of ops that failed once.

use super::execute;
use super::op::Op::{self, *};
use super::op::{Disk, Fault, Moment, Then};
use super::run::Tally;

#[track_caller]
fn check(seed: u64, ops: &[Op]) -> Tally {
    execute(seed, ops).unwrap()
}

/// It has the lease, so nobody else visits; but it went on standing by for the one before it until the database
/// was back.
#[test]
fn one_that_is_cut_off_right_after_it_took_the_lease_visits() {
    let tally = check(
        5119,
        &[
            Tick(0),
            Advance(60),
            Tick(1),
            Crash { who: 0, torn: 0, disk: Disk::Roomy },
            Strike { who: 1, nth: 6, moment: Moment::Before, then: Then::Cut },
            Tick(1),
        ],
    );
    assert_eq!((tally.get("stood by"), tally.get("spooled")), (Some(&1), Some(&1)), "{tally:?}");
}
/// PostgreSQL ended a recording transaction whose recorder had fallen silent, but not one that kept a late snapshot: it
/// held the source's head for ever, and with it everybody else.
#[test]
fn one_that_is_frozen_while_it_keeps_a_late_snapshot_does_not_hold_the_others_up() {
    let stalls = Strike { who: 0, nth: 6, moment: Moment::After, then: Then::Stall };
    check(100_047, &[Tick(0), Tick(0), stalls, Tick(0), LeaseEnds]);
}

/// Two visits at once had the very same instants, and so passed for one that is there twice: the fleet's own mistake.
#[test]
fn two_visits_at_the_same_moment_are_two() {
    check(110_961, &[Api(0, Fault::NoListing), DatabaseDown, Both]);
}
