//! The API's bodies as they come, and what they say in the domain's words.
//!
//! The documents promise nothing: every field is optional, and the vendor's own example spells two
//! of them otherwise than its schema. So nothing here fails on a field that is missing, null,
//! unknown or of another type; it is then not known, which the ledger can say.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::text::{Common, storable};
use crate::domain::{AttachUser, AttachUsers, COUNTERS, Counters, Desktop, GroupStatistics};

/// How much of a body that is no JSON is worth keeping.
const LONGEST_MESSAGE: usize = 300;

/// One page of `connect-desktops`.
#[derive(Debug, Default, Deserialize)]
pub struct DesktopsPage {
    /// The records; `None` where the answer holds no list.
    #[serde(default)]
    pub desktops: Option<Vec<DesktopRecord>>,
    /// The number of desktops in the whole listing.
    #[serde(default)]
    pub total_count: Number,
}

/// The answer of `connections/status`.
#[derive(Debug, Default, Deserialize)]
pub struct StatisticsPage {
    /// The groups; `None` where the answer holds no list.
    #[serde(default)]
    pub statics: Option<Vec<GroupRecord>>,
}

/// One desktop as the API gives it.
#[derive(Debug, Default)]
pub struct DesktopRecord {
    /// `desktop_id`.
    pub id: Option<Arc<str>>,
    /// `desktop_name`.
    pub name: Option<Arc<str>>,
    /// `connect_status`, or `login_status` where only that is given.
    pub status: Option<Arc<str>>,
    /// `attach_users`, or `attach_infos` where only that is given.
    pub users: Option<Vec<AttachUser>>,
}

impl DesktopRecord {
    /// The desktop, with the texts that many have in `common`; `None` for a record without an id, which counts as missing.
    #[must_use]
    pub fn into_desktop(self, common: &mut Common) -> Option<Desktop> {
        let mut users = self.users.unwrap_or_default();
        for user in &mut users {
            user.kind = user.kind.take().map(|kind| common.of(&kind));
            user.user_group = user.user_group.take().map(|group| common.of(&group));
        }
        Some(Desktop {
            id: self.id.filter(|id| !id.is_empty())?,
            name: self.name,
            status: self.status.map(|status| common.of(&status)),
            users: AttachUsers::new(users),
        })
    }
}

/// Reads a map field by field, whatever else it holds; anything but a map gives the default.
macro_rules! lenient_map {
    ($record:ty, |$self:ident, $key:ident, $map:ident| $body:block) => {
        impl<'de> Deserialize<'de> for $record {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> Visitor<'de> for Fields {
                    type Value = $record;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a record")
                    }

                    fn visit_map<A: MapAccess<'de>>(
                        self,
                        mut $map: A,
                    ) -> Result<Self::Value, A::Error> {
                        let mut $self = <$record>::default();
                        while let Some($key) = $map.next_key::<Key>()? {
                            $body
                        }
                        Ok($self)
                    }

                    fn visit_seq<A: SeqAccess<'de>>(
                        self,
                        mut seq: A,
                    ) -> Result<Self::Value, A::Error> {
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        Ok(Self::Value::default())
                    }

                    lenient_scalars!();
                }
                deserializer.deserialize_any(Fields)
            }
        }
    };
}

/// The visitor's methods for everything that is no record: it says nothing.
macro_rules! lenient_scalars {
    () => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Self::Value::default())
        }
    };
}

lenient_map!(DesktopRecord, |record, key, map| {
    match key.0.as_str() {
        "desktop_id" => record.id = map.next_value::<Text>()?.0,
        "desktop_name" => record.name = map.next_value::<Text>()?.0,
        // The documented spelling wins where both are given, in whatever order.
        "connect_status" => {
            let status = map.next_value::<Text>()?.0;
            record.status = status.or(record.status);
        }
        "login_status" => {
            let status = map.next_value::<Text>()?.0;
            record.status = record.status.or(status);
        }
        "attach_users" => {
            let users = map.next_value::<Users>()?.0;
            record.users = users.or(record.users);
        }
        "attach_infos" => {
            let users = map.next_value::<Users>()?.0;
            record.users = record.users.or(users);
        }
        _ => {
            map.next_value::<IgnoredAny>()?;
        }
    }
});

/// One entry of `attach_users`; an entry that is no record at all is none.
#[derive(Default)]
struct UserRecord(Option<AttachUser>);

lenient_map!(UserRecord, |record, key, map| {
    let user =
        record.0.get_or_insert(AttachUser { kind: None, id: None, name: None, user_group: None });
    match key.0.as_str() {
        "type" => user.kind = map.next_value::<Text>()?.0,
        "id" => user.id = map.next_value::<Text>()?.0,
        "name" => user.name = map.next_value::<Text>()?.0,
        "user_group" => user.user_group = map.next_value::<Text>()?.0,
        _ => {
            map.next_value::<IgnoredAny>()?;
        }
    }
});

/// One group as the API gives it.
#[derive(Debug, Default)]
pub struct GroupRecord {
    /// `static_name`.
    pub name: Option<Arc<str>>,
    /// The counters, in the order of [`COUNTERS`].
    pub counters: Counters,
}

lenient_map!(GroupRecord, |record, key, map| {
    if key.0 == "static_name" {
        record.name = map.next_value::<Text>()?.0;
    } else if let Some(at) = COUNTERS.iter().position(|counter| *counter == key.0) {
        record.counters[at] = map.next_value::<Number>()?.0;
    } else {
        map.next_value::<IgnoredAny>()?;
    }
});

impl From<GroupRecord> for GroupStatistics {
    fn from(record: GroupRecord) -> Self {
        Self { name: record.name, counters: record.counters }
    }
}

/// A list of users; anything but a list is none.
#[derive(Default)]
struct Users(Option<Vec<AttachUser>>);

impl<'de> Deserialize<'de> for Users {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Users;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Users, A::Error> {
                let mut users = Vec::new();
                while let Some(user) = seq.next_element::<UserRecord>()? {
                    users.extend(user.0);
                }
                Ok(Users(Some(users)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Users, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Users(None))
            }

            lenient_scalars!();
        }
        deserializer.deserialize_any(Entries)
    }
}

/// A key of a record.
#[derive(Deserialize)]
struct Key(String);

/// A text; a number or a truth value is written out, anything else is none.
#[derive(Default)]
struct Text(Option<Arc<str>>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Some(storable(&text)),
            Scalar::Number(number) => Some(number.to_string().into()),
            Scalar::Float(number) => Some(number.to_string().into()),
            Scalar::Truth(truth) => Some(truth.to_string().into()),
            Scalar::Nothing => None,
        }))
    }
}

/// A whole number, also one written as a text; anything else is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number(pub Option<i64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Number(number) => i64::try_from(number).ok(),
            // 7.0 is how some serialisers write a 7. Beyond 2^53 a float is no longer a count.
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let number = number as i64;
                Some(number)
            }
            Scalar::Float(_) | Scalar::Truth(_) | Scalar::Nothing => None,
        }))
    }
}

/// Any JSON value, as far as it is a single one.
enum Scalar {
    Text(String),
    Number(i128),
    Float(f64),
    Truth(bool),
    Nothing,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Nothing)
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar::Truth(truth))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
                Ok(Scalar::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What an error body says, in whichever of its shapes it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorBody {
    /// The API's code.
    pub code: Option<String>,
    /// The API's message, or the start of a body that is no JSON.
    pub message: Option<String>,
    /// The request's id, which the gateway writes into the body too.
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// Reads a body that came with an error status.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::from_value(&value),
            Err(_) => {
                Self { message: plain_text(&String::from_utf8_lossy(body)), ..Self::default() }
            }
        }
    }

    /// Reads a body that came with a good status, for the error that some of them hold.
    #[must_use]
    pub fn inside(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Outer {
            #[serde(default)]
            error_code: Option<Value>,
            #[serde(default, rename = "errorCode")]
            error_code_camel: Option<Value>,
            #[serde(default)]
            error: Option<Value>,
        }
        let outer: Outer = serde_json::from_slice(body).ok()?;
        let said = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty() && text != "0",
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(_) => true,
        };
        (said(&outer.error_code) || said(&outer.error_code_camel) || said(&outer.error))
            .then(|| Self::parse(body))
    }

    fn from_value(value: &Value) -> Self {
        let Value::Object(fields) = value else {
            return Self { message: plain_text(&value.to_string()), ..Self::default() };
        };
        let first = |names: &[&str]| {
            names.iter().find_map(|name| match fields.get(*name)? {
                Value::String(text) if !text.is_empty() => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let code = first(&["error_code", "errorCode", "code"]);
        let message = first(&["error_msg", "errorMsg", "message", "title"]);
        if code.is_some() || message.is_some() {
            let request_id = first(&["request_id", "requestId"]);
            return Self { code, message: message.map(|text| shorten(&text)), request_id };
        }
        if let Some(Value::String(text)) = fields.get("error") {
            return Self { message: Some(shorten(text)), ..Self::default() };
        }
        // The identity service nests it one level down, under `error`; others under other names.
        fields
            .values()
            .filter(|inner| inner.is_object())
            .map(Self::from_value)
            .find(|inner| inner.code.is_some())
            .unwrap_or_else(|| Self { message: plain_text(&value.to_string()), ..Self::default() })
    }
}

/// The words of an HTML page, or of whatever else a proxy sent.
fn plain_text(text: &str) -> Option<String> {
    let mut inside_tag = false;
    let words: String = text
        .chars()
        .map(|c| match c {
            '<' => {
                inside_tag = true;
                ' '
            }
            '>' if inside_tag => {
                inside_tag = false;
                ' '
            }
            _ if inside_tag || c.is_control() => ' ',
            _ => c,
        })
        .collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then(|| shorten(&words))
}

fn shorten(text: &str) -> String {
    // The ledger cannot hold a NUL, and the message goes there.
    let text = text.replace('\0', "\u{2400}");
    if text.chars().count() <= LONGEST_MESSAGE {
        return text;
    }
    text.chars().take(LONGEST_MESSAGE).chain(['…']).collect()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
