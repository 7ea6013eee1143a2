"""Rows coming up: logs that push queries read, and the door of the query room."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.seams.access import Permit
from gateway.seams.sources import InsertSpec, Source, SourceKind
from gateway.seams.warehouse import ResultColumn, RowLines
from protocol.arguments import QueryArguments


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

    async def start(self, arguments: QueryArguments, permit: Permit) -> RunningQuery:
        """Start the one query in ``arguments``, of all that it reads as the permit allows.

        It belongs to the permit's principal. Raises `protocol.errors.KsqlError`.
        """

    async def close_query(self, query_id: str, permit: Permit) -> bool:
        """Close a live query by its id; False if there is none, or it is another principal's."""
