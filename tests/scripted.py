"""A front door over a scripted query room: for queries that must fail, or be started, at a moment.

A real warehouse cannot be made to break a result at a chosen row. Rooms that a test does not reach
are not there at all.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from quart import Quart

from gateway.http.app import Doors, HttpLimits, make_app
from gateway.http.drain import OpenStreams, ServerState
from gateway.http.inserts import InsertLimits
from gateway.seams import AckLevel, Permit, QueryEnd, QueryKind, ResultColumn, RowLines, SourceKind
from protocol.arguments import QueryArguments
from protocol.types import BIGINT

INFO = {"version": "7.9.0", "kafkaClusterId": "k", "ksqlServiceId": "s", "serverStatus": "RUNNING"}


@dataclass
class ScriptedQuery:
    """Implements `gateway.seams.RunningQuery`: gives ``chunks``, then raises ``error`` if any."""

    chunks: Sequence[bytes] = ()
    error: Exception | None = None
    kind: QueryKind = QueryKind.PUSH
    id: str = "q"
    columns: tuple[ResultColumn, ...] = (ResultColumn("A", BIGINT),)
    source_kind: SourceKind | None = SourceKind.STREAM
    ended_by: QueryEnd = QueryEnd.COMPLETED
    closed: int = 0

    async def rows(self) -> AsyncIterator[RowLines]:
        """See `gateway.seams.RunningQuery`."""
        for raw in self.chunks:
            yield RowLines(raw, raw.count(b"\n"))
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """See `gateway.seams.RunningQuery`."""
        self.closed += 1


@dataclass
class ScriptedQueries:
    """Implements `gateway.seams.Queries`: starts ``query``, or raises it; remembers what came."""

    query: ScriptedQuery | Exception
    asked: list[QueryArguments] = field(default_factory=list)

    async def start(self, arguments: QueryArguments, permit: Permit) -> ScriptedQuery:
        """See `gateway.seams.Queries`."""
        self.asked.append(arguments)
        if isinstance(self.query, Exception):
            raise self.query
        return self.query

    async def close_query(self, query_id: str, permit: Permit) -> bool:
        """See `gateway.seams.Queries`."""
        return False


def scripted_app(
    query: ScriptedQuery | Exception, state: ServerState = ServerState.RUNNING, **doors: Any
) -> Quart:
    """The application over one query; ``doors`` are more of `gateway.http.doors.Doors`."""
    given = {"queries": ScriptedQueries(query), **doors}
    absent = cast(Any, None)
    return make_app(
        Doors(
            sources=absent,
            intake=absent,
            statements=absent,
            health=lambda: {"isHealthy": True},
            info=lambda: INFO,
            open_streams=OpenStreams(state),
            **given,
        ),
        HttpLimits(
            body_bytes=1 << 20,
            overrun_max_bytes=1 << 20,
            inserts=InsertLimits(row_bytes=1000, waiting_bytes=1 << 16, ack=AckLevel.SPOOLED),
        ),
    )
