"""An insert for code without an event loop: the caller's thread reads rows and takes acks in turn.

The two sides speak through one queue of events. The loop says that it wants rows, or has acks; the
caller's thread, whenever it asks for the next acks, answers the wants that come before them from
its own iterable. So the iterable is run in the thread that iterates over the insert, on demand, and
never while the loop wants nothing: the back-pressure is the same as in the loop.
"""

import asyncio
import inspect
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gateway.client.exchanges import SEND_BYTES, Insert, Row
from gateway.client.ledger import InsertProgress
from gateway.client.loop_thread import LoopThread
from gateway.client.resuming_insert import ResumingInsert
from gateway.client.wire import AckBatch, row_lines

ACKS_AHEAD = 16
"""Batches of acks that wait for the caller's thread."""

GATHER_S = 0.05
"""Rows of a slow iterable are handed on after this, however few they are."""

AnyInsert = Insert | ResumingInsert


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The loop wants rows: bytes, or None at their end."""

    answer: "asyncio.Future[bytes | None]"


@dataclass(frozen=True, slots=True)
class _Ended:
    """No more acks, and why if it is a failure."""

    failure: BaseException | None = None


class SyncInsert:
    """Iterate over it for its acks, as over `Insert` and `ResumingInsert`, from one thread at once.

    The rows are read by the iterating thread: while it waits for a row, acks wait for it. Use it
    as a context manager where the iteration may be left early.
    """

    def __init__(
        self,
        thread: LoopThread,
        make: Callable[[AsyncIterator[Row]], AnyInsert],
        rows: Iterable[Row],
    ) -> None:
        self._thread = thread
        self._rows = iter(rows)
        self._events: queue.SimpleQueue[_Wanted | AckBatch | _Ended] = queue.SimpleQueue()
        self._slots = asyncio.Semaphore(ACKS_AHEAD)
        self._insert = make(self._wanted_rows())
        self._rows_failure: Exception | None = None
        self._pump: asyncio.Task[None] | None = None
        self._over = False

    @property
    def progress(self) -> InsertProgress:
        """How far it is."""
        return self._insert.progress

    @property
    def next_offset(self) -> int | None:
        """Where the channel stood when the insert was opened."""
        return self._insert.next_offset

    def __enter__(self) -> Self:
        self._thread.call(self._open())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and sending; may be called twice."""
        self._over = True
        if self._thread.runs:
            self._thread.call(self._aclose())
        if inspect.isgenerator(self._rows):
            self._rows.close()

    def __iter__(self) -> Iterator[AckBatch]:
        return self

    def __next__(self) -> AckBatch:
        if self._over:
            raise StopIteration
        try:
            if self._pump is None:
                self._thread.call(self._start())
            return self._next()
        except BaseException:
            self.close()
            raise

    # ── in the caller's thread ──

    def _next(self) -> AckBatch:
        while True:
            match self._events.get():
                case _Wanted(answer):
                    self._answer(answer)
                case AckBatch() as batch:
                    self._thread.soon(self._slots.release)
                    return batch
                case _Ended(None):
                    raise StopIteration
                case _Ended(failure):
                    assert failure is not None
                    raise failure

    def _answer(self, answer: "asyncio.Future[bytes | None]") -> None:
        try:
            lines = self._read()
        except Exception as failure:  # noqa: BLE001 - the caller's own, raised after the acks
            self._thread.soon(_fail, answer, failure)
        else:
            self._thread.soon(_set, answer, lines)

    def _read(self) -> bytes | None:
        """Rows that are there; None at their end. What they raise comes after the rows before."""
        if self._rows_failure is not None:
            raise self._rows_failure
        gathered, size, until_s = list[bytes](), 0, time.monotonic() + GATHER_S
        try:
            for row in self._rows:
                lines, _ = row_lines(row)
                gathered.append(lines)
                size += len(lines)
                if size >= SEND_BYTES or time.monotonic() >= until_s:
                    break
        except Exception as failure:
            if not gathered:
                raise
            self._rows_failure = failure
        return b"".join(gathered) or None

    # ── in the loop ──

    async def _wanted_rows(self) -> AsyncIterator[Row]:
        while True:
            answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            self._events.put(_Wanted(answer))
            lines = await answer
            if lines is None:
                return
            yield lines

    async def _open(self) -> None:
        await self._insert.__aenter__()
        await self._start()

    async def _start(self) -> None:
        if self._pump is None:
            self._pump = asyncio.create_task(self._take_acks())

    async def _take_acks(self) -> None:
        ended = _Ended()
        try:
            async for batch in self._insert:
                self._events.put(batch)
                await self._slots.acquire()
        except BaseException as failure:
            ended = _Ended(failure)
            if not isinstance(failure, Exception):
                raise
        finally:
            self._events.put(ended)

    async def _aclose(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        await self._insert.aclose()


def _set(answer: "asyncio.Future[bytes | None]", lines: bytes | None) -> None:
    if not answer.done():
        answer.set_result(lines)


def _fail(answer: "asyncio.Future[bytes | None]", failure: Exception) -> None:
    if not answer.done():
        answer.set_exception(failure)
