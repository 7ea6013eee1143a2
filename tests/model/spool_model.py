"""What a spool should hold, in plain lists of rows, and what a reader sees of it.

Nothing in the lists is shared or derived as it is on disk: a chunk is its rows, a batch is places
of rows, a channel's frontier is the lowest of its rows that are not settled. `Contents` is all that
can be seen, of the lists and of a file alike.
"""

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.ingest import layout
from gateway.ingest.batches import BatchState
from gateway.ingest.entries import (
    BatchRecord,
    ChunkRecord,
    DeadLetter,
    LetterState,
    Place,
    QueueRecord,
)
from gateway.ingest.reader import SpoolReader
from gateway.seams import InsertSpec
from protocol.types import BIGINT, STRING, Column

COLUMNS = (Column("A", BIGINT), Column("S", STRING))
SPEC = InsertSpec(datasource="ds", columns=COLUMNS)

ChannelKey = tuple[str, str]
"""Source and name."""


@dataclass(frozen=True)
class SeenBatch:
    """A batch and all that hangs on it."""

    record: BatchRecord
    chunks: list[ChunkRecord]
    content: bytes
    letters: list[DeadLetter]


@dataclass(frozen=True)
class Contents:
    """All that can be seen of a spool."""

    queues: list[QueueRecord]
    chunks: list[tuple[ChunkRecord, bytes]]
    unsealed: list[ChunkRecord]
    states: list[tuple[str, str]]
    """of every batch, by its id"""
    unfinished: list[SeenBatch]
    refused: list[SeenBatch]
    log: list[SeenBatch]
    log_start: int
    log_end: int
    stored_bytes: int
    letters: list[DeadLetter]
    channels: dict[ChannelKey, tuple[int, int, int]]
    carrying: dict[ChannelKey, list[str]]


def read_contents(path: Path) -> Contents:
    """What a file holds, by its reader."""
    reader = SpoolReader(path)

    def seen(records: list[BatchRecord]) -> list[SeenBatch]:
        return [
            SeenBatch(
                record=record,
                chunks=reader.chunks(record),
                content=b"".join(reader.content(record)),
                letters=reader.dead_letters(record.number),
            )
            for record in records
        ]

    with contextlib.closing(layout.open_to_read(path)) as db:
        states = db.execute("SELECT id, state FROM batch ORDER BY number").fetchall()
        keys = db.execute("SELECT source, name FROM channel ORDER BY source, name").fetchall()
    chunks = reader.chunks_after(0, 10_000)
    return Contents(
        queues=reader.queues(),
        chunks=[(chunk, reader.chunk_bytes(chunk.id)) for chunk in chunks],
        unsealed=reader.unsealed(),
        states=states,
        unfinished=seen(reader.unfinished()),
        refused=seen(reader.refused()),
        log=seen(reader.committed_after(0, 10_000)),
        log_start=reader.log_start(),
        log_end=reader.log_end(),
        stored_bytes=reader.stored_bytes(),
        letters=reader.letters(state=None, limit=10_000),
        channels={key: found for key in keys if (found := reader.channel(key[0], key[1]))},
        carrying={
            key: [batch.id for batch in reader.carrying(key[0], key[1], 10_000)] for key in keys
        },
    )


TABLES = (
    "meta", "queue", "chunk", "batch", "channel", "stretch", "carried", "dead_letter",
    "sqlite_sequence",
)  # fmt: skip

Dump = dict[str, list[tuple[object, ...]]]
"""Every row of every table, but for the spool's id."""


def dump(path: Path) -> Dump:
    """What a file holds, to the last column."""
    with contextlib.closing(layout.open_to_read(path)) as db:
        tables = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
    tables["meta"] = [row for row in tables["meta"] if row[0] != "spool_id"]
    return tables


@dataclass
class Row:
    """A row on disk. ``offset`` where it came on ``channel``; ``settled``: it holds nobody back."""

    line: bytes
    channel: ChannelKey | None = None
    offset: int = 0
    settled: bool = False


@dataclass
class Chunk:
    """A chunk and its rows."""

    record: ChunkRecord
    rows: list[Row]

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        return b"".join(row.line for row in self.rows)


@dataclass
class Sealed:
    """A batch. ``carried``: lowest offset by channel that nobody saw queryable."""

    record: BatchRecord
    places: list[Place]
    final_ms: int | None = None
    carried: dict[ChannelKey, int] = field(default_factory=dict)

    @property
    def chunk_ids(self) -> list[int]:
        """Chunks that it lies in."""
        return sorted({place.chunk for place in self.places})


@dataclass
class SpoolModel:
    """The lists. ``batches`` are those whose record is kept."""

    queues: dict[str, QueueRecord] = field(default_factory=dict)
    chunks: dict[int, Chunk] = field(default_factory=dict)
    sealed_chunks: set[int] = field(default_factory=set)
    batches: list[Sealed] = field(default_factory=list)
    batches_made: int = 0
    commits: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    letters_made: int = 0
    """the highest id of a letter so far"""
    channels: dict[ChannelKey, int] = field(default_factory=dict)
    unseen: list[Sealed] = field(default_factory=list)
    """batches that were committed and not seen queryable; they outlive their record"""
    now_ms: int = 1000

    # ── looking things up ──

    def row(self, place: Place) -> Row:
        """The row at a place."""
        return self.chunks[place.chunk].rows[place.row]

    def unsealed(self, queue: int | None = None) -> list[Chunk]:
        """Chunks in no batch, of one queue or of all."""
        return [
            chunk
            for number, chunk in self.chunks.items()
            if number not in self.sealed_chunks and queue in (None, chunk.record.queue)
        ]

    def in_state(self, *states: BatchState) -> list[Sealed]:
        """Batches that stand there."""
        return [batch for batch in self.batches if batch.record.state in states]

    @property
    def live(self) -> list[Sealed]:
        """Batches that are not final."""
        return [batch for batch in self.batches if batch.final_ms is None]

    @property
    def log(self) -> list[Sealed]:
        """Committed batches that are kept, in the order of their commits."""
        committed = self.in_state(BatchState.COMMITTED)
        return sorted(committed, key=lambda batch: batch.record.commit_seq or 0)

    @property
    def open_letters(self) -> list[DeadLetter]:
        """Letters that wait for somebody."""
        return [letter for letter in self.letters if letter.state is LetterState.OPEN]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.record.size_bytes for chunk in self.chunks.values())

    def letters_of(self, batch: Sealed) -> list[DeadLetter]:
        """Letters of a batch, by line."""
        found = [letter for letter in self.letters if letter.batch == batch.record.number]
        return sorted(found, key=lambda letter: letter.line or 0)

    # ── changes that hang on a change ──

    def settle(self, batch: Sealed, *, queryable: bool) -> None:
        """The rows of a batch hold nobody back any more.

        One whose every row became a letter has nothing that could be seen.
        """
        has_rows = len(batch.places) > len(self.letters_of(batch))
        for place in batch.places:
            row = self.row(place)
            row.settled = True
            if row.channel is not None and has_rows and not queryable:
                if not batch.carried:
                    self.unseen.append(batch)
                lowest = batch.carried.get(row.channel, row.offset)
                batch.carried[row.channel] = min(lowest, row.offset)

    def carriers(self, key: ChannelKey) -> list[Sealed]:
        """Batches with rows of a channel that nobody saw queryable, by offset; some are erased."""
        found = [batch for batch in self.unseen if key in batch.carried]
        return sorted(found, key=lambda batch: batch.carried[key])

    def erase(self, batch: Sealed) -> None:
        """A batch is past its retention: so are the chunks that no other batch needs."""
        self.batches.remove(batch)
        self.letters = [
            replace(letter, batch=None, line=None)
            if letter.batch == batch.record.number
            else letter
            for letter in self.letters
        ]
        if batch.record.state is BatchState.SPLIT:
            return
        needed = {
            number
            for other in self.batches
            if other.record.state is not BatchState.SPLIT
            for number in other.chunk_ids
        }
        for number in batch.chunk_ids:
            if number not in needed:
                self.chunks.pop(number, None)

    # ── what is to be seen ──

    def contents(self) -> Contents:
        """What a reader should see."""
        ends = {key: self._frontiers(key) for key in sorted(self.channels)}
        return Contents(
            queues=sorted(self.queues.values(), key=lambda queue: queue.id),
            chunks=[(chunk.record, chunk.raw) for chunk in self.chunks.values()],
            unsealed=[chunk.record for chunk in self.unsealed()],
            states=[(batch.record.id, batch.record.state) for batch in self.batches],
            unfinished=[self._seen(batch) for batch in self.live],
            refused=[self._seen(batch) for batch in self.in_state(BatchState.FAILED)],
            log=[self._seen(batch) for batch in self.log],
            log_start=self.commits - len(self.log),
            log_end=self.commits,
            stored_bytes=self.stored_bytes,
            letters=list(self.letters),
            channels=ends,
            carrying={key: [batch.record.id for batch in self.carriers(key)] for key in ends},
        )

    def _seen(self, batch: Sealed) -> SeenBatch:
        chunks = [self.chunks[number].record for number in batch.chunk_ids]
        content = b"".join(self.row(place).line for place in batch.places)
        return SeenBatch(batch.record, chunks, content, self.letters_of(batch))

    def _frontiers(self, key: ChannelKey) -> tuple[int, int, int]:
        spooled = self.channels[key]
        rows = [row for chunk in self.chunks.values() for row in chunk.rows if row.channel == key]
        committed = min([spooled, *(row.offset for row in rows if not row.settled)])
        unseen = [batch.carried[key] for batch in self.carriers(key)]
        return spooled, committed, min([committed, *unseen])
