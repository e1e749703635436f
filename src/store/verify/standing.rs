//! What stands at the ends of pruned months: a row where the history goes on from one, and as the chain keeps it.

use sqlx::PgConnection;

use super::super::source::SourceId;
use crate::domain::Instant;
use crate::domain::audit::{Fault, Place, Wrong};

/// The first row of `standing` of each source that is not as pruning left it.
pub(super) async fn wrong_standings(
    connection: &mut PgConnection,
) -> sqlx::Result<Vec<(SourceId, Fault)>> {
    let rows: Vec<(SourceId, Instant, bool, bool, i64, i64, Instant)> = sqlx::query_as(
        "-- store::verify::wrong_standings
         with pruned as (
             select distinct on (p.source_id, p.class, p.month_from)
                    p.source_id, p.class, p.month_from, deskledger_report.month_end(p.month_from) as month_to, p.is_restored, p.kept
               from deskledger_data.pruning p
              where p.class in ('spans', 'groups')
              order by p.source_id, p.class, p.month_from, p.sequence desc
         ),
         needed as (
             select p.source_id, p.month_to as at, p.kept
               from pruned p
              where p.class = 'spans' and not p.is_restored
                and 2 > (select count(*) from pruned n
                          where n.source_id = p.source_id and n.month_from = p.month_to and not n.is_restored)
         )
         select distinct on (1) source_id, at, n.source_id is not null, t.source_id is not null,
                s.snapshot_id, s.sequence, s.observed_at
           from needed n
           full join deskledger_data.standing t using (source_id, at)
          cross join lateral (
                select v.snapshot_id, v.sequence, v.observed_at
                  from deskledger_data.visit v
                 where v.source_id = coalesce(n.source_id, t.source_id) and v.snapshot_id is not null
                 order by v.observed_at >= coalesce(n.at, t.at) desc, v.observed_at limit 1) s
          where n.source_id is null or t.source_id is null
             or n.kept <> deskledger_data.standing_hash(t.state)
             -- Their hash stands for desktops that are gone, and not beside any; where they must not be gone they are missed.
             or t.state ? 'desktops_hash' and (t.state -> 'desktops' <> '[]' or t.state -> 'absent' <> '[]')
          order by 1, 2",
    )
    .fetch_all(connection)
    .await?;
    let faults = rows.into_iter().map(
        |(source, at, is_needed, is_there, snapshot_id, sequence, observed_at)| {
            let what = format!("the row of `standing` of {}", at.to_rfc3339());
            let wrong = match (is_needed, is_there) {
                (true, true) => Wrong::new(what, "as pruning left it", "otherwise"),
                (true, false) => Wrong::new(what, "one", "none"),
                (false, _) => Wrong::new(what, "none", "one"),
            };
            (source, Fault::at(Some(Place::of_snapshot(snapshot_id, sequence, observed_at)), wrong))
        },
    );
    Ok(faults.collect())
}
