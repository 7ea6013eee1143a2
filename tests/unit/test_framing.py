"""Cutting lines, negotiating, and writing bodies that are always whole."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing import (
    DOCUMENT_TYPES,
    QUERY_STREAM_FRAMINGS,
    Framing,
    LineBuffer,
    LineWriter,
    ack_lines,
    negotiate,
    negotiate_query,
)

OFFERED = (Framing.DELIMITED, Framing.JSON)


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_lines_do_not_depend_on_how_bytes_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    buffer, blocks, at = LineBuffer(1000), list[bytes](), 0
    for cut in [*cuts, len(whole)]:
        blocks.append(buffer.feed(whole[at:cut]))
        at = cut
    blocks.append(buffer.finish())
    assert all(block == b"" or block.endswith(b"\n") for block in blocks)
    expected = whole if not whole or whole.endswith(b"\n") else whole + b"\n"
    assert b"".join(blocks) == expected


def test_an_unfinished_line_over_the_limit_is_told() -> None:
    buffer = LineBuffer(10)
    assert buffer.feed(b"short\n0123456789") == b"short\n"
    assert not buffer.over_limit()
    buffer.feed(b"0")
    assert buffer.over_limit()


@given(st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_lines_over_the_limit_are_passed_over_with_bounded_memory_however_bytes_were_cut(
    cuts: list[int], ended: bool
) -> None:
    long = b"x" * 1000
    whole = b"a\n" + long + b"\nb\n" + long + (b"\nc" if ended else b"")
    buffer, blocks, starts, at = LineBuffer(10), list[bytes](), list[bytes](), 0
    for cut in [*sorted(cuts), len(whole)]:
        blocks.append(buffer.feed(whole[at:cut]))
        if buffer.over_limit():
            starts.append(buffer.drop_line())
        assert len(buffer.unfinished) <= 10
        at = max(at, cut)
    blocks.append(buffer.finish())
    lines = b"".join(blocks).splitlines()
    # A line that came in one piece is whole; whoever checks rows refuses it by its length.
    assert [line for line in lines if len(line) <= 10] == [b"a", b"b", *[b"c"] * ended]
    assert len(starts) + sum(len(line) > 10 for line in lines) == 2
    assert starts == [b"x" * 10] * len(starts)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Framing.DELIMITED),
        ("", Framing.DELIMITED),
        ("*/*", Framing.DELIMITED),
        ("application/*", Framing.DELIMITED),
        ("application/json", Framing.JSON),
        ("application/json;charset=utf-8", Framing.JSON),
        ("application/vnd.ksqlapi.delimited.v1", Framing.DELIMITED),
        ("text/html, application/json;q=0.5", Framing.JSON),
        ("*/*;q=0.1, application/json", Framing.JSON),
        ("application/json;q=0.2, application/vnd.ksqlapi.delimited.v1;q=0.9", Framing.DELIMITED),
        ("blahblah", None),
        ("text/html", None),
    ],
)
def test_accept_is_negotiated_as_ksqldb_does(accept: str | None, expected: Framing | None) -> None:
    assert negotiate(accept, OFFERED) is expected


V1 = "application/vnd.ksql.v1+json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Framing.DELIMITED),
        ("*/*", Framing.DELIMITED),
        ("application/json", Framing.JSON),
        (V1, Framing.V1_JSON),
        (V1.upper(), Framing.V1_JSON),
        (f"{V1};q=0.9, application/json;q=0.8", Framing.V1_JSON),
        (f"application/json, {V1};charset=utf-8", Framing.V1_JSON),
        ("application/json;a=b;c=d;e=f, application/vnd.ksqlapi.delimited.v1;a=b", Framing.JSON),
        (f"{V1};q=0", Framing.V1_JSON),
        (f"{V1};q=x, application/json;q=0.9", Framing.V1_JSON),
        ("application/vnd.ksql.v1+protobuf", None),
    ],
)
def test_query_stream_has_three_framings(accept: str | None, expected: Framing | None) -> None:
    assert negotiate(accept, QUERY_STREAM_FRAMINGS) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Framing.V1_JSON),
        (" ", Framing.V1_JSON),
        ("application/json", Framing.V1_JSON),
        (V1, Framing.V1_JSON),
        ("*/*", Framing.DELIMITED),
        ("application/vnd.ksqlapi.delimited.v1", Framing.DELIMITED),
        ("application/vnd.ksql.v1+protobuf", None),
        ("text/html", None),
    ],
)
def test_query_answers_v1_json_for_json_and_delimited_for_anything(
    accept: str | None, expected: Framing | None
) -> None:
    assert negotiate_query(accept) is expected


@pytest.mark.parametrize(
    ("accept", "fits"),
    [
        (None, True),
        ("*/*", True),
        (V1, True),
        ("application/json", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("text/plain", False),
        ("application/vnd.ksqlapi.delimited.v1", False),
    ],
)
def test_a_document_is_for_those_who_take_json(accept: str | None, fits: bool) -> None:
    assert (negotiate(accept, DOCUMENT_TYPES) is not None) is fits


@given(st.text(max_size=60))
def test_any_accept_header_gets_an_answer(accept: str) -> None:
    assert negotiate(accept, OFFERED) in (*OFFERED, None)


documents = st.lists(st.dictionaries(st.text(max_size=5), st.integers(-9, 9)), max_size=4)


@given(st.lists(documents, max_size=5))
def test_a_json_body_of_documents_is_one_valid_array(parts: list[list[dict[str, int]]]) -> None:
    writer = LineWriter(Framing.JSON, coalesced=False)
    frames = [frame for part in parts for frame in writer.write(orjson.dumps(d) for d in part)]
    body = b"".join(frames + writer.end())
    assert orjson.loads(body) == [document for part in parts for document in part]


@given(st.lists(documents, max_size=5))
def test_a_json_body_of_lines_is_one_valid_array(parts: list[list[dict[str, int]]]) -> None:
    writer = LineWriter(Framing.JSON, coalesced=False)
    raw = [b"".join(orjson.dumps(d) + b"\n" for d in part) for part in parts]
    frames = [frame for lines in raw for frame in writer.write_lines(lines)]
    body = b"".join(frames + writer.end())
    assert orjson.loads(body) == [document for part in parts for document in part]


@given(st.lists(documents, max_size=5), st.booleans())
def test_a_delimited_body_is_one_document_a_line(
    parts: list[list[dict[str, int]]], coalesced: bool
) -> None:
    writer = LineWriter(Framing.DELIMITED, coalesced=coalesced)
    written = [writer.write(orjson.dumps(d) for d in part) for part in parts]
    for part, frames in zip(parts, written, strict=True):
        assert len(frames) == (min(1, len(part)) if coalesced else len(part))
    body = b"".join(frame for frames in written for frame in frames)
    assert [orjson.loads(line) for line in body.splitlines()] == [d for part in parts for d in part]
    assert writer.end() == []


def test_nothing_leaves_after_the_end() -> None:
    writer = LineWriter(Framing.JSON, coalesced=False)
    writer.end()
    with pytest.raises(AssertionError):
        writer.write([b"{}"])


@given(st.integers(0, 10**12), st.integers(0, 3000))
def test_ack_lines_name_each_row_once(first: int, count: int) -> None:
    lines = ack_lines(first, first + count).splitlines()
    assert [orjson.loads(line) for line in lines[:3]] == [
        {"status": "ok", "seq": first + at} for at in range(min(3, count))
    ]
    assert len(lines) == count
    if count:
        assert lines[-1] == b'{"status":"ok","seq":%d}' % (first + count - 1)


@given(st.integers(0, 10**12), st.integers(0, 3000), st.integers(0, 3000))
def test_ack_lines_of_rows_that_were_held_say_so(first: int, count: int, again: int) -> None:
    lines = ack_lines(first, first + count, first + again).splitlines()
    held = min(again, count)
    assert [line.count(b',"duplicate":true}') for line in lines] == [1] * held + [0] * (
        count - held
    )
    assert [orjson.loads(line)["seq"] for line in lines[-3:]] == [
        first + at for at in range(max(0, count - 3), count)
    ]
