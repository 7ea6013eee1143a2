"""The ledger of one insert stream: ranges settled in any order, acks in order.

Laws:
1. Acks leave in the order of the rows, each once, and never past what is settled.
2. No ack leaves at or above a failed row; of several failed rows the lowest wins.
3. It holds ranges, never rows: its size is the number of gaps, not the number of rows.

Sequence numbers count rows from 0; ranges are half open, ``[first, end)``.
"""

from protocol.errors import RowRejected


class AckLedger:
    """Which rows are settled, and which of their acks have left."""

    def __init__(self) -> None:
        self._settled_to = 0
        self._beyond: dict[int, int] = {}
        self._emitted_to = 0
        self._failed: tuple[int, RowRejected] | None = None

    def __repr__(self) -> str:
        return (
            f"<AckLedger emitted={self._emitted_to} settled={self._settled_to} "
            f"gaps={len(self._beyond)} failed={self._failed and self._failed[0]}>"
        )

    @property
    def emitted(self) -> int:
        """How many acks have left: the sequence number of the next one."""
        return self._emitted_to

    @property
    def failed(self) -> tuple[int, RowRejected] | None:
        """The lowest failed row and why it failed."""
        return self._failed

    @property
    def ready(self) -> int:
        """How many acks may leave now."""
        return self._limit() - self._emitted_to

    @property
    def failure_is_next(self) -> bool:
        """Whether every ack below the failed row has left, so that its error may."""
        return self._failed is not None and self._emitted_to == self._failed[0]

    def settle(self, first: int, end: int) -> None:
        """Rows ``[first, end)`` hold what was promised. Each row is settled once."""
        assert self._settled_to <= first < end, (self, first, end)
        if first != self._settled_to:
            self._beyond[first] = end
            return
        while end in self._beyond:
            end = self._beyond.pop(end)
        self._settled_to = end

    def fail(self, seq: int, rejected: RowRejected) -> None:
        """Row ``seq`` will never be settled. A row whose ack has left cannot fail any more."""
        if seq >= self._emitted_to and (self._failed is None or seq < self._failed[0]):
            self._failed = (seq, rejected)

    def emit(self, rows_max: int) -> tuple[int, int]:
        """Take the next acks that may leave, as ``[first, end)``; empty if there are none."""
        first = self._emitted_to
        self._emitted_to = min(self._limit(), first + rows_max)
        return first, self._emitted_to

    def _limit(self) -> int:
        if self._failed is None:
            return self._settled_to
        return min(self._settled_to, self._failed[0])
