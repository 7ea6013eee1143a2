"""One gateway process, as far as the simulation has it: the ingest room over a simulated disk.

Owns what a crash drops. The room is the real one; only the thread of its writer is not.
"""

import asyncio
import contextlib
from pathlib import Path

from gateway.ingest.ingest_room import IngestLimits, IngestRoom
from gateway.ingest.log import SpoolLog
from gateway.ingest.reader import SpoolReader
from gateway.ingest.settler import Committed
from gateway.seams import InsertSpec, Warehouse
from protocol.errors import BadRequest
from tests.simulation.chronicle import Chronicle
from tests.simulation.disk import Disk, SimulatedWriter


class Process:
    """One life of the gateway."""

    def __init__(
        self,
        path: Path,
        disk: Disk,
        warehouse: Warehouse,
        chronicle: Chronicle,
        limits: IngestLimits,
    ) -> None:
        self.writer = SimulatedWriter(path, disk)
        self.reader = SpoolReader(path)
        self.room = IngestRoom(self.writer, self.reader, warehouse, limits, _takes_none)
        self.log = SpoolLog(self.reader)
        self.positions: list[tuple[int, str]] = []
        """of the log, and the batch at each, as they were told"""
        self._chronicle = chronicle
        self._running: asyncio.Task[None] | None = None
        self.room.on_commit += [self._committed, self.log.grew]

    async def open(self) -> None:
        """Open the file, take up what it held, start the works."""
        await self.room.open()
        queues = await asyncio.to_thread(self.reader.queues)
        end = await asyncio.to_thread(self.reader.log_end)
        self.log.recovered(queues, end, self.writer.spool_id)
        self._running = asyncio.ensure_future(self._run())

    def crash(self) -> None:
        """Everything in memory is gone."""
        self.writer.crash()
        if self._running is not None:
            self._running.cancel()
        for stream in self.room.intake.holders:
            # Its look for duplicates is a task of its own, and nobody closes it in a crash.
            stream.close()

    async def close(self) -> None:
        """Stop it where it stands, the file written."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        await self.room.close()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be done."""
        return self.room.committer.idle and self.writer.quiet

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for work in self.room.works():
                    tasks.create_task(work)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not die
            self._chronicle.wrong(f"the ingest room died: {_innermost(error)!r}")

    def _committed(self, committed: Committed) -> None:
        assert committed.batch.commit_seq is not None
        self.positions.append((committed.batch.commit_seq, committed.batch.id))


async def _takes_none(stream: str, raw: bytes, arrival_ms: int) -> tuple[InsertSpec, bytes]:
    raise BadRequest("nobody drives a dead letter again here")


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
