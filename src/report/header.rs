//! Reads the comment at the top of a report: its title, what it answers, its parameters and columns.
//!
//! `queries/README.md` is the description of the format for those who write one.

use std::fmt;
use std::str::FromStr;

use super::range::Range;

/// What the comment at the top of a report says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// The first line.
    pub title: String,
    /// What it answers, for whom, and when not to trust it; lines as written.
    pub description: String,
    /// In the order given.
    pub parameters: Vec<Parameter>,
    /// In the order given.
    pub columns: Vec<ColumnDoc>,
    /// How it is drawn.
    pub chart: Option<Chart>,
    /// The ready line for psql.
    pub psql: Option<String>,
}

/// A parameter of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// As in `:'name'`; the option is `--name`, with hyphens for underscores if one likes.
    pub name: String,
    /// How its values are checked.
    pub kind: Kind,
    /// How small and how large a number may be; without it, any.
    pub range: Option<Range>,
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

/// How the rows of a report are drawn. All names are of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The form.
    pub kind: ChartKind,
    /// What the figures stand along; two columns in a [`ChartKind::Heat`]: across, then down.
    pub along: Vec<String>,
    /// What is drawn; exactly one in a [`ChartKind::Heat`].
    pub figures: Vec<String>,
    /// Low and high of the first figure, drawn as a band.
    pub between: Option<[String; 2]>,
    /// A picture for each value of this column.
    pub per: Option<String>,
    /// What its figures count, where their names do not say it.
    pub unit: Option<String>,
}

/// The form of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartKind {
    /// Figures that go on from row to row: over time.
    Line,
    /// A bar for each row.
    Bars,
    /// A field of shades.
    Heat,
}

impl Chart {
    /// Every column that it names.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let names = self.along.iter().chain(&self.figures).chain(self.between.iter().flatten());
        names.chain(&self.per).map(String::as_str)
    }
}

/// What kind of value a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whatever `deskledger.instant` reads.
    Instant,
    /// `hour`, `day`, `week`, `month` or `all`.
    Bucket,
    /// A name of the time zone database.
    TimeZone,
    /// A source of the ledger; empty means all.
    Source,
    /// The same, or `(all)`: all of them as one.
    Fleet,
    /// A user or a group that the ledger has seen, by name or id; empty means all.
    User,
    /// A desktop that the ledger has seen, by id or a name that it had; empty means all.
    Desktop,
    /// A group that the ledger has seen, as reports show it; empty means all.
    Group,
    /// Anything.
    Text,
    /// Whatever `deskledger.duration` reads.
    Duration,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Days of the week: `1-5`, or `1-4,6`.
    Weekdays,
}

impl Kind {
    const ALL: [(&'static str, Self); 13] = [
        ("instant", Self::Instant),
        ("bucket", Self::Bucket),
        ("timezone", Self::TimeZone),
        ("source", Self::Source),
        ("fleet", Self::Fleet),
        ("user", Self::User),
        ("desktop", Self::Desktop),
        ("group", Self::Group),
        ("text", Self::Text),
        ("duration", Self::Duration),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("weekdays", Self::Weekdays),
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
    Chart,
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
        } else if line == "Chart" {
            section = Section::Chart;
        } else if matches!(section, Section::Description) {
            prose.push(line);
        } else if written.is_empty() {
            // Blank lines divide nothing inside a section.
        } else if indent > ENTRY_INDENT {
            let meaning = match section {
                Section::Parameters => header.parameters.last_mut().map(|entry| &mut entry.meaning),
                Section::Columns => header.columns.last_mut().map(|entry| &mut entry.meaning),
                Section::Description | Section::Chart => None,
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
        } else if matches!(section, Section::Chart) {
            read_chart(&mut header.chart, written).map_err(wrong)?;
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
    let (kind, range) = read_kind(kind)?;
    let default = match default {
        "required" => None,
        quoted if quoted.len() >= 2 && quoted.starts_with('\'') && quoted.ends_with('\'') => {
            Some(quoted[1..quoted.len() - 1].replace("''", "'"))
        }
        plain => Some(plain.to_owned()),
    };
    if let (Some(range), Some(default)) = (range, &default)
        && !default.parse().is_ok_and(|number| range.contains(number))
    {
        return Err(format!("the default `{default}` is not {range}"));
    }
    Ok(Parameter { name: name.to_owned(), kind, range, default, meaning: meaning.to_owned() })
}

/// `integer`, or with the range of a number: `integer 1..168`.
fn read_kind(field: &str) -> Result<(Kind, Option<Range>), String> {
    let (name, range) = field.split_once(' ').map_or((field, None), |(n, r)| (n, Some(r.trim())));
    let kind = name.parse().map_err(|()| {
        let known: Vec<_> = Kind::ALL.iter().map(|(name, _)| *name).collect();
        format!("`{name}` is no type; known are {}", known.join(", "))
    })?;
    match range {
        Some(_) if !matches!(kind, Kind::Integer | Kind::Number) => {
            Err(format!("`{field}`: only an integer or a number has a range"))
        }
        range => Ok((kind, range.map(str::parse).transpose()?)),
    }
}

/// Reads a chart from lines as they stand in a header's section, without what sets them in.
///
/// # Errors
/// What is wrong with them.
pub fn read_chart_lines(lines: &[&str]) -> Result<Chart, String> {
    let mut chart = None;
    for line in lines {
        read_chart(&mut chart, line)?;
    }
    chart.ok_or_else(|| "there is no line".to_owned())
}

/// An entry of the chart: its first one says what is drawn, the others more about it.
fn read_chart(chart: &mut Option<Chart>, entry: &str) -> Result<(), String> {
    let names = |list: &str| -> Vec<String> {
        list.split(',').map(|name| name.trim().to_owned()).collect()
    };
    let Some(chart) = chart else {
        const FORM: &str = "a chart begins with: line, bars or heat, the column it goes along, its \
                            figures, with two spaces or more between them";
        let [kind, along, figures] = fields(entry).ok_or(FORM)?;
        let (along, figures) = (names(along), names(figures));
        let kind = match (kind, along.len(), figures.len()) {
            ("line", 1, _) => ChartKind::Line,
            ("bars", 1, _) => ChartKind::Bars,
            ("heat", 2, 1) => ChartKind::Heat,
            ("heat", ..) => return Err("a heat map has two columns and one figure".to_owned()),
            _ => return Err(FORM.to_owned()),
        };
        *chart = Some(Chart { kind, along, figures, between: None, per: None, unit: None });
        return Ok(());
    };
    let [key, list] = fields(entry).ok_or("needs two spaces after its first word")?;
    match (key, names(list).as_slice()) {
        ("between", [low, high]) => chart.between = Some([low.clone(), high.clone()]),
        ("per", [column]) => chart.per = Some(column.clone()),
        ("unit", _) => chart.unit = Some(list.to_owned()),
        _ => {
            let problem = "is none of `between  low, high`, `per  column` and `unit  words`";
            return Err(format!("`{entry}` {problem}"));
        }
    }
    Ok(())
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
             --   at      instant  required  when\n--   days    number 0.5..  30  how many\n--\n-- Columns\n--   bucket_start  the bucket's start\n--\n\
             -- Chart\n--   line     bucket_start  a_avg, b\n--   between  low, high\n--   per      source\n--   unit     desktops, say\n--\n\
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
                range: None,
                default: Some(String::new()),
                meaning: "one group; empty:  all, in any source".to_owned(),
            }
        );
        assert_eq!(header.parameters[0].default.as_deref(), Some("-7d"));
        assert_eq!(header.parameters[2].default, None);
        let days = &header.parameters[3];
        assert_eq!((days.kind, days.range), (Kind::Number, "0.5..".parse().ok()));
        assert_eq!(header.columns[0].name, "bucket_start");
        let chart = header.chart.expect("a chart");
        assert_eq!((chart.kind, chart.figures.len()), (ChartKind::Line, 2));
        assert_eq!(chart.unit.as_deref(), Some("desktops, say"));
        let columns: Vec<&str> = chart.columns().collect();
        assert_eq!(columns, ["bucket_start", "a_avg", "b", "low", "high", "source"]);
        assert_eq!(header.psql.as_deref(), Some("psql -v from=-7d -f x.sql"));
    }

    #[test]
    fn a_malformed_header_names_its_line() {
        for (text, line, part) in [
            ("-- T\n-- Parameters\n--   from  instnt  -7d  x", 3, "`instnt` is no type"),
            ("-- T\n-- Parameters\n--   from instant -7d x", 3, "two spaces or more"),
            ("-- T\n-- Parameters\n--   n  integer 5..1  7  x", 3, "`5..1` is no range"),
            ("-- T\n-- Parameters\n--   n  integer 1..5  7  x", 3, "default `7` is not 1 to 5"),
            ("-- T\n-- Parameters\n--   n  text 1..5  7  x", 3, "only an integer or a number"),
            ("-- T\n-- Columns\n--   alone", 3, "a column is"),
            ("-- T\n-- Columns\n-- stray", 3, "without the two spaces"),
            ("-- T\n-- Columns\n--      more", 3, "continues nothing"),
            ("-- T\n-- Chart\n--   pie  a  b", 3, "a chart begins with"),
            ("-- T\n-- Chart\n--   heat  a  b", 3, "two columns and one figure"),
            ("-- T\n-- Chart\n--   line  a  b\n--   on  c", 4, "is none of `between"),
            ("-- T\n-- Parameters\n--   a  text  x  y\n--   a  text  x  y", 4, "described twice"),
        ] {
            let error = read_header(text).expect_err(text);
            assert_eq!(error.line, line, "{text}");
            assert!(error.problem.contains(part), "{error}");
        }
        assert_eq!(read_header("select 1"), Ok(Header::default()));
    }
}
