"""The console over scripted rooms, behind a real admin port on a real socket.

For what a whole gateway cannot be made to show at will: two hundred streams, held batches, Druid's
stages, a disk that cannot be read, a picture of a megabyte, a viewer who never reads.
"""

import contextlib
import http.client
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.console.doors import ConsoleDoors, OpenLetters, OpenStream, SpoolFill
from gateway.console.room import Console
from gateway.console.viewers import ViewerLimits
from gateway.http.admin import AdminDoors, AdminLimits, make_admin_app
from gateway.http.bodies import close_at_end
from gateway.http.callers import Callers
from gateway.ingest.task_log import TaskLog, TaskLogLimits
from gateway.metrics import Metrics
from gateway.seams import (
    InsertSpec,
    QueryEnd,
    QueryKind,
    ResultColumn,
    RowLines,
    RunningQuery,
    Source,
    SourceKind,
)
from protocol.arguments import QueryArguments
from protocol.entities import LiveQuery
from protocol.errors import KsqlError
from protocol.types import BIGINT, STRING, Column
from tests.admin_port import BODY_BYTES, ROW_BYTES, ScriptedBatches, ScriptedLetters
from tests.doors import Door, opened_door

DEADLINE_S = 15.0
JSON = {"content-type": "application/json"}


def stream(target: str, channel: str | None = None, **members: Any) -> OpenStream:
    """An open insert stream; ``members`` differ."""
    given = {"principal": None, "rows": 1200, "acked": 1100, "waiting_bytes": 4096, **members}
    return OpenStream(target=target, channel=channel, **given)


def source(name: str, columns: int = 2) -> Source:
    """A declared stream."""
    made = tuple(Column(f"C{number}", BIGINT if number else STRING) for number in range(columns))
    spec = InsertSpec(datasource=name.lower(), columns=made)
    return Source(name=name, kind=SourceKind.STREAM, columns=made, spec=spec)


class ScriptedQuery:
    """Implements `gateway.seams.RunningQuery`: gives its chunks, then waits or ends or breaks."""

    columns: tuple[ResultColumn, ...] = (ResultColumn("ID", BIGINT), ResultColumn("NAME", STRING))
    source_kind: SourceKind | None = SourceKind.STREAM
    ended_by = QueryEnd.COMPLETED

    def __init__(
        self,
        chunks: Sequence[bytes] = (),
        *,
        kind: QueryKind = QueryKind.PULL,
        error: Exception | None = None,
    ) -> None:
        self.id = "q1"
        self.kind = kind
        self.closed = 0
        self._chunks = chunks
        self._error = error

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        for chunk in self._chunks:
            yield RowLines(chunk, chunk.count(b"\n"))
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self.closed += 1


@dataclass
class House:
    """What the console is told, to be changed by a test at will. Use `opened_console`."""

    streams: list[OpenStream] = field(default_factory=list)
    queries: list[LiveQuery] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    batches: ScriptedBatches = field(default_factory=ScriptedBatches)
    letters: ScriptedLetters = field(default_factory=ScriptedLetters)
    health: dict[str, Any] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    task_log: TaskLog = field(default_factory=lambda: TaskLog(TaskLogLimits()))
    state: str = "RUNNING"
    refusal: KsqlError | None = None
    broken_disk: bool = False
    letter_total: int | None = None
    starts: ScriptedQuery | KsqlError = field(default_factory=ScriptedQuery)
    asked: list[QueryArguments] = field(default_factory=list)
    pictures: int = 0
    """how many were made"""
    padding: int = 0
    """bytes that every picture is the longer for"""
    _made: list[Any] = field(default_factory=list)

    @property
    def door(self) -> Door:
        """The server."""
        found: Door = self._made[0]
        return found

    @property
    def console(self) -> Console:
        """The room."""
        found: Console = self._made[1]
        return found

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.door.address
        return f"http://{host}:{port}/"

    def task(self, batch_id: str, state: str, **members: Any) -> None:
        """A word on a batch's task."""
        row = dict.fromkeys(
            ("STAGE", "WORKERS", "ROWS_IN", "ROWS_OUT", "SEGMENTS", "DURATION_MS", "ERROR_CODE")
        )
        row |= {"BATCH": batch_id, "ATTEMPT": 1, "TARGET": "EVENTS", "BYTES": 1234}
        row |= {"TASK_ID": f"query-{batch_id}-a1", "STATE": state, "CHANGED_AT": 1, **members}
        self.door.call(lambda: self.task_log.append(row))

    # ── what the console asks ──

    async def _all_batches(self) -> Any:
        self.pictures += 1
        if self.broken_disk:
            raise OSError("the disk is gone")
        found = await self.batches.all()
        return [replace(found[0], error="x" * self.padding), *found[1:]] if self.padding else found

    async def _newest(self, limit: int, row_bytes: int) -> OpenLetters:
        found = sorted(await self.letters.find(limit=1000), key=lambda one: -one.id)
        total = len(found) if self.letter_total is None else self.letter_total
        cut = [replace(one, raw=one.raw[:row_bytes]) for one in found[:limit]]
        return OpenLetters(total=total, newest=cut)

    async def _start(self, arguments: QueryArguments) -> RunningQuery:
        self.asked.append(arguments)
        if isinstance(self.starts, KsqlError):
            raise self.starts
        return self.starts

    def _terminate(self, query_id: str) -> bool:
        left = [query for query in self.queries if query.query_id != query_id]
        was, self.queries = len(self.queries), left
        return len(left) < was

    def _require_running(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _told_health(self) -> dict[str, Any]:
        details = {"spool": {"isHealthy": True}, "warehouse": {"isHealthy": True}, **self.health}
        return {"details": details}

    def doors(self) -> ConsoleDoors:
        """What the console is handed."""
        at_end: Callable[[Callable[[], Coroutine[Any, Any, None]]], None] = close_at_end
        start: Callable[[QueryArguments], Awaitable[RunningQuery]] = self._start
        return ConsoleDoors(
            version="1.2.3",
            warehouse="druid",
            state=lambda: self.state,
            is_open=lambda: self.state in ("RUNNING", "STOPPING"),
            require_running=self._require_running,
            health=self._told_health,
            spool=lambda: SpoolFill(
                stored_bytes=3 << 30,
                limit_bytes=8 << 30,
                oldest_row_age_s=2.5,
                oldest_row_age_limit_s=1e6,
            ),
            open_streams=lambda: self.streams,
            batches=self._all_batches,
            newest_letters=self._newest,
            task_log=self.task_log,
            live_queries=lambda: self.queries,
            terminate=self._terminate,
            start_query=start,
            sources=lambda: self.sources,
            close_at_end=at_end,
        )


@contextlib.contextmanager
def opened_console(limits: ViewerLimits | None = None, **parts: Any) -> Iterator[House]:
    """A console, up for the block; ``parts`` of `House`."""
    house = House(**parts)
    console = Console(house.doors(), house.metrics, limits)
    doors = AdminDoors(
        health=house._told_health,
        require_running=house._require_running,
        dead_letters=house.letters,
        batches=house.batches,
    )
    app_limits = AdminLimits(body_bytes=BODY_BYTES, row_bytes=ROW_BYTES)
    app = make_admin_app(doors, app_limits, Callers("127.0.0.1"))
    console.add_to(app)
    with opened_door(app) as door:
        house._made += [door, console]
        try:
            yield house
        finally:
            door.run(console.close())


# ── asking it ────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def events(address: tuple[str, int]) -> Iterator[Iterator[tuple[str, Any]]]:
    """The event stream at ``/events``: name and document of each event, comments as ``:``."""
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/events")
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response)


def parsed(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Events as they come."""
    rest = b""
    while piece := response.read1(1 << 20):
        *whole, rest = (rest + piece).split(b"\n\n")
        for event in whole:
            if event.startswith(b":"):
                yield ":", event
            elif event.startswith(b"event: "):
                head, _, data = event.partition(b"\ndata: ")
                yield head.removeprefix(b"event: ").decode(), orjson.loads(data)
            else:
                name, _, value = event.partition(b": ")
                yield name.decode(), json.loads(value)
    assert rest == b"", "it broke off"
