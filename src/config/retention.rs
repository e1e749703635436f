//! How long what is kept, and where it is archived before it goes.

use std::path::{Path, PathBuf};

use super::raw::RawRetention;
use super::{ConfigError, Located};
use crate::domain::parse_duration;
use crate::domain::pruning::{Ages, Class};

/// What is configured, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionSettings {
    /// How old each class may grow.
    pub ages: Ages,
    /// What happens to spans and counters before they go; `None`: that is not said, and nothing goes by itself.
    pub archive: Option<Archiving>,
}

/// What happens to spans and counters before they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Archiving {
    /// They are written to this folder.
    Folder(PathBuf),
    /// Nothing: they are gone for good.
    Off,
}

impl RetentionSettings {
    pub(super) fn check(raw: &RawRetention, folder: &Path) -> Result<Self, ConfigError> {
        let age = |text: &Option<Located<String>>| {
            text.as_ref()
                .map(|text| {
                    parse_duration(&text.value)
                        .ok()
                        .filter(|age| *age > chrono::TimeDelta::zero())
                        .ok_or_else(|| text.refuse("write it as `400d`"))
                })
                .transpose()
        };
        let ages = Ages {
            spans: age(&raw.spans)?,
            groups: age(&raw.groups)?,
            rollups: age(&raw.rollups)?,
            headers: age(&raw.headers)?,
        };
        if let Err(wrong) = ages.check() {
            let key = match wrong.sooner {
                Class::Spans => &raw.spans,
                Class::Groups => &raw.groups,
                Class::Rollups => &raw.rollups,
                Class::Headers => &raw.headers,
            };
            let key = key.as_ref().expect("only what has an age can go too soon");
            return Err(key.refuse(wrong.to_string()));
        }
        let archive = raw.archive.as_ref().map(|text| match text.value.as_str() {
            "off" => Archiving::Off,
            path => Archiving::Folder(folder.join(path)),
        });
        Ok(Self { ages, archive })
    }
}
