"""Rows that the disk gives back changed, or not at once; and work in the background that dies."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.config import load
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.ingest_room import IngestRoom
from gateway.ingest.layout import ChunkDamaged
from gateway.runtime.running import WorkDied, run
from tests.fakes import DEADLINE_S, Changes, ScriptedWarehouse
from tests.ingest_house import WatchedReader, house, lines


def scripted(slots: int) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), slots=slots)


async def test_rows_that_the_disk_has_changed_are_held_and_not_inserted(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(0)) as made:
        sink = await made.spool(lines(0, 3))
        with closing(sqlite3.connect(made.path)) as db, db:
            db.execute("UPDATE chunk SET raw = ?", (lines(0, 3).replace(b'"A":1', b'"A":7'),))
        with pytest.raises(ChunkDamaged, match="chunk 1 is not what was written"):
            made.reader.chunk_bytes(1)
        made.warehouse.slots = 1
        await made.until_idle()
        [held] = made.committer.held
        assert held.state is BatchState.HELD
        assert "the disk has changed it" in (held.error or "")
        assert made.warehouse.rows == []
        assert "the disk has changed it" in sink.failures[0].message


async def test_rows_that_cannot_be_read_for_a_while_are_committed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = WatchedReader.content
    refusals = [sqlite3.OperationalError("disk I/O error") for _ in range(3)]

    def content(self: WatchedReader, batch: BatchRecord) -> Iterator[bytes]:
        if refusals:
            raise refusals.pop()
        return read(self, batch)

    monkeypatch.setattr(WatchedReader, "content", content)
    async with house(tmp_path / "spool.db", scripted(8)) as made:
        sink = await made.spool(lines(0, 3))
        await made.until_idle()
        assert sink.settled_rows == {0, 1, 2}
        assert refusals == []


async def test_a_gateway_whose_background_work_dies_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = asyncio.Event()

    async def dies() -> None:
        await ready.wait()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(IngestRoom, "works", lambda _: [dies()])
    given = {"data_dir": tmp_path, "http": {"port": 0}, "admin": {"port": "off"}}

    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(WorkDied, match="what was acked is on disk"):
        async with asyncio.timeout(DEADLINE_S):
            await run(load(None, given), never, lambda *_: ready.set())
