"""What the statements reach outside of the catalogue: callables that the runtime hands over.

Owns: their types, and the sentence that is told where one was not handed over. Each may raise
`protocol.errors.KsqlError` and `gateway.seams.WarehouseUnreachable` beyond what it says itself.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.seams import Permit, TaskFailure, TaskState
from protocol.entities import LiveQuery


class InsertRows(Protocol):
    """Stores rows and returns once they hold the ack level of their stream.

    They count for the permit's principal; that it may insert them has been asked.

    ``target`` is a name in back-ticks that the catalogue resolves; the rows are JSON objects as a
    client of ``/inserts-stream`` sends them, their names as the datasource spells them. They have
    been checked: what is refused all the same raises `protocol.errors.RowRejected`.
    """

    def __call__(
        self, target: str, rows: list[dict[str, Any]], permit: Permit, /
    ) -> Awaitable[None]: ...


class RunTask(Protocol):
    """Starts Druid's INSERT or REPLACE as a task and returns its id, without waiting for its end.

    ``sql`` has no semicolon, and is the client's own text. Raises `gateway.seams.QueryRefused` or
    `gateway.seams.SubmissionRefused` where the warehouse will not take it.
    """

    def __call__(self, sql: str, /) -> Awaitable[str]: ...


class ExplainQuery(Protocol):
    """The warehouse's plan of a SELECT in its own SQL, as text.

    Raises `gateway.seams.QueryRefused` where the warehouse cannot plan it.
    """

    def __call__(self, sql: str, /) -> Awaitable[str]: ...


TaskStates = Callable[[Collection[str]], Awaitable[dict[str, TaskState]]]
"""States by the ids that `RunTask` gave, unknown ones absent: `Warehouse.statuses` of the seams."""

TaskWhy = Callable[[str], Awaitable[TaskFailure]]
"""Why a FAILED task failed: `Warehouse.failure` of the seams."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveQueries:
    """The push queries that live now.

    ``live`` gives those of the permit's principal; ``terminate`` closes one of them by its id and
    says whether there was one. With ``admin`` all are its own.
    """

    live: Callable[[Permit], Iterable[LiveQuery]]
    terminate: Callable[[str, Permit], bool]


NO_INSERT = "send rows to /inserts-stream, which acknowledges each of them"
NO_TASKS = "this warehouse runs no SQL tasks: send rows to /inserts-stream"
NO_EXPLAIN = "this warehouse gives no plans: run the query itself"
