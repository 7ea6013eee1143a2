"""Names in a pull query: declared ones resolve, all other text stays byte for byte."""

import duckdb
import pytest

from protocol.errors import BadStatement
from protocol.names import DeclaredNames, Origin, resolve_names, resolve_query

FLIGHTS = DeclaredNames(
    name="FLIGHTS",
    datasource="flights",
    columns=("TS", "YEAR", "ORIGIN", "DISTANCE"),
    stored=("TS", "year", "origin", "DISTANCE"),
    time_column="TS",
)
AIRLINES = DeclaredNames(
    name="air lines",
    datasource='air"lines',
    columns=("ORIGIN", "Full Name"),
    stored=("ORIGIN", "full name"),
)
WIDE = DeclaredNames(
    name="wide",
    datasource="wide",
    columns=tuple(f"COLUMN{n}" for n in range(100)),
    stored=tuple(f"COLUMN{n}" for n in range(100)),
)
DECLARED = {one.name: one for one in (FLIGHTS, AIRLINES, WIDE)}
ALL = '"__time" AS "TS", "year" AS "YEAR", "origin" AS "ORIGIN", "DISTANCE"'

RESOLVED = [
    ("SELECT * FROM flights", f'SELECT {ALL} FROM "flights"'),
    ("SELECT DISTINCT * FROM FLIGHTS LIMIT 3", f'SELECT DISTINCT {ALL} FROM "flights" LIMIT 3'),
    (
        "SELECT f.*, 1 FROM flights AS f",
        'SELECT f."__time" AS "TS", f."year" AS "YEAR", f."origin" AS "ORIGIN", f."DISTANCE", 1 '
        'FROM "flights" AS f',
    ),
    (
        "SELECT origin, COUNT(*) c FROM flights GROUP BY origin ORDER BY origin",
        'SELECT "origin" AS "ORIGIN", COUNT(*) c FROM "flights" GROUP BY "origin" '
        'ORDER BY "origin"',
    ),
    (
        "SELECT ts t, distance, `ORIGIN` AS o FROM flights WHERE YEAR = 2013",
        'SELECT "__time" t, "DISTANCE", "origin" AS o FROM "flights" WHERE "year" = 2013',
    ),
    (
        "SELECT FLOOR(ts TO YEAR), EXTRACT(YEAR FROM ts), year FROM flights "
        "WHERE ts > TIMESTAMP '2013-01-01' - INTERVAL '1' YEAR",
        'SELECT FLOOR("__time" TO YEAR), EXTRACT(YEAR FROM "__time"), "year" AS "YEAR" '
        "FROM \"flights\" WHERE \"__time\" > TIMESTAMP '2013-01-01' - INTERVAL '1' YEAR",
    ),
    (
        "SELECT flights.origin, Flights.ts FROM flights",
        'SELECT "flights"."origin" AS "ORIGIN", "flights"."__time" AS "TS" FROM "flights"',
    ),
    (
        "SELECT F.origin, a.`Full Name` FROM flights f JOIN `air lines` a ON f.origin = A.origin",
        'SELECT f."origin" AS "ORIGIN", a."full name" AS "Full Name" FROM "flights" f '
        'JOIN "air""lines" a ON f."origin" = a."ORIGIN"',
    ),
    (
        'SELECT origin FROM flights JOIN "air lines" USING (origin)',
        'SELECT "origin" AS "ORIGIN" FROM "flights" JOIN "air""lines" USING ("origin")',
    ),
    (
        "SELECT origin, x.ts, n FROM (SELECT *, 1 AS n FROM flights) x",
        f'SELECT "ORIGIN", x."TS", n FROM (SELECT {ALL}, 1 AS n FROM "flights") x',
    ),
    (
        "WITH flights AS (SELECT origin FROM flights) SELECT origin FROM flights",
        'WITH flights AS (SELECT "origin" AS "ORIGIN" FROM "flights") SELECT "ORIGIN" FROM flights',
    ),
    (
        "WITH flights(a) AS (SELECT 1) SELECT origin FROM flights",
        "WITH flights(a) AS (SELECT 1) SELECT origin FROM flights",
    ),
    (
        "SELECT ts FROM flights UNION ALL SELECT ts FROM flights ORDER BY ts",
        'SELECT "__time" AS "TS" FROM "flights" UNION ALL SELECT "__time" AS "TS" '
        'FROM "flights" ORDER BY "TS"',
    ),
    (
        "SELECT UPPER(origin) AS origin, year AS y FROM flights ORDER BY Origin, distance",
        'SELECT UPPER("origin") AS origin, "year" AS y FROM "flights" ORDER BY origin, "DISTANCE"',
    ),
    (
        "SELECT origin FROM t WHERE origin IN (SELECT origin FROM flights)",
        'SELECT origin FROM t WHERE origin IN (SELECT "origin" AS "ORIGIN" FROM "flights")',
    ),
    (
        "SELECT COUNT(*) FILTER (WHERE origin='origin') OVER (), "
        "SUM(distance) OVER (PARTITION BY origin ORDER BY ts) FROM flights",
        "SELECT COUNT(*) FILTER (WHERE \"origin\"='origin') OVER (), "
        'SUM("DISTANCE") OVER (PARTITION BY "origin" ORDER BY "__time") FROM "flights"',
    ),
    (
        "SELECT CASE WHEN origin IS NULL THEN 1 ELSE year END origin, CAST(ts AS VARCHAR) "
        "FROM flights /* flights */ -- origin",
        'SELECT CASE WHEN "origin" IS NULL THEN 1 ELSE "year" END origin, '
        'CAST("__time" AS VARCHAR) FROM "flights" /* flights */ -- origin',
    ),
    (
        "SELECT a.origin FROM flights a, flights b WHERE a.ts IS NOT DISTINCT FROM b.ts",
        'SELECT a."origin" AS "ORIGIN" FROM "flights" a, "flights" b '
        'WHERE a."__time" IS NOT DISTINCT FROM b."__time"',
    ),
    # Druid's own names of a declared stream's columns are read by Druid.
    ('SELECT "origin", "__time" FROM flights', 'SELECT "origin", "__time" FROM "flights"'),
]


@pytest.mark.parametrize(("sql", "expected"), RESOLVED)
def test_declared_names_become_the_datasources(sql: str, expected: str) -> None:
    assert resolve_names(sql, DECLARED.get) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT origin, ts FROM undeclared WHERE year > 1 -- FROM flights",
        'SELECT * FROM "flights"',
        "SELECT ts FROM druid.flights",
        "SELECT ts FROM TABLE(EXTERN('a', 'b')) EXTEND (ts VARCHAR)",
        "SELECT cnt FROM (SELECT COUNT(*) AS CNT FROM t) ORDER BY Cnt",
        "SELECT * FROM flights)",
        "SELECT (1",
        "EXPLAIN PLAN FOR x",
        "FROM flights",
        "",
    ],
)
def test_all_other_text_stays_byte_for_byte(sql: str) -> None:
    assert resolve_names(sql, DECLARED.get) == sql


def test_back_ticks_become_the_double_quotes_that_druid_reads() -> None:
    sql = "SELECT `a``b`, `say \"hi\"` FROM `my data` WHERE x = '`'"
    expected = 'SELECT "a`b", "say ""hi""" FROM "my data" WHERE x = \'`\''
    assert resolve_names(sql, DECLARED.get) == expected


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT * FROM flights", ("TS", "YEAR", "ORIGIN", "DISTANCE")),
        ("SELECT origin o, COUNT(*), f.ts FROM flights f", ("ORIGIN", None, "TS")),
        ("SELECT ts, n FROM (SELECT ts, 1 n FROM flights)", ("TS", None)),
        ("WITH q AS (SELECT * FROM flights) SELECT *, 1 FROM q", (*FLIGHTS.columns, None)),
        ("SELECT a FROM t", (None,)),
        ("SELECT * FROM t", None),
        ("SELECT ts FROM flights UNION ALL SELECT ts FROM flights", None),
    ],
)
def test_the_origin_of_each_plain_column_is_told(
    sql: str, columns: tuple[str | None, ...] | None
) -> None:
    resolved = resolve_query(sql, DECLARED.get)
    if columns is None:
        assert resolved.outputs is None
    else:
        origins = tuple(Origin("FLIGHTS", name) if name else None for name in columns)
        assert resolved.outputs == origins


def test_the_declared_streams_that_a_query_reads_are_told() -> None:
    sql = 'SELECT 1 FROM flights a, t JOIN "air lines" ON 1=1 WHERE x IN (SELECT 1 FROM flights)'
    assert set(resolve_query(sql, DECLARED.get).sources) == {FLIGHTS, AIRLINES}
    assert resolve_query("SELECT 1 FROM t", DECLARED.get).sources == ()


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT origin FROM flights, `air lines`", "Column 'ORIGIN' is ambiguous"),
        ("SELECT 'a FROM flights", "never ends"),
        ("SELECT " + "(" * 200 + ")" * 200, "Nested deeper"),
        ("SELECT 1 FROM " + ",".join(["t"] * 300), "more than 200 sources"),
        ("SELECT " + ",".join(["*"] * 20_000) + " FROM flights", "grows too long"),
        (
            "WITH a0 AS (SELECT * FROM `wide`), "
            + ", ".join(f"a{n} AS (SELECT * FROM a{n - 1})" for n in range(1, 2_000))
            + " SELECT 1",
            "grows too long",
        ),
    ],
)
def test_what_cannot_be_resolved_is_refused(sql: str, problem: str) -> None:
    with pytest.raises(BadStatement, match=problem):
        resolve_names(sql, DECLARED.get)


def test_the_resolved_text_is_sql_that_an_engine_runs() -> None:
    with duckdb.connect() as engine:
        engine.execute(
            'CREATE TABLE "flights" AS SELECT TIMESTAMP \'2013-01-01\' AS "__time", '
            '2013 AS "year", \'EWR\' AS "origin", 1.5 AS "DISTANCE", \'b1\' AS "_batch"'
        )
        engine.execute("CREATE TABLE t AS SELECT 'EWR' AS origin, 1 AS x")
        engine.execute(
            'CREATE TABLE "air""lines" AS SELECT \'EWR\' AS "ORIGIN", \'n\' AS "full name"'
        )
        for sql, _ in RESOLVED:
            runs = "FLOOR(" not in sql and "(a)" not in sql  # DuckDB's FLOOR has no TO
            if runs:
                text = resolve_names(sql, DECLARED.get)
                assert len(engine.execute(text).fetchall()) >= 1
        star = engine.execute(resolve_names("SELECT * FROM flights", DECLARED.get))
        assert [column[0] for column in star.description or ()] == list(FLIGHTS.columns)
