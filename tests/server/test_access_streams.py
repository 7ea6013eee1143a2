"""Streams of principals: refused before a row is taken, held at their rates, ended with rights."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import (
    SLOW_ROWS_PER_S,
    ask1,
    ask2,
    guarded_gateway,
    shown,
    who,
)
from tests.http1 import ChunkedRequest
from tests.peers import Peer
from tests.server.ksqldb import JAVA_CLIENT, arguments_line, records, until
from tests.streams import Stream

ROW = b'{"ID":1,"NAME":"' + b"x" * 80 + b'"}\n'
WINDOW_BYTES = 20_000
WINDOW_ROWS = WINDOW_BYTES // len(ROW) + 1
BURST_ROWS = SLOW_ROWS_PER_S
SETTINGS = {
    "HTTP__STREAM_WINDOW_BYTES": WINDOW_BYTES,
    "HTTP__STREAM_BUDGET_BYTES": WINDOW_BYTES,
    "HTTP__INSERTS_OVER_HTTP1": "true",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Small windows, so that little is on its way when a window closes."""
    folder = tmp_path_factory.mktemp("streams")
    with guarded_gateway(folder, settings=SETTINGS) as running:
        for stream in ("MINE", "MINE_SLOW", "MINE_TOO", "HIS"):
            text = f"CREATE STREAM {stream} (ID INT, NAME STRING) WITH (kafka_topic='{stream}');"
            reply = ask1(
                running.address, "POST", "/ksql", json.dumps({"ksql": text}).encode(), _as("olga")
            )
            assert reply.status == 200, reply.body
        yield running
        complaints = running.complaints
        assert running.stop() == 0
    assert complaints == []


def _as(name: str) -> list[tuple[str, str]]:
    return [*shown(who(name))]


def _open(peer: Peer, name: str, target: str, **properties: object) -> Stream:
    stream = peer.open("POST", "/inserts-stream", _as(name))
    stream.send(arguments_line(target, **properties))
    stream.read_headers()
    return stream


def _count(guarded: GatewayProcess, target: str) -> int:
    body = json.dumps({"sql": f"SELECT COUNT(*) FROM {target};"}).encode()
    with guarded.peer() as peer:
        stream = peer.open("POST", "/query-stream", _as("olga"))
        stream.send(body, end=True)
        stream.read_to_end()
        rows = records(stream)[1:]
    return int(rows[0][0]) if rows else 0


# ── refused ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/inserts-stream", "/query-stream", "/ksql"])
def test_a_client_that_streams_megabytes_at_a_401_hears_it_and_keeps_its_connection(
    guarded: GatewayProcess, path: str
) -> None:
    with guarded.peer() as peer:
        peer.handshake()
        stream = peer.open("POST", path)
        chunk = b"x" * 64_000
        sent = 0
        while sent < 50_000_000 and not stream.over:
            if not stream.send(chunk):
                break
            sent += len(chunk)
        peer.read_until(lambda: stream.ended or stream.over, what="the answer")
        assert stream.status == 401
        assert json.loads(stream.body)["error_code"] == 40100
        other = _open(peer, "anna", "MINE")
        other.send(ROW, end=True)
        other.read_to_end()
        assert records(other) == [{"status": "ok", "seq": 0}]


@pytest.mark.parametrize("path", ["/inserts-stream", "/query-stream", "/ksql"])
def test_over_http_1_a_401_is_heard_before_the_body_was_sent(
    guarded: GatewayProcess, path: str
) -> None:
    with ChunkedRequest(guarded.address, path) as request:
        request.send(b"x" * 100_000)
        assert request.response.status == 401
        assert json.loads(request.response.read())["error_code"] == 40100


def test_over_http_1_a_short_body_at_a_401_leaves_the_connection_open(
    guarded: GatewayProcess,
) -> None:
    connection = http.client.HTTPConnection(*guarded.address, timeout=20)
    with closing(connection):
        for authorization, status in ((None, 401), (who("anna"), 200), (None, 401)):
            headers = {"Authorization": authorization} if authorization else {}
            connection.request("POST", "/ksql", b'{"ksql":"LIST STREAMS;"}', headers)
            response = connection.getresponse()
            response.read()
            assert response.status == status
            sock = connection.sock
            assert sock is not None, "the connection was closed"


def test_a_stream_too_many_is_refused_and_the_next_is_taken_once_one_has_ended(
    guarded: GatewayProcess,
) -> None:
    with guarded.peer() as peer:
        first = _open(peer, "bert", "HIS")
        assert first.status == 200
        second = _open(peer, "bert", "HIS")
        second.read_to_end()
        assert second.status == 429
        assert second.headers is not None
        assert int(second.headers["retry-after"]) >= 1
        assert json.loads(second.body)["error_code"] == 42900
        first.end()
        first.read_to_end()
        third = _open(peer, "bert", "HIS")
        assert third.status == 200
        third.end()
        third.read_to_end()


def test_streams_that_were_refused_or_broken_off_do_not_count(guarded: GatewayProcess) -> None:
    with guarded.peer() as peer:
        for _ in range(3):
            refused = _open(peer, "bert", "MINE")
            refused.read_to_end()
            assert refused.status == 403
        broken = _open(peer, "bert", "HIS")
        assert broken.status == 200
        broken.reset()

        def is_taken() -> bool:
            stream = _open(peer, "bert", "HIS")
            if stream.status == 200:
                stream.end()
            stream.read_to_end()
            return stream.status == 200

        until(is_taken, "the stream that was reset to be forgotten")


# ── held ─────────────────────────────────────────────────────────────────────────────────────


def _most_rows(elapsed_s: float) -> float:
    """What a rate allows: its burst, what is in the window, and what time has brought."""
    return BURST_ROWS + WINDOW_ROWS + SLOW_ROWS_PER_S * elapsed_s


def test_a_principal_is_held_to_its_rate_by_its_window_and_loses_nothing(
    guarded: GatewayProcess,
) -> None:
    rows = 4 * SLOW_ROWS_PER_S
    with guarded.peer() as peer, guarded.peer() as neighbour:
        began = time.monotonic()
        stream = _open(peer, "slow", "MINE_SLOW", ack="spooled")
        other = _open(neighbour, "anna", "MINE_TOO", ack="spooled")
        for sent in range(1, rows + 1):
            assert stream.send(ROW)
            assert sent <= _most_rows(time.monotonic() - began)
            assert len(stream.lines) <= _most_rows(time.monotonic() - began)
            if sent % 100 == 0:
                # Who has no limit goes on meanwhile, at its own pace.
                assert other.send(ROW * 500)
        stream.end()
        stream.read_to_end()
        assert records(stream) == [{"status": "ok", "seq": seq} for seq in range(rows)]
        other.end()
        other.read_to_end()
        assert len(other.lines) == rows // 100 * 500
    until(lambda: _count(guarded, "MINE_SLOW") == rows, "all rows to be stored")


def test_other_streams_of_the_same_connection_do_not_feel_a_held_one(
    guarded: GatewayProcess,
) -> None:
    with guarded.peer() as peer:
        held = _open(peer, "slow", "MINE", ack="spooled")
        held.send(ROW * (BURST_ROWS + WINDOW_ROWS))
        peer.read_until(lambda: held.send_window < len(ROW) * 2, what="the window to close")
        other = _open(peer, "anna", "MINE", ack="spooled")
        assert other.send(ROW * 5_000, end=True)
        other.read_to_end()
        assert len(other.lines) == 5_000
        held.reset()


def test_over_http_1_a_principal_is_held_to_its_rate_too(guarded: GatewayProcess) -> None:
    began = time.monotonic()
    # What TCP holds on its way is not taken: only acks count.
    rows = 3 * SLOW_ROWS_PER_S
    headers = {"Authorization": who("slow")}
    with ChunkedRequest(guarded.address, "/inserts-stream", headers) as request:
        request.send(arguments_line("MINE", ack="spooled"))
        until_admitted = time.monotonic()
        if request.response.status == 429:
            pytest.fail(f"{request.response.read()!r} after {until_admitted - began} s")
        for _ in range(rows):
            request.send(ROW)
        request.end()
        for number in range(1, rows + 1):
            assert json.loads(request.response.readline())["status"] == "ok"
            most = _most_rows(time.monotonic() - began) + 2 * WINDOW_ROWS
            assert number <= most
        assert request.response.read() == b""


def test_a_principal_in_debt_begins_no_new_stream(guarded: GatewayProcess) -> None:
    with guarded.peer() as peer:

        def refused() -> bool:
            stream = _open(peer, "slow", "MINE", ack="spooled")
            if stream.status == 429:
                stream.read_to_end()
                assert stream.headers is not None
                assert int(stream.headers["retry-after"]) >= 1
                return True
            stream.send(ROW * (WINDOW_ROWS - 10), end=True)
            stream.read_to_end()
            return False

        peer.handshake()
        until(refused, "a window too many")


def test_insert_values_of_a_principal_in_debt_are_answered_late_and_stored(
    guarded: GatewayProcess,
) -> None:
    values = ", ".join(f"({n}, 'v')" for n in range(300))
    text = f"INSERT INTO MINE_TOO (ID, NAME) VALUES {values};"
    before = _count(guarded, "MINE_TOO")
    body = json.dumps({"ksql": text}).encode()
    reply = ask2(guarded.address, "POST", "/ksql", body, _as("slow"))
    assert reply.status == 200, reply
    assert _count(guarded, "MINE_TOO") == before + 300


def test_a_sender_that_ignores_its_window_is_stopped_once_it_is_deep_in_debt(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """As the Java client does: its rows cannot be held back, so its stream ends, and says where."""
    with guarded_gateway(tmp_path_factory.mktemp("overrun")) as gateway, gateway.peer() as peer:
        sql = "CREATE STREAM MINE (ID INT, NAME STRING) WITH (kafka_topic='m');"
        text = json.dumps({"ksql": sql})
        assert ask1(gateway.address, "POST", "/ksql", text.encode(), _as("olga")).status == 200
        stream = peer.open("POST", "/inserts-stream", [*_as("slow"), JAVA_CLIENT])
        stream.send(arguments_line("MINE", ack="spooled"))
        stream.read_headers()
        for _ in range(20):
            stream.send_frames([ROW * 100] * 2)
        stream.read_to_end()
        *acks, last = records(stream)
        assert last["error_code"] == 42900
        assert "access.limits" in last["message"]
        assert [ack["seq"] for ack in acks] == list(range(last["seq"]))
        assert len(acks) >= 10 * SLOW_ROWS_PER_S
