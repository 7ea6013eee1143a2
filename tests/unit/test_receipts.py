"""Receipts: who waits for which rows of which chunk."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.receipts import Receipt, Receipts
from gateway.ingest.spool import ChunkRecord
from gateway.seams import AckLevel
from tests.fakes import Changes, RecordingSink

LEVEL = AckLevel.COMMITTED


def chunk(number: int, rows: int, queue: int = 1) -> ChunkRecord:
    return ChunkRecord(id=number, queue=queue, rows=rows, size_bytes=rows, arrival_ms=0)


def test_a_receipt_settles_its_stretch_and_without_a_listener_nothing() -> None:
    sink = RecordingSink(Changes())
    Receipt(sink, LEVEL, 5, 3).settle()
    assert sink.settled_rows == {5, 6, 7}
    Receipt(None, LEVEL, 0, 1).settle()


def test_a_batch_takes_the_receipts_of_its_chunks_only() -> None:
    receipts = Receipts()
    for number in range(1, 6):
        receipts.add(chunk(number, 1), Receipt(None, LEVEL, number, 1))
    receipts.add(chunk(3, 1, queue=2), Receipt(None, LEVEL, 30, 1))
    assert [receipt.first_seq for receipt in receipts.take(1, 2, 3)] == [2, 3]
    assert receipts.take(1, 2, 3) == []
    assert [receipt.first_seq for receipt in receipts.take(1, 4, 5)] == [4, 5]
    assert [receipt.first_seq for receipt in receipts.take(1, 1, 1)] == [1]
    assert [receipt.first_seq for receipt in receipts.take(2, 1, 9)] == [30]
    assert receipts.take(3, 1, 9) == []


def test_a_line_of_a_batch_is_found_with_its_stream_and_number() -> None:
    one, other = RecordingSink(Changes()), RecordingSink(Changes())
    receipts, first, second = Receipts(), chunk(1, 5), chunk(4, 2)
    receipts.add(first, Receipt(one, LEVEL, 10, 2))
    receipts.add(first, Receipt(other, LEVEL, 0, 3))
    receipts.add(second, Receipt(one, LEVEL, 12, 2))
    found = [receipts.locate([first, second], line) for line in range(1, 9)]
    assert found == [
        (one, 10), (one, 11), (other, 0), (other, 1), (other, 2), (one, 12), (one, 13), None,
    ]  # fmt: skip


def test_a_line_that_was_spooled_before_this_process_has_nobody() -> None:
    receipts, old, new = Receipts(), chunk(1, 3), chunk(2, 1)
    receipts.add(new, Receipt(None, LEVEL, 7, 1))
    assert receipts.locate([old, new], 3) is None
    assert receipts.locate([old, new], 4) == (None, 7)
    assert receipts.locate([], 1) is None


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=5))
def test_every_line_is_located_as_in_a_flat_list(shape: list[list[int]]) -> None:
    """Model: the rows of all chunks one after the other."""
    receipts, chunks, flat = Receipts(), list[ChunkRecord](), list[tuple[Any, int]]()
    seqs: dict[int, int] = {}
    sinks = [RecordingSink(Changes()) for _ in range(2)]
    for number, counts in enumerate(shape, 1):
        chunks.append(chunk(number, sum(counts)))
        for at, count in enumerate(counts):
            who = (number + at) % 2
            receipts.add(chunks[-1], Receipt(sinks[who], LEVEL, seqs.get(who, 0), count))
            flat += [(sinks[who], seqs.get(who, 0) + row) for row in range(count)]
            seqs[who] = seqs.get(who, 0) + count
    assert [receipts.locate(chunks, line) for line in range(1, len(flat) + 1)] == flat
    for receipt in receipts.take(1, 1, len(chunks)):
        receipt.settle()
    assert {who: sinks[who].settled_rows for who in seqs} == {
        who: set(range(count)) for who, count in seqs.items()
    }


@pytest.mark.parametrize("line", [1, 2])
def test_locating_does_not_take(line: int) -> None:
    receipts, only = Receipts(), chunk(1, 2)
    receipts.add(only, Receipt(None, LEVEL, 0, 2))
    assert receipts.locate([only], line) == receipts.locate([only], line) == (None, line - 1)
    assert len(receipts.take(1, 1, 1)) == 1
