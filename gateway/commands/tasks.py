"""``headrace tasks``: what became of batches and their tasks, out of the stream that tells it."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.client import Client, Query, ResumingQuery
from gateway.commands.door import DEFAULT_DOOR, Door, told
from gateway.commands.gathered import gathered
from gateway.commands.interrupts import run
from gateway.commands.output import print_documents
from gateway.commands.query import print_result
from gateway.commands.results import form_of

SQL = "SELECT * FROM headrace_tasks EMIT CHANGES;"
EARLIEST = {"auto.offset.reset": "earliest"}
COLUMNS = (
    "BATCH",
    "ATTEMPT",
    "TARGET",
    "STATE",
    "STAGE",
    "ROWS_OUT",
    "BYTES",
    "SEGMENTS",
    "DURATION_MS",
    "CHANGED_AT",
    "TASK_ID",
    "ERROR_MESSAGE",
)
Row = Sequence[Any]
LOOK_S = 0.05
"""between two looks at whether all that is retained has come"""


def tasks(
    *,
    follow: Annotated[
        bool,
        Parameter(
            help="every change, from the earliest retained one on", negative="", show_default=False
        ),
    ] = False,
    every: Annotated[
        bool,
        Parameter(
            name="--all", help="every retained change, then end", negative="", show_default=False
        ),
    ] = False,
    door: Door = DEFAULT_DOOR,
) -> int:
    """Show what became of batches: the newest state of each that the gateway still tells of.

    Without a terminal, fields are separated by tabs: batch, attempt, target, state, stage, rows,
    bytes, segments, milliseconds, when it changed, task id, error. With --json: all members. With
    --follow or ^C out of it (exit code 130): every change as it comes, all columns.
    """
    if follow:
        run(_follow(door))
        return 0
    changes = run(_retained(door))
    shown = changes if every else list({change["BATCH"]: change for change in changes}.values())
    print_documents(shown, COLUMNS, as_json=door.json)
    return 0


async def _follow(door: Door) -> None:
    async with door.opened() as client:
        with told(door):
            form = form_of(as_json=door.json, as_csv=False)
            await print_result(client, SQL, EARLIEST, form)


async def _retained(door: Door) -> list[dict[str, Any]]:
    """Every change that the gateway still tells of, in their order."""
    async with door.opened() as client:
        with told(door):
            async with client.query(SQL, properties=EARLIEST, resume=False) as query:
                names = [column.name for column in query.columns]
                rows = await _until_nothing_is_behind(client, query)
    return [dict(zip(names, row, strict=True)) for row in rows]


async def _until_nothing_is_behind(
    client: Client, query: Query | ResumingQuery
) -> list[Sequence[Any]]:
    """The stream has no end: its rows are all there when the gateway has none left behind and has
    delivered as many as have come."""
    rows: list[Row] = []

    async def read() -> None:
        async with contextlib.aclosing(gathered(query)) as lists:
            async for some in lists:
                rows.extend(some)

    reading = asyncio.create_task(read())
    try:
        while not reading.done():
            listed = [each for each in await client.queries() if each["id"] == query.query_id]
            behind = listed[0].get("entriesBehind", 0) if listed else 0
            if not behind and (not listed or listed[0].get("rowsDelivered", 0) <= len(rows)):
                break
            await asyncio.wait([reading], timeout=LOOK_S)
        if reading.done():
            await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    return rows
