"""The witness: what each producer sent, what it was told, and the verdict over what is stored.

Pure: no clock, no socket. A `Ledger` is one producer's memory of its channel; it believes nothing,
and a reply that contradicts an earlier one is a violation that is kept word for word. `judge` holds
the ledgers against the rows that were read back.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

VIOLATIONS_KEPT = 50
SAMPLE_ROWS = 20


class Fate(IntEnum):
    """What a producer knows of one of its rows; one byte of the ledger each."""

    SENT = 0
    REFUSED = 1
    REPEATED = 2
    """acked, as a duplicate of what came before"""
    ACKED = 3


class Ledger:
    """The offsets of one channel, and what was said of them."""

    def __init__(self, producer: str, is_bad: Callable[[int], bool]) -> None:
        self.producer = producer
        self.violations: list[str] = []
        self.duplicates = 0
        """acks that called a row a duplicate"""
        self.resent = 0
        self.mended = 0
        """rows that were refused, and sent again with the fault mended"""
        self.floor = 0
        """rows below it were promised to be on disk"""
        self.lowest = 0
        """rows below it are settled"""
        self._is_bad = is_bad
        self._mended: set[int] = set()
        self._fates = bytearray()

    # ── what was sent ──

    @property
    def end(self) -> int:
        """Rows below it were sent at least once."""
        return len(self._fates)

    @property
    def settled(self) -> bool:
        """Whether every row that was sent got its verdict."""
        return self.lowest == self.end

    def bad(self, offset: int) -> bool:
        """Whether the row of this offset is one that the check must refuse."""
        return self._is_bad(offset) and offset not in self._mended

    def sent(self, first: int, end: int) -> None:
        """Rows ``[first, end)`` leave now."""
        self.resent += max(0, min(end, self.end) - first)
        self._fates.extend(bytes(max(0, end - self.end)))

    def mend(self, offset: int) -> None:
        """The bad row of this offset was refused, and a good one takes its place."""
        self._mended.add(offset)
        self.mended += 1

    # ── what was said ──

    def stands_at(self, next_offset: int) -> None:
        """The gateway says where the channel stands: all below it is on its disk."""
        if next_offset < self.floor:
            self._violated(f"the channel stands at {next_offset}, but {self.floor} was promised")
        if next_offset > self.end:
            self._violated(f"the channel stands at {next_offset}, but {self.end} rows were sent")
        self.floor = max(self.floor, next_offset)

    def acked(self, offset: int, *, duplicate: bool) -> bool:
        """An ``ok``; returns whether it is the first one of its row."""
        if offset >= self.end:
            self._violated(f"row {offset} was acked, but only {self.end} rows were sent")
            return False
        before = Fate(self._fates[offset])
        if before is Fate.REFUSED or self.bad(offset):
            self._violated(f"row {offset} is bad, and was acked (duplicate: {duplicate})")
        if before is Fate.ACKED and not duplicate:
            self._violated(f"row {offset} was acked before, and now is no duplicate")
        self.duplicates += duplicate
        self._settle(offset, before if duplicate and before is Fate.ACKED else _acked(duplicate))
        return before in (Fate.SENT, Fate.REFUSED)

    def refused(self, offset: int, why: str) -> None:
        """A verdict against one row, after which its channel goes on."""
        if offset >= self.end or not self.bad(offset):
            self._violated(f"row {offset} is good, and was refused: {why}")
            return
        self._settle(offset, Fate.REFUSED)

    def fate(self, offset: int) -> Fate:
        """What is known of a row that was sent."""
        return Fate(self._fates[offset])

    def count(self, *fates: Fate) -> int:
        """How many rows have one of them."""
        return sum(map(self._fates.count, fates))

    def _settle(self, offset: int, fate: Fate) -> None:
        self._fates[offset] = fate
        self.floor = max(self.floor, offset + 1)
        while self.lowest < self.end and self._fates[self.lowest] != Fate.SENT:
            self.lowest += 1

    def _violated(self, text: str) -> None:
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(f"{self.producer}: {text}")


def _acked(duplicate: bool) -> Fate:
    return Fate.REPEATED if duplicate else Fate.ACKED


@dataclass(slots=True)
class Rows:
    """Rows that are not as they should be: how many, and the first of them."""

    count: int = 0
    sample: list[str] = field(default_factory=list)

    def add(self, producer: str, offset: object, times: int = 1) -> None:
        """Such a row, ``times`` times over."""
        self.count += times
        if len(self.sample) < SAMPLE_ROWS:
            self.sample.append(f"{producer}/{offset}")


@dataclass(slots=True)
class Verdict:
    """What was sent against what is stored. Law: every `Rows` in here is empty."""

    sent: int = 0
    acked: int = 0
    refused: int = 0
    lost: Rows = field(default_factory=Rows)
    """acked, and not there"""
    duplicated: Rows = field(default_factory=Rows)
    """there more than once; each row too many counts"""
    strange: Rows = field(default_factory=Rows)
    """there, though refused or never sent"""
    unsettled: Rows = field(default_factory=Rows)
    """sent, and never got a verdict"""

    @property
    def clean(self) -> bool:
        """Whether everything is as it was said."""
        wrong = (self.lost, self.duplicated, self.strange, self.unsettled)
        return not any(rows.count for rows in wrong)


Stored = Mapping[str, Counter[int]]
"""How often each offset of each producer was read back."""


def judge(ledgers: Iterable[Ledger], stored: Stored) -> Verdict:
    """Hold what every producer was told against what is stored."""
    verdict = Verdict()
    known = {ledger.producer: ledger for ledger in ledgers}
    for producer, ledger in known.items():
        _judge_one(verdict, ledger, stored.get(producer, Counter()))
    for producer in stored.keys() - known.keys():
        for offset, times in stored[producer].items():
            verdict.strange.add(producer, offset, times)
    return verdict


def _judge_one(verdict: Verdict, ledger: Ledger, times_stored: Counter[int]) -> None:
    producer = ledger.producer
    verdict.sent += ledger.end
    verdict.acked += ledger.count(Fate.ACKED, Fate.REPEATED)
    verdict.refused += ledger.count(Fate.REFUSED) + ledger.mended
    for offset in range(ledger.end):
        times, fate = times_stored[offset], ledger.fate(offset)
        if fate is Fate.SENT:
            verdict.unsettled.add(producer, offset)
        elif fate is Fate.REFUSED and times:
            verdict.strange.add(producer, offset, times)
        elif fate in (Fate.ACKED, Fate.REPEATED) and not times:
            verdict.lost.add(producer, offset)
        if fate is not Fate.REFUSED and times > 1:
            verdict.duplicated.add(producer, offset, times - 1)
    for offset, times in times_stored.items():
        if not 0 <= offset < ledger.end:
            verdict.strange.add(producer, offset, times)
