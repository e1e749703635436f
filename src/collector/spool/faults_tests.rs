//! What is left when something goes wrong: writes cut short, rotten bytes, a disk that fails, a sync left out.

use std::fs::File;
use std::io;

use super::disk::RealDisk;
use super::tests::{all, config, files, fill, folder, numbers, snapshot};
use super::*;

/// A disk that says what was done to it, and fails when told to.
#[derive(Debug, Default)]
struct Witness {
    steps: Mutex<Vec<String>>,
    /// The step that fails, by its first words.
    fails: Mutex<Option<&'static str>>,
}

impl Witness {
    fn step(&self, what: &str, path: &std::path::Path) -> io::Result<()> {
        let kind = path.extension().map_or("folder".into(), std::ffi::OsStr::to_string_lossy);
        let step = format!("{what} {kind}");
        let fails = self.fails.lock().expect("nobody panics").is_some_and(|fails| fails == step);
        self.steps.lock().expect("nobody panics").push(step);
        if fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
    }

    fn steps(&self) -> Vec<String> {
        std::mem::take(&mut *self.steps.lock().expect("nobody panics"))
    }

    fn fail(&self, step: Option<&'static str>) {
        *self.fails.lock().expect("nobody panics") = step;
    }
}

impl Disk for Witness {
    fn create(&self, path: &std::path::Path) -> io::Result<File> {
        self.step("create", path)?;
        RealDisk.create(path)
    }

    fn write(
        &self,
        file: &File,
        path: &std::path::Path,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let done = self.step("write", path);
        // A full disk takes what fits.
        let bytes = if done.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        RealDisk.write(file, path, offset, bytes)?;
        done
    }

    fn sync_data(&self, file: &File, path: &std::path::Path) -> io::Result<()> {
        self.step("sync data", path)?;
        RealDisk.sync_data(file, path)
    }

    fn sync(&self, file: &File, path: &std::path::Path) -> io::Result<()> {
        self.step("sync", path)?;
        RealDisk.sync(file, path)
    }

    fn truncate(&self, file: &File, path: &std::path::Path, length: u64) -> io::Result<()> {
        self.step("truncate", path)?;
        RealDisk.truncate(file, path, length)
    }

    fn rename(&self, from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
        self.step("rename to", to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &std::path::Path) -> io::Result<()> {
        // What is not there is removed for safety's sake, which is no step.
        if path.exists() {
            self.step("remove", path)?;
        }
        RealDisk.remove(path)
    }

    fn sync_folder(&self, path: &std::path::Path) -> io::Result<()> {
        self.step("sync", path)?;
        RealDisk.sync_folder(path)
    }

    fn free(&self, path: &std::path::Path) -> io::Result<u64> {
        RealDisk.free(path)
    }
}

fn witnessed(dir: &std::path::Path) -> (Arc<Witness>, Queue) {
    let witness = Arc::new(Witness::default());
    let disk: Arc<dyn Disk> = Arc::<Witness>::clone(&witness);
    let spool = Spool::open_on(&config(dir), disk).expect("it opens");
    let queue = spool.queue("a", None).expect("it opens");
    witness.steps();
    (witness, queue)
}

fn reopened(dir: &std::path::Path) -> Queue {
    Spool::open(&config(dir)).and_then(|spool| spool.queue("a", None)).expect("it opens")
}

#[test]
fn nothing_is_promised_before_it_is_synced() {
    let folder = folder();
    let (witness, mut queue) = witnessed(folder.path());
    fill(&mut queue, 0..1);
    let begun = ["create tmp", "write tmp", "sync tmp", "rename to seg", "sync folder"];
    assert_eq!(witness.steps(), begun);
    fill(&mut queue, 1..2);
    assert_eq!(witness.steps(), ["write seg", "sync data seg"]);
    all(&mut queue);
    queue.acknowledge().expect("the disk works");
    assert_eq!(witness.steps(), ["remove seg", "sync folder"]);
    fill(&mut queue, 2..4);
    witness.steps();
    queue.drop_oldest().expect("the disk works");
    assert_eq!(witness.steps(), begun);
}

#[test]
fn a_failed_append_leaves_nothing_and_the_queue_goes_on() {
    for (step, is_first) in [
        ("create tmp", true),
        ("write tmp", true),
        ("sync tmp", true),
        ("rename to seg", true),
        ("sync folder", true),
        ("write seg", false),
        ("sync data seg", false),
    ] {
        let folder = folder();
        let (witness, mut queue) = witnessed(folder.path());
        let before = if is_first { 0 } else { 3 };
        fill(&mut queue, 0..before);
        let bytes = queue.bytes();
        witness.fail(Some(step));
        queue.append(&snapshot(100)).expect_err(step);
        let used = queue.shared().used.load(Ordering::SeqCst);
        assert_eq!((queue.len(), queue.bytes(), used), (before, bytes, bytes), "{step}");
        let on_disk = slot::bytes(&folder.path().join("1")).expect("it is there");
        assert_eq!(on_disk, bytes, "{step}");
        witness.fail(None);
        fill(&mut queue, before..before + 2);
        assert_eq!(all(&mut queue), numbers(0, before + 2), "{step}");
        drop(queue);
        let mut queue = reopened(folder.path());
        assert_eq!(all(&mut queue), numbers(0, before + 2), "{step}");
        assert_eq!(queue.reports(), [], "{step}");
    }
}

#[test]
fn what_could_not_be_cut_off_is_cut_off_before_anything_is_written_behind_it() {
    let folder = folder();
    let (witness, mut queue) = witnessed(folder.path());
    fill(&mut queue, 0..3);
    queue.writer.as_mut().expect("it has begun").spoil();
    witness.fail(Some("truncate seg"));
    queue.append(&snapshot(100)).expect_err("it cannot be cut off");
    witness.fail(None);
    fill(&mut queue, 3..5);
    assert_eq!(all(&mut queue), numbers(0, 5));
}

/// A file of one segment, as an earlier process has left it.
fn one_segment(dir: &std::path::Path, count: usize) -> (PathBuf, Vec<u8>, Vec<usize>) {
    let mut queue = reopened(dir);
    let mut ends = Vec::new();
    for number in 0..count {
        queue.append(&snapshot(number)).expect("there is room");
        ends.push(usize::try_from(queue.bytes()).expect("small"));
    }
    let path = queue.path(1);
    let bytes = std::fs::read(&path).expect("it is there");
    (path, bytes, ends)
}

#[test]
fn a_segment_cut_at_any_byte_keeps_the_whole_records_before_it_and_goes_on() {
    let folder = folder();
    let (path, bytes, ends) = one_segment(folder.path(), 3);
    for cut in 0..=bytes.len() {
        for file in files(path.parent().expect("it has one")) {
            std::fs::remove_file(file).expect("it goes");
        }
        std::fs::write(&path, &bytes[..cut]).expect("there is room");
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let good = if whole == 0 { 0 } else { ends[whole - 1] };
        let mut queue = reopened(folder.path());
        let reports = queue.reports();
        if cut == good && cut > 0 {
            assert_eq!(reports, [], "{cut}");
        } else {
            let bytes = (cut - good) as u64;
            assert_eq!(reports, [Report::Torn { segment: path.clone(), bytes, kept: None }]);
        }
        assert_eq!(all(&mut queue), numbers(0, whole), "{cut}");
        fill(&mut queue, 7..9);
        assert_eq!(all(&mut queue), numbers(7, 9), "{cut}");
        drop(queue);
        let mut queue = reopened(folder.path());
        assert_eq!((queue.len(), queue.reports()), (whole + 2, Vec::new()), "{cut}");
    }
}

#[test]
fn zeros_where_a_record_should_be_are_a_write_cut_short() {
    let folder = folder();
    let (path, mut bytes, ends) = one_segment(folder.path(), 3);
    bytes[ends[1]..].fill(0);
    std::fs::write(&path, &bytes).expect("there is room");
    let mut queue = reopened(folder.path());
    assert!(matches!(queue.reports()[..], [Report::Torn { kept: None, .. }]));
    assert_eq!(all(&mut queue), numbers(0, 2));
}

#[test]
fn a_last_record_with_a_wrong_checksum_is_cut_off_and_kept() {
    let folder = folder();
    let (path, mut bytes, ends) = one_segment(folder.path(), 3);
    *bytes.last_mut().expect("there are some") ^= 1;
    std::fs::write(&path, &bytes).expect("there is room");
    let mut queue = reopened(folder.path());
    let reports = queue.reports();
    let [report @ Report::Torn { kept: Some(kept), .. }] = &reports[..] else {
        panic!("it is kept")
    };
    // It has its length: nobody knows whether the write was cut short.
    let said = report.to_string();
    assert!(said.contains("has a wrong checksum") && !said.contains("cut short"), "{said}");
    assert_eq!(std::fs::read(kept).expect("it is there"), &bytes[ends[1]..]);
    assert_eq!(all(&mut queue), numbers(0, 2));
    drop(queue);
    let found = inspect(folder.path()).expect("it reads");
    assert_eq!(found[0].sources[0].torn, std::slice::from_ref(kept));
    assert_eq!(reopened(folder.path()).reports(), []);
}

#[test]
fn a_rotten_byte_is_reported_and_nothing_wrong_is_ever_given() {
    let folder = folder();
    let (path, bytes, ends) = one_segment(folder.path(), 3);
    let later = path.with_file_name("0000000002.seg");
    for at in 0..bytes.len() {
        for file in files(path.parent().expect("it has one")) {
            std::fs::remove_file(file).expect("it goes");
        }
        let mut rotten = bytes.clone();
        rotten[at] ^= 1 << (at % 8);
        std::fs::write(&path, &rotten).expect("there is room");
        std::fs::write(&later, &bytes).expect("there is room");
        let whole = ends.iter().filter(|end| **end <= at).count();
        let found = inspect(folder.path()).expect("it reads");
        assert_eq!(found[0].sources[0].unsound.len(), 1, "{at}");
        let mut queue = reopened(folder.path());
        let aside = path.with_extension("corrupt");
        let reports = queue.reports();
        let [Report::SetAside { file, until_then, at_least: 1.., .. }] = &reports[..] else {
            panic!("{at}")
        };
        assert_eq!(file, &aside);
        // It is where it is said to be.
        let now = until_then.as_ref().unwrap_or(file);
        assert!(now.exists(), "{at}: {}", reports[0]);
        assert!(reports[0].to_string().contains(&format!("kept as `{}`", now.display())));
        let given = all(&mut queue);
        assert_eq!(given, [numbers(0, whole), numbers(0, 3)].concat(), "{at}");
        queue.acknowledge().expect("the disk works");
        assert_eq!(files(path.parent().expect("it has one")), std::slice::from_ref(&aside), "{at}");
        assert_eq!(std::fs::read(&aside).expect("it is there"), rotten);
        // Its number is not used again.
        fill(&mut queue, 0..1);
        assert!(path.with_file_name("0000000003.seg").exists());
    }
}

#[test]
fn what_rots_while_it_waits_is_found_when_it_is_read() {
    let folder = folder();
    let mut queue = reopened(folder.path());
    fill(&mut queue, 0..40);
    let path = queue.path(1);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).expect("there is room");
    assert_eq!(all(&mut queue), [numbers(0, 31), numbers(32, 40)].concat());
    assert!(matches!(queue.reports()[..], [Report::SetAside { at_least: 1, .. }]));
    queue.acknowledge().expect("the disk works");
    assert!(path.with_extension("corrupt").exists() && queue.is_empty());
}

#[test]
fn temporary_files_that_were_left_behind_are_removed() {
    let folder = folder();
    let (path, _, _) = one_segment(folder.path(), 3);
    let left = path.with_file_name("0000000002.tmp");
    std::fs::write(&left, b"half").expect("there is room");
    let mut queue = reopened(folder.path());
    assert!(!left.exists());
    assert_eq!(queue.shared().used.load(Ordering::SeqCst), queue.bytes());
    assert_eq!(all(&mut queue), numbers(0, 3));
}
