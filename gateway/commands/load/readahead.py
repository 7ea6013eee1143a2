"""A source that blocks, read ahead in a thread, for an event loop that must not.

Laws:
1. At most `AHEAD` items wait; then the thread does.
2. What the source raises, and that it has ended, comes after all items before it.
3. The thread keeps nobody from leaving: one that waits for a pipe is left behind.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")

AHEAD = 8


class _Left(Exception):
    """Nobody takes items any more."""


class ReadAhead(Generic[_T]):
    """Runs ``produce``, which hands on items by calling what it is given."""

    def __init__(self, produce: Callable[[Callable[[_T], None]], None]) -> None:
        self._produce = produce
        self._room = threading.Semaphore(AHEAD)
        self._is_left = False
        self._items: asyncio.Queue[_T | BaseException | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def items(self) -> AsyncGenerator[_T, None]:
        """They come as they are there; close it where it is left early."""
        threading.Thread(target=self._run, name="input", daemon=True).start()
        try:
            while (item := await self._items.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                self._room.release()
                yield item
        finally:
            self._is_left = True
            self._room.release()

    def _run(self) -> None:
        try:
            self._produce(self._put)
        except _Left:
            return
        except BaseException as failure:  # noqa: BLE001 - it is raised where items are taken
            self._hand_on(failure)
        else:
            self._hand_on(None)

    def _put(self, item: _T) -> None:
        self._room.acquire()
        if self._is_left:
            raise _Left
        self._hand_on(item)

    def _hand_on(self, item: _T | BaseException | None) -> None:
        # The loop may be closed by now: then nobody wants it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
