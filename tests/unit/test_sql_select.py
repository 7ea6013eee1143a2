"""Druid's SELECT on DuckDB: answers that Druid documents, refusals that name what is refused."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.seams import QueryRefused
from gateway.sql.duck import close_off, refusal
from gateway.sql.names import decode
from gateway.sql.select import translate

ROWS = """
CREATE TABLE t AS SELECT * FROM (VALUES
  (TIMESTAMP '2013-01-01 10:07:00', 1::BIGINT, 'x', 1.5::DOUBLE, ['p', 'q'],
   '{"k": {"z": 5}, "s": "str"}'::JSON),
  (TIMESTAMP '2013-01-02 11:00:00', NULL, 'Yy', -2.5, [], NULL),
  (TIMESTAMP '2013-01-03 12:00:00', 3, NULL, NULL, NULL, NULL)
) v(__time, a, b, d, arr, j)
"""


at = datetime.fromisoformat


def relation(schema: str, name: str) -> str:
    if (schema, name) != ("druid", "t"):
        raise QueryRefused(f"Object '{name}' not found")
    return "(SELECT * FROM main.t)"


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(ROWS)
        close_off(connection, None)
        yield connection


def rows(duck: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    try:
        return duck.execute(translate(sql, relation)).fetchall()
    except duckdb.Error as error:
        raise refusal(error) from error


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("7.0 / 2", 3.5),
        ("a / 2", 0),
        ("1 / 0", None),
        ("MOD(7, 2)", 1),
        ("7 % 2", 1),
        ("DIV(7, 2)", 3),
        ("CAST(d AS BIGINT)", 1),
        ("CAST(-1.9 AS BIGINT)", -1),
        ("CAST('1.9' AS BIGINT)", 1),
        ("CAST('9223372036854775807' AS BIGINT)", 2**63 - 1),
        ("CAST('abc' AS BIGINT)", None),
        ("CAST(__time AS BIGINT)", 1357034820000),
        ("CAST(1357034820000 AS TIMESTAMP)", at("2013-01-01T10:07")),
        ("CAST(LOWER(CONCAT('1', '.', '9')) AS INTEGER)", 1),
        ("CAST(a AS VARCHAR) || '!'", "1!"),
        ("CONCAT(b, '-', a)", "x-1"),
        ("CONCAT(b, NULL)", None),
        ("b || NULL", None),
        ("SUBSTRING('abc', 2, 1)", "b"),
        ("SUBSTRING('abc' FROM 2)", "bc"),
        ("TRIM(BOTH 'x' FROM 'xax')", "a"),
        ("TRIM('  a ')", "a"),
        ("POSITION('c' IN 'abc')", 3),
        ("LPAD('7', 3, '0')", "007"),
        ("REGEXP_EXTRACT('foobar', 'o(b)a', 1)", "b"),
        ("REGEXP_EXTRACT('foobar', 'zzz')", None),
        ("REGEXP_LIKE('foobar', 'o+b')", True),
        ("CHAR_LENGTH('é☃')", 2),
        ("U&'fo\\00F6'", "foö"),
        ("'it''s'", "it's"),
        ("FLOOR(__time TO DAY)", at("2013-01-01T00:00")),
        ("CEIL(__time TO HOUR)", at("2013-01-01T11:00")),
        ("FLOOR(d)", 1.0),
        ("TIME_FLOOR(__time, 'PT1H')", at("2013-01-01T10:00")),
        ("TIME_FLOOR(__time, 'P1D', NULL, 'America/Los_Angeles')", at("2013-01-01T08:00")),
        ("TIME_SHIFT(__time, 'P1D', -1)", at("2012-12-31T10:07")),
        ("TIME_EXTRACT(__time, 'HOUR')", 10),
        ("EXTRACT(DOW FROM TIMESTAMP '2013-01-06 00:00:00')", 7),
        ("EXTRACT(EPOCH FROM __time)", 1357034820),
        ("TIME_FORMAT(__time, 'yyyy/MM/dd HH')", "2013/01/01 10"),
        ("TIME_FORMAT(__time)", "2013-01-01T10:07:00.000Z"),
        ("TIME_PARSE('2013-01-01T12:00:00+02:00')", at("2013-01-01T10:00")),
        ("TIME_PARSE('31/01/2013', 'dd/MM/yyyy')", at("2013-01-31T00:00")),
        ("TIME_IN_INTERVAL(__time, '2013-01-01/P1D')", True),
        ("TIMESTAMPADD(MONTH, 1, __time)", at("2013-02-01T10:07")),
        ("TIMESTAMPDIFF(HOUR, __time, TIMESTAMP '2013-01-02 00:00:00')", 13),
        ("__time + INTERVAL '1' DAY", at("2013-01-02T10:07")),
        ("MILLIS_TO_TIMESTAMP(0)", at("1970-01-01T00:00")),
        ("TIMESTAMP_TO_MILLIS(__time)", 1357034820000),
        ("CURRENT_TIMESTAMP > __time", True),
        ("GREATEST(1, 3, 2)", 3),
        ("COALESCE(NULL, 5)", 5),
        ("NVL(NULL, 5)", 5),
        ("NULLIF(1, 1)", None),
        ("SAFE_DIVIDE(1, 0)", None),
        ("ROUND(2.5)", 3.0),
        ("TRUNCATE(-2.7)", -2.0),
        ("TRUNCATE(2.789, 1)", 2.7),
        ("CASE WHEN a = 1 THEN 'one' ELSE 'more' END", "one"),
        ("CASE a WHEN 2 THEN 'two' END", None),
        ("a BETWEEN 1 AND 2", True),
        ("b IN ('x', 'y')", True),
        ("b NOT IN ('x')", False),
        ("b LIKE '!%' ESCAPE '!'", False),
        ("a IS NOT DISTINCT FROM NULL", False),
        ("NOT (a = 1)", False),
        ("JSON_VALUE(j, '$.k.z')", "5"),
        ("JSON_VALUE(j, '$.k.z' RETURNING BIGINT)", 5),
        ("JSON_VALUE(j, '$.k')", None),
        ("ARRAY_OFFSET(arr, 0)", "p"),
        ("ARRAY_OFFSET(arr, -1)", None),
        ("ARRAY_ORDINAL(arr, 2)", "q"),
        ("ARRAY_LENGTH(arr)", 2),
        ("ARRAY_CONTAINS(arr, 'q')", True),
        ("ARRAY_CONTAINS(arr, ARRAY['p', 'zz'])", False),
        ("ARRAY_TO_STRING(arr, '+')", "p+q"),
        ("(SELECT MAX(a) FROM t)", 3),
        ("EXISTS (SELECT 1 FROM t WHERE a = 9)", False),
    ],
)
def test_expressions_mean_what_druid_documents(
    duck: duckdb.DuckDBPyConnection, expression: str, value: Any
) -> None:
    found = rows(duck, f"SELECT {expression} FROM t ORDER BY __time LIMIT 1")
    assert found == [(value,)]
    assert type(found[0][0]) is type(value)


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ("COUNT(*)", 3),
        ("COUNT(a)", 2),
        ("COUNT(DISTINCT b)", 2),
        ("SUM(a)", 4),
        ("SUM(a) FILTER (WHERE a > 1)", 3),
        ("AVG(a)", 2),
        ("AVG(d)", -0.5),
        ("AVG(d) FILTER (WHERE d > 0)", 1.5),
        ("MIN(b)", "Yy"),
        ("EARLIEST(b)", "x"),
        ("LATEST(a)", 3),
        ("LATEST(b, 1024)", "Yy"),
        ("LATEST_BY(d, a)", 1.5),
        ("APPROX_COUNT_DISTINCT(b)", 2),
        ("STRING_AGG(b, ',')", "x,Yy"),
        ("SUM(1) FILTER (WHERE FALSE)", None),
    ],
)
def test_aggregates_mean_what_druid_documents(
    duck: duckdb.DuckDBPyConnection, aggregate: str, value: Any
) -> None:
    assert rows(duck, f"SELECT {aggregate} FROM t") == [(value,)]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT b, COUNT(*) FROM t GROUP BY 1 HAVING COUNT(*) > 0 ORDER BY 1", 3),
        ("SELECT a, b FROM t GROUP BY GROUPING SETS ((a), (b), ())", 7),
        ("SELECT a, b FROM t GROUP BY ROLLUP (a, b)", 7),
        ("SELECT DISTINCT a FROM t WHERE a IS NOT NULL", 2),
        ("WITH c AS (SELECT b FROM t), e(z) AS (SELECT b FROM c) SELECT z FROM e", 3),
        ("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 2 ORDER BY 1 LIMIT 2", 2),
        ("SELECT x.a FROM t AS x JOIN t y ON x.a = y.a LEFT JOIN t z ON z.a = x.a", 2),
        ("SELECT t.a, u.a FROM t, t u", 9),
        ("SELECT b, u.x FROM t CROSS JOIN UNNEST(arr) AS u(x)", 2),
        ("SELECT x + 1 FROM (VALUES (1, 'a'), (2, 'b')) AS v(x, y)", 2),
        ('SELECT "druid".t.a FROM "druid"."t"', 3),
        ("SELECT a FROM t OFFSET 1 ROWS FETCH NEXT 5 ROWS ONLY", 2),
        ("SELECT * FROM (SELECT a FROM t)", 3),
        ("SELECT b, ROW_NUMBER() OVER (PARTITION BY a ORDER BY __time) FROM t", 3),
        ("SELECT SUM(d) OVER (ORDER BY __time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t", 3),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM t WHERE a = 1)", 1),
    ],
)
def test_clauses_give_the_rows_they_should(
    duck: duckdb.DuckDBPyConnection, sql: str, found: int
) -> None:
    assert len(rows(duck, sql)) == found


def test_nulls_are_the_lowest_values(duck: duckdb.DuckDBPyConnection) -> None:
    assert rows(duck, "SELECT a FROM t ORDER BY a") == [(None,), (1,), (3,)]
    assert rows(duck, "SELECT a FROM t ORDER BY a DESC") == [(3,), (1,), (None,)]
    assert rows(duck, "SELECT a FROM t ORDER BY a NULLS LAST") == [(1,), (3,), (None,)]


def test_columns_without_a_name_are_numbered_as_in_druid(
    duck: duckdb.DuckDBPyConnection,
) -> None:
    cursor = duck.execute(
        translate('SELECT a, 1, t.b, COUNT(*) AS "C" FROM t GROUP BY 1, 3', relation)
    )
    names = [decode(column[0]) for column in cursor.description]
    assert names == ["a", "EXPR$1", "b", "C"]


def test_names_are_told_apart_by_case(duck: duckdb.DuckDBPyConnection) -> None:
    assert rows(duck, 'SELECT "A", "a" FROM (SELECT 1 AS "A", 2 AS "a")') == [(1, 2)]
    with pytest.raises(QueryRefused, match="Column 'A' not found in any table"):
        rows(duck, "SELECT A FROM t")


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT NO_SUCH(1) FROM t", "NO_SUCH"),
        ("SELECT read_text('/etc/passwd')", "READ_TEXT"),
        ("SELECT \"getenv\"('HOME')", "GETENV"),
        ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ('SELECT * FROM "/etc/passwd"', "Object '/etc/passwd' not found"),
        ("SELECT * FROM information_schema.tables", "not found"),
        ("SELECT * FROM main.t", "not found"),
        ("SELECT * FROM TABLE(EXTERN('{}', '{}'))", "TABLE"),
        ("SELECT DS_HLL(a) FROM t", "DS_HLL"),
        ("SELECT a FROM t UNION SELECT 1", "UNION"),
        ("SELECT a FROM t INTERSECT SELECT 1", "INTERSECT"),
        ("SELECT a FROM t TABLESAMPLE (10)", "sample"),
        ("SELECT a FROM t QUALIFY 1 = 1", "QUALIFY"),
        ("SELECT a FROM t FOR UPDATE", "FOR UPDATE"),
        ("SELECT a FROM t NATURAL JOIN t", "method"),
        ("SELECT a FROM t LIMIT a", "LIMIT"),
        ("SELECT ROW_NUMBER() FROM t", "OVER"),
        ("SELECT LOWER(b) FILTER (WHERE TRUE) FROM t", "LOWER"),
        ("SELECT LOWER(b, b) FROM t", "1 argument"),
        ("SELECT TIME_FLOOR(__time, b) FROM t", "string literal"),
        ("SELECT TIME_FLOOR(__time, 'P1X') FROM t", "P1X"),
        ("SELECT FLOOR(__time TO FORTNIGHT) FROM t", "FORTNIGHT"),
        ("SELECT CAST(a AS UUID) FROM t", "UUID"),
        ("SELECT b ILIKE 'x' FROM t", "ILIKE"),
        ("SELECT b SIMILAR TO 'x' FROM t", "SIMILAR TO"),
        ("SELECT ? FROM t", "parameter"),
        ("SELECT a FROM t WHERE a =", "line [1]"),
        ("SELECT 'open FROM t", "cannot be read"),
        ("SELECT 1; DROP TABLE t", "one statement"),
        ("INSERT INTO t SELECT 1", "only a SELECT"),
        ("COPY t TO '/tmp/x'", "only a SELECT"),
        ("SELECT x.a FROM t", "x"),
        ("SELECT a FROM nope", "Object 'nope' not found"),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_name(
    duck: duckdb.DuckDBPyConnection, sql: str, named: str
) -> None:
    with pytest.raises(QueryRefused) as refused:
        rows(duck, sql)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "+".join(["1"] * 20_000),
        "SELECT '" + "x" * 2_000_000 + "'",
    ],
)
def test_a_statement_that_is_too_much_is_refused(sql: str) -> None:
    with pytest.raises(QueryRefused):
        translate(sql, relation)


def test_a_thousand_conditions_fit(duck: duckdb.DuckDBPyConnection) -> None:
    conditions = " OR ".join(f"a = {n}" for n in range(1000))
    assert rows(duck, f"SELECT COUNT(*) FROM t WHERE {conditions}") == [(2,)]


def test_nested_casts_do_not_explode() -> None:
    text = "d"
    for _ in range(12):
        text = f"CAST({text} AS BIGINT)"
    assert len(translate(f"SELECT {text} FROM t", relation)) < 20_000


def test_any_text_as_a_literal_or_a_name_stays_data(duck: duckdb.DuckDBPyConnection) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)

    @settings(max_examples=200, deadline=None)
    @given(text, text.filter(bool))
    def stays(value: str, name: str) -> None:
        quoted, named = value.replace("'", "''"), name.replace('"', '""')
        assert rows(duck, f"SELECT '{quoted}' AS \"{named}\" FROM t LIMIT 1") == [(value,)]

    stays()


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("SELECT FROM t a,*()'\";-1<>=[]{}?:.|&%\n"), max_size=60))
def test_no_text_brings_out_another_exception(text: str) -> None:
    try:
        translate("SELECT " + text, relation)
    except QueryRefused:
        return


def test_duckdb_is_closed_to_files_and_stays_closed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    (inside / "rows.json").write_text('{"a": 1}\n')
    outside.write_text('{"a": 1}\n')
    with duckdb.connect() as connection:
        close_off(connection, inside)
        cursor = connection.cursor()
        assert cursor.execute(f"SELECT a FROM read_json('{inside}/rows.json')").fetchone() == (1,)
        for text in (
            f"SELECT * FROM read_json('{outside}')",
            f"SELECT * FROM read_text('{inside}/../out')",
            f"COPY (SELECT 1) TO '{tmp_path}/new.csv'",
            f"ATTACH '{tmp_path}/new.duckdb'",
            "SET enable_external_access = true",
            "SET allowed_directories = ['/']",
            "INSTALL httpfs",
            "SELECT * FROM inside",
        ):
            with pytest.raises(duckdb.Error):
                cursor.execute(text)
