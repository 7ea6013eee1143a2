"""The rows of an insert that have no verdict yet: what must be sent again after a loss.

Pure: rows in, blocks of rows out, verdicts in. Rows are numbered from 0 over the whole insert,
whatever sessions carry them; a session begins at the lowest row without a verdict and counts its
own rows from 0. On the channel row *i* has offset ``base + i``.

Laws:

1. Verdicts come out densely, in order, once, as one `AckBatch` for each that went in.
2. A session sends exactly the rows without a verdict, in order, then new ones.
3. It holds at most ``limit_bytes``; one block that alone is more is taken where it holds nothing.
4. A channel that moved on by more than this insert has sent is another client's.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.client.errors import AnswerBroken, ChannelTaken, RowRefused
from gateway.client.wire import AckBatch

BLOCK_BYTES = 32 * 1024
"""Rows are kept and sent in blocks of about this."""

BLOCK_COST_BYTES = 200
"""What a block takes besides its rows."""


class _Block:
    __slots__ = ("count", "first", "lines")

    def __init__(self, first: int, count: int, lines: bytes) -> None:
        self.first = first
        self.count = count
        self.lines = bytearray(lines)

    @property
    def size_bytes(self) -> int:
        return len(self.lines) + BLOCK_COST_BYTES

    def drop(self, rows: int) -> None:
        """Forget the first rows."""
        end = 0
        for _ in range(rows):
            end = self.lines.index(b"\n", end) + 1
        del self.lines[:end]
        self.first += rows
        self.count -= rows


class ResendLedger:
    """Rows from the caller until their verdict.

    ``offset`` is that of row 0 on the channel; None: where the channel stands at the first session.
    """

    def __init__(self, limit_bytes: int, offset: int | None = None) -> None:
        self.taken = 0
        self.taken_bytes = 0
        """of all rows that were taken"""
        self.told = 0
        """rows whose verdict was handed out"""
        self.refused = 0
        self.duplicates = 0
        self.sent = 0
        """rows that some session was given"""
        self.held_bytes = 0
        self.base = offset
        """offset of row 0, once it is known"""
        self._numbered = offset is not None
        self._limit_bytes = limit_bytes
        self._blocks: deque[_Block] = deque()
        self._unsent = 0
        """index of the first block that this session was not given"""
        self._session_first = 0
        self._others = 0
        """offset up to which the channel stood before this insert"""

    # ── rows in ──

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes of rows may be taken now."""
        cost = size_bytes + BLOCK_COST_BYTES
        return not self._blocks or self.held_bytes + cost <= self._limit_bytes

    def take(self, lines: bytes, count: int) -> None:
        """Rows, each with its newline. There must be room."""
        assert self.has_room(len(lines))
        tail = self._blocks[-1] if self._unsent < len(self._blocks) else None
        if tail is not None and len(tail.lines) + len(lines) <= BLOCK_BYTES:
            tail.lines += lines
            tail.count += count
            self.held_bytes += len(lines)
        else:
            self._blocks.append(_Block(self.taken, count, lines))
            self.held_bytes += len(lines) + BLOCK_COST_BYTES
        self.taken += count
        self.taken_bytes += len(lines)

    # ── sessions ──

    @property
    def next_offset(self) -> int | None:
        """What the next session asks for as the offset of its first row; None: where it stands."""
        if self.base is None or not (self._numbered or self.sent):
            return None
        return self.base + self.told

    def begin(self, stands_at: int) -> None:
        """A session begins; the channel stands at offset ``stands_at``.

        Raises `ChannelTaken`, and `AnswerBroken` for a channel that lost rows it had acked.
        """
        if self.base is None or not (self._numbered or self.sent):
            self.base = stands_at
        if self.sent == 0:
            self._others = max(self._others, stands_at)
        if stands_at > max(self._others, self.base + self.sent):
            raise ChannelTaken(
                self.told,
                f"The channel stands at offset {stands_at}, and this insert has sent rows up to "
                f"{self.base + self.sent} only: another client inserts on it",
            )
        if stands_at < self.base + self.told:
            raise AnswerBroken(
                f"the channel stands at offset {stands_at}, but rows up to {self.base + self.told} "
                "had their verdict: was the gateway's data folder replaced?"
            )
        while self._blocks and self._blocks[0].first < self.told:
            head = self._blocks[0]
            self.held_bytes -= head.size_bytes
            head.drop(self.told - head.first)
            self.held_bytes += head.size_bytes
        self._unsent = 0
        self._session_first = self.told

    def next_block(self) -> bytes | None:
        """The next rows for this session; None: all were given to it."""
        if self._unsent == len(self._blocks):
            return None
        block = self._blocks[self._unsent]
        self._unsent += 1
        self.sent = max(self.sent, block.first + block.count)
        return bytes(block.lines)

    # ── verdicts ──

    def tell(self, batch: AckBatch) -> AckBatch:
        """A session's verdicts, in the numbers of the insert."""
        first, last = batch.first_seq + self._session_first, batch.last_seq + self._session_first
        if first != self.told or last >= self.sent:
            raise AnswerBroken(f"verdicts of rows {first} to {last} came at row {self.told}")
        self.told = last + 1
        self.refused += len(batch.refused)
        self.duplicates += batch.duplicates
        while self._blocks and self._blocks[0].first + self._blocks[0].count <= self.told:
            self.held_bytes -= self._blocks.popleft().size_bytes
            self._unsent -= 1
        refused = tuple(self.whole(one) for one in batch.refused)
        return replace(batch, first_seq=first, last_seq=last, refused=refused)

    def whole(self, refused: RowRefused) -> RowRefused:
        """The refusal of a session's row, in the numbers of the insert."""
        return RowRefused(refused.seq + self._session_first, refused.message, refused.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertProgress:
    """How far an insert is. Rows: ``taken`` from the caller's iterable, ``sent`` at least once,
    with their verdict (``acked``, of which ``duplicates`` had been stored before, and ``refused``).

    ``taken_bytes`` are of all rows taken; ``unacked_bytes`` wait for their verdict in memory.
    ``reconnects``: how often it was taken up again; ``trouble`` is what it waits for now, if so.
    """

    taken: int
    sent: int
    acked: int
    refused: int
    duplicates: int
    taken_bytes: int
    unacked_bytes: int = 0
    reconnects: int = 0
    trouble: str | None = None


def blocks_of(lines: bytes) -> Iterator[tuple[bytes, int]]:
    """Rows, each with its newline, in blocks of about `BLOCK_BYTES`, with their numbers of rows."""
    if len(lines) <= BLOCK_BYTES:
        yield lines, lines.count(b"\n")
        return
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + BLOCK_BYTES) + 1
        end = end or lines.index(b"\n", start) + 1
        yield lines[start:end], lines.count(b"\n", start, end)
        start = end
