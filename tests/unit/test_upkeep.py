"""What is done to the spool by the clock: retention, and a disk that was at fault."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.ingest.policy import BatchLimits
from gateway.ingest.spool import FORGET_BATCHES_MAX
from gateway.ingest.upkeep import RetentionLimits, keep_within, watch_disk
from gateway.ingest.writer import GROUP_BYTES_MAX
from gateway.seams import AckLevel
from protocol.errors import RowRejected, SpoolAway
from tests.fakes import RecordingSink
from tests.ingest_house import (
    LIMITS,
    BlockedDisk,
    House,
    house,
    limit_pages,
    lines,
    refusing_disk,
)
from tests.on_channels import on, on_disk, send, where

ROW = lines(0, 1)
FAR = 1 << 62
SOON_S = 0.001


@asynccontextmanager
async def at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that goes on for the length of a ``with``."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def committed(made: House, count: int) -> None:
    """So many batches of a row each."""
    for number in range(count):
        sink = await made.spool(lines(number, 1))
        await made.changes.until(lambda sink=sink: sink.settled_rows == {0})  # type: ignore[misc]


def positions(made: House) -> list[int | None]:
    return [batch.commit_seq for batch in made.reader.committed_after(0, 99)]


# ── retention ────────────────────────────────────────────────────────────────────────────────


async def test_the_oldest_commits_go_until_the_others_fit(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await committed(made, 5)
        forget = made.writer.record
        assert await forget(lambda spool: spool.forget(0, 5 * len(ROW))) == 0
        assert await forget(lambda spool: spool.forget(0, 3 * len(ROW))) == 2 * len(ROW)
        assert positions(made) == [3, 4, 5]
        assert await forget(lambda spool: spool.forget(0, len(ROW) - 1)) == 3 * len(ROW)
        assert positions(made) == []
        assert (made.reader.log_start(), made.reader.log_end()) == (5, 5)
    async with house(tmp_path / "spool.db") as made:
        await committed(made, 1)
        assert positions(made) == [6]
        assert await made.writer.record(lambda spool: spool.forget(0, 0)) == len(ROW)


async def test_commits_go_by_their_age_however_few_they_are(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await committed(made, 2)
        assert await made.writer.record(lambda spool: spool.forget(0, FAR)) == 0
        assert await made.writer.record(lambda spool: spool.forget(FAR, FAR)) == 2 * len(ROW)


async def test_rows_that_are_not_final_are_never_past_their_retention(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await made.spool(lines(0, 2))
        (chunk,) = made.chunks
        await made.spool(lines(2, 1))
        await made.writer.record(
            lambda spool: spool.seal((chunk.id, chunk.id), chunk.queue, 2, chunk.size_bytes, 0)
        )
        assert await made.writer.record(lambda spool: spool.forget(FAR, 0)) == 0
        assert made.reader.stored_bytes() == len(lines(0, 3))


async def test_one_sweep_drops_no_more_batches_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FORGET_BATCHES_MAX > 3
    monkeypatch.setattr("gateway.ingest.spool.FORGET_BATCHES_MAX", 3)
    limits = BatchLimits(rows_max=1, bytes_max=1 << 20, age_s=0.0)
    async with house(tmp_path / "spool.db", limits=limits) as made:
        await committed(made, 4)
        assert await made.writer.record(lambda spool: spool.forget(FAR, 0)) == 3 * len(ROW)
        assert await made.writer.record(lambda spool: spool.forget(FAR, 0)) == len(ROW)


async def test_a_sweep_that_the_disk_refuses_is_undone_and_done_later(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await committed(made, 3)
        freed: list[int] = []

        def told(size_bytes: int) -> None:
            freed.append(size_bytes)
            made.changes.tell()

        limits = RetentionLimits(keep_s=3600.0, keep_bytes=len(ROW), sweep_s=SOON_S)
        async with refusing_disk(made.writer):
            async with at_work(keep_within(lambda: limits, made.writer, told)):
                await made.changes.until(lambda: made.writer.refused_records > 2)
            assert freed == []
            assert positions(made) == [1, 2, 3]
        async with at_work(keep_within(lambda: limits, made.writer, told)):
            await made.changes.until(lambda: len(freed) > 1)
        assert (freed[0], set(freed[1:])) == (2 * len(ROW), {0})
        assert positions(made) == [3]


# ── a disk that was at fault ─────────────────────────────────────────────────────────────────


async def test_a_disk_at_fault_is_told_until_it_takes_rows_again(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await on(made)
        back: list[bool] = []

        def is_back() -> None:
            back.append(made.room.takes_rows)
            made.changes.tell()

        async with refusing_disk(made.writer):
            stream.append(0, 1, ROW, 1)
            await made.changes.until(lambda: sink.ended_at == 0)
            assert not made.room.takes_rows
            spool = made.room.health()["spool"]
            assert not spool["isHealthy"]
            assert spool["state"] == sink.failures[0].message
            since = spool["faultSinceMs"]
            assert since > 1_600_000_000_000
            async with at_work(watch_disk(made.writer, SOON_S, is_back)):
                await made.changes.until(lambda: made.writer.refused_records > 2)
                with pytest.raises(SpoolAway) as away:
                    await made.stream()
                assert (away.value.status, away.value.code) == (503, 50000)
            assert made.room.health()["spool"]["faultSinceMs"] == since
            assert back == []
        async with at_work(watch_disk(made.writer, SOON_S, is_back)):
            await made.changes.until(lambda: bool(back))
        assert back == [True]
        assert made.room.health()["spool"] == {
            "isHealthy": True, "storedBytes": made.room.capacity.stored_bytes,
        }  # fmt: skip
        await send(made, 0, 1)
        assert where(made) == (1, 0, 0)


async def test_no_row_of_a_stream_is_acked_that_a_fault_left_out(tmp_path: Path) -> None:
    """Whatever the groups were: what was acked is on disk, and what is on disk was acked."""
    async with house(tmp_path / "spool.db", start=False) as made:
        sinks: list[RecordingSink] = []
        for turn in range(4):
            stream, sink = await made.stream(AckLevel.SPOOLED)
            sinks.append(sink)
            stream.append(0, 1, lines(10 * turn, 1), 1)
            await made.changes.until(lambda sink=sink: bool(sink.settled_rows))  # type: ignore[misc]
            async with refusing_disk(made.writer):
                stream.append(1, 1, lines(10 * turn + 1, 1), 1)
                stream.append(2, 1, lines(10 * turn + 2, 1), 1)
                await made.changes.until(lambda sink=sink: bool(sink.failures))  # type: ignore[misc]
            await made.writer.record(lambda spool: spool.touch())
            stream.append(3, 1, lines(10 * turn + 3, 1), 1)
        await made.writer.record(lambda _: None)
        stored = [made.reader.chunk_bytes(chunk.id) for chunk in made.reader.unsealed()]
        assert stored == [lines(10 * turn, 1) for turn in range(4)]
        assert [sink.settled_rows for sink in sinks] == [{0}] * 4
        assert [sink.ended_at for sink in sinks] == [1] * 4


@pytest.mark.parametrize("on_channel", [False, True])
async def test_rows_of_a_stream_behind_one_that_was_not_written_are_not_written(
    tmp_path: Path, on_channel: bool
) -> None:
    """Handed over before the fault was known, in a group of their own, small enough to be taken."""
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await (on(made) if on_channel else made.stream())
        stream.append(0, 1, ROW, 1)
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        other, too = await made.stream()
        await limit_pages(made.writer, 8)
        async with BlockedDisk(made.writer):
            stream.append(1, 1, lines(1, 1, "x" * GROUP_BYTES_MAX), 1)
            stream.append(2, 1, lines(2, 1), 1)
            stream.refuse(3, b"no row", RowRejected("no row", 40000), 1)
            other.append(0, 1, lines(3, 1), 1)
        await made.changes.until(lambda: too.spooled_bytes == 1)
        await made.changes.until(lambda: stream.waiting_bytes == 0)
        assert sink.ended_at == 1
        assert on_disk(made) == ROW + lines(3, 1)
        assert made.reader.letters() == []
        assert made.room.capacity.stored_bytes == len(ROW + lines(3, 1))


async def test_rows_behind_a_refused_row_that_found_no_room_are_not_written(
    tmp_path: Path,
) -> None:
    limits = replace(LIMITS, letters_bytes=1)
    async with house(tmp_path / "spool.db", limits=limits, start=False) as made:
        stream, sink = await made.stream()
        async with BlockedDisk(made.writer):
            stream.append(0, 1, ROW, 1)
            stream.refuse(1, b"no row", RowRejected("no row", 40000), 1)
            stream.append(2, 1, lines(2, 1), 1)
        await made.changes.until(lambda: stream.waiting_bytes == 0)
        assert (sink.ended_at, on_disk(made)) == (1, ROW)
        assert "ingest.dead_letters_limit_bytes" in sink.failures[1].message
