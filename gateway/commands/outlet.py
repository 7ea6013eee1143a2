"""Standard output for an event loop: a reader that stalls (`| less`) holds up the writing only.

Owns: the thread that writes. Must never know: what is written.

Laws:
1. `Outlet.write` returns when its bytes have left, and raises what came of them: one piece waits
   at a time, so that a stalled reader is felt by whoever produces the rows.
2. The thread keeps nobody from leaving: it goes around the buffer of `sys.stdout`, whose lock a
   process waits for at its end.
"""

import asyncio
import contextlib
import os
import queue
import select
import sys
import threading
from types import TracebackType
from typing import Self

PIECE_BYTES = 16 * 1024
"""What is given to the system in one go: what still leaves after nobody wants it any more."""

_Job = tuple[bytes, asyncio.Future[None]]


class Outlet:
    """Use it in a ``with``, inside of the event loop, by one task."""

    def __init__(self) -> None:
        # Text that was printed before stands before it.
        sys.stdout.flush()
        self._file = sys.stdout.fileno()
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._is_left = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, name="output", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._is_left = True
        self._jobs.put(None)

    async def write(self, data: bytes) -> None:
        """Raises `BrokenPipeError` and other `OSError`. Where it is cancelled, the rest of the
        bytes is dropped as soon as that can be."""
        if not data:
            return
        written: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((data, written))
        await written

    # ── in the thread ──

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, written = job
            failure: OSError | None = None
            try:
                self._write(memoryview(data))
            except OSError as error:
                failure = error
            # The loop may be closed by now: then nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_told, written, failure)

    def _write(self, left: memoryview) -> None:
        while left and not self._is_left:
            try:
                left = left[os.write(self._file, left[:PIECE_BYTES]) :]
            except BlockingIOError:
                # Whoever shares the terminal has set it so.
                select.select([], [self._file], [])


def _told(written: asyncio.Future[None], failure: OSError | None) -> None:
    if written.done():
        return
    if failure is None:
        written.set_result(None)
    else:
        written.set_exception(failure)
