"""The ledger of one insert stream: verdicts on rows come in any order, and leave in order.

A verdict is an ack or an error. Most come as ranges of rows that are settled; an error is a row's
own, and stands in its place among the acks. The stream may also end at a row: then nothing leaves
at or above it.

Laws:
1. Verdicts leave in the order of the rows, one to a row, for rows that were taken, and an ack never
   for a row that is not settled.
2. No verdict leaves at or above the end; of several ends the lowest wins.
3. It holds ranges and errors, never rows: its size is the number of gaps and of errors that wait.

Sequence numbers count rows from 0; ranges are half open, ``[first, end)``.
"""

import heapq
from typing import NamedTuple

from protocol.errors import RowRejected


class Verdicts(NamedTuple):
    """Acks of rows ``[first, end)``; or, with ``rejected``, the error of the one row there."""

    first: int
    end: int
    rejected: RowRejected | None = None


class AckLedger:
    """Which rows were taken, which have a verdict, and whose verdict has left."""

    def __init__(self) -> None:
        self.taken = 0
        """how many rows have come; settled and failed may also be some that have not"""
        self._settled_to = 0
        self._decided_to = 0
        """rows from ``_settled_to`` to here have errors"""
        self._beyond: dict[int, int] = {}
        self._errors: dict[int, RowRejected] = {}
        self._error_order: list[int] = []
        self._emitted_to = 0
        self._end: tuple[int, RowRejected] | None = None

    def __repr__(self) -> str:
        return (
            f"<AckLedger taken={self.taken} emitted={self._emitted_to} decided={self._decided_to} "
            f"gaps={len(self._beyond)} errors={len(self._errors)} end={self._end and self._end[0]}>"
        )

    @property
    def emitted(self) -> int:
        """How many verdicts have left: the sequence number of the next one."""
        return self._emitted_to

    @property
    def decided(self) -> int:
        """The first taken row that has no verdict, or else the next row to be taken."""
        return min(self._decided_to, self.taken)

    @property
    def end(self) -> tuple[int, RowRejected] | None:
        """The row that the stream ends at, and why."""
        return self._end

    @property
    def errors(self) -> int:
        """How many errors wait to leave."""
        return len(self._errors)

    @property
    def first_error(self) -> tuple[int, RowRejected] | None:
        """The lowest row whose error waits."""
        if not self._error_order:
            return None
        return self._error_order[0], self._errors[self._error_order[0]]

    @property
    def ready(self) -> int:
        """How many verdicts may leave now."""
        return self._limit() - self._emitted_to

    @property
    def end_is_next(self) -> bool:
        """Whether every verdict below the end has left, so that its error may."""
        return self._end is not None and self._emitted_to == self._end[0]

    def settle(self, first: int, end: int) -> None:
        """Rows ``[first, end)`` hold what was promised. Each is settled once; errors of some of
        them, before or after, win."""
        assert first < end, (self, first, end)
        if first < self._settled_to:
            # The ledger went on past rows that all had errors: there is nothing left to settle.
            assert end <= self._settled_to, (self, first, end)
            return
        if first > self._decided_to:
            self._beyond[first] = end
            return
        self._settled_to = end
        self._decided_to = max(self._decided_to, end)
        self._advance()

    def fail(self, seq: int, rejected: RowRejected) -> None:
        """Row ``seq`` gets an error in place of its ack, unless its verdict has left; the first
        error of a row counts."""
        beyond_end = self._end is not None and seq >= self._end[0]
        if seq < self._emitted_to or beyond_end or seq in self._errors:
            return
        self._errors[seq] = rejected
        heapq.heappush(self._error_order, seq)
        self._advance()

    def break_off(self, seq: int, rejected: RowRejected) -> None:
        """Nothing leaves at ``seq`` or above, but this error there."""
        if seq >= self._emitted_to and (self._end is None or seq < self._end[0]):
            self._end = (seq, rejected)

    def emit(self, rows_max: int) -> Verdicts:
        """Take the next verdicts that may leave and are of one kind; an empty range if none."""
        first = self._emitted_to
        limit = min(self._limit(), first + rows_max)
        if first >= limit:
            return Verdicts(first, first)
        if first in self._errors:
            heapq.heappop(self._error_order)
            self._emitted_to = first + 1
            return Verdicts(first, first + 1, self._errors.pop(first))
        if self._error_order:
            limit = min(limit, self._error_order[0])
        self._emitted_to = limit
        return Verdicts(first, limit)

    def _advance(self) -> None:
        while True:
            if (end := self._beyond.pop(self._decided_to, None)) is not None:
                self._settled_to = self._decided_to = end
            elif self._decided_to in self._errors:
                self._decided_to += 1
            else:
                return

    def _limit(self) -> int:
        limit = min(self._decided_to, self.taken)
        return limit if self._end is None else min(limit, self._end[0])
