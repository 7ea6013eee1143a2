"""Places in a log, and the rows between them: what subscriptions are made of.

Owns: the order of places, how a part of rows is cut. Must never know: where rows come from.
"""

from dataclasses import dataclass, field

from gateway.seams import RowLines


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a subscription stands.

    Entries up to ``after`` are done; of the one that follows, pieces before number ``piece``, and
    ``skip`` of the rows selected from there on. ``rows`` counts all rows selected of that entry so
    far, which is what a continuation token says.
    """

    after: int
    piece: int = 0
    skip: int = 0
    rows: int = field(default=0, compare=False)

    def plus(self, count: int) -> "Place":
        """So many rows further, in the same entry."""
        return Place(self.after, self.piece, self.skip + count, self.rows + count)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that follow ``start``; behind them is ``end``."""

    lines: RowLines
    start: Place
    end: Place

    def split(self, count: int) -> "tuple[Part, Part]":
        """The first ``count`` rows, and the rest; there must be some of both."""
        raw, cut = self.lines.raw, 0
        for _ in range(count):
            cut = raw.index(b"\n", cut) + 1
        middle = self.start.plus(count)
        first = RowLines(raw[:cut], count)
        rest = RowLines(raw[cut:], self.lines.count - count)
        return Part(first, self.start, middle), Part(rest, middle, self.end)


@dataclass(frozen=True, slots=True)
class Block:
    """What was selected of some pieces of an entry, in parts; none where no row passed."""

    start: Place
    parts: tuple[Part, ...]
    end: Place

    @property
    def size_bytes(self) -> int:
        """What the rows take."""
        return sum(len(part.lines.raw) for part in self.parts)


def parted(lines: RowLines, start: Place, end: Place, part_bytes: int) -> tuple[Part, ...]:
    """``lines`` in parts of at most ``part_bytes``; a longer row is a part of its own."""
    if not lines.count:
        return ()
    raw, parts, cut, place = lines.raw, [], 0, start
    while cut < len(raw):
        upto = len(raw)
        if upto - cut > part_bytes:
            upto = raw.rfind(b"\n", cut, cut + part_bytes) + 1 or raw.index(b"\n", cut) + 1
        piece = raw[cut:upto]
        count = piece.count(b"\n")
        behind = end if upto == len(raw) else place.plus(count)
        parts.append(Part(RowLines(piece, count), place, behind))
        cut, place = upto, behind
    return tuple(parts)
