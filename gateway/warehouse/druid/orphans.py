"""Controllers that wait for a worker which is gone.

27.0.0 was seen to lose the place of a controller whose worker starts within a tenth of a second:
the worker gives up, and where the controller had not noted its start yet it waits for it for ten
minutes. Nobody tells it, so this looks at both: a worker that is FAILED under a controller that is
RUNNING for too long. The usual case, a worker that failed for a row or by its machine, ends its
controller within a second.

Pure: what is asked and what was answered come in, and what to shut down goes out. Every task of
ours has one worker; where Druid starts it anew (``faultTolerance``) the next one counts.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.seams import TaskState


@dataclass(slots=True)
class _Orphan:
    """A controller whose worker has failed: which one, and the time since when that is known."""

    worker: int
    since: float


def worker_of(query_id: str, number: int = 0) -> str:
    """The id of a task's ``number``-th worker, each of which replaces the one before."""
    return f"{query_id}-worker0_{number}"


class Orphans:
    """Remembers failed workers. ``limit_s``: how long a controller may outlive its worker."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._orphans: dict[str, _Orphan] = {}
        self._ended: set[str] = set()

    def workers(self, query_ids: Collection[str]) -> list[str]:
        """The workers to ask for beside their controllers."""
        asked: list[str] = []
        for query_id in query_ids:
            orphan = self._orphans.get(query_id)
            number = orphan.worker if orphan else 0
            asked.append(worker_of(query_id, number))
            if orphan is not None:
                asked.append(worker_of(query_id, number + 1))
        return asked

    def due(
        self, query_ids: Collection[str], states: Mapping[str, TaskState], now: float
    ) -> list[str]:
        """Learn from an answer at loop time ``now``; returns the controllers to shut down.

        One that is still RUNNING after that is due again, as late as the first time.
        """
        due: list[str] = []
        for query_id in query_ids:
            orphan = self._look(query_id, states, now)
            if orphan is not None and now - orphan.since > self._limit_s:
                orphan.since = now
                self._ended.add(query_id)
                due.append(query_id)
        return due

    def was_ended(self, query_id: str) -> bool:
        """Whether this controller was to be shut down."""
        return query_id in self._ended

    def forget(self, query_id: str) -> None:
        """The task is over and settled."""
        self._orphans.pop(query_id, None)
        self._ended.discard(query_id)

    def _look(self, query_id: str, states: Mapping[str, TaskState], now: float) -> _Orphan | None:
        """The task as an orphan, if it is one."""
        if states.get(query_id) is not TaskState.RUNNING:
            self._orphans.pop(query_id, None)
            return None
        orphan = self._orphans.get(query_id)
        if orphan is not None and worker_of(query_id, orphan.worker + 1) in states:
            orphan.worker, orphan.since = orphan.worker + 1, now
        worker = worker_of(query_id, orphan.worker if orphan else 0)
        if states.get(worker) is not TaskState.FAILED:
            if orphan is not None:
                orphan.since = now
            return None
        return self._orphans.setdefault(query_id, _Orphan(0, now))
