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
import time
from collections.abc import Callable

import structlog

from gateway.ingest.batches import BatchState
from gateway.ingest.carrier import BatchCarrier, CommitterTimes, Live
from gateway.ingest.policy import BatchPolicy, Range
from gateway.ingest.receipts import Receipts
from gateway.ingest.records import persist
from gateway.ingest.settler import Committed, Settler
from gateway.ingest.spool import BatchRecord, ChunkRecord, QueueRecord, SpoolReader
from gateway.ingest.writer import SpoolWriter
from gateway.seams import Warehouse, WarehouseUnreachable

__all__ = ["Committed", "Committer", "CommitterTimes"]

_log = structlog.get_logger("headrace.committer")

_S = BatchState


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
        self._policy = policy
        self._times = times
        self._carrier = BatchCarrier(warehouse, writer, reader, receipts, times)
        self._settler = Settler(
            warehouse=warehouse,
            writer=writer,
            reader=reader,
            receipts=receipts,
            times=times,
            committed=committed,
        )
        self._queues: dict[int, QueueRecord] = {}
        self._live: dict[int, Live] = {}
        self._early: list[ChunkRecord] | None = []
        self._sealing = 0
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def live(self) -> list[BatchRecord]:
        """Batches that are sealed and not final."""
        return [live.batch for live in self._live.values()]

    @property
    def held(self) -> list[BatchRecord]:
        """Batches that wait for the operator."""
        return list(self._settler.held.values())

    @property
    def idle(self) -> bool:
        """Whether every spooled row is in a batch that is final or held."""
        return not self._live and not self._policy.rows and not self._sealing

    def chunk_added(self, chunk: ChunkRecord) -> None:
        """Rows were spooled."""
        if self._early is not None:
            # The spool is being looked through, and may show this chunk or not.
            self._early.append(chunk)
            return
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
                self._settler.held[batch.number] = batch
                continue
            live = Live(batch, self._queues[batch.queue], resumed=True)
            live.letters = await asyncio.to_thread(self._reader.dead_letters, batch.number)
            self._live[batch.number] = live
        for batch in await asyncio.to_thread(self._reader.refused):
            self._settler.held[batch.number] = batch
        found = await asyncio.to_thread(self._reader.unsealed)
        early, self._early = self._early or [], None
        known = {chunk.id for chunk in found}
        now = time.monotonic()
        for chunk in (*found, *(chunk for chunk in early if chunk.id not in known)):
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
                    self._sealing += 1
                    await self._seal(self._policy.take(queue))
                    self._sealing -= 1
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
        batch_id = await persist(
            self._writer,
            lambda spool: spool.seal(chunks, queue.id, sealed.rows, sealed.size_bytes, now_ms),
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
        )
        live = self._live[batch.number] = Live(batch, queue)
        assert self._tasks is not None
        self._tasks.create_task(self._carry(live))

    async def _queue(self, number: int) -> QueueRecord:
        if number not in self._queues:
            found = await asyncio.to_thread(self._reader.queues)
            self._queues.update((queue.id, queue) for queue in found)
        return self._queues[number]

    # ── carrying ──

    async def _carry(self, live: Live) -> None:
        """Carry a batch to its end, whatever it takes."""
        await self._carrier.carry(live)
        assert self._tasks is not None
        await self._settler.finish(live, self._tasks)
        del self._live[live.batch.number]
        self._wake.set()
        await self._carrier.release(live.batch.task_id)

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
                self._carrier.tell(live, states.get(task_id))
