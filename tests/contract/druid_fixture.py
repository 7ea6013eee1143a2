"""A `DruidWarehouse` on a running cluster, for the contract suite and for tests/druid.

It brings what the front door gives in production: the HTTP route where Druid fetches a batch.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from gateway.seams import BatchBytes
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse

_RANGE = re.compile(r"bytes=(\d+)-")


class MemoryBatch:
    """Batch bytes that are held in memory, given out in pieces."""

    def __init__(self, raw: bytes, piece_bytes: int = 64 << 10) -> None:
        self.size_bytes = len(raw)
        self._raw = raw
        self._piece_bytes = piece_bytes

    def read(self, start: int = 0) -> Iterator[bytes]:
        """Pieces from byte ``start`` on."""
        for at in range(start, self.size_bytes, self._piece_bytes):
            yield self._raw[at : at + self._piece_bytes]


class BatchServer:
    """``GET /batches/<token>`` with Range, and a note of every fetch."""

    def __init__(self) -> None:
        self.ranges: list[str | None] = []
        self.tokens: set[str] = set()
        self.base_url = ""
        self._warehouse: DruidWarehouse | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        app = web.Application()
        app.router.add_get("/batches/{token}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}"

    def serve(self, warehouse: DruidWarehouse) -> None:
        """Answer from this warehouse's staged batches."""
        self._warehouse = warehouse

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        token = request.match_info["token"]
        self.tokens.add(token)
        content = self._warehouse.staged.find(token) if self._warehouse else None
        if content is None:
            raise web.HTTPNotFound
        return await _answer(request, content)


async def _answer(request: web.Request, content: BatchBytes) -> web.StreamResponse:
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    start = int(asked[1]) if asked else 0
    last = content.size_bytes - 1
    response = web.StreamResponse(status=206 if asked else 200)
    response.content_type = "application/json"
    response.content_length = content.size_bytes - start
    if asked:
        response.headers["Content-Range"] = f"bytes {start}-{last}/{content.size_bytes}"
    await response.prepare(request)
    pieces = content.read(start)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response


async def until(holds: Callable[[], Awaitable[bool]], within_s: float = 180.0) -> None:
    """Ask again and again until it holds: nobody tells when Druid has come so far.

    The bound is generous: a task that fails on a busy machine was seen to take over a minute to
    be said FAILED, while it ends within two seconds on an idle one.
    """
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.05)


def unique(name: str) -> str:
    """A datasource name that no other test has."""
    return f"{name}_{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def batch_server() -> AsyncIterator[BatchServer]:
    """A byte server; tell it whom to `serve`."""
    server = BatchServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def opened_druid(
    router: str, *, server: BatchServer | None = None, settings: DruidSettings | None = None
) -> AsyncIterator[DruidWarehouse]:
    """An opened `DruidWarehouse` on the cluster behind ``router`` (a base URL).

    ``settings`` may say anything but where the cluster and the byte server are.
    """
    if server is None:
        async with (
            batch_server() as own,
            opened_druid(router, server=own, settings=settings) as warehouse,
        ):
            yield warehouse
        return
    urls = DruidUrls.router(router)
    base = settings or DruidSettings(urls=urls, fetch_base_url="")
    warehouse = DruidWarehouse(replace(base, urls=urls, fetch_base_url=server.base_url))
    server.serve(warehouse)
    await warehouse.open()
    try:
        yield warehouse
    finally:
        await warehouse.close()
