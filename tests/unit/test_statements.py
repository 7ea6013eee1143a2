"""Statements of /ksql: what is read, what is refused, and in which words."""

import pytest

from protocol.errors import BadStatement, QueryOnKsql
from protocol.statements import (
    CreateSource,
    Describe,
    DropSource,
    ListProperties,
    ListQueries,
    ListSources,
    ListTopics,
    SetProperty,
    Statement,
    Terminate,
    UnsetProperty,
    parse_statements,
)
from protocol.types import BIGINT, STRING, Column, parse_type


def only(text: str) -> Statement:
    (statement,) = parse_statements(text)
    return statement


def refused(text: str) -> BadStatement:
    with pytest.raises(BadStatement) as caught:
        parse_statements(text)
    return caught.value


def test_a_create_statement_is_read_with_columns_keys_types_and_properties() -> None:
    text = """CREATE OR REPLACE STREAM IF NOT EXISTS `Orders` ( -- the orders
        id VARCHAR KEY, amount DECIMAL(10, 2),
        "Tags" ARRAY<STRUCT<name STRING, /* inner */ n MAP<STRING, INT>>>
    ) WITH (kafka_topic = 'it''s', "partitions"=3, wrap = -1.5, value_format=json, ok=true);"""
    assert only(text) == CreateSource(
        text=text,
        kind="STREAM",
        name="Orders",
        columns=(
            Column("ID", STRING, key=True),
            Column("AMOUNT", parse_type("DECIMAL(10,2)")),
            Column("Tags", parse_type("ARRAY<STRUCT<NAME STRING, N MAP<STRING, INTEGER>>>")),
        ),
        properties={
            "KAFKA_TOPIC": "it's",
            "PARTITIONS": "3",
            "WRAP": "-1.5",
            "VALUE_FORMAT": "json",
            "OK": "true",
        },
        or_replace=True,
        if_not_exists=True,
    )


def test_a_table_has_a_primary_key_and_a_stream_a_key() -> None:
    table = only("create table t (k BIGINT PRIMARY KEY, v STRING);")
    assert isinstance(table, CreateSource)
    assert table.columns == (Column("K", BIGINT, key=True), Column("V", STRING))
    assert "PRIMARY KEY" in refused("CREATE STREAM s (k INT PRIMARY KEY);").message
    assert "PRIMARY KEY" in refused("CREATE TABLE t (k INT KEY);").message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DROP STREAM s;", DropSource(text="DROP STREAM s;", kind="STREAM", name="S")),
        (
            "drop table if exists `t` delete topic;",
            DropSource(
                text="drop table if exists `t` delete topic;",
                kind="TABLE",
                name="t",
                if_exists=True,
                delete_topic=True,
            ),
        ),
        ("list streams;", ListSources(text="list streams;", kind="STREAM")),
        (
            "SHOW TABLES EXTENDED;",
            ListSources(text="SHOW TABLES EXTENDED;", kind="TABLE", extended=True),
        ),
        ("list topics;", ListTopics(text="list topics;")),
        ("SHOW ALL TOPICS;", ListTopics(text="SHOW ALL TOPICS;")),
        ("list queries;", ListQueries(text="list queries;")),
        ("LIST PROPERTIES EXTENDED;", ListProperties(text="LIST PROPERTIES EXTENDED;")),
        ("describe orders;", Describe(text="describe orders;", target="orders")),
        (
            'DESCRIBE "Or""ders" EXTENDED;',
            Describe(text='DESCRIBE "Or""ders" EXTENDED;', target='"Or""ders"', extended=True),
        ),
        ("DESCRIBE function;", Describe(text="DESCRIBE function;", target="function")),
        ("TERMINATE q_1;", Terminate(text="TERMINATE q_1;", query_id="q_1")),
        (
            "TERMINATE QUERY 5a0b-1e5c-9;",
            Terminate(text="TERMINATE QUERY 5a0b-1e5c-9;", query_id="5a0b-1e5c-9"),
        ),
        ("TERMINATE query;", Terminate(text="TERMINATE query;", query_id="query")),
        ("TERMINATE query-7;", Terminate(text="TERMINATE query-7;", query_id="query-7")),
        ("TERMINATE 'a b';", Terminate(text="TERMINATE 'a b';", query_id="a b")),
        ("TERMINATE ALL;", Terminate(text="TERMINATE ALL;", query_id=None)),
        ("SET 'a'='b';", SetProperty(text="SET 'a'='b';", name="a", value="b")),
        ("UNSET 'a';", UnsetProperty(text="UNSET 'a';", name="a")),
    ],
)
def test_each_statement_is_read(text: str, expected: Statement) -> None:
    assert only(text) == expected


def test_several_statements_keep_their_own_texts() -> None:
    text = "LIST STREAMS;\n-- then; this\nDESCRIBE `a;b` ; SET 'x'=';'"
    assert [one.text for one in parse_statements(text)] == [
        "LIST STREAMS;",
        "DESCRIBE `a;b` ;",
        "SET 'x'=';'",
    ]


def test_an_empty_text_holds_no_statement() -> None:
    assert parse_statements(" \n-- nothing\n/* at all */") == ()


def test_an_unknown_statement_is_named_with_its_place_and_the_nearest_word() -> None:
    error = refused("SLECTT * from t;")
    assert error.message == (
        "line 1:1: Syntax Error\nUnknown statement 'SLECTT'\nDid you mean 'SELECT'?"
    )
    assert error.code == 40001
    assert error.statement == "SLECTT * from t;"
    later = refused("LIST STREAMS;\n  CRETE STREAM s (a INT);")
    assert later.message.startswith("line 2:3: Syntax Error\nUnknown statement 'CRETE'")
    assert later.statement == "CRETE STREAM s (a INT);"


@pytest.mark.parametrize("text", ["SELECT 1;", "PRINT t;", "with a as (select 1) select 2;"])
def test_a_query_belongs_to_another_endpoint(text: str) -> None:
    with pytest.raises(QueryOnKsql) as caught:
        parse_statements(text)
    assert caught.value.code == 40002
    assert "/query-stream" in caught.value.message


@pytest.mark.parametrize(
    ("text", "named", "instead"),
    [
        ("INSERT INTO s SELECT * FROM t;", "INSERT INTO SELECT", "PARTITIONED BY DAY"),
        ("INSERT INTO s WITH q AS (SELECT 1) SELECT 2;", "INSERT INTO SELECT", "as a task"),
        ("CREATE STREAM a AS SELECT * FROM b;", "CREATE STREAM AS SELECT", "PARTITIONED BY"),
        ("CREATE TABLE a WITH (x='1') AS SELECT * FROM b;", "CREATE TABLE AS SELECT", "Druid"),
        ("CREATE SOURCE CONNECTOR c WITH ('a'='b');", "CREATE SOURCE CONNECTOR", "/inserts-stream"),
        (
            "CREATE SOURCE CONNECTOR IF NOT EXISTS c WITH ('a'='b');",
            "CREATE SOURCE CONNECTOR",
            "Druid's own ingestion",
        ),
        ("CREATE SINK CONNECTOR  c WITH ('a'='b');", "CREATE SINK CONNECTOR", "/inserts-stream"),
        ("CREATE SOURCE STREAM c (a INT);", "CREATE SOURCE", "leave the word SOURCE out"),
        ("CREATE TYPE t AS STRING;", "CREATE TYPE", "where the column is declared"),
        ("DROP TYPE t;", "DROP TYPE", "where the column is declared"),
        ("drop connector c;", "DROP CONNECTOR", "/inserts-stream"),
        ("describe connector c;", "DESCRIBE CONNECTOR", "/inserts-stream"),
        ("DESCRIBE FUNCTION abs;", "DESCRIBE FUNCTION", "LIST FUNCTIONS"),
        ("EXPLAIN CREATE STREAM s (a INT);", "EXPLAIN CREATE", "explain its SELECT"),
        ("TERMINATE CLUSTER;", "TERMINATE CLUSTER", "stop the gateway's process"),
        ("TERMINATE CLUSTER DELETE TOPICS ('a');", "TERMINATE CLUSTER", "no datasource is deleted"),
        ("PAUSE q;", "PAUSE", "continuation token"),
        ("RESUME ALL;", "RESUME", "continuation token"),
        ("ALTER STREAM s ADD COLUMN a INT;", "ALTER", "CREATE OR REPLACE"),
        ("ALTER SYSTEM 'a'='b';", "ALTER SYSTEM", "configuration"),
        ("ASSERT VALUES s (a) VALUES (1);", "ASSERT VALUES", "pull query"),
        ("RUN SCRIPT 'x.sql';", "RUN", "send the statements"),
    ],
)
def test_what_is_not_served_is_refused_with_what_to_do_instead(
    text: str, named: str, instead: str
) -> None:
    error = refused(text)
    assert error.code == 40001
    assert error.message.startswith(f"{named} is not supported by this gateway: ")
    assert instead in error.message
    assert error.statement == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (";", "line 1:1: Syntax Error\nExpected a statement, found ';'"),
        ("CREATE s;", "Expected STREAM or TABLE, found 's'"),
        ("CREATE STREAM;", "Expected the name of the stream, found the end of the statement"),
        ("CREATE STREAM s (a);", "line 1:19: Syntax Error\nExpected the type of the column"),
        ("CREATE STREAM s (a FLOAT);", "unknown type 'FLOAT'"),
        ("CREATE STREAM s (a INT HEADERS);", "rows here have none"),
        ("CREATE STREAM s (a INT, );", "Expected the name of a column, found ')'"),
        ("CREATE STREAM s (a INT", "Expected ',', found the end of the statement"),
        ("CREATE STREAM s (a INT) WITH (a='1', A='2');", "Property 'A' is given twice"),
        ("CREATE STREAM s (a INT) WITH (a=-'1');", "Expected a value"),
        ("CREATE STREAM s (a INT) junk;", "Expected the end of the statement, found 'junk'"),
        ("CREATE STREAM `` (a INT);", "unbalanced quotes"),
        ("DROP STREAM s DELETE;", "Expected the end of the statement, found 'DELETE'"),
        ("LIST EVERYTHING;", "found 'EVERYTHING'"),
        ("DESCRIBE 'x';", "Expected the name of a stream or table"),
        ("TERMINATE;", "Expected the id of a query"),
        ("LIST SOURCE;", "Expected STREAMS, TABLES, TOPICS"),
        ("EXPLAIN;", "Expected the id of a query"),
        ("DEFINE 'a' = 'b';", "Expected the name of a variable"),
        ("DEFINE a = b;", "in single quotes"),
        ("SET x = 'y';", "in single quotes"),
        ("LIST STREAMS 'x;", "A quote that is opened here never ends"),
        ("LIST /* STREAMS;", "A comment that is opened here never ends"),
    ],
)
def test_a_broken_statement_says_what_was_expected_and_where(text: str, problem: str) -> None:
    error = refused(text)
    assert error.message.startswith("line ")
    assert "Syntax Error" in error.message
    assert problem in error.message
    assert error.document()["@type"] == "statement_error"


def test_nothing_is_returned_of_a_text_whose_last_statement_is_broken() -> None:
    assert refused("LIST STREAMS; LIST NOTHING;").statement == "LIST NOTHING;"


def test_a_huge_text_is_refused_before_it_is_read() -> None:
    error = refused("LIST STREAMS;" * 30_000)
    assert "too long" in error.message
    assert len(error.statement) < 2_000
    assert "tokens" in refused("a " * 60_000).message


def test_quotes_that_never_end_are_told_in_time_linear_in_the_text() -> None:
    # A pattern that goes back over doubled quotes would take hours for this text.
    assert "never ends" in refused("LIST '" + "''" * 100_000).message
    assert "never ends" in refused("/*" + "*" * 200_000).message


# ── ${variables} ─────────────────────────────────────────────────────────────────────────────


def test_variables_are_filled_in_wherever_a_name_or_a_value_stands() -> None:
    (statement,) = parse_statements(
        "CREATE STREAM ${name} (a ${type}) "
        "WITH (kafka_topic='t-${Name}', partitions=${n}, x=${q});",
        {"name": "orders", "type": "BIGINT", "n": -3, "q": "'it''s'"},
    )
    assert isinstance(statement, CreateSource)
    assert statement.name == "ORDERS"
    assert statement.columns == (Column("A", BIGINT),)
    assert statement.properties == {
        "KAFKA_TOPIC": "t-orders",
        "PARTITIONS": "-3",
        "X": "it's",
    }
    assert statement.text.startswith("CREATE STREAM orders (a BIGINT)")


def test_a_value_cannot_end_the_quotes_that_it_stands_in() -> None:
    (statement,) = parse_statements("SET 'a'='${v}';", {"v": "'; DROP STREAM s; --"})
    assert statement == SetProperty(
        text="SET 'a'='''; DROP STREAM s; --';", name="a", value="'; DROP STREAM s; --"
    )
    (described,) = parse_statements("DESCRIBE `${v}`;", {"v": "a`b"})
    assert described == Describe(text="DESCRIBE `a``b`;", target="`a``b`")


@pytest.mark.parametrize(
    "value", ["s; DROP STREAM t", "a b", "", "a--", "'", "-x", "(", "${n}", "a.b", {"k": 1}]
)
def test_a_value_out_of_quotes_is_one_name_number_or_string(value: object) -> None:
    if value == "a--":
        # What a value hides in a comment is left out, and cannot hide the rest of the statement.
        (statement,) = parse_statements("DESCRIBE ${v} EXTENDED;", {"v": value})
        assert statement == Describe(text="DESCRIBE a EXTENDED;", target="a", extended=True)
        return
    with pytest.raises(BadStatement) as caught:
        parse_statements("DESCRIBE ${v};", {"v": value})
    assert "variable 'v'" in caught.value.message


def test_a_variable_without_a_value_stays_in_quotes_and_is_an_error_outside() -> None:
    (statement,) = parse_statements("SET 'a'='${x}'; -- ${x}", {"y": 1})
    assert isinstance(statement, SetProperty)
    assert statement.value == "${x}"
    assert "found '${x}'" in refused("CREATE STREAM ${x} (a INT);").message


def test_values_are_not_searched_for_variables_and_cannot_grow_a_text_without_bound() -> None:
    (statement,) = parse_statements("SET 'a'='${v}';", {"v": "${v}${v}"})
    assert isinstance(statement, SetProperty)
    assert statement.value == "${v}${v}"
    with pytest.raises(BadStatement, match="longer than"):
        parse_statements("SET 'a'='" + "${v}" * 1_000 + "';", {"v": "x" * 1_000})
