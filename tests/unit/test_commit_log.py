"""The commit log: committed batches in their order, each once, to whoever reads."""

import asyncio
from pathlib import Path

import pytest

from gateway.ingest.batches import BatchState
from gateway.ingest.committer import Committed
from gateway.ingest.log import ENTRIES_PER_READ, SpoolLog
from gateway.ingest.spool import DeadLetter, QueueRecord, SpoolFile, SpoolReader
from tests.fakes import DEADLINE_S
from tests.ingest_house import SPEC, lines


class Book:
    """A spool whose batches are committed by hand, and the log that reads it."""

    def __init__(self, path: Path) -> None:
        self.spool = SpoolFile(path)
        self.reader = SpoolReader(path)
        self.log = SpoolLog(self.reader)

    def write(self, source: str, raw: bytes, *, dead: int | None = None) -> Committed:
        """Commit a batch; the log is not told yet."""
        self.spool.begin()
        queue = self.spool.queue(source, SPEC)
        rows = raw.count(b"\n")
        chunk = self.spool.append(queue.id, raw, rows, 0)
        batch_id = self.spool.seal((chunk.id, chunk.id), queue.id, rows, len(raw), 0)
        number = int(batch_id.rpartition("-")[2])
        if dead is not None:
            line = raw.splitlines(keepends=True)[dead - 1]
            letter = DeadLetter(batch=number, line=dead, code="", message="", at_ms=0, raw=line)
            self.spool.bury(letter)
        position = self.spool.finish(number, BatchState.COMMITTED, 1, None)
        self.spool.commit()
        assert position is not None
        (batch,) = self.reader.committed_after(position - 1, 1)
        return Committed(batch=batch, queue=QueueRecord(id=queue.id, source=source, spec=SPEC))


@pytest.fixture
def book(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Book(tmp_path / "spool.db")
    yield made
    made.spool.close()


async def soon(log: SpoolLog, position: int) -> list[tuple[int, str, bytes]]:
    entries = await asyncio.wait_for(log.after(position), DEADLINE_S)
    return [(entry.position, entry.source, b"".join(entry.pieces())) for entry in entries]


async def test_entries_come_in_the_order_of_their_commits(book: Book) -> None:
    assert book.log.end() == 0
    for number, source in enumerate("SST"):
        book.log.grew(book.write(source, lines(number, 2)))
    assert book.log.end() == 3
    expected = [(1, "S", lines(0, 2)), (2, "S", lines(1, 2)), (3, "T", lines(2, 2))]
    assert await soon(book.log, 0) == expected
    assert await soon(book.log, 2) == expected[2:]


async def test_all_who_wait_wake_at_the_next_entry_and_at_no_other_moment(book: Book) -> None:
    book.log.grew(book.write("S", lines(0, 1)))
    readers = [asyncio.ensure_future(soon(book.log, 1)) for _ in range(3)]
    ahead = asyncio.ensure_future(soon(book.log, 2))
    done, _ = await asyncio.wait(readers, timeout=0.02)
    assert not done
    book.log.grew(book.write("S", lines(1, 1)))
    assert await asyncio.gather(*readers) == [[(2, "S", lines(1, 1))]] * 3
    assert not ahead.done()
    book.log.grew(book.write("T", lines(2, 1)))
    assert await ahead == [(3, "T", lines(2, 1))]


async def test_dead_letters_are_not_in_the_log(book: Book) -> None:
    book.log.grew(book.write("S", lines(0, 3), dead=2))
    assert await soon(book.log, 0) == [(1, "S", lines(0, 1) + lines(2, 1))]


async def test_what_the_spool_held_is_read_after_a_restart(book: Book) -> None:
    book.write("S", lines(0, 1))
    book.write("T", lines(1, 1))
    log = SpoolLog(book.reader)
    log.recovered(book.reader.queues(), book.reader.log_end())
    assert log.end() == 2
    assert await soon(log, 0) == [(1, "S", lines(0, 1)), (2, "T", lines(1, 1))]


async def test_a_commit_that_is_on_disk_and_not_told_yet_comes_once_it_is(book: Book) -> None:
    """A reader may look at the disk between a commit and its word, of a queue it never heard of."""
    first, second = book.write("S", lines(0, 1)), book.write("T", lines(1, 1))
    book.log.grew(first)
    assert await soon(book.log, 0) == [(1, "S", lines(0, 1))]
    book.log.grew(second)
    assert await soon(book.log, 1) == [(2, "T", lines(1, 1))]


async def test_what_the_retention_has_passed_gives_no_rows_and_nobody_waits_for_it(
    book: Book,
) -> None:
    for number in range(3):
        book.log.grew(book.write("S", lines(number, 1)))
    book.spool.begin()
    book.spool.forget(final_before_ms=1000, keep_bytes=0)
    book.spool.commit()
    assert await soon(book.log, 0) == [(3, "S", b"")]
    waiting = asyncio.ensure_future(soon(book.log, 3))
    book.log.grew(book.write("S", lines(9, 1)))
    assert await asyncio.wait_for(waiting, DEADLINE_S) == [(4, "S", lines(9, 1))]


async def test_a_long_log_is_read_in_parts_without_a_gap(book: Book) -> None:
    count = ENTRIES_PER_READ + 6
    for number in range(count):
        book.log.grew(book.write("S", lines(number, 1)))
    first = await soon(book.log, 0)
    rest = await soon(book.log, first[-1][0])
    assert len(first) == ENTRIES_PER_READ
    assert [position for position, _, _ in first + rest] == list(range(1, count + 1))
    assert b"".join(raw for _, _, raw in first + rest) == lines(0, count)
