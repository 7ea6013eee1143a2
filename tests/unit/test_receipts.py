"""Receipts: who waits for which rows of which chunk, against a flat list of rows."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import BatchRecord, Place
from gateway.ingest.receipts import Receipt, Receipts
from gateway.seams import AckLevel, ReceiptSink
from protocol.errors import RowRejected
from tests.fakes import Changes, RecordingSink

LEVEL = AckLevel.COMMITTED
BAD = RowRejected("no good", 50000)


def sink() -> RecordingSink:
    return RecordingSink(Changes())


def batch(
    first: int, last: int, *, queue: int = 1, first_row: int = 0, end_row: int | None = None
) -> BatchRecord:
    return BatchRecord(
        number=1,
        id="b",
        queue=queue,
        first_chunk=first,
        last_chunk=last,
        rows=1,
        size_bytes=1,
        state=BatchState.RUNNING,
        attempt=1,
        first_row=first_row,
        end_row=end_row,
    )


def seqs(receipts: list[Receipt]) -> list[int]:
    return [receipt.first_seq + at for receipt in receipts for at in range(receipt.count)]


def test_a_receipt_settles_its_rows_and_no_other() -> None:
    hears = sink()
    Receipt(hears, LEVEL, 5, 3, 0).settle()
    assert hears.settled_rows == {5, 6, 7}


def test_a_part_of_a_receipt_keeps_its_rows_numbers() -> None:
    whole = Receipt(sink(), LEVEL, 10, 4, 3)
    assert whole.between(0, None) is whole
    assert whole.between(3, 7) is whole
    part = whole.between(4, 6)
    assert part is not None
    assert (part.first_seq, part.count, part.at_row, part.level) == (11, 2, 4, LEVEL)
    assert whole.between(0, 3) is None
    assert whole.between(7, None) is None


def test_a_batch_takes_the_receipts_of_its_chunks_only_and_once() -> None:
    receipts = Receipts()
    for number in range(1, 6):
        receipts.add(1, number, Receipt(sink(), LEVEL, number, 1, 0))
    receipts.add(2, 3, Receipt(sink(), LEVEL, 30, 1, 0))
    assert seqs(receipts.take(batch(2, 3))) == [2, 3]
    assert receipts.take(batch(2, 3)) == []
    assert seqs(receipts.take(batch(4, 5))) == [4, 5]
    assert seqs(receipts.take(batch(1, 1))) == [1]
    assert seqs(receipts.take(batch(1, 9, queue=2))) == [30]
    assert receipts.take(batch(1, 9, queue=3)) == []


def test_a_half_takes_its_part_of_the_chunk_that_it_shares_and_leaves_the_rest() -> None:
    receipts, one, other = Receipts(), sink(), sink()
    receipts.add(1, 7, Receipt(one, LEVEL, 0, 3, 0))
    receipts.add(1, 7, Receipt(other, LEVEL, 40, 3, 3))
    right = receipts.take(batch(7, 7, first_row=4))
    assert [(r.sink, r.first_seq, r.count) for r in right] == [(other, 41, 2)]
    left = receipts.take(batch(7, 7, end_row=4))
    assert [(r.sink, r.first_seq, r.count) for r in left] == [(one, 0, 3), (other, 40, 1)]
    assert receipts.take(batch(7, 7)) == []


def test_a_row_at_fault_fails_for_all_who_wait_for_it_and_the_rest_still_waits() -> None:
    receipts, one, again, other = Receipts(), sink(), sink(), sink()
    receipts.add(1, 7, Receipt(one, LEVEL, 0, 3, 0))
    receipts.add(1, 7, Receipt(other, LEVEL, 5, 2, 3))
    receipts.add(1, 7, Receipt(again, LEVEL, 100, 2, 1))
    receipts.fail(1, Place(7, 1), BAD)
    assert (one.failures, again.failures, other.failures) == ({1: BAD}, {100: BAD}, {})
    for receipt in receipts.take(batch(7, 7)):
        receipt.settle()
    assert (one.settled_rows, again.settled_rows) == ({0, 2}, {101})
    assert other.settled_rows == {5, 6}


def test_a_row_that_nobody_waits_for_fails_unheard() -> None:
    receipts, hears = Receipts(), sink()
    receipts.add(1, 7, Receipt(hears, LEVEL, 0, 1, 4))
    receipts.fail(1, Place(7, 3), BAD)
    receipts.fail(1, Place(8, 4), BAD)
    receipts.fail(2, Place(7, 4), BAD)
    assert hears.failures == {}
    assert seqs(receipts.take(batch(7, 7))) == [0]


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[list[int]], list[int], list[int]]:
    """Rows of each stretch of each chunk; cuts between rows; rows at fault."""
    stretches = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    shape = draw(st.lists(stretches, min_size=1, max_size=4))
    total = sum(map(sum, shape))
    cuts = draw(st.sets(st.integers(1, max(1, total - 1)), max_size=4))
    bad = draw(st.sets(st.integers(0, total - 1), max_size=4))
    return shape, sorted(cut for cut in cuts if cut < total), sorted(bad)


@settings(deadline=None)
@given(shapes())
def test_every_row_is_settled_or_failed_once_however_its_batch_is_cut(
    drawn: tuple[list[list[int]], list[int], list[int]],
) -> None:
    """Model: the rows of all chunks one after the other, each with its stream and number."""
    shape, cuts, bad = drawn
    receipts, sinks = Receipts(), [sink(), sink()]
    flat: list[tuple[RecordingSink, int, Place]] = []
    sent = [0, 0]
    for number, counts in enumerate(shape, 1):
        at_row = 0
        for at, count in enumerate(counts):
            who = (number + at) % 2
            receipts.add(1, number, Receipt(sinks[who], LEVEL, sent[who], count, at_row))
            flat += [
                (sinks[who], sent[who] + row, Place(number, at_row + row)) for row in range(count)
            ]
            sent[who] += count
            at_row += count
    for row in bad:
        receipts.fail(1, flat[row][2], BAD)
    bounds = [0, *cuts, len(flat)]
    heard: list[tuple[ReceiptSink, int]] = []
    for start, end in itertools.pairwise(bounds):
        first, last = flat[start][2], flat[end - 1][2]
        taken = receipts.take(
            batch(first.chunk, last.chunk, first_row=first.row, end_row=last.row + 1)
        )
        heard += [
            (receipt.sink, seq)
            for receipt in taken
            for seq in range(receipt.first_seq, receipt.first_seq + receipt.count)
        ]
    good = [(who, seq) for row, (who, seq, _) in enumerate(flat) if row not in bad]
    assert heard == good
    for hears, count in zip(sinks, sent, strict=True):
        failed = {seq for row, (of, seq, _) in enumerate(flat) if row in bad and of is hears}
        assert set(hears.failures) == failed
        assert len(failed) + sum(of is hears for of, _ in heard) == count
