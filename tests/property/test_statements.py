"""Any text: only documented errors leave the statement modules, and no byte goes astray."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.entities import Entity
from protocol.errors import KsqlError
from protocol.lexer import split, tokenize
from protocol.names import DeclaredNames, resolve_names, resolve_query
from protocol.statements import (
    Describe,
    InsertValues,
    PullQuery,
    PushQueryText,
    SetProperty,
    WarehouseTask,
    parse_query,
    parse_statements,
)
from protocol.types import fold, quote
from protocol.variables import substitute
from tests.unit.catalog_world import World

VALID = [
    "CREATE OR REPLACE STREAM IF NOT EXISTS s (a INT KEY, b DECIMAL(4, 2)) WITH (x='1', y=-2);",
    "CREATE TABLE t (k STRING PRIMARY KEY, v ARRAY<STRUCT<`F` MAP<STRING, INT>>>);",
    "DROP STREAM IF EXISTS s DELETE TOPIC; LIST STREAMS EXTENDED; DESCRIBE `s` EXTENDED;",
    "TERMINATE QUERY q-1; SET 'a'='b'; UNSET 'a';",
    "INSERT INTO s (a, b) VALUES (-1.5e3, ARRAY[MAP('k' := STRUCT(f := 'x')), NULL]), (TRUE, '');",
    "INSERT INTO ds SELECT a FROM s PARTITIONED BY DAY; REPLACE INTO ds OVERWRITE ALL SELECT 1;",
    "ASSERT NOT EXISTS TOPIC 't' WITH (a=1) TIMEOUT 7 SECONDS; ASSERT SCHEMA SUBJECT 's' ID 3;",
    "ASSERT STREAM s (a INT KEY); EXPLAIN SELECT a FROM s EMIT CHANGES; EXPLAIN q-1;",
    "DEFINE v = 'x'; SET 'a'='${v}'; DESCRIBE ${v}; UNDEFINE v; LIST VARIABLES; LIST FUNCTIONS;",
    "SELECT *, f.a, COUNT(*) c FROM s AS f WHERE a IN (SELECT a FROM s) GROUP BY 1 ORDER BY a;",
    "SELECT a FROM s WHERE b > 1.5e3 EMIT CHANGES LIMIT 2;",
    "WITH q(x) AS (SELECT a FROM s), r AS (SELECT * FROM q) SELECT * FROM r UNION SELECT a FROM s;",
]
FRAGMENTS = st.sampled_from(
    [
        *("'", "''", '"', "`", "``", ";", "(", ")", ",", ".", "--", "/*", "*/", "\n", "${v}", "*"),
        *("SELECT", "FROM", "s", "a", "f", "AS", "WITH", "JOIN", "ON", "USING", "ORDER", "BY"),
        *("INSERT", "INTO", "VALUES", "PARTITIONED", "DEFINE", "v", "=", "-", "$${v}", "[", ":="),
        *("EMIT", "CHANGES", "CREATE", "STREAM", "UNION", "TO", "1", " ", "é", "\x00", "ROWS"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid text with pieces of it taken out, doubled, or replaced by something else."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        between = draw(st.one_of(FRAGMENTS, st.text(max_size=4), st.just(text[start:end] * 2)))
        text = text[:start] + between + text[end:]
    return text


TEXTS = st.one_of(st.text(max_size=80), mutated(), st.lists(FRAGMENTS, max_size=25).map(" ".join))

NAMES = DeclaredNames(
    name="S", datasource="d s", columns=("A", "B", "T"), stored=("a", "B", "t"), time_column="T"
)


def declared(name: str) -> DeclaredNames | None:
    return NAMES if name == "S" else None


def undeclared(_: str) -> None:
    return None


def refused(read: Callable[[], object]) -> KsqlError | None:
    """The documented error of a call; any other one fails the test."""
    try:
        read()
    except KsqlError as error:
        return error
    return None


@given(TEXTS)
def test_only_documented_errors_leave_and_their_bodies_can_be_sent(text: str) -> None:
    for read in (
        lambda: parse_statements(text, {"v": text[:9]}),
        lambda: parse_query(text, {"v": text[:9]}),
        lambda: resolve_query(text, declared),
    ):
        refusal = refused(read)
        if refusal is not None:
            assert refusal.status == 400
            assert refusal.body().startswith(b'{"@type":"statement_error"')


@given(TEXTS)
def test_splitting_and_joining_is_identity_and_tokens_are_slices(text: str) -> None:
    with contextlib.suppress(KsqlError):
        pieces = split(text)
        assert "".join(piece.raw for piece in pieces) == text
        tokens = [token for piece in pieces for token in piece.tokens]
        assert tokens == [token for token in tokenize(text) if not token.is_sign(";")]
        assert all(text[token.start : token.end] == token.text for token in tokens)


@given(TEXTS)
def test_a_query_of_undeclared_names_without_back_ticks_is_unchanged(text: str) -> None:
    text = text.replace("`", "")
    with contextlib.suppress(KsqlError):
        assert resolve_names(text, undeclared) == text


@given(TEXTS)
def test_resolving_leaves_strings_and_comments_as_they_are(text: str) -> None:
    marked = f"SELECT 'a s' /* a s */ FROM t WHERE x = ({text.replace('*/', '')}) -- s"
    with contextlib.suppress(KsqlError):
        resolved = resolve_names(marked, declared)
        assert resolved.startswith("SELECT 'a s' /* a s */ FROM t WHERE x = (")


@given(st.text(min_size=1, max_size=12).filter(str.strip), st.booleans())
def test_a_quoted_name_comes_through_whatever_it_holds(name: str, ticks: bool) -> None:
    if ticks:
        sql = f"SELECT {quote(name)} FROM t"
        expected = '"' + name.replace('"', '""') + '"'
        assert resolve_names(sql, undeclared) == f"SELECT {expected} FROM t"
    query = parse_query(f"SELECT * FROM {quote(name)} EMIT CHANGES;")
    assert query == PushQueryText(f"SELECT * FROM {quote(name)}", quote(name))


@given(TEXTS)
def test_a_pull_query_is_the_text_up_to_its_semicolon(text: str) -> None:
    with contextlib.suppress(KsqlError):
        query = parse_query(text)
        if isinstance(query, PullQuery):
            assert text.startswith(query.sql)
            assert text[len(query.sql) :][:1] in ("", ";")


# ── substitution ─────────────────────────────────────────────────────────────────────────────

VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["a", "-1", "--", "'x'", '"x"', "`x`", ";", "/*", "*/", "${v}", "1e5", "'"]),
    st.lists(st.sampled_from(list("-'\"`;/*$ a1{}v")), max_size=6).map("".join),
)


def comments(text: str) -> list[str]:
    """What lies between the tokens of a text, white space aside."""
    found, at = [], 0
    for token in [*tokenize(text), None]:
        end = len(text) if token is None else token.start
        found.append(text[at:end].strip())
        at = end if token is None else token.end
    return [one for one in found if one]


@given(TEXTS, st.integers(0, 80), VALUES)
def test_a_value_begins_and_ends_no_statement_and_no_comment(
    text: str, at: int, value: str
) -> None:
    text = f"{text[:at]}${{v}}{text[at:]}"
    with contextlib.suppress(KsqlError):
        filled = substitute(text, {"v": value})
        assert len(split(filled)) == len(split(text))
        assert comments(filled) == comments(text)


@given(VALUES, st.sampled_from(["session", "DEFINE"]))
def test_a_value_in_quotes_is_that_text_and_nothing_else(value: str, given_by: str) -> None:
    text = "SET 'a'='<${v}>'; DESCRIBE `x${v}`; INSERT INTO t VALUES ('${v}');"
    session = {"v": value} if given_by == "session" else {}
    if given_by == "DEFINE":
        escaped = value.replace("'", "''")
        # In a DEFINE of its own nothing is filled in: there are no variables yet.
        text = f"DEFINE v = '{escaped}';{text}"
    statements = parse_statements(text, session)
    assigned, described, inserted = statements[-3:]
    assert isinstance(assigned, SetProperty)
    assert assigned.value == f"<{value}>"
    assert isinstance(described, Describe)
    assert fold(described.target) == f"x{value}"
    assert isinstance(inserted, InsertValues)
    assert inserted.rows == ((value,),)


@given(TEXTS, VALUES)
def test_a_task_is_the_text_up_to_its_semicolon(text: str, value: str) -> None:
    sql = f"INSERT INTO ds SELECT {text} PARTITIONED BY DAY"
    with contextlib.suppress(KsqlError):
        task, *_ = parse_statements(sql + ";")
        assert isinstance(task, WarehouseTask)
        assert sql.startswith(task.sql)
    quoted = value.replace("'", "''")
    whole = f"REPLACE INTO ds OVERWRITE ALL SELECT '{quoted}' PARTITIONED BY DAY"
    (task,) = parse_statements(whole + ";")
    assert isinstance(task, WarehouseTask)
    assert task.sql == whole


# ── the runner ───────────────────────────────────────────────────────────────────────────────


def test_any_text_is_answered_by_entities_or_by_a_documented_error(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:

        @settings(max_examples=150, deadline=None)
        @given(TEXTS, VALUES)
        def run(text: str, value: str) -> None:
            done: list[Entity] = []
            refusal = refused(lambda: done.extend(runner.run(world.run(text, {"v": value}))))
            if refusal is not None:
                assert refusal.status in (400, 417, 428)
                assert orjson.loads(refusal.body())["message"]
            for entity in orjson.loads(orjson.dumps(done)):
                assert {"@type", "statementText", "warnings"} <= entity.keys()

        world = World(tmp_path)
        run()
