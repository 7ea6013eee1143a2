"""The operator's door to batches that cannot go on. Implements `gateway.seams.Batches`.

Laws:
1. Nothing is given up silently. What the operator drops goes to the dead letters row by row.
2. A batch of which rows are in the warehouse, or may still come, is not tried again nor dropped.
"""

import asyncio

from gateway.clock import now_ms
from gateway.ingest.batches import BatchState
from gateway.ingest.committer import Committer
from gateway.ingest.content import BatchContent, place_of
from gateway.ingest.entries import BatchRecord, DeadLetter
from gateway.ingest.parts import CommitterParts
from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import LETTERS_FULL, SpoolFailed
from gateway.seams import BatchView, TaskState, WarehouseUnreachable
from protocol.errors import BadRequest, NotFound, SpoolAway, WarehouseAway

ROWS_PER_STEP = 2000
"""Rows of a dropped batch that one transaction buries: streams do not wait long for the disk."""


class OperatorBatches:
    """Lists batches, and resolves those that wait for somebody."""

    def __init__(self, committer: Committer, parts: CommitterParts) -> None:
        self._committer = committer
        self._parts = parts
        self._busy: set[int] = set()

    async def all(self) -> list[BatchView]:
        """See `gateway.seams.Batches`."""
        queues = {queue.id: queue for queue in await asyncio.to_thread(self._parts.reader.queues)}
        batches = {batch.number: batch for batch in self._committer.live}
        batches |= {batch.number: batch for batch in self._committer.held}
        return [
            BatchView(
                id=batch.id,
                task_id=batch.task_id,
                stream=queues[batch.queue].source,
                datasource=queues[batch.queue].spec.datasource,
                state=batch.state.value,
                attempt=batch.attempt,
                rows=batch.rows,
                size_bytes=batch.size_bytes,
                sealed_ms=batch.sealed_ms,
                error=batch.error,
            )
            for _, batch in sorted(batches.items())
        ]

    async def retry(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        with self._resolving(batch_id) as batch:
            await self._require_absent(batch)
            await self._committer.retry(batch)

    async def accept(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        with self._resolving(batch_id) as batch:
            await self._committer.accept(batch)

    async def drop(self, batch_id: str) -> None:
        """See `gateway.seams.Batches`."""
        with self._resolving(batch_id) as batch:
            await self._require_absent(batch)
            try:
                await self._bury(batch)
                at_ms = now_ms()
                await self._parts.writer.record(lambda spool: spool.give_up(batch, at_ms))
            except SpoolFailed as failed:
                raise SpoolAway(str(failed)) from failed
            self._committer.dropped(batch)

    def _resolving(self, batch_id: str) -> "_Resolving":
        waiting = {batch.id: batch for batch in self._committer.held}
        if batch_id not in waiting:
            live = [batch for batch in self._committer.live if batch.id == batch_id]
            if live:
                raise BadRequest(
                    f"Batch {batch_id} is on its way ({live[0].state}): only a batch that is "
                    f"{BatchState.HELD} or {BatchState.FAILED} can be resolved"
                )
            raise NotFound(f"No batch {batch_id} waits for the operator")
        if waiting[batch_id].number in self._busy:
            raise BadRequest(f"Batch {batch_id} is being resolved")
        return _Resolving(self._busy, waiting[batch_id])

    async def _require_absent(self, batch: BatchRecord) -> None:
        """Rows that are there, or still may come, would be there twice."""
        warehouse, queues = (
            self._parts.warehouse,
            await asyncio.to_thread(self._parts.reader.queues),
        )
        datasource = next(queue.spec.datasource for queue in queues if queue.id == batch.queue)
        try:
            states = await warehouse.statuses([batch.task_id])
            count = await warehouse.count(datasource, batch.id)
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"Nobody says what became of batch {batch.id}: {lost}") from lost
        if states.get(batch.task_id) is TaskState.RUNNING:
            raise BadRequest(f"Task {batch.task_id} still runs: wait for its end, or shut it down")
        if count:
            raise BadRequest(
                f"{count} of {batch.rows} rows of batch {batch.id} are in datasource {datasource}, "
                "and would be there twice. Accept the batch, or remove them first: they have "
                f"\"_batch\" = '{batch.id}'"
            )

    async def _bury(self, batch: BatchRecord) -> None:
        """Each row to the dead letters, in steps: a row that is there already stays as it is."""
        letters = await asyncio.to_thread(self._parts.reader.dead_letters, batch.number)
        content = BatchContent(self._parts.reader, batch, [])
        chunks = await asyncio.to_thread(self._parts.reader.chunks, batch)
        known = {letter.line for letter in letters}
        rows = await asyncio.to_thread(lambda: b"".join(content.read()).split(b"\n")[:-1])
        left = [(line, raw) for line, raw in enumerate(rows, 1) if line not in known]
        size = sum(len(raw) + 1 for _, raw in left)
        limit = self._parts.letters_limit_bytes
        open_bytes = await self._parts.writer.record(lambda spool: spool.letters.open_bytes)
        if open_bytes + size > limit:
            raise BadRequest(LETTERS_FULL)
        at_ms = now_ms()
        for start in range(0, len(left), ROWS_PER_STEP):
            step = left[start : start + ROWS_PER_STEP]

            def bury(spool: SpoolFile, step: list[tuple[int, bytes]] = step) -> None:
                for line, raw in step:
                    place = place_of(batch, chunks, line)
                    assert place is not None
                    spool.bury(_letter(batch, line, raw + b"\n", at_ms), place)

            await self._parts.writer.record(bury)


class _Resolving:
    """A batch that somebody resolves, for the length of a ``with``: nobody else does meanwhile."""

    def __init__(self, busy: set[int], batch: BatchRecord) -> None:
        self._busy = busy
        self._batch = batch

    def __enter__(self) -> BatchRecord:
        self._busy.add(self._batch.number)
        return self._batch

    def __exit__(self, *_: object) -> None:
        self._busy.discard(self._batch.number)


def _letter(batch: BatchRecord, line: int, raw: bytes, at_ms: int) -> DeadLetter:
    why = batch.error or "no reason is known"
    return DeadLetter(
        queue=batch.queue,
        batch=batch.number,
        line=line,
        code="BatchDropped",
        message=f"Batch {batch.id} was given up by the operator: {why}",
        at_ms=at_ms,
        tasks=batch.attempt,
        sealed_bytes=len(raw),
        raw=raw,
    )
