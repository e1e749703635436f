-- A month is packed while it lasts, as its days are over: `packed_month.month_to` is how far, and its end once that is over.
--
-- Of its instants [card - 1] and [card] are the month's last microsecond and its end, as ever: what is added later comes before them, and
-- no event of a month that lasts names them. Programs that know of whole months alone must not pack on, so this has a number.

alter table deskledger_data.packed_month
    add constraint packed_month_is_whole_at_its_end check (not is_whole or month_to = deskledger_report.month_end(month_from));

-- As before. Of a month that lasts there are no sums, but the subscripts of what breaks off: {} where nothing does.
create or replace view deskledger_report.break_piece as
select k.source_id, k.desktop_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.ended, p.disconnected_at,
       k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack_these(
           k.at, k.events,
           case when k.is_summed or k.breaks is not null then k.breaks
                else array(select generate_series(1, cardinality(k.events) - 1)) end,
           k.first_seen, k.started_after, k.disconnected_at) p
 where (k.breaks <> '{}' or k.breaks is null and not k.is_summed) and p.ended in (-4, -3);

-- Packing plans its statements without nested loops, and this one finds the visits of one month by their key.
alter function deskledger_data.finishes(integer, timestamptz[]) set enable_nestloop = on;
