"""Which names a statement reads: told exactly, or not at all."""

import contextlib
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.seams import QueryRefused
from gateway.sql import TaskNames, names_read, task_names
from gateway.sql.select import translate
from tests.hostile_selects import torn

READ = {
    "SELECT 1": set(),
    "SELECT * FROM a": {"a"},
    "select * from a": {"a"},
    "SELECT * FROM a, b x, c AS y": {"a", "b", "c"},
    'SELECT * FROM "a b", "c""d", "e.f"': {"a b", 'c"d', "e.f"},
    'SELECT * FROM druid.a, "druid"."b"': {"a", "b"},
    "SELECT * FROM sys.tasks, lookup.k, INFORMATION_SCHEMA.COLUMNS": {
        "sys.tasks",
        "lookup.k",
        "INFORMATION_SCHEMA.COLUMNS",
    },
    "SELECT * FROM a JOIN b ON a.x = b.x LEFT OUTER JOIN c USING (x) CROSS JOIN d": set("abcd"),
    "SELECT * FROM a NATURAL JOIN b": {"a", "b"},
    "SELECT * FROM (a JOIN b ON a.x = b.x)": {"a", "b"},
    "SELECT * FROM (SELECT * FROM a) x": {"a"},
    "SELECT (SELECT MAX(x) FROM a), b.y FROM b ORDER BY (SELECT 1 FROM c)": {"a", "b", "c"},
    "SELECT 1 FROM a WHERE x IN (SELECT y FROM b) AND EXISTS (SELECT 1 FROM c)": {"a", "b", "c"},
    "SELECT 1 FROM a GROUP BY 1 HAVING COUNT(*) > (SELECT COUNT(*) FROM b)": {"a", "b"},
    "SELECT CASE WHEN x THEN (SELECT 1 FROM b) END FROM a": {"a", "b"},
    "SELECT ARRAY(SELECT x FROM b) FROM a": {"a", "b"},
    "SELECT 1 FROM a UNION ALL SELECT 2 FROM b UNION ALL (SELECT 3 FROM c)": {"a", "b", "c"},
    "WITH q AS (SELECT * FROM a) SELECT * FROM q": {"a"},
    "WITH q AS (SELECT 1), r AS (SELECT * FROM q, a) SELECT * FROM r": {"a"},
    "WITH q AS (SELECT 1) SELECT * FROM q UNION ALL SELECT * FROM q": set(),
    # A WITH is seen behind itself, in its query and inside, by exactly its name.
    "WITH a AS (SELECT * FROM a) SELECT * FROM a": {"a"},
    "WITH r AS (SELECT * FROM q), q AS (SELECT 1) SELECT * FROM r": {"q"},
    "WITH Q AS (SELECT 1) SELECT * FROM q": {"q"},
    "WITH q AS (SELECT 1) SELECT * FROM druid.q": {"q"},
    "SELECT * FROM (WITH q AS (SELECT 1) SELECT * FROM q) x, q": {"q"},
    "WITH q AS (SELECT 1) SELECT * FROM a WHERE x IN (SELECT y FROM q)": {"a"},
    "SELECT LOOKUP(x, 'k'), \"lookup\"(y, 'l') FROM a": {"a", "lookup.k", "lookup.l"},
    "SELECT * FROM a CROSS JOIN UNNEST(MV_TO_ARRAY(x)) AS u(y)": {"a"},
    "SELECT * FROM (VALUES (1, 2)) AS t(x, y)": set(),
    # FROM that brings nothing in, and names that only look like tables.
    "SELECT EXTRACT(DAY FROM t), TRIM(BOTH 'x' FROM y), SUBSTRING(z FROM 2) FROM a": {"a"},
    "SELECT 1 FROM a WHERE x IS NOT DISTINCT FROM y": {"a"},
    "SELECT 'x FROM b', \"FROM\" FROM a -- FROM c": {"a"},
    "SELECT 1 /* FROM b */ FROM a": {"a"},
    "SELECT a.x, b FROM a": {"a"},
    "SELECT FLOOR(__time TO DAY), TIMESTAMP '2020-01-01', DATE'2020-01-01' FROM a": {"a"},
    "SELECT SUM(x) FILTER (WHERE y <> 1 AND z >= 2) OVER (PARTITION BY w) FROM a": {"a"},
    "SELECT x || 'y' FROM a LIMIT 5 OFFSET 2": {"a"},
}

UNCLEAR = [
    # Rows from elsewhere.
    "SELECT * FROM TABLE(EXTERN('{}', '{}', '[]'))",
    "SELECT * FROM TABLE(APPEND('a', 'b'))",
    "SELECT * FROM extern('{}')",
    "SELECT * FROM (TABLE a)",
    "SELECT 1 FROM a WHERE x IN (TABLE b)",
    "SELECT * FROM a, LATERAL (SELECT 1)",
    "SELECT * FROM a MATCH_RECOGNIZE (PATTERN (A) DEFINE A AS x)",
    "WITH RECURSIVE q AS (SELECT 1) SELECT * FROM q",
    "SELECT LOOKUP(x, y) FROM a",
    "SELECT LOOKUP(x) FROM a",
    # Names that could be taken for others.
    'SELECT * FROM "sys.tasks"',
    'SELECT * FROM "lookup.k"',
    "SELECT * FROM a.b.c",
    # Strings, names and comments that two readers may end in different places.
    "SELECT E'\\'', ' FROM secret --'",
    "SELECT e'\\'' FROM a",
    "SELECT N'x' FROM a",
    "SELECT X'00' FROM a",
    "SELECT _latin1'x' FROM a",
    "SELECT U&'\\0061' FROM a",
    'SELECT * FROM U&"\\0061"',
    "SELECT * FROM `a`",
    "SELECT * FROM [a]",
    "SELECT 1 /* /* */ ' */ FROM secret -- '",
    "SELECT 1 /* /* */ */ FROM a",
    "SELECT 1 /***/ ' */ FROM secret -- '",
    "SELECT 1 /** */ FROM a",
    "SELECT /*+ hint('*/') */ 1 FROM a",
    "SELECT 1 // ' \n FROM secret -- '",
    "SELECT 1 -- \r ' \n FROM secret -- '",
    "SELECT 1 FROM a /* never ends",
    "SELECT 'never ends FROM a",
    "SELECT {fn NOW()} FROM a",
    "SELECT 1FROM a",
    "SELECT 1\u00a0FROM a",
    "SELECT 1\x00 FROM a",
    "SELECT \u017ffoo FROM a",
    "SELECT * FROM a; SELECT * FROM b",
    "SELECT ? FROM a",
    # No SELECT, or none that is understood.
    "",
    "FROM a",
    "EXPLAIN PLAN FOR SELECT * FROM a",
    "INSERT INTO a SELECT 1",
    "SELECT FROM FROM a",
    "SELECT * FROM a b c d",
    "SELECT DISTINCT FROM a",
    "SELECT a.from FROM b",
    "SELECT * FROM",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000 + " FROM a",
]

TASKS = {
    "INSERT INTO a SELECT * FROM b PARTITIONED BY DAY": TaskNames("a", False, frozenset("b")),
    'INSERT INTO druid."x y" (p, q) SELECT * FROM b PARTITIONED BY ALL TIME CLUSTERED BY p': (
        TaskNames("x y", False, frozenset("b"))
    ),
    "REPLACE INTO a OVERWRITE ALL WITH q AS (SELECT * FROM b) SELECT * FROM q PARTITIONED BY DAY": (
        TaskNames("a", True, frozenset("b"))
    ),
    "REPLACE INTO a OVERWRITE WHERE __time >= TIMESTAMP '2020-01-01' SELECT 1 FROM a, c "
    "PARTITIONED BY FLOOR(__time TO DAY)": TaskNames("a", True, frozenset("ac")),
    "INSERT INTO a SELECT * FROM TABLE(EXTERN('{}', '{}', '[]')) PARTITIONED BY DAY": None,
    "INSERT INTO EXTERN(s3(bucket => 'x')) AS CSV SELECT * FROM b": None,
    "INSERT INTO sys.tasks SELECT 1 PARTITIONED BY DAY": None,
    'INSERT INTO "sys.x" SELECT 1 PARTITIONED BY DAY': None,
    "INSERT INTO a.b.c SELECT 1 PARTITIONED BY DAY": None,
    "REPLACE INTO a OVERWRITE WHERE x IN (SELECT y FROM z) SELECT 1 PARTITIONED BY DAY": None,
    "INSERT INTO a (SELECT * FROM b) PARTITIONED BY DAY": None,
    "INSERT INTO a VALUES (1)": None,
    "SELECT * FROM a": None,
    "INSERT INTO": None,
    "": None,
}


@pytest.mark.parametrize(("sql", "names"), READ.items())
def test_the_names_that_a_select_reads_are_told(sql: str, names: set[str]) -> None:
    assert names_read(sql) == frozenset(names)


@pytest.mark.parametrize("sql", UNCLEAR)
def test_where_the_names_are_not_certain_none_are_told(sql: str) -> None:
    assert names_read(sql) is None


@pytest.mark.parametrize(("sql", "names"), TASKS.items())
def test_what_a_task_writes_and_reads_is_told(sql: str, names: TaskNames | None) -> None:
    assert task_names(sql) == names


# ── generated queries, and what was put into them ────────────────────────────────────────────

_NAMES = st.sampled_from(["t1", "t2", "T1", "secret", "FROM", "a b", 'q"q', "x--y", "/*z", "it's"])
_GAPS = st.sampled_from([" ", "\n", "\t", " /* FROM u1 */ ", " -- , u2\n", " /* ' */ ", "\r\n"])
_SCALARS = st.sampled_from(
    ["1", "'FROM u3'", "''''", '"FROM u4"', "x", "EXTRACT(DAY FROM u5)", "u6 IS DISTINCT FROM u7"]
)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@st.composite
def _queries(draw: st.DrawFn, depth: int = 3) -> tuple[str, frozenset[str]]:
    """A SELECT, and the names that were written into it as sources."""
    gap = draw(_GAPS)
    names: set[str] = set()

    def table() -> str:
        name = draw(_NAMES)
        names.add(name)
        plain = re.fullmatch(r"\w+", name) and name != "FROM" and draw(st.booleans())
        text = name if plain else _quoted(name)
        return draw(st.sampled_from(["", "druid.", '"druid".'])) + text

    def inner() -> str:
        text, found = draw(_queries(depth=depth - 1))
        names.update(found)
        return text

    def source(at: int) -> str:
        if depth and draw(st.booleans()):
            return f"({inner()}) s{at}"
        return f"{table()} AS s{at}"

    sources = [source(at) for at in range(draw(st.integers(1, 3)))]
    joined = sources[0]
    for each in sources[1:]:
        joined += draw(st.sampled_from([f",{gap}{each}", f"{gap}CROSS{gap}JOIN{gap}{each}"]))
    text = f"SELECT{gap}{draw(_SCALARS)} AS v{gap}FROM{gap}{joined}"
    if depth and draw(st.booleans()):
        where = draw(st.sampled_from(["EXISTS ({})", "x IN ({})", "x = ({})"]))
        text += f"{gap}WHERE{gap}{where.format(inner())}"
    if depth and draw(st.booleans()):
        text += f"{gap}UNION ALL{gap}{inner()}"
    return text, frozenset(names)


@settings(max_examples=150, deadline=None)
@given(_queries())
def test_of_generated_queries_exactly_the_names_that_were_written_are_told(
    query: tuple[str, frozenset[str]],
) -> None:
    sql, names = query
    assert names_read(sql) == names


@settings(max_examples=150, deadline=None)
@given(_queries(), st.data())
def test_a_text_that_was_torn_is_told_with_all_that_it_reads_or_not_at_all(
    query: tuple[str, frozenset[str]], data: st.DataObject
) -> None:
    """What is told of any text, whatever is done to it, is what another reader finds there."""
    sql, _ = query
    at = data.draw(st.integers(0, len(sql)))
    piece = data.draw(st.sampled_from(_PIECES))
    found = names_read(sql[:at] + piece + sql[at:])
    if found is not None:
        assert _bare_scan(sql[:at] + piece + sql[at:]) <= found


_PIECES = ["'", '"', "/*", "*/", "--", "\n", "\\", "`", ";", "(", "//"]
_TOKEN = re.compile(
    r"""(?s)--[^\r\n]*|/\*.*?\*/|"(?:[^"]|"")*"|'(?:[^']|'')*'|\w+|\S""",
)


def _bare_scan(sql: str) -> set[str]:
    """Names right behind FROM and JOIN, by a scanner of its own: less than all, and no more."""
    tokens = [t for t in _TOKEN.findall(sql) if not t.startswith(("--", "/*"))]
    found = set()
    for at, word in enumerate(tokens[:-1]):
        before = tokens[at - 1].upper() if at else ""
        if word.upper() not in ("FROM", "JOIN") or before == "DISTINCT":
            continue
        parts = [tokens[at + 1]]
        while tokens[at + 2 * len(parts) :][:1] == ["."]:
            parts += tokens[at + 1 + 2 * len(parts) :][:1]
        names = [p[1:-1].replace('""', '"') if p.startswith('"') else p for p in parts]
        if not re.fullmatch(r"(?s)\w+|\".*\"", parts[0]) or names == ["u5"]:
            continue
        found.add(".".join(names[1:] if len(names) > 1 and names[0] == "druid" else names))
    return found


# ── the other reader of the same texts ───────────────────────────────────────────────────────


def test_the_embedded_warehouse_reads_no_name_that_was_not_told() -> None:
    chance = random.Random(4711)
    read_by_it = 0
    for _ in range(2_000):
        sql = torn(chance)
        told = names_read(sql)
        if told is None:
            continue
        read: set[str] = set()

        def relation(schema: str, name: str, read: set[str] = read) -> str:
            read.add(name if schema == "druid" else f"{schema}.{name}")
            return "(SELECT 1)"

        with contextlib.suppress(QueryRefused):
            translate(sql, relation)
        assert read <= told, sql
        read_by_it += "secret" in read
    assert read_by_it >= 50
