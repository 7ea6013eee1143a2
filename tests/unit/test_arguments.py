"""Arguments of the endpoints: what Jackson takes is taken, and all else is a bad request."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.arguments import (
    InsertArguments,
    InsertOptions,
    KsqlArguments,
    QueryArguments,
    channel_name,
    parse_close_arguments,
    parse_insert_arguments,
    parse_insert_options,
    parse_ksql_arguments,
    parse_query_arguments,
    parse_query_request,
)
from protocol.errors import BadRequest

PREFIX = "Invalid JSON in request: "
MISSING = PREFIX + "Missing required creator property "
ENDS_EARLY = PREFIX + "Unexpected end-of-input: expected close marker for Object"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", PREFIX + "No content to map due to end-of-input"),
        (b" \r\n\t", PREFIX + "No content to map due to end-of-input"),
        (b"[]", PREFIX + "Cannot "),
        (b'"x"', PREFIX + "Cannot "),
        (b"1", PREFIX + "Cannot "),
        (b"true", PREFIX + "Cannot "),
        (b"null", PREFIX + "Cannot "),
        (b"{}", MISSING + "'sql' (index 0)"),
        (b'{"SQL":"x"}', MISSING + "'sql' (index 0)"),
        (b'{"foo":1', ENDS_EARLY),
        (b'{"foo":1  \n', ENDS_EARLY),
        (b'{"sql":"x","properties":{', ENDS_EARLY),
        (b'{"sql":{}}', PREFIX),
        (b'{"sql":[]}', PREFIX),
        (b'{"sql":null}', PREFIX),
        (b'{"sql":"x","properties":[]}', PREFIX),
        (b'{"sql":"x","properties":"y"}', PREFIX),
        (b'{"sql":"x","sessionVariables":1}', PREFIX),
        (b'{"sql":"x","requestProperties":false}', PREFIX),
        (b'{"sql":"a\nb"}', PREFIX),
        (b'{"sql":"unended', PREFIX),
        (b"{sql:1}", PREFIX),
        (b'{"sql":NaN}', PREFIX),
        (b'{"sql":"\xff"}', PREFIX + "Invalid UTF-8 at byte 8"),
        (b'{"sql":"\\ud800"}', PREFIX),
        (b'{"sql":' + b"[" * 100_000, PREFIX),
        (b'{"sql":' + b"9" * 10_000 + b"}", PREFIX),
    ],
)
def test_what_ksqldb_refuses_is_a_bad_request_with_its_prefix(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query_arguments(body)
    assert caught.value.message.startswith(message)
    assert (caught.value.status, caught.value.code) == (400, 40000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("body", "sql"),
    [
        (b'{"sql":"x"}', "x"),
        (b' \n{"sql":"x"}\r', "x"),
        (b'{"sql":"x"} garbage', "x"),
        (b'{"sql":"x","sql":"y"}', "y"),
        (b'{"sql":123}', "123"),
        (b'{"sql":1.5}', "1.5"),
        (b'{"sql":true}', "true"),
        (b'{"sql":"x","unknown":{"deep":[1]}}', "x"),
        (b'{"sql":"x","streamsProperties":{"a":"b"}}', "x"),
        ('{"sql":"\\u00e9é\\ud83d\\ude00"}'.encode(), "éé😀"),
        (b'{"sql":"a\\nb"}', "a\nb"),
    ],
)
def test_what_ksqldb_takes_is_taken(body: bytes, sql: str) -> None:
    assert parse_query_arguments(body) == QueryArguments(sql, {}, {}, {})


def test_absent_and_null_objects_are_empty_and_others_are_kept() -> None:
    body = b'{"sql":"x","properties":null,"sessionVariables":{"v":1},"requestProperties":{"r":[]}}'
    assert parse_query_arguments(body) == QueryArguments("x", {}, {"v": 1}, {"r": []})


def test_a_query_request_is_ksqldb_s_older_body() -> None:
    body = (
        b'{"ksql":"x","streamsProperties":{"a":1},"sessionVariables":{"v":"w"},'
        b'"requestProperties":{"r":true},"commandSequenceNumber":7}'
    )
    assert parse_query_request(body) == QueryArguments("x", {"a": 1}, {"v": "w"}, {"r": True})


@pytest.mark.parametrize("body", [b"{}", b'{"ksql":null}', b'{"sql":"x"}'])
def test_a_query_request_without_its_text_has_an_empty_one(body: bytes) -> None:
    assert parse_query_request(body).sql == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"ksql":[]}', b'{"streamsProperties":1}'])
def test_a_query_request_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=f"^{PREFIX}"):
        parse_query_request(body)


def test_insert_arguments_need_a_target() -> None:
    with pytest.raises(BadRequest, match="Missing required creator property 'target'"):
        parse_insert_arguments(b"{}")
    body = b'{"target":"`s`","properties":{"headrace.ack":"spooled"}}'
    assert parse_insert_arguments(body) == InsertArguments("`s`", {"headrace.ack": "spooled"})


@pytest.mark.parametrize(("body", "query_id"), [(b'{"queryId":"q"}', "q"), (b'{"queryId":7}', "7")])
def test_close_arguments_are_a_query_id(body: bytes, query_id: str) -> None:
    assert parse_close_arguments(body) == query_id


@pytest.mark.parametrize("body", [b"{}", b'{"queryId":null}', b'{"queryId":{}}'])
def test_close_arguments_without_an_id_are_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_close_arguments(body)


@pytest.mark.parametrize(
    ("body", "text"), [(b"{}", ""), (b'{"ksql":null}', ""), (b'{"ksql":"SHOW x;"}', "SHOW x;")]
)
def test_a_ksql_request_without_statements_is_an_empty_one(body: bytes, text: str) -> None:
    assert parse_ksql_arguments(body) == KsqlArguments(text, {}, {})


def test_a_ksql_request_has_its_properties_under_their_old_name() -> None:
    body = b'{"ksql":"x","streamsProperties":{"a":1},"sessionVariables":{"v":"w"}}'
    assert parse_ksql_arguments(body) == KsqlArguments("x", {"a": 1}, {"v": "w"})


@pytest.mark.parametrize(
    "properties", [b'{"headrace.ack":"\\ud800"}', b'{"\\udfff":1}', b'{"a":[{"b":"\\ud800"}]}']
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands(properties: bytes) -> None:
    """A property may end up in an error's message, and no UTF-8 body could hold that."""
    with pytest.raises(BadRequest):
        parse_insert_arguments(b'{"target":"s","properties":' + properties + b"}")


PARSERS = [
    parse_query_arguments,
    parse_insert_arguments,
    parse_close_arguments,
    parse_ksql_arguments,
]
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["sql", "target", "queryId", "ksql", "properties", "x"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON, JSON with a piece cut out or put in, and plain bytes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=40))
    text = json.dumps(draw(documents)).encode()
    at, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return draw(st.sampled_from([text, text[:at], text[:at] + text[end:], text[:at] + b'\x00"']))


@settings(deadline=None, max_examples=300)
@given(bodies(), st.sampled_from(PARSERS))
def test_any_body_is_arguments_or_a_bad_request(
    body: bytes, parse: Callable[[bytes], object]
) -> None:
    refused: BadRequest | None = None
    try:
        parse(body)
    except BadRequest as error:
        refused = error
    if refused is not None:
        assert refused.message.startswith(PREFIX)
        assert json.loads(refused.body())["error_code"] == 40000


# ── what an insert asks for in its properties ────────────────────────────────────────────────


def test_without_properties_an_insert_is_on_no_channel_and_ends_at_its_first_bad_row() -> None:
    assert parse_insert_options({}) == InsertOptions()
    nulls = {f"headrace.{name}": None for name in ("channel", "offset", "on_error", "frames")}
    assert parse_insert_options(nulls | {"ksql.other": 1}) == InsertOptions()


@pytest.mark.parametrize("offset", [0, 1200, 2**63 - 1])
def test_an_offset_is_a_number_or_its_digits(offset: int) -> None:
    for given_as in (offset, str(offset)):
        found = parse_insert_options({"headrace.channel": "c", "headrace.offset": given_as})
        assert (found.channel, found.offset) == ("c", offset)


@pytest.mark.parametrize(
    "offset", [-1, 2**63, "-1", "+1", "1_0", " 1", "", "9" * 5000, "²", 1.0, True, [], {"a": 1}]
)
def test_what_is_no_offset_is_refused_in_short(offset: object) -> None:
    with pytest.raises(BadRequest, match=r"^headrace\.offset is a whole number") as refused:
        parse_insert_options({"headrace.channel": "c", "headrace.offset": offset})
    assert len(refused.value.message) < 500


def test_an_offset_without_a_channel_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^headrace\.offset needs headrace\.channel"):
        parse_insert_options({"headrace.offset": 0})


@pytest.mark.parametrize(
    ("given_as", "name"), [("c", "c"), ("a/b c", "a/b c"), ("ä" * 256, "ä" * 256), (7, "7")]
)
def test_a_channel_has_a_name(given_as: object, name: str) -> None:
    assert channel_name(given_as) == name


@pytest.mark.parametrize(
    "given_as", ["", "x" * 257, "a\n", "\x00", "\x7f", "\x85", None, True, 1.5, [], {}]
)
def test_what_is_no_channel_name_is_refused(given_as: object) -> None:
    with pytest.raises(BadRequest, match=r"^headrace\.channel is a name of 1 to 256 characters"):
        channel_name(given_as)


def test_bad_rows_end_the_stream_or_not_as_the_insert_asks() -> None:
    assert parse_insert_options({"headrace.on_error": "continue"}).continues
    assert not parse_insert_options({"headrace.on_error": "stop"}).continues
    with pytest.raises(BadRequest, match=r"'continue'.*'stop'"):
        parse_insert_options({"headrace.on_error": "CONTINUE"})
