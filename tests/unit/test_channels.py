"""Channels: offsets enter the spool with their rows, and who comes again is told what became of
them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest.writer import GROUP_BYTES_MAX, NOT_IN_PLACE
from gateway.seams import AckLevel
from protocol.errors import BadRequest, RowRejected, TooManyRequests
from tests.fakes import Changes, Outcome, Plan, ScriptedWarehouse
from tests.ingest_house import LIMITS, BlockedDisk, house, limit_pages, lines, source
from tests.on_channels import on, on_disk, send, where

SPOOLED = AckLevel.SPOOLED
REFUSED = RowRejected("A is no BIGINT", 40000)


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


# ── offsets and rows ─────────────────────────────────────────────────────────────────────────


async def test_a_new_channel_begins_at_nought_and_moves_with_its_rows(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        assert where(made) is None
        stream, sink = await on(made)
        assert (stream.next_offset, stream.duplicates) == (0, 0)
        seen: list[int] = []
        sink.on_spooled = lambda: seen.append((where(made) or (0,))[0])
        stream.append(0, 2, lines(0, 2), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        stream.append(2, 1, lines(2, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 2)
        assert seen == [2, 3]
        again, _ = await on(made)
        assert again.next_offset == 3


async def test_rows_that_the_disk_refuses_do_not_move_their_channel(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await send(made, 0, 2)
        stream, sink = await on(made)
        await limit_pages(made.writer, 2)
        stream.append(0, 1, lines(2, 1, "x" * 200_000), 1)
        await made.changes.until(lambda: bool(sink.failures))
        assert sink.ended_at == 0
        assert where(made) == (2, 0, 0)
        await limit_pages(made.writer, None)
    async with house(tmp_path / "spool.db", start=False) as made:
        assert where(made) == (2, 0, 0)
        await send(made, 2, 1)
        assert on_disk(made) == lines(0, 3)


async def test_rows_behind_one_that_was_not_written_are_not_written_either(tmp_path: Path) -> None:
    """Handed over already, in a group of their own, and small enough for the disk."""
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await on(made)
        stream.append(0, 1, lines(0, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        await limit_pages(made.writer, 8)
        async with BlockedDisk(made.writer):
            stream.append(1, 1, lines(1, 1, "x" * GROUP_BYTES_MAX), 1)
            stream.append(2, 1, lines(2, 1), 1)
        await made.changes.until(lambda: stream.waiting_bytes == 0)
        assert sink.ended_at == 1
        assert "full" in sink.failures[1].message
        assert sink.failures[2].message == NOT_IN_PLACE
        assert (where(made), on_disk(made)) == ((1, 0, 0), lines(0, 1))
        assert made.room.capacity.stored_bytes == len(lines(0, 1))
        stream.append(3, 1, lines(3, 1), 1)
        await limit_pages(made.writer, None)
        await send(made, 1, 1)
        assert on_disk(made) == lines(0, 2)


async def test_a_start_above_the_next_offset_is_refused_with_both_numbers(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        stream, sink = await on(made)
        stream.append(0, 3, lines(0, 3), 1)
        with pytest.raises(BadRequest, match=r"offset 5 is above the next offset 3 .*'c'"):
            await on(made, offset=5)
        stream.append(3, 1, lines(3, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 2)
        assert sink.stop is None
        with pytest.raises(BadRequest, match="offset 1 is above the next offset 0"):
            await on(made, "new", offset=1)
        assert where(made, "new") is None


async def test_channels_of_one_name_are_as_many_as_there_are_streams(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await send(made, 0, 2)
        stream, _ = await on(made, of=source("T"))
        assert stream.next_offset == 0


async def test_a_channel_goes_on_where_its_stream_is_declared_anew(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        await send(made, 0, 2)
        stream, sink = await on(made, offset=1, of=source(datasource="other"))
        assert stream.duplicates == 1
        stream.append(1, 1, lines(2, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        made.warehouse.slots = 8
        await made.until_idle()
        assert sink.settled_rows == {0, 1}
        assert {place[0]: rows for place, rows in made.warehouse.published.items()} == {
            "ds": lines(0, 2).splitlines(),
            "other": lines(2, 1).splitlines(),
        }
        assert where(made) == (3, 3, 0)


async def test_there_are_no_more_channels_than_may_be(tmp_path: Path) -> None:
    async with house(
        tmp_path / "spool.db", limits=replace(LIMITS, channels_max=2), start=False
    ) as made:
        await send(made, 0, 1, name="a")
        await send(made, 0, 1, name="b")
        with pytest.raises(TooManyRequests, match=r"'c' is new.*ingest\.channels_max"):
            await on(made, "c")
        assert (await on(made, "a"))[0].next_offset == 1
        await made.spool(lines(0, 1))


# ── what comes again ─────────────────────────────────────────────────────────────────────────


async def test_rows_that_are_committed_are_told_so_at_once_and_not_stored_again(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 5)
        await made.until_idle()
        stream, sink = await on(made, offset=2)
        assert (stream.next_offset, stream.duplicates) == (5, 3)
        assert sink.settled_rows == {0, 1, 2}
        stream.append(3, 2, lines(5, 2), 1)
        await made.until_idle()
        await made.changes.until(lambda: sink.settled_rows == set(range(5)))
        assert made.warehouse.rows == sorted(lines(0, 7).splitlines())


async def test_rows_on_their_way_are_waited_for_where_they_lie(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        first = await send(made, 0, 2)
        await send(made, 2, 3)
        _, at_once = await on(made, offset=1, level=SPOOLED)
        assert at_once.settled_rows == {0, 1, 2, 3}
        stream, sink = await on(made, offset=1)
        assert (stream.duplicates, sink.settled_rows) == (4, set())
        made.warehouse.slots = 1
        await made.until_idle()
        assert (first.settled_rows, sink.settled_rows) == ({0, 1}, {0, 1, 2, 3})
        assert made.warehouse.rows == sorted(lines(0, 5).splitlines())


async def test_some_rows_may_be_committed_while_others_are_on_their_way(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 3)
        await made.until_idle()
        made.warehouse.slots = 0
        await send(made, 3, 3)
        _, sink = await on(made, offset=1)
        assert sink.settled_rows == {0, 1}
        made.warehouse.slots = 1
        await made.changes.until(lambda: sink.settled_rows == {0, 1, 2, 3, 4})


async def test_rows_on_their_way_are_waited_for_after_a_restart_too(tmp_path: Path) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(Plan(running_asks=10**9))
    async with house(path, warehouse) as made:
        await send(made, 0, 2)
        await made.changes.until(lambda: bool(warehouse.tasks))
        await send(made, 2, 2)
    async with house(path, warehouse) as made:
        stream, sink = await on(made, offset=0)
        assert stream.duplicates == 4
        await made.changes.until(lambda: sink.settled_rows == {2, 3})
        assert where(made) == (4, 0, 0)
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        assert sink.settled_rows == {0, 1, 2, 3}
        assert warehouse.rows == sorted(lines(0, 4).splitlines())


async def test_a_row_that_was_refused_is_refused_again_and_takes_its_offset(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        stream, sink = await on(made)
        stream.append(0, 1, lines(0, 1), 1)
        stream.refuse(1, b'{"A":"x"}', REFUSED, 1)
        stream.append(2, 1, lines(2, 1), 1)
        await made.changes.until(lambda: sink.settled_rows == {0, 2})
        assert sink.failures == {1: REFUSED}
        again, too = await on(made, offset=0)
        assert again.duplicates == 3
        assert too.settled_rows == {0, 2}
        assert {seq: (r.code, r.message) for seq, r in too.failures.items()} == {
            1: (REFUSED.code, REFUSED.message)
        }
        _, spooled = await on(made, offset=1, level=SPOOLED)
        assert (spooled.settled_rows, list(spooled.failures)) == ({1}, [0])


async def test_a_row_that_was_cut_out_fails_again_in_the_same_words(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        stream, sink = await on(made)
        stream.append(0, 3, lines(0, 1) + lines(1, 1, "poison") + lines(2, 1), 1)
        await made.changes.until(lambda: sink.settled_rows == {0, 2})
        _, again = await on(made, offset=0)
        assert (again.settled_rows, list(again.failures)) == ({0, 2}, [1])
        assert again.failures[1].code == sink.failures[1].code == 50000
        assert again.failures[1].message == sink.failures[1].message
        assert again.ended_at is None


async def test_a_row_that_was_cut_out_fails_while_its_batch_is_on_its_way(tmp_path: Path) -> None:
    warehouse = scripted(Plan(), Plan(running_asks=10**9))
    async with house(tmp_path / "spool.db", warehouse) as made:
        stream, sink = await on(made)
        stream.append(0, 3, lines(0, 1) + lines(1, 1, "poison") + lines(2, 1), 1)
        await made.changes.until(lambda: len(warehouse.tasks) == 2)
        assert (sink.settled_rows, list(sink.failures)) == (set(), [1])
        _, again = await on(made, offset=0)
        assert (again.settled_rows, list(again.failures)) == (set(), [1])
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        assert again.settled_rows == {0, 2}


async def test_channels_that_share_a_chunk_keep_their_own_offsets_and_verdicts(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        (one, hears), (other, too), (none, third) = (
            await on(made, "a"),
            await on(made, "b"),
            await made.stream(),
        )
        async with BlockedDisk(made.writer):
            one.append(0, 2, lines(0, 2), 1)
            other.append(0, 2, lines(10, 1) + lines(11, 1, "poison"), 1)
            none.append(0, 1, lines(20, 1, "poison"), 1)
            one.append(2, 1, lines(2, 1, "poison"), 1)
            other.append(2, 1, lines(12, 1), 1)
        await made.changes.until(lambda: too.spooled_bytes == 2)
        assert [chunk.rows for chunk in made.chunks] == [7]
        made.warehouse.slots = 1
        await made.until_idle()
        assert (hears.settled_rows, list(hears.failures)) == ({0, 1}, [2])
        assert (too.settled_rows, list(too.failures)) == ({0, 2}, [1])
        assert list(third.failures) == [0]
        found = [(letter.channel, letter.offset, letter.raw) for letter in made.reader.letters()]
        # A chunk keeps the order in which rows were handed over.
        assert found == [
            ("b", 1, lines(11, 1, "poison")),
            (None, None, lines(20, 1, "poison")),
            ("a", 2, lines(2, 1, "poison")),
        ]
        _, again = await on(made, "b", 0)
        assert (again.settled_rows, list(again.failures)) == ({0, 2}, [1])


# ── fencing ──────────────────────────────────────────────────────────────────────────────────


async def test_a_newer_stream_fences_the_older_one_and_its_rows_stay_taken(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        older, hears = await on(made)
        async with BlockedDisk(made.writer):
            older.append(0, 2, lines(0, 2), 1)
            opening = asyncio.ensure_future(on(made, offset=1))
            await asyncio.sleep(0)
        newer, sink = await opening
        assert (newer.next_offset, newer.duplicates) == (2, 1)
        assert hears.stop is not None
        assert (hears.stop.code, "'c'" in hears.stop.message) == (40000, True)
        older.append(2, 1, lines(2, 1, "fenced"), 1)
        newer.append(1, 1, lines(2, 1), 1)
        await made.until_idle()
        assert (hears.settled_rows, sink.settled_rows) == ({0, 1}, {0, 1})
        assert hears.failures == {}
        assert made.warehouse.rows == sorted(lines(0, 3).splitlines())
        older.close()
        newer.append(2, 1, lines(3, 1), 1)
        await made.changes.until(lambda: sink.settled_rows == {0, 1, 2})


async def test_rows_of_a_fenced_stream_that_were_held_back_are_never_written(
    tmp_path: Path,
) -> None:
    limits = replace(LIMITS, spool_bytes=2 * len(lines(0, 1)))
    async with house(tmp_path / "spool.db", limits=limits, start=False) as made:
        older, hears = await on(made)
        async with BlockedDisk(made.writer):
            opening = asyncio.ensure_future(on(made, offset=0))
            await asyncio.sleep(0)
            older.append(0, 2, lines(0, 2), 1)
            older.append(2, 1, lines(2, 1, "held"), 1)
        newer, sink = await opening
        assert (newer.next_offset, newer.duplicates, hears.ended_at) == (2, 2, 2)
        assert hears.failures[2].code == 40000
        newer.append(2, 1, lines(2, 1), 1)
        made.intake.freed(len(lines(0, 2)))
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        assert on_disk(made) == lines(0, 3)


async def test_of_streams_that_are_opened_at_once_the_newest_has_the_channel(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await made.spool(lines(0, 1))
        async with BlockedDisk(made.writer):
            openings = []
            for _ in range(3):
                openings.append(asyncio.ensure_future(on(made)))
                await asyncio.sleep(0)
        first, second, third = await asyncio.gather(*openings, return_exceptions=True)
        assert not isinstance(first, BaseException)
        assert first[1].stop is not None
        assert isinstance(second, BadRequest)
        assert "fenced" in second.message
        assert not isinstance(third, BaseException)
        stream, sink = third
        first[0].append(0, 1, lines(9, 1), 1)
        stream.append(0, 1, lines(1, 1), 1)
        await made.changes.until(lambda: sink.spooled_bytes == 1)
        assert (where(made), on_disk(made)) == ((1, 0, 0), lines(0, 2))


async def test_rows_that_come_again_while_their_batch_waits_for_the_operator_are_told_so(
    tmp_path: Path,
) -> None:
    half = Plan(outcome=Outcome.FAILED_HALF_WAY)
    async with house(tmp_path / "spool.db", scripted(Plan(), half)) as made:
        await send(made, 0, 2)
        await made.until_idle()
        first = await send(made, 2, 3)
        await made.until_idle()
        assert first.ended_at == 0
        _, again = await on(made, offset=0)
        assert (again.settled_rows, again.ended_at) == ({0, 1}, 2)
        assert again.failures[2].message == first.failures[0].message
        _, spooled = await on(made, offset=0, level=SPOOLED)
        assert (spooled.settled_rows, spooled.ended_at) == (set(range(5)), None)


async def test_one_who_gives_up_while_opening_leaves_the_channel_to_the_next(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        async with BlockedDisk(made.writer):
            gone = asyncio.ensure_future(on(made))
            await asyncio.sleep(0)
            gone.cancel()
        assert gone.cancelled()
        sink = await send(made, 0, 1)
        assert sink.stop is None
