"""Flow control of what the peer sends: credit for what is on disk, for every byte, and once."""

from collections.abc import Callable, Iterator

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    declare,
    insert,
    json_lines,
    numbered,
    open_inserts,
    records,
)
from tests.streams import Stalled, Stream

MB = 1_000_000
TIGHT_WINDOW = 128 * 1024


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose connections have a window of `TIGHT_WINDOW`, and whose streams have half."""
    settings = {
        "HTTP__ROW_LIMIT_BYTES": 20_000,
        "HTTP__STREAM_WINDOW_BYTES": TIGHT_WINDOW // 2,
        "HTTP__CONNECTION_WINDOW_BYTES": TIGHT_WINDOW,
        "HTTP__OVERRUN_MAX_BYTES": 2 * TIGHT_WINDOW,
    }
    folder = tmp_path_factory.mktemp("tight") / "data"
    with gateway_process(folder, settings=settings) as running:
        yield running
        assert running.complaints == []


@pytest.fixture
def tight_peer(tight: GatewayProcess) -> Iterator[Peer]:
    with tight.peer() as connected:
        connected.handshake()
        yield connected


# ── how much, and when ───────────────────────────────────────────────────────────────────────


def test_an_upload_of_many_windows_arrives_and_credit_never_exceeds_what_was_sent(
    gateway: GatewayProcess,
) -> None:
    with gateway.peer() as peer:
        peer.handshake()
        name = declare(peer)
        greeting = peer.credit_given[0]
        before = peer.send_window
        stream = open_inserts(peer, name, ack="spooled", frames="coalesced")
        raw = json_lines(numbered(0, 60_000))
        for piece in (raw[at : at + 50_000] for at in range(0, len(raw), 50_000)):
            stream.send(piece)
            assert peer.credit_given[stream.id] <= stream.sent_bytes
            assert peer.credit_given[0] - greeting <= stream.sent_bytes + 200
        stream.end()
        stream.read_to_end()
        assert records(stream) == acks(0, 60_000)
        assert stream.sent_bytes > 4 * MB
        peer.ping()
        # All but what one update would not be worth came back.
        assert peer.send_window >= before - 4 * MB
        assert peer.credit_given[stream.id] > stream.sent_bytes - (1 << 20)


def test_rows_that_have_no_room_on_disk_give_no_credit_until_they_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = {
        "HTTP__ROW_LIMIT_BYTES": 2_000,
        "HTTP__STREAM_WINDOW_BYTES": 100_000,
        "INGEST__BATCH_BYTES_MAX": 10_000,
        "INGEST__SPOOL_LIMIT_BYTES": 20_000,
        "INGEST__BATCH_AGE_S": 60,
        "INGEST__STALL_S": 1.5,
    }
    folder = tmp_path_factory.mktemp("full") / "data"
    with gateway_process(folder, settings=settings) as full, full.peer() as peer:
        name = declare(peer)
        stream = open_inserts(peer, name, ack="spooled")
        rows = json_lines(numbered(0, 4_000))
        assert len(rows) > 200_000
        with pytest.raises(Stalled):
            stream.send(rows, deadline_s=0.5)
        # The last read that was spooled may have gone past the limit; all else waits, uncredited.
        assert peer.credit_given[stream.id] <= 20_000 + (64 << 10)
        assert stream.sent_bytes <= 100_000 + peer.credit_given[stream.id]
        peer.ping()
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, len(taken))
        assert (last["seq"], last["error_code"]) == (len(taken), 42900)
        assert full.complaints == []


def test_padding_counts_and_comes_back(tight_peer: Peer) -> None:
    name = declare(tight_peer)
    stream = open_inserts(tight_peer, name, ack="spooled")
    row = json_lines(numbered(0, 1))
    for _ in range(4 * TIGHT_WINDOW // 256):
        tight_peer.read_until(
            lambda: min(stream.send_window, tight_peer.send_window) > 512, what="a window"
        )
        stream.send_frames([row], padding=255)
    stream.send_frames([b""], padding=255, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 4 * TIGHT_WINDOW // 256)


# ── no byte is lost to the connection's window ───────────────────────────────────────────────


def row_after_row(peer: Peer, stream: Stream) -> None:
    """A good insert of 40 kB."""
    stream.send(arguments_line(declare(peer), ack="spooled") + json_lines(numbered(0, 550)))
    stream.end()
    stream.read_to_end()


def after_a_bad_row(peer: Peer, stream: Stream) -> None:
    """An insert whose second row fails, in front of 40 kB more."""
    rows = json_lines(numbered(0, 1)) + b"no row\n" + json_lines(numbered(0, 550))
    stream.send(arguments_line(declare(peer)) + rows, end=True)
    peer.read_until(lambda: stream.over, what="the end")


def after_an_unknown_target(peer: Peer, stream: Stream) -> None:
    """A refused insert and 40 kB more."""
    stream.send(arguments_line("nowhere"))
    stream.read_to_end()
    assert stream.status == 400
    stream.send_frames([bytes(10_000)] * 4)


def after_a_wrong_path(peer: Peer, stream: Stream) -> None:
    """40 kB to nobody: the path of these is answered with 404 before the body comes."""
    del peer
    stream.send(bytes(40_000))


def with_our_reset(peer: Peer, stream: Stream) -> None:
    """40 kB of rows, then RST_STREAM, then 10 kB that were on their way."""
    stream.send(arguments_line(declare(peer)) + json_lines(numbered(0, 550)))
    stream.reset()
    stream.send_frames([bytes(10_000)])


def before_any_arguments(peer: Peer, stream: Stream) -> None:
    """Part of a line, then RST_STREAM."""
    del peer
    stream.send(b"x" * 15_000)
    stream.reset()


WAYS: list[Callable[[Peer, Stream], None]] = [
    row_after_row,
    after_a_bad_row,
    after_an_unknown_target,
    with_our_reset,
    before_any_arguments,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_bytes_of_inserts_come_back_to_the_connection(
    tight_peer: Peer, way: Callable[[Peer, Stream], None]
) -> None:
    for _ in range(12):
        tight_peer.read_until(lambda: tight_peer.send_window > 52_000, what="a window")
        way(tight_peer, tight_peer.open("POST", "/inserts-stream"))
    assert insert(tight_peer, declare(tight_peer), numbered(0, 2)) == acks(0, 2)


@pytest.mark.parametrize("path", ["/nowhere", "/ksql", "/query-stream", "/info"])
def test_bytes_of_other_requests_come_back_to_the_connection(tight_peer: Peer, path: str) -> None:
    for _ in range(12):
        reply = ask(tight_peer, "POST", path, b"x" * 40_000)
        assert reply.status in (400, 404, 405), reply
    tight_peer.ping()
    assert tight_peer.send_window > TIGHT_WINDOW // 2


# ── a sender that goes past the windows ──────────────────────────────────────────────────────


def test_an_ordinary_request_past_its_window_is_reset_alone(tight_peer: Peer) -> None:
    neighbour = open_inserts(tight_peer, declare(tight_peer), ack="spooled")
    rude = tight_peer.open("POST", "/ksql")
    rude.send_frames([b" " * 16_000] * 9)
    tight_peer.read_until(lambda: rude.over, what="the reset")
    assert rude.reset_code == 3
    neighbour.send(json_lines(numbered(0, 3)), end=True)
    neighbour.read_to_end()
    assert records(neighbour) == acks(0, 3)
