"""The ingest room put together for tests: a real file and thread, a scripted warehouse."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gateway.ingest.batches import BatchState
from gateway.ingest.committer import Committer
from gateway.ingest.dead_letters import CheckRow
from gateway.ingest.entries import ChunkRecord
from gateway.ingest.ingest_room import IngestLimits, IngestRoom
from gateway.ingest.intake import SpoolIntake
from gateway.ingest.parts import CommitterTimes
from gateway.ingest.policy import BatchLimits
from gateway.ingest.reader import SpoolReader
from gateway.ingest.receipts import Receipts
from gateway.ingest.settler import Committed
from gateway.ingest.spool import SpoolFile
from gateway.ingest.upkeep import RetentionLimits
from gateway.ingest.writer import SpoolFailed, SpoolWriter
from gateway.seams import AckLevel, ChannelClaim, InsertSpec, IntakeStream, Source, SourceKind
from protocol.types import BIGINT, STRING, Column
from tests.fakes import DEADLINE_S, Changes, RecordingSink, ScriptedWarehouse

T = TypeVar("T")

COLUMNS = (Column("A", BIGINT), Column("S", STRING))
SPEC = InsertSpec(datasource="ds", columns=COLUMNS)
TIMES = CommitterTimes(poll_s=0.001, retry_s=0.001, retry_max_s=0.004, queryable_max_s=DEADLINE_S)
ONE_BATCH = BatchLimits(rows_max=1000, bytes_max=1 << 20, age_s=0.0)
LIMITS = IngestLimits(
    batch=ONE_BATCH,
    times=TIMES,
    retention=RetentionLimits(keep_s=3600.0, keep_bytes=1 << 30),
    spool_bytes=1 << 30,
    stall_s=DEADLINE_S,
)


def source(name: str = "S", datasource: str = "ds") -> Source:
    """A declared stream of two columns."""
    spec = InsertSpec(datasource=datasource, columns=COLUMNS)
    return Source(name=name, kind=SourceKind.STREAM, columns=COLUMNS, spec=spec)


def lines(first: int, count: int, text: str = "x") -> bytes:
    """Rows that differ from one another."""
    return b"".join(
        b'{"A":%d,"S":"%s"}\n' % (number, text.encode()) for number in range(first, first + count)
    )


class BlockedDisk:
    """The writer's thread, held between two transactions for the length of a ``with``."""

    def __init__(self, writer: SpoolWriter) -> None:
        self._writer = writer
        self._entered, self._release = threading.Event(), threading.Event()

    async def __aenter__(self) -> None:
        self._held = asyncio.ensure_future(self._writer.record(self._hold))
        assert await asyncio.to_thread(self._entered.wait, DEADLINE_S)

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        await self._held

    def _hold(self, _: SpoolFile) -> None:
        self._entered.set()
        assert self._release.wait(DEADLINE_S)


@asynccontextmanager
async def refusing_disk(writer: SpoolWriter) -> AsyncIterator[None]:
    """SQLite itself refuses every transaction of the writer for the length of a ``with``."""

    def refuse(spool: SpoolFile) -> sqlite3.Connection:
        spool._db.execute("PRAGMA query_only = 1")
        return spool._db

    db = await writer.record(refuse)
    try:
        yield
    finally:
        # No transaction can begin now, so this one thing is not said through the writer.
        db.execute("PRAGMA query_only = 0")


async def limit_pages(writer: SpoolWriter, pages: int | None) -> None:
    """Make the disk full after so many more pages; None: as large as SQLite allows."""

    def limit(spool: SpoolFile) -> None:
        used = spool._db.execute("PRAGMA page_count").fetchone()[0]
        most = 1_000_000 if pages is None else used + pages
        spool._db.execute(f"PRAGMA max_page_count = {most}")

    await writer.record(limit)


class CountingWriter(SpoolWriter):
    """A writer that counts the records which the disk refused."""

    def __init__(self, path: Path, changes: Changes) -> None:
        super().__init__(path)
        self.refused_records = 0
        self._changes = changes

    async def record(self, apply: Callable[[SpoolFile], T]) -> T:
        """See `SpoolWriter.record`."""
        try:
            return await super().record(apply)
        except SpoolFailed:
            self.refused_records += 1
            self._changes.tell()
            raise


class WatchedReader(SpoolReader):
    """A reader that tells when the chunks in no batch were looked for: once, at the start."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.looked = threading.Event()

    def unsealed(self) -> list[ChunkRecord]:
        """See `SpoolReader.unsealed`."""
        found = super().unsealed()
        self.looked.set()
        return found


async def no_check(stream: str, raw: bytes, _: int) -> tuple[InsertSpec, bytes]:
    """A check of dead letters that takes every row as it is."""
    return SPEC, raw.rstrip(b"\n") + b"\n"


@dataclass
class House:
    """The ingest room over one spool file."""

    path: Path
    changes: Changes
    warehouse: ScriptedWarehouse
    writer: CountingWriter
    reader: WatchedReader
    room: IngestRoom
    chunks: list[ChunkRecord] = field(default_factory=list)
    committed: list[Committed] = field(default_factory=list)
    running: "asyncio.Task[None] | None" = None

    @property
    def intake(self) -> SpoolIntake:
        """The room's door."""
        return self.room.intake

    @property
    def committer(self) -> Committer:
        """The room's committer."""
        return self.room.committer

    @property
    def receipts(self) -> Receipts:
        """Who waits."""
        return self.room.receipts

    async def stream(
        self,
        level: AckLevel = AckLevel.COMMITTED,
        of: Source | None = None,
        channel: ChannelClaim | None = None,
    ) -> tuple[IntakeStream, RecordingSink]:
        """A way in for rows, and its listener."""
        sink = RecordingSink(self.changes)
        return await self.intake.open_stream(of or source(), level, sink, channel), sink

    async def spool(self, raw: bytes, level: AckLevel = AckLevel.COMMITTED) -> RecordingSink:
        """Rows in a stream of their own, on disk when this returns."""
        stream, sink = await self.stream(level)
        stream.append(0, raw.count(b"\n"), raw, len(raw))
        await self.changes.until(lambda: sink.spooled_bytes == len(raw))
        return sink

    def start(self) -> None:
        """Start the committer."""
        self.running = asyncio.create_task(self.committer.run())

    async def until_recovered(self) -> None:
        """Until the committer has looked at what the spool held."""
        assert await asyncio.to_thread(self.reader.looked.wait, DEADLINE_S)

    async def stop(self) -> None:
        """Stop the committer where it stands."""
        if self.running is not None:
            self.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.running
            self.running = None

    async def until_idle(self) -> None:
        """Until every row on disk is in a batch that is final or held, and its streams know."""
        await self.changes.until(lambda: self._broken() or self._idle())
        if self.running is not None and self.running.done():
            await self.running

    def _broken(self) -> bool:
        return self.running is not None and self.running.done()

    def _idle(self) -> bool:
        # The committer first: a range that is being sealed is in a batch on the disk before the
        # committer hears of it, and is still its own work then.
        return (
            self.committer.idle
            and not self.reader.unsealed()
            and all(batch.state is BatchState.HELD for batch in self.reader.unfinished())
        )


@asynccontextmanager
async def house(
    path: Path,
    warehouse: ScriptedWarehouse | None = None,
    *,
    limits: BatchLimits | IngestLimits = LIMITS,
    times: CommitterTimes = TIMES,
    check: CheckRow = no_check,
    start: bool = True,
) -> AsyncIterator[House]:
    """A house over the spool at ``path``, made or opened again; its committer runs if told so."""
    if isinstance(limits, BatchLimits):
        limits = replace(LIMITS, batch=limits)
    if times is not TIMES:
        limits = replace(limits, times=times)
    changes = warehouse.changes if warehouse else Changes()
    warehouse = warehouse or ScriptedWarehouse(changes)
    writer, reader = CountingWriter(path, changes), WatchedReader(path)
    room = IngestRoom(writer, reader, warehouse, limits, check)
    made = House(path, changes, warehouse, writer, reader, room)
    room.on_chunk.append(made.chunks.append)
    room.on_commit.append(made.committed.append)
    await room.open()
    if start:
        made.start()
        await made.until_recovered()
    try:
        yield made
    finally:
        try:
            await made.stop()
        finally:
            await room.close()
