//! One desktop as one listing shows it, and the set of users it is assigned to.

use std::sync::Arc;

/// A user or a user group that a desktop is *assigned* to. The API never names who sits at it.
///
/// The order of the fields is the order in which entries are sorted: bytewise by type, id, name and
/// `user_group`, an absent value before every present one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachUser {
    /// `USER` or `GROUP` as documented, and verbatim whatever else comes.
    pub kind: Option<Arc<str>>,
    /// The user's or group's id; the API is known to leave it out.
    pub id: Option<Arc<str>>,
    /// The user's or group's name.
    pub name: Option<Arc<str>>,
    /// The group on the desktop that the user belongs to (`administrators`, `users`, `sudo`, …).
    pub user_group: Option<Arc<str>>,
}

impl AttachUser {
    /// Whether both name the same user: type, id and name; the group on the desktop does not count.
    #[must_use]
    pub fn is_same_user(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// What tells the user from others.
    pub(super) fn key(&self) -> UserKey<'_> {
        (self.kind.as_deref(), self.id.as_deref(), self.name.as_deref())
    }
}

/// Type, id and name: the group on the desktop does not count.
pub(super) type UserKey<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// Whom a desktop is assigned to, as a set: equal entries once, sorted.
///
/// Two listings that differ only in the order of the entries are equal; null is the empty set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachUsers(Arc<[AttachUser]>);

impl AttachUsers {
    /// Sorts the entries and drops those that come twice.
    #[must_use]
    pub fn new(mut entries: Vec<AttachUser>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        Self(entries.into())
    }

    /// Equal; where both are one set in memory, without looking into it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self == other
    }

    /// The entries, sorted.
    #[must_use]
    pub fn entries(&self) -> &[AttachUser] {
        &self.0
    }

    /// The distinct users, in the order of the entries: one user counts once by type, id and name.
    pub fn users(&self) -> impl Iterator<Item = &AttachUser> {
        let entries = &self.0;
        entries.iter().enumerate().filter_map(move |(at, user)| {
            // Unwrap safety: sorted by type, id, name first, so that the same user stands together.
            (at == 0 || !entries[at - 1].is_same_user(user)).then_some(user)
        })
    }

    /// How far the assignment names the person at the desktop.
    #[must_use]
    pub fn attribution(&self) -> Attribution {
        let is_user = |user: &AttachUser| user.kind.as_deref() == Some("USER");
        match self.users().count() {
            0 => Attribution::Unassigned,
            _ if !self.users().all(is_user) => Attribution::Group,
            1 => Attribution::Exclusive,
            _ => Attribution::Shared,
        }
    }
}

impl Default for AttachUsers {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// How far an assignment tells who was connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// One user.
    Exclusive,
    /// Several users: one of them.
    Shared,
    /// Any group, or a type that no document lists.
    Group,
    /// Nobody.
    Unassigned,
}

impl Attribution {
    /// The word as views and reports show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Group => "group",
            Self::Unassigned => "unassigned",
        }
    }
}

/// One desktop's state in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desktop {
    /// The API's `desktop_id`.
    pub id: Arc<str>,
    /// `desktop_name`; `None` where the API gave none.
    pub name: Option<Arc<str>>,
    /// `connect_status` verbatim, also values that no document lists; `None` where the API gave none.
    pub status: Option<Arc<str>>,
    /// `attach_users`.
    pub users: AttachUsers,
}
