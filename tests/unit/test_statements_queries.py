"""What a text posted to /query-stream is."""

import pytest

from protocol.errors import BadStatement
from protocol.statements import PullQuery, PushQueryText, parse_query


def refused(text: str) -> BadStatement:
    with pytest.raises(BadStatement) as caught:
        parse_query(text)
    assert caught.value.code == 40001
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "select * from foo where rowkey='1234'",
        '  SELECT "a;b" /* ; */ FROM `t`  -- ;\n',
        "WITH q AS (SELECT 1) SELECT * FROM q",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT emit changes FROM t",
        "SELECT t.emit changes FROM t",
        "SELECT * FROM emit changes",
        "SELECT 'EMIT CHANGES' FROM t",
        "SELECT * FROM t -- EMIT CHANGES",
    ],
)
def test_a_pull_query_keeps_its_text_up_to_the_semicolon(sql: str) -> None:
    assert parse_query(sql) == PullQuery(sql)
    if "-- EMIT" not in sql:
        assert parse_query(sql + ";") == PullQuery(sql)
        assert parse_query(sql + "; -- done\n") == PullQuery(sql)


@pytest.mark.parametrize(
    ("text", "sql", "source"),
    [
        ("SELECT * FROM s EMIT CHANGES;", "SELECT * FROM s", "s"),
        (
            "select a from s where a>1 emit changes limit 2;",
            "select a from s where a>1  limit 2",
            "s",
        ),
        ("SELECT a FROM `S x` EMIT CHANGES WHERE a>1;", "SELECT a FROM `S x`  WHERE a>1", "`S x`"),
        ('SELECT * FROM a."b" x EMIT\nCHANGES', 'SELECT * FROM a."b" x', 'a."b"'),
        ("SELECT * FROM s /*1*/ EMIT /*2*/ CHANGES /*3*/;", "SELECT * FROM s /*1*/  /*3*/", "s"),
        ("SELECT * FROM s -- all\n EMIT CHANGES;", "SELECT * FROM s -- all", "s"),
        (
            "SELECT a IS DISTINCT FROM b AS d FROM s EMIT CHANGES;",
            "SELECT a IS DISTINCT FROM b AS d FROM s",
            "s",
        ),
        ("SELECT * FROM (SELECT 1) EMIT CHANGES;", "SELECT * FROM (SELECT 1)", None),
    ],
)
def test_emit_changes_is_cut_out_by_its_place(text: str, sql: str, source: str | None) -> None:
    assert parse_query(text) == PushQueryText(sql, source)


def test_variables_are_filled_into_a_query() -> None:
    query = parse_query("select * from ${name} where a='${name}';", {"name": "foo"})
    assert query == PullQuery("select * from foo where a='foo'")


@pytest.mark.parametrize(("text", "count"), [("SELECT 1; SELECT 2;", 2), ("", 0), ("-- a", 0)])
def test_there_is_exactly_one_statement(text: str, count: int) -> None:
    message = f"Expected exactly one KSQL statement; found {count} instead"
    assert refused(text).message == message


@pytest.mark.parametrize(
    "text", ["CREATE STREAM a AS SELECT * FROM b EMIT CHANGES;", "list streams;", "INSERT INTO a"]
)
def test_another_statement_is_neither_a_query_nor_print(text: str) -> None:
    assert refused(text).message == "Neither a query nor a print statement"


def test_print_is_refused_with_what_to_do_instead() -> None:
    assert "EMIT CHANGES" in refused("PRINT t FROM BEGINNING;").message


def test_a_mistyped_query_is_told_so_even_among_several() -> None:
    expected = "line 1:1: Syntax Error\nUnknown statement 'SLECTT'\nDid you mean 'SELECT'?"
    assert refused("SLECTT * from t EMIT CHANGES;").message == expected
    assert refused("SLECTT 1; SELECT 2;").message == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT * FROM (SELECT * FROM s EMIT CHANGES) x;", "line 1:32: Syntax Error"),
        ("SELECT * FROM s EMIT CHANGES EMIT CHANGES;", "belongs once at the end"),
        ("SELECT * FROM s EMIT CHANGES GROUP BY a;", "found 'GROUP'"),
        ("SELECT * FROM s GROUP BY a EMIT FINAL;", "EMIT FINAL is not supported"),
        ("WITH q AS (SELECT 1) SELECT * FROM q EMIT CHANGES;", "a single SELECT"),
    ],
)
def test_emit_where_it_does_not_belong_is_refused(text: str, problem: str) -> None:
    assert problem in refused(text).message
