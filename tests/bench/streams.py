"""Streams of the benches on a running gateway, through its own client."""

import asyncio

from gateway.client import Client
from tests.bench.processes import BenchFailed
from tests.bench.rows import STREAM_COLUMNS, STREAM_OPTIONS


async def create_stream(url: str, name: str) -> None:
    async with Client(url) as client:
        await client.ksql(f"CREATE STREAM {name} ({STREAM_COLUMNS}) WITH ({STREAM_OPTIONS});")


async def expect_count(url: str, name: str, rows: int, *, limit_s: float = 60.0) -> None:
    """The stream holds exactly these rows, at the latest after ``limit_s``."""
    async with Client(url) as client, asyncio.timeout(limit_s):
        counted = -1
        while counted != rows:
            async with client.query(f"SELECT COUNT(*) FROM {name};") as query:
                # A datasource that Druid does not know yet gives no row at all.
                counted = (await anext(query, [0]))[0]
            if counted > rows:
                raise BenchFailed(f"{name} holds {counted} rows, {rows} were sent")
            if counted != rows:
                await asyncio.sleep(0.2)
