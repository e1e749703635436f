//! The reports there are: those built in, from `queries/`, and those in a folder of the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{ReportError, nearest};
use super::header::{Chart, ColumnDoc, Kind, Parameter, read_header};
use super::sql::read_statement;

/// Embeds `queries/NAME.sql`, in the order in which `deskledger report` lists them.
macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$((
            $name,
            concat!("queries/", $name, ".sql"),
            include_str!(concat!("../../queries/", $name, ".sql")),
        )),*]
    };
}

/// Name, file and text of each report that is part of the program. A test holds this list against the folder.
const BUILT_IN: &[(&str, &str, &str)] = built_in![
    "utilisation",
    "disconnects",
    "group-utilisation",
    "busy-hours",
    "concurrency",
    "distribution",
    "comparison",
    "capacity",
    "forecast",
    "outages",
    "flapping",
    "lingering",
    "idle-desktops",
    "connected-at",
    "desktop-history",
    "user-history",
    "user-days",
    "user-hours",
    "coverage",
];

/// More is no report, and would only fill the memory.
const LARGEST_FILE: u64 = 1 << 20;

/// A report: a file of SQL and what its header says about it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What it is called on the command line: the file's name without its ending.
    pub name: String,
    /// Where it was read from; for one that is built in, its place in the source tree.
    pub path: PathBuf,
    /// Comes from the user's folder.
    pub is_own: bool,
    /// One line.
    pub title: String,
    /// What it answers, for whom, and when not to trust it.
    pub description: String,
    /// In the header's order; what only the statement knows comes last.
    pub parameters: Vec<Parameter>,
    /// As the header has them; the statement itself has the last word.
    pub columns: Vec<ColumnDoc>,
    /// How it is drawn.
    pub chart: Option<Chart>,
    /// The ready line for psql, as the header has it.
    pub psql: Option<String>,
    /// The file, verbatim.
    pub text: String,
    pub(super) sql: String,
    /// The names behind `$1`, `$2` …
    pub(super) bound: Vec<String>,
}

impl Report {
    /// Reads a report. `path` is for messages.
    ///
    /// # Errors
    /// The header is malformed, or the text is not one statement, or the header describes a parameter that the
    /// statement does not have.
    pub fn read(name: &str, path: &Path, text: &str, is_own: bool) -> Result<Self, ReportError> {
        let defect = |problem: String| ReportError::Defect {
            report: name.to_owned(),
            path: path.to_owned(),
            problem,
        };
        let header = read_header(text).map_err(|error| defect(error.to_string()))?;
        let statement = read_statement(text).map_err(|error| defect(error.to_string()))?;
        let mut parameters = header.parameters;
        if let Some(idle) =
            parameters.iter().find(|known| !statement.parameters.contains(&known.name))
        {
            return Err(defect(format!(
                "the header describes `{0}`, but the statement has no `:'{0}'`",
                idle.name
            )));
        }
        let is_described = |name: &str| header.columns.iter().any(|known| known.name == name);
        let undescribed = header
            .chart
            .as_ref()
            .and_then(|chart| chart.columns().find(|name| !is_described(name)));
        if let Some(name) = undescribed {
            let problem = format!("its chart names `{name}`, which is not among its columns");
            return Err(defect(problem));
        }
        // A file that somebody has just dropped into the folder has no header yet, and is a report all the same.
        for name in &statement.parameters {
            if !parameters.iter().any(|known| known.name == *name) {
                parameters.push(Parameter {
                    name: name.clone(),
                    kind: Kind::Text,
                    range: None,
                    default: None,
                    meaning: "not described in its header".to_owned(),
                });
            }
        }
        let title = if header.title.is_empty() { name.to_owned() } else { header.title };
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            is_own,
            title,
            description: header.description,
            parameters,
            columns: header.columns,
            chart: header.chart,
            psql: header.psql,
            text: text.to_owned(),
            sql: statement.sql,
            bound: statement.parameters,
        })
    }

    /// Its parameter of that name; hyphens and underscores are the same.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        let name = name.replace('-', "_");
        self.parameters.iter().find(|parameter| parameter.name.replace('-', "_") == name)
    }
}

/// All reports at hand.
#[derive(Debug, Default)]
pub struct Catalogue {
    reports: Vec<Report>,
    defects: Vec<ReportError>,
}

impl Catalogue {
    /// The reports that are part of the program.
    ///
    /// # Panics
    /// A file in `queries/` is malformed; the tests read all of them.
    #[must_use]
    pub fn built_in() -> Self {
        let read = |(name, path, text): &(&str, &str, &str)| {
            Report::read(name, Path::new(path), text, false)
                .expect("the tests read every built-in report")
        };
        Self { reports: BUILT_IN.iter().map(read).collect(), defects: Vec::new() }
    }

    /// Adds every `*.sql` of a folder, by name. A file that is no report spoils nothing but itself: it is kept among
    /// the [`defects`](Self::defects).
    ///
    /// # Errors
    /// The folder or a file in it cannot be read.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), ReportError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ReportError::Folder { path, source }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            if path.extension().is_some_and(|ending| ending == "sql") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let is_sane = fs::metadata(&path)
                .map_err(unreadable(&path))
                .map(|file| file.is_file() && file.len() <= LARGEST_FILE)?;
            if !is_sane {
                let problem = "it is no ordinary file of at most 1 MiB".to_owned();
                self.defects.push(ReportError::Defect { report: name.to_owned(), path, problem });
                continue;
            }
            let text = fs::read_to_string(&path).map_err(unreadable(&path))?;
            if let Some(taken) = self.reports.iter().find(|known| known.name == name) {
                // Scripts and dashboards rely on what a built-in report means.
                let problem = format!(
                    "the name is taken by {}; rename the file, for example to `my-{name}.sql`",
                    taken.path.display()
                );
                self.defects.push(ReportError::Defect { report: name.to_owned(), path, problem });
                continue;
            }
            match Report::read(name, &path, &text, true) {
                Ok(report) => self.reports.push(report),
                Err(defect) => self.defects.push(defect),
            }
        }
        Ok(())
    }

    /// In the order of the listing: built in, then the user's own by name.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The files of the user's folder that are no reports, and why.
    #[must_use]
    pub fn defects(&self) -> &[ReportError] {
        &self.defects
    }

    /// The report of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<&Report, ReportError> {
        let known = || self.reports.iter().map(|report| report.name.clone());
        self.reports.iter().find(|report| report.name == name).ok_or_else(|| {
            let known: Vec<String> = known().collect();
            let nearest = nearest(name, known.iter().map(String::as_str));
            ReportError::UnknownReport { name: name.to_owned(), nearest, known }
        })
    }

    /// Takes out the report of that name.
    ///
    /// # Errors
    /// There is none; the error names the nearest. Or its file is defective.
    pub fn take(mut self, name: &str) -> Result<Report, ReportError> {
        if let Some(at) = self.reports.iter().position(|report| report.name == name) {
            return Ok(self.reports.swap_remove(at));
        }
        let is_it = |defect: &ReportError| matches!(defect, ReportError::Defect { report, .. } if report == name);
        if let Some(at) = self.defects.iter().position(is_it) {
            return Err(self.defects.swap_remove(at));
        }
        let known: Vec<String> = self.reports.iter().map(|report| report.name.clone()).collect();
        let nearest = nearest(name, known.iter().map(String::as_str));
        Err(ReportError::UnknownReport { name: name.to_owned(), nearest, known })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a peak that is sampled goes into is no more certain than the peak.
    #[test]
    fn what_follows_from_a_sampled_peak_is_a_lower_bound() {
        let catalogue = Catalogue::built_in();
        let columns = catalogue.reports().iter().flat_map(|report| &report.columns);
        let sampled = columns.filter(|column| {
            column.name == "desktops_needed"
                || column.name == "peak"
                || column.name.ends_with("_peak")
        });
        // What is to be expected may be less, too.
        let sampled: Vec<_> = sampled.filter(|column| column.name != "expected_peak").collect();
        assert!(sampled.len() > 5);
        for column in sampled {
            assert!(
                column.meaning.contains("a lower bound"),
                "{}: {}",
                column.name,
                column.meaning
            );
        }
    }

    /// Everything that a file in `queries/` must hold and that needs no database.
    fn problems(report: &Report) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, problem: String| {
            if !holds {
                problems.push(format!("{}: {problem}", report.path.display()));
            }
        };
        expect(report.title != report.name, "no title".to_owned());
        expect(!report.title.ends_with('.'), "the title ends in a full stop".to_owned());
        expect(!report.description.is_empty(), "does not say what it answers".to_owned());
        expect(!report.columns.is_empty(), "does not describe its columns".to_owned());
        for parameter in &report.parameters {
            let name = &parameter.name;
            expect(
                parameter.meaning != "not described in its header",
                format!("`:'{name}'` is not described"),
            );
        }
        let psql = report.psql.as_deref().unwrap_or("");
        let given: BTreeSet<&str> =
            psql.split(" -v ").skip(1).filter_map(|given| given.split('=').next()).collect();
        let known: BTreeSet<&str> =
            report.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        expect(
            psql.ends_with(&format!("-f {}", report.path.display())),
            "no psql line that ends in its own path".to_owned(),
        );
        expect(given == known, format!("psql line gives {given:?}, not {known:?}"));
        problems
    }

    #[test]
    fn every_file_in_queries_is_a_whole_report() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
        let files: BTreeSet<String> = fs::read_dir(folder)
            .expect("queries/ is there")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "sql"))
            .map(|path| path.file_stem().expect("named").to_string_lossy().into_owned())
            .collect();
        let listed: BTreeSet<String> =
            BUILT_IN.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(files, listed, "queries/ and the list in this file differ");
        let problems: Vec<String> =
            Catalogue::built_in().reports().iter().flat_map(problems).collect();
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn the_example_is_a_whole_report() {
        let path = Path::new("tests/data/queries/example.sql");
        let text = include_str!("../../tests/data/queries/example.sql");
        let report = Report::read("example", path, text, false).expect("a report");
        assert_eq!(problems(&report), Vec::<String>::new());
    }

    #[test]
    fn a_folder_adds_reports_and_spoils_none() {
        let mut catalogue = Catalogue::default();
        let path = Path::new("queries/taken.sql");
        catalogue.reports.push(Report::read("taken", path, "select 1", false).expect("a report"));
        let folder = tempfile::tempdir().expect("a folder");
        for (file, text) in [
            ("plain.sql", "select :'x'"),
            ("taken.sql", "select 2"),
            ("broken.sql", "select 'open"),
            (
                "drawn.sql",
                "-- T\n-- Columns\n--   n  a number\n-- Chart\n--   bars  n  m\nselect 1 as n",
            ),
            ("idle.sql", "-- T\n-- Parameters\n--   x  text  1  y\nselect 1"),
            ("notes.txt", "no report"),
        ] {
            fs::write(folder.path().join(file), text).expect("written");
        }
        catalogue.add_folder(folder.path()).expect("readable");
        let names: Vec<_> = catalogue.reports().iter().map(|report| report.name.as_str()).collect();
        assert_eq!(names, ["taken", "plain"]);
        let plain = &catalogue.reports()[1];
        assert_eq!((plain.title.as_str(), plain.parameters[0].default.clone()), ("plain", None));
        let defects: Vec<_> = catalogue.defects().iter().map(ToString::to_string).collect();
        assert!(defects[0].contains("line 1: what begins here is never closed"), "{defects:?}");
        assert!(defects[1].contains("its chart names `m`"), "{defects:?}");
        assert!(defects[2].contains("describes `x`"), "{defects:?}");
        assert!(defects[3].contains("the name is taken by queries/taken.sql"), "{defects:?}");
        let unknown = catalogue.take("plaim").expect_err("unknown");
        assert_eq!(unknown.to_string(), "there is no report `plaim`; did you mean `plain`?");
    }
}
