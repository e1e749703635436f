//! What there is to know of a key: what it takes, what holds without it, what it says, and which variables and
//! flag stand for it.
//!
//! The tables of keys ([`raw`](super::raw)) are made of these, and everything else goes by them: reading, what a
//! refusal lists as known, the bounds that it names, the comments of `init`, and `docs/configuration.md`.

use chrono::TimeDelta;

use super::{ConfigError, Located, format_size, parse_size};
use crate::domain::{format_duration, parse_duration};

/// A key of the file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may stand there.
    pub takes: Takes,
    /// What holds where it is not given.
    pub without: Without,
    /// What it says, in a few words.
    pub meaning: &'static str,
    /// What else there is to know, in Markdown.
    pub more: &'static str,
    /// The variables that win over it; the first that is set holds.
    pub variables: &'static [&'static str],
    /// The flag that wins over both.
    pub flag: Option<&'static str>,
}

/// What may stand at a key.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// What these words say, in Markdown.
    Words(&'static str),
    /// A number within bounds.
    Whole(Whole),
    /// A size within bounds.
    Size(Size),
    /// A duration within bounds.
    Length(Length),
    /// `true` or `false`.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A list of some of these.
    SomeOf(fn() -> Vec<&'static str>),
}

/// What holds where a key is not given.
#[derive(Clone, Copy, Debug)]
pub enum Without {
    /// Nothing: it has to be given.
    Refused,
    /// This, as it would be written.
    Value(&'static str),
    /// What bounds have as their default.
    Default,
    /// What these words say, in Markdown.
    Words(&'static str),
}

impl Key {
    pub(super) const fn new(takes: Takes) -> Self {
        let without = match takes {
            Takes::Whole(_) | Takes::Size(_) | Takes::Length(_) => Without::Default,
            Takes::Flag => Without::Value("false"),
            Takes::Words(_) | Takes::OneOf(_) | Takes::SomeOf(_) => Without::Words("none"),
        };
        let (variables, flag): (&[&str], _) = (&[], None);
        // The name is that of the field beside which it stands.
        Self { name: "", takes, without, meaning: "", more: "", variables, flag }
    }

    pub(super) const fn needed(mut self) -> Self {
        self.without = Without::Refused;
        self
    }

    pub(super) const fn or(mut self, value: &'static str) -> Self {
        self.without = Without::Value(value);
        self
    }

    pub(super) const fn without(mut self, words: &'static str) -> Self {
        self.without = Without::Words(words);
        self
    }

    pub(super) const fn says(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    /// Goes on where [`Key::says`] ends.
    pub(super) const fn more(mut self, more: &'static str) -> Self {
        self.more = more;
        self
    }

    pub(super) const fn variables(mut self, names: &'static [&'static str]) -> Self {
        self.variables = names;
        self
    }

    pub(super) const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    /// The default; `None`: it is no value.
    #[must_use]
    pub fn default(&self) -> Option<String> {
        Some(match (self.without, self.takes) {
            (Without::Refused | Without::Words(_), _) => return None,
            (Without::Value(value), _) => value.to_owned(),
            (Without::Default, Takes::Whole(whole)) => whole.default.to_string(),
            (Without::Default, Takes::Size(size)) => format_size(size.default),
            (Without::Default, Takes::Length(length)) => format_duration(length.default),
            (Without::Default, _) => unreachable!("only bounds have a default of their own"),
        })
    }

    /// A value as the file has it.
    #[must_use]
    pub fn written(&self, value: &str) -> String {
        match self.takes {
            Takes::Whole(_) | Takes::Flag => value.to_owned(),
            Takes::SomeOf(_) => format!("[{}]", toml::Value::String(value.to_owned())),
            _ => toml::Value::String(value.to_owned()).to_string(),
        }
    }

    /// The value that the environment has for it.
    pub(super) fn in_environment<T>(
        &self,
        read: impl Fn(&str) -> Option<Located<T>>,
    ) -> Option<Located<T>> {
        self.variables.iter().find_map(|name| read(name))
    }
}

/// A number and its bounds, which are within those of 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// Where none is given.
    pub default: u32,
    /// The least.
    pub least: u32,
    /// The most.
    pub most: u32,
}

impl Whole {
    pub(super) fn check(&self, number: Option<&Located<i64>>) -> Result<u32, ConfigError> {
        let Some(number) = number else { return Ok(self.default) };
        let fits = u32::try_from(number.value).ok();
        fits.filter(|fits| (self.least..=self.most).contains(fits))
            .ok_or_else(|| number.refuse(format!("allowed are {} to {}", self.least, self.most)))
    }
}

/// A size and its lower bound.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Where none is given.
    pub default: u64,
    /// The least.
    pub least: u64,
}

impl Size {
    pub(super) fn check(&self, text: Option<&Located<String>>) -> Result<u64, ConfigError> {
        let Some(text) = text else { return Ok(self.default) };
        let bytes = parse_size(&text.value).ok_or_else(|| {
            text.refuse("write a whole number and its unit, as `500MB` or `2GiB`")
        })?;
        if bytes < self.least {
            return Err(text.refuse(format!("allowed is `{}` and more", format_size(self.least))));
        }
        Ok(bytes)
    }
}

/// A duration and its bounds.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Where none is given.
    pub default: TimeDelta,
    /// The least.
    pub least: TimeDelta,
    /// The most.
    pub most: TimeDelta,
}

impl Length {
    pub(super) fn check(&self, text: Option<&Located<String>>) -> Result<TimeDelta, ConfigError> {
        let Some(text) = text else { return Ok(self.default) };
        let (least, most) = (format_duration(self.least), format_duration(self.most));
        let allowed = format!("allowed are `{least}` to `{most}`");
        let length = parse_duration(&text.value).map_err(|_| {
            text.refuse(format!("{allowed}, written as `90s`, `15m`, `2h` or `1h30m`"))
        })?;
        if (self.least..=self.most).contains(&length) {
            return Ok(length);
        }
        Err(text.refuse(allowed))
    }
}

/// A key by its table's head and its name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn key(head: &str, name: &str) -> &'static Key {
    let mut keys =
        super::TABLES.iter().filter(|(table, _)| *table == head).flat_map(|(_, keys)| *keys);
    keys.find(|key| key.name == name).unwrap_or_else(|| panic!("{head} has a key `{name}`"))
}
