"""The seams between the rooms: the interfaces they meet at and the values that cross them.

A value here is frozen and says its units in its names. Rows always travel as the bytes they are:
newline-terminated JSON objects on the way down (`Rows`), newline-terminated JSON arrays on the way
up (`RowLines`). Nothing in here does anything.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from protocol.arguments import QueryArguments
from protocol.errors import RowRejected
from protocol.names import DeclaredNames
from protocol.types import Column, SqlType

ARRIVAL_FIELD = "__arrival"
"""Field of a spooled row that holds its arrival (epoch ms) where the stream declares no time."""

BATCH_COLUMN = "_batch"
"""Column of every datasource row that names the batch which carried it."""

TIME_COLUMN = "__time"
"""Druid's name for the primary time column."""


# ── streams ──────────────────────────────────────────────────────────────────────────────────


class AckLevel(StrEnum):
    """What an ``ok`` promises; each level holds what the one before it holds."""

    SPOOLED = "spooled"
    COMMITTED = "committed"
    QUERYABLE = "queryable"


class TimeEncoding(StrEnum):
    """How a row's time is written in its spooled bytes."""

    MILLIS = "millis"
    """a JSON integer, milliseconds since 1970 in UTC"""
    ISO = "iso"
    """a JSON string, ISO 8601 with date and time, UTC unless it carries an offset"""


class InsertSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the spooled rows of a stream become rows of a datasource.

    Frozen with the rows: a batch is submitted under the specification it was spooled under, even
    if the stream was defined anew meanwhile. ``columns`` have the names that stand in the row
    bytes, which are the datasource's own; the one named ``time_column`` becomes ``__time`` and is
    not stored twice. ``time_column`` is `ARRIVAL_FIELD` (and then no member of ``columns``) where
    the stream declares no time.
    """

    datasource: str
    columns: tuple[Column, ...]
    time_column: str = ARRIVAL_FIELD
    time_encoding: TimeEncoding = TimeEncoding.MILLIS
    partitioned_by: str = "DAY"
    """what follows PARTITIONED BY: a Druid granularity keyword (HOUR, DAY, MONTH, YEAR, ALL)"""
    clustered_by: tuple[str, ...] = ()


class SourceKind(StrEnum):
    """What ``CREATE`` declared."""

    STREAM = "STREAM"
    TABLE = "TABLE"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or table by name, declared by a statement or discovered in the warehouse.

    ``columns`` are the declared ones in their order; ``spec.columns`` are the same with the names
    that the datasource gives them. For a discovered datasource the columns are its own, ``__time``
    among them, and ``declared`` is false.
    """

    name: str
    kind: SourceKind
    columns: tuple[Column, ...]
    spec: InsertSpec
    declared: bool = True
    time_format: str | None = None
    """pattern of a STRING time column; None: ISO 8601"""
    ack: AckLevel | None = None
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    """the WITH properties as written, Kafka's too: they are echoed, never interpreted"""
    statement: str = ""


class Sources(Protocol):
    """The catalogue as other rooms see it."""

    async def resolve(self, target: str) -> Source:
        """The source that ``target`` (text as the client wrote it) names.

        Raises `protocol.errors.BadStatement` for broken quoting and for an unknown name.
        """

    def declared(self, name: str) -> Source | None:
        """The declared source of exactly this (already folded) name."""

    def all_declared(self) -> list[Source]:
        """Every declared source, by name."""

    def names(self, name: str) -> DeclaredNames | None:
        """What a query may name of the declared source of exactly this (already folded) name."""


# ── rows going down ──────────────────────────────────────────────────────────────────────────


class ReceiptSink(Protocol):
    """An insert stream as the intake sees it: who hears what becomes of its rows.

    Called on the event loop. Sequence numbers are the stream's own.
    """

    def spooled(self, credit_bytes: int) -> None:
        """Rows that took so many bytes on the wire are on disk: the client may send as many."""

    def settled(self, first_seq: int, end_seq: int) -> None:
        """Rows ``[first_seq, end_seq)`` hold the level that the stream asked for."""

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """Row ``seq`` will never be stored."""


class IntakeStream(Protocol):
    """One insert stream's way into the spool."""

    waiting_bytes: int
    """handed over and not on disk yet"""

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """Take ``count`` checked rows, lines in ``raw``. Returns at once; the sink hears more.

        ``credit_bytes`` is what they took on the wire: `ReceiptSink.spooled` gives it back.
        """

    def close(self) -> None:
        """The stream is gone: its sink hears nothing more. Rows that were taken stay taken."""


class Intake(Protocol):
    """The door of the ingest room."""

    async def open_stream(
        self, source: "Source", level: "AckLevel", sink: ReceiptSink
    ) -> IntakeStream:
        """A way into the spool for rows of ``source`` that are acked at ``level``.

        Raises `SpoolFull` if there is no room now, `protocol.errors.InternalError` if the spool
        cannot be written.
        """


class BatchBytes(Protocol):
    """The bytes of a sealed batch. They never change, so they may be read again and in parts.

    Reading blocks on the disk: call it from a thread, never on the event loop.
    """

    size_bytes: int

    def read(self, start: int = 0) -> Iterator[bytes]:
        """Pieces of the batch from byte ``start`` on, in order; whole lines in sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One attempt at a batch: what a warehouse needs to insert it.

    ``task_id`` is the idempotency handle (Druid's ``sqlQueryId``): it differs between attempts,
    while ``batch_id`` (the value of `BATCH_COLUMN`) never does.
    """

    batch_id: str
    task_id: str
    spec: InsertSpec
    rows: int
    content: BatchBytes


class Submitted(StrEnum):
    """How a warehouse took a submission."""

    ACCEPTED = "accepted"
    EXISTS = "exists"
    """the task id was known already: ask its status"""


class TaskState(StrEnum):
    """Life of a task as a warehouse tells it."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailure:
    """Why a task failed, in the warehouse's own words.

    ``line`` is the 1-based line of the batch's bytes that could not be read, where it is told.
    ``data_error`` says that the rows are at fault: trying them again unchanged cannot succeed.
    """

    code: str
    message: str
    line: int | None = None
    data_error: bool = False


class Warehouse(Protocol):
    """Where rows live. Two stand behind it: ``druid`` and ``embedded``; one contract test suite.

    Every method may raise `WarehouseUnreachable`: then nothing is known of the call's effect.
    """

    name: str

    async def open(self) -> None:
        """Get ready; raises `WarehouseUnreachable` only where waiting cannot help."""

    async def close(self) -> None:
        """Give everything back. Tasks that run in a cluster run on."""

    # going down

    async def submit(self, submission: Submission) -> Submitted:
        """Start the insert. Raises `SubmissionRefused` if it can never be taken as it is."""

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """States of the tasks, in one call; ids the warehouse does not know are absent."""

    async def failure(self, task_id: str) -> TaskFailure:
        """Why a FAILED task failed."""

    async def count(self, datasource: str, batch_id: str) -> int:
        """Rows of this batch in published data, loaded or not; 0 if there is no datasource."""

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """Whether a SELECT sees all ``rows`` of the committed batch now."""

    async def free_batches(self) -> int:
        """How many more batches may be started now without starving the warehouse."""

    async def release(self, task_id: str) -> None:
        """The task is final and settled: what was kept for it may go."""

    # coming up

    async def datasources(self) -> list[str]:
        """Names of the datasources that exist, sorted."""

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """Columns of a datasource in its order, ``__time`` included; None if it does not exist."""

    async def query(self, query: "WarehouseQuery") -> "Result":
        """Start a SELECT. Raises `QueryRefused`; after the return, rows raise `QueryBroken`."""


# ── rows coming up ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseQuery:
    """A SELECT in Druid SQL, without a trailing semicolon."""

    sql: str
    query_id: str
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowLines:
    """Result rows as they go out: ``count`` JSON arrays, each on a line that ends in a newline."""

    raw: bytes
    count: int


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result: its name, its type, and ``stored_as`` the warehouse's type name.

    ``key`` marks a plain column that its stream or table declares as KEY or PRIMARY KEY.
    """

    name: str
    type: SqlType
    stored_as: str = ""
    key: bool = False


class Result(Protocol):
    """A running SELECT."""

    columns: tuple[ResultColumn, ...]

    def rows(self) -> AsyncIterator[RowLines]:
        """Chunks of rows, to the proven end of the result; raises `QueryBroken` before it."""

    async def close(self) -> None:
        """Stop the query at the warehouse if it still runs. May be called twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A committed batch in the log that push queries read.

    ``pieces`` reads its spooled rows (NDJSON as `InsertSpec` describes it) in bounded pieces of
    whole lines; it blocks on the disk, and gives less once the retention has passed the entry.
    """

    position: int
    source: str
    spec: InsertSpec
    pieces: Callable[[], Iterator[bytes]]


class CommitLog(Protocol):
    """Committed batches in the order of their commits. Positions grow; 0 is before the first."""

    def end(self) -> int:
        """The position of the newest commit."""

    async def after(self, position: int) -> list[LogEntry]:
        """Some of the retained entries after ``position``, in order; waits for one."""


class QueryKind(StrEnum):
    """A pull query ends by itself; a push query runs until it is closed or its LIMIT is met."""

    PULL = "PULL"
    PUSH = "PUSH"


class QueryEnd(StrEnum):
    """Why the rows of a query ended, other than by an error."""

    COMPLETED = "completed"
    LIMIT = "limit"
    CLOSED = "closed"


class RunningQuery(Protocol):
    """A query that was started: its header is known, its rows come."""

    id: str
    kind: QueryKind
    columns: tuple[ResultColumn, ...]
    source_kind: SourceKind | None
    """of the declared source that it reads (STREAM if it reads several, and one is); None: none"""

    @property
    def ended_by(self) -> QueryEnd:
        """Why `rows` has ended; until it has, COMPLETED."""

    def rows(self) -> AsyncIterator[RowLines]:
        """Rows until the end. Raises `protocol.errors.KsqlError` if the query breaks."""

    async def close(self) -> None:
        """Give it up: rows end. May be called at any time, and again."""


class Queries(Protocol):
    """The door of the query room."""

    async def start(self, arguments: QueryArguments) -> RunningQuery:
        """Start the one query in ``arguments``. Raises `protocol.errors.KsqlError`."""

    async def close_query(self, query_id: str) -> bool:
        """Close a live query by its id; False if there is none."""


# ── errors that cross a seam ─────────────────────────────────────────────────────────────────


class WarehouseUnreachable(Exception):
    """No answer, or none that means anything: the effect of the call is unknown."""


class SubmissionRefused(Exception):
    """The warehouse will not take this batch as it is (its SQL, its rights); no retry helps."""


class QueryRefused(Exception):
    """The SELECT is at fault: syntax, unknown name, unsupported function. Text is for the user."""


class QueryBroken(Exception):
    """The result ended before its end was proven: it must not pass for a shorter answer."""


class SpoolFull(Exception):
    """The spool has no room for these rows within the time allowed."""
