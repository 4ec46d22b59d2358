-- What `perdure bench` asks of a database.

-- Schemas in which a store stands that no bench made.
-- name: stores_here
-- returns: schema text
SELECT n.nspname::text
FROM pg_class AS c
CROSS JOIN LATERAL (SELECT x.nspname FROM pg_namespace AS x WHERE x.oid = c.relnamespace OFFSET 0) AS n
WHERE c.relname = 'schema_migrations' AND to_regclass(format('%I.writers', n.nspname)) IS NOT NULL AND n.nspname NOT LIKE :ours
ORDER BY 1;

-- name: schemas_like
-- returns: schema text
SELECT n.nspname::text FROM pg_namespace AS n WHERE n.nspname LIKE :ours ORDER BY 1;

-- name: server_settings
-- returns: version text, fsync text, synchronous_commit text, full_page_writes text, shared_buffers text
SELECT
    current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('full_page_writes'), current_setting('shared_buffers');

-- name: activity
-- returns: transactions bigint, rows_inserted bigint, rows_updated bigint, rows_deleted bigint, wal_bytes numeric
SELECT d.xact_commit, d.tup_inserted, d.tup_updated, d.tup_deleted, pg_current_wal_insert_lsn() - '0/0'
FROM pg_stat_database AS d
WHERE d.datname = current_database();

-- name: statistics_schema
-- returns: schema text
SELECT n.nspname::text
FROM pg_extension AS x
CROSS JOIN LATERAL (SELECT y.nspname FROM pg_namespace AS y WHERE y.oid = x.extnamespace OFFSET 0) AS n
WHERE x.extname = 'pg_stat_statements';

-- name: newest_bare
SELECT * FROM executions ORDER BY id DESC LIMIT :limit;
