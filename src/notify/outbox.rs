//! What is to be told to one place, on disk until it was: neither a restart nor a receiver that is down loses any of it.
//!
//! ```text
//! <the ledger's spool folder>/webhooks/<name>/      0700
//!   .lock                     held by the one process that posts
//!   pending/<number>-<id>     events that wait, in the order of their numbers
//!   told/<id>                 events that were delivered, for two days: none of them is told again
//!   open/<subject>            what has begun, was taken in here, and has not ended
//! ```
//!
//! Any process of this machine may add to it: recorders of the same ledger, and `deskledger verify`. Each step is one file
//! that is written whole or renamed, in an order by which an end without warning between any two leads to the same event
//! being taken in again, which is known by its id; or being posted again under the same id. Everything here blocks.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::event::{Condition, Event};
use crate::config::Topic;
use crate::domain::Instant;

/// So many wait at most; for one more the oldest is given up.
pub const MOST: usize = 1_000;
/// Nobody wants to be woken for what is older.
pub const LIFE: TimeDelta = TimeDelta::days(1);
/// How long it is remembered what was told: longer than anything is looked for that may have to be.
const MEMORY: TimeDelta = TimeDelta::days(2);

/// One place's events.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What must be told in order.
    pub subject: String,
    /// When it was taken in.
    pub added_at: Instant,
    /// What is posted.
    pub body: String,
    /// The file's name.
    #[serde(skip)]
    file: String,
}

/// Something that has begun, and has not ended as far as was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The type of the event that it began with.
    pub kind: String,
    /// What it is about.
    pub about: String,
    /// Since when it is.
    pub since: Instant,
    /// The id of the event.
    pub id: String,
}

impl Opened {
    /// The thing itself; `None`: of a kind that this version does not know.
    #[must_use]
    pub fn condition(&self) -> Option<Condition> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.begins_as() == self.kind)?;
        Some(Condition { topic, about: self.about.clone(), since: self.since })
    }
}

/// What became of an event that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It waits, and these were given up for it.
    Waits(Vec<Pending>),
    /// It waits or was told already, or what it ends was never told.
    Nothing,
}

/// Leave to post.
#[derive(Debug)]
pub struct Lock {
    _lock: Flock<File>,
}

impl Outbox {
    /// Where events for `name` are kept below `folder`, which is made if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let outbox = Self { folder: folder.join(name) };
        for part in ["pending", "told", "open"] {
            DirBuilder::new().recursive(true).mode(0o700).create(outbox.folder.join(part))?;
        }
        Ok(outbox)
    }

    /// Takes the place of the one that posts; `None`: another process does.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match Flock::lock(file.open(self.folder.join(".lock"))?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lock { _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// Takes in an event of one instant.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn tell(&self, event: &Event, now: Instant) -> io::Result<Added> {
        self.add(event, &event.id, now)
    }

    /// Takes in that something has begun.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&self, condition: &Condition, event: &Event, now: Instant) -> io::Result<Added> {
        let subject = condition.subject();
        let added = self.add(event, &subject, now)?;
        let opened = Opened {
            kind: event.kind.to_owned(),
            about: condition.about.clone(),
            since: condition.since,
            id: event.id.clone(),
        };
        self.write("open", &subject, &serde_json::to_vec(&opened).expect("it is plain data"))?;
        Ok(added)
    }

    /// Takes in that something is over, if it was told here that it had begun.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(&self, condition: &Condition, event: &Event, now: Instant) -> io::Result<Added> {
        let subject = condition.subject();
        let Some(opened) = self.opened()?.into_iter().find(|(of, _)| *of == subject) else {
            return Ok(Added::Nothing);
        };
        let id = opened.1.id;
        let was_told = self.path("told", &id).exists() || self.waits(&id)?;
        let added = if was_told { self.add(event, &subject, now)? } else { Added::Nothing };
        remove(&self.path("open", &subject))?;
        Ok(added)
    }

    /// What has begun and not ended, by subject.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn opened(&self) -> io::Result<Vec<(String, Opened)>> {
        let mut opened = Vec::new();
        for name in self.names("open")? {
            // A file that nobody can read says nothing, and is written anew when that begins again.
            if let Some(bytes) = read(&self.path("open", &name))?
                && let Ok(one) = serde_json::from_slice(&bytes)
            {
                opened.push((name, one));
            }
        }
        Ok(opened)
    }

    /// What waits, oldest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pending(&self) -> io::Result<Vec<Pending>> {
        let mut pending = Vec::new();
        for name in self.names("pending")? {
            // Another process may have told it meanwhile.
            let Some(bytes) = read(&self.path("pending", &name))? else { continue };
            match serde_json::from_slice::<Pending>(&bytes) {
                Ok(one) => pending.push(Pending { file: name, ..one }),
                Err(error) => {
                    tracing::error!("cannot read the event `{name}`, which is given up: {error}");
                    remove(&self.path("pending", &name))?;
                }
            }
        }
        Ok(pending)
    }

    /// How many wait.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn depth(&self) -> io::Result<usize> {
        Ok(self.names("pending")?.len())
    }

    /// Whether an event was delivered.
    #[must_use]
    pub fn was_told(&self, id: &str) -> bool {
        self.path("told", id).exists()
    }

    /// It was delivered.
    ///
    /// # Errors
    /// It cannot be put aside: it comes again, under the same id.
    pub fn told(&self, event: &Pending) -> io::Result<()> {
        std::fs::rename(self.path("pending", &event.file), self.path("told", &event.id))?;
        self.sync("told")
    }

    /// Gives up what is too old, and forgets what was told long ago. What was given up and goes on may be told anew.
    ///
    /// # Errors
    /// The folder cannot be worked in.
    pub fn expire(&self, now: Instant) -> io::Result<Vec<Pending>> {
        let mut expired = self.pending()?;
        expired.retain(|event| now - event.added_at > LIFE);
        let opened = self.opened()?;
        for event in &expired {
            remove(&self.path("pending", &event.file))?;
            if let Some((subject, _)) = opened.iter().find(|(_, opened)| opened.id == event.id) {
                remove(&self.path("open", subject))?;
            }
        }
        for id in self.names("told")? {
            let path = self.path("told", &id);
            let is_old = std::fs::metadata(&path)
                .and_then(|found| found.modified())
                .is_ok_and(|at| now - Instant::from(at) > MEMORY);
            if is_old && !opened.iter().any(|(_, opened)| opened.id == id) {
                remove(&path)?;
            }
        }
        Ok(expired)
    }

    fn add(&self, event: &Event, subject: &str, now: Instant) -> io::Result<Added> {
        if self.was_told(&event.id) || self.waits(&event.id)? {
            return Ok(Added::Nothing);
        }
        let names = self.names("pending")?;
        let last = names.last().and_then(|name| name.split('-').next()?.parse::<i64>().ok());
        // In order also where the clock was set back.
        let number = now.timestamp_micros().max(last.unwrap_or(0) + 1);
        let pending = Pending {
            id: event.id.clone(),
            kind: event.kind.to_owned(),
            subject: subject.to_owned(),
            added_at: now,
            body: event.body(),
            file: format!("{number:020}-{}", event.id),
        };
        let text = serde_json::to_vec(&pending).expect("it is plain data");
        self.write("pending", &pending.file, &text)?;
        let mut given_up = Vec::new();
        if names.len() >= MOST {
            given_up = self.pending()?;
            given_up.truncate((names.len() + 1).saturating_sub(MOST));
            for event in &given_up {
                remove(&self.path("pending", &event.file))?;
            }
        }
        Ok(Added::Waits(given_up))
    }

    fn waits(&self, id: &str) -> io::Result<bool> {
        Ok(self.names("pending")?.iter().any(|name| name.ends_with(id)))
    }

    fn path(&self, part: &str, name: &str) -> PathBuf {
        self.folder.join(part).join(name)
    }

    /// The names of the files of a part that are whole, in order.
    fn names(&self, part: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder.join(part))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Writes a file that is there as a whole or not at all, and stays if the power fails.
    fn write(&self, part: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Of one process: another may write one of the same name.
        let temporary = self.path(part, &format!(".{}-{name}", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path(part, name))?;
        self.sync(part)
    }

    fn sync(&self, part: &str) -> io::Result<()> {
        File::open(self.folder.join(part))?.sync_all()
    }
}

/// A file's content; `None`: it is gone.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn outbox() -> (tempfile::TempDir, Outbox) {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), "pager").unwrap();
        (folder, outbox)
    }

    fn event(nth: i64) -> Event {
        let key = at("2026-10-01T00:00:00Z") + TimeDelta::seconds(nth);
        Event::new("desktops.mass_disconnect", "prod", key, key, Map::new())
    }

    fn waiting(outbox: &Outbox) -> Vec<String> {
        outbox.pending().unwrap().into_iter().map(|event| event.id).collect()
    }

    #[test]
    fn what_waits_or_was_told_is_not_taken_in_again() {
        let (_folder, outbox) = outbox();
        let now = at("2026-10-01T00:00:00Z");
        assert_eq!(outbox.tell(&event(1), now).unwrap(), Added::Waits(Vec::new()));
        assert_eq!(outbox.tell(&event(1), now).unwrap(), Added::Nothing);
        assert_eq!(waiting(&outbox), [event(1).id]);
        outbox.told(&outbox.pending().unwrap()[0]).unwrap();
        assert_eq!(outbox.tell(&event(1), now).unwrap(), Added::Nothing);
        assert_eq!(waiting(&outbox), [""; 0]);
        // Another process knows as much, and so does this one after a restart.
        assert_eq!(outbox.clone().tell(&event(2), now).unwrap(), Added::Waits(Vec::new()));
        assert_eq!(outbox.tell(&event(2), now).unwrap(), Added::Nothing);
    }

    #[test]
    fn for_one_more_than_may_wait_the_oldest_is_given_up() {
        let (_folder, outbox) = outbox();
        let now = at("2026-10-01T00:00:00Z");
        let most = i64::try_from(MOST).unwrap();
        outbox.tell(&event(0), now).unwrap();
        // Not by `tell`, which waits for the disk each time.
        let first = outbox.pending().unwrap().remove(0);
        for nth in 1..most {
            let id = event(nth).id;
            let file = format!("{:020}-{id}", now.timestamp_micros() + nth);
            let text = serde_json::to_vec(&Pending { id, ..first.clone() }).unwrap();
            std::fs::write(outbox.path("pending", &file), text).unwrap();
        }
        assert_eq!(waiting(&outbox).len(), MOST);
        // Also where the clock was set back meanwhile.
        let Added::Waits(given_up) = outbox.tell(&event(most), now - TimeDelta::hours(1)).unwrap()
        else {
            panic!("it was not taken in");
        };
        assert_eq!(given_up.iter().map(|event| &event.id).collect::<Vec<_>>(), [&event(0).id]);
        let ids: Vec<String> = (1..=most).map(|nth| event(nth).id).collect();
        assert_eq!(waiting(&outbox), ids);
    }

    #[test]
    fn after_a_day_an_event_is_given_up_and_what_goes_on_can_be_told_anew() {
        let (_folder, outbox) = outbox();
        let now = at("2026-10-01T00:00:00Z");
        let gap = Condition { topic: Topic::Gap, about: "prod".to_owned(), since: now };
        let begun = gap.begins(now, Map::new());
        assert_eq!(outbox.begin(&gap, &begun, now).unwrap(), Added::Waits(Vec::new()));
        assert_eq!(outbox.expire(now + LIFE).unwrap(), []);
        assert_eq!(waiting(&outbox), std::slice::from_ref(&begun.id));
        let expired = outbox.expire(now + LIFE + TimeDelta::microseconds(1)).unwrap();
        assert_eq!(expired.iter().map(|event| &event.id).collect::<Vec<_>>(), [&begun.id]);
        assert_eq!((waiting(&outbox).len(), outbox.opened().unwrap().len()), (0, 0));
        // Its end would belong to nothing.
        let end = gap.ends(now + LIFE, Map::new());
        assert_eq!(outbox.end(&gap, &end, now + LIFE).unwrap(), Added::Nothing);
        assert_eq!(outbox.begin(&gap, &begun, now + LIFE).unwrap(), Added::Waits(Vec::new()));
    }
}
