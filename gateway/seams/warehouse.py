"""Where rows live: the interface that both warehouses hold, and the values that cross it."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from gateway.seams.sources import InsertSpec
from protocol.types import Column, SqlType


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
