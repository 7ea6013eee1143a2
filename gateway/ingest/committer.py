"""The committer: seals what is due, carries every batch to its end, and looks at running tasks.

`carrier` knows the life of one batch, `settler` its end; this has all of them: which may start,
which run, what the last process left.

Laws:
1. Never more batches start than the warehouse has slots for; what waits gathers into the next.
2. Every spooled chunk is sealed once: those of the last process, those that came while it was
   being taken up, those that come now.
3. One question for all running tasks, however many there are.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from gateway.clock import now_ms
from gateway.ingest.batches import FINAL, BatchState
from gateway.ingest.carrier import BatchCarrier, Live
from gateway.ingest.entries import BatchRecord, ChunkRecord, QueueRecord
from gateway.ingest.parts import CommitterParts
from gateway.ingest.policy import BatchLimits, BatchPolicy, Range
from gateway.ingest.records import look, persist
from gateway.ingest.settler import Committed, Settler
from gateway.seams import WarehouseUnreachable

_log = structlog.get_logger("headrace.committer")

_S = BatchState

T = TypeVar("T")


class Committer:
    """Seals what is due, carries every batch to a final state, settles its receipts."""

    def __init__(
        self, parts: CommitterParts, policy: BatchPolicy, committed: Callable[[Committed], None]
    ) -> None:
        self._parts = parts
        self._warehouse = parts.warehouse
        self._writer = parts.writer
        self._reader = parts.reader
        self._policy = policy
        self._times = parts.times
        self._carrier = BatchCarrier(parts)
        self._settler = Settler(parts, committed)
        self._queues: dict[int, QueueRecord] = {}
        self._live: dict[int, Live] = {}
        self._ready: deque[Live] = deque()
        self._early: list[ChunkRecord] | None = []
        self._recovered_to = 0
        self._sealing = 0
        self._wake = asyncio.Event()
        parts.turns.on_wanted = self._wake.set
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def live(self) -> list[BatchRecord]:
        """Batches that are sealed and not final."""
        return [live.batch for live in (*self._live.values(), *self._ready)]

    @property
    def held(self) -> list[BatchRecord]:
        """Batches that wait for the operator."""
        return list(self._settler.held.values())

    @property
    def unsealed_rows(self) -> int:
        """Rows in no batch yet."""
        return self._policy.rows

    @property
    def waiting(self) -> int:
        """Batches that wait for a slot."""
        return len(self._ready) + len(self._parts.turns)

    @property
    def idle(self) -> bool:
        """Whether every spooled row is in a batch that is final or held."""
        return not (self._live or self._ready or self._policy.rows or self._sealing)

    @property
    def backlog_age_s(self) -> float:
        """How long the oldest row has waited that is in no final batch, as far as is known."""
        oldest = self._policy.oldest_at()
        # A batch that is final holds nobody back, though its last word is still being said.
        unfinished = (live for live in self._live.values() if live.batch.state not in FINAL)
        waiting = [live.since for live in (*unfinished, *self._ready)]
        waiting += [] if oldest is None else [oldest]
        return asyncio.get_running_loop().time() - min(waiting) if waiting else 0.0

    def chunk_added(self, chunk: ChunkRecord) -> None:
        """Rows were spooled."""
        if self._early is not None:
            # The spool is being looked through, and may show this chunk or not.
            self._early.append(chunk)
            return
        if chunk.id <= self._recovered_to:
            return  # It was found on disk before its writer told of it.
        self._policy.add(chunk, asyncio.get_running_loop().time())
        self._wake.set()

    def hurry(self) -> None:
        """The gateway is about to stop: rows become batches without waiting for more."""
        self._policy.hurry()
        self._wake.set()

    def relimit(self, limits: BatchLimits) -> None:
        """Other limits of a batch from now on; what is sealed stays as it is."""
        self._policy.relimit(limits)
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

    async def _look(self, read: Callable[[], T]) -> T:
        return await look(read, self._times.retry_s)

    # ── sealing ──

    async def _recover(self) -> None:
        for queue in await self._look(self._reader.queues):
            self._queues[queue.id] = queue
        for batch in await self._look(self._reader.unfinished):
            if batch.state is _S.HELD:
                self._settler.held[batch.number] = batch
                continue
            live = self._live[batch.number] = await self._taken_up(batch, resumed=True)
            self._parts.changed(live.change)
        for batch in await self._look(self._reader.refused):
            self._settler.held[batch.number] = batch
        for batch in self._settler.held.values():
            self._parts.changed(Live(batch, self._queues[batch.queue]).change)
        found = await self._look(self._reader.unsealed)
        early, self._early = self._early or [], None
        # Ids grow with the order of writing: whatever was on disk by then is in what was found.
        self._recovered_to = max((chunk.id for chunk in found), default=0)
        now = asyncio.get_running_loop().time()
        for chunk in (*found, *(chunk for chunk in early if chunk.id > self._recovered_to)):
            self._policy.add(chunk, now)

    async def _conduct(self) -> None:
        """Seal what is due while the warehouse has room; sleep until something changes."""
        while True:
            self._wake.clear()
            due = self._policy.due(asyncio.get_running_loop().time())
            pause_s = self._until_due()
            wanted = len(due) + len(self._ready) + len(self._parts.turns)
            if wanted or self._warehouse.tasks_lost_since is not None:
                room = await self._room()
                started = self._parts.turns.give(room)
                started += self._start_ready(room - started)
                for queue in due[: room - started]:
                    self._sealing += 1
                    await self._seal(self._policy.take(queue))
                    self._sealing -= 1
                if room >= wanted and self._policy.due(asyncio.get_running_loop().time()):
                    continue
                if room < wanted:
                    pause_s = self._times.poll_s
            await self._sleep(pause_s)

    def _start_ready(self, room: int) -> int:
        """Start batches that were sealed before and wait for a slot; returns how many."""
        started = 0
        while self._ready and started < room:
            self._set_off(self._ready.popleft())
            started += 1
        return started

    def _set_off(self, live: Live) -> None:
        assert self._tasks is not None
        live.has_slot = True
        self._live[live.batch.number] = live
        self._tasks.create_task(self._carry(live))

    async def _sleep(self, pause_s: float | None) -> None:
        if self._warehouse.tasks_lost_since is not None:
            # Whatever is due waits for the warehouse, which somebody has to look for.
            await self._warehouse.wait(self._away_s())
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()

    def _away_s(self) -> float:
        """Until the next look for a warehouse that is away: the longer the longer it is."""
        lost_since = self._warehouse.tasks_lost_since
        gone_s = 0.0 if lost_since is None else asyncio.get_running_loop().time() - lost_since
        pause_s = min(self._times.away_s, max(self._times.poll_s, gone_s / 2))
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def _until_due(self) -> float | None:
        due_at = self._policy.due_at()
        return None if due_at is None else max(0.0, due_at - asyncio.get_running_loop().time())

    async def _room(self) -> int:
        """How many batches may be sealed now; those on their way to a slot count as started."""
        # A batch that set off while the warehouse was asked may be in its answer, or not.
        before = self._starting()
        try:
            free = await self._warehouse.free_batches()
        except WarehouseUnreachable:
            return 0
        return max(0, free - len(before | self._starting()))

    def _starting(self) -> set[int]:
        """Batches that take a slot and may not be seen to; of one asked for nobody knows."""
        return {
            number
            for number, live in self._live.items()
            if live.has_slot or live.resumed or live.batch.state is _S.ASKING
        }

    async def _seal(self, sealed: Range) -> None:
        queue = await self._queue(sealed.queue)
        chunks = (sealed.first_chunk, sealed.last_chunk)
        at_ms = now_ms()
        batch_id = await persist(
            self._writer,
            lambda spool: spool.seal(chunks, queue.id, sealed.rows, sealed.size_bytes, at_ms),
            self._times.retry_s,
        )
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
            sealed_ms=at_ms,
        )
        live = Live(batch, queue, since=sealed.oldest_at)
        self._parts.changed(live.change)
        self._set_off(live)

    async def _taken_up(self, batch: BatchRecord, *, resumed: bool = False) -> Live:
        """A batch that is on disk already."""
        live = Live(batch, await self._queue(batch.queue), resumed=resumed)
        live.letters = await self._look(lambda: self._reader.dead_letters(batch.number))
        live.since = asyncio.get_running_loop().time()
        return live

    async def _queue(self, number: int) -> QueueRecord:
        if number not in self._queues:
            found = await self._look(self._reader.queues)
            self._queues.update((queue.id, queue) for queue in found)
        return self._queues[number]

    # ── carrying ──

    async def _carry(self, live: Live) -> None:
        """Carry a batch to its end, whatever it takes."""
        await self._carrier.carry(live)
        assert self._tasks is not None
        if live.batch.state is _S.SPLIT:
            await self._go_on_with_halves(live)
        else:
            await self._settler.finish(live, self._tasks)
        del self._live[live.batch.number]
        self._wake.set()
        await self._carrier.release(live.batch.task_id)

    async def _go_on_with_halves(self, live: Live) -> None:
        self._parts.changed(live.change)
        for batch_id in live.halves:
            batch = await self._look(partial(self._reader.batch, batch_id))
            assert batch is not None
            half = await self._taken_up(batch)
            half.since = live.since
            self._parts.changed(half.change)
            self._ready.append(half)

    # ── the operator's say ──

    async def retry(self, batch: BatchRecord) -> None:
        """Try a batch again that is HELD or FAILED, as its next attempt."""
        again = replace(batch, state=_S.SEALED, attempt=batch.attempt + 1)
        await persist(
            self._writer,
            lambda spool: spool.move(again.number, _S.SEALED, again.attempt, again.error),
            self._times.retry_s,
        )
        live = await self._taken_up(again)
        self._parts.changed(live.change)
        del self._settler.held[batch.number]
        self._ready.append(live)
        self._wake.set()

    async def accept(self, batch: BatchRecord) -> None:
        """Take a batch for committed that is HELD or FAILED."""
        assert self._tasks is not None
        await self._settler.commit(await self._taken_up(batch), self._tasks)
        del self._settler.held[batch.number]

    def dropped(self, batch: BatchRecord) -> None:
        """A batch that was HELD or FAILED was given up on disk."""
        del self._settler.held[batch.number]
        gone = replace(batch, state=_S.DROPPED)
        self._parts.changed(Live(gone, self._queues[batch.queue]).change)
        self._settler.fail_all(batch, f"Batch {batch.id} was given up by the operator")

    async def _poll(self) -> None:
        """One call for all running tasks."""
        while True:
            lost = self._warehouse.tasks_lost_since is not None
            await self._warehouse.wait(self._away_s() if lost else self._times.poll_s)
            watched = {
                live.batch.task_id: live
                for live in self._live.values()
                if live.verdict is not None and not live.verdict.done()
            }
            if not watched:
                if lost:
                    # Batches that back off wait for its answer: it must be asked for one.
                    await self._room()
                continue
            try:
                states = await self._warehouse.statuses(list(watched))
            except WarehouseUnreachable:
                continue
            for task_id, live in watched.items():
                self._carrier.tell(live, states.get(task_id))
