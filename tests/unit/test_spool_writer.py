"""The writer thread: group commit over a real file, and one word to each who waits."""

import asyncio
import contextlib
import random
import sqlite3
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.ingest.entries import ChunkRecord
from gateway.ingest.layout import SpoolUnusable
from gateway.ingest.reader import SpoolReader
from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import GROUP_BYTES_MAX, RowsToWrite, SpoolFailed, SpoolWriter, Written
from tests.fakes import DEADLINE_S, Changes
from tests.ingest_house import SPEC, BlockedDisk, limit_pages, refusing_disk


@dataclass
class Desk:
    """An open writer, two queues, and every word that was heard."""

    path: Path
    writer: SpoolWriter
    queue: int
    other: int
    changes: Changes = field(default_factory=Changes)
    heard: list[tuple[str, ChunkRecord | None, SpoolFailed | None]] = field(default_factory=list)
    places: dict[str, Written | None] = field(default_factory=dict)
    loop_thread: int = field(default_factory=threading.get_ident)

    def append(self, name: str, raw: bytes, queue: int = 0) -> None:
        """Hand rows over; the word about them is kept under ``name``."""

        def written(place: Written | None, failed: SpoolFailed | None) -> None:
            assert threading.get_ident() == self.loop_thread
            self.heard.append((name, place.chunk if place else None, failed))
            self.places[name] = place
            self.changes.tell()

        rows = raw.count(b"\n")
        self.writer.append(RowsToWrite(queue or self.queue, raw, rows, 7, written))

    async def until_heard(self, words: int) -> None:
        await self.changes.until(lambda: len(self.heard) >= words)
        await self.writer.record(lambda _: None)
        assert len(self.heard) == words, "somebody heard more than one word"

    def chunks(self) -> list[tuple[int, int, bytes]]:
        """Queue, rows and bytes of every chunk on disk."""
        uri = f"{self.path.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            return db.execute("SELECT queue, rows, raw FROM chunk ORDER BY id").fetchall()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    path = tmp_path / "spool.db"
    writer = SpoolWriter(path)
    await writer.open()
    queue = (await writer.record(lambda spool: spool.queue("S", SPEC))).id
    other = (await writer.record(lambda spool: spool.queue("T", SPEC))).id
    yield Desk(path, writer, queue, other)
    await writer.close()


async def test_rows_are_on_disk_when_their_word_comes(desk: Desk) -> None:
    desk.append("a", b"1\n2\n")
    await desk.until_heard(1)
    (name, chunk, failed) = desk.heard[0]
    assert (name, failed) == ("a", None)
    assert SpoolReader(desk.path).unsealed() == [chunk]
    assert desk.chunks() == [(desk.queue, 2, b"1\n2\n")]


async def test_all_that_waits_for_one_queue_becomes_one_chunk_in_its_order(desk: Desk) -> None:
    async with BlockedDisk(desk.writer):
        desk.append("a", b"1\n")
        desk.append("b", b"x\n", desk.other)
        desk.append("c", b"2\n3\n")
        desk.append("d", b"y\n", desk.other)
        desk.append("e", b"4\n")
        assert desk.heard == []
    await desk.until_heard(5)
    assert desk.chunks() == [(desk.queue, 4, b"1\n2\n3\n4\n"), (desk.other, 2, b"x\ny\n")]
    by_name = {name: chunk for name, chunk, _ in desk.heard}
    assert by_name["a"] is by_name["c"] is by_name["e"]
    assert by_name["b"] is by_name["d"]
    rows = {name: place.at_row for name, place in desk.places.items() if place is not None}
    assert rows == {"a": 0, "c": 1, "e": 3, "b": 0, "d": 1}
    assert [name for name, _, _ in desk.heard] == ["a", "c", "e", "b", "d"]


async def test_a_record_stands_between_the_rows_before_and_after_it(desk: Desk) -> None:
    async with BlockedDisk(desk.writer):
        desk.append("a", b"1\n")
        asked = asyncio.ensure_future(
            desk.writer.record(lambda spool: spool.append(desk.queue, b"between\n", 1, 0))
        )
        await asyncio.sleep(0)
        desk.append("b", b"2\n")
    between = await asked
    await desk.until_heard(2)
    ids = [chunk.id for _, chunk, _ in desk.heard if chunk is not None]
    assert ids[0] < between.id < ids[1]
    assert [raw for _, _, raw in desk.chunks()] == [b"1\n", b"between\n", b"2\n"]


async def test_rows_of_each_stream_keep_their_order_whatever_the_groups(desk: Desk) -> None:
    draw = random.Random(7)
    sent: dict[str, list[bytes]] = {name: [] for name in "abcd"}
    total = 0
    for number in range(200):
        name = draw.choice("abcd")
        raw = b"%s%d\n" % (name.encode(), number)
        sent[name].append(raw)
        desk.append(name, raw, desk.queue if name in "ab" else desk.other)
        total += 1
        if draw.random() < 0.1:
            await desk.writer.record(lambda _: None)
    await desk.until_heard(total)
    for queue, names in ((desk.queue, "ab"), (desk.other, "cd")):
        stored = b"".join(raw for of, _, raw in desk.chunks() if of == queue)
        stored_lines = stored.splitlines(keepends=True)
        for name in names:
            ours = [line for line in stored_lines if line.startswith(name.encode())]
            assert ours == sent[name]


async def test_a_group_takes_no_more_once_it_is_large_enough(desk: Desk) -> None:
    large = b"x" * (GROUP_BYTES_MAX // 2) + b"\n"
    async with BlockedDisk(desk.writer):
        for name in "abc":
            desk.append(name, large)
    await desk.until_heard(3)
    assert [rows for _, rows, _ in desk.chunks()] == [2, 1]


async def test_a_record_gives_back_what_it_made(desk: Desk) -> None:
    assert await desk.writer.record(lambda spool: spool.spool_id) == desk.writer.spool_id
    assert await desk.writer.record(lambda _: 7) == 7


async def test_a_full_disk_is_told_to_all_who_waited_and_nothing_of_theirs_is_kept(
    desk: Desk,
) -> None:
    desk.append("before", b"1\n")
    await desk.until_heard(1)
    await limit_pages(desk.writer, 2)
    async with BlockedDisk(desk.writer):
        desk.append("a", b"small\n")
        asked = asyncio.ensure_future(desk.writer.record(lambda _: "done"))
        await asyncio.sleep(0)
        desk.append("b", b"x" * 200_000 + b"\n")
    with pytest.raises(SpoolFailed, match=r"The spool cannot be written: .*full"):
        await asked
    await desk.until_heard(3)
    assert all(chunk is None for _, chunk, _ in desk.heard[1:])
    assert all("full" in str(failed) for _, _, failed in desk.heard[1:])
    assert [raw for _, _, raw in desk.chunks()] == [b"1\n"]
    await limit_pages(desk.writer, None)
    desk.append("after", b"2\n")
    await desk.until_heard(4)
    assert [raw for _, _, raw in desk.chunks()] == [b"1\n", b"2\n"]


async def test_a_record_that_the_disk_refuses_raises_and_the_next_one_is_taken(desk: Desk) -> None:
    async with refusing_disk(desk.writer):
        with pytest.raises(SpoolFailed, match="readonly"):
            await desk.writer.record(lambda spool: spool.queue("U", SPEC))
    assert (await desk.writer.record(lambda spool: spool.queue("U", SPEC))).source == "U"


async def test_a_change_that_raises_is_told_and_the_thread_goes_on(desk: Desk) -> None:
    """Whoever waits hears one word, even where the fault is ours: the alternative is to hang."""

    def fault(_: SpoolFile) -> None:
        raise ZeroDivisionError

    async with BlockedDisk(desk.writer):
        desk.append("a", b"1\n")
        asked = asyncio.ensure_future(desk.writer.record(fault))
        await asyncio.sleep(0)
    with pytest.raises((SpoolFailed, ZeroDivisionError)):
        await asyncio.wait_for(asked, 5.0)
    await desk.until_heard(1)
    desk.append("b", b"2\n")
    await desk.until_heard(2)


async def test_one_who_went_away_does_not_keep_the_others_from_hearing(desk: Desk) -> None:
    async with BlockedDisk(desk.writer):
        gone = asyncio.ensure_future(desk.writer.record(lambda _: None))
        await asyncio.sleep(0)
        desk.append("a", b"1\n")
        gone.cancel()
    await desk.until_heard(1)
    assert gone.cancelled()


async def test_what_waits_is_written_before_the_close(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    writer = SpoolWriter(path)
    await writer.open()
    queue = (await writer.record(lambda spool: spool.queue("S", SPEC))).id
    words: list[Any] = []
    for number in range(50):
        raw = b"%d\n" % number
        writer.append(RowsToWrite(queue, raw, 1, 0, lambda place, failed: words.append(place)))
    await writer.close()
    assert sum(chunk.rows for chunk in SpoolReader(path).unsealed()) == 50
    await asyncio.sleep(0)
    assert len(words) == 50
    assert "spool-writer" not in {thread.name for thread in threading.enumerate()}


async def test_a_writer_goes_on_in_the_spool_that_it_left(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        writer = SpoolWriter(tmp_path / "spool.db")
        await writer.open()
        ids.append((writer.spool_id, await writer.record(lambda spool: spool.queue("S", SPEC))))
        await writer.close()
    assert ids[0] == ids[1]


async def test_an_unusable_spool_is_told_at_the_opening_and_no_thread_stays(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"no database\n" * 1000)
    writer = SpoolWriter(tmp_path / "spool.db")
    with pytest.raises(SpoolUnusable):
        await writer.open()
    await asyncio.wait_for(writer.close(), DEADLINE_S)
    assert "spool-writer" not in {thread.name for thread in threading.enumerate()}
