//! What is told: typed here, JSON on the way.
//!
//! Only what was seen is in an event, and no name of a person or a desktop: whoever is on call needs to know which source and
//! since when, and a pager's provider nothing more. An API's error message may quote anything, so only its code is told.

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::Topic;
use crate::domain::Instant;

/// The event by which an administrator proves the wiring.
pub const TEST: &str = "webhook.test";

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same whoever tells it, and however often: receivers know it again by this.
    pub id: String,
    /// Its type, as `gap.opened`.
    pub kind: &'static str,
    /// When it came about.
    pub at: Instant,
    /// What it is about, and was known when it came about.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event about a source or, without one, about this recorder. Its id is of what it is about: `key` is the instant
    /// that makes it this one and no other, on whichever machine.
    #[must_use]
    pub fn new(
        kind: &'static str,
        about: &str,
        key: Instant,
        at: Instant,
        data: Map<String, Value>,
    ) -> Self {
        let mut digest = Sha256::new();
        for part in [kind, about, &key.timestamp_micros().to_string()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        // Without a full stop, which separates what is signed.
        let id = format!("evt_{}", hex::encode(&digest.finalize()[..16]));
        Self { id, kind, at, data }
    }

    /// What is posted.
    #[must_use]
    pub fn body(&self) -> String {
        let (id, at) = (&self.id, instant(self.at));
        json!({ "type": self.kind, "timestamp": at, "id": id, "data": self.data }).to_string()
    }
}

/// Something that goes on, and is told when it begins and when it ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What kind of thing.
    pub topic: Topic,
    /// Which one: a source, or something of this machine.
    pub about: String,
    /// The instant since which it is.
    pub since: Instant,
}

impl Condition {
    /// What there is at most one of at a time, as a name of a file.
    #[must_use]
    pub fn subject(&self) -> String {
        let digest = Sha256::digest(format!("{}\0{}", self.topic.begins_as(), self.about));
        hex::encode(&digest[..16])
    }

    /// That it has begun.
    #[must_use]
    pub fn begins(&self, at: Instant, data: Map<String, Value>) -> Event {
        Event::new(self.topic.begins_as(), &self.about, self.since, at, data)
    }

    /// That it is over; its id is of when it began, so that it belongs to that beginning whoever saw the end.
    ///
    /// # Panics
    /// It is of a kind that has no end.
    #[must_use]
    pub fn ends(&self, at: Instant, data: Map<String, Value>) -> Event {
        let kind = self.topic.ends_as().expect("only what has an end is a condition");
        Event::new(kind, &self.about, self.since, at, data)
    }
}

/// An instant as reports write it.
#[must_use]
pub fn instant(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An object of what is known; what is not known is null.
pub(super) fn data<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// An instant, or null.
pub(super) fn or_null(at: Option<Instant>) -> Value {
    at.map_or(Value::Null, |at| instant(at).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_of_what_an_event_is_about_and_of_nothing_else() {
        let gap = |about: &str, since: &str| Condition {
            topic: Topic::Gap,
            about: about.to_owned(),
            since: at(since),
        };
        let event = |gap: Condition| gap.begins(at("2026-10-01T08:15:00Z"), Map::new()).id;
        let id = event(gap("prod", "2026-10-01T08:00:00Z"));
        assert_eq!(id, "evt_005dec5eb96c34df6d116f11e2a3f497", "receivers have seen it");
        assert_ne!(id, event(gap("prod", "2026-10-01T08:00:00.000001Z")));
        assert_ne!(id, event(gap("test", "2026-10-01T08:00:00Z")));
        let gap = gap("prod", "2026-10-01T08:00:00Z");
        let later = gap.begins(at("2026-10-02T00:00:00Z"), data([("n", 3.into())]));
        assert_eq!(id, later.id);
        assert_ne!(id, gap.ends(at("2026-10-01T09:00:00Z"), Map::new()).id);
        assert_eq!(gap.subject().len(), 32);
    }

    #[test]
    fn a_body_has_the_fields_that_the_specification_recommends() {
        let at = at("2026-10-01T08:15:00.25Z");
        let event = Event::new("gap.opened", "prod", at, at, data([("source", "prod".into())]));
        let expected = format!(
            r#"{{"type":"gap.opened","timestamp":"2026-10-01T08:15:00.250Z","id":"{}","data":{{"source":"prod"}}}}"#,
            event.id
        );
        assert_eq!(event.body(), expected);
    }
}
