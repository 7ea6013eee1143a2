"""A TCP proxy of ours before a Druid, that cuts a connection in the middle of a reply."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Cutter:
    """A TCP proxy before the Router that cuts a connection after so many bytes of reply."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self.left_bytes: int | None = None
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        up = asyncio.create_task(self._up(reader, up_writer))
        try:
            while piece := await up_reader.read(4096):
                if self.left_bytes is not None:
                    piece = piece[: self.left_bytes]
                    self.left_bytes -= len(piece)
                writer.write(piece)
                await writer.drain()
                if self.left_bytes == 0:
                    break
        except ConnectionError:
            pass  # the client has gone, which some tests want
        finally:
            up.cancel()
            for end in (writer, up_writer):
                end.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            self.requests.append(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def cutting(target: str) -> AsyncIterator[tuple[Cutter, str]]:
    cutter = Cutter(target)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    try:
        yield cutter, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
