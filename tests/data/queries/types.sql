select
    :'text' as text,
    null::text as nothing,
    1::smallint as n, 2::integer as n, 3::bigint as n,
    0.1::double precision as double,
    0.1::real as single,
    12345678901234567890.123456789::numeric as decimal,
    'NaN'::double precision as nan,
    true as truth,
    timestamptz '2026-10-04 03:12:00.5+02' as instant,
    interval '1 day 02:00:00.25' as length,
    array['anna', 'b|b', null] as list,
    '{"b": [1, null], "a": "x"}'::jsonb as document,
    '{ "b":
       1 }'::json as verbatim,
    date '2026-10-04' as day,
    array[1, 2] as numbers,
    'infinity'::timestamptz as never
-- The last line is a comment.
