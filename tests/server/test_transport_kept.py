"""What is kept although its credit went back: rows that have begun, bodies that are read whole.

A long row could not end if its sender were held back, so nothing of one stream waits for the rest
of its row; but the streams of a connection share a bound.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    JAVA_CLIENT,
    acks,
    arguments_line,
    ask,
    declare,
    open_inserts,
    records,
)
from tests.streams import Stream

ENHANCE_YOUR_CALM = 11
BOUND = {"HTTP__CONNECTION_WINDOW_BYTES": 350_000, "HTTP__OVERRUN_MAX_BYTES": 200_000}
WINDOW = {"HTTP__STREAM_WINDOW_BYTES": 40_000}
BEGUN = b'{"ID":0,"AT":"2024-01-01","NAME":"' + b"x" * 100_000
"""of these five fit, the sixth passes with its neighbours below the bound, a seventh does not"""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that lets little wait."""
    folder: Path = tmp_path_factory.mktemp("narrow") / "data"
    with gateway_process(folder, settings={**BOUND, **WINDOW}) as running:
        yield running
        assert running.complaints == []


def insert_row(peer: Peer, name: str) -> Stream:
    return open_inserts(peer, name, ack="spooled")


def query(peer: Peer, name: str) -> Stream:
    return peer.open("POST", "/query-stream")


def statement(peer: Peer, name: str) -> Stream:
    return peer.open("POST", "/ksql")


@pytest.mark.parametrize("begin", [insert_row, query, statement])
def test_what_streams_have_begun_is_bounded_for_all_of_a_connection(
    narrow: GatewayProcess, begin: Callable[..., Any]
) -> None:
    with narrow.peer() as peer:
        name = declare(peer)
        streams = [begin(peer, name) for _ in range(9)]
        for stream in streams:
            stream.send(BEGUN)
            peer.ping()
        assert [stream.over for stream in streams] == [False] * 6 + [True] * 3
        assert {stream.reset_code for stream in streams[6:]} == {ENHANCE_YOUR_CALM}
        for stream in streams[:6]:
            stream.reset()
        again = begin(peer, name)
        again.send(BEGUN)
        peer.ping()
        assert not again.over


def test_rows_that_were_begun_before_their_stream_was_admitted_count_too(
    narrow: GatewayProcess,
) -> None:
    """The Java client sends rows behind its arguments, whatever its window says."""
    with narrow.peer() as peer:
        arguments = arguments_line(declare(peer))
        streams = []
        for _ in range(8):
            stream = peer.open("POST", "/inserts-stream", [JAVA_CLIENT])
            stream.send_frames([arguments + BEGUN])
            peer.read_until(lambda stream=stream: stream.headers or stream.over, what="an answer")  # type: ignore[misc]
            streams.append(stream)
        # Not credited yet when they are looked at: here a sixth has no room.
        assert [stream.over for stream in streams] == [False] * 5 + [True] * 3


def test_a_row_that_has_ended_makes_room_for_another(narrow: GatewayProcess) -> None:
    with narrow.peer() as peer:
        name = declare(peer)
        for _ in range(9):
            stream = insert_row(peer, name)
            stream.send(BEGUN)
            stream.send(b'"}\n')
            stream.read_lines(1)
            assert records(stream) == acks(0, 1)
        assert ask(peer, "GET", "/info").status == 200


def test_one_row_may_be_longer_than_all_that_streams_may_keep_together(
    narrow: GatewayProcess,
) -> None:
    with narrow.peer() as peer:
        name = declare(peer)
        stream = insert_row(peer, name)
        stream.send(BEGUN + b"x" * 800_000 + b'"}\n', end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 1)
