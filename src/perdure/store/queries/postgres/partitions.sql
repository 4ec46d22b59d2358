-- Executions and what belongs to each stand in partitions of a week, by the time in the id; and the whole database.

-- name: weeks_missing
-- returns: week bigint
SELECT w.week
FROM
    generate_series(
        week_of(coalesce(:since::bigint, (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint)),
        week_of((extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint + :ahead::bigint)
    ) AS w (week)
WHERE to_regclass(partition_name('executions', w.week)) IS NULL
ORDER BY w.week;

-- name: week_make
-- returns: is_new bool
SELECT make_week(:week);

-- name: weeks_old
-- returns: week bigint
SELECT w.week
FROM
    (
        SELECT week_of((extract(EPOCH FROM to_date(right(c.relname, 8), 'YYYYMMDD')) * 1000000)::bigint) AS week
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = to_regclass('executions') AND c.relname ~ '_[0-9]{8}$'
    ) AS w
WHERE w.week < week_of(:before)
ORDER BY w.week;

-- name: week_tables
-- returns: is_empty bool, names text
SELECT
    week_is_empty(:week),
    (
        SELECT string_agg(quote_ident(partition_name(p.name, :week)), ', ')
        FROM unnest(ARRAY['executions', 'payloads', 'node_runs', 'events']) AS p (name)
    );

-- name: week_drop
-- returns: is_gone bool
SELECT drop_week(:week);

-- name: about
-- returns: version text, size_bytes bigint
SELECT current_setting('server_version'), pg_database_size(current_database());
