"""The ingest room put together: what the runtime opens, runs and asks.

Everything in it shares one spool file and one writer thread.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.ingest.capacity import Capacity
from gateway.ingest.channels import ChannelLookup
from gateway.ingest.committer import Committer
from gateway.ingest.dead_letters import CheckRow, SpoolDeadLetters
from gateway.ingest.entries import ChunkRecord
from gateway.ingest.intake import SpoolIntake
from gateway.ingest.looks import look_at
from gateway.ingest.measures import IngestMeasures, WriteMeasure
from gateway.ingest.operator import OperatorBatches
from gateway.ingest.parts import CommitterParts, CommitterTimes
from gateway.ingest.policy import BatchLimits, BatchPolicy
from gateway.ingest.reach import ReachedWarehouse
from gateway.ingest.reader import SpoolReader
from gateway.ingest.receipts import Receipts
from gateway.ingest.settler import Committed
from gateway.ingest.task_log import TaskLog, TaskLogLimits
from gateway.ingest.task_reports import TaskChange, TaskReports
from gateway.ingest.upkeep import RetentionLimits, keep_within, watch_disk
from gateway.ingest.writer import SpoolWriter
from gateway.metrics import Metrics
from gateway.seams import TellsProgress, Warehouse


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestLimits:
    """Every limit of the room."""

    batch: BatchLimits
    times: CommitterTimes
    retention: RetentionLimits
    spool_bytes: int
    stall_s: float
    spool_age_s: float = float("inf")
    channels_max: int = 100_000
    letters_bytes: int = 1 << 30
    bisect_tasks_max: int = 200
    task_log: TaskLogLimits = field(default_factory=TaskLogLimits)


class IngestRoom:
    """The room over one spool file."""

    def __init__(
        self,
        writer: SpoolWriter,
        reader: SpoolReader,
        warehouse: Warehouse,
        limits: IngestLimits,
        check: CheckRow,
        metrics: Metrics | None = None,
    ) -> None:
        measures = IngestMeasures(metrics)
        self.writer = writer
        self.reader = reader
        self.receipts = Receipts()
        self.on_chunk: list[Callable[[ChunkRecord], None]] = []
        """told of every chunk that was spooled"""
        self.on_commit: list[Callable[[Committed], None]] = []
        """told of every batch that was committed"""
        self.on_change: list[Callable[[TaskChange], None]] = [measures.batch.changed]
        """told of every state that a batch comes into"""
        self.on_queryable: list[Callable[[str], None]] = []
        """told of the ids of batches that a SELECT has come to see, where somebody waited"""
        self._limits = limits
        self.task_log = TaskLog(limits.task_log)
        self._task_reports = TaskReports(
            self.task_log,
            warehouse if isinstance(warehouse, TellsProgress) else None,
            limits.times.report_poll_s,
        )
        self.on_change.append(self._task_reports.changed)
        self.reached = ReachedWarehouse(warehouse)
        parts = CommitterParts(
            warehouse=self.reached,
            writer=writer,
            reader=reader,
            receipts=self.receipts,
            times=limits.times,
            bisect_tasks_max=limits.bisect_tasks_max,
            letters_limit_bytes=limits.letters_bytes,
            changed=self._changed,
            queryable=self._queryable,
        )
        self.committer = Committer(parts, BatchPolicy(limits.batch), self._committed)
        self.capacity = Capacity(
            spool_bytes=limits.spool_bytes,
            stall_s=limits.stall_s,
            age_limit_s=limits.spool_age_s,
            letters_limit_bytes=limits.letters_bytes,
            channels_max=limits.channels_max,
            backlog_age_s=lambda: self.committer.backlog_age_s,
        )
        lookup = ChannelLookup(reader, writer, warehouse, limits.times)
        self.intake = SpoolIntake(
            writer, self.receipts, self.capacity, self._chunk_added, lookup, measures
        )
        self.dead_letters = SpoolDeadLetters(
            writer, reader, check, self._driven_again, limits.letters_bytes
        )
        self.batches = OperatorBatches(self.committer, parts)
        look_at(self, measures.metrics)

    @classmethod
    def at(
        cls,
        spool: Path,
        warehouse: Warehouse,
        limits: IngestLimits,
        check: CheckRow,
        metrics: Metrics | None = None,
    ) -> "IngestRoom":
        """The room over the spool at a path."""
        metrics = metrics or Metrics()
        writer = SpoolWriter(spool, WriteMeasure(metrics))
        return cls(writer, SpoolReader(spool), warehouse, limits, check, metrics)

    async def open(self) -> None:
        """Open the file. Raises `gateway.ingest.layout.SpoolUnusable`."""
        await self.writer.open()
        queues = await asyncio.to_thread(self.reader.queues)
        self.intake.recovered(queues, await asyncio.to_thread(self.reader.stored_bytes))

    async def close(self) -> None:
        """Write what waits and close the file."""
        await self.writer.close()

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on as long as the room is open; each until it is cancelled."""
        return [
            self.committer.run(),
            self._task_reports.run(),
            keep_within(lambda: self._limits.retention, self.writer, self.intake.freed),
            watch_disk(self.writer, self._limits.times.retry_s, self.intake.look_again),
        ]

    def relimit(self, limits: IngestLimits) -> None:
        """Other limits of batches, retention and the spool's room; the rest stay as they are."""
        self._limits = replace(self._limits, batch=limits.batch, retention=limits.retention)
        self.committer.relimit(limits.batch)
        self.capacity.spool_bytes = limits.spool_bytes
        self.capacity.age_limit_s = limits.spool_age_s
        self.capacity.stall_s = limits.stall_s
        self.capacity.channels_max = limits.channels_max
        self.intake.look_again()

    # ── health ──

    @property
    def takes_rows(self) -> bool:
        """Whether rows are taken now: the disk writes, and there is room."""
        return self.writer.fault is None and self.capacity.full() is None

    def health(self) -> dict[str, dict[str, Any]]:
        """What is well and what is not, by part. The warehouse may be away: rows wait for it."""
        spool: dict[str, Any] = {
            "isHealthy": self.takes_rows,
            "storedBytes": self.capacity.stored_bytes,
        }
        if (why := self.writer.fault or self.capacity.full()) is not None:
            spool["state"] = why
        if self.writer.fault is not None:
            spool["faultSinceMs"] = int(self.writer.fault_since * 1000)
        held = [batch.id for batch in self.committer.held]
        batches = {"isHealthy": not held, "held": held, "live": len(self.committer.live)}
        return {"spool": spool, "batches": batches, "warehouse": self._warehouse_health()}

    def _warehouse_health(self) -> dict[str, Any]:
        lost_since = self.reached.lost_since
        if lost_since is None:
            return {"isHealthy": True}
        gone_s = asyncio.get_running_loop().time() - lost_since
        since_ms = int((time.time() - gone_s) * 1000)
        return {"isHealthy": False, "unreachableSinceMs": since_ms, "state": self.reached.error}

    # ── what happens in it ──

    def _chunk_added(self, chunk: ChunkRecord) -> None:
        self.committer.chunk_added(chunk)
        for listener in self.on_chunk:
            listener(chunk)

    def _driven_again(self, chunk: ChunkRecord) -> None:
        """The row of a dead letter is spooled; it takes room like any other."""
        self.capacity.stored_bytes += chunk.size_bytes
        self._chunk_added(chunk)

    def _changed(self, change: TaskChange) -> None:
        for listener in self.on_change:
            listener(change)

    def _queryable(self, batch_id: str) -> None:
        for listener in self.on_queryable:
            listener(batch_id)

    def _committed(self, committed: Committed) -> None:
        for listener in self.on_commit:
            listener(committed)
        self.intake.look_again()
