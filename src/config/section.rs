//! A table of the file, from which known keys are taken one by one; what is left over is unknown.

use std::path::Path;

use secrecy::SecretString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Located, Origin, Place};

/// The file, for line numbers.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl Source<'_> {
    pub(super) fn place(&self, key: String, offset: usize) -> Place {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.split(|byte| *byte == b'\n').count();
        Place { key, origin: Origin::File { path: self.path.to_owned(), line } }
    }
}

pub(super) struct Section<'a> {
    source: Source<'a>,
    table: &'a DeTable<'a>,
    /// `source.prod`, empty for the file itself.
    path: String,
    place: Place,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(source: Source<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        let place = source.place("deskledger.toml".to_owned(), 0);
        Self { source, table: table.get_ref(), path: String::new(), place, known: Vec::new() }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<(Place, &'a Spanned<DeValue<'a>>)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((self.source.place(self.path_of(key), value.span().start), value))
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Located<String>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        match value.get_ref().as_str() {
            Some(text) => Ok(Some(Located::new(text.to_owned(), place))),
            None => Err(wrong_type(&place, value, "a text in quotes")),
        }
    }

    pub(super) fn secret(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Located<SecretString>>, ConfigError> {
        let text = self.text(key)?;
        Ok(text.map(|Located { value, place }| Located::new(value.into(), place)))
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Located<i64>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        let number = value.get_ref().as_integer().and_then(|number| {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
        });
        match number {
            Some(number) => Ok(Some(Located::new(number, place))),
            None => Err(wrong_type(&place, value, "a whole number")),
        }
    }

    pub(super) fn boolean(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Located<bool>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        match value.get_ref().as_bool() {
            Some(flag) => Ok(Some(Located::new(flag, place))),
            None => Err(wrong_type(&place, value, "`true` or `false`")),
        }
    }

    pub(super) fn texts(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Located<Vec<String>>>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        let texts = value.get_ref().as_array().and_then(|list| {
            let texts = list.iter().map(|one| one.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        match texts {
            Some(texts) => Ok(Some(Located::new(texts, place))),
            None => Err(wrong_type(&place, value, "a list of texts, each in quotes")),
        }
    }

    /// A table in this one.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(None) };
        let Some(table) = value.get_ref().as_table() else {
            return Err(wrong_type(&place, value, "a table"));
        };
        let path = self.path_of(key);
        Ok(Some(Self { source: self.source, table, path, place, known: Vec::new() }))
    }

    /// A list of tables; each is called by its `name` where it has one, else by its number.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, ConfigError> {
        let Some((place, value)) = self.take(key) else { return Ok(Vec::new()) };
        let Some(list) = value.get_ref().as_array() else {
            let wanted = format!("tables, each under its own `[[{key}]]`");
            return Err(match value.get_ref() {
                DeValue::Table(_) => place.clash(
                    "a table",
                    format!("it must be {wanted}"),
                    format!("write `[[{key}]]` in two pairs of brackets where it says `[{key}]`"),
                ),
                _ => wrong_type(&place, value, &wanted),
            });
        };
        let mut sections = Vec::new();
        for (at, value) in list.iter().enumerate() {
            let table = value.get_ref().as_table();
            let name = table
                .and_then(|table| table.get("name")?.get_ref().as_str())
                .filter(|name| !name.is_empty());
            let path = match name {
                Some(name) => format!("{}.{name}", self.path_of(key)),
                None => format!("{}[{}]", self.path_of(key), at + 1),
            };
            let place = self.source.place(path.clone(), value.span().start);
            let Some(table) = table else {
                return Err(wrong_type(&place, value, "a table"));
            };
            let source = self.source;
            sections.push(Self { source, table, path, place, known: Vec::new() });
        }
        Ok(sections)
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let unknown =
            self.table.iter().find(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown else { return Ok(()) };
        let typed = key.get_ref().as_ref();
        let nearest =
            self.known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, typed));
        Err(ConfigError::Unknown {
            place: self.source.place(self.path_of(typed), key.span().start),
            nearest: nearest.expect("no table of ours is without keys"),
            known: self.known.join(", "),
        })
    }
}

fn wrong_type(place: &Place, value: &Spanned<DeValue<'_>>, allowed: &str) -> ConfigError {
    // Only the kind: the value may be a secret that was typed in the wrong place.
    let found = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    place.wrong(found, format!("it must be {allowed}"))
}
