//! Hand-made cases, one for each rule that is easily got wrong.

mod ahead;
mod answers;
mod clocks;
mod figures;
mod fleets;
mod people;
mod planning;
mod states;

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::buckets::Unit;
use super::coverage::Period;
use super::ledger::{Ledger, Micros, instant};
use super::reports::Buckets;
use super::rows::Row;

/// An instant of the day on which all of these cases happen.
fn at(time: &str) -> Micros {
    instant(&json!(format!("2026-10-05T{time}Z"))).unwrap()
}

/// A snapshot whose desktops are `(id, status, user)`.
fn seen(time: &str, desktops: &[(&str, &str, &str)]) -> Value {
    let desktops = desktops.iter().map(|(id, status, user)| {
        json!({
            "desktop_id": id,
            "desktop_name": id.to_uppercase(),
            "connect_status": status,
            "attach_users": [{"id": format!("id-{user}"), "name": user, "type": "USER"}],
        })
    });
    json!({
        "source": "s",
        "observed_at": format!("2026-10-05T{time}Z"),
        "desktops": desktops.collect::<Vec<_>>(),
    })
}

fn with(mut line: Value, key: &str, value: impl Into<Value>) -> Value {
    line[key] = value.into();
    line
}

fn ledger(lines: &[Value]) -> Ledger {
    Ledger::read(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn hourly(from: &str, to: &str) -> Buckets {
    Buckets { range: Period { from: at(from), to: at(to) }, unit: Unit::Hour, tz: Tz::UTC }
}

/// The values of one column.
fn column(rows: &[Row], name: &str) -> Value {
    rows.iter().map(|row| row[name].clone()).collect()
}

const ANNA: &[(&str, &str, &str)] = &[("d", "CONNECTED", "anna")];
const BEN: &[(&str, &str, &str)] = &[("d", "CONNECTED", "ben")];
const CUT: &[(&str, &str, &str)] = &[("d", "DISCONNECTED", "anna")];
const NONE: &[(&str, &str, &str)] = &[];
