//! Whether the ledger has seen whom or what a report is asked about.
//!
//! A name that was never seen and one without history have the same empty answer, and the first is mostly a slip of the
//! keyboard. So it is refused, as an unknown source is.

use sqlx::{AssertSqlSafe, PgConnection};

use super::catalogue::Report;
use super::error::{ReportError, nearest};
use super::header::Kind;
use super::params::Values;

/// Names of one kind.
struct Names {
    kind: Kind,
    what: &'static str,
    /// Who may read this, may read all of them; planners may not, where names are of persons or desktops.
    guard: &'static str,
    /// All of them, each beside the number of its source.
    all: &'static str,
    /// The numbers of the sources that have seen the name `$2`.
    has: &'static str,
}

const NAMES: [Names; 3] = [
    Names {
        kind: Kind::User,
        what: "user",
        guard: "deskledger_report.user_label",
        all: "select source_id, user_name from deskledger_report.user_label
              union all select source_id, user_id from deskledger_report.user_label",
        has: "select source_id from deskledger_report.assigned_user where user_name = $2 or user_id = $2",
    },
    Names {
        kind: Kind::Desktop,
        what: "desktop",
        guard: "deskledger_report.label",
        all: "select source_id, desktop_id from deskledger_report.desktop
              union all select source_id, desktop_name from deskledger_report.label",
        has: "select source_id from deskledger_report.desktop where desktop_id = $2
              union all select source_id from deskledger_report.label where desktop_name = $2",
    },
    Names {
        kind: Kind::Group,
        what: "group",
        guard: "deskledger_report.group_name",
        all: "select source_id, shown_name from deskledger_report.group_name",
        has: "select source_id from deskledger_report.group_name where shown_name = $2",
    },
];

/// So many are looked through for the one that was probably meant.
const MOST: i32 = 100_000;

/// Refuses a name that none of the sources asked for has ever had. A role that may not read names is told nothing of
/// them: then the statement answers, or is denied.
pub(super) async fn check(
    connection: &mut PgConnection,
    report: &Report,
    values: &Values,
) -> Result<(), ReportError> {
    let failed = |source| ReportError::Database { report: report.name.clone(), source };
    let source = values.sources(report).next().unwrap_or_default();
    for names in &NAMES {
        let Names { kind, what, guard, all, has } = names;
        for (parameter, value) in values.of_kind(report, *kind) {
            if value.is_empty() && parameter.default.as_deref() == Some("") {
                continue;
            }
            let may_read: bool =
                sqlx::query_scalar("select has_table_privilege(to_regclass($1), 'select') is true")
                    .bind(guard)
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(failed)?;
            if !may_read {
                continue;
            }
            let of_source = "join deskledger_report.source s using (source_id) where ($1 = '' or s.source = $1)";
            let exists = format!("select exists (select from ({has}) n {of_source})");
            let is_known: bool = sqlx::query_scalar(AssertSqlSafe(exists))
                .bind(source)
                .bind(value)
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
            if is_known {
                continue;
            }
            let all = format!(
                "select distinct n.name from ({all}) n (source_id, name) {of_source} and n.name is not null
                  order by n.name limit $2"
            );
            let all: Vec<String> = sqlx::query_scalar(AssertSqlSafe(all))
                .bind(source)
                .bind(MOST)
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
            return Err(ReportError::NeverSeen {
                what,
                value: value.to_owned(),
                source_name: Some(source.to_owned()).filter(|source| !source.is_empty()),
                nearest: nearest(value, all.iter().map(String::as_str)),
            });
        }
    }
    Ok(())
}
