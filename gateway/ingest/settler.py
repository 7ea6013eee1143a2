"""The end of a batch: its state on disk, its receipts settled at their levels, its log entry.

Law: a receipt is settled only once its batch is final on disk.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from gateway.clock import now_ms
from gateway.ingest.batches import BatchState
from gateway.ingest.carrier import Live
from gateway.ingest.entries import BatchRecord, QueueRecord
from gateway.ingest.parts import CommitterParts
from gateway.ingest.receipts import Receipt
from gateway.ingest.records import persist
from gateway.seams import AckLevel, WarehouseUnreachable
from protocol.errors import RowRejected

_log = structlog.get_logger("headrace.committer")

_S = BatchState


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A batch that is committed; ``commit_seq`` is its position in the log."""

    batch: BatchRecord
    queue: QueueRecord


class Settler:
    """Finishes batches."""

    def __init__(self, parts: CommitterParts, committed: Callable[[Committed], None]) -> None:
        self._parts = parts
        self._committed = committed
        self.held: dict[int, BatchRecord] = {}
        """batches that wait for the operator"""

    async def finish(self, live: Live, tasks: asyncio.TaskGroup) -> None:
        """Record the final state and tell whoever waits; ``tasks`` has what takes longer."""
        state = live.batch.state
        if state is _S.COMMITTED:
            await self.commit(live, tasks)
            return
        error = live.failure.message if live.failure else None
        batch = live.batch = replace(live.batch, error=error)
        if state is _S.HELD:
            await self._record_held(batch)
        else:
            at_ms = now_ms()
            await persist(
                self._parts.writer,
                lambda spool: spool.finish(batch, state, at_ms, error),
                self._parts.times.retry_s,
            )
        _log.error("a batch cannot go on", **live.names, state=state, error=error)
        self.held[batch.number] = batch
        self._parts.changed(live.change)
        self.fail_all(batch, f"Error in processing inserts. Batch {batch.id}: {error}")

    async def commit(self, live: Live, tasks: asyncio.TaskGroup) -> None:
        """The batch is committed: on disk first, then for all who wait."""
        batch = live.batch
        at_ms = now_ms()
        queryable = self._parts.warehouse.queryable_at_commit
        commit_seq = await persist(
            self._parts.writer,
            lambda spool: spool.finish(batch, _S.COMMITTED, at_ms, None, queryable=queryable),
            self._parts.times.retry_s,
        )
        live.batch = replace(batch, state=_S.COMMITTED, commit_seq=commit_seq, error=None)
        self._parts.changed(live.change)
        self._settle(live, self._parts.receipts.take(batch), tasks)

    def fail_all(self, batch: BatchRecord, message: str) -> None:
        """Nothing is promised of a batch's rows any more: their streams end."""
        self._break(self._parts.receipts.take(batch), message)

    async def _record_held(self, batch: BatchRecord) -> None:
        await persist(
            self._parts.writer,
            lambda spool: spool.move(batch.number, _S.HELD, batch.attempt, batch.error),
            self._parts.times.retry_s,
        )

    def _settle(self, live: Live, receipts: list[Receipt], tasks: asyncio.TaskGroup) -> None:
        later: list[Receipt] = []
        for receipt in receipts:
            if receipt.level is AckLevel.QUERYABLE:
                later.append(receipt)
            else:
                receipt.settle()
        if later:
            tasks.create_task(self._settle_when_queryable(live, later))
        self._committed(Committed(batch=live.batch, queue=live.queue))

    async def _settle_when_queryable(self, live: Live, receipts: list[Receipt]) -> None:
        rows = live.content(self._parts.reader).rows
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._parts.times.queryable_max_s
        while not await self._is_queryable(live, rows):
            if loop.time() >= deadline:
                _log.warning("committed but not queryable", **live.names, rows=rows)
                message = f"Rows are committed (batch {live.batch.id}) but not queryable yet"
                self._break(receipts, message)
                return
            await self._parts.warehouse.wait(self._parts.times.poll_s)
        await persist(
            self._parts.writer,
            lambda spool: spool.channels.seen_queryable(live.batch.number),
            self._parts.times.retry_s,
        )
        self._parts.queryable(live.batch.id)
        for receipt in receipts:
            receipt.settle()

    async def _is_queryable(self, live: Live, rows: int) -> bool:
        try:
            return await self._parts.warehouse.queryable(
                live.queue.spec.datasource, live.batch.id, rows
            )
        except WarehouseUnreachable:
            return False

    @staticmethod
    def _break(receipts: list[Receipt], message: str) -> None:
        for receipt in receipts:
            receipt.sink.broken(receipt.first_seq, RowRejected(message, 50000))
