"""What is known of tasks, shared by the event loop and the writer thread.

A task is here from its submission until it is released; one that succeeded is in the table of
commits for good, whose row was written with the task's rows.
"""

import threading

from gateway.seams import TaskFailure, TaskState


class Tasks:
    """States and failures by task id. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, TaskState] = {}
        self._failures: dict[str, TaskFailure] = {}

    def start(self, task_id: str) -> bool:
        """Note a new task as running; false if the id is known."""
        with self._lock:
            if task_id in self._states:
                return False
            self._states[task_id] = TaskState.RUNNING
            return True

    def succeed(self, task_id: str) -> None:
        """The task's rows are committed."""
        with self._lock:
            self._states[task_id] = TaskState.SUCCESS

    def fail(self, task_id: str, failure: TaskFailure) -> None:
        """Nothing of the task is stored."""
        with self._lock:
            self._states[task_id] = TaskState.FAILED
            self._failures[task_id] = failure

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

    def running(self) -> int:
        """How many tasks run or wait to."""
        with self._lock:
            return sum(state is TaskState.RUNNING for state in self._states.values())
