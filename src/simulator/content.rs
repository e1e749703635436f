//! What an answer holds: one page of desktops, or the groups' statistics, as asked for and as faults
//! spoil it.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fault::Fault;
use crate::domain::{AttachUser, COUNTERS, Desktop, GroupStatistics};

/// One page before it is written.
pub(super) struct Page {
    pub desktops: Vec<Desktop>,
    pub total: i64,
}

impl Page {
    /// Writes the page as JSON.
    pub fn write(mut self, faults: &[Fault]) -> Vec<u8> {
        let mut is_reshaped = false;
        for fault in faults {
            match fault {
                Fault::WrongTotal(by) => self.total += by,
                Fault::ShortPage(most) => self.desktops.truncate(*most as usize),
                Fault::Lose(count) => {
                    // Out of the middle, where a page that is only shorter is none the wiser.
                    let count = (*count as usize).min(self.desktops.len());
                    let from = (self.desktops.len() - count) / 2;
                    self.desktops.drain(from..from + count);
                }
                Fault::Duplicate => self.desktops.extend(self.desktops.first().cloned()),
                Fault::NoId | Fault::Nulls | Fault::OddNames | Fault::Extra | Fault::NullTotal => {
                    is_reshaped = true;
                }
                _ => {}
            }
        }
        let page = DesktopsOut {
            desktops: self.desktops.iter().map(DesktopOut::from).collect(),
            total_count: self.total,
        };
        if !is_reshaped {
            return serde_json::to_vec(&page).expect("texts and numbers are JSON");
        }
        let mut page = serde_json::to_value(&page).expect("texts and numbers are JSON");
        for fault in faults {
            reshape(&mut page, fault);
        }
        page.to_string().into_bytes()
    }
}

/// Writes the page in another way.
fn reshape(page: &mut Value, fault: &Fault) {
    let total = page["total_count"].clone();
    let records = page["desktops"].as_array_mut().expect("it was written as one");
    match fault {
        Fault::NoId => {
            let middle = records.len() / 2;
            if let Some(Value::Object(record)) = records.get_mut(middle) {
                record.shift_remove("desktop_id");
            }
        }
        Fault::OddNames => {
            for record in records.iter_mut().filter_map(Value::as_object_mut) {
                rename(record, "connect_status", "login_status");
                rename(record, "attach_users", "attach_infos");
            }
        }
        Fault::Extra => {
            for record in records.iter_mut() {
                for user in record["attach_users"].as_array_mut().into_iter().flatten() {
                    add_unknown(user);
                }
                add_unknown(record);
            }
            add_unknown(page);
        }
        Fault::Nulls => {
            for record in records.iter_mut().step_by(3) {
                spell_out(record);
            }
            page["total_count"] = json!(total.to_string());
            page["request_id"] = Value::Null;
        }
        Fault::NullTotal => page["total_count"] = Value::Null,
        _ => {}
    }
}

fn rename(record: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = record.shift_remove(from) {
        record.insert(to.to_owned(), value);
    }
}

/// Fields that no document lists, whose values look like what stands beside them.
fn add_unknown(value: &mut Value) {
    value["x_id"] = json!("21616aa6-061d-4b2f-bd83-b230d7a9a14c");
    value["x_count"] = json!(-1.5e300);
    value["x_list"] = json!([{"connect_status": "CONNECTED", "desktop_id": null}, [[]]]);
}

/// Null where a field would be left out, and an empty list left out or null: it says the same.
fn spell_out(record: &mut Value) {
    for name in ["desktop_name", "connect_status"] {
        if record.get(name).is_none() {
            record[name] = Value::Null;
        }
    }
    if record["attach_users"].as_array().is_some_and(Vec::is_empty) {
        record["attach_users"] = Value::Null;
    }
    for user in record["attach_users"].as_array_mut().into_iter().flatten() {
        for name in ["id", "user_group"] {
            if user.get(name).is_none() {
                user[name] = Value::Null;
            }
        }
    }
    add_unknown(record);
}

/// Writes the groups' statistics as JSON.
pub(super) fn write_statistics(groups: &[GroupStatistics], faults: &[Fault]) -> Vec<u8> {
    let rows = groups.iter().enumerate().map(|(number, group)| {
        let mut row = Map::new();
        row.insert("static_name".into(), json!(group.name.as_deref()));
        for (at, (name, count)) in COUNTERS.iter().zip(group.counters).enumerate() {
            let is_wild = number == 0 && faults.contains(&Fault::WildCounters);
            let count = match count {
                Some(_) if is_wild => Some([-1, i64::from(i32::MAX) + 7, i64::MIN][at % 3]),
                count => count,
            };
            let as_text = number % 3 == 0 && faults.contains(&Fault::Nulls);
            let value = match count {
                Some(count) if as_text => json!(count.to_string()),
                count => json!(count),
            };
            row.insert((*name).into(), value);
        }
        let mut row = Value::Object(row);
        if faults.contains(&Fault::Extra) {
            add_unknown(&mut row);
        }
        row
    });
    let mut answer = json!({"statics": rows.collect::<Vec<_>>()});
    if faults.contains(&Fault::Extra) {
        add_unknown(&mut answer);
    }
    answer.to_string().into_bytes()
}

#[derive(Serialize)]
struct DesktopsOut<'a> {
    desktops: Vec<DesktopOut<'a>>,
    total_count: i64,
}

/// Fields that are not known are left out, as the service does.
#[derive(Serialize)]
struct DesktopOut<'a> {
    desktop_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    desktop_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_status: Option<&'a str>,
    attach_users: Vec<UserOut<'a>>,
}

#[derive(Serialize)]
struct UserOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_group: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
}

impl<'a> From<&'a Desktop> for DesktopOut<'a> {
    fn from(desktop: &'a Desktop) -> Self {
        Self {
            desktop_id: &desktop.id,
            desktop_name: desktop.name.as_deref(),
            connect_status: desktop.status.as_deref(),
            attach_users: desktop.users.entries().iter().map(UserOut::from).collect(),
        }
    }
}

impl<'a> From<&'a AttachUser> for UserOut<'a> {
    fn from(user: &'a AttachUser) -> Self {
        Self {
            id: user.id.as_deref(),
            name: user.name.as_deref(),
            user_group: user.user_group.as_deref(),
            kind: user.kind.as_deref(),
        }
    }
}
