"""Receipts: who waits for which rows, from the spool to the last level.

A receipt remembers that rows ``[first_seq, first_seq + count)`` of a stream lie in a chunk, at a
row of it and on. It lives in memory only: after a crash no client waits any more, and one that
comes back on its channel and sends the same rows again gets receipts for where they lie already.

Law: a row of a receipt is settled at its own level and only once, or it fails.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.ingest.entries import BatchRecord, Place
from gateway.seams import AckLevel, ReceiptSink
from protocol.errors import RowRejected


class Acks(Protocol):
    """Who counts them."""

    def settled(self, rows: int, taken_at: float) -> None:
        """So many rows hold their level, which came at ``taken_at`` (`time.monotonic`)."""


@dataclass(slots=True)
class Receipt:
    """A stretch of one stream's rows inside a chunk, from row ``at_row`` of it on.

    Nobody changes one. It is not frozen because one is made for each chunk, and to make a frozen
    one takes five times as long.

    ``acks`` counts them, None where they were counted when they came first; ``taken_at`` is when
    they came (`time.monotonic`).
    """

    sink: ReceiptSink
    level: AckLevel
    first_seq: int
    count: int
    at_row: int
    acks: Acks | None = None
    taken_at: float = 0.0

    def settle(self) -> None:
        """Tell the stream that its rows hold the level it asked for."""
        if self.acks is not None:
            self.acks.settled(self.count, self.taken_at)
        self.sink.settled(self.first_seq, self.first_seq + self.count)

    def between(self, start: int, end: int | None) -> "Receipt | None":
        """The part of it in rows ``[start, end)`` of the chunk; None for the chunk's end."""
        first = max(self.at_row, start)
        stop = self.at_row + self.count
        last = stop if end is None else min(stop, end)
        if first >= last:
            return None
        if (first, last) == (self.at_row, stop):
            return self
        seq = self.first_seq + first - self.at_row
        return replace(self, first_seq=seq, count=last - first, at_row=first)


class Receipts:
    """Receipts of every queue, by the chunk they lie in."""

    def __init__(self) -> None:
        self._queues: dict[int, dict[int, list[Receipt]]] = {}

    def add(self, queue: int, chunk: int, receipt: Receipt) -> None:
        """Somebody waits for rows of a chunk."""
        self._queues.setdefault(queue, {}).setdefault(chunk, []).append(receipt)

    def take(self, batch: BatchRecord) -> list[Receipt]:
        """Take the receipts of a batch's rows out, in the order of chunks."""
        chunks = self._queues.get(batch.queue)
        if chunks is None:
            return []
        found = sorted(chunk for chunk in chunks if batch.first_chunk <= chunk <= batch.last_chunk)
        taken: list[Receipt] = []
        for chunk in found:
            start = batch.first_row if chunk == batch.first_chunk else 0
            end = batch.end_row if chunk == batch.last_chunk else None
            taken += self._cut_out(chunks, chunk, start, end)
        if not chunks:
            del self._queues[batch.queue]
        return taken

    def fail(self, queue: int, place: Place, rejected: RowRejected) -> None:
        """A row will never be stored: whoever waits for it hears so, and waits for the rest."""
        chunks = self._queues.get(queue, {})
        for receipt in self._cut_out(chunks, place.chunk, place.row, place.row + 1):
            receipt.sink.failed(receipt.first_seq, rejected)

    @staticmethod
    def _cut_out(
        chunks: dict[int, list[Receipt]], chunk: int, start: int, end: int | None
    ) -> list[Receipt]:
        """Take rows ``[start, end)`` of a chunk out of its receipts."""
        whole = chunks.pop(chunk, [])
        if start == 0 and end is None:
            return whole
        rest = [*_parts(whole, 0, start), *(() if end is None else _parts(whole, end, None))]
        if rest:
            chunks[chunk] = rest
        return list(_parts(whole, start, end))


def _parts(receipts: Iterable[Receipt], start: int, end: int | None) -> Iterable[Receipt]:
    return (part for receipt in receipts if (part := receipt.between(start, end)) is not None)
