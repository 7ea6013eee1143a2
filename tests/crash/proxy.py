"""A TCP proxy on loopback between the gateway and Druid's router, that breaks what goes through.

Owns: its port, the connections through it and their faults. Must never know: HTTP; it sees a
request go up and a reply come down. Every fault lasts as long as its ``async with``, no longer.

    delayed        every piece, up and down, waits a little
    replies_lost   a request goes through; of its reply nothing, or its first bytes, comes back, and
                   the connection breaks: the effect of the call is unknown
    away           nobody listens, and what was open breaks
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

HOST = "127.0.0.1"
PIECE_BYTES = 64 << 10


class Proxy:
    """Forwards to ``upstream`` (a URL). ``dice`` choose how much of a reply gets through."""

    def __init__(self, upstream: str, dice: random.Random) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._dice = dice
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()
        self._delay_s = 0.0
        self._losing = False
        self.cut = 0
        """connections that were broken"""
        self.forwarded_bytes = 0

    @property
    def url(self) -> str:
        """Where it listens, once it is open."""
        return f"http://{HOST}:{self._port}"

    async def open(self) -> None:
        """Listen: on a free port the first time, on the same one ever after."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and break every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut += len(self._writers)
        for writer in list(self._writers):
            writer.transport.abort()
        if self._served:
            await asyncio.wait(self._served)

    # ── faults ──

    @contextlib.asynccontextmanager
    async def delayed(self, delay_s: float) -> AsyncIterator[None]:
        """Every piece takes so much longer."""
        self._delay_s = delay_s
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextlib.asynccontextmanager
    async def replies_lost(self) -> AsyncIterator[None]:
        """Requests arrive; replies do not."""
        self._losing = True
        try:
            yield
        finally:
            self._losing = False

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """No connection, old or new."""
        await self.close()
        try:
            yield
        finally:
            await self.open()

    # ── forwarding ──

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        task.add_done_callback(self._served.discard)
        self._writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            self._break(writer)
            return
        self._writers.add(up_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, up_writer, is_reply=False))
                both.create_task(self._forward(up_reader, writer, is_reply=True))
        except* OSError:
            pass
        finally:
            self._break(writer)
            self._break(up_writer)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        while piece := await source.read(PIECE_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if is_reply and self._losing:
                sink.write(piece[: self._dice.choice((0, 0, len(piece) // 2))])
                await sink.drain()
                self.cut += 1
                raise ConnectionAbortedError("the reply is lost")
            self.forwarded_bytes += len(piece)
            sink.write(piece)
            await sink.drain()
        # The other direction may have more to say: only this one is over.
        if sink.can_write_eof():
            sink.write_eof()

    def _break(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        if not writer.is_closing():
            # What was written leaves before the break; abort() would drop it.
            writer.close()
