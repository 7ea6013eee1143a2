"""Task reports: each change of a batch's state, and of its task's progress, as a row of `TaskLog`.

The committer tells its states. How far tasks have come is asked of the warehouse, in one call for
all of them: of those that run only while somebody listens, and once of each that is over. Rows of
a batch that follow the end of a task wait for its report, for a while; other batches' do not.

Must never know: what a stage is. Law: rows of one batch are in the order of its states.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from gateway.clock import now_ms
from gateway.ingest.batches import FINAL, BatchState
from gateway.ingest.entries import BatchRecord
from gateway.ingest.task_log import CHANGED_AT, TaskLog
from gateway.seams import TaskFailure, TaskProgress, TellsProgress, WarehouseUnreachable

REPORT_WAIT_S = 5.0
"""How long the row of a task that is over waits for its report."""
WAITING_MAX = 256
"""Batches whose rows may wait at once: those beyond are told without a report."""

_S = BatchState
_WITH_ERROR = frozenset({_S.CUTTING, _S.WAITING, _S.HELD, _S.FAILED, _S.SPLIT, _S.DROPPED})
_UNTOLD = TaskProgress()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """A batch that has come into its state.

    ``rows`` are those of its current attempt; ``task_failed``: that attempt's task is known to
    have failed. ``since``: the loop's time at which its oldest row came, as far as is known.
    """

    batch: BatchRecord
    target: str
    rows: int
    failure: TaskFailure | None = None
    task_failed: bool = False
    since: float = 0.0
    at_ms: int = field(default_factory=now_ms)

    @property
    def is_of_ended_task(self) -> bool:
        """Whether the task has come to its end with this."""
        state = self.batch.state
        return state is _S.COMMITTED or (state is _S.VERIFYING and self.task_failed)


@dataclass(slots=True)
class _Life:
    """What was told of a batch. ``waiting``: changes behind the end of a task, until ``until``."""

    told: TaskChange | None = None
    progress: TaskProgress = _UNTOLD
    waiting: deque[TaskChange] = field(default_factory=deque)
    until: float = 0.0


class TaskReports:
    """Writes the rows. ``poll_s`` between two looks at tasks that run."""

    def __init__(
        self,
        log: TaskLog,
        warehouse: TellsProgress | None,
        poll_s: float,
        report_wait_s: float = REPORT_WAIT_S,
    ) -> None:
        self._log = log
        self._warehouse = warehouse
        self._poll_s = poll_s
        self._report_wait_s = report_wait_s
        self._lives: dict[int, _Life] = {}
        self._wake = asyncio.Event()
        log.on_listener = self._wake.set

    def changed(self, change: TaskChange) -> None:
        """A batch has come into a state."""
        life = self._lives.setdefault(change.batch.number, _Life())
        if life.waiting:
            life.waiting.append(change)
        elif change.is_of_ended_task and self._can_wait(life, change):
            life.waiting.append(change)
            life.until = asyncio.get_running_loop().time() + self._report_wait_s
            self._wake.set()
        else:
            self._tell(life, change)
            if change.batch.state is _S.RUNNING:
                self._wake.set()

    async def run(self) -> None:
        """Ask how tasks go, until cancelled."""
        while True:
            self._wake.clear()
            asked = self._asked()
            if not asked:
                await self._wake.wait()
                continue
            found = await self._progress(list(asked))
            for task_id, life in asked.items():
                self._learn(life, task_id, found.get(task_id))
            await self._pause()

    # ── asking ──

    def _asked(self) -> dict[str, _Life]:
        """Tasks to ask for: those that are over, and those that run if somebody listens."""
        listened = self._log.is_listened_to
        asked: dict[str, _Life] = {}
        for life in self._lives.values():
            if life.waiting:
                asked[life.waiting[0].batch.task_id] = life
            elif listened and life.told and life.told.batch.state is _S.RUNNING:
                asked[life.told.batch.task_id] = life
        return asked

    async def _progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        assert self._warehouse is not None
        with contextlib.suppress(WarehouseUnreachable, TimeoutError):
            async with asyncio.timeout(self._report_wait_s):
                return await self._warehouse.task_progress(task_ids)
        return {}

    async def _pause(self) -> None:
        """Until the next look: at once where a task has ended meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._wake.wait()

    def _can_wait(self, life: _Life, change: TaskChange) -> bool:
        """Whether a report is still to come, and there is room to wait for it."""
        if self._warehouse is None:
            return False
        known = life.told is not None and life.told.batch.task_id == change.batch.task_id
        if known and life.progress.is_over:
            return False
        return sum(bool(one.waiting) for one in self._lives.values()) < WAITING_MAX

    def _learn(self, life: _Life, task_id: str, found: TaskProgress | None) -> None:
        """A task's progress came, or none did."""
        if life.waiting and life.waiting[0].batch.task_id == task_id:
            late = asyncio.get_running_loop().time() >= life.until
            if late or (found is not None and found.is_over):
                self._tell_waiting(life, found)
        elif found is not None and life.told and life.told.batch.task_id == task_id:
            self._tell_progress(life, life.told, found)

    # ── telling ──

    def _tell_waiting(self, life: _Life, found: TaskProgress | None) -> None:
        first = life.waiting.popleft()
        self._tell(life, first, found)
        while life.waiting:
            following = life.waiting.popleft()
            if following.is_of_ended_task and self._can_wait(life, following):
                life.waiting.appendleft(following)
                life.until = asyncio.get_running_loop().time() + self._report_wait_s
                return
            self._tell(life, following)

    def _tell_progress(self, life: _Life, told: TaskChange, found: TaskProgress) -> None:
        """A row for a task that runs, if more than the time has changed."""
        if told.batch.state is not _S.RUNNING:
            return
        if replace(found, duration_ms=None) != replace(life.progress, duration_ms=None):
            at_ms = now_ms()
            self._tell(life, replace(told, at_ms=at_ms), found)

    def _tell(self, life: _Life, change: TaskChange, found: TaskProgress | None = None) -> None:
        if life.told is None or life.told.batch.task_id != change.batch.task_id:
            life.progress = _UNTOLD
        life.progress = found or life.progress
        life.told = change
        self._log.append(_row(change, life.progress))
        if change.batch.state in FINAL:
            self._lives.pop(change.batch.number, None)


def _row(change: TaskChange, progress: TaskProgress) -> dict[str, object]:
    batch, failure = change.batch, change.failure
    # A batch that is committed has all its rows there, whoever counted them.
    rows = change.rows if batch.state is _S.COMMITTED else None
    has_error = batch.state in _WITH_ERROR
    return {
        "BATCH": batch.id,
        "ATTEMPT": batch.attempt,
        "TARGET": change.target,
        "TASK_ID": batch.task_id,
        "STATE": batch.state.value,
        "STAGE": progress.stage,
        "WORKERS": progress.workers,
        "ROWS_IN": rows if progress.rows_in is None else progress.rows_in,
        "ROWS_OUT": rows if progress.rows_out is None else progress.rows_out,
        "BYTES": batch.size_bytes,
        "SEGMENTS": progress.segments,
        "DURATION_MS": progress.duration_ms,
        "ERROR_CODE": failure.code if has_error and failure else None,
        "ERROR_MESSAGE": (failure.message if failure else batch.error) if has_error else None,
        CHANGED_AT: change.at_ms,
    }
