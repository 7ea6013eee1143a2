"""Requests that are made to be misunderstood: smuggled, oversized, traversing, injecting."""

import contextlib
import json
import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import ask1, ask2, guarded_gateway, shown, who
from tests.peers import Peer
from tests.server.ksqldb import Reply, arguments_line, records
from tests.streams import Stalled, Stream

AUTH = f"Authorization: {who('olga')}"
DEADLINE_S = 15.0
DEFINE = b'{"ksql":"CREATE STREAM SMUGGLED (ID INT) WITH (kafka_topic=\'s\');"}'

NAMES = [
    'x"; DROP TABLE t; --',
    "x'; DROP TABLE t; --",
    "x); DROP TABLE t; --",
    "../../etc/passwd",
    "%2e%2e",
    "a b",
    "a\\b",
    "SELECT",
    "sys.tasks",
    "ünïcödé 表",
    "$(id)",
    "${x}",
    "{{7*7}}",
    "n" * 200,
]
"""Names that a stream may have, in back-ticks."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with guarded_gateway(tmp_path_factory.mktemp("hostile")) as running:
        yield running
        complaints = running.complaints
        assert running.stop() == 0
    assert complaints == []


def _exchange(gateway: GatewayProcess, raw: bytes) -> bytes:
    """All that is answered to these bytes, to the end of the connection."""
    with socket.create_connection(gateway.address, DEADLINE_S) as sock:
        answered = b""
        # One that is refused before its end may be hung up on.
        with contextlib.suppress(OSError):
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(1 << 16):
                answered += data
        return answered


def _head(*lines: str, start: str = "POST /ksql HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: gateway", *lines, "", ""]).encode("latin-1")


def _ksql(gateway: GatewayProcess, text: str, name: str = "olga") -> Reply:
    body = json.dumps({"ksql": text}).encode()
    return ask2(gateway.address, "POST", "/ksql", body, shown(who(name)))


def _streams(gateway: GatewayProcess) -> set[str]:
    reply = _ksql(gateway, "LIST STREAMS;")
    return {stream["name"] for stream in reply.document[0]["streams"]}


# ── smuggling ────────────────────────────────────────────────────────────────────────────────

HIDDEN = _head(AUTH, f"Content-Length: {len(DEFINE)}") + DEFINE
SMUGGLED = {
    "length and chunks": _head("Content-Length: 5", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + HIDDEN,
    "two lengths": _head("Content-Length: 0", f"Content-Length: {len(HIDDEN)}") + HIDDEN,
    "a list of lengths": _head(f"Content-Length: 0, {len(HIDDEN)}") + HIDDEN,
    "a signed length": _head("Content-Length: +0") + HIDDEN,
    "a negative length": _head("Content-Length: -1") + HIDDEN,
    "a length in hex": _head("Content-Length: 0x0") + HIDDEN,
    "unknown coding": _head("Transfer-Encoding: xchunked") + HIDDEN,
    "chunked twice": _head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + HIDDEN,
    "folded": _head("X-A: b", " Content-Length: 0", f"Content-Length: {len(HIDDEN)}") + HIDDEN,
    "space before the colon": _head("Content-Length : 0") + HIDDEN,
    "bare line feed": b"POST /ksql HTTP/1.1\nHost: x\nTransfer-Encoding:\x0bchunked\n\n" + HIDDEN,
    "a NUL": _head("X-A: b\0c") + HIDDEN,
    "no host": b"POST /ksql HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "two hosts": _head("Host: other", "Content-Length: 0") + HIDDEN,
    "bad chunk size": _head("Transfer-Encoding: chunked") + b"-1\r\n" + HIDDEN,
    "long chunk size": _head("Transfer-Encoding: chunked") + b"0" * 5000 + b"\r\n" + HIDDEN,
}


@pytest.mark.parametrize("what", SMUGGLED)
def test_a_request_of_two_lengths_ends_its_connection_with_what_hides_in_it(
    guarded: GatewayProcess, what: str
) -> None:
    answered = _exchange(guarded, SMUGGLED[what])
    statuses = [line.split()[1] for line in answered.split(b"\r\n") if line[:8] == b"HTTP/1.1"]
    assert len(statuses) <= 1, answered
    assert statuses in ([], [b"400"], [b"401"], [b"501"]), answered
    declared = "SMUGGLED" in _streams(guarded)
    _ksql(guarded, "DROP STREAM IF EXISTS SMUGGLED;")
    assert not declared


@pytest.mark.parametrize(
    "header",
    [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("content-length", "5"),
        ("x-a", "b\r\nauthorization: x"),
        ("Authorization", who("olga")),
        ("x\r\ny", "b"),
        (":path", "/ksql"),
    ],
)
def test_over_http_2_a_header_that_http_1_would_misread_is_refused(
    guarded: GatewayProcess, header: tuple[str, str]
) -> None:
    with guarded.peer() as peer:
        stream = peer.open("POST", "/ksql", [*shown(who("olga")), header])
        stream.send_frames([DEFINE], end=True)
        _assert_refused(peer, stream)
    declared = "SMUGGLED" in _streams(guarded)
    _ksql(guarded, "DROP STREAM IF EXISTS SMUGGLED;")
    assert not declared


def _assert_refused(peer: Peer, stream: Stream) -> None:
    """By a status, by a reset, or by the end of the connection."""
    with contextlib.suppress(Stalled):
        peer.read_until(lambda: stream.over, what="a refusal")
    assert stream.over or peer.closed
    assert stream.headers is None or stream.status >= 400


# ── oversized ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/info", [("authorization", "Bearer " + "x" * 60_000)]),
        ("/info", [("authorization", "Bearer " + "x" * 1_000_000)]),
        ("/info", [("authorization", "Basic " + "QQ" * 20_000)]),
        ("/info", [(f"x-{n}", "y" * 100) for n in range(2000)]),
        ("/info?" + "x" * 200_000, []),
        ("/channels/MINE/" + "x" * 100_000, []),
    ],
    ids=["60 kB token", "1 MB token", "40 kB Basic", "2000 headers", "200 kB URL", "100 kB name"],
)
def test_what_is_too_large_is_refused_and_the_gateway_goes_on(
    guarded: GatewayProcess, path: str, headers: list[tuple[str, str]]
) -> None:
    lines = [f"{name}: {value}" for name, value in headers]
    answered = _exchange(guarded, _head(*lines, start=f"GET {path} HTTP/1.1"))
    assert not answered.startswith(b"HTTP/1.1 2")
    with guarded.peer() as peer:
        # As much as one frame may hold.
        fields = [(field, value[:12_000]) for field, value in headers[:100]]
        stream = peer.open("GET", path[:12_000], fields, end=True)
        _assert_refused(peer, stream)
    assert ask1(guarded.address, "GET", "/info", b"", shown(who("anna"))).status == 200


def test_deep_and_large_documents_are_refused(guarded: GatewayProcess) -> None:
    deep = b'{"ksql":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    large = json.dumps({"ksql": "SELECT " + "(" * 200_000}).encode()
    for body in (deep, large, b"\xff\xfe", b"", b"null"):
        for path in ("/ksql", "/query-stream", "/close-query", "/inserts-stream"):
            reply = ask2(guarded.address, "POST", path, body, shown(who("anna")))
            assert 400 <= reply.status < 500, (path, reply)


# ── traversal ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/channels/../info",
        "/channels/%2e%2e/info",
        "/channels/..%2f..%2finfo/x",
        "/batches/..%2f..%2fdata",
        "/batches/../healthcheck",
        "/healthcheck/../info",
        "/healthcheck/",
        "/healthcheck%2f",
        "/v1/metadata/../../info",
        "/HEALTHCHECK",
        "/chc/live/..%2f..%2finfo",
        "/info;/healthcheck",
        "/info#/healthcheck",
    ],
)
def test_no_spelling_of_a_path_gets_past_credentials(guarded: GatewayProcess, path: str) -> None:
    for ask in (ask1, ask2):
        reply = ask(guarded.address, "GET", path, b"", [])
        # A token of a batch is looked up as it is; all else needs credentials.
        assert reply.status in ((401, 404) if path.startswith("/batches/") else (401,)), reply
        assert b"KsqlServerInfo" not in reply.body


# ── names ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_wherever_it_stands(guarded: GatewayProcess, name: str) -> None:
    """Declared, inserted into, read, listed, described and dropped; and nothing else happens."""
    before = _streams(guarded)
    quoted = "`" + name.replace("`", "``") + "`"
    datasource = name.replace("/", "_").replace(".", "_").replace("'", "''")
    text = f"CREATE STREAM {quoted} (ID INT) WITH (kafka_topic='{datasource}');"
    reply = _ksql(guarded, text)
    assert reply.status == 200, reply.body
    assert _streams(guarded) == before | {name}
    with guarded.peer() as peer:
        assert _inserted(peer, quoted) == [{"status": "ok", "seq": 0}]
    sql = json.dumps({"sql": f"SELECT * FROM {quoted};"}).encode()
    with guarded.peer() as peer:
        stream = peer.open("POST", "/query-stream", shown(who("olga")))
        stream.send(sql, end=True)
        stream.read_to_end()
        assert records(stream)[1:] == [[1]], stream.body
    path = f"/channels/{quote(quoted, safe='')}/c"
    assert ask2(guarded.address, "GET", path, b"", shown(who("olga"))).document["nextOffset"] == {
        "spooled": 1,
        "committed": 1,
        "queryable": 1,
    }
    for who_else in ("anna", "bert"):
        refused = ask2(guarded.address, "POST", "/query-stream", sql, shown(who(who_else)))
        assert refused.status == 403, refused.body
    assert _ksql(guarded, f"DESCRIBE {quoted};").document[0]["sourceDescription"]["name"]
    assert _ksql(guarded, f"DROP STREAM {quoted};").status == 200
    assert _streams(guarded) == before


def _inserted(peer: Peer, quoted: str) -> list[object]:
    stream = peer.open("POST", "/inserts-stream", shown(who("olga")))
    line = json.loads(arguments_line(quoted))
    line["properties"] = {"headrace.channel": "c", "headrace.ack": "queryable"}
    stream.send(json.dumps(line).encode() + b'\n{"ID":1}\n', end=True)
    stream.read_to_end()
    return records(stream)


@pytest.mark.parametrize("name", ["n" * 10_000, "a\x00b", "a\nb", ""])
def test_a_name_that_nothing_may_have_is_refused_wherever_it_stands(
    guarded: GatewayProcess, name: str
) -> None:
    quoted = f"`{name}`"
    texts = [
        f"CREATE STREAM {quoted} (ID INT) WITH (kafka_topic='t');",
        f"CREATE STREAM S (ID INT) WITH (kafka_topic='{name or ' '}');",
        f"DESCRIBE {quoted};",
        f"INSERT INTO {quoted} (ID) VALUES (1);",
    ]
    for text in texts:
        assert _ksql(guarded, text).status == 400, text
    for path, document in (
        ("/query-stream", {"sql": f"SELECT * FROM {quoted};"}),
        ("/query-stream", {"sql": f"SELECT * FROM {quoted} EMIT CHANGES;"}),
        ("/inserts-stream", {"target": quoted}),
    ):
        raw = json.dumps(document).encode() + b"\n"
        reply = ask2(guarded.address, "POST", path, raw, shown(who("olga")))
        assert reply.status == 400, (path, reply)
