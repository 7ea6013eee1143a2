"""The proxy that breaks connections, between real sockets."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.crash.proxy import Proxy

WITHIN_S = 10.0
REQUEST = b"request\n"
REPLY = b"reply to request\n"


class Upstream:
    """Answers each line, and remembers what came."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.lines.append(line)
                writer.write(b"reply to " + line)
        await closed(writer)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest_asyncio.fixture
async def proxy(upstream: Upstream) -> AsyncIterator[Proxy]:
    made = Proxy(upstream.url, random.Random(1))
    await made.open()
    yield made
    await made.close()


class Caller:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def call(self) -> bytes:
        """Send a request and read to its reply's newline or to the end of the connection."""
        self._writer.write(REQUEST)
        async with asyncio.timeout(WITHIN_S):
            try:
                return await self._reader.readline()
            except ConnectionError:
                return b""


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Caller]:
    host, port = proxy.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Caller(reader, writer)
    finally:
        await closed(writer)


async def reply_through(proxy: Proxy) -> bytes:
    async with connected(proxy) as caller:
        return await caller.call()


async def test_without_a_fault_everything_goes_through(proxy: Proxy, upstream: Upstream) -> None:
    async with connected(proxy) as caller:
        assert [await caller.call(), await caller.call()] == [REPLY, REPLY]
    assert upstream.lines == [REQUEST, REQUEST]


async def test_a_lost_reply_leaves_its_request_done(proxy: Proxy, upstream: Upstream) -> None:
    async with proxy.replies_lost():
        reply = await reply_through(proxy)
    assert len(reply) < len(REPLY), "a whole reply came"
    assert REPLY.startswith(reply)
    assert upstream.lines == [REQUEST]
    assert proxy.cut == 1
    assert await reply_through(proxy) == REPLY


async def test_away_breaks_what_is_open_and_refuses_what_is_new(
    proxy: Proxy, upstream: Upstream
) -> None:
    async with connected(proxy) as caller:
        assert await caller.call() == REPLY
        async with proxy.away():
            assert await caller.call() == b""
            with pytest.raises(ConnectionRefusedError):
                await reply_through(proxy)
    assert await reply_through(proxy) == REPLY
    assert upstream.lines == [REQUEST, REQUEST], "the broken call has reached nobody"


async def test_a_delay_ends_with_its_block(proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    async with connected(proxy) as caller:
        async with proxy.delayed(0.2):
            begun_s = loop.time()
            assert await caller.call() == REPLY
            assert loop.time() - begun_s >= 0.4, "up and down wait once each"
        assert await caller.call() == REPLY


async def test_an_upstream_that_is_gone_breaks_the_connection(unused_tcp_port: int) -> None:
    proxy = Proxy(f"http://127.0.0.1:{unused_tcp_port}", random.Random(1))
    await proxy.open()
    try:
        assert await reply_through(proxy) == b""
    finally:
        await proxy.close()
