//! The reports, each from the definitions alone. An empty `source` means all.

mod busy_hours;
mod capacity;
mod comparison;
mod concurrency;
mod connected_at;
mod coverage;
mod desktop_history;
mod disconnects;
mod distribution;
mod flapping;
mod forecast;
mod group_utilisation;
mod idle_desktops;
mod lingering;
mod outages;
mod user_history;
mod users;
mod utilisation;

pub use busy_hours::busy_hours;
pub use capacity::{Work, capacity};
pub use comparison::{comparison, other_period};
pub use concurrency::concurrency;
pub use connected_at::connected_at;
pub use coverage::coverage;
pub use desktop_history::desktop_history;
pub use disconnects::disconnects;
pub use distribution::distribution;
pub use flapping::flapping;
pub use forecast::forecast;
pub use group_utilisation::group_utilisation;
pub use idle_desktops::idle_desktops;
pub use lingering::lingering;
pub use outages::outages;
pub use user_history::user_history;
pub use users::{user_days, user_hours};
pub use utilisation::utilisation;

use chrono_tz::Tz;

use super::buckets::{Bucket, Unit, buckets};
use super::coverage::Period;

/// What every bucketed report is asked: `from`, `to`, `bucket` and `tz`.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    pub range: Period,
    pub unit: Unit,
    pub tz: Tz,
}

impl Buckets {
    /// The buckets that the range meets, oldest first.
    fn list(self) -> Vec<Bucket> {
        buckets(self.range, self.unit, self.tz)
    }
}
