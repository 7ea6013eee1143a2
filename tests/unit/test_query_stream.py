"""The answer to a query: header, rows, perhaps an error, an end; nothing else, nothing after."""

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import InternalError, KsqlError, TooManyRequests
from protocol.framing import Framing
from protocol.queries import LIMIT_REACHED, TRANSITIONS, IllegalIntent, Intent, QueryStream, State
from protocol.types import BIGINT, DOUBLE, INTEGER, STRING, Column, array_of, parse_type

HEADER = (
    b'{"queryId":"query_1655152127973","columnNames":["COUNT","USERID"],'
    b'"columnTypes":["BIGINT","STRING"]}'
)
COLUMNS = [Column("COUNT", BIGINT), Column("USERID", STRING)]


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
    (line,) = stream.header("q", [Column("C", parse_type(kind)) for kind in kinds])
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


# ── v1+json ──────────────────────────────────────────────────────────────────────────────────

V1_COLUMNS = [Column("A", INTEGER, key=True), Column("B", DOUBLE), Column("C", array_of(STRING))]
V1_HEADER = (
    b'[{"header":{"queryId":"queryId","schema":"`A` INTEGER KEY, `B` DOUBLE, `C` ARRAY<STRING>"}}'
)
V1_ROW = b'{"row":{"columns":[123,234.0,["hello"]]}}'
LINE = b'[123,234.0,["hello"]]\n'


def v1_body(*rows: bytes, final: str | None = None, error: KsqlError | None = None) -> bytes:
    """A whole body, each of ``rows`` written by a call of its own."""
    stream = QueryStream(Framing.V1_JSON, coalesced=False, final_message=final is not None)
    frames = stream.header("queryId", V1_COLUMNS)
    for raw in rows:
        frames += stream.rows(raw)
    frames += stream.error(error) if error is not None else stream.end(final or "unheard")
    assert all(frames)
    return b"".join(frames)


def test_vector_57_v1_json_without_rows_is_a_header_on_one_line() -> None:
    assert v1_body() == V1_HEADER + b"]"


def test_vector_58_v1_json_of_one_row() -> None:
    assert v1_body(LINE) == V1_HEADER + b",\n" + V1_ROW + b"]"


def test_vector_59_v1_json_rows_are_separated_and_the_last_is_closed_at_once() -> None:
    expected = V1_HEADER + b",\n" + V1_ROW + b",\n" + V1_ROW + b"]"
    assert v1_body(LINE, LINE) == expected
    assert v1_body(LINE + LINE) == expected


def test_vector_60_v1_json_ends_with_a_message_of_completion() -> None:
    expected = V1_HEADER + b",\n" + V1_ROW + b',\n{"finalMessage":"complete!"}]'
    assert v1_body(LINE, final="complete!") == expected


def test_vector_61_v1_json_ends_with_a_message_of_the_limit() -> None:
    expected = V1_HEADER + b",\n" + V1_ROW + b',\n{"finalMessage":"limit hit!"}]'
    assert v1_body(LINE, final="limit hit!") == expected


def test_vector_62_v1_json_packs_many_rows_into_few_writes() -> None:
    stream = QueryStream(Framing.V1_JSON, coalesced=False)
    frames = stream.header("queryId", V1_COLUMNS)
    for _ in range(10):
        frames += stream.rows(LINE * 400)
    frames += stream.end()
    assert len(b"".join(frames).split(b"\n")) == 4001
    assert len(frames) <= 38


def test_where_a_message_will_follow_every_line_is_whole_at_once() -> None:
    """A client reads lines: a row whose separator waited for the next row would come late."""
    stream = QueryStream(Framing.V1_JSON, coalesced=False, final_message=True)
    frames = [*stream.header("q", V1_COLUMNS), *stream.rows(LINE), *stream.rows(LINE + LINE)]
    assert all(frame.endswith(b",\n") for frame in frames)
    assert stream.end(LIMIT_REACHED) == [b'{"finalMessage":"Limit Reached"}]']


@pytest.mark.parametrize("final", [None, "unsaid"])
@pytest.mark.parametrize("count", [0, 2])
def test_an_error_in_v1_json_closes_its_line_before_the_array(
    final: str | None, count: int
) -> None:
    """What follows may be a reset: a line without its newline would never be read then."""
    error = TooManyRequests("slow reader")
    body = v1_body(*[LINE] * count, final=final, error=error)
    element = orjson.dumps({"errorMessage": error.document()})
    assert body == b",\n".join([V1_HEADER, *[V1_ROW] * count, element]) + b"\n]"
    assert orjson.loads(body)[-1]["errorMessage"]["error_code"] == 42900


def java_records(body: bytes) -> list[bytes]:
    """How the Java client cuts and strips a body (protocol notes, appendix B, 1 and 2)."""
    records = []
    for line in body.split(b"\n"):
        assert line, "a blank line raises in the client"
        record = line.removeprefix(b"[").removesuffix(b"]")
        records.append(record[:-1] if len(record) > 1 and record.endswith(b",") else record)
    return [record for record in records if record]


@given(
    st.lists(st.integers(1, 3), max_size=4),
    st.sampled_from([None, "Query Completed"]),
    st.booleans(),
)
def test_v1_json_is_valid_json_and_what_the_java_client_reads(
    chunks: list[int], final: str | None, breaks: bool
) -> None:
    rows = [b"".join(b'["a, ]",%d]\n' % n for n in range(count)) for count in chunks]
    body = v1_body(*rows, final=final, error=InternalError() if breaks else None)
    elements = orjson.loads(body)
    assert [orjson.loads(record) for record in java_records(body)] == elements
    assert [list(element) for element in elements] == [
        ["header"],
        *[["row"]] * sum(chunks),
        *([["errorMessage"]] if breaks else [["finalMessage"]] if final else []),
    ]


def test_a_token_is_an_element_of_its_own_in_every_framing() -> None:
    assert started().token("AQ==") == [b'{"continuationToken":"AQ=="}\n']
    assert started(Framing.JSON).token("AQ==") == [b',{"continuationToken":"AQ=="}']
    stream = QueryStream(Framing.V1_JSON, coalesced=False, final_message=True)
    stream.header("q", V1_COLUMNS)
    nested = b'{"continuationToken":{"continuationToken":"AQ=="}}'
    assert stream.token("AQ==") == [nested + b",\n"]


SAY: dict[Intent, Callable[[QueryStream], list[bytes]]] = {
    Intent.HEADER: lambda stream: stream.header("q", [Column("A", array_of(STRING))]),
    Intent.ROWS: lambda stream: stream.rows(b"[1]\n"),
    Intent.TOKEN: lambda stream: stream.token("AQ=="),
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
@given(
    st.lists(rows, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Framing.DELIMITED, Framing.JSON]),
)
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
