"""Senders that ignore windows, as ksqlDB's Java client does: taken to a bound, never punished
with a dead connection, and never given credit that would break them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from quart import Quart, Response, request

from gateway.http.lanes import Lane
from gateway.http.streams import LANE_KEY
from tests.doors import opened_door
from tests.frames import Setting
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    JAVA_CLIENT,
    acks,
    ask,
    count,
    declare,
    json_lines,
    open_inserts,
    records,
    until,
)

ENHANCE_YOUR_CALM = 11


def sized_rows(count: int, size_bytes: int) -> list[bytes]:
    """Rows of about this size, a line each."""
    filling = "x" * (size_bytes - 60)
    rows = [{"ID": n, "NAME": filling, "AT": "2024-01-01"} for n in range(count)]
    return [json_lines([row]) for row in rows]


@pytest.fixture
def java(gateway: GatewayProcess) -> Iterator[Peer]:
    """A connection as the Java client opens it: one setting, no windows, requests afterwards."""
    with gateway.peer(settings={Setting.MAX_HEADER_LIST_SIZE: 8192}) as peer:
        peer.handshake()
        yield peer


@pytest.mark.parametrize(
    ("rows", "size_bytes"), [(150, 1_000), (190, 5_000), (1, 100_000), (300, 5_000)]
)
def test_rows_in_one_write_that_ignores_the_window_are_acked_without_any_credit(
    java: Peer, stream_name: str, rows: int, size_bytes: int
) -> None:
    granted = java.credit_given[0]
    stream = open_inserts(java, stream_name, headers=[JAVA_CLIENT])
    stream.send_frames(sized_rows(rows, size_bytes))
    stream.read_lines(rows)
    stream.end()
    stream.read_to_end()
    assert records(stream) == acks(0, rows)
    java.ping()
    assert java.credit_given == {0: granted}


def test_a_client_that_overruns_without_a_name_is_taken_and_gets_no_more_credit(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # One read brings more than such a window.
    settings = {"HTTP__ROW_LIMIT_BYTES": 8_000, "HTTP__STREAM_WINDOW_BYTES": 30_000}
    folder = tmp_path_factory.mktemp("overrun") / "data"
    with gateway_process(folder, settings=settings) as small, small.peer() as peer:
        stream = open_inserts(peer, declare(peer), ack="spooled")
        stream.send_frames(sized_rows(100, 5_000))
        stream.read_lines(100)
        given = peer.credit_given.copy()
        assert given[stream.id] < 100 * 5_000
        stream.send_frames(sized_rows(100, 5_000), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 200)
        peer.ping()
        assert peer.credit_given == given
        assert small.complaints == []


def test_past_the_bound_the_stream_ends_with_a_readable_error_and_its_neighbour_goes_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Below what one read brings: it waits, however fast the disk is.
    settings = {"HTTP__OVERRUN_MAX_BYTES": 40_000}
    folder = tmp_path_factory.mktemp("bound") / "data"
    with gateway_process(folder, settings=settings) as bounded, bounded.peer() as peer:
        peer.handshake()
        name = declare(peer)
        granted = peer.credit_given[0]
        neighbour = open_inserts(peer, name, ack="spooled", headers=[JAVA_CLIENT])
        stream = open_inserts(peer, name, ack="spooled", headers=[JAVA_CLIENT])
        stream.send_frames(sized_rows(1_000, 1_000))
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, len(taken))
        assert (last["seq"], last["error_code"]) == (len(taken), 42900)
        assert len(taken) < 1_000
        until(lambda: count(peer, name) == len(taken), "the rows before the error")
        # What it still sends, before and after the reset that follows, is dropped uncredited.
        peer.read_until(lambda: stream.reset_code is not None, what="the reset")
        stream.send_frames(sized_rows(200, 1_000))
        neighbour.send_frames(sized_rows(20, 1_000), end=True)
        neighbour.read_to_end()
        assert records(neighbour) == acks(0, 20)
        assert peer.credit_given.keys() == {0}
        assert peer.credit_given[0] == granted
        # A client that keeps to its window is never stopped by that bound.
        polite = open_inserts(peer, name, ack="spooled")
        polite.send(b"".join(sized_rows(500, 1_000)), end=True)
        polite.read_to_end()
        assert records(polite) == acks(0, 500)
        assert bounded.complaints == []


# ── what nobody takes ────────────────────────────────────────────────────────────────────────


class Untaken:
    """A lane's sink that keeps what it is given."""

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""

    def receive_end(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""

    def room(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""

    def lost(self) -> None:
        """See `gateway.http.lanes.LaneSink`."""

    def owes(self) -> bool:
        """See `gateway.http.lanes.LaneSink`."""
        return False


def untaking() -> Quart:
    """An application whose lanes are never attached, or keep all they are given."""
    app = Quart("untaking")
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    @app.post("/waits")
    async def waits() -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    @app.post("/keeps")
    async def keeps() -> Response:
        lane = dict(request.scope["state"])[LANE_KEY]
        assert isinstance(lane, Lane)
        lane.attach(Untaken())

        async def body() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        response = Response(body())
        response.timeout = None
        return response

    @app.get("/well")
    async def well() -> str:
        return "well"

    return app


LIMITS: dict[str, Any] = {
    "lane_paths": (b"/waits", b"/keeps"),
    "overrun_max_bytes": 200_000,
    "stream_window_bytes": 100_000,
    "connection_window_bytes": 300_000,
}


def test_bytes_that_come_before_their_handler_are_bounded() -> None:
    with opened_door(untaking(), **LIMITS) as door, door.peer() as peer:
        peer.handshake()
        stream = peer.open("POST", "/waits", [JAVA_CLIENT])
        stream.send_frames([bytes(10_000)] * 20)
        peer.ping()
        assert not stream.over
        stream.send_frames([bytes(10_000)] * 2)
        peer.read_until(lambda: stream.over, what="a reset")
        assert stream.reset_code == ENHANCE_YOUR_CALM
        assert ask(peer, "GET", "/well").body == b"well"


@pytest.mark.parametrize("headers", [[], [JAVA_CLIENT]], ids=["counted", "uncounted"])
@pytest.mark.parametrize("path", ["/waits", "/keeps"])
def test_bytes_that_wait_on_all_streams_of_a_connection_are_bounded(
    path: str, headers: list[tuple[str, str]]
) -> None:
    with opened_door(untaking(), **LIMITS) as door, door.peer() as peer:
        peer.handshake()
        streams = [peer.open("POST", path, headers) for _ in range(20)]
        for stream in streams:
            # Each within its own window; together past the connection's, and past what it holds.
            stream.send_frames([bytes(10_000)] * 9)
            peer.ping()
        taken = [stream for stream in streams if not stream.over]
        refused = [stream for stream in streams if stream.over]
        assert len(taken) == (300_000 + 200_000) // 90_000
        assert {stream.reset_code for stream in refused} == {ENHANCE_YOUR_CALM}
        for stream in taken:
            stream.reset()
        assert ask(peer, "GET", "/well").body == b"well"
        again = peer.open("POST", path, headers)
        again.send_frames([bytes(10_000)] * 9)
        peer.ping()
        assert not again.over
