"""Receipts: who waits for which rows, from the spool to the last level.

A receipt remembers that rows ``[first_seq, first_seq + count)`` of a stream lie in a chunk. It
lives in memory only: after a crash no client waits any more, and one that comes back resends.

Law: a receipt is settled at its own level and only once, or its row fails.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.ingest.spool import ChunkRecord
from gateway.seams import AckLevel, ReceiptSink


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stretch of one stream's rows inside a chunk; ``sink`` None: nobody waits (any more)."""

    sink: ReceiptSink | None
    level: AckLevel
    first_seq: int
    count: int

    def settle(self) -> None:
        """Tell the stream that its rows hold the level it asked for."""
        if self.sink is not None:
            self.sink.settled(self.first_seq, self.first_seq + self.count)


class Receipts:
    """Receipts of every queue, in the order of its chunks."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[tuple[ChunkRecord, list[Receipt]]]] = {}

    def add(self, chunk: ChunkRecord, receipt: Receipt) -> None:
        """Rows were spooled in ``chunk``; receipts of one chunk come in the order of its rows."""
        chunks = self._queues.setdefault(chunk.queue, deque())
        if not chunks or chunks[-1][0].id != chunk.id:
            chunks.append((chunk, []))
        chunks[-1][1].append(receipt)

    def take(self, queue: int, first_chunk: int, last_chunk: int) -> list[Receipt]:
        """Take the receipts of a batch's chunks out, in order."""
        taken: list[Receipt] = []
        kept: deque[tuple[ChunkRecord, list[Receipt]]] = deque()
        chunks = self._queues.get(queue, deque())
        while chunks and chunks[0][0].id <= last_chunk:
            chunk, receipts = chunks.popleft()
            if chunk.id < first_chunk:
                kept.append((chunk, receipts))
            else:
                taken.extend(receipts)
        chunks.extendleft(reversed(kept))
        if not chunks:
            self._queues.pop(queue, None)
        return taken

    def locate(
        self, chunks: Iterable[ChunkRecord], line: int
    ) -> tuple[ReceiptSink | None, int] | None:
        """The stream and sequence number of the 1-based ``line`` of a batch made of ``chunks``.

        None where the row came before this process started.
        """
        for chunk in chunks:
            if line > chunk.rows:
                line -= chunk.rows
                continue
            for receipt in self._of(chunk):
                if line <= receipt.count:
                    return receipt.sink, receipt.first_seq + line - 1
                line -= receipt.count
            return None
        return None

    def _of(self, chunk: ChunkRecord) -> list[Receipt]:
        for known, receipts in self._queues.get(chunk.queue, ()):
            if known.id == chunk.id:
                return receipts
        return []
