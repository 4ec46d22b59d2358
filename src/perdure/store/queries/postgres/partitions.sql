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

-- name: about
-- returns: version text, size_bytes bigint
SELECT current_setting('server_version'), pg_database_size(current_database());
