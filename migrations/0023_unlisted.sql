-- What left out a desktop, for reports; and who was connected at all, where a large fleet's months are not packed.

-- Which visits left out a desktop while its span went on: without a word of its names.
create view deskledger_report.unlisted as
select source_id, desktop_no, from_at, to_at from deskledger_data.unlisted;

-- As before; but grouped, which several processes do at once, where a union's rows are told apart by one.
do $$
declare
    earlier text := pg_get_functiondef('deskledger_report.used_desktops(timestamptz, timestamptz)'::regprocedure);
    later   text := replace(earlier, 'deskledger_report.month_end(range_to))', 'deskledger_report.month_end(range_to))
     group by 1, 2');
begin
    if later = earlier then
        raise exception 'the function used_desktops reads no pieces';
    end if;
    execute later;
end
$$;
