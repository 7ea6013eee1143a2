"""One connection's listener: what it sent, what it heard, and whether it may hear that.

Owns the verdicts of one stream's rows. Must never know who drives the stream.
"""

from collections.abc import Callable
from enum import Enum, auto

from gateway.seams import AckLevel, ReceiptSink
from protocol.errors import RowRejected
from tests.simulation.chronicle import Chronicle
from tests.simulation.rows import Book, Kind, Row


class Verdict(Enum):
    """What a row came to."""

    ACKED = auto()
    FAILED = auto()


class Sink(ReceiptSink):
    """Rows by their sequence number. ``deaf``: its connection is gone, it hears nothing more."""

    def __init__(self, name: str, level: AckLevel, book: Book, chronicle: Chronicle) -> None:
        self.name = name
        self.level = level
        self.rows: list[Row] = []
        """that were sent"""
        self.duplicates: list[Row] = []
        """the first rows of the stream, which came before: their verdicts may come before them"""
        self.verdicts: dict[int, Verdict] = {}
        self.broken_at: int | None = None
        self.is_stopped = False
        self.deaf = False
        self.credit_bytes = 0
        self._book = book
        self._chronicle = chronicle
        self.on_word: Callable[[], None] = lambda: None

    @property
    def is_over(self) -> bool:
        """Whether sending more makes no sense."""
        return self.deaf or self.is_stopped or self.broken_at is not None

    @property
    def owed(self) -> list[int]:
        """Rows that still must hear a word."""
        end = len(self.rows) if self.broken_at is None else min(self.broken_at, len(self.rows))
        return [seq for seq in range(end) if seq not in self.verdicts]

    @property
    def acked_to(self) -> int:
        """Every row below has its verdict: what the client may take for done."""
        seq = 0
        while seq < len(self.rows) and seq in self.verdicts:
            seq += 1
        return seq

    def row(self, seq: int) -> Row | None:
        """By its sequence number; None if there is no such row yet."""
        known = self.rows if seq < len(self.rows) else self.duplicates
        return known[seq] if 0 <= seq < len(known) else None

    # ── what it hears ──

    def spooled(self, credit_bytes: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self.credit_bytes += credit_bytes

    def settled(self, first_seq: int, end_seq: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        if self.deaf:
            return
        self._chronicle.note(f"{self.name} settled {first_seq}-{end_seq}")
        if first_seq >= end_seq:
            self._chronicle.wrong(f"{self.name}: {first_seq}-{end_seq} were settled")
        for seq in range(first_seq, end_seq):
            known, row = self.verdicts.get(seq), self.row(seq)
            if known is Verdict.ACKED or row is None:
                wrong = "settled twice" if row else "settled, and was not sent"
                self._chronicle.wrong(f"{self.name}: row {seq} is {wrong}")
            elif known is None and (self.broken_at is None or seq < self.broken_at):
                self.verdicts[seq] = Verdict.ACKED
                self._book.ack(row, self.level, self.name)
        self.on_word()

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        if self.deaf:
            return
        self._chronicle.note(f"{self.name} failed {seq}: {rejected}")
        if self.verdicts.get(seq) is Verdict.ACKED and self.level is not AckLevel.SPOOLED:
            self._chronicle.wrong(f"{self.name}: row {seq} was settled, and has failed")
        row = self.row(seq)
        if row is None:
            self._chronicle.wrong(f"{self.name}: row {seq} has failed, and was not sent")
            return
        self.verdicts[seq] = Verdict.FAILED
        self._book.fail(row, self.name)
        self.on_word()

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        if self.deaf:
            return
        self._chronicle.note(f"{self.name} broken at {seq}: {rejected}")
        if any(at >= seq and was is Verdict.ACKED for at, was in self.verdicts.items()):
            # The ledger has not let these out: an ack leaves only after those before it.
            self._chronicle.note(f"{self.name} takes back what was settled beyond {seq}")
        self.broken_at = seq if self.broken_at is None else min(seq, self.broken_at)
        self.on_word()

    def stopped(self, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        if self.deaf:
            return
        self._chronicle.note(f"{self.name} stopped: {rejected}")
        self.is_stopped = True
        self.on_word()


def is_appended(row: Row) -> bool:
    """Whether the row passes its check at the door."""
    return row.kind is not Kind.REFUSED
