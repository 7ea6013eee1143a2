"""Flow control towards the peer: its windows, its frame size, its pace; and nobody else's wait."""

from collections.abc import Iterator

import pytest

from tests.frames import Credit, Kind, Setting, encode_frame
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    count,
    declare,
    insert,
    json_lines,
    numbered,
    open_inserts,
    open_query,
    query,
    records,
)
from tests.streams import Stalled, Stream

MB = 1_000_000
WINDOW = 65_535
WIDE_OPEN = 2**31 - 1
ROWS = 3000


@pytest.fixture(scope="module")
def source(gateway: GatewayProcess) -> str:
    """A stream of `ROWS` rows that a SELECT sees."""
    with gateway.peer() as peer:
        name = declare(peer)
        insert(peer, name, numbered(0, ROWS), ack="queryable")
    return name


@pytest.fixture
def endless(source: str) -> str:
    """A query whose result nobody reads to its end: 9 million rows."""
    return f"SELECT a.name, b.name FROM {source} a CROSS JOIN {source} b;"


@pytest.fixture
def shut(gateway: GatewayProcess) -> Iterator[Peer]:
    """A connection that never opens its windows again by itself."""
    with gateway.peer(credit=Credit.WITHHELD) as peer:
        peer.handshake()
        yield peer


def read_exactly(peer: Peer, streams: list[Stream], size_bytes: int) -> None:
    """Wait for so much of responses in sum; an acked PING shows that nothing more comes."""

    def came() -> int:
        return sum(len(stream.body) for stream in streams)

    peer.read_until(lambda: came() >= size_bytes, what=f"{size_bytes} bytes")
    peer.ping()
    assert came() == size_bytes


# ── memory ───────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_reads_nothing_of_an_endless_query_costs_no_memory(
    gateway: GatewayProcess, endless: str
) -> None:
    with gateway.peer() as warm:
        stream = open_query(warm, endless)
        stream.read_lines(1000)
        stream.reset()
        warm.ping()
    wide = {"settings": {Setting.INITIAL_WINDOW_SIZE: WIDE_OPEN}, "receive_buffer_bytes": 4096}
    with (
        gateway.peer(connection_window_bytes=WIDE_OPEN, **wide) as no_reader,
        gateway.peer(credit=Credit.WITHHELD) as no_window,
    ):
        open_query(no_reader, endless)
        stream = open_query(no_window, endless)
        read_exactly(no_window, [stream], WINDOW)
        before = gateway.rss_bytes
        no_window.read_for(3.0)
        assert len(stream.body) == WINDOW
        assert gateway.rss_bytes - before < 5 * MB


def test_acks_of_a_large_batch_wait_for_a_slow_reader_with_open_windows(
    gateway: GatewayProcess,
) -> None:
    rows = 250_000
    wide = {Setting.INITIAL_WINDOW_SIZE: WIDE_OPEN}
    with (
        gateway.peer() as neighbour,
        gateway.peer(
            settings=wide, connection_window_bytes=WIDE_OPEN, receive_buffer_bytes=4096
        ) as peer,
    ):
        name = declare(neighbour, "id BIGINT", timestamp=None)
        stream = open_inserts(peer, name)
        stream.send(b'{"ID":1}\n' * rows, end=True)
        # Another connection sees the rows: their acks are under way, and nobody reads them.
        while count(neighbour, name) < rows:
            neighbour.ping()
        peer.write(encode_frame(Kind.PING, 0, 0, b"are you "))
        stream.read_to_end(30.0)
        assert stream.body == b"".join(b'{"status":"ok","seq":%d}\n' % n for n in range(rows))
        assert peer.goaway is None


def test_a_client_that_never_reads_acks_is_stopped_and_loses_none(
    stream_name: str, shut: Peer
) -> None:
    stream = open_inserts(shut, stream_name, ack="spooled")
    arguments_bytes = stream.sent_bytes
    raw = json_lines(numbered(0, 40_000))
    with pytest.raises(Stalled):
        stream.send(raw, deadline_s=1.0)
    # Its first window is 512 KiB; the rest is credit for rows whose acks filled the peer's own.
    assert stream.sent_bytes < 1 * MB
    shut.credit = stream.credit = Credit.GIVEN
    shut.open_window(MB)
    stream.open_window(MB)
    stream.send(raw[stream.sent_bytes - arguments_bytes :], end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 40_000)


# ── windows ──────────────────────────────────────────────────────────────────────────────────


def test_a_window_that_is_shut_and_then_opened_lets_everything_arrive(
    gateway: GatewayProcess, source: str
) -> None:
    with gateway.peer(settings={Setting.INITIAL_WINDOW_SIZE: 0}, credit=Credit.WITHHELD) as peer:
        stream = open_query(peer, f"SELECT name FROM {source} ORDER BY id;")
        stream.read_headers()
        peer.ping()
        assert stream.frames == []
        total = 0
        for size in (1, 2, 3, 10, 500):
            total += size
            stream.open_window(size)
            read_exactly(peer, [stream], total)
        peer.credit = stream.credit = Credit.GIVEN
        peer.open_window(WINDOW)
        stream.open_window(WINDOW)
        stream.read_to_end()
        assert records(stream)[1:] == [[f"row {n}"] for n in range(ROWS)]


def test_the_connections_window_holds_two_streams_back_whose_own_are_open(
    gateway: GatewayProcess, endless: str
) -> None:
    wide = {Setting.INITIAL_WINDOW_SIZE: MB}
    with gateway.peer(settings=wide, credit=Credit.STREAM) as peer:
        streams = [open_query(peer, endless), open_query(peer, endless)]
        total = WINDOW
        read_exactly(peer, streams, total)
        for room in (1, 100, 200_000):
            total += room
            peer.open_window(room)
            read_exactly(peer, streams, total)


def test_a_change_of_the_initial_window_moves_open_streams_also_below_zero(
    gateway: GatewayProcess, endless: str
) -> None:
    with gateway.peer(connection_window_bytes=WIDE_OPEN, credit=Credit.WITHHELD) as peer:
        stream = open_query(peer, endless)
        read_exactly(peer, [stream], WINDOW)
        peer.change_initial_window(100_000)
        read_exactly(peer, [stream], 100_000)
        peer.change_initial_window(1_000)
        assert stream.receive_window == -99_000
        stream.open_window(99_000)
        read_exactly(peer, [stream], 100_000)
        stream.open_window(500)
        read_exactly(peer, [stream], 100_500)
        peer.change_initial_window(0)
        peer.change_initial_window(3_000)
        read_exactly(peer, [stream], 102_500)


@pytest.mark.parametrize("size", [16_384, 20_001, 1 << 20])
def test_a_long_row_is_cut_at_the_peers_frame_size(gateway: GatewayProcess, size: int) -> None:
    settings = {Setting.MAX_FRAME_SIZE: size, Setting.INITIAL_WINDOW_SIZE: MB}
    with gateway.peer(settings=settings, connection_window_bytes=MB) as peer:
        name = declare(peer)
        long = "x" * 100_000
        insert(peer, name, [{"ID": 1, "NAME": long, "AT": "2024-01-01"}], ack="queryable")
        stream = open_query(peer, f"SELECT name FROM {name};")
        stream.read_to_end()
        assert records(stream)[1:] == [[long]]
        row = len(f'["{long}"]\n')
        assert max(map(len, stream.frames)) == min(size, row)


# ── nobody waits for anybody ─────────────────────────────────────────────────────────────────


def test_an_unread_stream_stops_neither_others_nor_ping_nor_settings(
    gateway: GatewayProcess, endless: str, source: str
) -> None:
    with gateway.peer(connection_window_bytes=8 * MB, credit=Credit.CONNECTION) as peer:
        unread = [open_query(peer, endless) for _ in range(3)]
        for stream in unread:
            stream.read_lines(100)
        peer.credit = Credit.GIVEN
        name = declare(peer)
        assert insert(peer, name, numbered(0, 200), ack="queryable") == acks(0, 200)
        assert query(peer, f"SELECT COUNT(*) FROM {name};").rows == [[200]]
        peer.ping()
        peer.change_initial_window(70_000)
        assert len(query(peer, f"SELECT id FROM {source};").rows) == ROWS
        for stream in unread:
            assert not stream.over
            read_exactly(peer, [stream], 70_000)


def test_streams_that_flow_freely_leave_others_their_turn(
    gateway: GatewayProcess, endless: str, source: str
) -> None:
    # Together they may have on their way what fills the output several times over.
    wide = {Setting.INITIAL_WINDOW_SIZE: 200_000}
    with gateway.peer(settings=wide, connection_window_bytes=WIDE_OPEN) as peer:
        flowing = [open_query(peer, endless) for _ in range(4)]
        for stream in flowing:
            stream.read_lines(10_000)
        peer.ping()
        assert query(peer, f"SELECT COUNT(*) FROM {source};").rows == [[ROWS]]
        for stream in flowing:
            assert not stream.over
            stream.reset()


def test_an_unread_insert_stream_stops_no_other_on_its_connection(
    stream_name: str, shut: Peer
) -> None:
    shut.open_window(8 * MB)
    unread = open_inserts(shut, stream_name, ack="spooled")
    with pytest.raises(Stalled):
        unread.send(json_lines(numbered(0, 30_000)), deadline_s=0.5)
    shut.credit = Credit.GIVEN
    assert insert(shut, stream_name, numbered(0, 5_000), ack="spooled") == acks(0, 5_000)
    shut.ping()
