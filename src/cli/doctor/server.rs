//! What the facts about a database mean: pure, from what the server said.

use std::path::Path;

use chrono::TimeDelta;

use super::check::Check;
use crate::domain::format_duration;
use crate::error::Chain;
use crate::store::private::{self, MAJOR_NEWEST, MAJOR_OLDEST};
use crate::store::{Rights, ServerFacts, StoreError, TableSize, newest_schema_version};

/// PostgreSQL stops when it cannot write, and a checkpoint of the private server may keep this much.
const ROOM: u64 = 2 << 30;
/// Below this the next busy day may end the recording.
const NO_ROOM: u64 = 256 << 20;
/// So far apart the clocks may be: instants are compared with each other, and none is taken from the server.
const SKEW: TimeDelta = TimeDelta::minutes(5);

/// A question that the database did not answer.
pub(super) fn broken(name: &'static str, error: &StoreError) -> Check {
    Check::failed(name, Chain(error).to_string(), "the server's own log may say more")
}

pub(super) fn of_server(facts: &ServerFacts, ahead: TimeDelta) -> Vec<Check> {
    let major = facts.version_num / 10_000;
    let supported = (MAJOR_OLDEST..=MAJOR_NEWEST).contains(&u32::try_from(major).unwrap_or(0));
    let version = format!("PostgreSQL {}", facts.version);
    let version = if facts.is_standby {
        Check::failed(
            "version",
            format!("{version}, a standby: nothing can be written to it"),
            "name the primary server in DATABASE_URL",
        )
    } else if supported {
        Check::ok("version", version)
    } else {
        Check::warning(
            "version",
            version,
            format!("deskledger is tried with {MAJOR_OLDEST} to {MAJOR_NEWEST}"),
        )
    };
    let seconds = ahead.abs().num_seconds();
    let clock = if ahead.abs() > SKEW {
        Check::warning(
            "clock",
            format!(
                "the server is {} {} this machine",
                format_duration(ahead.abs()),
                if ahead > TimeDelta::zero() { "behind" } else { "ahead of" }
            ),
            "one of the clocks is wrong: let NTP set both",
        )
    } else if seconds > 1 {
        Check::ok("clock", format!("{seconds} s off this machine's, which harms nothing"))
    } else {
        Check::ok("clock", "within a second of this machine's")
    };
    let durability = if facts.unsafe_settings.is_empty() {
        Check::ok("durability", "what is recorded survives a power cut")
    } else {
        Check::warning(
            "durability",
            format!(
                "off: {}; a power cut may lose or break the ledger",
                facts.unsafe_settings.join(", ")
            ),
            "turn them on in postgresql.conf",
        )
    };
    let encryption = match (facts.is_encrypted, facts.is_local) {
        (true, _) => Check::ok("encryption", "the connection is encrypted"),
        (false, true) => Check::ok("encryption", "none, and the connection stays on this machine"),
        (false, false) => Check::warning(
            "encryption",
            "the connection crosses the network in the clear, with the names of all users",
            "add `?sslmode=verify-full` to the URL, and turn ssl on at the server",
        ),
    };
    vec![version, clock, durability, encryption]
}

pub(super) fn schema(version: &Result<i64, StoreError>) -> Check {
    let known = newest_schema_version();
    match version {
        Ok(0) => Check::warning(
            "schema",
            "none: nothing was ever recorded here",
            "the first `deskledger collect` makes it; is it the right database?",
        ),
        Ok(found) if *found < known => Check::warning(
            "schema",
            format!("version {found}, and this deskledger's is {known}"),
            "the next `deskledger collect` migrates it, and `deskledger migrate --plan` says for how long; make a backup before",
        ),
        Ok(found) if *found > known => Check::failed(
            "schema",
            format!("version {found}, and this deskledger knows up to {known}"),
            "use the deskledger that migrated it, or a newer one",
        ),
        Ok(found) => Check::ok("schema", format!("version {found}, the newest")),
        Err(StoreError::Database { source: sqlx::Error::Database(error), .. })
            if error.code().as_deref() == Some("42501") =>
        {
            Check::skipped("schema", "this login may not see the tables, only views")
        }
        Err(error) => broken("schema", error),
    }
}

/// Whoever is to record has to be able to; who is not may do with less.
pub(super) fn rights(rights: &Rights, has_schema: bool, is_to_record: bool) -> Check {
    const NAME: &str = "rights";
    if !has_schema {
        return if rights.may_create_schemas {
            Check::ok(NAME, "may make the schema")
        } else {
            Check::failed(
                NAME,
                "may not make the schema",
                "as its owner: `grant create on database … to …` for this login",
            )
        };
    }
    if rights.may_write && rights.may_create_partitions {
        return Check::ok(NAME, "may record, and make the partitions of new months");
    }
    let may = match (rights.may_write, rights.may_read, rights.may_plan) {
        (true, ..) => "may write, but not make the partitions of new months",
        (_, true, _) => "may read everything, and not record",
        (_, _, true) => "may read the planner's views, and not record",
        _ => "may neither read nor record",
    };
    let advice = "let the login that made the schema record: the tables belong to it";
    if is_to_record || !(rights.may_read || rights.may_plan) {
        Check::failed(NAME, may, advice)
    } else {
        Check::warning(NAME, may, format!("enough for reports; for more, {advice}"))
    }
}

pub(super) fn roles(missing: &[String]) -> Check {
    if missing.is_empty() {
        return Check::ok("roles", "deskledger_reader and deskledger_planner are there");
    }
    Check::warning(
        "roles",
        format!("missing, or may read nothing here: {}", missing.join(", ")),
        "only people who read as them need them; the log of `deskledger collect` shows the statements",
    )
}

pub(super) fn size(all: i64, tables: &[TableSize]) -> Check {
    let bytes = |bytes: i64| human(u64::try_from(bytes).unwrap_or(0));
    let largest: Vec<String> = tables
        .iter()
        .take(3)
        .map(|table| format!("{} {}", table.name, bytes(table.bytes)))
        .collect();
    let of_them = if largest.is_empty() {
        String::new()
    } else {
        format!("; the largest tables: {}", largest.join(", "))
    };
    Check::ok("size", format!("{}{of_them}", bytes(all)))
}

pub(super) fn room(folder: &Path) -> Check {
    match private::free_bytes(folder) {
        Some(bytes) => of_room(bytes, folder),
        None => Check::skipped("room", "the system does not say how much is free"),
    }
}

fn of_room(bytes: u64, folder: &Path) -> Check {
    let found = format!("{} free at {}", human(bytes), folder.display());
    let advice =
        "make room before the disk is full: PostgreSQL stops then, and nothing is recorded";
    match bytes {
        0..NO_ROOM => Check::failed("room", found, advice),
        NO_ROOM..ROOM => Check::warning("room", found, advice),
        _ => Check::ok("room", found),
    }
}

fn human(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            version_num: 150_014,
            version: "15.14".into(),
            now: chrono::DateTime::UNIX_EPOCH,
            login: "me".into(),
            database: "ledger".into(),
            is_superuser: false,
            is_standby: false,
            is_local: false,
            is_encrypted: true,
            unsafe_settings: Vec::new(),
        }
    }

    fn states(facts: &ServerFacts, ahead: i64) -> Vec<State> {
        of_server(facts, TimeDelta::seconds(ahead)).iter().map(|check| check.state).collect()
    }

    #[test]
    fn a_server_is_judged_by_what_it_says() {
        use State::{Failed, Ok, Warning};
        assert_eq!(states(&facts(), 0), [Ok; 4]);
        assert_eq!(states(&facts(), -300), [Ok; 4]);
        assert_eq!(states(&facts(), 301), [Ok, Warning, Ok, Ok]);
        let change = |change: fn(&mut ServerFacts)| {
            let mut facts = facts();
            change(&mut facts);
            states(&facts, 0)
        };
        assert_eq!(change(|facts| facts.version_num = 130_012), [Warning, Ok, Ok, Ok]);
        assert_eq!(change(|facts| facts.version_num = 190_000), [Warning, Ok, Ok, Ok]);
        assert_eq!(change(|facts| facts.is_standby = true), [Failed, Ok, Ok, Ok]);
        assert_eq!(
            change(|facts| facts.unsafe_settings = vec!["fsync".into()]),
            [Ok, Ok, Warning, Ok]
        );
        assert_eq!(change(|facts| facts.is_encrypted = false), [Ok, Ok, Ok, Warning]);
        let local = |facts: &mut ServerFacts| (facts.is_encrypted, facts.is_local) = (false, true);
        assert_eq!(change(local), [Ok; 4]);
        let check = &of_server(&facts(), TimeDelta::minutes(7))[1];
        assert_eq!(check.found, "the server is 7m behind this machine");
    }

    #[test]
    fn a_schema_is_compared_with_ours() {
        let known = newest_schema_version();
        for (found, state) in [
            (0, State::Warning),
            (known - 1, State::Warning),
            (known, State::Ok),
            (known + 1, State::Failed),
        ] {
            assert_eq!(schema(&Ok(found)).state, state, "{found}");
        }
    }

    #[test]
    fn rights_are_judged_by_what_is_wanted() {
        let all = Rights {
            may_create_schemas: true,
            may_write: true,
            may_create_partitions: true,
            may_read: true,
            may_plan: true,
        };
        let reader = Rights {
            may_create_schemas: false,
            may_write: false,
            may_create_partitions: false,
            ..all.clone()
        };
        let nobody = Rights { may_read: false, may_plan: false, ..reader.clone() };
        let writer = Rights { may_write: true, ..reader.clone() };
        for (who, has_schema, is_to_record, state) in [
            (&all, true, true, State::Ok),
            (&all, false, true, State::Ok),
            (&reader, false, true, State::Failed),
            (&reader, true, true, State::Failed),
            (&reader, true, false, State::Warning),
            (&nobody, true, false, State::Failed),
            (&writer, true, true, State::Failed),
        ] {
            let check = rights(who, has_schema, is_to_record);
            assert_eq!(check.state, state, "{check:?}");
        }
    }

    #[test]
    fn room_runs_out_in_two_steps() {
        let state = |bytes| of_room(bytes, Path::new("/data")).state;
        assert_eq!(state(ROOM), State::Ok);
        assert_eq!(state(ROOM - 1), State::Warning);
        assert_eq!(state(NO_ROOM - 1), State::Failed);
    }
}
