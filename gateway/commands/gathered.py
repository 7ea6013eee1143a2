"""A query's rows in lists, as they come; the first list waits a moment for more."""

import asyncio
from collections.abc import AsyncGenerator

from gateway.client import Query, ResumingQuery
from gateway.commands.results import Rows

FIRST_ROWS = 1000


async def gathered(
    query: Query | ResumingQuery, *, first_s: float = 0.0
) -> AsyncGenerator[Rows, None]:
    """All rows that are there, again and again. Close it where it is left early.

    ``first_s``: how long the first list waits after its first row. Raises what the query raises,
    after the rows that came before.
    """
    loop = asyncio.get_running_loop()
    held: list[list[object]] = []
    until_s: float | None = None
    coming = asyncio.ensure_future(query.batch())
    try:
        while True:
            left_s = max(0.0, until_s - loop.time()) if held and until_s is not None else None
            await asyncio.wait([coming], timeout=left_s)
            is_over = coming.done() and (coming.exception() is not None or not coming.result())
            if coming.done() and not is_over:
                held += coming.result()
                coming = asyncio.ensure_future(query.batch())
                until_s = until_s or loop.time() + first_s
                if loop.time() < until_s and len(held) < FIRST_ROWS:
                    continue
            if held:
                yield held
                held = []
            if is_over:
                # Its failure, if that is how it ended.
                coming.result()
                return
    finally:
        coming.cancel()
        await asyncio.wait([coming])
