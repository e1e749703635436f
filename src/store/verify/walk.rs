//! One source: its streams side by side, through the check, in the order of time.

use std::collections::VecDeque;

use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::super::StoreError;
use super::super::copy::{self, Rows};
use super::super::prune::{kept_visits, standings};
use super::super::source::SourceId;
use super::packed::{self, BySql, Mark, PackedMonth, PackedPieces};
use super::statements::{self as stored, StoredGroup, Stretch};
use super::{Moment, Progress, earlier, load};
use crate::domain::Instant;
use crate::domain::audit::{
    Audit, Checkpoint, ErasureRow, Fault, HeadRow, KeptVisit, LateRow, Place, PrunedMonths,
    PruningRow, SpanRow, Summary, TallyRow, Visit, Wrong,
};
use crate::domain::beliefs::{DesktopNo, LabelNo, StatusId};
use crate::domain::months::next_month;
use crate::domain::packed::InOrder;

/// The streams of a source's rows.
struct Streams {
    visits: Rows<Visit>,
    kept: Rows<KeptVisit>,
    late: Rows<LateRow>,
    erasures: VecDeque<ErasureRow>,
    prunings: VecDeque<PruningRow>,
    pieces: Rows<SpanRow>,
    packed: PackedPieces,
    tally: Rows<TallyRow>,
    open: std::iter::Peekable<std::vec::IntoIter<SpanRow>>,
    groups: Rows<StoredGroup>,
    stretches: Rows<Stretch>,
}

/// A listing as the rows say it: the view must say it too.
struct Sample {
    place: Place,
    listing: Vec<(DesktopNo, LabelNo, StatusId)>,
}

/// Why the walk ended before its end.
enum Stop {
    Fault(Fault),
    Error(StoreError),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

/// Verifies one source.
pub(super) async fn source(
    moment: &Moment,
    id: SourceId,
    name: &str,
    checkpoint: Option<Checkpoint>,
    progress: &Progress,
) -> Result<(Summary, Option<Fault>), StoreError> {
    let mut control = moment.connect().await?;
    let names = load::names(&mut control, id).await?;
    let head = load::head(&mut control, id).await?;
    let wide = wide_rows(&mut control, id).await?;
    let erasures = load::erasures(&mut control, id).await?.into();
    let prunings = load::prunings(&mut control, id).await?;
    let pruned = PrunedMonths::new(&prunings, standings(&mut control, id).await?);
    let audit = Audit::new(name, names, pruned, checkpoint);
    let packed = packed::months(&mut control, id).await?;
    let streams =
        open_streams(moment, &mut control, id, erasures, prunings.into(), packed.clone()).await?;
    let by_sql = match packed.is_empty() {
        true => None,
        false => Some(packed::by_sql(moment.connect().await?, id, packed)),
    };

    let (sampled, mut samples) = mpsc::channel(1);
    let progress = progress.clone();
    let walking = tokio::task::spawn_blocking(move || {
        let months = Vec::new();
        let mut walk =
            Walk { audit, streams, wide, months, sampled, sampled_until: None, progress };
        let stop = walk.all(head.as_ref()).err();
        (walk.audit.summary(), stop, walk.audit.derived().cloned(), walk.months)
    });
    let mut unlike = None;
    while let Some(sample) = samples.recv().await {
        if unlike.is_none() {
            unlike = compare_with_view(&mut control, id, name, sample).await?;
        }
    }
    let broke_off = |error| {
        StoreError::Inconsistent(format!("the check of source number {id} broke off: {error}"))
    };
    let (summary, stop, derived, months) = walking.await.map_err(broke_off)?;
    let fault = match stop {
        None => None,
        Some(Stop::Fault(fault)) => Some(fault),
        Some(Stop::Error(error)) => return Err(error),
    };
    let mut fault = earlier(fault, unlike);
    if fault.is_none()
        && let Some(by_sql) = by_sql
    {
        let by_sql = by_sql.await.map_err(broke_off)??;
        fault = earlier(derived.clone(), unlike_sql(&months, &by_sql));
    }
    Ok((summary, fault.or(derived)))
}

/// The first month of which SQL makes something else than was checked.
fn unlike_sql(months: &[BegunMonth], by_sql: &[BySql]) -> Option<Fault> {
    months.iter().zip(by_sql).find_map(|(month, by_sql)| {
        let name = month.from.format("%Y-%m");
        let wrong = if by_sql.mark != month.mark {
            let what = format!("the view `filed` of {name}");
            Wrong::new(what, "the spans that are packed", "others")
        } else {
            let no = by_sql.summed_otherwise?;
            let what = format!("what the function `sums` says of desktop number {no} in {name}");
            Wrong::new(what, "the sums that are stored", "others")
        };
        Some(Fault::at(month.place, wrong))
    })
}

async fn open_streams(
    moment: &Moment,
    control: &mut PgConnection,
    id: SourceId,
    erasures: VecDeque<ErasureRow>,
    prunings: VecDeque<PruningRow>,
    packed: Vec<Instant>,
) -> Result<Streams, StoreError> {
    let months = months(control).await?;
    let pieces: Vec<String> = months.iter().map(|month| stored::pieces(id, *month)).collect();
    // Two, so that a month is being sorted while the one before it is checked.
    let mut connections = Vec::new();
    for _ in 0..pieces.len().min(2) {
        connections.push(moment.connect().await?);
    }
    // Most sources have none: then no connection is made for them.
    let (mut for_late, mut late) = (Vec::new(), Vec::new());
    let (has_late, has_kept) = has_late_or_kept(control, id).await?;
    if has_late {
        for_late.push(moment.connect().await?);
        late.push(stored::late(id));
    }
    let (mut for_kept, mut kept) = (Vec::new(), Vec::new());
    if has_kept {
        for_kept.push(moment.connect().await?);
        kept.push(kept_visits(id));
    }
    let for_packed = match packed.is_empty() {
        true => None,
        false => Some(moment.connect().await?),
    };
    let open = copy::all(control, &stored::open_pieces(id), stored::open_piece).await?;
    Ok(Streams {
        visits: Rows::read(vec![moment.connect().await?], vec![stored::visits(id)], stored::visit),
        kept: Rows::read(for_kept, kept, stored::kept_visit),
        late: Rows::read(for_late, late, stored::late_row),
        erasures,
        prunings,
        pieces: Rows::read(connections, pieces, stored::piece),
        packed: PackedPieces::read(for_packed, id, packed),
        tally: Rows::read(
            vec![moment.connect().await?],
            vec![stored::tally(id)],
            stored::tally_row,
        ),
        open: open.into_iter().peekable(),
        groups: Rows::read(vec![moment.connect().await?], vec![stored::groups(id)], stored::group),
        stretches: Rows::read(
            vec![moment.connect().await?],
            vec![stored::stretches(id)],
            stored::stretch,
        ),
    })
}

/// The months that have a partition of `span`, oldest first.
async fn months(connection: &mut PgConnection) -> Result<Vec<Instant>, StoreError> {
    sqlx::query_scalar(
        "-- store::verify::months
         select make_timestamptz(substring(c.relname, '(\\d+)_\\d+$')::integer, right(c.relname, 2)::integer, 1, 0, 0, 0, 'UTC')
           from pg_inherits i
           join pg_class c on c.oid = i.inhrelid
          where i.inhparent = 'deskledger_data.span'::regclass
          order by 1",
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::while_trying("read which months the ledger holds"))
}

/// Whether a source has late snapshots, and whether it has some of which the headers are pruned.
async fn has_late_or_kept(
    connection: &mut PgConnection,
    id: SourceId,
) -> Result<(bool, bool), StoreError> {
    sqlx::query_as(
        "-- store::verify::has_late_or_kept
         select exists (select from deskledger_data.late where source_id = $1),
                exists (select from deskledger_data.visit_day where source_id = $1 and snapshot_id is null)",
    )
    .bind(id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("look for late snapshots and pruned headers"))
}

async fn wide_rows(connection: &mut PgConnection, id: SourceId) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "-- store::verify::wide_rows
         select count(*) from deskledger_data.group_span_wide where source_id = $1",
    )
    .bind(id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("count wide counters"))
}

/// Holds the view `desktop_snapshots` against a listing.
async fn compare_with_view(
    connection: &mut PgConnection,
    id: SourceId,
    name: &str,
    sample: Sample,
) -> Result<Option<Fault>, StoreError> {
    let listing = &sample.listing;
    let differences: i64 = sqlx::query_scalar(
        "-- store::verify::compare_with_view
         with held as materialized (
             select d.desktop_id, l.desktop_name, t.status as connect_status, a.attach_users
               from unnest($4::integer[], $5::integer[], $6::smallint[]) h (desktop_no, label_no, status_id)
               join deskledger_data.desktop d on d.source_id = $1 and d.desktop_no = h.desktop_no
               join deskledger_data.label l on l.source_id = $1 and l.label_no = h.label_no
               join deskledger_data.assignment a on a.source_id = $1 and a.assignment_no = l.assignment_no
               join deskledger_data.status t on t.source_id = $1 and t.status_id = h.status_id
         ), shown as materialized (
             select desktop_id, desktop_name, connect_status, attach_users
               from deskledger.desktop_snapshots where source = $2 and observed_at = $3 and snapshot_id = $7
         )
         select (select count(*) from (select * from held except all select * from shown) missing)
              + (select count(*) from (select * from shown except all select * from held) added)",
    )
    .bind(id)
    .bind(name)
    .bind(sample.place.observed_at)
    .bind(listing.iter().map(|row| row.0).collect::<Vec<_>>())
    .bind(listing.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind(listing.iter().map(|row| row.2).collect::<Vec<_>>())
    // A late one of the same instant is shown beside it.
    .bind(sample.place.snapshot_id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("read the view `desktop_snapshots`"))?;
    Ok((differences > 0).then(|| {
        let wrong = Wrong::new(
            "the view `desktop_snapshots`",
            format!("the {} desktops that the spans list", listing.len()),
            format!("{differences} rows missing or added"),
        );
        Fault::at(Some(sample.place), wrong)
    }))
}

/// A packed month that was begun.
struct BegunMonth {
    from: Instant,
    /// What SQL has to unpack of it.
    mark: Mark,
    /// The first snapshot in it.
    place: Option<Place>,
    /// What packing cannot have written.
    malformed: Option<Wrong>,
    /// A sum that the events do not give.
    wrong_sum: Option<Wrong>,
}

impl BegunMonth {
    /// Takes from a month what is to be known of it beside its pieces.
    fn begin(months: &mut Vec<Self>, month: PackedMonth) -> InOrder {
        let PackedMonth { from, mark, pieces, malformed, wrong_sum } = month;
        months.push(Self { from, mark, place: None, malformed, wrong_sum });
        pieces
    }
}

struct Walk {
    audit: Audit,
    streams: Streams,
    /// Rows of wide counters that no piece has taken yet.
    wide: i64,
    months: Vec<BegunMonth>,
    sampled: mpsc::Sender<Sample>,
    /// When the next listing is to be held against the view.
    sampled_until: Option<Instant>,
    progress: Progress,
}

impl Walk {
    fn all(&mut self, head: Option<&HeadRow>) -> Result<(), Stop> {
        let mut newest = None;
        loop {
            let next = self.streams.visits.peek()?.map(|visit| visit.observed_at);
            let is_before = |visit: &KeptVisit| next.is_none_or(|next| visit.observed_at <= next);
            if let Some(visit) = self.streams.kept.take_if(is_before)? {
                newest = Some(self.kept(&visit)?);
                continue;
            }
            let Some(visit) = self.streams.visits.take()? else { break };
            self.others_before(visit.sequence)?;
            self.audit.link(&visit)?;
            let at = visit.observed_at;
            let place = Place::of_snapshot(visit.snapshot_id, visit.sequence, at);
            self.rows_up_to(place)?;
            newest = Some(place);
            self.place_months(Some(at), newest)?;
            self.audit.snapshot(&visit)?;
            self.progress.step();
            if visit.desktops_outcome > 0 && self.sampled_until.is_none_or(|next| at >= next) {
                self.sampled_until = Some(next_month(at));
                self.sample(newest);
            }
        }
        newest = self.others_before(i64::MAX)?.or(newest);
        self.one_row_more()?;
        self.place_months(None, newest)?;
        let Some(head) = head else {
            let wrong = Wrong::new("the source's row of `head`", "one row", "none");
            return Err(Fault::at(newest, wrong).into());
        };
        self.audit.finish(head)?;
        if self.wide != 0 {
            let wrong = Wrong::new(
                "the rows of `group_span_wide`",
                "one for each piece of counters that needs it",
                format!("{} more", self.wide),
            );
            return Err(Fault::at(newest, wrong).into());
        }
        Ok(())
    }

    /// Goes on to a snapshot of which the header is pruned.
    fn kept(&mut self, visit: &KeptVisit) -> Result<Place, Stop> {
        self.others_before(visit.sequence)?;
        self.audit.link_kept(visit)?;
        let at = visit.observed_at;
        let place = Place::without_header(visit.sequence, at);
        self.rows_up_to(place)?;
        self.place_months(Some(at), Some(place))?;
        self.audit.kept(visit)?;
        self.progress.step();
        Ok(place)
    }

    /// Gives the late snapshots, the erasures and the prunings that stand in the chain before an entry; says where the last of
    /// them is, prunings aside.
    fn others_before(&mut self, sequence: i64) -> Result<Option<Place>, Stop> {
        let mut last = None;
        loop {
            let erasure = self.streams.erasures.front().map_or(i64::MAX, |row| row.sequence);
            let pruning = self.streams.prunings.front().map_or(i64::MAX, |row| row.sequence);
            let until = sequence.min(erasure).min(pruning);
            if let Some(row) = self.streams.late.take_if(|row| row.visit.sequence < until)? {
                self.audit.late(&row)?;
                let Visit { snapshot_id, sequence, observed_at, .. } = row.visit;
                last = Some(Place::of_snapshot(snapshot_id, sequence, observed_at));
            } else if let Some(row) =
                self.streams.prunings.pop_front_if(|row| row.sequence < sequence.min(erasure))
            {
                self.audit.pruning(&row)?;
            } else if let Some(row) =
                self.streams.erasures.pop_front_if(|row| row.sequence < sequence)
            {
                self.audit.erasure(&row)?;
                let observed_at = row.header.erased_at;
                last = Some(Place::of_erasure(row.sequence, observed_at));
            } else {
                return Ok(last);
            }
            self.progress.step();
        }
    }

    /// The next piece of a span, packed or not, that begins up to an instant.
    fn next_piece(&mut self, until: Option<Instant>) -> Result<Option<SpanRow>, StoreError> {
        let Self { streams: Streams { pieces, packed, .. }, months, .. } = self;
        let filed = pieces.peek()?.map(|row| row.from);
        let begins = |month| BegunMonth::begin(months, month);
        let unpacked = packed.peek(begins)?.map(|row| row.from);
        let is_due = |at: &Instant| until.is_none_or(|until| *at <= until);
        match (unpacked.filter(is_due), filed.filter(is_due)) {
            (Some(unpacked), filed) if filed.is_none_or(|filed| unpacked <= filed) => {
                Ok(packed.take())
            }
            (_, Some(_)) => pieces.take(),
            _ => Ok(None),
        }
    }

    /// Finds the first snapshot of each packed month that has begun by now, or all that have none yet.
    fn place_months(&mut self, at: Option<Instant>, place: Option<Place>) -> Result<(), Fault> {
        let unplaced = self.months.iter_mut().rev().take_while(|month| month.place.is_none());
        for month in unplaced.filter(|month| at.is_none_or(|at| month.from <= at)) {
            month.place = place;
            if let Some(wrong) = month.malformed.take() {
                return Err(Fault::at(place, wrong));
            }
            if let Some(wrong) = month.wrong_sum.take() {
                self.audit.repeats_wrongly(place, wrong);
            }
        }
        Ok(())
    }

    /// Gives the rows that begin up to a snapshot.
    fn rows_up_to(&mut self, place: Place) -> Result<(), Stop> {
        let until = place.observed_at;
        let is_due = |row: &SpanRow| row.from <= until;
        while let Some(row) = self.next_piece(Some(until))? {
            self.audit.piece(row);
        }
        while let Some(row) = self.streams.open.next_if(is_due) {
            self.audit.piece(row);
        }
        while let Some(row) = self.streams.tally.take_if(|row| row.at <= until)? {
            self.audit.tally(row);
        }
        while let Some(stretch) = self.streams.stretches.take_if(|row| row.from() <= until)? {
            match stretch {
                Stretch::Unlisted(row) => self.audit.unlisted(row),
                Stretch::Run(run) => self.audit.run(run),
            }
        }
        while let Some(group) = self.streams.groups.take_if(|group| group.row.from <= until)? {
            self.wide -= i64::from(group.is_wide);
            if !group.agrees {
                let wrong = Wrong::new(
                    format!("the wide counters of group number {}", group.row.group),
                    "13 counters of which one needs them, and the same where they fit two bytes",
                    "others",
                );
                return Err(Fault::at(Some(place), wrong).into());
            }
            self.audit.group(group.row);
        }
        Ok(())
    }

    /// Gives one row of each kind that begins after the last snapshot: it is one too many.
    fn one_row_more(&mut self) -> Result<(), StoreError> {
        if let Some(row) = self.next_piece(None)? {
            self.audit.piece(row);
        }
        // Whatever is left of it, it is looked at as a whole.
        self.streams.packed.drain(|month| BegunMonth::begin(&mut self.months, month))?;
        while let Some(row) = self.streams.tally.take()? {
            self.audit.tally(row);
        }
        if let Some(row) = self.streams.open.next() {
            self.audit.piece(row);
        }
        if let Some(group) = self.streams.groups.take()? {
            self.audit.group(group.row);
        }
        match self.streams.stretches.take()? {
            Some(Stretch::Unlisted(row)) => self.audit.unlisted(row),
            Some(Stretch::Run(run)) => self.audit.run(run),
            None => {}
        }
        Ok(())
    }

    fn sample(&self, place: Option<Place>) {
        if let Some(place) = place {
            // Whoever compares has failed and says so.
            let _ = self.sampled.blocking_send(Sample { place, listing: self.audit.listing() });
        }
    }
}
