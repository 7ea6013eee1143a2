"""The ingest room on both real warehouses: every row once, whichever reply is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gateway.ingest.ingest_room import IngestRoom
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.seams import (
    ARRIVAL_FIELD,
    AckLevel,
    ChannelClaim,
    InsertSpec,
    Source,
    SourceKind,
    Warehouse,
)
from protocol.types import BIGINT, STRING, Column
from tests.contract.batches import DEADLINE_S, fresh
from tests.contract.druid_fixture import until
from tests.contract.lossy import LossyWarehouse
from tests.fakes import Changes, RecordingSink
from tests.ingest_house import LIMITS

pytestmark = pytest.mark.asyncio(loop_scope="session")

COLUMNS = (Column("N", BIGINT), Column("S", STRING))
ONE_BATCH = replace(
    LIMITS,
    batch=BatchLimits(rows_max=1000, bytes_max=1 << 20, age_s=0.0),
    times=CommitterTimes(poll_s=0.1, retry_s=0.1, retry_max_s=1.0, away_s=1.0),
)
NULL_BYTE = "\x00"
"""Druid fails a batch for it and names no line. The row check refuses it: it is put in behind."""


class Line:
    """A stream into a room that was opened for a test, and what it heard."""

    def __init__(self, room: IngestRoom, changes: Changes, datasource: str) -> None:
        self.room = room
        self.changes = changes
        spec = InsertSpec(datasource=datasource, columns=COLUMNS)
        self.source = Source(name=datasource, kind=SourceKind.STREAM, columns=COLUMNS, spec=spec)

    async def send(self, texts: list[str]) -> RecordingSink:
        """Rows that hold these texts, on a channel, in one chunk."""
        sink = RecordingSink(self.changes)
        stream = await self.room.intake.open_stream(
            self.source, AckLevel.COMMITTED, sink, ChannelClaim(name="c")
        )
        rows = [{ARRIVAL_FIELD: 1_700_000_000_000, "N": n, "S": s} for n, s in enumerate(texts)]
        raw = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        stream.append(0, len(rows), raw, len(raw))
        return sink


@asynccontextmanager
async def room_at(path: Path, warehouse: Warehouse, datasource: str) -> AsyncIterator[Line]:
    """A room over a spool, with its work going on."""
    spec = InsertSpec(datasource=datasource, columns=COLUMNS)

    async def check(stream: str, raw: bytes, _: int) -> tuple[InsertSpec, bytes]:
        assert stream == datasource
        return spec, raw + b"\n"

    room = IngestRoom.at(path, warehouse, ONE_BATCH, check)
    await room.open()
    works = [asyncio.create_task(work) for work in room.works()]
    try:
        yield Line(room, Changes(), datasource)
    finally:
        for work in works:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        await room.close()


LOST = {
    "the submission before it arrives": {"submit": ["before"]},
    "the reply to the submission": {"submit": ["after"]},
    "every second look at the task": {"statuses": ["", "after"] * 20},
    "the first three looks at the task": {"statuses": ["before"] * 3},
    "submission, looks and counts in turn": {
        "submit": ["before", "after"],
        "statuses": ["after", "before"],
        "count": ["before", "after"],
    },
}


@pytest.mark.parametrize("lost", LOST)
async def test_rows_are_committed_once_when_what_is_lost_is(
    tmp_path: Path, warehouse: Warehouse, lost: str
) -> None:
    datasource = fresh("lost")
    fates = {name: list(each) for name, each in LOST[lost].items()}
    lossy = LossyWarehouse(warehouse, **fates)
    async with room_at(tmp_path / "spool.db", lossy, datasource) as line:
        sink = await line.send(["x"] * 5)
        await line.changes.until(lambda: len(sink.settled_rows) == 5, DEADLINE_S)
        assert not sink.failures
        assert set(lossy.submitted) == {lossy.submitted[0]}, "another attempt was made"
        number = line.room.reader.committed_after(0, 9)[0]
        assert await warehouse.count(datasource, number.id) == 5
        offsets = await line.room.intake.channel(line.source, "c")
        assert offsets is not None
        assert (offsets.spooled, offsets.committed) == (5, 5)


async def test_a_task_whose_gateway_died_before_it_heard_is_found_by_its_id_and_not_run_again(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    datasource = fresh("died")
    lossy = LossyWarehouse(warehouse, submit=["after"], statuses=["before"] * 1000)
    async with room_at(tmp_path / "spool.db", lossy, datasource) as line:
        sink = await line.send(["x"] * 3)
        await line.changes.until(lambda: sink.spooled_bytes > 0, DEADLINE_S)
        await until(_holds(lambda: "statuses" in lossy.calls))
        assert not sink.settled_rows
    again = LossyWarehouse(warehouse)
    async with room_at(tmp_path / "spool.db", again, datasource) as line:
        await until(_holds(lambda: bool(line.room.reader.committed_after(0, 1))))
        [batch] = line.room.reader.committed_after(0, 9)
        assert again.submitted == []
        assert await warehouse.count(datasource, batch.id) == 3


@pytest.mark.druid
async def test_rows_that_druid_fails_without_naming_them_are_found_by_halving(
    tmp_path: Path, druid_warehouse: Warehouse
) -> None:
    datasource = fresh("halved")
    texts = ["x"] * 8
    texts[5] = NULL_BYTE
    async with room_at(tmp_path / "spool.db", druid_warehouse, datasource) as line:
        sink = await line.send(texts)
        await line.changes.until(
            lambda: len(sink.settled_rows) + len(sink.failures) == 8, 3 * DEADLINE_S
        )
        assert list(sink.failures) == [5]
        assert "InvalidNullByte" in sink.failures[5].message
        [letter] = await line.room.dead_letters.find()
        assert (letter.channel, letter.offset) == ("c", 5)
        # The whole, two halves, two quarters, two single rows: no good half is run twice.
        assert letter.tasks == 7
        await until(_holds(lambda: line.room.committer.idle))
        mended = {ARRIVAL_FIELD: 1_700_000_000_000, "N": 5, "S": "mended"}
        await line.room.dead_letters.edit(letter.id, orjson.dumps(mended))
        await line.room.dead_letters.retry(letter.id)
        await until(_holds(lambda: line.room.committer.idle))
        batches = line.room.reader.committed_after(0, 99)
        counts = [await druid_warehouse.count(datasource, batch.id) for batch in batches]
        assert sum(counts) == 8
        offsets = await line.room.intake.channel(line.source, "c")
        assert offsets is not None
        assert offsets.committed == 8


def _holds(said: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return said()

    return asked
