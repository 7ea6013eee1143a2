"""Results piecemeal: lines stay whole, and an end that is not proven is no end."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import QueryBroken, WarehouseQuery
from gateway.warehouse.druid.reading import (
    EndProof,
    LineCutter,
    header_columns,
    query_document,
)


def _cut(body: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(body)) for cut in cuts})
    edges = [0, *places, len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def _read(pieces: list[bytes]) -> tuple[bytes, bool]:
    cutter, end = LineCutter(), EndProof()
    out = b""
    for piece in pieces:
        rows = end.rows(cutter.feed(piece))
        assert rows == b"" or rows.endswith(b"\n")
        out += rows
    return out, end.proven and not cutter.rest()


_ROWS = st.lists(st.integers(0, 10**6).map(lambda n: b"[%d]\n" % n), max_size=20)


@given(_ROWS, st.lists(st.integers(0, 200), max_size=12))
def test_rows_and_proof_do_not_depend_on_how_the_body_was_cut(
    rows: list[bytes], cuts: list[int]
) -> None:
    body = b"".join(rows)
    assert _read(_cut(body + b"\n", cuts)) == (body, True)


@given(_ROWS, st.lists(st.integers(0, 200), max_size=12), st.integers(1, 200))
def test_a_body_that_is_cut_short_is_never_proven(
    rows: list[bytes], cuts: list[int], lost: int
) -> None:
    whole = b"".join(rows) + b"\n"
    body = whole[: max(0, len(whole) - lost)]
    out, proven = _read(_cut(body, cuts))
    assert not proven
    assert whole.startswith(out)


def test_nothing_may_follow_the_end() -> None:
    end = EndProof()
    assert end.rows(b"[1]\n\n") == b"[1]\n"
    with pytest.raises(QueryBroken):
        end.rows(b"[2]\n")


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    cutter = LineCutter(limit_bytes=100)
    cutter.feed(b"x" * 60)
    with pytest.raises(QueryBroken):
        cutter.feed(b"x" * 60)


def test_columns_come_from_three_lines() -> None:
    lines = [
        b'["t","n","a"]',
        b'["LONG","LONG","ARRAY<STRING>"]',
        b'["TIMESTAMP","BIGINT","ARRAY"]',
    ]
    columns = header_columns(lines)
    assert [(c.name, str(c.type), c.stored_as) for c in columns] == [
        ("t", "TIMESTAMP", "TIMESTAMP"),
        ("n", "BIGINT", "BIGINT"),
        ("a", "ARRAY<STRING>", "ARRAY"),
    ]


def test_header_lines_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError):
        header_columns([b'["a"]', b"[]", b"[]"])


def test_the_text_is_untouched_and_the_id_is_ours() -> None:
    sql = "SELECT  'a;b' -- \n FROM t"
    query = WarehouseQuery(sql=sql, query_id="q", context={"sqlQueryId": "x", "timeout": 5})
    document = query_document(query)
    assert document["query"] == sql
    assert document["context"] == {"sqlStringifyArrays": False, "timeout": 5, "sqlQueryId": "q"}
