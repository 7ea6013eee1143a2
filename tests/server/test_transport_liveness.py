"""Who is kept alive, who is closed, and when: PING, deadlines, and streams that outlive much."""

import itertools
import socket
import time
from collections.abc import Iterator

import pytest

from tests.frames import PREFACE, Kind, encode_frame
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import (
    acks,
    ask,
    declare,
    header_of,
    insert,
    json_lines,
    numbered,
    open_inserts,
    open_query,
    records,
)

SILENCE_S = 2.0
LATE_S = 0.3
"""what a busy machine may add"""
NO_ERROR = 0


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose batches wait for 6 s, with PING and deadlines as they are by default."""
    folder = tmp_path_factory.mktemp("slow") / "data"
    with gateway_process(folder, settings={"INGEST__BATCH_AGE_S": 6}) as running:
        yield running
        assert running.complaints == []


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with short deadlines."""
    settings = {"HTTP__HEADER_S": 0.5, "HTTP__IDLE_S": 1.0, "HTTP__PING_S": 0.4}
    folder = tmp_path_factory.mktemp("hasty") / "data"
    with gateway_process(folder, settings=settings) as running:
        yield running
        assert running.complaints == []


# ── PING ─────────────────────────────────────────────────────────────────────────────────────


def test_ping_comes_every_two_seconds_while_acks_or_rows_are_owed_and_only_then(
    slow: GatewayProcess,
) -> None:
    with slow.peer() as owed, slow.peer() as pushed, slow.peer() as settled, slow.peer() as empty:
        name = declare(owed)
        push = open_query(pushed, f"SELECT * FROM {name} EMIT CHANGES;")
        header_of(push)
        idle = open_inserts(settled, name, ack="spooled")
        idle.send(json_lines(numbered(0, 1)))
        idle.read_lines(1)
        empty.handshake()
        started_s = time.monotonic()
        stream = open_inserts(owed, name, ack="committed")
        stream.send(json_lines(numbered(0, 1)))
        stream.read_lines(1)
        took_s = time.monotonic() - started_s
        assert took_s > 5.0
        marks_s = [started_s, *owed.ping_times_s, started_s + took_s]
        gaps_s = [after - before for before, after in itertools.pairwise(marks_s)]
        assert max(gaps_s) < SILENCE_S + LATE_S, gaps_s
        assert len(owed.pings) < 3 * took_s / SILENCE_S
        for peer in (pushed, settled, empty):
            peer.ping()
        assert len(pushed.pings) >= took_s // SILENCE_S
        assert settled.pings == []
        assert empty.pings == []
        # Now that it has its ack, nothing is owed to it either.
        pings = len(owed.pings)
        owed.read_for(SILENCE_S)
        assert len(owed.pings) == pings


# ── deadlines ────────────────────────────────────────────────────────────────────────────────

UNFINISHED = {
    "part of the preface": PREFACE[:20],
    "part of SETTINGS": PREFACE + encode_frame(Kind.SETTINGS, 0, 0, b"\0\0\0", length=6),
    "part of a frame header": PREFACE + encode_frame(Kind.SETTINGS, 0, 0) + b"\0\0",
    "headers without an end": PREFACE
    + encode_frame(Kind.SETTINGS, 0, 0)
    + encode_frame(Kind.HEADERS, 0, 1, b"\x82"),
}


@pytest.mark.parametrize("opening", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_what_is_begun_and_not_finished_closes_the_connection(
    hasty: GatewayProcess, opening: bytes
) -> None:
    with hasty.peer(preface=opening) as peer:
        started_s = time.monotonic()
        peer.read_to_close(6.0)
        # Before the preface is there, Hypercorn's own deadline of 5 s holds.
        assert time.monotonic() - started_s < 0.5 + 0.5 + LATE_S or len(opening) < len(PREFACE)


def test_headers_that_trickle_are_closed_by_the_deadline_of_their_frame(
    hasty: GatewayProcess,
) -> None:
    with hasty.peer() as peer:
        peer.handshake()
        frame = encode_frame(Kind.HEADERS, 0x4, 1, bytes(200))
        started_s = time.monotonic()
        for at in range(len(frame)):
            peer.write(frame[at : at + 1])
            peer.read_for(0.05)
            if peer.closed:
                break
        assert peer.closed
        assert time.monotonic() - started_s < 2.0


def test_a_silent_socket_is_closed(hasty: GatewayProcess) -> None:
    with socket.create_connection(hasty.address, timeout=8.0) as silent:
        assert silent.recv(100) == b""


def test_a_connection_without_streams_is_closed_in_good_order_and_one_with_a_stream_is_not(
    hasty: GatewayProcess,
) -> None:
    with hasty.peer() as idle, hasty.peer() as pushed, hasty.peer() as inserting:
        name = declare(inserting)
        stream = open_inserts(inserting, name, ack="spooled")
        push = open_query(pushed, f"SELECT * FROM {name} EMIT CHANGES;")
        header_of(push)
        ask(idle, "GET", "/info")
        started_s = time.monotonic()
        idle.read_to_close(4.0)
        assert time.monotonic() - started_s > 0.9
        assert idle.goaway is not None
        assert idle.goaway.code == NO_ERROR
        inserting.ping()
        stream.send(json_lines(numbered(0, 1)), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 1)
        push.read_lines(2)


# ── a long life ──────────────────────────────────────────────────────────────────────────────


def test_streams_outlive_1100_requests_on_their_connection(
    gateway: GatewayProcess, stream_name: str
) -> None:
    with gateway.peer() as peer:
        stream = open_inserts(peer, stream_name)
        push = open_query(peer, f"SELECT id FROM {stream_name} EMIT CHANGES;")
        header_of(push)
        for _ in range(22):
            asked = [peer.open("GET", "/chc/live", end=True) for _ in range(50)]
            for each in asked:
                each.read_to_end()
        assert peer.goaway is None
        stream.send(json_lines(numbered(0, 2)), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 2)
        push.read_lines(3)
        assert records(push)[1:] == [[0], [1]]
        assert insert(peer, stream_name, numbered(2, 3)) == acks(0, 1)
