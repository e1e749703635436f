//! Writing a line: the canonical form, which reads back as the very same snapshot.

use std::io::{self, Write};

use chrono::SecondsFormat;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Pin;
use crate::domain::{
    AttachUser, COUNTERS, Desktop, Failure, GroupStatistics, Instant, Snapshot, format_duration,
};

/// Writes a snapshot and the line's end.
///
/// `max_gap` and `total_count` are always written, so that nothing is left to a reader's defaults; the
/// parts that failed are null.
///
/// # Errors
/// The writer's own.
pub fn write_line(
    output: &mut impl Write,
    source: &str,
    pin: Option<&Pin>,
    snapshot: &Snapshot,
) -> io::Result<()> {
    serde_json::to_writer(&mut *output, &LineOut { source, pin, snapshot })?;
    output.write_all(b"\n")
}

/// A snapshot's line without a pin and without its end: as late ones are kept.
#[must_use]
pub fn bare_line(source: &str, snapshot: &Snapshot) -> String {
    let line = LineOut { source, pin: None, snapshot };
    serde_json::to_string(&line).expect("a text takes everything")
}

struct LineOut<'a> {
    source: &'a str,
    pin: Option<&'a Pin>,
    snapshot: &'a Snapshot,
}

impl Serialize for LineOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Snapshot {
            scheduled_at,
            observed_at,
            finished_at,
            max_gap,
            total,
            desktops,
            groups,
            failure,
        } = self.snapshot;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("source", self.source)?;
        if let Some(Pin { region, project_id, endpoint }) = self.pin {
            map.serialize_entry("region", region)?;
            map.serialize_entry("project_id", project_id)?;
            map.serialize_entry("endpoint", endpoint)?;
        }
        if let Some(at) = scheduled_at {
            map.serialize_entry("scheduled_at", &rfc3339(*at))?;
        }
        map.serialize_entry("observed_at", &rfc3339(*observed_at))?;
        map.serialize_entry("finished_at", &rfc3339(*finished_at))?;
        map.serialize_entry("max_gap", &format_duration(*max_gap))?;
        map.serialize_entry("total_count", total)?;
        let desktops = desktops.as_ref().map(|listing| Each(listing.desktops(), DesktopOut));
        map.serialize_entry("desktops", &desktops)?;
        map.serialize_entry("statics", &groups.as_ref().map(|groups| Each(groups, GroupOut)))?;
        if let Some(Failure { code, message }) = failure {
            map.serialize_entry("error", &ErrorOut { code, message })?;
        }
        map.end()
    }
}

fn rfc3339(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[derive(Serialize)]
struct ErrorOut<'a> {
    code: &'a Option<String>,
    message: &'a Option<String>,
}

/// A list whose elements are written by way of `.1`.
struct Each<'a, T, O>(&'a [T], fn(&'a T) -> O);

impl<T, O: Serialize> Serialize for Each<'_, T, O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

struct DesktopOut<'a>(&'a Desktop);

impl Serialize for DesktopOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("desktop_id", &*self.0.id)?;
        map.serialize_entry("desktop_name", &self.0.name.as_deref())?;
        map.serialize_entry("connect_status", &self.0.status.as_deref())?;
        map.serialize_entry("attach_users", &Each(self.0.users.entries(), UserOut))?;
        map.end()
    }
}

struct UserOut<'a>(&'a AttachUser);

impl Serialize for UserOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.0.id.as_deref())?;
        map.serialize_entry("name", &self.0.name.as_deref())?;
        map.serialize_entry("user_group", &self.0.user_group.as_deref())?;
        map.serialize_entry("type", &self.0.kind.as_deref())?;
        map.end()
    }
}

struct GroupOut<'a>(&'a GroupStatistics);

impl Serialize for GroupOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, counter) in COUNTERS.iter().zip(self.0.counters) {
            map.serialize_entry(name, &counter)?;
        }
        map.serialize_entry("static_name", &self.0.name.as_deref())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::text::storable;
    use crate::domain::{AttachUsers, Listing};
    use crate::exchange::{Line, Parser, parse_line};

    fn text() -> impl Strategy<Value = Arc<str>> {
        prop_oneof!["[a-c]{1,2}", any::<String>()].prop_map(|text| storable(&text))
    }

    fn owned() -> impl Strategy<Value = Option<String>> {
        prop::option::of(text().prop_map(|text| text.as_ref().to_owned()))
    }

    fn maybe() -> impl Strategy<Value = Option<Arc<str>>> {
        prop::option::of(text())
    }

    fn user() -> impl Strategy<Value = AttachUser> {
        (maybe(), maybe(), maybe(), maybe()).prop_map(|(kind, id, name, user_group)| AttachUser {
            kind,
            id,
            name,
            user_group,
        })
    }

    fn desktop() -> impl Strategy<Value = Desktop> {
        let id = text().prop_filter("a record without an id is dropped", |id| !id.is_empty());
        let users = prop::collection::vec(user(), 0..4).prop_map(AttachUsers::new);
        (id, maybe(), maybe(), users).prop_map(|(id, name, status, users)| Desktop {
            id,
            name,
            status,
            users,
        })
    }

    fn group() -> impl Strategy<Value = GroupStatistics> {
        (maybe(), any::<[Option<i64>; 13]>())
            .prop_map(|(name, counters)| GroupStatistics { name, counters })
    }

    fn instant() -> impl Strategy<Value = Instant> {
        (0_i64..4_000_000_000_000_000).prop_map(|micros| {
            DateTime::from_timestamp_micros(micros).expect("the range is within chrono's")
        })
    }

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        let total = prop_oneof![Just(None), Just(Some(3)), any::<Option<i64>>()];
        let desktops =
            prop::option::of(prop::collection::vec(desktop(), 0..6).prop_map(Listing::new));
        let groups = prop::option::of(prop::collection::vec(group(), 0..4));
        let failure = prop::option::of(
            (owned(), owned()).prop_map(|(code, message)| Failure { code, message }),
        );
        let seconds = (0_i64..100_000, 1_i64..1_000_000);
        (prop::option::of(instant()), instant(), seconds, total, desktops, groups, failure)
            .prop_map(
                |(scheduled_at, observed_at, (took, gap), total, desktops, groups, failure)| {
                    Snapshot {
                        scheduled_at,
                        observed_at,
                        finished_at: observed_at + TimeDelta::seconds(took),
                        max_gap: TimeDelta::seconds(gap),
                        // A listing that failed has no total, whatever a line says.
                        total: total.filter(|_| desktops.is_some()),
                        desktops,
                        groups,
                        failure,
                    }
                },
            )
    }

    fn line() -> impl Strategy<Value = Line> {
        let source = "[a-z]{1,3}";
        let pin = prop::option::of(
            (owned(), owned(), owned()).prop_map(|(region, project_id, endpoint)| Pin {
                region,
                project_id,
                endpoint,
            }),
        );
        (source, pin, snapshot()).prop_map(|(source, pin, snapshot)| Line { source, pin, snapshot })
    }

    fn written(line: &Line) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_line(&mut bytes, &line.source, line.pin.as_ref(), &line.snapshot)
            .expect("a vector takes everything");
        bytes
    }

    const GAP: TimeDelta = TimeDelta::seconds(1);

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(line in line()) {
            let bytes = written(&line);
            prop_assert_eq!(parse_line(&bytes, GAP).expect("a written line reads"), line);
        }

        /// Comparing with the line before is a way of reading, never a difference in what is read.
        #[test]
        fn a_parser_reads_each_line_as_if_it_were_alone(
            lines in prop::collection::vec((line(), any::<bool>()), 1..6),
            rotate in 0_usize..6,
        ) {
            let mut parser = Parser::new(GAP);
            let mut before: Option<Line> = None;
            for (mut line, is_alike) in lines {
                if let (true, Some(before)) = (is_alike, &before) {
                    // Mostly the line before: one source, its desktops turned, one more in front.
                    line.source.clone_from(&before.source);
                    let mut desktops = before.snapshot.desktops.as_ref()
                        .map_or_else(Vec::new, |listing| listing.desktops().to_vec());
                    let at = rotate.min(desktops.len());
                    desktops.rotate_left(at);
                    let new = line.snapshot.desktops.iter().flat_map(Listing::desktops).take(1);
                    desktops.splice(0..0, new.cloned());
                    line.snapshot.desktops = Some(Listing::new(desktops));
                }
                let bytes = written(&line);
                prop_assert_eq!(parser.parse(&bytes).expect("a written line reads"), line.clone());
                before = Some(line);
            }
        }
    }

    #[test]
    fn the_keys_come_in_the_order_of_the_contract() {
        let at = DateTime::from_timestamp_micros(1_790_841_600_000_000).expect("in range");
        let snapshot = Snapshot {
            scheduled_at: Some(at),
            observed_at: at,
            finished_at: at + TimeDelta::milliseconds(1500),
            max_gap: TimeDelta::minutes(15),
            total: None,
            desktops: Some(Listing::new(vec![Desktop {
                id: "d-a".into(),
                name: None,
                status: Some("CONNECTED".into()),
                users: AttachUsers::default(),
            }])),
            groups: None,
            failure: Some(Failure { code: Some("APIGW.0308".into()), message: None }),
        };
        let mut bytes = Vec::new();
        write_line(&mut bytes, "prod", None, &snapshot).expect("a vector takes everything");
        assert_eq!(
            String::from_utf8(bytes).expect("JSON is UTF-8"),
            concat!(
                r#"{"source":"prod","scheduled_at":"2026-10-01T08:00:00Z","#,
                r#""observed_at":"2026-10-01T08:00:00Z","finished_at":"2026-10-01T08:00:01.500Z","#,
                r#""max_gap":"15m","total_count":null,"desktops":[{"desktop_id":"d-a","#,
                r#""desktop_name":null,"connect_status":"CONNECTED","attach_users":[]}],"#,
                r#""statics":null,"error":{"code":"APIGW.0308","message":null}}"#,
                "\n"
            )
        );
    }
}
