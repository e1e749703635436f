//! What every view and report must answer, worked out by brute force from the snapshots themselves.
//!
//! The oracle keeps every snapshot in memory and follows the definitions sentence by sentence. It
//! shares no code with the crate, stores no spans, and has no shortcut that the definitions do not
//! have: where it and the ledger differ, one of them has misread a sentence.
//!
//! Values are written so that PostgreSQL rows can be rendered the same way: an instant is its
//! microseconds since 1970 (UTC), an interval its microseconds, a count an integer, an average, a
//! percentage or a number of hours a float, an array an array (with null elements where a name is
//! null), and `attach_users` an array of objects with always the four keys `id`, `name`, `type` and
//! `user_group`. `snapshot_id` and `digest` are left out: they have no meaning outside the database.
//!
//! # Decisions
//!
//! What the definitions leave open is decided here; each rule stands again where it is followed.
//!
//! Reading a snapshot:
//! 1. U+0000 becomes U+2400 in every text (ids, names, statuses, group names, errors), before ids
//!    are compared, users sorted or duplicates dropped.
//! 2. A missing `desktop_id` is an absent or null one; the empty string is an id.
//! 3. A failed listing has no total: `desktops_total` is NULL whatever the line said.
//! 4. A listing with a record that lacks its id is complete all the same when `total_count` is given
//!    and equals the number of distinct ids.
//! 5. `scheduled_at` is NULL where the line has none. Only a source's first line pins `region`,
//!    `project_id` and `endpoint`.
//! 6. `changes` of a failed listing is 0. It counts a desktop whose span begins at the snapshot (so
//!    every desktop listed after a gap), and one that was present in its last observation, however
//!    long ago, and is missing from this complete listing.
//! 7. A group without a `static_name` has the empty name. Never generated.
//!
//! Users:
//! 8. `users` names each (type, id, name) once, in the order of `attach_users`; null names stay.
//! 9. A user without a type has a type that nobody documents: `group`. Types match exactly.
//!
//! Views:
//! 10. `ended_as` compares exactly: only a status that *is* one of `NO STATUS`, `REASSIGNED`,
//!     `ABSENT`, `UNKNOWN`, `ONGOING` gets `API:` before it; `API:ABSENT` as a status stays as it is.
//! 11. `last_error` of a gap is that of the newest failed listing that has a code or a message. The
//!     open gap has no upper end for its failed snapshots.
//! 12. A source without any usable snapshot has one gap, from its first snapshot (whose failure
//!     counts), whatever the time is.
//!
//! Buckets:
//! 13. Buckets tile the time. A bucket of an hour begins wherever the civil date and hour change or
//!     the clock is set back; so Lord Howe's second 01:30–02:00 is a bucket of half an hour that
//!     starts at 01:30, and after its spring change the hour 02 starts at 02:30.
//! 14. A day, week or month begins at the first instant of its civil date, so before a midnight that
//!     comes twice, and after one that is skipped.
//! 15. Every source of the ledger has rows in every bucket, also before its first snapshot. `from` at
//!     or after `to` gives no bucket, and no history meets an empty range.
//!
//! Reports:
//! 16. A listing that recorded at least its total is listed at 100 %, also with a total of 0.
//! 17. `connected_hours` is NULL in a bucket without covered time, even if something was counted.
//! 18. Reconnects are looked for beyond `to` as well. A disconnect's `reconnect_within` was observed
//!     to its end if the desktop's observations go on without a gap to one at or after that end.
//! 19. `longest_gap` is the longest stretch of the bucket's part with no covered time and no usable
//!     snapshot inside: a lone snapshot divides it, as it divides the view `gaps`. The time before
//!     the first and after the last snapshot belongs to it.
//! 20. A null counter is unknown, not 0: each mean is over the time in which that counter was given,
//!     `in_use_pct` over that in which all five were, the peak over those given. `coverage_pct` of a
//!     group does not care which counters were given.
//! 21. `group` is compared with the name that the report shows (`pool`, `pool (2)`).
//! 22. `connected-at` shows the `desktop_name` of the observation that answers, not the connection's
//!     latest; the bounds are the connection's.
//! 23. A range [from, to) meets a row that covers [first_seen, held_until] if `first_seen < to` and
//!     `held_until >= from`, and a gap (a, b) if `a < to` and `b > from`.
//! 24. `desktop-history` has a leading `not observed` row before the first observation and always a
//!     trailing one after the last: that one holds for no time. Rows are ordered by source,
//!     desktop_id, time.
//! 25. `user-history` orders rows of one connection by the user's type, id and name.
//! 26. `busy-hours` has a row for each weekday and hour that the range meets. With several sources
//!     its covered time is that in which all of them were covered, since no gap counts as zero;
//!     connections are summed over them.
//! 27. `concurrency` has a row for each source. Without covered time `covered_hours` and
//!     `coverage_pct` are 0 and the rest NULL; over an empty range `coverage_pct` is NULL.
//! 28. In reports of single desktops holds are not cut to the source's covered time: a desktop's own
//!     observations say how long it was observed.
//! 29. A hold that ends where the days of `idle-desktops` begin is before them, an observation at that
//!     instant is in them. An observation that holds for no time still divides what was not observed.
//! 30. The desktops of `capacity` are those held up to the last covered instant of the range; what was
//!     observed of them counts in all of the range, also after that instant. Without working hours
//!     `coverage_pct` is NULL.
//! 31. `forecast` learns of the civil days that lie whole in the range, and foretells those that begin
//!     at or after its end, by the distance in civil dates from the last whole day.
//! 32. All sources as one are covered where every one is. A visit's `listed` is then of the sums of recorded and total
//!     (none recorded beyond its total, none total below 0); unknown where one total is. Runs meet, ends included.
//! 33. A source has a row in `distribution` also without covered time, with NULL for its bin.
//! 34. `comparison` has no rows of an empty period; where one of the two is empty its values are NULL.
//! 35. Persons are users of type USER exactly. `user-days` shows who was observed or held CONNECTED on a day, also for
//!     no time; `user-hours` only who was for some time, but then also under a grade whose time counts under a surer one.
//! 36. In `user-days` a connection that is held beyond the day's end was last connected there; else at its last
//!     observation, or at the day's start where that was before it.

pub mod buckets;
pub mod connections;
pub mod coverage;
pub mod fleet;
pub mod generate;
pub mod held;
pub mod ledger;
pub mod reports;
pub mod rows;
pub mod time_line;
pub mod views;

mod example;
mod laws;
mod self_checks;
