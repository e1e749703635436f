//! What the spool promises, on a real disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::WhenFull;
use crate::domain::{AttachUsers, Desktop, Failure, Instant, Listing, Snapshot};

pub(super) fn config(dir: &Path) -> SpoolConfig {
    let (max_bytes, min_free, when_full) = (1 << 30, 0, WhenFull::Stop);
    SpoolConfig { dir: dir.to_owned(), max_bytes, min_free, when_full }
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a disk")
}

pub(super) fn start() -> Instant {
    DateTime::from_timestamp(1_790_841_600, 0).expect("in range")
}

/// The `number`th snapshot: each is another, in its instant and in its desktops.
pub(super) fn snapshot(number: usize) -> Snapshot {
    let at = start() + TimeDelta::minutes(5) * i32::try_from(number).expect("few");
    let desktop = |id: usize| Desktop {
        id: format!("d-{id}").into(),
        name: Some(format!("desktop {}", id * 7919 % 1013).into()),
        status: Some(
            if (id + number).is_multiple_of(7) { "CONNECTED" } else { "REGISTERED" }.into(),
        ),
        users: AttachUsers::default(),
    };
    let desktops = Listing::new((0..20).map(desktop).collect());
    Snapshot {
        scheduled_at: Some(at),
        observed_at: at,
        finished_at: at + TimeDelta::seconds(3),
        max_gap: TimeDelta::minutes(15),
        total: Some(20),
        desktops: Some(desktops),
        groups: Some(Vec::new()),
        failure: None,
    }
}

pub(super) fn all(queue: &mut Queue) -> Vec<Snapshot> {
    std::iter::from_fn(|| queue.next().expect("the disk works")).collect()
}

pub(super) fn fill(queue: &mut Queue, numbers: std::ops::Range<usize>) {
    for number in numbers {
        queue.append(&snapshot(number)).expect("there is room");
    }
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = slot::list(folder).expect("it is there");
    files.sort();
    files
}

pub(super) fn numbers(from: usize, to: usize) -> Vec<Snapshot> {
    (from..to).map(snapshot).collect()
}

/// A visit of any outcome.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let failure = prop::option::of((any::<Option<bool>>(), "[a-z\u{e4}\" ]{0,9}"));
    (0_usize..50, any::<bool>(), any::<bool>(), failure).prop_map(
        |(number, lists, counts, failure)| {
            let whole = snapshot(number);
            Snapshot {
                total: whole.total.filter(|_| lists),
                desktops: whole.desktops.filter(|_| lists),
                groups: whole.groups.filter(|_| counts),
                failure: failure.map(|(code, message)| Failure {
                    code: code.map(|code| code.to_string()),
                    message: Some(message),
                }),
                ..whole
            }
        },
    )
}

#[derive(Clone, Debug)]
enum Op {
    Append(Box<Snapshot>),
    Reopen,
    Read(usize),
    Acknowledge,
    Rewind,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any_snapshot().prop_map(|snapshot| Op::Append(Box::new(snapshot))),
        1 => Just(Op::Reopen),
        2 => (0_usize..40).prop_map(Op::Read),
        2 => Just(Op::Acknowledge),
        1 => Just(Op::Rewind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What was appended comes out the same and in order, whatever happens between; only what was acknowledged may
    /// be missing, and comes again after a restart at most.
    #[test]
    fn what_goes_in_comes_out_in_order(ops in prop::collection::vec(op(), 1..120)) {
        let folder = folder();
        let config = config(folder.path());
        let open = || Spool::open(&config).and_then(|spool| spool.queue("a", None)).expect("it opens");
        let mut queue = open();
        let mut appended: Vec<Snapshot> = Vec::new();
        let (mut acknowledged, mut read) = (0, 0);
        for op in ops {
            match op {
                Op::Append(snapshot) => {
                    queue.append(&snapshot).expect("there is room");
                    appended.push(*snapshot);
                }
                Op::Reopen => {
                    drop(queue);
                    queue = open();
                    let before = appended.len() - queue.len();
                    prop_assert!(before <= acknowledged && acknowledged - before < segment::RECORDS);
                    (acknowledged, read) = (before, before);
                }
                Op::Read(count) => {
                    for _ in 0..count {
                        let found = queue.next().expect("the disk works");
                        prop_assert_eq!(found.as_ref(), appended.get(read));
                        read += usize::from(found.is_some());
                    }
                }
                Op::Acknowledge => {
                    queue.acknowledge().expect("the disk works");
                    acknowledged = read;
                }
                Op::Rewind => {
                    queue.rewind();
                    read = acknowledged;
                }
            }
            prop_assert_eq!(queue.len(), appended.len() - acknowledged);
            let waiting = &appended[acknowledged..];
            prop_assert_eq!(queue.oldest(), waiting.first().map(|first| first.observed_at));
            prop_assert_eq!(queue.newest(), waiting.last().map(|last| last.observed_at));
            prop_assert_eq!(queue.is_empty(), waiting.is_empty());
            prop_assert_eq!(slot::bytes(&folder.path().join("1")).expect("it is there"), queue.bytes());
            prop_assert_eq!(queue.shared().used.load(Ordering::SeqCst), queue.bytes());
        }
        prop_assert_eq!(queue.reports(), []);
        queue.rewind();
        prop_assert_eq!(&all(&mut queue)[..], &appended[acknowledged..]);
    }
}

#[test]
fn an_acknowledged_snapshot_does_not_come_back_and_its_segment_goes() {
    let folder = folder();
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    fill(&mut queue, 0..40);
    assert_eq!(files(&folder.path().join("1/a")).len(), 2);
    for _ in 0..35 {
        queue.next().expect("the disk works").expect("one waits");
    }
    queue.acknowledge().expect("the disk works");
    assert_eq!(files(&folder.path().join("1/a")).len(), 1);
    queue.rewind();
    assert_eq!(all(&mut queue), numbers(35, 40));
    fill(&mut queue, 40..42);
    assert_eq!(all(&mut queue), numbers(40, 42));
    queue.acknowledge().expect("the disk works");
    assert!(queue.is_empty() && queue.bytes() == 0);
    assert_eq!(files(&folder.path().join("1/a")), Vec::<PathBuf>::new());
    assert_eq!(spool.sources().expect("it reads"), Vec::<String>::new());
    fill(&mut queue, 42..43);
    assert_eq!(all(&mut queue), numbers(42, 43));
}

#[test]
fn the_first_that_waits_goes_unread_if_it_is_the_one_that_is_recorded() {
    let folder = folder();
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    queue.acknowledge_first(snapshot(0).observed_at).expect("nothing waits");
    fill(&mut queue, 0..3);
    queue.acknowledge_first(snapshot(1).observed_at).expect("it is not the first");
    assert_eq!(queue.len(), 3);
    queue.acknowledge_first(snapshot(0).observed_at).expect("the disk works");
    queue.acknowledge_first(snapshot(0).observed_at).expect("it is not there any more");
    assert_eq!(all(&mut queue), numbers(1, 3));
    queue.rewind();
    queue.acknowledge_first(snapshot(1).observed_at).expect("the disk works");
    queue.acknowledge_first(snapshot(2).observed_at).expect("the disk works");
    assert_eq!(files(&folder.path().join("1/a")), Vec::<PathBuf>::new());
    fill(&mut queue, 3..4);
    assert_eq!(all(&mut queue), numbers(3, 4));
}

#[test]
fn two_owners_have_different_slots_and_what_one_left_is_taken_first() {
    let folder = folder();
    let config = config(folder.path());
    let open = || Spool::open(&config).expect("it opens");
    let (first, second) = (open(), open());
    let slot = |spool: &Spool| {
        spool.0.slot().expect("it is there").0.file_name().expect("it has one").to_owned()
    };
    assert_eq!((slot(&first), slot(&second)), ("1".into(), "2".into()));
    fill(&mut second.queue("b", None).expect("it opens"), 0..1);
    drop((first, second));
    let (first, second) = (open(), open());
    assert_eq!((slot(&first), slot(&second)), ("2".into(), "1".into()));
    assert_eq!(first.sources().expect("it reads"), ["b"]);
    assert!(matches!(open().queue("", None), Err(SpoolError::Name { .. })));
    let held = first.queue("b", None).expect("it opens");
    assert!(matches!(first.queue("b", None), Err(SpoolError::InUse(_))));
    drop(held);
    assert_eq!(first.queue("b", None).expect("it opens").len(), 1);
}

/// Looking for what others left neither waits for the own slot, which is held, nor makes another one.
#[test]
fn what_others_left_is_found_and_nothing_is_made_to_look_for_it() {
    let folder = folder();
    let config = config(folder.path());
    let ours = Spool::open(&config).expect("it opens");
    fill(&mut ours.queue("a", None).expect("it opens"), 0..1);
    // Waiting for a slot that somebody holds takes 40 ms, whatever else the machine does.
    let quickest = (0..5).map(|_| {
        let begun = std::time::Instant::now();
        assert!(ours.take_left().expect("it looks").is_none());
        begun.elapsed()
    });
    assert!(quickest.min().expect("there are five").as_millis() < 40);
    assert_eq!(files(folder.path()), [folder.path().join("1")]);
    let other = Spool::open(&config).expect("it opens");
    fill(&mut other.queue("b", None).expect("it opens"), 0..1);
    // Not while its process is there.
    assert!(ours.take_left().expect("it looks").is_none());
    drop(other);
    let left = ours.take_left().expect("it looks").expect("there is one");
    assert_eq!(left.sources().expect("it reads"), ["b"]);
    assert!(ours.take_left().expect("it looks").is_none());
}

/// What there is of a spool that somebody takes away under it goes; what comes next is kept where others look for it.
#[test]
fn folders_that_are_taken_away_are_made_anew_and_it_is_said_what_went_with_them() {
    let folder = folder();
    let dir = folder.path().join("spool/ledger");
    let spool = Spool::open(&config(&dir)).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    let mut other = spool.queue("b", None).expect("it opens");
    let own = |slot: &str| dir.join(slot).join("a");
    for (gone, from) in [(own("1"), 0), (dir.join("1"), 10), (folder.path().join("spool"), 20)] {
        fill(&mut queue, from..from + 3);
        std::fs::remove_dir_all(gone).expect("it goes");
        assert!(queue.has_room().expect("it says"));
        fill(&mut queue, from + 3..from + 5);
        let anew = Some(own("1"));
        assert_eq!(queue.reports(), [Report::Gone { path: own("1"), snapshots: 3, anew }]);
        assert_eq!(all(&mut queue), numbers(from + 3, from + 5));
        queue.acknowledge().expect("the disk works");
        let mode = own("1").metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(queue.shared().used.load(Ordering::SeqCst), 0);
    }
    fill(&mut other, 0..1);
    let reports = other.reports();
    assert!(
        matches!(reports[..], [Report::Gone { snapshots: 0, anew: Some(_), .. }]),
        "{reports:?}"
    );
    // The slot is held still.
    let second = Spool::open(&config(&dir)).expect("it opens");
    assert_eq!(second.sources().expect("it reads"), Vec::<String>::new());
    assert_eq!(second.0.slot().expect("it is there").0, dir.join("2"));
}

/// Both would write into the same files.
#[test]
fn a_slot_that_another_one_has_taken_meanwhile_is_left_to_it() {
    let folder = folder();
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    fill(&mut queue, 0..1);
    std::fs::remove_dir_all(folder.path().join("1")).expect("it goes");
    let second = Spool::open(&config(folder.path())).expect("it opens");
    let mut theirs = second.queue("a", None).expect("it opens");
    fill(&mut theirs, 10..12);
    fill(&mut queue, 1..4);
    assert_eq!(all(&mut queue), numbers(1, 4));
    assert_eq!(all(&mut theirs), numbers(10, 12));
    assert!(folder.path().join("2/a/0000000002.seg").exists());
    // Also while something waits there that nobody holds.
    drop((theirs, second));
    std::fs::remove_dir_all(folder.path().join("2")).expect("it goes");
    fill(&mut queue, 4..6);
    assert_eq!(all(&mut queue), numbers(4, 6));
    let first = Spool::open(&config(folder.path())).expect("it opens");
    assert_eq!(all(&mut first.queue("a", None).expect("it opens")), numbers(10, 12));
}

#[test]
fn files_that_are_taken_away_are_passed_over_and_it_is_said() {
    let folder = folder();
    let mut queue = Spool::open(&config(folder.path()))
        .and_then(|spool| spool.queue("a", None))
        .expect("it opens");
    fill(&mut queue, 0..70);
    let (first, last) = (queue.path(1), queue.path(3));
    for file in [&first, &last] {
        std::fs::remove_file(file).expect("it goes");
    }
    // The last was being written to: what is written there now would be nowhere.
    fill(&mut queue, 70..72);
    let gone =
        |path: &Path, snapshots| Report::Gone { path: path.to_owned(), snapshots, anew: None };
    assert_eq!(queue.reports(), [gone(&last, 6)]);
    assert_eq!(all(&mut queue), [numbers(32, 64), numbers(70, 72)].concat());
    assert_eq!(queue.reports(), [gone(&first, 32)]);
    queue.acknowledge().expect("the disk works");
    assert!(queue.is_empty() && queue.shared().used.load(Ordering::SeqCst) == 0);
}

/// Read, and gone before that is said to be recorded: there is nothing to complain of.
#[test]
fn a_file_that_is_gone_when_it_is_not_needed_any_more_is_no_failure() {
    let folder = folder();
    let mut queue = Spool::open(&config(folder.path()))
        .and_then(|spool| spool.queue("a", None))
        .expect("it opens");
    fill(&mut queue, 0..2);
    assert_eq!(all(&mut queue), numbers(0, 2));
    std::fs::remove_file(queue.path(1)).expect("it goes");
    queue.acknowledge().expect("nothing is missing");
    assert!(queue.is_empty());
}

#[test]
fn nobody_else_may_read_it() {
    let folder = folder();
    let dir = folder.path().join("spool/ledger");
    let spool = Spool::open(&config(&dir)).expect("it opens");
    fill(&mut spool.queue("a", None).expect("it opens"), 0..1);
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    for path in [&dir, &dir.join("1"), &dir.join("1/a")] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    for path in [dir.join("1/.lock"), dir.join("1/a/0000000001.seg")] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn every_name_has_a_folder_of_its_own_that_says_whose_it_is() {
    let folder = folder();
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    let long = ["\u{1f980}".repeat(64), format!("{}x", "\u{1f980}".repeat(63)), "a".repeat(64)];
    let names = ["a", "a/b", "a%2Fb", "..", ".", "b\u{e4}r", "x~y", "two words", ".lock", "lock"];
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).chain(long).collect();
    for (number, name) in names.iter().enumerate() {
        fill(&mut spool.queue(name, None).expect("it opens"), number..number + 1);
    }
    for (number, name) in names.iter().enumerate() {
        let mut queue = spool.queue(name, None).expect("it opens");
        assert_eq!(all(&mut queue), numbers(number, number + 1), "{name}");
    }
    names.sort();
    assert_eq!(spool.sources().expect("it reads"), names);
}

#[test]
fn without_room_nothing_is_taken() {
    let folder = folder();
    let config = SpoolConfig { max_bytes: 2_000, ..config(folder.path()) };
    let spool = Spool::open(&config).expect("it opens");
    let (mut one, mut other) =
        (spool.queue("a", None).expect("it opens"), spool.queue("b", None).expect("it opens"));
    let mut taken = 0;
    let error = loop {
        match one.append(&snapshot(taken)) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(taken > 3, "{taken}");
    assert!(matches!(error, SpoolError::Full { bound: Bound::Size { max: 2_000, .. }, .. }));
    let said = error.to_string();
    assert!(said.starts_with("the spool has no room for a snapshot of `a`: it takes 1."), "{said}");
    assert!(said.ends_with("KiB of the 2kB that it may (`max_size`)"), "{said}");
    // The bound is the slot's, not a queue's.
    assert!(other.append(&snapshot(0)).is_err() && !one.has_room().expect("it says"));
    assert_eq!(all(&mut one), numbers(0, taken));
    one.acknowledge().expect("the disk works");
    assert!(one.has_room().expect("it says"));
    fill(&mut other, 0..1);
    let config = SpoolConfig { min_free: u64::MAX, ..config };
    let spool = Spool::open(&config).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    let error = queue.append(&snapshot(0)).expect_err("no disk is that large");
    assert!(matches!(error, SpoolError::Full { bound: Bound::Disk { .. }, .. }), "{error}");
}

/// What is left of a snapshot.
fn dropped(number: usize, max: u64) -> Snapshot {
    let message =
        format!("dropped from the spool, which was full: {}", crate::config::format_size(max));
    let failure = Failure { code: Some("dropped".to_owned()), message: Some(message) };
    Snapshot {
        total: None,
        desktops: None,
        groups: None,
        failure: Some(failure),
        ..snapshot(number)
    }
}

#[test]
fn the_oldest_make_room_and_say_so_in_their_place() {
    let folder = folder();
    let max_bytes = 24_000;
    let config =
        SpoolConfig { max_bytes, when_full: WhenFull::DropOldest, ..config(folder.path()) };
    let spool = Spool::open(&config).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    // Ten are recorded, five more are on their way and not acknowledged.
    fill(&mut queue, 0..20);
    (0..10).for_each(|_| assert!(queue.next().expect("the disk works").is_some()));
    queue.acknowledge().expect("the disk works");
    (0..5).for_each(|_| assert!(queue.next().expect("the disk works").is_some()));
    let (mut count, mut next) = (0, 20);
    while count == 0 {
        assert!(queue.has_room().expect("it says"));
        count += queue.append(&snapshot(next)).expect("others make room").dropped;
        next += 1;
    }
    assert_eq!(count, 22, "those of the first segment that were not acknowledged");
    assert_eq!(queue.next().expect("the disk works"), Some(dropped(15, max_bytes)));
    for number in next..next + 40 {
        count += queue.append(&snapshot(number)).expect("others make room").dropped;
    }
    let end = next + 40;
    queue.rewind();
    let expected: Vec<Snapshot> = (10..10 + count)
        .map(|number| dropped(number, max_bytes))
        .chain(numbers(10 + count, end))
        .collect();
    assert_eq!(all(&mut queue), expected);
    assert!(
        slot::bytes(&spool.0.slot().expect("it is there").0).expect("it is there") <= max_bytes
    );
    let [slot] = &inspect(folder.path()).expect("it reads")[..] else { panic!("there is one") };
    assert!(slot.is_in_use);
    assert_eq!((slot.sources[0].waiting, slot.sources[0].dropped), (end - 10, count));
    drop((queue, spool));
    let spool = Spool::open(&config).expect("it opens");
    assert_eq!(all(&mut spool.queue("a", None).expect("it opens")), expected);
    assert!(!inspect(folder.path()).expect("it reads")[0].sources[0].is_damaged());
}

#[test]
fn nothing_is_dropped_for_what_would_not_fit_all_the_same() {
    let folder = folder();
    let when_full = WhenFull::DropOldest;
    let config = SpoolConfig { max_bytes: 40_000, when_full, ..config(folder.path()) };
    let spool = Spool::open(&config).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    fill(&mut queue, 0..3);
    drop((queue, spool));
    let spool = Spool::open(&SpoolConfig { min_free: u64::MAX, ..config }).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    assert!(!queue.has_room().expect("it says"));
    assert!(matches!(queue.append(&snapshot(3)), Err(SpoolError::Full { .. })));
    assert_eq!(all(&mut queue), numbers(0, 3));
}

/// A visit that failed, and brought nothing.
fn failed(number: usize) -> Snapshot {
    let failure = Failure { code: Some("timeout".to_owned()), message: None };
    let failure = Some(failure);
    Snapshot { total: None, desktops: None, groups: None, failure, ..snapshot(number) }
}

#[test]
fn a_failed_visit_between_makes_the_next_no_larger() {
    let folder = folder();
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    let mut append = |snapshot: &Snapshot| queue.append(snapshot).expect("there is room").bytes;
    let alone = append(&snapshot(0));
    let beside = append(&snapshot(1));
    append(&failed(2));
    let after = append(&snapshot(3));
    append(&failed(4));
    assert!(beside < alone / 2 && after < alone / 2, "{alone}, {beside}, {after}");
    let expected = [snapshot(0), snapshot(1), failed(2), snapshot(3), failed(4)];
    assert_eq!(all(&mut queue), expected);
    drop((queue, spool));
    let spool = Spool::open(&config(folder.path())).expect("it opens");
    assert_eq!(all(&mut spool.queue("a", None).expect("it opens")), expected);
}

#[test]
fn room_is_asked_for_the_largest_record_wherever_it_stood() {
    let folder = folder();
    let config = SpoolConfig { max_bytes: 1_600, ..config(folder.path()) };
    let spool = Spool::open(&config).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    fill_up(&mut queue);
    drop((queue, spool));
    let spool = Spool::open(&config).expect("it opens");
    let mut queue = spool.queue("a", None).expect("it opens");
    assert!(!queue.has_room().expect("it says"), "after a restart, too");
}

/// Puts a whole snapshot after a failed one, and failed ones until another whole one would not fit.
fn fill_up(queue: &mut Queue) {
    queue.append(&failed(0)).expect("there is room");
    let largest = queue.append(&snapshot(1)).expect("there is room").bytes;
    for number in 2.. {
        let has_room = queue.has_room().expect("it says");
        assert_eq!(has_room, queue.bytes() + largest <= 1_600);
        if !has_room {
            break;
        }
        queue.append(&failed(number)).expect("there is room");
    }
}
