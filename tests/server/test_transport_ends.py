"""How streams and connections end: failures, refusals, resets, upgrade, drain; and what remains."""

import asyncio
import base64
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from quart import Quart, Response, request

from gateway.http.lanes import Lane
from gateway.http.streams import LANE_KEY
from tests.doors import Door, opened_door
from tests.frames import PREFACE, Kind, Setting, encode_frame
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
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
    until,
)
from tests.server.test_transport_overruns import Untaken

NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 2, 7, 8, 11

# ── applications that fail ───────────────────────────────────────────────────────────────────


class OnPurpose(Exception):
    """An application's fault."""


def failing() -> Quart:
    """An application that fails before, amid and after its response."""
    app = Quart("failing")
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    @app.get("/well")
    async def well() -> str:
        return "well"

    @app.get("/at-once")
    async def at_once() -> str:
        raise OnPurpose

    @app.post("/amid")
    @app.post("/lane")
    async def amid() -> Response:
        lane = dict(request.scope["state"]).get(LANE_KEY)
        if isinstance(lane, Lane):
            lane.attach(Untaken())

        async def body() -> AsyncIterator[bytes]:
            if isinstance(lane, Lane):
                lane.write([b"some\n"])
            else:
                yield b"some\n"
            await asyncio.sleep(0)
            raise OnPurpose

        return Response(body())

    @app.post("/fails-on-data")
    async def fails_on_data() -> Response:
        lane = dict(request.scope["state"])[LANE_KEY]
        assert isinstance(lane, Lane)
        lane.attach(Fails())

        async def body() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        return Response(body())

    return app


class Fails(Untaken):
    """A sink that cannot take what it is given."""

    def receive(self, data: bytes) -> None:
        """See `gateway.http.lanes.LaneSink`."""
        raise OnPurpose


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with opened_door(failing(), lane_paths=(b"/lane", b"/fails-on-data")) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/amid", "/lane"])
@pytest.mark.parametrize("end", [True, False], ids=["whole request", "open request"])
def test_an_application_that_fails_after_its_headers_is_heard_as_internal_error(
    door: Door, path: str, end: bool
) -> None:
    with door.peer() as peer:
        stream = peer.open("POST", path, end=end)
        peer.read_until(lambda: stream.over, what="the reset")
        assert stream.status == 200
        assert stream.body == b"some\n"
        assert stream.reset_code == INTERNAL_ERROR
        assert ask(peer, "GET", "/well").body == b"well"


def test_an_application_that_fails_before_its_headers_is_a_500(door: Door) -> None:
    with door.peer() as peer:
        assert ask(peer, "GET", "/at-once").status == 500


def test_a_sink_that_fails_on_what_it_is_given_ends_its_stream_alone(door: Door) -> None:
    with door.peer() as peer:
        stream = peer.open("POST", "/fails-on-data")
        stream.read_headers()
        stream.send(b"x")
        peer.read_until(lambda: stream.over, what="the reset")
        assert stream.reset_code == INTERNAL_ERROR
        assert ask(peer, "GET", "/well").body == b"well"


# ── answers before the request is whole ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/inserts-stream", b'{"target":"nowhere"}\n', 400),
        ("/inserts-stream", b"no json\n", 400),
        ("/nowhere", b"x", 404),
    ],
)
def test_data_after_an_early_refusal_leaves_the_neighbours_alive(
    peer: Peer, stream_name: str, path: str, body: bytes, status: int
) -> None:
    neighbour = open_inserts(peer, stream_name, ack="spooled")
    stream = peer.open("POST", path)
    stream.send(body)
    stream.read_to_end()
    assert stream.status == status
    for _ in range(3):
        stream.send_frames([b"late\n"] * 10)
    stream.send_frames([b"last"], end=True)
    neighbour.send(json_lines(numbered(0, 3)), end=True)
    neighbour.read_to_end()
    assert records(neighbour) == acks(0, 3)
    peer.ping()
    assert peer.goaway is None


# ── too many ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that takes five streams on a connection."""
    folder = tmp_path_factory.mktemp("narrow") / "data"
    with gateway_process(folder, settings={"HTTP__STREAMS_MAX": 5}) as running:
        yield running
        assert running.complaints == []


def test_a_stream_past_the_limit_is_refused_and_the_others_go_on(narrow: GatewayProcess) -> None:
    with narrow.peer() as peer:
        peer.handshake()
        assert peer.server_settings[Setting.MAX_CONCURRENT_STREAMS] == 5
        name = declare(peer)
        streams = [open_inserts(peer, name, ack="spooled") for _ in range(5)]
        for _ in range(3):
            extra = peer.open("POST", "/inserts-stream")
            extra.send_frames([b'{"target":"s"}\n'], end=True)
            peer.ping()
            assert extra.reset_code == REFUSED_STREAM
        for stream in streams:
            stream.send(json_lines(numbered(0, 1)), end=True)
            stream.read_to_end()
            assert records(stream) == acks(0, 1)
        assert insert(peer, name, numbered(0, 1), ack="spooled") == acks(0, 1)
        assert peer.goaway is None


def test_requests_that_are_refused_for_ever_cost_no_memory(narrow: GatewayProcess) -> None:
    with narrow.peer() as peer:
        name = declare(peer)
        for _ in range(5):
            open_inserts(peer, name)
        before = 0
        for turn in range(105):
            if turn == 5:
                before = narrow.rss_bytes
            refused = [peer.open("GET", "/info", end=True) for _ in range(200)]
            peer.ping()
            assert {stream.reset_code for stream in refused} == {REFUSED_STREAM}
            peer.streams.clear()
        # 20,000 of them; h2 alone would keep more than 1 kB of each.
        assert narrow.rss_bytes - before < 10_000_000


# ── resets ───────────────────────────────────────────────────────────────────────────────────


def reset_frame(stream_id: int) -> bytes:
    return encode_frame(Kind.RST_STREAM, 0, stream_id, struct.pack(">I", CANCEL))


def test_rapid_resets_end_the_connection_after_200(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        peer.handshake()
        for _ in range(200):
            peer.open("POST", "/inserts-stream").reset()
        peer.ping()
        assert peer.goaway is None
        for _ in range(100):
            peer.open("POST", "/inserts-stream").reset()
        peer.read_to_close()
        assert peer.goaway is not None
        assert peer.goaway.code == ENHANCE_YOUR_CALM


def test_resets_that_the_server_is_made_to_send_count_alike(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        peer.handshake()
        for _ in range(250):
            stream = peer.open("POST", "/ksql", [("content-length", "1")])
            stream.send_frames([b"too long"])
        peer.read_to_close()
        assert peer.goaway is not None
        assert peer.goaway.code == ENHANCE_YOUR_CALM


def test_300_queries_that_are_answered_and_then_reset_are_honest(
    gateway: GatewayProcess, stream_name: str
) -> None:
    with gateway.peer() as peer:
        for _ in range(15):
            streams = [
                open_query(peer, f"SELECT * FROM {stream_name} EMIT CHANGES;") for _ in range(20)
            ]
            for stream in streams:
                header_of(stream)
                stream.reset()
        peer.ping()
        assert insert(peer, stream_name, numbered(0, 1), ack="spooled") == acks(0, 1)
        assert peer.goaway is None


# ── upgrade from HTTP/1.1 ────────────────────────────────────────────────────────────────────


def upgrade(address: tuple[str, int], settings: str) -> socket.socket:
    """A socket whose request to `/info` was answered with 101."""
    sock = socket.create_connection(address, timeout=10.0)
    sock.sendall(
        b"GET /info HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: " + settings.encode() + b"\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return sock


def test_h2c_upgrades_from_http_1_1_and_serves_on(gateway: GatewayProcess) -> None:
    pair = struct.pack(">HI", Setting.INITIAL_WINDOW_SIZE, 70_000)
    settings = base64.urlsafe_b64encode(pair).decode().rstrip("=")
    sock = upgrade(gateway.address, settings)
    with Peer(gateway.address, settings={Setting.INITIAL_WINDOW_SIZE: 70_000}, sock=sock) as peer:
        first = peer.new_stream()
        first.read_to_end()
        assert first.status == 200
        assert b"KsqlServerInfo" in first.body
        name = declare(peer)
        assert insert(peer, name, numbered(0, 3), ack="spooled") == acks(0, 3)


@pytest.mark.parametrize("settings", ["A", "AAA", "AAMAAABkAAQ", "AAT_____"])
def test_an_upgrade_with_broken_settings_ends_without_a_fault(
    gateway: GatewayProcess, settings: str
) -> None:
    with upgrade(gateway.address, settings) as sock:
        sock.sendall(PREFACE + encode_frame(Kind.SETTINGS, 0, 0))
        while sock.recv(65536):
            pass


# ── goodbye ──────────────────────────────────────────────────────────────────────────────────


def test_a_peer_that_says_goaway_gets_the_rest_of_its_streams(
    gateway: GatewayProcess, stream_name: str
) -> None:
    with gateway.peer() as peer:
        stream = open_inserts(peer, stream_name)
        stream.send(json_lines(numbered(0, 1)))
        peer.send_goaway()
        stream.send(json_lines(numbered(1, 2)), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 2)
        peer.read_to_close()


def test_an_idle_peer_that_says_goaway_is_hung_up_on(gateway: GatewayProcess) -> None:
    with gateway.peer() as peer:
        peer.handshake()
        peer.send_goaway()
        peer.read_to_close()


def test_a_drain_is_announced_lets_streams_finish_and_closes(tmp_path: Path) -> None:
    with gateway_process(tmp_path / "data", settings={"INGEST__BATCH_AGE_S": 1.0}) as gateway:
        with gateway.peer() as peer, gateway.peer() as idle:
            stream = open_inserts(peer, declare(peer), ack="committed")
            stream.send(json_lines(numbered(0, 3)))
            idle.handshake()
            peer.ping()
            gateway.terminate()
            peer.read_until(lambda: peer.goaway is not None, what="the announcement")
            assert peer.goaway is not None
            assert (peer.goaway.last_stream_id, peer.goaway.code) == (2**31 - 1, NO_ERROR)
            stream.read_to_end()
            assert records(stream)[:3] == acks(0, 3)
            assert records(stream)[3]["error_code"] == 50303
            peer.read_to_close()
            assert (peer.goaway.last_stream_id, peer.goaway.code) == (stream.id, NO_ERROR)
            idle.read_to_close()
            assert idle.goaway is not None
            assert idle.goaway.code == NO_ERROR
        assert gateway.wait() == 0
        assert gateway.complaints == []


# ── what remains ─────────────────────────────────────────────────────────────────────────────


def waiting() -> Quart:
    """An application that waits in every way there is."""
    app = Quart("waiting")
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)

    @app.post("/reads")
    async def reads() -> bytes:
        data = await request.get_data()
        assert isinstance(data, bytes)
        return data

    @app.post("/writes")
    async def writes() -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield bytes(10_000)

        response = Response(body())
        response.timeout = None
        return response

    @app.post("/waits")
    async def waits() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    return app


@pytest.mark.parametrize("way", ["reset", "abort", "close"])
@pytest.mark.parametrize("path", ["/reads", "/writes", "/waits"])
def test_streams_that_are_given_up_leave_no_task_behind(path: str, way: str) -> None:
    with opened_door(waiting()) as door:
        with door.peer() as peer:
            peer.handshake()
            before = door.tasks()
            for _ in range(3):
                streams = [peer.open("POST", path) for _ in range(20)]
                for stream in streams:
                    stream.send(b"some")
                peer.ping()
                assert door.tasks() >= before + 20
                if way != "reset":
                    break
                for stream in streams:
                    stream.reset()
                until(lambda: door.tasks() <= before, "the end of all tasks")
            if way == "abort":
                peer.abort()
        until(lambda: door.tasks() < before, "the end of the connection's own task")
