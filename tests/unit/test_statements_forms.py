"""Rows and tasks, lists, explanations, assertions and DEFINE: what is read, and what is not."""

from decimal import Decimal

import pytest

from protocol.errors import BadStatement
from protocol.forms import MapValue, StructValue
from protocol.properties import DEFAULTS, is_known_property
from protocol.statements import (
    AssertSchema,
    AssertSource,
    AssertTopic,
    DefineVariable,
    Describe,
    DropConnector,
    Explain,
    InsertValues,
    ListAbsent,
    ListFunctions,
    ListQueries,
    ListSources,
    ListVariables,
    PullQuery,
    PushQueryText,
    SetProperty,
    Statement,
    Terminate,
    UndefineVariable,
    WarehouseTask,
    parse_statements,
)
from protocol.types import BIGINT, Column


def only(text: str) -> Statement:
    (statement,) = parse_statements(text)
    return statement


def refused(text: str) -> BadStatement:
    with pytest.raises(BadStatement) as caught:
        parse_statements(text)
    assert caught.value.code == 40001
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SHOW VARIABLES;", ListVariables(text="SHOW VARIABLES;")),
        ("LIST FUNCTIONS;", ListFunctions(text="LIST FUNCTIONS;")),
        ("list types;", ListAbsent(text="list types;", what="types")),
        ("list connectors;", ListAbsent(text="list connectors;", what="connectors")),
        ("SHOW SINK CONNECTORS;", ListAbsent(text="SHOW SINK CONNECTORS;", what="connectors")),
        ("SHOW CONNECTOR PLUGINS;", ListAbsent(text="SHOW CONNECTOR PLUGINS;", what="plugins")),
        ("SHOW QUERIES EXTENDED;", ListQueries(text="SHOW QUERIES EXTENDED;", extended=True)),
        (
            "DESCRIBE STREAMS;",
            ListSources(text="DESCRIBE STREAMS;", kind="STREAM", extended=True),
        ),
        (
            "DESCRIBE TABLES EXTENDED;",
            ListSources(text="DESCRIBE TABLES EXTENDED;", kind="TABLE", extended=True),
        ),
        ("DESCRIBE connector;", Describe(text="DESCRIBE connector;", target="connector")),
        ("TERMINATE cluster-1;", Terminate(text="TERMINATE cluster-1;", query_id="cluster-1")),
        ("DEFINE a = 'b';", DefineVariable(text="DEFINE a = 'b';", name="a", value="b")),
        ("UNDEFINE a;", UndefineVariable(text="UNDEFINE a;", name="a")),
        (
            "drop connector if exists c;",
            DropConnector(text="drop connector if exists c;", name="C"),
        ),
        ("EXPLAIN q-1;", Explain(text="EXPLAIN q-1;", query_id="q-1")),
        (
            "EXPLAIN PLAN FOR SELECT a /* ; */ FROM t;",
            Explain(
                text="EXPLAIN PLAN FOR SELECT a /* ; */ FROM t;",
                query=PullQuery("SELECT a /* ; */ FROM t"),
            ),
        ),
        (
            "EXPLAIN SELECT * FROM s EMIT CHANGES;",
            Explain(
                text="EXPLAIN SELECT * FROM s EMIT CHANGES;",
                query=PushQueryText("SELECT * FROM s", "s"),
            ),
        ),
    ],
)
def test_each_statement_is_read(text: str, expected: Statement) -> None:
    assert only(text) == expected


# ── INSERT ───────────────────────────────────────────────────────────────────────────────────


def test_values_are_read_with_every_digit_and_every_nesting() -> None:
    text = (
        "INSERT INTO `S` (k, \"b\") VALUES ('it''s', -1), (1.50, +2e3), (NULL, TRUE),\n"
        "(ARRAY[1, NULL], MAP('a' := STRUCT(f := 'x', `g` := false), 'b' := MAP()));"
    )
    assert only(text) == InsertValues(
        text=text,
        target="`S`",
        columns=("k", '"b"'),
        rows=(
            ("it's", -1),
            (Decimal("1.50"), Decimal("2e3")),
            (None, True),
            ([1, None], MapValue({"a": StructValue({"F": "x", "g": False}), "b": MapValue({})})),
        ),
    )
    whole = only("insert into s values (1)")
    assert isinstance(whole, InsertValues)
    assert whole.columns is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("INSERT s VALUES (1);", "Expected INTO"),
        ("INSERT INTO s;", "Expected VALUES"),
        ("INSERT INTO s VALUES 1;", "Expected '('"),
        ("INSERT INTO s VALUES (1;", "Expected ','"),
        ("INSERT INTO s VALUES (a);", "Expected a string, a number"),
        ("INSERT INTO s VALUES (1 + 1);", "Expected ','"),
        ("INSERT INTO s VALUES (UCASE('a'));", "'UCASE' cannot be computed here"),
        ("INSERT INTO s VALUES (- 'a');", "Expected a number"),
        ("INSERT INTO s VALUES (MAP(1 := 2));", "a key in single quotes"),
        ("INSERT INTO s VALUES (STRUCT(a := 1, A := 2));", "'A' is given twice"),
        ("INSERT INTO s VALUES (1) WHERE x;", "the end of the statement"),
        ("INSERT INTO s () VALUES (1);", "Expected the name of a column"),
        (f"INSERT INTO s VALUES ({'9' * 5000});", "A number of 5000 characters"),
        (f"INSERT INTO s VALUES ({'ARRAY[' * 400}1{']' * 400});", "nested deeper than"),
        ("REPLACE INTO s SELECT 1 PARTITIONED BY DAY;", "needs OVERWRITE"),
        ("REPLACE s;", "Expected INTO"),
    ],
)
def test_a_broken_insert_says_what_was_expected(text: str, problem: str) -> None:
    assert problem in refused(text).message


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO \"ds\" SELECT a, ';' AS b FROM t /* ; */ PARTITIONED BY DAY",
        "insert into ds\nWITH q AS (SELECT 1) SELECT * FROM q\npartitioned by ALL clustered by a",
        'REPLACE INTO ds OVERWRITE ALL SELECT * FROM "t" PARTITIONED BY HOUR',
        "REPLACE INTO ds OVERWRITE WHERE __time >= TIMESTAMP '2020-01-01' SELECT 1 FROM t "
        "PARTITIONED BY FLOOR(__time TO MONTH) -- ;",
        "/* my task */ INSERT INTO ds SELECT * FROM (VALUES (1)) PARTITIONED BY ALL",
    ],
)
def test_druids_own_statements_keep_their_text_up_to_the_semicolon(sql: str) -> None:
    before, task, after = parse_statements(f"LIST TOPICS;{sql}\n; LIST TOPICS;")
    assert isinstance(task, WarehouseTask)
    assert task.sql == sql + "\n"
    assert before.text == after.text == "LIST TOPICS;"


def test_partitioned_by_in_parentheses_makes_no_task() -> None:
    text = "INSERT INTO s SELECT * FROM (SELECT 1 PARTITIONED BY DAY);"
    assert "INSERT INTO SELECT is not supported" in refused(text).message


# ── ASSERT ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "assert topic 't' with (partitions=1) timeout 7 seconds;",
            {"target": "`t`", "properties": {"PARTITIONS": "1"}, "timeout_s": 7.0},
        ),
        ("assert not exists topic t;", {"target": "t", "exists": False}),
        ("ASSERT TOPIC `a b` TIMEOUT 0 SECONDS;", {"target": "`a b`", "timeout_s": 0.0}),
    ],
)
def test_assert_topic_is_read(text: str, expected: dict[str, object]) -> None:
    assert only(text) == AssertTopic(text=text, **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "assert schema subject 's' id 3 timeout 7 seconds;",
        "assert not exists schema id 3;",
        "ASSERT SCHEMA SUBJECT s;",
    ],
)
def test_assert_schema_is_read(text: str) -> None:
    assert only(text) == AssertSchema(text=text)


def test_assert_stream_and_table_are_read() -> None:
    text = "ASSERT STREAM s (a BIGINT KEY) WITH (kafka_topic='t') TIMEOUT 250 MILLISECONDS;"
    assert only(text) == AssertSource(
        text=text,
        kind="STREAM",
        name="S",
        columns=(Column("A", BIGINT, key=True),),
        properties={"KAFKA_TOPIC": "t"},
        timeout_s=0.25,
    )
    text = "ASSERT NOT EXISTS TABLE `t`;"
    assert only(text) == AssertSource(text=text, kind="TABLE", name="t", exists=False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ASSERT;", "Expected TOPIC, SCHEMA, STREAM or TABLE"),
        ("ASSERT SCHEMA;", "Expected SUBJECT or ID"),
        ("ASSERT SCHEMA ID x;", "the id of a schema"),
        ("ASSERT TOPIC 't' TIMEOUT 1.5 SECONDS;", "Expected a number"),
        ("ASSERT TOPIC 't' TIMEOUT 1 PARSEC;", "Expected a unit"),
        ("ASSERT TOPIC 't' TIMEOUT 2 DAYS;", "longer than 300 seconds"),
        ("ASSERT TOPIC;", "the name of a topic"),
    ],
)
def test_a_broken_assertion_says_what_was_expected(text: str, problem: str) -> None:
    assert problem in refused(text).message


# ── DEFINE and substitution ──────────────────────────────────────────────────────────────────


def test_define_holds_for_the_statements_behind_it() -> None:
    *_, before, second, after = parse_statements(
        "DEFINE env = 'prod'; DEFINE name = '${env}_orders'; DESCRIBE ${name};"
        "DEFINE ENV = 'test'; DESCRIBE ${env}_orders;"
    )
    assert isinstance(before, Describe)
    assert before.target == "prod_orders"
    assert second == DefineVariable(text="DEFINE ENV = 'test';", name="ENV", value="test")
    assert isinstance(after, Describe)
    assert after.target == "test_orders"


def test_undefine_and_the_requests_own_variables() -> None:
    text = "SET 'a'='${v}'; DEFINE v = 'new'; SET 'a'='${v}'; UNDEFINE V; SET 'a'='${v}';"
    statements = parse_statements(text, {"v": "old"})
    values = [one.value for one in statements if isinstance(one, SetProperty)]
    assert values == ["old", "new", "${v}"]


def test_a_triple_quoted_value_is_a_string_in_the_text() -> None:
    _, made = parse_statements("DEFINE t = '''it'''; SET 'a' = ${t};")
    assert isinstance(made, SetProperty)
    assert made.value == "it"


def test_two_dollars_stand_for_the_reference_itself() -> None:
    (one,) = parse_statements("SET 'a'='$${v} ${v}';", {"v": "x"})
    assert isinstance(one, SetProperty)
    assert one.value == "${v} x"


def test_a_value_makes_no_comment_and_no_quotes_with_its_neighbours() -> None:
    (kept,) = parse_statements("TERMINATE q -- ${v}", {"v": "\n; DROP STREAM s"})
    assert kept == Terminate(text="TERMINATE q -- ${v}", query_id="q")
    for text, value, found in [
        ("INSERT INTO s VALUES (-${v}, 2);", "-1", "Expected a number, found '-'"),
        ("INSERT INTO s VALUES ('a'${v});", "'b'", "Expected ',', found ''b''"),
        ("INSERT INTO s VALUES (${v}'b');", "'a'", "Expected ',', found ''b''"),
    ]:
        with pytest.raises(BadStatement) as caught:
            parse_statements(text, {"v": value})
        assert found in caught.value.message


def test_a_broken_define_is_told_with_its_place_in_the_whole_text() -> None:
    error = refused("LIST TOPICS;\nDEFINE a 'b';\nDESCRIBE ${a};")
    assert error.message.startswith("line 2:10: Syntax Error\nExpected '='")


def test_a_comment_that_ends_in_a_semicolon_is_no_statement() -> None:
    assert [one.text for one in parse_statements("LIST TOPICS; -- done;")] == ["LIST TOPICS;"]


# ── properties ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        *DEFAULTS,
        "auto.offset.reset",
        "ksql.query.push.v2.enabled",
        "ksql.streams.num.stream.threads",
        "consumer.max.poll.records",
        "producer.linger.ms",
        "headrace.ack",
    ],
)
def test_properties_of_ksqldb_of_kafka_and_of_ours_are_known(name: str) -> None:
    assert is_known_property(name)


@pytest.mark.parametrize("name", ["", "x", "ksql", "ksql.", "consumer.x", "AUTO.OFFSET.RESET"])
def test_other_properties_are_not(name: str) -> None:
    assert not is_known_property(name)
