//! The registered texts and sets: what stands in the chain for each number.
//!
//! A row is checked when it is read, and what is wrong with it is said where the history first speaks of
//! its number. Numbers are handed out in the order of first use, so a row that nothing speaks of is
//! wrong too.

use std::collections::HashMap;
use std::sync::Arc;

use super::pruned::LateIn;
use super::rows::{AssignmentRow, digest};
use super::{Wrong, same};
use crate::domain::AttachUser;
use crate::domain::beliefs::{
    AssignmentNo, DesktopNo, FIRST_OTHER_STATUS, GroupNo, LabelNo, PersonNo, STATUSES, StatusId,
};
use crate::domain::digest::{
    Digest, Erased, Salt, assignment_hash, assignment_hash_in_order, desktop_commitment,
    erased_late, erased_name, erased_person, name_commitment, person_commitment,
};
use crate::domain::retell::Used;

/// Everything that a source has registered.
#[derive(Debug, Default)]
pub struct Names {
    desktops: List<Digest>,
    documented: List<()>,
    statuses: List<Arc<str>>,
    persons: List<(AttachUser, Digest)>,
    assignments: List<Assignment>,
    labels: List<Label>,
    /// The rows of `desktop_label`, and whether the history has spoken of them.
    desktop_labels: HashMap<(DesktopNo, LabelNo), bool>,
    groups: List<(Option<Arc<str>>, i32)>,
    /// What stands where something was erased, by kind and number: as the newest erasure of it says.
    erased: HashMap<(Erased, i64), (i64, Digest)>,
}

#[derive(Debug)]
struct Assignment {
    hash: Digest,
    persons: Box<[PersonNo]>,
    entries: Box<[PersonNo]>,
}

#[derive(Clone, Copy, Debug)]
struct Label {
    commitment: Digest,
    assignment: AssignmentNo,
}

/// What is registered under numbers from 1 on.
#[derive(Debug)]
struct List<T> {
    rows: Vec<Row<T>>,
    /// How many of them the history has spoken of, and the highest number of those.
    used: i32,
    highest: i32,
}

#[derive(Debug)]
struct Row<T> {
    /// `Err`: what is wrong with it.
    value: Result<T, Box<Wrong>>,
    is_used: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), used: 0, highest: 0 }
    }
}

impl<T> List<T> {
    /// Takes the row of number `no` in; they come in the order of their numbers.
    fn push(&mut self, what: &str, no: i32, value: Result<T, Wrong>) {
        let next = self.next();
        let value = if no == next {
            value.map_err(Box::new)
        } else {
            Err(Box::new(Wrong::new(
                format!("the rows of `{what}`"),
                format!("number {next}"),
                format!("number {no}"),
            )))
        };
        self.rows.push(Row { value, is_used: false });
    }

    fn next(&self) -> i32 {
        i32::try_from(self.rows.len() + 1).unwrap_or(i32::MAX)
    }

    /// The row, now that the history speaks of it; and whether it does so for the first time.
    fn take(&mut self, what: &str, no: i32) -> Result<(&T, bool), Wrong> {
        let row = usize::try_from(i64::from(no) - 1).ok().and_then(|at| self.rows.get_mut(at));
        let Some(row) = row else {
            return Err(Wrong::new(
                format!("a row that speaks of `{what}` number {no}"),
                "that number to be registered",
                "no row of it",
            ));
        };
        let is_first = !row.is_used;
        if is_first {
            row.is_used = true;
            self.used += 1;
            self.highest = self.highest.max(no);
        }
        match &row.value {
            Ok(value) => Ok((value, is_first)),
            Err(wrong) => Err(Wrong::clone(wrong)),
        }
    }

    fn get(&self, no: i32) -> Option<&T> {
        self.rows.get(usize::try_from(i64::from(no) - 1).ok()?)?.value.as_ref().ok()
    }

    /// The first ones up to number `no` are in use, by what is pruned.
    fn use_up_to(&mut self, no: i32) {
        for (row, at) in self.rows.iter_mut().zip(1..=no) {
            if !std::mem::replace(&mut row.is_used, true) {
                self.used += 1;
                self.highest = self.highest.max(at);
            }
        }
    }

    /// Numbers are handed out one after the other: those in use are the first ones.
    fn check_order(&self, what: &str) -> Result<(), Wrong> {
        same(&self.used, &self.highest, || {
            format!("the highest number of `{what}` that the history speaks of")
        })
    }

    /// Every row is right and in use.
    fn check_all(&self, what: &str, in_use: bool) -> Result<(), Wrong> {
        for (row, no) in self.rows.iter().zip(1..) {
            if let Err(wrong) = &row.value {
                return Err(Wrong::clone(wrong));
            }
            if in_use && !row.is_used {
                return Err(Wrong::new(
                    format!("number {no} of `{what}`"),
                    "a snapshot that speaks of it",
                    "none that does",
                ));
            }
        }
        Ok(())
    }
}

/// Checks the text that stands where another was erased; nothing can be said of the commitment that stayed, but what the
/// chain says of it.
fn replaced(
    what: &str,
    no: i64,
    is_salted: bool,
    now: &Digest,
    erased: Option<&(i64, Digest)>,
) -> Result<bool, Wrong> {
    match erased {
        None => Ok(false),
        Some((sequence, _)) if is_salted => Err(Wrong::new(
            format!("the salt of `{what}` number {no}"),
            format!("nothing: entry {sequence} is its erasure"),
            "a salt",
        )),
        Some((sequence, replacement)) => {
            same(replacement, now, || {
                format!(
                    "the hash of `{what}` number {no}, beside what its erasure, entry {sequence}, says"
                )
            })?;
            Ok(true)
        }
    }
}

/// Checks a stored commitment against its text.
fn committed(
    what: &str,
    no: i32,
    salt: Option<&[u8]>,
    stored: &[u8],
    commitment: impl FnOnce(&Salt) -> Digest,
) -> Result<Digest, Wrong> {
    let salt = salt.and_then(|salt| Salt::try_from(salt).ok()).ok_or_else(|| {
        Wrong::new(
            format!("the salt of `{what}` number {no}"),
            "16 bytes: no erasure in this chain speaks of it",
            salt.map_or_else(|| "nothing".to_owned(), |salt| format!("{} bytes", salt.len())),
        )
    })?;
    let commitment = commitment(&salt);
    same(&Some(commitment), &digest(stored), || {
        format!("the commitment of `{what}` number {no}, worked out from its text and salt")
    })?;
    Ok(commitment)
}

/// The commitment that stays of what was erased.
fn stays(what: &str, no: i32, stored: &[u8]) -> Result<Digest, Wrong> {
    digest(stored).ok_or_else(|| {
        Wrong::new(format!("the commitment of `{what}` number {no}"), "32 bytes", "others")
    })
}

impl Names {
    /// A row of `erased`, before all others; `sequence`: the erasure.
    pub fn add_erased(&mut self, what: Erased, no: i64, sequence: i64, replacement: Digest) {
        let newest = self.erased.entry((what, no)).or_insert((sequence, replacement));
        if newest.0 <= sequence {
            *newest = (sequence, replacement);
        }
    }

    /// A late snapshot, of which an erasure may say what stands there now; or that its month is, or was, pruned.
    pub(super) fn late(
        &mut self,
        sequence: i64,
        now: &Digest,
        is_salted: bool,
        month: LateIn,
    ) -> Result<(), Wrong> {
        let erased = self.erased.remove(&(Erased::Late, sequence));
        match month {
            LateIn::Kept => {}
            LateIn::Pruned => {
                return same(&erased_late(None), now, || {
                    "the hash of `line` of a late snapshot whose month is pruned, beside that of none"
                        .to_owned()
                });
            }
            // What came back without a salt came back without a name.
            LateIn::Restored if !is_salted => return Ok(()),
            LateIn::Restored => {}
        }
        if replaced("late", sequence, is_salted, now, erased.as_ref())? || is_salted {
            return Ok(());
        }
        Err(Wrong::new(
            "`salt` of the late snapshot, beside its `line`",
            "16 bytes: no erasure in this chain speaks of it",
            "nothing",
        ))
    }

    /// A row of `desktop`. All `add` functions take rows in the order of their numbers.
    pub fn add_desktop(&mut self, no: DesktopNo, id: &str, salt: Option<&[u8]>, stored: &[u8]) {
        let commitment =
            committed("desktop", no, salt, stored, |salt| desktop_commitment(salt, id));
        self.desktops.push("desktop", no, commitment);
    }

    /// A row of `status`.
    pub fn add_status(&mut self, id: StatusId, text: Option<&str>) {
        if id >= FIRST_OTHER_STATUS {
            let no = i32::from(id - FIRST_OTHER_STATUS) + 1;
            let text = text
                .map(Arc::from)
                .ok_or_else(|| Wrong::new(format!("the text of status {id}"), "a text", "nothing"));
            self.statuses.push("status", no, text);
            return;
        }
        let documented = usize::try_from(id).ok().and_then(|at| STATUSES.get(at)).copied();
        let is_right = match documented {
            Some(documented) if documented == text => Ok(()),
            _ => Err(Wrong::new(
                format!("the text of status {id}"),
                documented.map_or("no such number", |text| text.unwrap_or("nothing")),
                "another",
            )),
        };
        self.documented.push("status", i32::from(id) + 1, is_right);
    }

    /// A row of `person`.
    pub fn add_person(
        &mut self,
        no: PersonNo,
        person: AttachUser,
        salt: Option<&[u8]>,
        stored: &[u8],
    ) {
        let erased = self.erased.remove(&(Erased::Person, no.into()));
        let is_replaced =
            replaced("person", no.into(), salt.is_some(), &erased_person(&person), erased.as_ref());
        let commitment = is_replaced.and_then(|is_replaced| match is_replaced {
            true => stays("person", no, stored),
            false => committed("person", no, salt, stored, |salt| person_commitment(salt, &person)),
        });
        self.persons.push("person", no, commitment.map(|commitment| (person, commitment)));
    }

    /// A row of `assignment`; those of `person` are in.
    pub fn add_assignment(&mut self, no: AssignmentNo, row: AssignmentRow) {
        let assignment = self.assignment(no, row);
        self.assignments.push("assignment", no, assignment);
    }

    fn assignment(&self, no: AssignmentNo, row: AssignmentRow) -> Result<Assignment, Wrong> {
        let of = |column: &str| format!("`{column}` of `assignment` number {no}");
        let wrong = |column: &str| {
            Wrong::new(of(column), "what its entries and persons say", "something else")
        };
        let users = row.attach_users.ok_or_else(|| wrong("attach_users"))?;
        if users.entries().len() != row.entry_person_nos.len() {
            return Err(wrong("entry_person_nos"));
        }
        let mut commitments = Vec::with_capacity(row.entry_person_nos.len());
        for (entry, no) in users.entries().iter().zip(&row.entry_person_nos) {
            // A person that is wrong itself is said when it is first used.
            let Some((person, commitment)) = self.persons.get(*no) else {
                let broken = self
                    .persons
                    .rows
                    .get(usize::try_from(i64::from(*no) - 1).unwrap_or(usize::MAX));
                return Err(match broken.map(|row| &row.value) {
                    Some(Err(wrong)) => Wrong::clone(wrong),
                    _ => wrong("entry_person_nos"),
                });
            };
            if !entry.is_same_user(person) {
                return Err(wrong("attach_users"));
            }
            commitments.push(*commitment);
        }
        let mut distinct = row.entry_person_nos.clone();
        distinct.dedup();
        if distinct != row.person_nos {
            return Err(wrong("person_nos"));
        }
        let names = users.users().map(|user| user.name.as_deref());
        if !names.eq(row.users.iter().map(Option::as_deref)) {
            return Err(wrong("users"));
        }
        let attribution = users.attribution().as_str();
        if attribution != row.attribution {
            return Err(Wrong::new(of("attribution"), attribution, row.attribution));
        }
        let hash = match &row.chain_order {
            None => assignment_hash(&users, &commitments),
            // Where they stand in the order of the chain, nothing is stored.
            Some(order) if order.is_sorted() => return Err(wrong("chain_order")),
            Some(order) => assignment_hash_in_order(&users, &commitments, order)
                .ok_or_else(|| wrong("chain_order"))?,
        };
        Ok(Assignment {
            hash,
            persons: row.person_nos.into(),
            entries: row.entry_person_nos.into(),
        })
    }

    /// A row of `label`.
    pub fn add_label(
        &mut self,
        no: LabelNo,
        name: Option<&str>,
        assignment: AssignmentNo,
        salt: Option<&[u8]>,
        stored: &[u8],
    ) {
        let erased = self.erased.remove(&(Erased::Name, no.into()));
        let is_replaced =
            replaced("label", no.into(), salt.is_some(), &erased_name(name), erased.as_ref());
        let commitment = is_replaced.and_then(|is_replaced| match is_replaced {
            true => stays("label", no, stored),
            false => committed("label", no, salt, stored, |salt| name_commitment(salt, name)),
        });
        let label = commitment.map(|commitment| Label { commitment, assignment });
        self.labels.push("label", no, label);
    }

    /// A row of `desktop_label`, in any order.
    pub fn add_desktop_label(&mut self, desktop: DesktopNo, label: LabelNo) {
        self.desktop_labels.insert((desktop, label), false);
    }

    /// A row of `desktop_group`.
    pub fn add_group(&mut self, no: GroupNo, name: Option<&str>, ordinal: i32) {
        self.groups.push("desktop_group", no, Ok((name.map(Arc::from), ordinal)));
    }

    /// Lets go of the texts that only checking the rows needed.
    pub fn close(&mut self) {
        for row in &mut self.persons.rows {
            if let Ok((person, _)) = &mut row.value {
                *person = AttachUser { kind: None, id: None, name: None, user_group: None };
            }
        }
    }

    /// How many desktops there are.
    pub(super) fn desktops(&self) -> usize {
        self.desktops.rows.len()
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.rows.len()
    }

    /// The desktop's commitment.
    pub(super) fn desktop(&mut self, no: DesktopNo) -> Result<Digest, Wrong> {
        self.desktops.take("desktop", no).map(|(commitment, _)| *commitment)
    }

    /// The status's text.
    pub(super) fn status(&mut self, id: StatusId) -> Result<Option<&str>, Wrong> {
        if id >= FIRST_OTHER_STATUS {
            let no = i32::from(id - FIRST_OTHER_STATUS) + 1;
            return self.statuses.take("status", no).map(|(text, _)| Some(&**text));
        }
        self.documented.take("status", i32::from(id) + 1)?;
        Ok(usize::try_from(id).ok().and_then(|at| STATUSES.get(at)).copied().flatten())
    }

    /// The label's commitment and its assignment's hash.
    pub(super) fn label(&mut self, no: LabelNo) -> Result<(Digest, Digest), Wrong> {
        let (label, is_first) = self.labels.take("label", no)?;
        let label = *label;
        let (assignment, is_first) = match is_first {
            true => self.assignments.take("assignment", label.assignment)?,
            // It was looked at with the label's first use.
            false => match self.assignments.get(label.assignment) {
                Some(assignment) => (assignment, false),
                None => self.assignments.take("assignment", label.assignment)?,
            },
        };
        if is_first {
            for no in &assignment.entries {
                self.persons.take("person", *no)?;
            }
        }
        Ok((label.commitment, assignment.hash))
    }

    /// The history says that the desktop had the label.
    pub(super) fn desktop_label(
        &mut self,
        desktop: DesktopNo,
        label: LabelNo,
    ) -> Result<(), Wrong> {
        let row = self.desktop_labels.get_mut(&(desktop, label));
        row.map(|is_used| *is_used = true).ok_or_else(|| {
            Wrong::new(
                format!("`desktop_label` of desktop number {desktop} and label number {label}"),
                "a row",
                "none",
            )
        })
    }

    /// The same users by type, id and name, whatever the desktop's name and their groups on it.
    pub(super) fn is_same_connection(&self, one: LabelNo, other: LabelNo) -> bool {
        let persons = |no: LabelNo| {
            let label = self.labels.get(no)?;
            Some(&self.assignments.get(label.assignment)?.persons)
        };
        persons(one) == persons(other)
    }

    /// The group's name and ordinal.
    pub(super) fn group(&mut self, no: GroupNo) -> Result<(Option<Arc<str>>, i32), Wrong> {
        self.groups.take("desktop_group", no).map(|(group, _)| group.clone())
    }

    /// After each snapshot: the numbers in use have no hole.
    pub(super) fn check_order(&self) -> Result<(), Wrong> {
        self.desktops.check_order("desktop")?;
        self.statuses.check_order("status")?;
        self.persons.check_order("person")?;
        self.assignments.check_order("assignment")?;
        self.labels.check_order("label")?;
        self.groups.check_order("desktop_group")
    }

    /// What the history spoke of by the end of a pruned month.
    pub(super) fn use_up_to(&mut self, used: &Used) {
        self.desktops.use_up_to(used.desktops);
        self.statuses.use_up_to(i32::from(used.statuses) - i32::from(FIRST_OTHER_STATUS) + 1);
        self.labels.use_up_to(used.labels);
        self.groups.use_up_to(used.groups);
        let labels = (1..=used.labels).filter_map(|no| self.labels.get(no));
        let assignments = labels.map(|label| label.assignment).max().unwrap_or(0);
        self.assignments.use_up_to(assignments);
        let known = (1..=assignments).filter_map(|no| self.assignments.get(no));
        let persons = known.flat_map(|known| known.entries.iter().copied()).max().unwrap_or(0);
        self.persons.use_up_to(persons);
    }

    /// After the last: nothing is registered that no snapshot speaks of. Of what is pruned nobody knows any more which desktop
    /// had which label.
    pub(super) fn check_all(&self, is_pruned: bool) -> Result<(), Wrong> {
        same(&STATUSES.len(), &self.documented.rows.len(), || {
            "the number of documented statuses in `status`".to_owned()
        })?;
        self.documented.check_all("status", false)?;
        self.desktops.check_all("desktop", true)?;
        self.statuses.check_all("status", true)?;
        self.persons.check_all("person", true)?;
        self.assignments.check_all("assignment", true)?;
        self.labels.check_all("label", true)?;
        let idle = self.desktop_labels.iter().filter(|(_, is_used)| !**is_used);
        if let Some(((desktop, label), _)) = idle.min_by_key(|(row, _)| **row)
            && !is_pruned
        {
            return Err(Wrong::new(
                format!("`desktop_label` of desktop number {desktop} and label number {label}"),
                "a span that says so",
                "none",
            ));
        }
        self.groups.check_all("desktop_group", true)?;
        match self.erased.iter().min_by_key(|((what, no), _)| (*what, *no)) {
            None => Ok(()),
            Some(((what, no), (sequence, _))) => Err(Wrong::new(
                format!("what entry {sequence} erased, `{}` number {no}", what.letter()),
                "a row of that number",
                "none",
            )),
        }
    }
}
