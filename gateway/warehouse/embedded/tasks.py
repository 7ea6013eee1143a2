"""What is known of tasks, shared by the event loop and the writer thread.

A task is here from its submission until it is released; one that succeeded is in the table of
commits for good, whose row was written with the task's rows. How the newest tasks went is told a
while longer: who asks for that may come after the release.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection

from gateway.seams import TaskFailure, TaskProgress, TaskState

PROGRESS_MAX = 256
"""Tasks whose progress is remembered."""


class Tasks:
    """States and failures by task id. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, TaskState] = {}
        self._failures: dict[str, TaskFailure] = {}
        self._begun: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """rows of the newest tasks, and when they began"""
        self._progress: dict[str, TaskProgress] = {}

    def start(self, task_id: str, rows: int) -> bool:
        """Note a new task as running, with the rows it is to store; false if the id is known."""
        with self._lock:
            if task_id in self._states:
                return False
            self._states[task_id] = TaskState.RUNNING
            self._begun[task_id] = (rows, time.monotonic())
            self._progress[task_id] = TaskProgress()
            while len(self._begun) > PROGRESS_MAX:
                oldest, _ = self._begun.popitem(last=False)
                del self._progress[oldest]
            return True

    def succeed(self, task_id: str) -> None:
        """The task's rows are committed."""
        with self._lock:
            self._states[task_id] = TaskState.SUCCESS
            self._ended(task_id, stored=True)

    def fail(self, task_id: str, failure: TaskFailure) -> None:
        """Nothing of the task is stored."""
        with self._lock:
            self._states[task_id] = TaskState.FAILED
            self._failures[task_id] = failure
            self._ended(task_id, stored=False)

    def forget(self, task_id: str) -> None:
        """The task is settled, or was never started after all."""
        with self._lock:
            self._states.pop(task_id, None)
            self._failures.pop(task_id, None)

    def state(self, task_id: str) -> TaskState | None:
        """The state, if the task is here."""
        with self._lock:
            return self._states.get(task_id)

    def failure(self, task_id: str) -> TaskFailure | None:
        """Why a task failed, if it is here and did."""
        with self._lock:
            return self._failures.get(task_id)

    def progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        """How those of the tasks go, or went, that are remembered."""
        with self._lock:
            return {at: self._progress[at] for at in task_ids if at in self._progress}

    def running(self) -> int:
        """How many tasks run or wait to."""
        with self._lock:
            return sum(state is TaskState.RUNNING for state in self._states.values())

    def _ended(self, task_id: str, *, stored: bool) -> None:
        if task_id not in self._begun:
            return
        rows, began = self._begun[task_id]
        self._progress[task_id] = TaskProgress(
            rows_in=rows,
            rows_out=rows if stored else 0,
            duration_ms=int((time.monotonic() - began) * 1000),
            is_over=True,
        )
