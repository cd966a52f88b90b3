"""What a query may not do, as statements: for `gdo sql` and for every other place that takes SQL.

`{secret}` is a file outside the pool, `{dir}` its folder, `{port}` a port of this machine where somebody
listens, `{pool}` the pool's file: `fill` puts them in.
"""

from pathlib import Path

ENDED = r"did not end within its limit|needs more (than \w+ of )?memory|Out of Range|larger than 2\^32"
"""What is said of a query that used up its time or its memory."""


def fill(attack: str, pool: Path, folder: Path, port: int) -> str:
    """An attack on a pool, with `secret.csv` in this folder, and this port of the machine."""
    names = {"{secret}": folder / "secret.csv", "{dir}": folder, "{port}": port, "{pool}": pool}
    for name, value in names.items():
        attack = attack.replace(name, str(value))
    return attack


OUTSIDE = [
    # files
    "SELECT * FROM '{secret}'",
    "FROM '{dir}/*.csv'",
    'SELECT * FROM "{secret}"',
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM ReAd_BlOb('{secret}')",
    "SELECT * FROM \"read_json\"('{secret}')",
    "SELECT * FROM read_ndjson_objects('{secret}')",
    "SELECT * FROM main.read_parquet('{secret}')",
    "SELECT * FROM parquet_scan('{secret}')",
    "SELECT * FROM system.main.read_csv_auto('{secret}')",
    "SELECT * FROM glob('{dir}/*')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM parquet_schema('{secret}')",
    "SELECT * FROM read_duckdb('{pool}')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "SELECT qa_uid FROM sample WHERE EXISTS (FROM read_text('{secret}') WHERE content LIKE 'a%')",
    "SELECT (SELECT first(content) FROM read_text(s.answer)) FROM sample AS s",
    "WITH x AS MATERIALIZED (FROM sniff_csv('{secret}')) FROM x",
    "WITH RECURSIVE r AS (SELECT 1 UNION ALL FROM read_csv('{secret}')) FROM r",
    "FROM sample SEMI JOIN read_csv('{secret}') ON true",
    "FROM sample, LATERAL (FROM read_text('{secret}'))",
    "(SELECT 1) UNION ALL (SELECT content FROM read_text('{secret}'))",
    "SELECT [c FOR c IN (SELECT list(content) FROM read_text('{secret}'))]",
    "SELECT list_transform([1], lambda x: (SELECT content FROM read_text('{secret}')))",
    "DESCRIBE SELECT * FROM read_csv('{secret}')",
    "SUMMARIZE '{secret}'",
    "DESCRIBE '{secret}'",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('{secret}')",
    "explain (format json) SELECT * FROM read_csv('{secret}')",
    "PIVOT read_csv('{secret}') ON a IN ('secret') USING count(*)",
    "SELECT * FROM query('SELECT * FROM read_' || 'text(''{secret}'')')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT * FROM query_table(['{secret}'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
    # files that a query writes
    "COPY sample TO '{dir}/x.csv'",
    "COPY (SELECT 1) TO '{dir}/x.parquet' (FORMAT parquet)",
    "COPY sample FROM '{secret}'",
    "EXPLAIN ANALYZE COPY sample TO '{dir}/x.csv'",
    "/* */ EXPLAIN ANALYZE COPY sample TO '{dir}/x.csv'",
    "EXPORT DATABASE '{dir}/x'",
    "IMPORT DATABASE '{dir}'",
    "SELECT * FROM enable_logging(storage='file', storage_path='{dir}/x')",
    "SELECT write_log('x')",
    "COPY FROM DATABASE pool TO memory",
    # the network, other databases, extensions
    "SELECT * FROM 'http://127.0.0.1:{port}/x.csv'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM read_text('http://127.0.0.1:{port}/')",
    "SELECT * FROM read_parquet('hf://datasets/a/b/c.parquet')",
    "ATTACH '{dir}/x.duckdb'",
    "ATTACH '{pool}' AS again (READ_WRITE)",
    "ATTACH 'http://127.0.0.1:{port}/x.duckdb'",
    "DETACH pool",
    "USE memory",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs FROM 'http://127.0.0.1:{port}'",
    "LOAD httpfs",
    "LOAD '{secret}'",
    "SELECT * FROM sqlite_scan('{secret}', 'x')",
    "SELECT * FROM postgres_scan('host=127.0.0.1 port={port}', 'public', 'x')",
    "SELECT * FROM st_read('{secret}')",
    "SELECT * FROM iceberg_scan('{dir}')",
    "CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET 'y')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://bucket/x', 's3')",
    "SELECT * FROM duckdb_extensions()",
    # the process and the machine
    "SELECT * FROM OUTSIDE",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(1)",
    "SELECT * FROM python_map_function(1)",
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT x FROM (VALUES (1)) t(x) WHERE x::VARCHAR = current_setting('threads')",
    "FROM duckdb_settings()",
    "SELECT path FROM duckdb_databases",
    "FROM duckdb_temporary_files()",
    "FROM duckdb_memory()",
    "FROM duckdb_logs",
    "FROM pg_catalog.pg_settings",
    "FROM pragma_database_list",
    "FROM pragma_user_agent()",
    "FROM pragma_platform()",
    # settings
    "SET enable_external_access = true",
    "SET GLOBAL lock_configuration = false",
    "SET memory_limit = '100GB'",
    "SET threads = 1000",
    "SET temp_directory = '{dir}'",
    "RESET lock_configuration",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit = '100GB'",
    "PRAGMA profile_output = '{dir}/x'",
    "CALL enable_logging()",
    # the pool
    "INSERT INTO sample (qa_uid) VALUES ('x')",
    "INSERT INTO sample (qa_uid) VALUES ('x') RETURNING *",
    "MERGE INTO sample USING (SELECT 1) ON false WHEN MATCHED THEN DELETE",
    "UPDATE sample SET answer = 'x'",
    "DELETE FROM sample",
    "TRUNCATE sample",
    "DROP TABLE sample",
    "DROP VIEW candidate",
    "ALTER TABLE sample ADD COLUMN x INTEGER",
    "COMMENT ON TABLE sample IS 'x'",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE OR REPLACE MACRO temporal_of(a, b) AS 1",
    "CREATE INDEX i ON sample (qa_uid)",
    "WITH d AS (DELETE FROM sample RETURNING *) SELECT * FROM d",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "SELECT * FROM force_checkpoint()",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    # more than one statement
    "SELECT 1; COPY sample TO '{dir}/x.csv'",
    "SELECT 1; SET threads = 1; SELECT 2",
    "SELECT 1;; DROP TABLE sample",
    "SELECT 1 /* ; */ ; DELETE FROM sample -- ;",
]
"""Must be refused before anything is done."""

ENDLESS = [
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION SELECT x + 1 FROM r) SELECT count(*) FROM r",
    "SELECT count(*) FROM sample a, sample b, sample c WHERE hash(a.qa_uid || b.qa_uid || c.qa_uid) = 0",
    "SELECT a.qa_uid FROM sample a, sample b, sample c, sample d",
    "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE random() < 0",
    "SELECT sum(hash(range)) FROM range(1000000000000)",
    "SELECT count(*) FROM generate_series(TIMESTAMP '1900-01-01', TIMESTAMP '9999-01-01', INTERVAL '1 ms')",
    # single calls, which DuckDB does not stop at an interrupt
    "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
    "SELECT damerau_levenshtein(repeat('a', 20000), repeat('b', 10000000))",
    "SELECT jaro_similarity(repeat('a', 2000000), repeat('ab', 1000000))",
]
"""Must be ended by the time limit."""

GREEDY = [
    "SELECT list(range) FROM range(2000000000)",
    "SELECT count(DISTINCT range::VARCHAR) FROM range(3000000000)",
    "SELECT string_agg(repeat('x', 1000000), '') FROM range(100000)",
    "SELECT list(repeat('x', 1000)) IS NULL FROM range(300000000)",
    "SELECT len(range(100000000000))",
    "SELECT len(generate_series(1, 400000000))",
    "SELECT len(list_resize([1], 100000000000))",
    "SELECT length(repeat('x', 4000000000))",
    "SELECT length(repeat(repeat('x', 1000000), 3900))",
    "SELECT length(printf('%2000000000d', 1)) + length(printf('%2000000001d', 1))",
    "SELECT length(replace(repeat('a', 10000000), 'a', repeat('b', 400)))",
    "SELECT length(array_to_string(range(100000000), repeat('x', 1000)))",
    "SELECT len(string_split(repeat('a', 300000000), ''))",
    "SELECT count(*) FROM json_each('[' || repeat('1,', 300000000) || '1]')",
    "SELECT list_reduce(list_transform(range(300000), lambda x: repeat('x', 2000)), lambda a, b: a || b)",
    "WITH RECURSIVE r AS (SELECT repeat('x', 1000) AS x UNION ALL SELECT x || x FROM r) "
    "SELECT max(length(x)) FROM r",
]
"""Must be ended by the time limit or for want of memory, whichever comes first."""
