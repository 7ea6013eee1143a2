"""Declared values come out the same, whether the warehouse writes them or the query room does."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.query.values import convert, converter
from gateway.seams import RowLines
from gateway.sql.duck_types import DuckType, columns_of, druid_name
from gateway.sql.lines import Style, row_line
from gateway.warehouse.embedded.shown import as_declared
from protocol.timestamps import MILLIS_MAX, MILLIS_MIN, to_iso
from protocol.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    SqlType,
    array_of,
)

MILLIS = st.integers(MILLIS_MIN, MILLIS_MAX) | st.integers(-2000, 2000)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
TIMES = st.times().map(lambda at: at.isoformat("milliseconds")) | st.times().map(
    lambda at: at.strftime("%H:%M")
)

CASES: dict[str, tuple[SqlType, str, st.SearchStrategy[Any]]] = {
    "a flag": (BOOLEAN, "BIGINT", st.integers(-2, 2)),
    "a time as a number": (BIGINT, "TIMESTAMP", MILLIS.map(to_iso)),
    "a time as text": (TIMESTAMP, "TIMESTAMP", MILLIS.map(to_iso)),
    "a second time as text": (TIMESTAMP, "BIGINT", MILLIS),
    "a time of day": (TIME, "VARCHAR", TIMES),
    "an array of text": (array_of(STRING), "VARCHAR[]", st.lists(TEXT | st.none(), max_size=3)),
    "an array of numbers": (array_of(BIGINT), "BIGINT[]", st.lists(st.integers(-9, 2**53))),
}


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    yield connection
    connection.close()


def line_of(duck: duckdb.DuckDBPyConnection, value: tuple[str, DuckType], source: str) -> bytes:
    (line,) = duck.execute(f"SELECT {row_line([value], Style.DRUID)} FROM {source}").fetchall()[0]
    return str(line).encode() + b"\n"


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_duckdb_writes_a_declared_value_as_the_query_room_would(
    duck: duckdb.DuckDBPyConnection, case: str, data: st.DataObject
) -> None:
    declared, stored_as, values = CASES[case]
    given_value = data.draw(values | st.none())
    duck.execute(f"CREATE OR REPLACE TABLE one (v {stored_as})")
    duck.execute("INSERT INTO one VALUES (?)", [given_value])
    ((_, kind),) = columns_of(duck, "SELECT v FROM one")
    shown = as_declared(("v", kind), declared)
    assert shown is not None
    stored = RowLines(line_of(duck, ("v", kind), "one"), 1)
    change = converter(declared, druid_name(kind))
    expected = convert(stored, (change,)).raw if change is not None else stored.raw
    assert json.loads(line_of(duck, shown, "one")) == json.loads(expected)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (None, "BIGINT"),
        (STRING, "VARCHAR"),
        (INTEGER, "BIGINT"),
        (DOUBLE, "DOUBLE"),
        (BOOLEAN, "DOUBLE"),
        (TIMESTAMP, "VARCHAR"),
        (TIME, "BIGINT"),
    ],
)
def test_what_duckdb_need_not_or_cannot_write_otherwise_is_left_alone(
    declared: SqlType | None, kind: str
) -> None:
    assert as_declared(("v", DuckType(kind)), declared) is None


OTHERS = TEXT | st.integers(-(2**63), 2**63) | st.none() | st.lists(TEXT, max_size=2)
ODD_TIMES = st.none() | MILLIS.map(lambda at: to_iso(at)[:-1] + "+00:00")


@pytest.mark.parametrize("declared", [BIGINT, TIMESTAMP])
@given(
    moments=st.lists(MILLIS, min_size=1, max_size=8),
    others=st.lists(st.lists(OTHERS, max_size=3), min_size=8, max_size=8),
    odd=st.none() | st.tuples(st.integers(0, 8), ODD_TIMES),
    spaced=st.booleans(),
)
def test_rows_that_start_with_their_time_change_there_alone(
    declared: SqlType,
    moments: list[int],
    others: list[list[Any]],
    odd: tuple[int, str | None] | None,
    spaced: bool,
) -> None:
    times: list[str | None] = [to_iso(at) for at in moments]
    shown: list[Any] = [at if declared is BIGINT else to_iso(at)[:-1] for at in moments]
    if odd is not None:
        at, text = odd
        times.insert(at, text)
        shown.insert(at, _shown(declared, text))
    width = len(others[0])
    rest = [(row * 3 + [None] * 3)[:width] for row in (*others, others[0])]
    rows = [[time, *values] for time, values in zip(times, rest, strict=False)]
    separators = (", ", ": ") if spaced else (",", ":")
    raw = b"".join(
        json.dumps(row, ensure_ascii=False, separators=separators).encode() + b"\n" for row in rows
    )
    found = convert(RowLines(raw, len(rows)), (converter(declared, "TIMESTAMP"), *[None] * width))
    assert (found.count, found.raw.count(b"\n")) == (len(rows), len(rows))
    expected = [[value, *row[1:]] for value, row in zip(shown, rows, strict=True)]
    assert [json.loads(line) for line in found.raw.splitlines()] == expected


def _shown(declared: SqlType, text: str | None) -> int | str | None:
    change = converter(declared, "TIMESTAMP")
    assert change is not None
    return None if text is None else change(text)
