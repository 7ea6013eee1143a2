"""The answer to a query: header, rows, perhaps an error, an end; nothing else, nothing after."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InternalError, TooManyRequests
from protocol.framing import Framing
from protocol.queries import TRANSITIONS, IllegalIntent, Intent, QueryStream, State
from protocol.types import BIGINT, STRING, array_of, parse_type

HEADER = (
    b'{"queryId":"query_1655152127973","columnNames":["COUNT","USERID"],'
    b'"columnTypes":["BIGINT","STRING"]}'
)
COLUMNS = [("COUNT", BIGINT), ("USERID", STRING)]


def started(framing: Framing = Framing.DELIMITED, *, coalesced: bool = False) -> QueryStream:
    stream = QueryStream(framing, coalesced=coalesced)
    stream.header("query_1655152127973", COLUMNS)
    return stream


def test_the_header_is_written_as_ksqldb_writes_it() -> None:
    stream = QueryStream(Framing.DELIMITED, coalesced=False)
    assert stream.header("query_1655152127973", COLUMNS) == [HEADER + b"\n"]
    stream = QueryStream(Framing.JSON, coalesced=False)
    assert stream.header("query_1655152127973", COLUMNS) == [b"[" + HEADER]


def test_types_in_the_header_are_ksqldb_s_text() -> None:
    kinds = ["DECIMAL(4, 2)", "ARRAY<STRING>", "MAP<STRING, BIGINT>", "STRUCT<`a b` INTEGER>"]
    stream = QueryStream(Framing.DELIMITED, coalesced=False)
    (line,) = stream.header("q", [("C", parse_type(kind)) for kind in kinds])
    assert orjson.loads(line)["columnTypes"] == kinds


def test_a_delimited_answer_is_byte_for_byte_the_documented_one() -> None:
    stream = started()
    assert stream.rows(b'[1,"USER_1"]\n[2,null]\n') == [b'[1,"USER_1"]\n', b"[2,null]\n"]
    assert stream.end() == []


def test_coalesced_rows_share_a_frame() -> None:
    assert started(coalesced=True).rows(b"[1]\n[2]\n") == [b"[1]\n[2]\n"]


def test_a_json_answer_is_byte_for_byte_the_documented_one() -> None:
    stream = QueryStream(Framing.JSON, coalesced=False)
    frames = stream.header("query_1655152127973", COLUMNS)
    frames += stream.rows(b'[1,"USER_1"]\n[2,null]\n')
    frames += stream.end()
    assert b"".join(frames) == b"[" + HEADER + b',[1,"USER_1"],[2,null]]'


def test_an_error_is_a_line_and_then_the_end() -> None:
    stream = started()
    error = TooManyRequests("slow reader")
    assert stream.error(error) == [error.body() + b"\n"]
    assert stream.state is State.ENDED
    stream = started(Framing.JSON)
    assert b"".join(stream.error(error)) == b"," + error.body() + b"]"


SAY: dict[Intent, Callable[[QueryStream], list[bytes]]] = {
    Intent.HEADER: lambda stream: stream.header("q", [("A", array_of(STRING))]),
    Intent.ROWS: lambda stream: stream.rows(b"[1]\n"),
    Intent.ERROR: lambda stream: stream.error(InternalError()),
    Intent.END: lambda stream: stream.end(),
}


def streaming() -> QueryStream:
    return started()


def ended() -> QueryStream:
    stream = started()
    stream.end()
    return stream


MAKE: dict[State, Callable[[], QueryStream]] = {
    State.STARTING: lambda: QueryStream(Framing.DELIMITED, coalesced=False),
    State.STREAMING: streaming,
    State.ENDED: ended,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("intent", Intent)
def test_what_is_absent_from_the_table_cannot_be_said(state: State, intent: Intent) -> None:
    stream = MAKE[state]()
    assert stream.state is state
    if (state, intent) in TRANSITIONS:
        SAY[intent](stream)
        assert stream.state is TRANSITIONS[state, intent]
        return
    with pytest.raises(IllegalIntent, match=f"{intent} in {state}"):
        SAY[intent](stream)
    assert stream.state is state


rows = st.lists(st.lists(st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=3)), max_size=3))


@settings(deadline=None)
@given(st.lists(rows, max_size=4), st.booleans(), st.booleans(), st.sampled_from(list(Framing)[:2]))
def test_header_rows_and_error_come_out_in_order_and_whole(
    chunks: list[list[list[object]]], breaks: bool, coalesced: bool, framing: Framing
) -> None:
    stream = QueryStream(framing, coalesced=coalesced)
    frames = stream.header("q", COLUMNS)
    for chunk in chunks:
        part = stream.rows(b"".join(orjson.dumps(row) + b"\n" for row in chunk))
        assert all(part)
        frames += part
    frames += stream.error(InternalError()) if breaks else stream.end()
    body = b"".join(frames)
    if framing is Framing.JSON:
        found = orjson.loads(body)
    else:
        found = [orjson.loads(line) for line in body.split(b"\n")[:-1]]
    expected = [row for chunk in chunks for row in chunk]
    assert found[0]["queryId"] == "q"
    assert found[1 : len(expected) + 1] == expected
    assert found[len(expected) + 1 :] == ([InternalError().document()] if breaks else [])
