"""Batches as Druid's workers fetch them: by an unguessable URL, in whole or by range.

The bytes of a batch never change while it can be fetched, so a worker that lost its connection
goes on from where it was. Source: Druid's HTTP input source re-opens with ``Range: bytes=N-``.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from quart import Quart, Response, request

from gateway.seams import BatchBytes
from protocol.errors import NotFound

_FROM = re.compile(r"bytes=(\d+)-(\d*)")


class BatchFetches(Protocol):
    """Which batches may be fetched."""

    def find(self, token: str) -> BatchBytes | None:
        """The bytes that ``token`` stands for, while their task runs."""


def add_batch_route(app: Quart, fetches: BatchFetches) -> None:
    """``GET /batches/<token>``, on whichever port."""

    @app.get("/batches/<token>")
    async def batch(token: str) -> Response:
        return await serve_batch(fetches, token, request.headers.get("range"))


async def serve_batch(fetches: BatchFetches, token: str, range_header: str | None) -> Response:
    """The response to one fetch. Raises `NotFound` for a token that is unknown or past."""
    content = fetches.find(token)
    if content is None:
        raise NotFound("No such batch: its task is over, or it never was")
    start, end = _range(range_header, content.size_bytes)
    if start >= content.size_bytes > 0:
        unsatisfied = {"content-range": f"bytes */{content.size_bytes}"}
        return Response(b"", status=416, headers=unsatisfied)
    response = Response(_limited(_pieces(content.read(start)), end - start))
    response.timeout = None
    response.content_type = "application/x-ndjson"
    response.headers["content-length"] = str(end - start)
    response.headers["accept-ranges"] = "bytes"
    if range_header is not None:
        response.status_code = 206
        response.headers["content-range"] = f"bytes {start}-{end - 1}/{content.size_bytes}"
    return response


def _range(header: str | None, size_bytes: int) -> tuple[int, int]:
    """The half-open stretch asked for; what is not understood means everything."""
    match = _FROM.fullmatch(header.strip()) if header else None
    if match is None:
        return 0, size_bytes
    last = int(match.group(2)) + 1 if match.group(2) else size_bytes
    return int(match.group(1)), min(last, size_bytes)


async def _pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read the disk in a thread, one piece ahead of nobody."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def _limited(pieces: AsyncIterator[bytes], size_bytes: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if size_bytes <= 0:
            return
        yield piece[:size_bytes]
        size_bytes -= len(piece)
