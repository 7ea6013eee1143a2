"""What the console is handed: callables that say what there is, and the few things it may do.

Every one of the looking ones is cheap, or reads the disk in a thread of its own.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.seams import BatchView, DeadLetterView, PushLog, RunningQuery, Source
from protocol.arguments import QueryArguments
from protocol.entities import LiveQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream:
    """An insert stream that is open: rows that it brought, rows that were acked, and bytes of it
    that are not on disk yet. ``principal``: None where nobody is asked who he is."""

    target: str
    channel: str | None
    principal: str | None
    rows: int
    acked: int
    waiting_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFill:
    """What the spool holds, what it may hold, and how long its oldest uncommitted row waits."""

    stored_bytes: int
    limit_bytes: int
    oldest_row_age_s: float
    oldest_row_age_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLetters:
    """Dead letters that wait for somebody: how many, and the newest of them, newest first.

    Their rows are cut to what was asked for.
    """

    total: int
    newest: Sequence[DeadLetterView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleDoors:
    """``state`` is the server's: STARTING, RUNNING, STOPPING, STOPPED. ``is_open`` says whether
    the rooms may be asked; ``require_running`` raises `protocol.errors.KsqlError` where not.

    ``health`` is the document of ``/healthcheck``, without what the front door adds.
    ``newest_letters`` takes how many, and how many bytes of a row. ``close_at_end`` gets what is
    closed when the current request is over, however it ends.
    """

    version: str
    warehouse: str
    state: Callable[[], str]
    is_open: Callable[[], bool]
    require_running: Callable[[], None]
    health: Callable[[], Mapping[str, Any]]
    spool: Callable[[], SpoolFill]
    open_streams: Callable[[], Iterable[OpenStream]]
    batches: Callable[[], Awaitable[Sequence[BatchView]]]
    newest_letters: Callable[[int, int], Awaitable[OpenLetters]]
    task_log: PushLog
    live_queries: Callable[[], Sequence[LiveQuery]]
    terminate: Callable[[str], bool]
    start_query: Callable[[QueryArguments], Awaitable[RunningQuery]]
    sources: Callable[[], Sequence[Source]]
    close_at_end: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
