"""The intake: credit for what is on disk, and rows held back while there is no room."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.ingest_room import IngestLimits
from gateway.ingest.receipts import Receipt
from gateway.seams import AckLevel, InsertSpec, ReceiptSink, SpoolFull
from protocol.errors import SpoolAway
from tests.fakes import DEADLINE_S
from tests.ingest_house import (
    COLUMNS,
    LIMITS,
    BlockedDisk,
    House,
    house,
    lines,
    refusing_disk,
    source,
)

ROW = lines(0, 1)
SIZE = len(ROW)
IN_TIME = DEADLINE_S
AT_ONCE = 0.001


def room_for(rows: int, stall_s: float = IN_TIME) -> IngestLimits:
    return replace(LIMITS, spool_bytes=rows * SIZE, stall_s=stall_s)


def stored(made: House) -> int:
    return sum(chunk.rows for chunk in made.reader.unsealed())


def receipts(made: House) -> list[Receipt]:
    """Take the receipts of all chunks out, as a batch of them would."""
    first, last = made.chunks[0], made.chunks[-1]
    whole = BatchRecord(
        number=1,
        id="b",
        queue=first.queue,
        first_chunk=first.id,
        last_chunk=last.id,
        rows=1,
        size_bytes=1,
        state=BatchState.RUNNING,
        attempt=1,
    )
    return made.receipts.take(whole)


def waiting(made: House) -> list[tuple[ReceiptSink, int]]:
    """Who waits for each row, in the order in which they are on disk."""
    return [
        (receipt.sink, receipt.first_seq + at)
        for receipt in receipts(made)
        for at in range(receipt.count)
    ]


async def test_credit_comes_only_once_the_rows_are_on_disk(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await made.stream()
        on_disk = list[int]()
        sink.on_spooled = lambda: on_disk.append(stored(made))
        async with BlockedDisk(made.writer):
            stream.append(0, 1, ROW, 100)
            stream.append(1, 2, lines(1, 2), 200)
            await asyncio.sleep(0)
            assert (sink.spooled_bytes, stream.waiting_bytes) == (0, 3 * SIZE)
        await made.changes.until(lambda: sink.spooled_bytes == 300)
        assert on_disk == [3, 3]
        assert stream.waiting_bytes == 0
        assert sink.settled_rows == set()


async def test_rows_at_the_spooled_level_are_settled_by_the_disk(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await made.stream(AckLevel.SPOOLED)
        on_disk = list[int]()
        sink.on_settled = lambda: on_disk.append(stored(made))
        async with BlockedDisk(made.writer):
            stream.append(0, 3, lines(0, 3), 1)
            await asyncio.sleep(0)
            assert sink.settled_rows == set()
        await made.changes.until(lambda: sink.settled_rows == {0, 1, 2})
        assert on_disk == [3]
        assert waiting(made) == []


async def test_streams_that_share_a_chunk_have_receipts_of_their_own(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        (one, hears), (other, too) = await made.stream(), await made.stream()
        async with BlockedDisk(made.writer):
            one.append(0, 2, lines(0, 2), 1)
            other.append(0, 1, lines(2, 1), 1)
            one.append(2, 1, lines(3, 1), 1)
        await made.changes.until(lambda: (hears.spooled_bytes, too.spooled_bytes) == (2, 1))
        (chunk,) = made.chunks
        assert chunk.rows == 4
        assert waiting(made) == [(hears, 0), (hears, 1), (too, 0), (hears, 2)]


async def test_a_stream_defined_anew_is_a_queue_of_its_own(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        for of in (source(), source(datasource="other"), source("T"), source()):
            stream, sink = await made.stream(of=of)
            stream.append(0, 1, ROW, 1)
            await made.changes.until(lambda sink=sink: sink.spooled_bytes == 1)  # type: ignore[misc]
        queues = [chunk.queue for chunk in made.chunks]
        assert queues[0] == queues[3]
        assert len(set(queues)) == 3
        spec = InsertSpec(datasource="other", columns=COLUMNS)
        assert {(queue.source, queue.spec) for queue in made.reader.queues()} == {
            ("S", source().spec), ("S", spec), ("T", source().spec),
        }  # fmt: skip


async def test_what_the_spool_held_counts_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await made.spool(lines(0, 3))
    async with house(tmp_path / "spool.db", limits=room_for(3), start=False) as made:
        assert made.room.capacity.stored_bytes == 3 * SIZE
        assert made.room.capacity.full()
        with pytest.raises(SpoolFull):
            await made.stream()
        made.intake.freed(3 * SIZE)
        await made.spool(ROW)
        assert len(made.reader.queues()) == 1


# ── no room ──────────────────────────────────────────────────────────────────────────────────


async def test_rows_wait_while_there_is_no_room_and_go_on_in_order_once_there_is(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(2), start=False) as made:
        (one, hears), (other, too) = await made.stream(), await made.stream()
        one.append(0, 2, lines(0, 2), 2)
        one.append(2, 1, lines(2, 1), 1)
        other.append(0, 1, lines(3, 1), 1)
        one.append(3, 1, lines(4, 1), 1)
        await made.changes.until(lambda: hears.spooled_bytes == 2)
        assert made.room.capacity.stored_bytes == 2 * SIZE
        assert (one.waiting_bytes, other.waiting_bytes) == (2 * SIZE, SIZE)
        made.intake.freed(2 * SIZE)
        await made.changes.until(lambda: (hears.spooled_bytes, too.spooled_bytes) == (3, 1))
        assert one.waiting_bytes == SIZE
        made.intake.freed(SIZE)
        await made.changes.until(lambda: hears.spooled_bytes == 4)
        assert waiting(made) == [(hears, 0), (hears, 1), (hears, 2), (too, 0), (hears, 3)]
        assert (hears.failures, too.failures) == ({}, {})


async def test_rows_that_come_later_do_not_overtake_those_that_wait(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(2), start=False) as made:
        (one, hears), (other, too) = await made.stream(), await made.stream()
        one.append(0, 2, lines(0, 2), 2)
        one.append(2, 2, lines(2, 2), 2)
        async with BlockedDisk(made.writer):
            made.intake.freed(SIZE)
            other.append(0, 1, lines(4, 1), 1)
        await made.changes.until(lambda: hears.spooled_bytes == 4)
        assert too.spooled_bytes == 0
        made.intake.freed(2 * SIZE)
        await made.changes.until(lambda: too.spooled_bytes == 1)


async def test_a_stream_that_waits_too_long_fails_at_its_first_waiting_row(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(2, AT_ONCE), start=False) as made:
        stream, sink = await made.stream()
        stream.append(0, 2, lines(0, 2), 2)
        stream.append(2, 1, lines(2, 1), 1)
        stream.append(3, 1, lines(3, 1), 1)
        await made.changes.until(lambda: bool(sink.failures))
        assert list(sink.failures) == [2]
        assert sink.failures[2].code == 42900
        await made.changes.until(lambda: sink.spooled_bytes == 2)
        made.intake.freed(2 * SIZE)
        stream.append(4, 1, lines(4, 1), 1)
        await made.writer.record(lambda _: None)
        assert stored(made) == 2
        assert waiting(made) == [(sink, 0), (sink, 1)]


async def test_a_stream_that_moves_a_little_still_has_a_deadline_for_what_waits(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(1, 0.05), start=False) as made:
        stream, sink = await made.stream()
        for seq in range(3):
            stream.append(seq, 1, lines(seq, 1), 1)
        made.intake.freed(SIZE)
        await made.changes.until(lambda: bool(sink.failures), deadline_s=10.0)
        assert list(sink.failures) == [2]
        assert stored(made) == 2


async def test_rows_on_their_way_to_the_disk_are_acked_even_if_the_next_ones_waited_too_long(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(1, AT_ONCE), start=False) as made:
        stream, sink = await made.stream(AckLevel.SPOOLED)
        async with BlockedDisk(made.writer):
            stream.append(0, 1, ROW, 1)
            stream.append(1, 1, lines(1, 1), 1)
            await made.changes.until(lambda: 1 in sink.failures)
        await made.changes.until(lambda: sink.settled_rows == {0}, deadline_s=10.0)


async def test_closing_a_stream_drops_what_waits_and_lets_the_others_go_on(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(1), start=False) as made:
        (one, hears), (other, too) = await made.stream(), await made.stream()
        one.append(0, 1, ROW, 1)
        one.append(1, 1, lines(1, 1), 1)
        other.append(0, 1, lines(2, 1), 1)
        await made.changes.until(lambda: hears.spooled_bytes == 1)
        one.close()
        one.append(2, 1, lines(3, 1), 1)
        made.intake.freed(SIZE)
        await made.changes.until(lambda: too.spooled_bytes == 1)
        assert stored(made) == 2
        assert hears.spooled_bytes == 1
        assert hears.failures == {}


async def test_a_closed_stream_hears_nothing_and_its_rows_stay_taken(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await made.stream(AckLevel.SPOOLED)
        async with BlockedDisk(made.writer):
            stream.append(0, 2, lines(0, 2), 2)
            stream.close()
        await made.writer.record(lambda _: None)
        assert stored(made) == 2
        assert (sink.spooled_bytes, sink.settled_rows) == (0, set())
        assert waiting(made) == []


# ── a disk that refuses ──────────────────────────────────────────────────────────────────────


async def test_rows_that_the_disk_refuses_fail_and_take_no_room(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", limits=room_for(100), start=False) as made:
        stream, sink = await made.stream()
        async with refusing_disk(made.writer):
            stream.append(0, 2, lines(0, 2), 2)
            await made.changes.until(lambda: bool(sink.failures))
        assert list(sink.failures) == [0]
        assert sink.failures[0].code == 50000
        assert (stream.waiting_bytes, sink.spooled_bytes, stored(made)) == (0, 0, 0)
        assert made.room.capacity.stored_bytes == 0
        await made.writer.record(lambda spool: spool.touch())
        await made.spool(ROW)


async def test_no_stream_is_opened_while_the_disk_is_at_fault(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        async with refusing_disk(made.writer):
            with pytest.raises(SpoolAway, match=r"The spool cannot be written: .*readonly"):
                await made.stream()
            assert made.writer.fault is not None
            with pytest.raises(SpoolAway, match=r"The spool cannot be written: .*readonly") as told:
                await made.stream()
            assert told.value.code == 50000
        await made.writer.record(lambda spool: spool.touch())
        await made.spool(ROW)
