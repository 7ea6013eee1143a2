"""The committer: sealed batches to the warehouse, exactly once, and their receipts settled.

It follows the table of `batches`: for each state one action, whose outcome is the next input. What
is on disk before an action: the batch id and its attempt, before the first submission of either.
After a restart a batch that is not final is therefore asked for by its id before anything is sent.

Laws:
1. At most one live attempt per batch; a FAILED one is verified by counting its rows first.
2. A receipt is settled only once its batch is final on disk.
3. Never more batches start than the warehouse has slots for; what waits gathers into the next.
4. No batch is given up silently: what cannot go on is HELD, its streams are told, and it is listed.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from gateway.ingest.batches import FINAL, BatchInput, BatchState, transition
from gateway.ingest.content import BatchContent
from gateway.ingest.policy import BatchPolicy, Range
from gateway.ingest.receipts import Receipt, Receipts
from gateway.ingest.spool import (
    BatchRecord,
    ChunkRecord,
    DeadLetter,
    QueueRecord,
    SpoolFile,
    SpoolReader,
)
from gateway.ingest.writer import SpoolFailed, SpoolWriter
from gateway.seams import (
    AckLevel,
    Submission,
    SubmissionRefused,
    TaskFailure,
    TaskState,
    Warehouse,
    WarehouseUnreachable,
)
from protocol.errors import RowRejected

_log = structlog.get_logger("headrace.committer")

T = TypeVar("T")

_S, _I = BatchState, BatchInput
_OF_TASK = {
    TaskState.RUNNING: _I.IS_RUNNING,
    TaskState.SUCCESS: _I.SUCCESS,
    TaskState.FAILED: _I.FAILURE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitterTimes:
    """``poll_s`` between two looks at running tasks; back-off from ``retry_s`` to its cap."""

    poll_s: float
    retry_s: float
    retry_max_s: float
    queryable_max_s: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A batch that is committed; ``commit_seq`` is its position in the log."""

    batch: BatchRecord
    queue: QueueRecord


@dataclass(slots=True)
class _Live:
    """A batch on its way."""

    batch: BatchRecord
    queue: QueueRecord
    resumed: bool = False
    attempts_failed: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    failure: TaskFailure | None = None
    retries: int = 0
    verdict: asyncio.Future[BatchInput] | None = None
    failed_known: bool = False

    def content(self, reader: SpoolReader) -> BatchContent:
        return BatchContent(reader, self.batch, self.letters)


class Committer:
    """Seals what is due, carries every batch to a final state, settles its receipts."""

    def __init__(
        self,
        *,
        warehouse: Warehouse,
        writer: SpoolWriter,
        reader: SpoolReader,
        receipts: Receipts,
        policy: BatchPolicy,
        times: CommitterTimes,
        committed: Callable[[Committed], None],
    ) -> None:
        self._warehouse = warehouse
        self._writer = writer
        self._reader = reader
        self._receipts = receipts
        self._policy = policy
        self._times = times
        self._committed = committed
        self._queues: dict[int, QueueRecord] = {}
        self._live: dict[int, _Live] = {}
        self._held: dict[int, BatchRecord] = {}
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._actions: Mapping[BatchState, Callable[[_Live], Awaitable[BatchInput]]] = {
            _S.SEALED: self._start,
            _S.SUBMITTING: self._submit,
            _S.RUNNING: self._watch,
            _S.ASKING: self._ask,
            _S.VERIFYING: self._verify,
            _S.CUTTING: self._cut,
            _S.WAITING: self._wait,
        }

    @property
    def live(self) -> list[BatchRecord]:
        """Batches that are sealed and not final."""
        return [live.batch for live in self._live.values()]

    @property
    def held(self) -> list[BatchRecord]:
        """Batches that wait for the operator."""
        return list(self._held.values())

    @property
    def idle(self) -> bool:
        """Whether every spooled row is in a batch that is final or held."""
        return not self._live and not self._policy.rows

    def chunk_added(self, chunk: ChunkRecord) -> None:
        """Rows were spooled."""
        self._policy.add(chunk, time.monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Take up what the last run left, then go on until cancelled."""
        await self._recover()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for live in self._live.values():
                tasks.create_task(self._carry(live))
            tasks.create_task(self._poll())
            await self._conduct()

    # ── sealing ──

    async def _recover(self) -> None:
        for queue in await asyncio.to_thread(self._reader.queues):
            self._queues[queue.id] = queue
        for batch in await asyncio.to_thread(self._reader.unfinished):
            if batch.state is _S.HELD:
                self._held[batch.number] = batch
                continue
            live = _Live(batch, self._queues[batch.queue], resumed=True)
            live.letters = await asyncio.to_thread(self._reader.dead_letters, batch.number)
            self._live[batch.number] = live
        now = time.monotonic()
        for chunk in await asyncio.to_thread(self._reader.unsealed):
            self._policy.add(chunk, now)

    async def _conduct(self) -> None:
        """Seal what is due while the warehouse has room; sleep until something changes."""
        while True:
            self._wake.clear()
            due = self._policy.due(time.monotonic())
            pause_s = self._until_due()
            if due:
                room = await self._room()
                for queue in due[:room]:
                    await self._seal(self._policy.take(queue))
                if room >= len(due) and self._policy.due(time.monotonic()):
                    continue
                if not room:
                    pause_s = self._times.poll_s
            await self._sleep(pause_s)

    async def _sleep(self, pause_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()

    def _until_due(self) -> float | None:
        due_at = self._policy.due_at()
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    async def _room(self) -> int:
        """How many batches may be sealed now; those on their way to a slot count as started."""
        try:
            free = await self._warehouse.free_batches()
        except WarehouseUnreachable:
            return 0
        starting = sum(
            live.batch.state in (_S.SEALED, _S.SUBMITTING, _S.WAITING)
            for live in self._live.values()
        )
        return max(0, free - starting)

    async def _seal(self, sealed: Range) -> None:
        queue = await self._queue(sealed.queue)
        chunks = (sealed.first_chunk, sealed.last_chunk)
        now_ms = int(time.time() * 1000)
        try:
            batch_id = await self._writer.record(
                lambda spool: spool.seal(chunks, queue.id, sealed.rows, sealed.size_bytes, now_ms)
            )
        except SpoolFailed as failed:
            _log.error("a batch could not be sealed", error=str(failed), rows=sealed.rows)
            self._fail_all(self._receipts.take(queue.id, *chunks), str(failed))
            return
        batch = BatchRecord(
            number=int(batch_id.rpartition("-")[2]),
            id=batch_id,
            queue=queue.id,
            first_chunk=sealed.first_chunk,
            last_chunk=sealed.last_chunk,
            rows=sealed.rows,
            size_bytes=sealed.size_bytes,
            state=_S.SEALED,
            attempt=1,
        )
        live = self._live[batch.number] = _Live(batch, queue)
        assert self._tasks is not None
        self._tasks.create_task(self._carry(live))

    async def _queue(self, number: int) -> QueueRecord:
        if number not in self._queues:
            found = await asyncio.to_thread(self._reader.queues)
            self._queues.update((queue.id, queue) for queue in found)
        return self._queues[number]

    # ── one batch ──

    async def _carry(self, live: _Live) -> None:
        """Act and move until the batch is final."""
        while live.batch.state not in FINAL:
            happened = await self._actions[live.batch.state](live)
            state = transition(live.batch.state, happened)
            _log.debug("batch", batch=live.batch.id, was=live.batch.state, now=state)
            live.batch = replace(live.batch, state=state)
        await self._finish(live)

    async def _start(self, live: _Live) -> BatchInput:
        resumed, live.resumed = live.resumed, False
        return _I.RESUME if resumed else _I.SUBMIT

    async def _submit(self, live: _Live) -> BatchInput:
        content = live.content(self._reader)
        submission = Submission(
            batch_id=live.batch.id,
            task_id=live.batch.task_id,
            spec=live.queue.spec,
            rows=content.rows,
            content=content,
        )
        try:
            await self._warehouse.submit(submission)
        except WarehouseUnreachable as lost:
            _log.warning("no reply to a submission", batch=live.batch.id, error=str(lost))
            return _I.NO_ANSWER
        except SubmissionRefused as refused:
            live.failure = TaskFailure(code="SubmissionRefused", message=str(refused))
            return _I.REFUSED
        return _I.TAKEN

    async def _watch(self, live: _Live) -> BatchInput:
        live.verdict = asyncio.get_running_loop().create_future()
        happened = await live.verdict
        live.verdict = None
        live.failed_known = happened is _I.FAILURE
        return happened

    async def _ask(self, live: _Live) -> BatchInput:
        await self._back_off(live)
        task_id = live.batch.task_id
        try:
            state = (await self._warehouse.statuses([task_id])).get(task_id)
        except WarehouseUnreachable:
            return _I.NO_ANSWER
        live.retries = 0
        live.failed_known = state is TaskState.FAILED
        return _I.UNKNOWN if state is None else _OF_TASK[state]

    async def _verify(self, live: _Live) -> BatchInput:
        expected = live.content(self._reader).rows
        try:
            if live.failed_known:
                live.failure = await self._warehouse.failure(live.batch.task_id)
            count = await self._warehouse.count(live.queue.spec.datasource, live.batch.id)
        except WarehouseUnreachable:
            await self._back_off(live)
            return _I.NO_ANSWER
        live.retries = 0
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

    async def _cut(self, live: _Live) -> BatchInput:
        """Take the row that failed the task out, so that the others can commit."""
        content, failure = live.content(self._reader), live.failure
        assert failure is not None
        line = content.sealed_line(failure.line) if failure.line else 0
        raw = await asyncio.to_thread(content.line, line) if line else None
        if raw is None:
            return _I.NOT_FOUND
        letter = DeadLetter(
            batch=live.batch.number,
            line=line,
            code=failure.code,
            message=failure.message,
            at_ms=int(time.time() * 1000),
            raw=raw,
        )
        await self._persist(lambda spool: spool.bury(letter))
        live.letters.append(letter)
        await self._refuse_row(live, letter)
        return _I.CUT if content.rows > 1 else _I.NOTHING_LEFT

    async def _refuse_row(self, live: _Live, letter: DeadLetter) -> None:
        chunks = await asyncio.to_thread(self._reader.chunks, live.batch)
        place = self._receipts.locate(chunks, letter.line)
        _log.warning("row to dead letters", batch=live.batch.id, line=letter.line)
        sink, seq = place or (None, 0)
        if sink is not None:
            sink.failed(seq, RowRejected(_row_text(letter), 50000))

    async def _wait(self, live: _Live) -> BatchInput:
        """Between attempts. The next attempt's number is on disk before it is submitted."""
        live.attempts_failed += 1
        if not live.letters:
            await self._back_off(live)
        live.batch = replace(live.batch, attempt=live.batch.attempt + 1)
        number, attempt = live.batch.number, live.batch.attempt
        error = live.failure.message if live.failure else None
        await self._persist(lambda spool: spool.move(number, _S.SEALED, attempt, error))
        return _I.DUE

    # ── the end of a batch ──

    async def _finish(self, live: _Live) -> None:
        batch, state = live.batch, live.batch.state
        error = live.failure.message if live.failure and state is not _S.COMMITTED else None
        now_ms = int(time.time() * 1000)
        if state is _S.HELD:
            number, attempt = batch.number, batch.attempt
            await self._persist(lambda spool: spool.move(number, state, attempt, error))
        else:
            commit_seq = await self._persist(
                lambda spool: spool.finish(batch.number, state, now_ms, error)
            )
            live.batch = replace(batch, commit_seq=commit_seq)
        receipts = self._receipts.take(batch.queue, batch.first_chunk, batch.last_chunk)
        if state is _S.COMMITTED:
            self._settle(live, receipts)
        else:
            _log.error("batch cannot go on", batch=batch.id, state=state, error=error)
            self._held[batch.number] = batch
            self._fail_all(receipts, f"Error in processing inserts. Batch {batch.id}: {error}")
        del self._live[batch.number]
        self._wake.set()
        await self._release(batch)

    def _settle(self, live: _Live, receipts: list[Receipt]) -> None:
        later: list[Receipt] = []
        for receipt in receipts:
            if receipt.level is AckLevel.QUERYABLE and receipt.sink is not None:
                later.append(receipt)
            else:
                receipt.settle()
        if later:
            assert self._tasks is not None
            self._tasks.create_task(self._settle_when_queryable(live, later))
        self._committed(Committed(batch=live.batch, queue=live.queue))

    async def _settle_when_queryable(self, live: _Live, receipts: list[Receipt]) -> None:
        rows = live.content(self._reader).rows
        deadline = time.monotonic() + self._times.queryable_max_s
        while time.monotonic() < deadline:
            if await self._is_queryable(live, rows):
                for receipt in receipts:
                    receipt.settle()
                return
            await asyncio.sleep(self._times.poll_s)
        message = f"Rows are committed (batch {live.batch.id}) but not queryable yet"
        self._fail_all(receipts, message)

    async def _is_queryable(self, live: _Live, rows: int) -> bool:
        try:
            return await self._warehouse.queryable(live.queue.spec.datasource, live.batch.id, rows)
        except WarehouseUnreachable:
            return False

    def _fail_all(self, receipts: list[Receipt], message: str) -> None:
        for receipt in receipts:
            if receipt.sink is not None:
                receipt.sink.failed(receipt.first_seq, RowRejected(message, 50000))

    async def _release(self, batch: BatchRecord) -> None:
        try:
            await self._warehouse.release(batch.task_id)
        except WarehouseUnreachable:
            _log.debug("release lost", batch=batch.id)

    async def _persist(self, apply: Callable[[SpoolFile], T]) -> T:
        """Record a change; nothing goes on without it, so it is tried until the disk takes it."""
        while True:
            try:
                return await self._writer.record(apply)
            except SpoolFailed as failed:
                _log.error("the spool cannot be written", error=str(failed))
                await asyncio.sleep(self._times.retry_s)

    # ── the poller ──

    async def _poll(self) -> None:
        """One call for all running tasks."""
        while True:
            await asyncio.sleep(self._times.poll_s)
            watched = {
                live.batch.task_id: live
                for live in self._live.values()
                if live.verdict is not None and not live.verdict.done()
            }
            if not watched:
                continue
            try:
                states = await self._warehouse.statuses(list(watched))
            except WarehouseUnreachable as lost:
                _log.warning("no answer about running tasks", error=str(lost))
                continue
            for task_id, live in watched.items():
                self._tell(live, states.get(task_id))

    @staticmethod
    def _tell(live: _Live, state: TaskState | None) -> None:
        if state is TaskState.RUNNING or live.verdict is None or live.verdict.done():
            return
        live.verdict.set_result(_I.UNKNOWN if state is None else _OF_TASK[state])

    async def _back_off(self, live: _Live) -> None:
        """Wait longer each time, with jitter so that batches do not come back together."""
        times = self._times
        delay_s = min(times.retry_max_s, times.retry_s * 2**live.retries)
        live.retries = min(live.retries + 1, 30)
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


def _row_text(letter: DeadLetter) -> str:
    return f"Error in processing inserts. {letter.code}: {letter.message}"
