"""A command whose reader stalls (`| less`): it can be ended, and its connection lives."""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Iterator

from tests.commands import command_line, environment
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import declare, insert, json_lines, ksql, until
from tests.unit.client_peer import Exchange, scripted

ROWS = 4000
TEXT = "x" * 2000


class Stalled:
    """A command whose standard output nobody reads, until ``read_line`` is called."""

    def __init__(self, *arguments: object) -> None:
        output, self._writer = os.pipe()
        self.process = subprocess.Popen(
            command_line(arguments),
            stdout=self._writer,
            stderr=subprocess.PIPE,
            env=environment({}),
        )
        self._lines = os.fdopen(output, "rb")

    @property
    def is_full(self) -> bool:
        """Whether the pipe takes no more (pipe(7)): what is written now has to wait."""
        return not select.select([], [self._writer], [], 0)[1]

    def read_line(self) -> bytes:
        return self._lines.readline()

    def stop_reading(self) -> None:
        """As `| head` does."""
        self._lines.close()

    def ended(self) -> tuple[int, bytes]:
        """Status and standard error."""
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stderr

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._lines.close()
        os.close(self._writer)


@contextlib.contextmanager
def stalled(*arguments: object) -> Iterator[Stalled]:
    command = Stalled(*arguments)
    try:
        yield command
    finally:
        command.close()


def long_rows(peer: Peer) -> str:
    """A stream with far more in it than pipes and windows hold."""
    stream = declare(peer, "id BIGINT, name STRING", timestamp=None)
    rows = [{"ID": number, "NAME": TEXT} for number in range(ROWS)]
    assert len(insert(peer, stream, json_lines(rows))) == ROWS
    return stream


def push_query(gateway: GatewayProcess, stream: str) -> tuple[object, ...]:
    earliest = ("--property", "auto.offset.reset=earliest")
    sql = f"SELECT id, name FROM {stream} EMIT CHANGES;"
    return ("query", sql, *earliest, "--url", gateway.url)


def delivered(peer: Peer) -> int:
    (listed,) = ksql(peer, "LIST QUERIES;")[0]["queries"]
    return int(listed["rowsDelivered"])


def test_a_stalled_reader_is_felt_by_the_gateway_and_gets_every_row_once_it_reads(
    gateway: GatewayProcess, peer: Peer
) -> None:
    stream = long_rows(peer)
    with stalled(*push_query(gateway, stream)) as command:
        until(lambda: command.is_full, "a pipe that is full")
        for number in range(ROWS):
            if number == ROWS // 4:
                assert 0 < delivered(peer) < ROWS
            assert command.read_line() == f"{number}\t{TEXT}\n".encode()
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == (130, b"")


def test_interrupt_ends_a_query_whose_reader_stalls(gateway: GatewayProcess, peer: Peer) -> None:
    stream = long_rows(peer)
    with stalled(*push_query(gateway, stream)) as command:
        until(lambda: command.is_full, "a pipe that is full")
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == (130, b"")
    until(lambda: ksql(peer, "LIST QUERIES;")[0]["queries"] == [], "the end of the query")


def test_a_query_ends_when_its_reader_has_enough(gateway: GatewayProcess, peer: Peer) -> None:
    stream = long_rows(peer)
    with stalled(*push_query(gateway, stream)) as command:
        assert command.read_line().startswith(b"0\t")
        command.stop_reading()
        assert command.ended() == (1, b"")


async def test_while_its_reader_stalls_the_gateways_pings_are_answered() -> None:
    may_end = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.respond()
        exchange.send(b'{"queryId":"q","columnNames":["NAME"],"columnTypes":["STRING"]}\n')
        exchange.send(b'["%s"]\n' % TEXT.encode() * 100)
        await may_end.wait()

    async with scripted(script, initial_window_size=1 << 20) as server:
        with stalled("query", "SELECT name FROM s EMIT CHANGES;", "--url", server.url) as command:
            await asyncio.to_thread(until, lambda: command.is_full, "a pipe that is full")
            async with asyncio.timeout(30):
                (peer,) = server.peers
                peer.h2.ping(b"areyouup")
                peer.flush()
                await peer.pong_received.wait()
            may_end.set()
            command.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(command.ended) == (130, b"")
