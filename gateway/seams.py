"""The seams between the rooms: the interfaces they meet at and the values that cross them.

A value here is frozen and says its units in its names. Rows always travel as the bytes they are:
newline-terminated JSON objects on the way down (`Rows`), newline-terminated JSON arrays on the way
up (`RowLines`). Nothing in here does anything.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

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
        """Row ``seq`` alone is at fault and will never be stored; what follows it may be."""

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """From row ``seq`` on nothing is promised: the stream ends there."""

    def stopped(self, rejected: RowRejected) -> None:
        """No more rows are taken; those that were taken still get their verdicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelClaim:
    """A stream's place on a channel: ``offset`` of its row 0; None: where the channel stands."""

    name: str
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOffsets:
    """The next offset of a channel at each level: rows below it hold what the level promises."""

    spooled: int
    committed: int
    queryable: int


class IntakeStream(Protocol):
    """One insert stream's way into the spool.

    On a channel, ``next_offset`` is where the channel stood when the stream was opened, and the
    first ``duplicates`` rows of the stream lie below it: they are not appended, and what became of
    them when they came first is told to the sink like that of any other row.
    """

    waiting_bytes: int
    """handed over and not on disk yet"""
    next_offset: int | None
    duplicates: int

    def append(self, first_seq: int, count: int, raw: bytes, credit_bytes: int) -> None:
        """Take ``count`` checked rows, lines in ``raw``. Returns at once; the sink hears more.

        ``credit_bytes`` is what they took on the wire: `ReceiptSink.spooled` gives it back.
        """

    def refuse(self, seq: int, raw: bytes, rejected: RowRejected, credit_bytes: int) -> None:
        """Row ``seq`` failed its check and the stream goes on: keep it among the dead letters.

        `ReceiptSink.failed` tells once that is on disk.
        """

    def close(self) -> None:
        """The stream is gone: its sink hears nothing more. Rows that were taken stay taken."""


class Intake(Protocol):
    """The door of the ingest room."""

    async def open_stream(
        self,
        source: "Source",
        level: "AckLevel",
        sink: ReceiptSink,
        channel: ChannelClaim | None = None,
    ) -> IntakeStream:
        """A way into the spool for rows of ``source`` that are acked at ``level``.

        A stream that holds the channel already is stopped: it is fenced. Raises `SpoolFull` if
        there is no room now, `protocol.errors.BadRequest` for a start above the channel's next
        offset, `protocol.errors.InternalError` if the spool cannot be written.
        """

    async def channel(self, source: "Source", name: str) -> ChannelOffsets | None:
        """Where a channel stands; None if it never held a row."""


# ── what waits for the operator ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterView:
    """A row that could not be stored, and why.

    ``raw`` is one line without its newline: as the client sent it, or as it was spooled.
    ``channel`` and ``offset`` where the row came on a channel; ``batch`` and ``line`` (1-based, in
    the sealed batch) where a batch had been made of it. ``tasks``: how many were run to find it.
    ``state`` is ``open``, ``retried`` or ``dropped``.
    """

    id: int
    stream: str
    channel: str | None
    offset: int | None
    batch: str | None
    line: int | None
    code: str
    message: str
    at_ms: int
    state: str
    tasks: int
    raw: bytes


class DeadLetters(Protocol):
    """Rows that could not be stored: looked at, mended, driven again or given up."""

    async def find(
        self,
        *,
        stream: str | None = None,
        channel: str | None = None,
        state: str = "open",
        after_id: int = 0,
        limit: int = 100,
    ) -> list[DeadLetterView]:
        """Those that match, by id, after ``after_id``; ``state`` may also be ``all``."""

    async def get(self, letter_id: int) -> DeadLetterView | None:
        """One of them."""

    async def edit(self, letter_id: int, raw: bytes) -> DeadLetterView:
        """Put another row in its place. Raises `protocol.errors.KsqlError` if it is none that the
        stream takes, or if the letter is not open."""

    async def retry(self, letter_id: int) -> None:
        """Spool the row again, in one transaction with the letter's end. Raises
        `protocol.errors.KsqlError` if the stream does not take it, or if it is not open."""

    async def drop(self, letter_id: int) -> None:
        """Give the row up. Raises `protocol.errors.KsqlError` if it is not open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch that is not final, or that waits for the operator (``HELD``, ``FAILED``)."""

    id: str
    task_id: str
    stream: str
    datasource: str
    state: str
    attempt: int
    rows: int
    size_bytes: int
    sealed_ms: int
    error: str | None


class Batches(Protocol):
    """Batches on their way, and the operator's say over those that cannot go on."""

    async def all(self) -> list[BatchView]:
        """Every batch that is not committed, in the order of sealing."""

    async def retry(self, batch_id: str) -> None:
        """Try a HELD or FAILED batch again, under the next attempt's task id: the operator has
        seen to what was wrong, and to rows of it that were there. Raises
        `protocol.errors.KsqlError` if there is no such batch."""

    async def accept(self, batch_id: str) -> None:
        """Take a HELD or FAILED batch for committed: the operator has seen its rows."""

    async def drop(self, batch_id: str) -> None:
        """Give a HELD or FAILED batch up: its rows go to the dead letters."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far a task has come, in the warehouse's own counting; None: it does not tell.

    ``stage`` is ``<number>:<phase>`` of the newest stage that has begun, ``workers`` how many work
    on it. ``rows_in`` were read of what was submitted, ``rows_out`` are written. ``segments`` is
    known once they are published. ``is_over``: nothing of it will change any more.
    """

    stage: str | None = None
    workers: int | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    segments: int | None = None
    duration_ms: int | None = None
    is_over: bool = False


@runtime_checkable
class TellsProgress(Protocol):
    """What a `Warehouse` may also do."""

    async def task_progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        """How far tasks have come; those of which nothing is known now are absent."""


class Warehouse(Protocol):
    """Where rows live. Two stand behind it: ``druid`` and ``embedded``; one contract test suite.

    Every method may raise `WarehouseUnreachable`: then nothing is known of the call's effect.
    """

    name: str
    queryable_at_commit: bool
    """whether a SELECT sees rows as soon as their task is a SUCCESS"""

    async def open(self) -> None:
        """Get ready; raises `WarehouseUnreachable` only where waiting cannot help."""

    async def close(self) -> None:
        """Give everything back. Tasks that run in a cluster run on."""

    # going down

    async def submit(self, submission: Submission) -> Submitted:
        """Start the insert. Raises `SubmissionRefused` if it can never be taken as it is."""

    def resumed(self, submission: Submission) -> None:
        """An attempt that an earlier process may have submitted: its task may still fetch rows."""

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
        """Start a SELECT. Raises `QueryRefused`, and `QueryBroken` if it fails before its columns
        are known; after the return, rows raise `QueryBroken`. A caller that is cancelled meanwhile
        leaves no query behind."""


# ── rows coming up ───────────────────────────────────────────────────────────────────────────


class QueryEngine(StrEnum):
    """What a warehouse runs a SELECT with."""

    NATIVE = "native"
    TASK = "task"
    """a task of its own, whose rows come when it has ended; where there is but one engine, that"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseQuery:
    """A SELECT in Druid SQL, without a trailing semicolon.

    ``context`` is Druid's query context; a warehouse that is no Druid takes of it what it knows.
    ``shows`` are the types that the outputs will be shown as, in their order, where they are
    columns that a stream declares. A warehouse may write values as those types itself, and says so
    (`ResultColumn.as_declared`); it may as well ignore them.
    """

    sql: str
    query_id: str
    context: Mapping[str, Any] = field(default_factory=dict)
    engine: QueryEngine = QueryEngine.NATIVE
    shows: tuple[SqlType | None, ...] = ()


@dataclass(frozen=True, slots=True)
class RowLines:
    """Result rows as they go out: ``count`` JSON arrays, each on a line that ends in a newline.

    ``token`` is the continuation token of the place after them, where the query sends tokens; it
    may also come with no rows at all.
    """

    raw: bytes
    count: int
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result: its name, its type, and ``stored_as`` the warehouse's type name.

    ``key`` marks a plain column that its stream or table declares as KEY or PRIMARY KEY.
    ``as_declared``: its values are written as `WarehouseQuery.shows` asks for, not as stored.
    """

    name: str
    type: SqlType
    stored_as: str = ""
    key: bool = False
    as_declared: bool = False


class Result(Protocol):
    """A running SELECT."""

    columns: tuple[ResultColumn, ...]

    def rows(self) -> AsyncIterator[RowLines]:
        """Chunks of rows, to the proven end of the result; raises `QueryBroken` before it."""

    async def close(self) -> None:
        """Stop the query at the warehouse if it still runs. May be called twice."""


class PushLevel(StrEnum):
    """What must have become of a row before a push query gives it."""

    COMMITTED = "committed"
    SPOOLED = "spooled"
    """on the gateway's disk; it may still turn out that the warehouse cannot take it"""


class Pieces(Protocol):
    """Reads the rows of a log entry."""

    def __call__(self, start: int = 0) -> Iterator[bytes]:
        """Pieces from number ``start`` on, in order: whole lines, NDJSON as `InsertSpec` says.

        Blocks on the disk. Raises `EntryGone` once the retention has passed the entry: then some
        of it may have been read.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry of a log that push queries read. Its pieces never change; they may be read again.

    ``size_bytes``: about what all of its rows take.
    """

    position: int
    source: str
    spec: InsertSpec
    size_bytes: int
    pieces: Pieces


class PushLog(Protocol):
    """Rows in the order in which they reached a level. Positions are dense; 0 is before the first.

    ``log_id`` is the same for as long as positions mean the same.
    """

    level: PushLevel
    kept_by: str
    """the settings that bound what is retained, for who comes too late"""

    @property
    def log_id(self) -> str:
        """Names this log among those of all gateways."""

    def end(self) -> int:
        """The position of the newest entry."""

    async def retained(self) -> tuple[tuple[int, int], ...]:
        """Ranges (first, last) of the entries that are still there, in order.

        Where an entry may be dropped before one that is older there are several. The last one
        ends at `end`, and may be empty: first is last + 1 then.
        """

    async def after(self, position: int) -> list[LogEntry]:
        """Some of the retained entries after ``position``, in order; waits for one.

        Raises `EntryGone` where all that there were are past the retention.
        """


TASKS_STREAM = "HEADRACE_TASKS"
"""Name of the gateway's own stream, which tells what becomes of tasks. Nobody may declare it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnStream:
    """A stream of the gateway's own, read by push queries at any level alike.

    Its log lives as long as the process.
    """

    source: Source
    log: PushLog


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


class EntryGone(Exception):
    """The retention has passed an entry of a log: its rows cannot be read any more."""


class SpoolFull(Exception):
    """The spool has no room for these rows within the time allowed."""
