"""Any bytes to every endpoint, whole and byte by byte: documented errors only, no 500, no hang.

Three kinds of bytes: any at all; JSON bodies of the right shape with any text in them; and texts
made of SQL's own words, which get further in. Each is sent whole and as one DATA frame a byte. A
query that is accepted is let run for its header and reset.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.gateways import GatewayProcess
from tests.server.ksqldb import ksql
from tests.streams import Stream

REPLY_S = 10.0
SHORT_BYTES = 300
"""bodies up to this size are also sent byte by byte"""
STATUS_OF_CODE = {40000: 400, 40001: 400, 40002: 400, 40003: 400, 40004: 400, 40400: 404}
STATUS_OF_CODE |= {40500: 405, 41300: 413, 41700: 417, 42900: 429}
ACCEPTS = ["*/*", "application/json", "application/vnd.ksql.v1+json", "application/*;q=0.1"]

bounded = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

raw = st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: b"{" + data))

SPOKEN = """SELECT CREATE STREAM TABLE DROP LIST SHOW DESCRIBE EXPLAIN TERMINATE SET UNSET DEFINE
UNDEFINE ASSERT TOPIC SCHEMA INSERT INTO REPLACE VALUES OR IF NOT EXISTS EXTENDED WITH AS FROM WHERE
GROUP BY ORDER LIMIT EMIT CHANGES FINAL FUZZED QUERIES PROPERTIES VARIABLES FUNCTIONS TYPES PRINT
PARTITIONED ALL DAY COUNT ID NAME AT BIGINT STRING DECIMAL ARRAY STRUCT MAP NULL TRUE CAST FUZZED
( ) , ; ; * = < > . + - / % ' " ` ${ } ${ID} -- /* */ 'text' "quoted" `ticked` 0 1 -1 1e400 0.5
99999999999999999999 é \u0000 \U0001f600"""
"""words and signs that get past the first line of a parser"""

words = st.lists(st.sampled_from(SPOKEN.split()), max_size=8).map(" ".join)
TEMPLATES = [
    "{}",
    "{};",
    "SELECT {} FROM FUZZED {};",
    "SELECT ID, {} FROM FUZZED WHERE {} EMIT CHANGES;",
    "SELECT * FROM FUZZED WHERE ID {} ORDER BY {} LIMIT 3;",
    "SELECT COUNT({}) FROM FUZZED GROUP BY {};",
    "CREATE OR REPLACE STREAM FUZZED (ID BIGINT, {}) WITH ({});",
    "CREATE TABLE IF NOT EXISTS {} (K STRING PRIMARY KEY) WITH (kafka_topic='t', {});",
    "INSERT INTO FUZZED ({}) VALUES ({});",
    "INSERT INTO FUZZED SELECT {} PARTITIONED BY {};",
    "SET 'auto.offset.reset' = '{}'; DEFINE x = '{}'; LIST STREAMS {};",
    "EXPLAIN SELECT {} FROM FUZZED {};",
    "ASSERT {} TOPIC '{}' TIMEOUT 1 SECONDS;",
    "DESCRIBE FUZZED {}; TERMINATE {};",
]


@st.composite
def statements(draw: st.DrawFn) -> str:
    """Statements that get past the first word, with any words in their gaps."""
    head, *gaps = draw(st.sampled_from(TEMPLATES)).split("{}")
    return head + "".join(draw(words) + gap for gap in gaps)


texts = st.one_of(statements(), statements(), statements(), st.text(max_size=60))
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), finite, st.text(max_size=20))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
rows = st.dictionaries(st.sampled_from(["ID", "id", "`ID`", "NAME", "AT", "PRICE", "x"]), values)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A body whose members have the right names, and mostly the right types."""
    fitting = st.dictionaries(st.text(max_size=8), scalars, max_size=2)
    properties = draw(st.one_of(fitting, fitting, fitting, values))
    body: dict[str, Any] = {
        "sql": draw(st.one_of(texts, texts, texts, values)),
        "properties": properties,
        "streamsProperties": properties,
        "sessionVariables": draw(st.dictionaries(st.just("ID"), values)),
        "queryId": draw(st.one_of(st.text(max_size=10), values)),
    }
    body["ksql"] = body["sql"]
    dropped = draw(st.sets(st.sampled_from(sorted(body)), max_size=2))
    return {name: value for name, value in body.items() if name not in dropped}


asked_in_json = requests().map(lambda body: json.dumps(body).encode())
bodies = st.one_of(raw, asked_in_json, asked_in_json, asked_in_json)


@st.composite
def insert_bodies(draw: st.DrawFn) -> bytes:
    """An arguments line, mostly of the stream that is there, and lines that are mostly rows."""
    properties = draw(st.one_of(st.just({}), values))
    arguments = json.dumps({"target": "fuzzed", "properties": properties}).encode()
    lines = draw(st.lists(st.one_of(raw, rows.map(lambda row: json.dumps(row).encode()))))
    return b"\n".join([draw(st.one_of(st.just(arguments), raw)), *lines])


@pytest.fixture(scope="module", autouse=True)
def fuzzed(gateway: GatewayProcess) -> None:
    """The stream that statements and rows may hit, or drop."""
    with gateway.peer() as peer:
        ksql(peer, "CREATE OR REPLACE STREAM FUZZED (ID BIGINT, NAME STRING, PRICE DOUBLE);")


@contextmanager
def asked(
    gateway: GatewayProcess, path: str, body: bytes, accept: str, size: int
) -> Iterator[Stream]:
    with gateway.peer() as peer:
        stream = peer.open("POST", path, [("accept", accept)])
        stream.send(body, sizes=size, end=True, deadline_s=REPLY_S)
        stream.read_headers(REPLY_S)
        yield stream
        assert peer.goaway is None
        peer.ping()


def assert_documented(stream: Stream) -> None:
    """A refusal as ksqlDB documents it, or a 200."""
    if stream.status == 200:
        return
    error = json.loads(stream.read_to_end(REPLY_S))
    assert STATUS_OF_CODE[error["error_code"]] == stream.status, error
    assert error["@type"] in ("generic_error", "statement_error")
    assert isinstance(error["message"], str)
    assert error["message"]


def settle(stream: Stream) -> None:
    """Read what ends by itself; a push query is reset once its header is there."""
    peer = stream.peer
    peer.read_until(lambda: stream.over or b'"transient_' in stream.body, REPLY_S, "an end")
    if not stream.over:
        stream.reset()


def sizes_of(body: bytes) -> list[int]:
    return [1 << 14, 1] if len(body) <= SHORT_BYTES else [1 << 14]


@pytest.mark.parametrize("path", ["/ksql", "/close-query", "/ksql/terminate"])
@bounded
@given(body=bodies, accept=st.sampled_from(ACCEPTS))
@example(body=b'{"ksql":"ASSERT TOPIC \'\';"}', accept="*/*")
def test_a_statement_endpoint_answers_any_bytes(
    gateway: GatewayProcess, path: str, body: bytes, accept: str
) -> None:
    for size in sizes_of(body):
        with asked(gateway, path, body, accept, size) as stream:
            assert_documented(stream)
            if stream.status == 200:
                json.loads(stream.read_to_end(REPLY_S))


@pytest.mark.parametrize("path", ["/query-stream", "/query"])
@bounded
@given(body=bodies, accept=st.sampled_from(ACCEPTS))
def test_a_query_endpoint_answers_any_bytes(
    gateway: GatewayProcess, path: str, body: bytes, accept: str
) -> None:
    for size in sizes_of(body):
        with asked(gateway, path, body, accept, size) as stream:
            assert_documented(stream)
            settle(stream)


@bounded
@given(body=insert_bodies(), accept=st.sampled_from(ACCEPTS))
def test_an_insert_stream_answers_any_bytes(
    gateway: GatewayProcess, body: bytes, accept: str
) -> None:
    for size in sizes_of(body):
        with asked(gateway, "/inserts-stream", body, accept, size) as stream:
            assert_documented(stream)
            if stream.status != 200:
                continue
            said = stream.read_to_end(REPLY_S)
            in_json = stream.headers is not None and said.startswith(b"[")
            acks = json.loads(said) if in_json else [json.loads(line) for line in stream.lines]
            assert [ack["seq"] for ack in acks] == list(range(len(acks)))
            assert all(ack["status"] == "ok" for ack in acks[:-1])
            assert all(ack.get("error_code", 40000) in STATUS_OF_CODE for ack in acks)


@bounded
@given(
    path=st.one_of(
        st.text(max_size=30).map(lambda text: f"/{text}"),
        st.text(max_size=20).map(lambda text: f"/status/{text}"),
        st.text(max_size=20).map(lambda text: f"/is_valid_property/{text}"),
        st.text(max_size=20).map(lambda text: f"/v1/metadata/{text}"),
        st.text(max_size=20).map(lambda text: f"/ws/query?request={text}"),
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "QUERY"]),
    accept=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30),
)
def test_any_path_method_and_accept_is_answered(
    gateway: GatewayProcess, path: str, method: str, accept: str
) -> None:
    target = "".join(c if c.isascii() and c.isprintable() and c != " " else "%C3" for c in path)
    with gateway.peer() as peer:
        stream = peer.open(method, target, [("accept", accept)], end=True)
        stream.read_headers(REPLY_S)
        if stream.status in (307, 308) or method in ("HEAD", "OPTIONS"):
            assert stream.status < 500
        else:
            assert_documented(stream)
        peer.ping()
