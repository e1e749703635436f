//! Persons who are erased: which texts name them, what stands in their place, and how they are known again.
//!
//! A person is known by id, and by name where there is no id. Each different id and each different name of theirs gets a
//! text of its own in its place, so that rows that were different stay different, and none of the rules of the history
//! comes to another result. What is stored to know them again are keyed hashes of those texts, in a [`Veil`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::digest::{Digest, Hasher};
use super::{AttachUser, AttachUsers, Desktop, Listing, Snapshot};

/// The key of a source's [`Veil`].
pub type Key = [u8; 32];

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A user's id.
    Id,
    /// A user's name.
    Name,
    /// A desktop's name.
    DesktopName,
}

/// What takes the place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// What stands there instead.
    pub text: Arc<str>,
    /// The pseudonym of the person.
    pub pseudonym: Arc<str>,
    /// A name: the person had an id with it, so that the same name with another id is somebody else.
    pub has_id: bool,
    /// A name: it is replaced inside the names of that person's desktops.
    pub is_in_desktop_names: bool,
}

/// The texts that name one person, each with what takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The pseudonym.
    pub pseudonym: Arc<str>,
    /// The ids.
    pub ids: BTreeMap<Arc<str>, Arc<str>>,
    /// The names, and whether they came with an id.
    pub names: BTreeMap<Arc<str>, (Arc<str>, bool)>,
    /// Whether the names are replaced inside the names of desktops.
    pub is_in_desktop_names: bool,
}

impl Person {
    /// The one of this name or id, among all users that are known: by name or id, then all of the same ids, and then those
    /// without an id that have a name of theirs. `None`: nobody.
    #[must_use]
    pub fn find(
        name_or_id: &str,
        users: &[AttachUser],
        pseudonym: &str,
        is_in_desktop_names: bool,
    ) -> Option<Self> {
        let is = |text: &Option<Arc<str>>| text.as_deref() == Some(name_or_id);
        let seeds = || users.iter().filter(|user| is(&user.name) || is(&user.id));
        seeds().next()?;
        let ids: BTreeSet<&Arc<str>> = seeds().filter_map(|user| user.id.as_ref()).collect();
        let mut names: BTreeMap<&Arc<str>, bool> = BTreeMap::new();
        for user in users {
            let of_them = user.id.as_ref().is_some_and(|id| ids.contains(id));
            if let Some(name) = &user.name
                && (of_them || is(&user.name))
            {
                *names.entry(name).or_default() |= user.id.is_some();
            }
        }
        let nth = |nth: usize| -> Arc<str> {
            if nth == 0 { pseudonym.into() } else { format!("{pseudonym}-{}", nth + 1).into() }
        };
        // What was asked for comes first, and gets the pseudonym itself.
        let mut by_name: Vec<_> = names.into_iter().collect();
        by_name.sort_by_key(|(name, _)| (***name != *name_or_id, Arc::clone(name)));
        let mut by_id: Vec<_> = ids.into_iter().collect();
        by_id.sort_by_key(|id| (***id != *name_or_id, Arc::clone(id)));
        Some(Self {
            pseudonym: pseudonym.into(),
            ids: by_id.into_iter().enumerate().map(|(at, id)| (Arc::clone(id), nth(at))).collect(),
            names: by_name
                .into_iter()
                .enumerate()
                .map(|(at, (name, has_id))| (Arc::clone(name), (nth(at), has_id)))
                .collect(),
            is_in_desktop_names,
        })
    }

    /// Whether a user is this person.
    #[must_use]
    pub fn is(&self, user: &AttachUser) -> bool {
        match (&user.id, &user.name) {
            (Some(id), _) if self.ids.contains_key(id) => true,
            (id, Some(name)) => {
                self.names.get(name).is_some_and(|(_, has_id)| id.is_none() || !has_id)
            }
            _ => false,
        }
    }

    /// A desktop's name with the person's names in it replaced; `None`: it holds none.
    #[must_use]
    pub fn in_desktop_name(&self, desktop_name: &str) -> Option<String> {
        if !self.is_in_desktop_names {
            return None;
        }
        let names = self.names.iter().map(|(name, (text, _))| (&**name, &**text));
        replaced_in(desktop_name, names)
    }

    /// The texts, as they are to be known again.
    pub fn texts(&self) -> impl Iterator<Item = (Text, &Arc<str>, Replacement)> {
        let replacement = |text: &Arc<str>, has_id| Replacement {
            text: Arc::clone(text),
            pseudonym: Arc::clone(&self.pseudonym),
            has_id,
            is_in_desktop_names: self.is_in_desktop_names,
        };
        let ids = self.ids.iter().map(move |(id, text)| (Text::Id, id, replacement(text, true)));
        let names = self
            .names
            .iter()
            .map(move |(name, (text, has_id))| (Text::Name, name, replacement(text, *has_id)));
        ids.chain(names)
    }
}

/// A desktop's name with the names of persons in it replaced; `None`: it holds none of them.
///
/// Upper and lower case are the same here. A name is not found inside of a word: `ann` is not in `joanna`, but in `ann-2` and `PC_ANN01`.
#[must_use]
pub fn replaced_in<'a>(
    desktop_name: &str,
    names: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    let mut result = desktop_name.to_owned();
    let mut is_changed = false;
    for (name, text) in names {
        // One letter is in half of all names.
        if name.chars().count() < 2 {
            continue;
        }
        if let Some(replaced) = replaced(&result, name, text) {
            (result, is_changed) = (replaced, true);
        }
    }
    is_changed.then_some(result)
}

fn replaced(whole: &str, name: &str, text: &str) -> Option<String> {
    let same = |one: char, other: char| one == other || one.to_lowercase().eq(other.to_lowercase());
    let matches_at = |at: usize| {
        let mut rest = whole[at..].chars();
        for wanted in name.chars() {
            if !rest.next().is_some_and(|found| same(found, wanted)) {
                return None;
            }
        }
        Some(whole.len() - rest.as_str().len())
    };
    // Letters stand with letters, digits with digits.
    let goes_on = |inside: Option<char>, outside: Option<char>| match (inside, outside) {
        (Some(inside), Some(outside)) => {
            (inside.is_alphabetic() && outside.is_alphabetic())
                || (inside.is_numeric() && outside.is_numeric())
        }
        _ => false,
    };
    let (mut result, mut done, mut at) = (String::new(), 0, 0);
    while let Some(c) = whole[at..].chars().next() {
        let end = matches_at(at).filter(|end| {
            !goes_on(name.chars().next(), whole[..at].chars().next_back())
                && !goes_on(name.chars().next_back(), whole[*end..].chars().next())
        });
        if let Some(end) = end {
            result += &whole[done..at];
            result += text;
            (done, at) = (end, end);
        } else {
            at += c.len_utf8();
        }
    }
    (done > 0).then(|| result + &whole[done..])
}

/// By what the erased are known again, and what takes the place of what names them.
#[derive(Clone, Default)]
pub struct Veil {
    key: Key,
    known: HashMap<Digest, Replacement>,
}

impl std::fmt::Debug for Veil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Veil").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Veil {
    /// One that knows nobody.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self { key, known: HashMap::new() }
    }

    /// What is stored of a text.
    #[must_use]
    pub fn hash(&self, what: Text, text: &str) -> Digest {
        let mut hasher = Hasher::new("deskledger.known.1");
        hasher.bytes(&self.key);
        hasher.byte(match what {
            Text::Id => b'I',
            Text::Name => b'N',
            Text::DesktopName => b'D',
        });
        hasher.text(text);
        hasher.finish()
    }

    /// Knows a text again by its hash.
    pub fn add(&mut self, hash: Digest, replacement: Replacement) {
        self.known.insert(hash, replacement);
    }

    /// Whether it knows nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What takes the place of a text, whoever it is said of.
    #[must_use]
    pub fn replacement(&self, what: Text, text: &str) -> Option<&Replacement> {
        self.known.get(&self.hash(what, text))
    }

    /// The user with what takes the place of its id and name; `None`: nobody who was erased.
    #[must_use]
    pub fn user(&self, user: &AttachUser) -> Option<AttachUser> {
        let find = |what, text: &Option<Arc<str>>| {
            text.as_deref().and_then(|text| self.replacement(what, text))
        };
        let by_id = find(Text::Id, &user.id);
        let by_name = find(Text::Name, &user.name);
        let person = match (by_id, by_name) {
            (Some(by_id), _) => by_id,
            (None, Some(by_name)) if user.id.is_none() || !by_name.has_id => by_name,
            _ => return None,
        };
        let text = |found: Option<&Replacement>, said: &Option<Arc<str>>| {
            said.as_ref().map(|_| match found {
                Some(found) if found.pseudonym == person.pseudonym => Arc::clone(&found.text),
                // A text that was not known of that person.
                _ => Arc::clone(&person.pseudonym),
            })
        };
        Some(AttachUser {
            kind: user.kind.clone(),
            id: text(by_id, &user.id),
            name: text(by_name, &user.name),
            user_group: user.user_group.clone(),
        })
    }

    /// The snapshot without what names the erased.
    #[must_use]
    pub fn over<'a>(&self, snapshot: &'a Snapshot) -> Cow<'a, Snapshot> {
        let Some(listing) = snapshot.desktops.as_ref().filter(|_| !self.is_empty()) else {
            return Cow::Borrowed(snapshot);
        };
        let veiled: Vec<Option<Desktop>> =
            listing.desktops().iter().map(|desktop| self.desktop(desktop)).collect();
        if veiled.iter().all(Option::is_none) {
            return Cow::Borrowed(snapshot);
        }
        let desktops = veiled.into_iter().zip(listing.desktops());
        let desktops = desktops.map(|(veiled, seen)| veiled.unwrap_or_else(|| seen.clone()));
        let listing = Listing::new(desktops.collect());
        Cow::Owned(Snapshot { desktops: Some(listing), ..snapshot.clone() })
    }

    fn desktop(&self, desktop: &Desktop) -> Option<Desktop> {
        let entries = desktop.users.entries();
        let veiled: Vec<Option<AttachUser>> =
            entries.iter().map(|entry| self.user(entry)).collect();
        let is_assigned = veiled.iter().any(Option::is_some);
        let name = desktop.name.as_deref().and_then(|name| {
            if let Some(found) = self.replacement(Text::DesktopName, name) {
                return Some(Arc::clone(&found.text));
            }
            let persons = entries.iter().zip(&veiled).filter_map(|(entry, veiled)| {
                let name = entry.name.as_deref()?;
                let found = self.replacement(Text::Name, name)?;
                let text = veiled.as_ref()?.name.as_deref()?;
                found.is_in_desktop_names.then_some((name, text))
            });
            replaced_in(name, persons).map(Arc::from)
        });
        if !is_assigned && name.is_none() {
            return None;
        }
        let users = if is_assigned {
            let users = veiled.into_iter().zip(entries);
            AttachUsers::new(
                users.map(|(veiled, seen)| veiled.unwrap_or_else(|| seen.clone())).collect(),
            )
        } else {
            desktop.users.clone()
        };
        Some(Desktop { users, name: name.or_else(|| desktop.name.clone()), ..desktop.clone() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(id: Option<&str>, name: Option<&str>) -> AttachUser {
        AttachUser {
            kind: Some("USER".into()),
            id: id.map(Arc::from),
            name: name.map(Arc::from),
            user_group: None,
        }
    }

    fn veil(person: &Person) -> Veil {
        let mut veil = Veil::new([7; 32]);
        for (what, text, replacement) in person.texts() {
            veil.add(veil.hash(what, text), replacement);
        }
        veil
    }

    #[test]
    fn a_name_is_found_in_the_names_of_desktops_but_not_in_other_words() {
        let replaced = |name: &str| replaced_in(name, [("ann", "X")].into_iter());
        for (name, expected) in [
            ("ann", "X"),
            ("ANN", "X"),
            ("ann-2", "X-2"),
            ("PC_Ann01", "PC_X01"),
            ("ann-ann", "X-X"),
            ("annann ann", "annann X"),
            ("ÄANN ann", "ÄANN X"),
        ] {
            assert_eq!(replaced(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["joanna", "anna", "an", "", "hannover"] {
            assert_eq!(replaced(name), None, "{name}");
        }
        assert_eq!(replaced_in("user12-pc", [("user1", "X")].into_iter()), None);
        assert_eq!(replaced_in("a-pc", [("a", "X")].into_iter()), None);
    }

    #[test]
    fn a_person_is_all_users_of_their_ids_and_those_of_their_names_without_one() {
        let users = [
            user(Some("u-1"), Some("alice")),
            user(Some("u-1"), Some("alice b")),
            user(Some("u-2"), Some("alice")),
            user(None, Some("alice")),
            user(None, Some("alice b")),
            user(Some("u-3"), Some("bob")),
            user(None, None),
        ];
        let is = |who: &str| {
            let person = Person::find(who, &users, "P", true).expect("there is one");
            let veil = veil(&person);
            for user in &users {
                assert_eq!(person.is(user), veil.user(user).is_some(), "{who}: {user:?}");
            }
            users.iter().map(|user| veil.user(user)).collect::<Vec<_>>()
        };
        assert_eq!(
            is("alice"),
            [
                Some(user(Some("P"), Some("P"))),
                Some(user(Some("P"), Some("P-2"))),
                Some(user(Some("P-2"), Some("P"))),
                Some(user(None, Some("P"))),
                Some(user(None, Some("P-2"))),
                None,
                None,
            ]
        );
        let by_id = is("u-1");
        assert_eq!(
            by_id.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, false, true, true, false, false]
        );
        assert_eq!(Person::find("mallory", &users, "P", true), None);
        // One of the same name with another id is somebody else; with an id that is known, a new name is the same person's.
        let person = Person::find("u-1", &users, "P", true).expect("there is one");
        assert_eq!(veil(&person).user(&user(Some("u-9"), Some("alice"))), None);
        let renamed = veil(&person).user(&user(Some("u-1"), Some("alice c")));
        assert_eq!(renamed, Some(user(Some("P"), Some("P"))));
    }

    proptest! {
        /// Otherwise rows that were different would be one, and the history another.
        #[test]
        fn different_users_stay_different(
            users in prop::collection::vec((0..3_u8, 0..3_u8), 1..8),
        ) {
            let text = |prefix: &str, of: u8| (of > 0).then(|| format!("{prefix}{of}"));
            let users: BTreeSet<AttachUser> = users
                .into_iter()
                .map(|(id, name)| user(text("u", id).as_deref(), text("n", name).as_deref()))
                .collect();
            let users: Vec<AttachUser> = users.into_iter().collect();
            for who in ["u1", "n1"] {
                let Some(person) = Person::find(who, &users, "P", true) else { continue };
                let veil = veil(&person);
                let veiled: BTreeSet<AttachUser> = users
                    .iter()
                    .map(|user| veil.user(user).unwrap_or_else(|| user.clone()))
                    .collect();
                prop_assert_eq!(veiled.len(), users.len());
                let named = veiled.iter().any(|user| {
                    user.name.as_deref() == Some(who) || user.id.as_deref() == Some(who)
                });
                prop_assert!(!named);
            }
        }
    }
}
