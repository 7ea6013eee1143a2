"""One batch on its way: for each state of `batches` one action, whose outcome is the next input.

What is on disk before an action: the batch id and its attempt, before the first submission of
either. After a restart a batch that is not final is asked for by its id before anything is sent.

Laws:
1. At most one live attempt; one that is known to have FAILED is verified by counting its rows.
2. A row that is at fault is cut out on disk together with the number of the next attempt.
"""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from gateway.ingest.batches import FINAL, BatchInput, BatchState, transition
from gateway.ingest.content import BatchContent
from gateway.ingest.cutting import Cutter
from gateway.ingest.entries import BatchRecord, DeadLetter, QueueRecord
from gateway.ingest.parts import CommitterParts
from gateway.ingest.reader import SpoolReader
from gateway.ingest.records import persist
from gateway.ingest.task_reports import TaskChange
from gateway.seams import (
    Submission,
    SubmissionRefused,
    TaskFailure,
    TaskState,
    WarehouseUnreachable,
)

_log = structlog.get_logger("headrace.committer")

_S, _I = BatchState, BatchInput
_OF_TASK = {
    TaskState.RUNNING: _I.IS_RUNNING,
    TaskState.SUCCESS: _I.SUCCESS,
    TaskState.FAILED: _I.FAILURE,
}

ATTEMPTS_TO_ALERT = 5
"""Failed attempts after which each further one is told as an error."""


@dataclass(slots=True)
class Live:
    """A batch on its way."""

    batch: BatchRecord
    queue: QueueRecord
    resumed: bool = False
    letters: list[DeadLetter] = field(default_factory=list)
    failure: TaskFailure | None = None
    retries: int = 0
    cut: bool = False
    verdict: asyncio.Future[BatchInput] | None = None
    failed_known: bool = False
    has_slot: bool = False
    """whether the next submission has its slot already"""
    halves: list[str] = field(default_factory=list)
    """ids of the batches that it was cut into"""
    since: float = 0.0
    """loop time at which it was taken up"""

    def take_slot(self) -> None:
        """The next submission has its slot."""
        self.has_slot = True

    @property
    def names(self) -> dict[str, str]:
        """What a line of the log calls it by."""
        return {
            "batch_id": self.batch.id,
            "task_id": self.batch.task_id,
            "stream": self.queue.source,
        }

    @property
    def change(self) -> TaskChange:
        """The state that it is in, for who listens."""
        return TaskChange(
            batch=self.batch,
            target=self.queue.source,
            rows=self.batch.rows - len(self.letters),
            failure=self.failure,
            task_failed=self.failed_known,
            since=self.since,
        )

    def content(self, reader: SpoolReader) -> BatchContent:
        """The bytes that the current attempt sends."""
        return BatchContent(reader, self.batch, self.letters)


class BatchCarrier:
    """Carries batches to a final state."""

    def __init__(self, parts: CommitterParts) -> None:
        self._parts = parts
        self._warehouse = parts.warehouse
        self._cutter = Cutter(parts)
        self._actions: Mapping[BatchState, Callable[[Live], Awaitable[BatchInput]]] = {
            _S.SEALED: self._start,
            _S.SUBMITTING: self._submit,
            _S.RUNNING: self._watch,
            _S.ASKING: self._ask,
            _S.VERIFYING: self._verify,
            _S.CUTTING: self._cut,
            _S.WAITING: self._wait,
        }

    async def carry(self, live: Live) -> None:
        """Act and move until the batch is final."""
        while live.batch.state not in FINAL:
            happened = await self._actions[live.batch.state](live)
            state = transition(live.batch.state, happened)
            _log.debug(
                "a batch has moved",
                batch_id=live.batch.id,
                task_id=live.batch.task_id,
                stream=live.queue.source,
                was=live.batch.state,
                state=state,
            )
            live.batch = replace(live.batch, state=state)
            if state not in FINAL:
                self._parts.changed(live.change)

    async def release(self, task_id: str) -> None:
        """What the warehouse keeps for a task that is over may go."""
        try:
            await self._warehouse.release(task_id)
        except WarehouseUnreachable:
            _log.debug("a release was lost", task_id=task_id)

    @staticmethod
    def tell(live: Live, state: TaskState | None) -> None:
        """Somebody has looked at the task of a RUNNING batch; None: the warehouse has no such."""
        if state is TaskState.RUNNING or live.verdict is None or live.verdict.done():
            return
        live.verdict.set_result(_I.UNKNOWN if state is None else _OF_TASK[state])

    # ── the actions ──

    async def _start(self, live: Live) -> BatchInput:
        resumed, live.resumed = live.resumed, False
        if resumed:
            self._warehouse.resumed(self._submission(live))
        return _I.RESUME if resumed else _I.SUBMIT

    async def _submit(self, live: Live) -> BatchInput:
        if not live.has_slot:
            await self._parts.turns.wait(live.take_slot)
        try:
            return await self._send(live)
        finally:
            live.has_slot = False

    async def _send(self, live: Live) -> BatchInput:
        try:
            await self._warehouse.submit(self._submission(live))
        except WarehouseUnreachable as lost:
            # Counting may succeed where submitting is forbidden: who looks at the batch sees why.
            live.batch = replace(live.batch, error=str(lost))
            _log.warning("no reply to a submission", **live.names, error=str(lost))
            return _I.NO_ANSWER
        except sqlite3.OperationalError as failed:
            _log.error("rows of a batch cannot be read", **live.names, error=str(failed))
            return _I.NO_ANSWER
        except sqlite3.DatabaseError as damaged:
            live.failure = TaskFailure(code="SpoolDamaged", message=str(damaged))
            return _I.DAMAGED
        except SubmissionRefused as refused:
            live.failure = TaskFailure(code="SubmissionRefused", message=str(refused))
            return _I.REFUSED
        return _I.TAKEN

    def _submission(self, live: Live) -> Submission:
        content = live.content(self._parts.reader)
        return Submission(
            batch_id=live.batch.id,
            task_id=live.batch.task_id,
            spec=live.queue.spec,
            rows=content.rows,
            content=content,
        )

    async def _watch(self, live: Live) -> BatchInput:
        live.verdict = asyncio.get_running_loop().create_future()
        happened = await live.verdict
        live.verdict = None
        live.failed_known = happened is _I.FAILURE
        return happened

    async def _ask(self, live: Live) -> BatchInput:
        await self._back_off(live)
        task_id = live.batch.task_id
        try:
            state = (await self._warehouse.statuses([task_id])).get(task_id)
        except WarehouseUnreachable:
            return _I.NO_ANSWER
        live.failed_known = state is TaskState.FAILED
        return _I.UNKNOWN if state is None else _OF_TASK[state]

    async def _verify(self, live: Live) -> BatchInput:
        expected = live.content(self._parts.reader).rows
        try:
            if live.failed_known:
                live.failure = await self._warehouse.failure(live.batch.task_id)
            count = await self._warehouse.count(live.queue.spec.datasource, live.batch.id)
        except WarehouseUnreachable:
            await self._back_off(live)
            return _I.NO_ANSWER
        if count == expected:
            return _I.ALL_THERE
        if count:
            text = f"{count} of {expected} rows are in the warehouse"
            live.failure = TaskFailure(code="CountDiffers", message=text)
            return _I.OTHER_COUNT
        if not live.failed_known:
            return _I.NONE_OF_UNKNOWN
        assert live.failure is not None
        return _I.ROW_AT_FAULT if live.failure.data_error else _I.NONE_OF_FAILED

    async def _cut(self, live: Live) -> BatchInput:
        """Take the row that failed the task out, or halve the batch, so that others can commit."""
        assert live.failure is not None
        try:
            return await self._cut_or_halve(live, live.failure)
        except sqlite3.DatabaseError as damaged:
            live.failure = TaskFailure(code="SpoolDamaged", message=str(damaged))
            return _I.NOT_FOUND

    async def _cut_or_halve(self, live: Live, failure: TaskFailure) -> BatchInput:
        content = live.content(self._parts.reader)
        if failure.line is None and content.rows > 1:
            halves = await self._cutter.halve(live.batch, content)
            if isinstance(halves, str):
                live.failure = replace(failure, message=f"{failure.message} ({halves})")
                return _I.NOT_FOUND
            live.halves = halves
            return _I.NO_LINE
        letter = await self._cutter.cut_out(live.batch, content, failure)
        if letter is None:
            return _I.NOT_FOUND
        failed_task = live.batch.task_id
        live.batch = replace(live.batch, attempt=live.batch.attempt + 1)
        live.letters.append(letter)
        await self.release(failed_task)
        live.cut = True
        return _I.CUT if content.rows > 1 else _I.NOTHING_LEFT

    async def _wait(self, live: Live) -> BatchInput:
        """Between attempts. The next attempt's number is on disk before it is submitted."""
        if live.cut:
            live.cut = False
            return _I.DUE
        failed_task = live.batch.task_id
        why = live.failure.message if live.failure else None
        live.batch = replace(live.batch, error=why)
        if live.batch.attempt >= ATTEMPTS_TO_ALERT:
            _log.error("a batch fails again", **live.names, error=why)
        await self.release(failed_task)
        await self._back_off(live)
        batch = live.batch = replace(live.batch, attempt=live.batch.attempt + 1)
        await persist(
            self._parts.writer,
            lambda spool: spool.move(batch.number, _S.SEALED, batch.attempt, why),
            self._parts.times.retry_s,
        )
        return _I.DUE

    async def _back_off(self, live: Live) -> None:
        """Wait longer each time, with jitter so that batches do not come back together."""
        times = self._parts.times
        delay_s = min(times.retry_max_s, times.retry_s * 2**live.retries)
        live.retries = min(live.retries + 1, 30)
        if self._warehouse.lost_since is not None:
            delay_s = min(delay_s, times.away_s)
        await self._warehouse.wait(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
