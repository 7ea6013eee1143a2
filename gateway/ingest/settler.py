"""The end of a batch: its state on disk, its receipts settled at their levels, its log entry.

Law: a receipt is settled only once its batch is final on disk.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from gateway.ingest.batches import BatchState
from gateway.ingest.carrier import CommitterTimes, Live
from gateway.ingest.receipts import Receipt, Receipts
from gateway.ingest.records import persist
from gateway.ingest.spool import BatchRecord, QueueRecord, SpoolReader
from gateway.ingest.writer import SpoolWriter
from gateway.seams import AckLevel, Warehouse, WarehouseUnreachable
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

    def __init__(
        self,
        *,
        warehouse: Warehouse,
        writer: SpoolWriter,
        reader: SpoolReader,
        receipts: Receipts,
        times: CommitterTimes,
        committed: Callable[[Committed], None],
    ) -> None:
        self._warehouse = warehouse
        self._writer = writer
        self._reader = reader
        self._receipts = receipts
        self._times = times
        self._committed = committed
        self.held: dict[int, BatchRecord] = {}
        """batches that wait for the operator"""

    async def finish(self, live: Live, tasks: asyncio.TaskGroup) -> None:
        """Record the final state and tell whoever waits; ``tasks`` has what takes longer."""
        batch, state = live.batch, live.batch.state
        error = live.failure.message if live.failure and state is not _S.COMMITTED else None
        now_ms = int(time.time() * 1000)
        if state is _S.HELD:
            number, attempt = batch.number, batch.attempt
            await persist(
                self._writer,
                lambda spool: spool.move(number, state, attempt, error),
                self._times.retry_s,
            )
        else:
            commit_seq = await persist(
                self._writer,
                lambda spool: spool.finish(batch.number, state, now_ms, error),
                self._times.retry_s,
            )
            live.batch = replace(batch, commit_seq=commit_seq)
        receipts = self._receipts.take(batch.queue, batch.first_chunk, batch.last_chunk)
        if state is _S.COMMITTED:
            self._settle(live, receipts, tasks)
        else:
            _log.error("batch cannot go on", batch=batch.id, state=state, error=error)
            self.held[batch.number] = replace(batch, error=error)
            self._fail_all(receipts, f"Error in processing inserts. Batch {batch.id}: {error}")

    def _settle(self, live: Live, receipts: list[Receipt], tasks: asyncio.TaskGroup) -> None:
        later: list[Receipt] = []
        for receipt in receipts:
            if receipt.level is AckLevel.QUERYABLE and receipt.sink is not None:
                later.append(receipt)
            else:
                receipt.settle()
        if later:
            tasks.create_task(self._settle_when_queryable(live, later))
        self._committed(Committed(batch=live.batch, queue=live.queue))

    async def _settle_when_queryable(self, live: Live, receipts: list[Receipt]) -> None:
        rows = live.content(self._reader).rows
        deadline = time.monotonic() + self._times.queryable_max_s
        while time.monotonic() < deadline:
            if await self._is_queryable(live, rows):
                for receipt in receipts:
                    receipt.settle()
                return
            await asyncio.sleep(self._times.poll_s)
        _log.warning("committed but not queryable", batch=live.batch.id, rows=rows)
        message = f"Rows are committed (batch {live.batch.id}) but not queryable yet"
        self._fail_all(receipts, message)

    async def _is_queryable(self, live: Live, rows: int) -> bool:
        try:
            return await self._warehouse.queryable(live.queue.spec.datasource, live.batch.id, rows)
        except WarehouseUnreachable:
            return False

    def _fail_all(self, receipts: list[Receipt], message: str) -> None:
        for receipt in receipts:
            if receipt.sink is not None:
                receipt.sink.failed(receipt.first_seq, RowRejected(message, 50000))
