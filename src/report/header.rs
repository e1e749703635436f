//! Reads the comment at the top of a report: its title, what it answers, its parameters and columns.
//!
//! `queries/README.md` is the description of the format for those who write one.

use std::fmt;
use std::str::FromStr;

/// What the comment at the top of a report says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The first line.
    pub title: String,
    /// What it answers, for whom, and when not to trust it; lines as written.
    pub description: String,
    /// In the order given.
    pub parameters: Vec<Parameter>,
    /// In the order given.
    pub columns: Vec<ColumnDoc>,
    /// The ready line for psql.
    pub psql: Option<String>,
}

/// A parameter of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As in `:'name'`; the option is `--name`, with hyphens for underscores if one likes.
    pub name: String,
    /// How its values are checked.
    pub kind: Kind,
    /// Used where none is given; without it the parameter must be given.
    pub default: Option<String>,
    /// One sentence for people.
    pub meaning: String,
}

/// A column of a report, as its header tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDoc {
    /// As in the result.
    pub name: String,
    /// One sentence for people.
    pub meaning: String,
}

/// What kind of value a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whatever `deskledger.instant` reads.
    Instant,
    /// `hour`, `day`, `week` or `month`.
    Bucket,
    /// A name of the time zone database.
    TimeZone,
    /// A source of the ledger; empty means all.
    Source,
    /// Anything.
    Text,
    /// Whatever `deskledger.duration` reads.
    Duration,
    /// A whole number.
    Integer,
    /// A number.
    Number,
}

impl Kind {
    const ALL: [(&'static str, Self); 8] = [
        ("instant", Self::Instant),
        ("bucket", Self::Bucket),
        ("timezone", Self::TimeZone),
        ("source", Self::Source),
        ("text", Self::Text),
        ("duration", Self::Duration),
        ("integer", Self::Integer),
        ("number", Self::Number),
    ];
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind).ok_or(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, kind)| kind == self);
        f.write_str(named.map_or("", |(name, _)| *name))
    }
}

/// What is wrong with a header, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct HeaderError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

enum Section {
    Description,
    Parameters,
    Columns,
}

/// Reads the header of a report. A file without one has an empty title.
///
/// # Errors
/// A line of the parameters or columns does not have the form of one.
pub fn read_header(text: &str) -> Result<Header, HeaderError> {
    let mut header = Header::default();
    let mut section = Section::Description;
    let mut prose: Vec<&str> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(line) = line.strip_prefix("--") else { break };
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let wrong = |problem: String| HeaderError { line: index + 1, problem };
        let written = line.trim_start();
        let indent = line.len() - written.len();
        if index == 0 {
            header.title = written.to_owned();
        } else if line.starts_with("psql ") {
            header.psql = Some(line.to_owned());
        } else if line == "Parameters" {
            section = Section::Parameters;
        } else if line == "Columns" {
            section = Section::Columns;
        } else if matches!(section, Section::Description) {
            prose.push(line);
        } else if written.is_empty() {
            // Blank lines divide nothing inside a section.
        } else if indent > ENTRY_INDENT {
            let meaning = match section {
                Section::Parameters => header.parameters.last_mut().map(|entry| &mut entry.meaning),
                _ => header.columns.last_mut().map(|entry| &mut entry.meaning),
            };
            let meaning = meaning.ok_or_else(|| wrong("continues nothing".to_owned()))?;
            meaning.push(' ');
            meaning.push_str(written);
        } else if indent < ENTRY_INDENT {
            let problem = format!(
                "`{written}` stands in a section without the two spaces that begin an entry"
            );
            return Err(wrong(problem));
        } else if matches!(section, Section::Parameters) {
            let parameter = read_parameter(written).map_err(wrong)?;
            if header.parameters.iter().any(|known| known.name == parameter.name) {
                return Err(wrong(format!("`{}` is described twice", parameter.name)));
            }
            header.parameters.push(parameter);
        } else {
            let [name, meaning] = fields(written)
                .ok_or_else(|| wrong("a column is: name, two spaces, meaning".to_owned()))?;
            header.columns.push(ColumnDoc { name: name.to_owned(), meaning: meaning.to_owned() });
        }
    }
    header.description = prose.join("\n").trim_matches('\n').to_owned();
    Ok(header)
}

/// How far an entry of a section is set in; what is set in further continues it.
const ENTRY_INDENT: usize = 2;

fn read_parameter(entry: &str) -> Result<Parameter, String> {
    let [name, kind, default, meaning] = fields(entry).ok_or(
        "a parameter is: name, type, default, meaning, with two spaces or more between them",
    )?;
    let kind = kind.parse().map_err(|()| {
        let known: Vec<_> = Kind::ALL.iter().map(|(name, _)| *name).collect();
        format!("`{kind}` is no type; known are {}", known.join(", "))
    })?;
    let default = match default {
        "required" => None,
        quoted if quoted.len() >= 2 && quoted.starts_with('\'') && quoted.ends_with('\'') => {
            Some(quoted[1..quoted.len() - 1].replace("''", "'"))
        }
        plain => Some(plain.to_owned()),
    };
    Ok(Parameter { name: name.to_owned(), kind, default, meaning: meaning.to_owned() })
}

/// Cuts at runs of two spaces or more; the last field takes the rest.
fn fields<const N: usize>(entry: &str) -> Option<[&str; N]> {
    let mut rest = entry;
    let mut cut = [""; N];
    for (index, field) in cut.iter_mut().enumerate() {
        if index + 1 == N {
            *field = rest;
        } else {
            let (head, tail) = rest.split_once("  ")?;
            *field = head;
            rest = tail.trim_start();
        }
    }
    cut.iter().all(|field| !field.is_empty()).then_some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read() {
        let header = read_header(
            "-- Utilisation over time\n--\n-- How much was used.\n--\n-- Not for billing.\n--\n-- Parameters\n\
             --   from    instant  -7d  start of the period\n\
             --   group   text     ''   one group; empty:  all,\n--                         in any source\n\
             --   at      instant  required  when\n--\n-- Columns\n--   bucket_start  the bucket's start\n--\n\
             -- psql -v from=-7d -f x.sql\nselect 1 -- not the header\n",
        )
        .expect("well formed");
        assert_eq!(header.title, "Utilisation over time");
        assert_eq!(header.description, "How much was used.\n\nNot for billing.");
        assert_eq!(
            header.parameters[1],
            Parameter {
                name: "group".to_owned(),
                kind: Kind::Text,
                default: Some(String::new()),
                meaning: "one group; empty:  all, in any source".to_owned(),
            }
        );
        assert_eq!(header.parameters[0].default.as_deref(), Some("-7d"));
        assert_eq!(header.parameters[2].default, None);
        assert_eq!(header.columns[0].name, "bucket_start");
        assert_eq!(header.psql.as_deref(), Some("psql -v from=-7d -f x.sql"));
    }

    #[test]
    fn a_malformed_header_names_its_line() {
        for (text, line, part) in [
            ("-- T\n-- Parameters\n--   from  instnt  -7d  x", 3, "`instnt` is no type"),
            ("-- T\n-- Parameters\n--   from instant -7d x", 3, "two spaces or more"),
            ("-- T\n-- Columns\n--   alone", 3, "a column is"),
            ("-- T\n-- Columns\n-- stray", 3, "without the two spaces"),
            ("-- T\n-- Columns\n--      more", 3, "continues nothing"),
            ("-- T\n-- Parameters\n--   a  text  x  y\n--   a  text  x  y", 4, "described twice"),
        ] {
            let error = read_header(text).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(error.problem.contains(part), "{error}");
        }
        assert_eq!(read_header("select 1"), Ok(Header::default()));
    }
}
