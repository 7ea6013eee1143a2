"""An event loop in a thread of its own, for callers who have none.

Owns: the thread's life. Must never know: what runs in it.
Law: a call that is interrupted (Ctrl-C) is cancelled in the loop before the interrupt goes on.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

JOIN_S = 10.0


class LoopThread:
    """Starts at once; `stop` ends it. All other methods may be called from any other thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = threading.Lock()
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether calls can be made."""
        return not self.loop.is_closed()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop and wait for what it returns or raises."""
        if threading.current_thread() is self._thread or not self.runs:
            work.close()
            raise RuntimeError("not from the client's own thread, nor after it was closed")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call it in the loop, some time; never where the loop is over."""
        if self.runs:
            self.loop.call_soon_threadsafe(callback, *arguments)

    def stop(self) -> None:
        """End the loop and what runs in it. May be called again."""
        with self._stopping:
            if self.runs:
                self.loop.call_soon_threadsafe(self.loop.stop)
                self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
