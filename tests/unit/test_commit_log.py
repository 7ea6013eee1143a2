"""The logs that push queries read: entries in their order, each once, to whoever reads."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ingest import log as logs
from gateway.ingest.log import ENTRIES_PER_READ
from gateway.seams import EntryGone, PushLog
from tests.push_house import DEADLINE_S, PushHouse, numbered, push_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[PushHouse]:
    async with push_house(tmp_path / "spool.db") as made:
        yield made


async def soon(log: PushLog, position: int) -> list[tuple[int, str, bytes]]:
    entries = await asyncio.wait_for(log.after(position), DEADLINE_S)
    return [(entry.position, entry.source, b"".join(entry.pieces())) for entry in entries]


async def test_entries_come_in_the_order_of_their_commits(house: PushHouse) -> None:
    assert house.committed.end() == 0
    for number, source in enumerate("SST"):
        house.insert(source, numbered(number, 2))
    assert house.committed.end() == 3
    expected = [(1, "S", numbered(0, 2)), (2, "S", numbered(1, 2)), (3, "T", numbered(2, 2))]
    assert await soon(house.committed, 0) == expected
    assert await soon(house.committed, 2) == expected[2:]
    assert await soon(house.spooled, 0) == expected


async def test_all_who_wait_wake_at_the_next_entry_and_at_no_other_moment(
    house: PushHouse,
) -> None:
    house.insert("S", numbered(0, 1))
    readers = [asyncio.ensure_future(soon(house.committed, 1)) for _ in range(3)]
    ahead = asyncio.ensure_future(soon(house.committed, 2))
    done, _ = await asyncio.wait(readers, timeout=0.02)
    assert not done
    house.insert("S", numbered(1, 1))
    assert await asyncio.gather(*readers) == [[(2, "S", numbered(1, 1))]] * 3
    assert not ahead.done()
    house.insert("T", numbered(2, 1))
    assert await ahead == [(3, "T", numbered(2, 1))]


async def test_dead_letters_are_not_in_the_log_of_commits(house: PushHouse) -> None:
    house.commit(house.seal([house.write("S", numbered(0, 3))]), dead=2)
    assert await soon(house.committed, 0) == [(1, "S", numbered(0, 1) + numbered(2, 1))]
    assert await soon(house.spooled, 0) == [(1, "S", numbered(0, 3))]


async def test_what_the_spool_held_is_read_after_a_restart(house: PushHouse) -> None:
    house.insert("S", numbered(0, 1))
    house.insert("T", numbered(1, 1))
    log_id = house.committed.log_id
    await house.restart()
    assert house.committed.log_id == log_id != ""
    for log in (house.committed, house.spooled):
        assert log.end() == 2
        assert await soon(log, 0) == [(1, "S", numbered(0, 1)), (2, "T", numbered(1, 1))]


async def test_what_is_on_disk_and_not_told_yet_comes_once_it_is(house: PushHouse) -> None:
    """A reader may look at the disk before the word comes, of a queue it never heard of."""
    await house.restart()
    house.write("S", numbered(0, 1))
    late = house.write("T", numbered(1, 1), told=False)
    assert await soon(house.spooled, 0) == [(1, "S", numbered(0, 1))]
    house.spooled.grew(late)
    assert await soon(house.spooled, 1) == [(2, "T", numbered(1, 1))]


@pytest.mark.parametrize("remembers", [True, False])
async def test_what_the_retention_has_passed_is_gone_and_nobody_waits_for_it(
    house: PushHouse, remembers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not remembers:
        monkeypatch.setattr(logs, "ENTRIES_REMEMBERED", 0)
        await house.restart()
    for number in range(3):
        house.insert("S", numbered(number, 1))
    house.forget(keep_batches=1)
    assert await house.committed.retained() == ((3, 3),)
    assert await soon(house.committed, 2) == [(3, "S", numbered(2, 1))]
    house.forget()
    assert await house.committed.retained() == ((4, 3),)
    with pytest.raises(EntryGone):
        await soon(house.committed, 0)
    waiting = asyncio.ensure_future(soon(house.committed, 3))
    house.insert("S", numbered(9, 1))
    assert await asyncio.wait_for(waiting, DEADLINE_S) == [(4, "S", numbered(9, 1))]


async def test_chunks_that_are_not_committed_outlive_newer_ones_in_the_spooled_log(
    house: PushHouse,
) -> None:
    house.write("T", numbered(0, 1))
    house.insert("S", numbered(1, 1))
    house.write("T", numbered(2, 1))
    house.forget()
    assert await house.spooled.retained() == ((1, 1), (3, 3))


async def test_an_entry_is_read_from_any_of_its_pieces_on(house: PushHouse) -> None:
    chunks = [house.write("S", numbered(10 * n, 4)) for n in range(4)]
    house.commit(house.seal(chunks), dead=6)
    (entry,) = await house.committed.after(0)
    pieces = list(entry.pieces())
    assert len(pieces) == 4
    assert pieces[1] == numbered(10, 1) + numbered(12, 2)
    for start in range(6):
        assert list(entry.pieces(start)) == pieces[start:]


async def test_a_long_log_is_read_in_parts_without_a_gap(house: PushHouse) -> None:
    count = ENTRIES_PER_READ + 6
    for number in range(count):
        house.insert("S", numbered(number, 1))
    for _ in ("remembered", "from the disk"):
        first = await soon(house.committed, 0)
        rest = await soon(house.committed, first[-1][0])
        assert len(first) == ENTRIES_PER_READ
        assert [position for position, _, _ in first + rest] == list(range(1, count + 1))
        assert b"".join(raw for _, _, raw in first + rest) == numbered(0, count)
        await house.restart()
