"""Evaluations of log entries, off the event loop, in blocks of bounded size.

Owns: two evaluators with a thread each, and what was found for those who lag. Must never know:
who asks.

`follow` serves those who keep up: a standing query goes through an entry once, whatever the number
of its subscribers. `block` serves those who lag and read the log by themselves: on a thread of its
own, so that they delay nobody who keeps up; what it finds is kept up to a size, for others at the
same place.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from gateway.query.measures import PushMeasure
from gateway.query.places import Block, Place, parted
from gateway.seams import LogEntry, Pieces, PushLevel
from gateway.sql import PushEvaluator, PushQuery

BLOCK_BYTES = 512 << 10
"""Rows of the log that are evaluated at once; a single piece may be longer."""
PART_BYTES = 32 << 10
"""Selected rows that go to a reader at once; a single row may be longer."""
EVALUATOR_MEMORY = "256MB"
REMEMBERED_BYTES = 4 << 20
"""An entry of at most so many bytes is read once for all statements that follow the log."""
KEPT_MAX = 4096

T = TypeVar("T")

_Key = tuple[str, PushLevel, int, int, int]


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Pieces together; ``next_piece`` is the number of the one behind them."""

    raw: bytes
    next_piece: int
    is_last: bool


class Evaluations:
    """Evaluates push queries over log entries. ``kept_bytes``: of results for those who lag."""

    def __init__(self, kept_bytes: int, measure: PushMeasure | None = None) -> None:
        self.measure = measure or PushMeasure()
        self._following = _Worker("push-follower", self.measure, "followers")
        self._lagging = _Worker("push-reader", self.measure, "laggards")
        self._kept_limit_bytes = kept_bytes
        self._kept: OrderedDict[_Key, asyncio.Future[Block]] = OrderedDict()
        self._kept_bytes = 0

    async def follow(self, push: PushQuery, entry: LogEntry) -> AsyncGenerator[Block, None]:
        """The blocks of a whole entry, each once. Raises `QueryBroken`, `EntryGone`."""
        worker = self._following
        blocks = worker.blocks(push, entry, Place(entry.position - 1), remember=True)
        try:
            while (block := await worker.call(lambda: next(blocks, None))) is not None:
                yield block
        finally:
            worker.give_up(blocks)

    async def block(
        self, push: PushQuery, entry: LogEntry, level: PushLevel, start: Place
    ) -> Block:
        """The block that begins at a piece of the entry: ``start``, whose ``skip`` is 0.

        Raises `QueryBroken`, `EntryGone`.
        """
        key = (push.key, level, entry.position, start.piece, start.rows)
        found = self._kept.get(key)
        if found is None:
            worker = self._lagging
            found = asyncio.ensure_future(worker.call(lambda: worker.block(push, entry, start)))
            self._kept[key] = found
            found.add_done_callback(lambda done: self._keep_within(key, done))
        else:
            self._kept.move_to_end(key)
        # Shielded: one subscriber that leaves must not cancel the evaluation of the others.
        return await asyncio.shield(found)

    def close(self) -> None:
        """Stop the threads; what is being evaluated is finished first."""
        self._following.close()
        self._lagging.close()

    def _keep_within(self, key: _Key, done: "asyncio.Future[Block]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._kept.pop(key, None)
            return
        self._kept_bytes += done.result().size_bytes
        for oldest, kept in list(self._kept.items()):
            if self._kept_bytes <= self._kept_limit_bytes and len(self._kept) <= KEPT_MAX:
                break
            if kept.done():
                del self._kept[oldest]
                self._kept_bytes -= kept.result().size_bytes


class _Worker:
    """A thread and its evaluator; ``serves`` are followers or laggards."""

    def __init__(self, name: str, measure: PushMeasure, serves: str) -> None:
        self._measure = measure
        self._serves = serves
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._evaluator: PushEvaluator | None = None
        self._read: tuple[Pieces | None, list[_Gathered]] = (None, [])

    async def call(self, work: Callable[[], T]) -> T:
        """Do it on the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def give_up(self, blocks: Generator[Block, None, None]) -> None:
        """No more of these blocks are wanted."""
        with contextlib.suppress(RuntimeError):  # The thread was stopped: so is all it read.
            self._thread.submit(blocks.close)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.submit(self._close_evaluator)
        self._thread.shutdown(wait=True)

    # ── on the thread ──

    def block(self, push: PushQuery, entry: LogEntry, start: Place) -> Block:
        """The one block that begins at ``start``."""
        blocks = self.blocks(push, entry, start)
        found = next(blocks, None)
        blocks.close()
        # An entry without rows, or all of whose rows are dead letters.
        return found or Block(start, (), Place(entry.position))

    def blocks(
        self, push: PushQuery, entry: LogEntry, start: Place, *, remember: bool = False
    ) -> Generator[Block, None, None]:
        """All blocks from ``start`` on."""
        place = start
        for gathered in self._gathered(entry, start.piece, remember):
            if self._evaluator is None:
                self._evaluator = PushEvaluator(memory_limit=EVALUATOR_MEMORY)
            lines = self._evaluator.evaluate(push, gathered.raw)
            self._measure.evaluated(self._serves)
            end = Place(entry.position)
            if not gathered.is_last:
                end = Place(place.after, gathered.next_piece, 0, place.rows + lines.count)
            yield Block(place, parted(lines, place, end, PART_BYTES), end)
            place = end

    def _gathered(self, entry: LogEntry, start: int, remember: bool) -> Iterator[_Gathered]:
        """Pieces of an entry together, from one number on; a small entry is read once for all."""
        if not remember or entry.size_bytes > REMEMBERED_BYTES:
            return gathered_pieces(entry.pieces(start), start)
        if self._read[0] is not entry.pieces:
            self._read = (entry.pieces, list(gathered_pieces(entry.pieces(), 0)))
        return iter(self._read[1])

    def _close_evaluator(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()


def gathered_pieces(pieces: Iterator[bytes], start: int) -> Iterator[_Gathered]:
    """``pieces``, of which the first is number ``start``, in runs of about `BLOCK_BYTES`."""
    run: list[bytes] = []
    size_bytes, number = 0, start
    for number, piece in enumerate(pieces, start):
        if run and size_bytes + len(piece) > BLOCK_BYTES:
            yield _Gathered(b"".join(run), number, is_last=False)
            run, size_bytes = [], 0
        run.append(piece)
        size_bytes += len(piece)
    if run:
        yield _Gathered(b"".join(run), number + 1, is_last=True)
