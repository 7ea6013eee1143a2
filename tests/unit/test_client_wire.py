"""The client's pure half: any cut of the answer's bytes gives the same values."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.errors import AnswerBroken, KsqlResponseError, QueryFailed, RowRefused
from gateway.client.wire import (
    AckBatch,
    AckReader,
    InsertTerms,
    QueryReader,
    insert_arguments,
    next_offset,
    query_arguments,
    response_error,
    row_lines,
)
from protocol.types import BIGINT, STRING, Column


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """``data`` cut at the given places, taken modulo its length."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)


def ack_lines(count: int, *, seq_first: bool = False) -> bytes:
    form = b'{"seq":%d,"status":"ok"}\n' if seq_first else b'{"status":"ok","seq":%d}\n'
    return b"".join(form % seq for seq in range(count))


@given(st.integers(0, 40), cuts, st.booleans())
def test_any_cut_of_ack_lines_gives_every_ack_once_and_in_order(
    count: int, cut_at: list[int], seq_first: bool
) -> None:
    reader = AckReader()
    batches = [
        reader.feed(piece) for piece in pieces(ack_lines(count, seq_first=seq_first), cut_at)
    ]
    seqs = [seq for b in batches if b for seq in range(b.first_seq, b.last_seq + 1)]
    assert seqs == list(range(count))
    assert sum(len(b) for b in batches if b) == count
    assert reader.end() is None


@given(st.integers(0, 20), cuts, st.booleans())
def test_a_refusal_comes_after_the_acks_below_it_and_nothing_after_it(
    count: int, cut_at: list[int], with_newline: bool
) -> None:
    refusal = {
        "@type": "InsertError",
        "status": "error",
        "seq": count,
        "message": "bad",
        "error_code": 40000,
    }
    data = ack_lines(count) + orjson.dumps(refusal) + (b"\n" if with_newline else b"")
    reader = AckReader()
    acked = 0
    for piece in pieces(data, cut_at):
        batch = reader.feed(piece)
        acked += len(batch) if batch else 0
    batch = reader.end()
    acked += len(batch) if batch else 0
    assert acked == count
    assert isinstance(reader.failure, RowRefused)
    assert (reader.failure.seq, reader.failure.message, reader.failure.code) == (
        count,
        "bad",
        40000,
    )
    assert reader.feed(b'{"status":"ok","seq":0}\n') is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"status":"ok","seq":1}\n',
        ack_lines(3) + b'{"status":"ok","seq":2}\n',
        ack_lines(3) + b'{"status":"ok","seq":4}\n',
        b"not json\n",
        b"[1]\n",
        b'{"status":"ok","seq":"0"}\n',
    ],
)
def test_acks_with_a_gap_a_repetition_or_another_form_are_an_error(data: bytes) -> None:
    with pytest.raises(AnswerBroken):
        AckReader().feed(data)


def test_an_error_line_without_a_row_fails_the_insert_as_a_whole() -> None:
    reader = AckReader()
    reader.feed(b'{"@type":"generic_error","error_code":50303,"message":"The server is down"}\n')
    assert isinstance(reader.failure, KsqlResponseError)
    assert reader.failure.code == 50303


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────


def verdict_lines(kinds: list[str]) -> bytes:
    """A line for each row: ok, again (a duplicate) or bad."""
    forms = {
        "ok": b'{"status":"ok","seq":%d}',
        "again": b'{"status":"ok","seq":%d,"duplicate":true}',
        "bad": b'{"status":"error","seq":%d,"message":"m","error_code":40000}',
    }
    return b"".join(forms[kind] % seq + b"\n" for seq, kind in enumerate(kinds))


@given(st.integers(0, 5), st.lists(st.sampled_from(["ok", "bad"]), max_size=20), cuts)
def test_any_cut_of_verdicts_gives_each_row_s_own(
    duplicates: int, later: list[str], cut_at: list[int]
) -> None:
    kinds = ["again"] * duplicates + later
    reader, found = AckReader(continues=True), list[str]()
    reader.sent = len(kinds)
    for piece in pieces(verdict_lines(kinds), cut_at):
        batch = reader.feed(piece)
        if batch is None:
            continue
        assert batch.first_seq == len(found)
        told = ["again"] * batch.duplicates + ["ok"] * (len(batch) - batch.duplicates)
        for refused in batch.refused:
            told[refused.seq - batch.first_seq] = "bad"
        acked = [seq for rows in batch.acked_ranges() for seq in rows]
        assert acked == [seq for seq, kind in enumerate(told, batch.first_seq) if kind != "bad"]
        assert batch.acked == len(acked)
        found += told
    assert found == kinds
    assert (reader.next_seq, reader.refused) == (len(kinds), kinds.count("bad"))
    assert (reader.last_refused is not None) == (kinds[-1:] == ["bad"])
    assert reader.failure is None


def test_unless_it_goes_on_the_first_refused_row_fails_the_insert() -> None:
    reader = AckReader()
    reader.sent = 3
    assert reader.feed(verdict_lines(["again", "ok", "bad"])) == AckBatch(0, 1, 1)
    assert isinstance(reader.failure, RowRefused)
    assert reader.failure.seq == 2


def test_an_error_at_a_row_that_was_not_sent_is_the_end_in_either_mode() -> None:
    reader = AckReader(continues=True)
    reader.sent = 2
    assert reader.feed(verdict_lines(["ok", "ok", "bad"])) == AckBatch(0, 1)
    assert isinstance(reader.failure, RowRefused)


def test_a_refusal_out_of_order_is_an_error_too() -> None:
    reader = AckReader(continues=True)
    reader.sent = 9
    with pytest.raises(AnswerBroken):
        reader.feed(b'{"status":"error","seq":3,"message":"m","error_code":40000}\n')


@pytest.mark.parametrize(
    ("headers", "offset"),
    [({}, None), ({"headrace-next-offset": "9223372036854775807"}, 2**63 - 1)],
)
def test_the_next_offset_is_read_from_the_response(
    headers: dict[str, str], offset: int | None
) -> None:
    assert next_offset(headers) == offset


@pytest.mark.parametrize("text", ["", "-1", "1.0", "x", "\u0663"])
def test_a_next_offset_that_is_no_number_breaks_the_answer(text: str) -> None:
    with pytest.raises(AnswerBroken):
        next_offset({"headrace-next-offset": text})


def test_a_channel_and_its_offset_are_asked_for_by_name() -> None:
    terms = InsertTerms(channel="edge-7", offset=0, on_error="continue")
    assert terms.continues
    assert orjson.loads(insert_arguments("t", terms))["properties"] == {
        "headrace.ack": "committed",
        "headrace.frames": "coalesced",
        "headrace.channel": "edge-7",
        "headrace.offset": 0,
        "headrace.on_error": "continue",
    }
    assert not InsertTerms(on_error="stop").continues
    assert InsertTerms(properties={"headrace.on_error": "continue"}).continues


HEADER = b'{"queryId":"q1","columnNames":["A","B"],"columnTypes":["BIGINT","STRING"]}\n'

values = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), st.one_of(st.none(), st.text())
    ).map(list),
    max_size=20,
)


@given(values, cuts)
def test_any_cut_of_a_query_answer_gives_the_same_rows(
    rows: list[list[object]], cut_at: list[int]
) -> None:
    data = HEADER + b"".join(orjson.dumps(row) + b"\n" for row in rows)
    reader = QueryReader()
    got = [row for piece in pieces(data, cut_at) for row in reader.feed(piece)]
    assert got == rows
    assert reader.header is not None
    assert reader.header.query_id == "q1"
    assert reader.header.columns == (Column("A", BIGINT), Column("B", STRING))


def test_an_error_among_rows_comes_after_the_rows_before_it() -> None:
    reader = QueryReader()
    error = b'{"@type":"generic_error","error_code":50000,"message":"broke"}\n'
    assert reader.feed(HEADER + b"[1,null]\n" + error + b"[2,null]\n") == [[1, None]]
    assert isinstance(reader.failure, QueryFailed)
    assert (reader.failure.code, reader.failure.message) == (50000, "broke")


def test_an_error_in_the_place_of_the_header_fails_the_query() -> None:
    with pytest.raises(QueryFailed, match="broke"):
        QueryReader().feed(b'{"@type":"generic_error","error_code":50000,"message":"broke"}\n')


def test_a_query_without_an_id_has_an_empty_one() -> None:
    reader = QueryReader()
    reader.feed(b'{"queryId":null,"columnNames":[],"columnTypes":[]}\n')
    assert reader.header is not None
    assert reader.header.query_id == ""


def test_continuation_tokens_are_kept_and_are_no_rows() -> None:
    reader = QueryReader()
    rows = reader.feed(HEADER + b'[1,"x"]\n{"continuationToken":"t1"}\n[2,"y"]\n')
    assert rows == [[1, "x"], [2, "y"]]
    assert reader.continuation_token == "t1"


@pytest.mark.parametrize(
    "line",
    [b"[1]\n", b"nonsense\n", b'{"columnNames":["A"],"columnTypes":[]}\n', b"\n"],
)
def test_what_is_no_header_is_an_error(line: bytes) -> None:
    with pytest.raises(AnswerBroken):
        QueryReader().feed(line)


def test_blank_lines_among_rows_are_a_servers_sign_of_life() -> None:
    assert QueryReader().feed(HEADER + b"\n[1,null]\n\n") == [[1, None]]


@pytest.mark.parametrize("line", [b"[1,\n", b"17\n"])
def test_what_is_no_row_is_an_error(line: bytes) -> None:
    with pytest.raises(AnswerBroken):
        QueryReader().feed(HEADER + line)


def test_rows_go_out_as_lines_and_bytes_as_they_are() -> None:
    assert row_lines({"A": 1, "B": None}) == (b'{"A":1,"B":null}\n', 1)
    assert row_lines(b'{"A": 1}') == (b'{"A": 1}\n', 1)
    assert row_lines(b'{"A":1}\n{"A":2}\n') == (b'{"A":1}\n{"A":2}\n', 2)


def test_arguments_ask_for_packed_frames_and_the_callers_properties_win() -> None:
    terms = InsertTerms(ack="spooled", properties={"headrace.frames": "each", "x": 1})
    asked = orjson.loads(insert_arguments("`t`", terms))
    properties = {"headrace.ack": "spooled", "headrace.frames": "each", "x": 1}
    assert asked == {"target": "`t`", "properties": properties}
    body = orjson.loads(query_arguments("SELECT 1;", {}))
    assert body == {"sql": "SELECT 1;", "properties": {"headrace.frames": "coalesced"}}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"@type":"generic_error","error_code":40001,"message":"no"}', 40001, "no"),
        (b"Not Found", 40400, "Not Found"),
        (b"", 40400, "the server gave no reason"),
        (b"\xff", 40400, "\ufffd"),
    ],
)
def test_every_error_reply_becomes_one_exception(body: bytes, code: int, message: str) -> None:
    error = response_error(404, body)
    assert (error.status, error.code, error.message) == (404, code, message)
