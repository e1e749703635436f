//! The API's records exactly as sent: every field optional, unknown ones ignored.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::bare;
use crate::domain::text::{Common, storable};
use crate::domain::{AttachUser, COUNTERS, Counters, GroupStatistics};

/// A text or null, borrowed from the line where it holds no escapes.
#[derive(Default)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn to_shared(&self) -> Option<Arc<str>> {
        self.0.as_deref().map(storable)
    }

    pub(super) fn into_owned(self) -> Option<String> {
        self.0.map(|text| storable(&text).as_ref().to_owned())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or null")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// One record of `connect-desktops`.
///
/// The specification's own example spells two fields as the sibling API does (`login_status`,
/// `attach_infos`); either is read, the documented one first.
#[derive(Default)]
pub(super) struct DesktopRecord<'a> {
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) status: Text<'a>,
    /// Unread, since most assignments were seen before.
    pub(super) users: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum DesktopKey {
    DesktopId,
    DesktopName,
    ConnectStatus,
    LoginStatus,
    AttachUsers,
    AttachInfos,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for DesktopRecord<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DesktopVisitor;
        impl<'de> Visitor<'de> for DesktopVisitor {
            type Value = DesktopRecord<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a desktop's record")
            }
            // A null in the list is a record without an id: it counts as missing.
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(DesktopRecord::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut record = DesktopRecord::default();
                let (mut other_status, mut other_users) = (Text::default(), None);
                while let Some(key) = map.next_key()? {
                    match key {
                        DesktopKey::DesktopId => record.id = text(&mut map, "desktop_id")?,
                        DesktopKey::DesktopName => record.name = text(&mut map, "desktop_name")?,
                        DesktopKey::ConnectStatus => {
                            record.status = text(&mut map, "connect_status")?;
                        }
                        DesktopKey::LoginStatus => other_status = text(&mut map, "login_status")?,
                        DesktopKey::AttachUsers => record.users = present(map.next_value()?),
                        DesktopKey::AttachInfos => other_users = present(map.next_value()?),
                        DesktopKey::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                if record.status.0.is_none() {
                    record.status = other_status;
                }
                record.users = record.users.or(other_users);
                Ok(record)
            }
        }
        deserializer.deserialize_any(DesktopVisitor)
    }
}

fn present(value: &RawValue) -> Option<&RawValue> {
    (value.get() != "null").then_some(value)
}

/// Reads a text of a record and names its key when it is none.
fn text<'de, A: MapAccess<'de>>(map: &mut A, key: &str) -> Result<Text<'de>, A::Error> {
    map.next_value().map_err(|error| {
        A::Error::custom(format_args!("`{key}` holds an {}", bare(&error.to_string())))
    })
}

/// One entry of `attach_users`.
#[derive(Deserialize)]
pub(super) struct UserRecord<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    user_group: Text<'a>,
}

impl UserRecord<'_> {
    pub(super) fn to_user(&self, common: &mut Common) -> AttachUser {
        AttachUser {
            kind: self.kind.0.as_deref().map(|text| common.of(text)),
            id: self.id.to_shared(),
            name: self.name.to_shared(),
            user_group: self.user_group.0.as_deref().map(|text| common.of(text)),
        }
    }
}

/// A whole number: as a number, as a text of digits (the API's own SDK reads both), or null.
pub(super) enum Number {
    Null,
    Whole(i64),
    /// Anything else: a fraction, a word, a list.
    Other,
}

impl Number {
    pub(super) fn whole(self) -> Option<i64> {
        if let Self::Whole(number) = self { Some(number) } else { None }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, a text of digits, or null")
            }
            fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
                Ok(Number::Whole(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
                Ok(i64::try_from(number).map_or(Number::Other, Number::Whole))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
                // Through its text: `3.0` prints as `3`, and what is no whole number does not parse.
                Ok(number.to_string().parse().map_or(Number::Other, Number::Whole))
            }
            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(text.trim().parse().map_or(Number::Other, Number::Whole))
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Number::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number::Other)
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// One record of `connections/status`.
pub(super) struct GroupRecord(pub(super) GroupStatistics);

impl<'de> Deserialize<'de> for GroupRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GroupVisitor;
        impl<'de> Visitor<'de> for GroupVisitor {
            type Value = GroupRecord;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a group's record")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut name = None;
                let mut counters: Counters = [None; 13];
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    let key = key.0.unwrap_or_default();
                    if key == "static_name" {
                        name = text(&mut map, "static_name")?.to_shared();
                    } else if let Some(at) = COUNTERS.iter().position(|known| *known == key) {
                        counters[at] = map.next_value::<Number>()?.whole();
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(GroupRecord(GroupStatistics { name, counters }))
            }
        }
        deserializer.deserialize_map(GroupVisitor)
    }
}

/// Why a part is missing: `{"code": …, "message": …}`; IAM's codes are numbers.
#[derive(Deserialize)]
pub(super) struct ErrorRecord<'a> {
    #[serde(default)]
    pub(super) code: Option<Code>,
    #[serde(borrow, default)]
    pub(super) message: Text<'a>,
}

/// An error code, a text or a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, or null as `code`")]
pub(super) enum Code {
    Text(String),
    Number(i64),
}

impl Code {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => storable(&text).as_ref().to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}
