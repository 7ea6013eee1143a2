"""What contract tests share: batches, submissions, waiting, and results as values."""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from gateway.seams import (
    InsertSpec,
    ResultColumn,
    Submission,
    Submitted,
    TaskState,
    Warehouse,
    WarehouseQuery,
    WarehouseUnreachable,
)

DEADLINE_S = 180.0
"""Longer than any batch takes: a test that waits so long has failed."""


class Bytes:
    """Batch bytes held in memory, given out in pieces that cut lines."""

    def __init__(self, raw: bytes, piece_bytes: int = 4099) -> None:
        self.size_bytes = len(raw)
        self._raw = raw
        self._piece_bytes = piece_bytes

    def read(self, start: int = 0) -> Iterator[bytes]:
        for at in range(start, self.size_bytes, self._piece_bytes):
            yield self._raw[at : at + self._piece_bytes]


def fresh(name: str) -> str:
    """A name that no other run has used: a Druid may live longer than a run."""
    return f"{name}_{uuid.uuid4().hex[:12]}"


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def submission(
    spec: InsertSpec, raw: bytes, *, batch_id: str = "", task_id: str = ""
) -> Submission:
    batch_id = batch_id or fresh("b")
    return Submission(
        batch_id=batch_id,
        task_id=task_id or batch_id,
        spec=spec,
        rows=raw.count(b"\n"),
        content=Bytes(raw),
    )


async def final_state(warehouse: Warehouse, task_id: str) -> TaskState:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            state = (await warehouse.statuses([task_id])).get(task_id)
            if state in (TaskState.SUCCESS, TaskState.FAILED):
                return state
            await asyncio.sleep(0.02)


LOOK_ANEW: list[Callable[[], None]] = []
"""What makes a warehouse look at its published rows anew; the fixture of a real Druid fills it.

Druid 27 was seen to have a segment loaded and not show it, for minutes, until what serves it was
restarted. That is its own fault and not what is tested here.
"""


async def stored(warehouse: Warehouse, spec: InsertSpec, raw: bytes) -> Submission:
    """Submit a batch that must succeed, and wait until a SELECT sees it."""
    batch = submission(spec, raw)
    assert await warehouse.submit(batch) is Submitted.ACCEPTED
    state = await final_state(warehouse, batch.task_id)
    if state is TaskState.FAILED:
        raise AssertionError(await warehouse.failure(batch.task_id))
    if await _is_seen(warehouse, batch):
        return batch
    for look in LOOK_ANEW:
        await asyncio.to_thread(look)
    if await _is_seen(warehouse, batch):
        return batch
    there = await warehouse.count(spec.datasource, batch.batch_id)
    segments = f"SELECT * FROM sys.segments WHERE datasource = '{spec.datasource}'"
    known = await values(warehouse, segments)
    raise AssertionError(f"{there} rows are published and not seen: {known}")


async def _is_seen(warehouse: Warehouse, batch: Submission) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S / 2):
            while True:
                with contextlib.suppress(WarehouseUnreachable):
                    if await warehouse.queryable(batch.spec.datasource, batch.batch_id, batch.rows):
                        return True
                await asyncio.sleep(0.05)
    return False


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def select(
    warehouse: Warehouse, sql: str
) -> tuple[tuple[ResultColumn, ...], list[list[Any]]]:
    """Columns and rows of a SELECT, read to its end."""
    result = await warehouse.query(WarehouseQuery(sql=sql, query_id=fresh("q")))
    rows: list[list[Any]] = []
    async for chunk in result.rows():
        lines = chunk.raw.split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == chunk.count
        rows.extend(orjson.loads(line) for line in lines)
    await result.close()
    return result.columns, rows


async def values(warehouse: Warehouse, sql: str) -> list[list[Any]]:
    return (await select(warehouse, sql))[1]


def document(value: Any) -> Any:
    """A JSON column or an array as a value, whether the warehouse sends it as text or not."""
    return orjson.loads(value) if isinstance(value, str) else value
