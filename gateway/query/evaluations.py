"""One evaluation of a committed batch for all subscriptions that ask the same of it.

The evaluator blocks, so it has a thread of its own. What it found is kept for the slower of those
who share it, up to a size; past that it is evaluated again.
"""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from gateway.seams import LogEntry, RowLines
from gateway.sql import PushEvaluator, PushQuery

KEPT_BYTES_MAX = 64 << 20

_Key = tuple[str, int]


class Evaluations:
    """Evaluates push queries over log entries, off the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="push-evaluator")
        self._evaluator: PushEvaluator | None = None
        self._kept: OrderedDict[_Key, asyncio.Future[list[RowLines]]] = OrderedDict()
        self._kept_bytes = 0

    async def rows(self, push: PushQuery, entry: LogEntry) -> list[RowLines]:
        """What ``push`` selects of the entry, in its order."""
        key = (push.key, entry.position)
        found = self._kept.get(key)
        if found is None:
            loop = asyncio.get_running_loop()
            found = loop.run_in_executor(self._thread, self._evaluate, push, entry)
            self._kept[key] = found
            found.add_done_callback(lambda done: self._keep_within(key, done))
        # Shielded: one subscriber that leaves must not cancel the evaluation of the others.
        return await asyncio.shield(found)

    def close(self) -> None:
        """Stop the thread; what is being evaluated is finished first."""
        self._thread.submit(self._close_evaluator)
        self._thread.shutdown(wait=True)

    def _evaluate(self, push: PushQuery, entry: LogEntry) -> list[RowLines]:
        if self._evaluator is None:
            self._evaluator = PushEvaluator()
        found = [self._evaluator.evaluate(push, piece) for piece in entry.pieces()]
        return [lines for lines in found if lines.count]

    def _close_evaluator(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()

    def _keep_within(self, key: _Key, done: "asyncio.Future[list[RowLines]]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._kept.pop(key, None)
            return
        self._kept_bytes += _size(done)
        while self._kept_bytes > KEPT_BYTES_MAX or len(self._kept) > 1024:
            _, oldest = self._kept.popitem(last=False)
            if oldest.done() and not oldest.cancelled() and oldest.exception() is None:
                self._kept_bytes -= _size(oldest)


def _size(done: "asyncio.Future[list[RowLines]]") -> int:
    return sum(len(lines.raw) for lines in done.result())
