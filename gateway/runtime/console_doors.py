"""What the console is told of the rooms, in its own values: the joint between it and them.

Handed over by `rooms`: it knows rooms' insides so that the console need not.
"""

from collections.abc import Awaitable, Callable, Iterator

from gateway.catalog.catalog import Catalog
from gateway.console.doors import ConsoleDoors, OpenLetters, OpenStream, SpoolFill
from gateway.http.bodies import close_at_end
from gateway.http.drain import OpenStreams, ServerState
from gateway.http.inserts import InsertSession
from gateway.ingest.ingest_room import IngestRoom
from gateway.query.service import QueryService
from gateway.seams import UNASKED, RunningQuery
from protocol.arguments import QueryArguments

_OPEN = (ServerState.RUNNING, ServerState.STOPPING)


def console_doors(
    *,
    version: str,
    warehouse: str,
    catalog: Catalog,
    ingest: IngestRoom,
    queries: QueryService,
    open_streams: OpenStreams,
    start_query: Callable[[QueryArguments], Awaitable[RunningQuery]],
) -> ConsoleDoors:
    """What the console of one gateway is handed."""

    def spool() -> SpoolFill:
        capacity = ingest.capacity
        return SpoolFill(
            stored_bytes=capacity.stored_bytes,
            limit_bytes=capacity.spool_bytes,
            oldest_row_age_s=capacity.backlog_age_s(),
            oldest_row_age_limit_s=capacity.age_limit_s,
        )

    async def newest_letters(limit: int, row_bytes: int) -> OpenLetters:
        total, newest = await ingest.dead_letters.newest(limit, row_bytes)
        return OpenLetters(total=total, newest=newest)

    return ConsoleDoors(
        version=version,
        warehouse=warehouse,
        state=lambda: open_streams.state.value,
        is_open=lambda: open_streams.state in _OPEN,
        require_running=open_streams.require_running,
        health=lambda: {"details": ingest.health()},
        spool=spool,
        open_streams=lambda: _streams(open_streams.sessions),
        batches=ingest.batches.all,
        newest_letters=newest_letters,
        task_log=ingest.task_log,
        live_queries=lambda: queries.live(UNASKED),
        terminate=lambda query_id: queries.terminate(query_id, UNASKED),
        start_query=start_query,
        sources=catalog.all_declared,
        close_at_end=close_at_end,
    )


def _streams(sessions: list[InsertSession]) -> Iterator[OpenStream]:
    for session in sessions:
        arguments = session.stream.arguments
        if arguments is not None:
            yield OpenStream(
                target=arguments.target,
                channel=session.channel,
                principal=_principal(session),
                rows=session.stream.rows,
                acked=session.stream.acked,
                waiting_bytes=session.waiting_bytes,
            )


def _principal(session: InsertSession) -> str | None:
    """Whom the session is from, where somebody was asked."""
    principal = session.permit.principal
    return None if principal.shown == "nothing" else principal.name
