"""Rows out of a task's report: the same however it is cut, and whole or an error."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import QueryBroken
from gateway.warehouse.druid.report import ReportReader

COLUMNS = (
    ("at", "LONG", "TIMESTAMP"),
    ("day", "LONG", "DATE"),
    ("n", "LONG", "BIGINT"),
    ("s", "STRING", "VARCHAR"),
    ("a", "ARRAY<STRING>", "ARRAY"),
)
TRICKY = ('"', "\\", '\\"', "],[", "]]", '","', "[1,", "{", "}", "\n", "é😀", "")
STAGES = [{"definition": {"filter": {"value": '"]}\\'}, "deep": [[[{"x": [{}]}]]]}}, {}]


def report(rows: list[list[Any]], *, truncated: bool | None = False, first: bool = False) -> bytes:
    """A report as Druid writes one; ``first``: the results before what surrounds them."""
    results: dict[str, Any] = {
        "signature": [{"name": name, "type": native} for name, native, _ in COLUMNS],
        "sqlTypeNames": [sql_type for _, _, sql_type in COLUMNS],
        "results": rows,
    }
    if truncated is not None:
        results["resultsTruncted"] = truncated
    around: dict[str, Any] = {"status": {"status": "SUCCESS", "x": None}, "stages": STAGES}
    payload = {"results": results, **around} if first else {**around, "results": results}
    task = {"type": "multiStageQuery", "taskId": "query-x", "payload": payload}
    document = {"multiStageQuery": task, "taskContext": {"payload": {"results": [[1]]}}}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read(pieces: list[bytes]) -> tuple[ReportReader, list[Any]]:
    reader = ReportReader()
    chunks = [reader.feed(piece) for piece in pieces]
    chunks.append(reader.finish())
    rows: list[Any] = []
    for chunk in chunks:
        if chunk is not None:
            lines = chunk.raw.splitlines(keepends=True)
            assert len(lines) == chunk.count
            assert all(line.endswith(b"\n") for line in lines)
            rows += map(json.loads, lines)
    return reader, rows


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(body)) for place in cuts})
    return [body[a:b] for a, b in itertools.pairwise([0, *places, len(body)])]


ROWS = st.lists(
    st.tuples(
        st.none(),
        st.none(),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.sampled_from(TRICKY) | st.text(max_size=5),
        st.none() | st.lists(st.sampled_from(TRICKY), max_size=3),
    ).map(list),
    max_size=8,
)


@given(ROWS, st.lists(st.integers(0, 1500), max_size=20), st.booleans())
def test_rows_do_not_depend_on_how_the_report_was_cut_nor_on_its_order(
    rows: list[list[Any]], cuts: list[int], first: bool
) -> None:
    assert read(cut(report(rows, first=first), cuts))[1] == rows


@given(ROWS, st.integers(1, 2000), st.lists(st.integers(0, 1500), max_size=5))
def test_a_report_that_is_cut_short_is_never_whole(
    rows: list[list[Any]], lost: int, cuts: list[int]
) -> None:
    whole = report(rows)
    body = whole[: max(0, len(whole) - lost)]
    with pytest.raises(QueryBroken):
        read(cut(body, cuts))


def test_a_report_arrives_byte_by_byte() -> None:
    rows = [[None, None, n, text, [text, text]] for n, text in enumerate(TRICKY)]
    body = report(rows)
    assert read([body[at : at + 1] for at in range(len(body))])[1] == rows


def test_columns_and_times_are_those_of_a_native_query() -> None:
    reader, rows = read(
        [report([[1_700_006_400_100, 19_676, -1, "x", ["y"]], [-1, -1, *[None] * 3]])]
    )
    assert reader.columns is not None
    assert [(c.name, str(c.type), c.stored_as) for c in reader.columns] == [
        ("at", "TIMESTAMP", "TIMESTAMP"),
        ("day", "DATE", "DATE"),
        ("n", "BIGINT", "BIGINT"),
        ("s", "STRING", "VARCHAR"),
        ("a", "ARRAY<STRING>", "ARRAY"),
    ]
    assert rows == [
        ["2023-11-15T00:00:00.100Z", "2023-11-15T00:00:00.000Z", -1, "x", ["y"]],
        ["1969-12-31T23:59:59.999Z", "1969-12-31T00:00:00.000Z", None, None, None],
    ]


def test_times_that_are_texts_already_stay_as_they_are() -> None:
    given = [["2023-11-15T00:00:00.100Z", "2023-11-15T00:00:00.000Z", 1, "x", None]]
    assert read([report(given)])[1] == given


@pytest.mark.parametrize("truncated", [True, None])
def test_a_result_that_was_truncated_or_does_not_say_is_refused(truncated: bool | None) -> None:
    with pytest.raises(QueryBroken, match="truncated"):
        read([report([[1, 1, 1, "x", None]], truncated=truncated)])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Cannot find any task with id: [query-x]",
        b"[]",
        b"{}",
        b'{"multiStageQuery":{"payload":{"status":{"status":"RUNNING"}}}}',
        b'{"multiStageQuery":{"payload":{"results":{"results":[[1]],"signature":[]}}}}',
        b'{"multiStageQuery":{"payload":{"results":{"signature":[{}],"results":[[1]]}}}}',
        b'{"multiStageQuery":{"payload":null}}',
        b'{"multiStageQuery":{"payload":{"results":{"signature":nonsense}}}}',
        report([]) + b"{}",
    ],
)
def test_what_is_no_report_of_a_select_is_broken(body: bytes) -> None:
    with pytest.raises(QueryBroken):
        read([body])


def test_a_value_without_end_does_not_fill_the_memory() -> None:
    reader = ReportReader(limit_bytes=1000)
    reader.feed(b'{"multiStageQuery":{"payload":{"stages":"')
    pieces = (b"x" * 100 for _ in range(100))
    with pytest.raises(QueryBroken, match="longer than 1000 bytes"):
        all(reader.feed(piece) is None for piece in pieces)
    assert next(pieces), "it did not wait for the end"


def test_rows_leave_with_the_piece_that_ends_them() -> None:
    reader = ReportReader()
    body = report([[1, 1, n, "x" * 50, None] for n in range(1000)])
    held_bytes, most_bytes = 0, 0
    for at in range(0, len(body), 4096):
        held_bytes += len(body[at : at + 4096])
        chunk = reader.feed(body[at : at + 4096])
        if chunk is not None:
            held_bytes = 0
        most_bytes = max(most_bytes, held_bytes)
    reader.finish()
    assert most_bytes <= 3 * 4096
