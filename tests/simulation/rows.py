"""The rows of one seed, and the book of what was promised about each.

Owns the identity of a row (field ``A``), what was told of it, and the balance at the end. Must
never know how rows travel.

Laws, checked as it goes: no ack below its level, none for a row that is at fault, no verdict that
contradicts another. At the end: what was acked is published once or was told to have failed; what
came on a channel is published once or is a dead letter; nothing is published twice or invented.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from gateway.seams import AckLevel
from tests.simulation.chronicle import Chronicle


class Kind(Enum):
    """What is the matter with a row."""

    GOOD = "good"
    POISON = "poison"
    """fails its task, which names the line"""
    QUIET = "quiet-poison"
    """fails its task, which names no line"""
    REFUSED = "refused"
    """fails its check at the door"""


POISON = b'"poison"'
QUIET = b'"quiet-poison"'


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``id`` is its own in the whole seed, also when it is sent again."""

    id: int
    kind: Kind

    @property
    def raw(self) -> bytes:
        """Its line."""
        return b'{"A":%d,"S":"%s"}\n' % (self.id, self.kind.value.encode())


def row_id(line: bytes) -> int:
    """The identity of a line."""
    return int(line[5 : line.index(b",")])


@dataclass
class Warehoused:
    """What the warehouse holds, as the book looks at it."""

    published: dict[int, str] = field(default_factory=dict)
    """row id → task id"""
    loaded: set[int] = field(default_factory=set)


class Book:
    """What was sent, promised and refused."""

    def __init__(self, chronicle: Chronicle, warehoused: Warehoused) -> None:
        self._chronicle = chronicle
        self._warehoused = warehoused
        self.rows: dict[int, Row] = {}
        self.on_channel: set[int] = set()
        self.acked: dict[int, AckLevel] = {}
        self.failed: set[int] = set()

    def new(self, kind: Kind, *, on_channel: bool) -> Row:
        """A row that there was not yet."""
        row = Row(len(self.rows), kind)
        self.rows[row.id] = row
        if on_channel:
            self.on_channel.add(row.id)
        return row

    def ack(self, row: Row, level: AckLevel, to: str) -> None:
        """A stream was told that the row holds ``level``."""
        wrong = self._chronicle.wrong
        if row.kind is Kind.REFUSED:
            wrong(f"{to}: row {row.id} was refused at the door, and acked")
        if level is AckLevel.SPOOLED:
            self.acked.setdefault(row.id, level)
            return
        self.acked[row.id] = level
        if row.id in self.failed:
            wrong(f"{to}: row {row.id} is acked, and was told to have failed")
        if row.id not in self._warehoused.published:
            wrong(f"{to}: row {row.id} is acked at {level} and not published")
        elif level is AckLevel.QUERYABLE and row.id not in self._warehoused.loaded:
            wrong(f"{to}: row {row.id} is acked at {level} and not loaded")

    def fail(self, row: Row, to: str) -> None:
        """A stream was told that the row alone is at fault."""
        wrong = self._chronicle.wrong
        self.failed.add(row.id)
        if row.kind is Kind.GOOD:
            wrong(f"{to}: row {row.id} is good, and told to be at fault")
        if self.acked.get(row.id, AckLevel.SPOOLED) is not AckLevel.SPOOLED:
            wrong(f"{to}: row {row.id} is told to be at fault, and was acked")

    def balance(self, letters: Iterable[bytes], streams_heard_all: set[int]) -> None:
        """The end: ``letters`` are the dead letters' lines, ``streams_heard_all`` the channel rows
        that must have come to something."""
        demand = self._chronicle.demand
        dead = Counter(row_id(line) for line in letters)
        published = self._warehoused.published
        for row in self.rows.values():
            is_in, is_dead = row.id in published, dead[row.id]
            what = f"row {row.id} ({row.kind.value})"
            demand(is_dead <= 1, f"{what} is {is_dead} times among the dead letters")
            demand(not (is_in and is_dead), f"{what} is published and a dead letter")
            demand(not is_dead or row.kind is not Kind.GOOD, f"{what} is a dead letter")
            if row.id in self.acked:
                told = f"{what} was acked at {self.acked[row.id]}"
                demand(bool(is_in or is_dead), f"{told} and is lost")
            if row.id in streams_heard_all:
                demand(bool(is_in or is_dead), f"{what} came on a channel and is lost")
            if row.id in self.failed:
                demand(bool(is_dead), f"{what} was told to have failed and is no dead letter")
        demand(set(published) <= set(self.rows), "rows are published that nobody sent")
