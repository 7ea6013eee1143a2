"""The query room over a real spool file: batches are committed by hand, nothing else is scripted.

`PushHouse` writes rows, seals and commits them, and can be closed and opened again as a restart
does. `Reader` is a client of one push query that keeps what it got and may resume with its token.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from gateway.ingest.batches import BatchState
from gateway.ingest.content import place_of
from gateway.ingest.entries import BatchRecord, ChunkRecord, DeadLetter, Place
from gateway.ingest.log import SpooledLog, SpoolLog
from gateway.ingest.reader import SpoolReader
from gateway.ingest.settler import Committed
from gateway.ingest.spool import SpoolFile
from gateway.query.mailbox import MailboxLimits
from gateway.query.push import RunningPush, SubscriptionLimits
from gateway.query.service import QueryService
from gateway.seams import UNASKED, InsertSpec, Source, SourceKind, Sources, Warehouse
from protocol.arguments import QueryArguments
from protocol.tokens import CONTINUE_FROM, TOKENS_ENABLED
from protocol.types import BIGINT, STRING, Column

DEADLINE_S = 20.0
COLUMNS = (Column("A", BIGINT), Column("S", STRING))
SPEC = InsertSpec(datasource="ds", columns=COLUMNS)

LIMITS = SubscriptionLimits(
    mailbox=MailboxLimits(rows=1000, size_bytes=1 << 20), slow_reader_s=DEADLINE_S
)


def numbered(first: int, count: int) -> bytes:
    """Rows with the numbers ``[first, first + count)``."""
    return b"".join(b'{"A":%d,"S":"x"}\n' % number for number in range(first, first + count))


class _Sources:
    async def resolve(self, target: str) -> Source:
        return Source(name=target.upper(), kind=SourceKind.STREAM, columns=COLUMNS, spec=SPEC)


class PushHouse:
    """The logs of one spool file, and the query room that reads them."""

    def __init__(self, path: Path, limits: SubscriptionLimits = LIMITS) -> None:
        self._path = path
        self._limits = limits
        self.clock_ms = 0
        self.open()

    def open(self) -> None:
        """Open the file, or open it again."""
        self.spool = SpoolFile(self._path)
        self.reader = SpoolReader(self._path)
        self.committed, self.spooled = SpoolLog(self.reader), SpooledLog(self.reader)
        queues, log_id = self.reader.queues(), self.spool.spool_id
        self.committed.recovered(queues, self.reader.log_end(), log_id)
        self.spooled.recovered(queues, self.reader.chunk_end(), log_id)
        self.queries = QueryService(
            warehouse=cast(Warehouse, None),
            sources=cast(Sources, _Sources()),
            logs={log.level: log for log in (self.committed, self.spooled)},
            push_queries_max=1000,
            push_limits=self._limits,
            evaluated_bytes=1 << 16,
        )

    async def close(self) -> None:
        """Everything but the file is gone."""
        await self.queries.close()
        self.spool.close()

    async def restart(self) -> None:
        """Close and open again."""
        await self.close()
        self.open()

    # ── rows ──

    def write(self, name: str, raw: bytes, *, told: bool = True) -> ChunkRecord:
        """Spool one chunk."""
        self.spool.begin()
        queue = self.spool.queue(name, SPEC)
        chunk = self.spool.append(queue.id, raw, raw.count(b"\n"), self.clock_ms)
        self.spool.commit()
        if told:
            self.spooled.grew(chunk)
        return chunk

    def seal(self, chunks: list[ChunkRecord]) -> BatchRecord:
        """Make chunks of one queue, which follow one another there, a batch."""
        rows, size_bytes = sum(c.rows for c in chunks), sum(c.size_bytes for c in chunks)
        self.spool.begin()
        batch_id = self.spool.seal(
            (chunks[0].id, chunks[-1].id), chunks[0].queue, rows, size_bytes, self.clock_ms
        )
        self.spool.commit()
        return self._batch(batch_id)

    def split(self, batch: BatchRecord, line: int) -> list[BatchRecord]:
        """Cut a batch behind its first ``line`` lines, as bisecting does."""
        chunks = self.reader.chunks(batch)
        last = place_of(batch, chunks, line)
        assert last is not None
        sealed = b"".join(self.reader.content(batch)).splitlines(keepends=True)
        left = (line, sum(map(len, sealed[:line])))
        self.spool.begin()
        halves = self.spool.split(batch, Place(last.chunk, last.row + 1), left, self.clock_ms)
        self.spool.commit()
        return [self._batch(half) for half in halves]

    def commit(self, batch: BatchRecord, dead: int | None = None) -> Committed:
        """Commit a batch, less its 1-based line ``dead``; both logs know then."""
        self.spool.begin()
        if dead is not None:
            lines = b"".join(self.reader.content(batch)).splitlines(keepends=True)
            raw = lines[dead - 1]
            letter = DeadLetter(
                queue=batch.queue, batch=batch.number, line=dead, code="", message="", at_ms=0,
                raw=raw, sealed_bytes=len(raw),
            )  # fmt: skip
            self.spool.bury(letter, Place(batch.first_chunk, batch.first_row))
        self.spool.finish(batch, BatchState.COMMITTED, self.clock_ms, None)
        self.spool.commit()
        queue = next(q for q in self.reader.queues() if q.id == batch.queue)
        committed = Committed(batch=self._batch(batch.id), queue=queue)
        self.committed.grew(committed)
        return committed

    def insert(self, name: str, raw: bytes) -> None:
        """Spool and commit one batch of one chunk."""
        self.commit(self.seal([self.write(name, raw)]))

    def forget(self, keep_batches: int = 0) -> None:
        """Let the retention drop all committed batches but the newest ones."""
        end = self.reader.log_end()
        kept = self.reader.committed_after(end - keep_batches, keep_batches or 1)
        keep_bytes = sum(batch.size_bytes for batch in kept) if keep_batches else 0
        self.spool.begin()
        self.spool.forget(self.clock_ms, keep_bytes)
        self.spool.commit()

    def _batch(self, batch_id: str) -> BatchRecord:
        found = self.reader.batch(batch_id)
        assert found is not None
        return found

    # ── queries ──

    async def start(
        self, sql: str, properties: Mapping[str, Any] | None = None, token: str | None = None
    ) -> RunningPush:
        """Start a push query."""
        given = {} if token is None else {CONTINUE_FROM: token}
        arguments = QueryArguments(sql, properties or {}, {}, given)
        running = await self.queries.start(arguments, UNASKED)
        assert isinstance(running, RunningPush)
        return running


@dataclass
class Reader:
    """A client of one push query, with tokens. ``numbers`` is what it got, over all its lives."""

    house: PushHouse
    sql: str
    properties: dict[str, Any] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    token: str | None = None
    running: RunningPush | None = None
    _rows: AsyncIterator[Any] | None = None

    async def connect(self) -> None:
        """Start, or go on from the token; the first word is a token."""
        given = {TOKENS_ENABLED: True, **self.properties}
        self.running = await self.house.start(self.sql, given, self.token)
        self._rows = self.running.rows()
        await self.take()

    async def disconnect(self) -> None:
        """Leave, whatever was on its way."""
        if self.running is not None:
            await self.running.close()
            await cast(Any, self._rows).aclose()
        self.running = self._rows = None

    async def take(self) -> bool:
        """One word of the query's; False at its end."""
        assert self._rows is not None
        async with asyncio.timeout(DEADLINE_S):
            lines = await anext(self._rows, None)
        if lines is None:
            return False
        got = [int(line.strip(b"[]").split(b",")[0]) for line in lines.raw.splitlines()]
        assert len(got) == lines.count
        self.numbers += got
        self.token = lines.token
        return True

    async def take_until(self, number: int) -> None:
        """Until a number has come."""
        while number not in self.numbers[-1000:]:
            assert await self.take(), f"the query ended before {number}: {self.numbers[-20:]}"


@contextlib.asynccontextmanager
async def push_house(path: Path, limits: SubscriptionLimits = LIMITS) -> AsyncIterator[PushHouse]:
    """A house that is closed at the end."""
    house = PushHouse(path, limits)
    try:
        yield house
    finally:
        await house.close()
