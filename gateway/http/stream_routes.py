"""The streaming routes: ``/query-stream``, ``/query`` and ``/inserts-stream``.

Over HTTP/2 they ride lanes; over HTTP/1.1, and where lanes are off, the same sessions are driven
through the framework, chunk by chunk, with the gate of `gateway.http.bodies` before them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import structlog
from quart import Quart, Response, request

from gateway.http.bodies import (
    BodyGate,
    close_at_end,
    exchange,
    read_body,
    refuse_announced,
)
from gateway.http.credentials import permit
from gateway.http.doors import Doors, HttpLimits
from gateway.http.drain import OpenStreams
from gateway.http.inserts import InsertSession
from gateway.http.lanes import Lane
from gateway.http.measures import InsertMeasure
from gateway.http.negotiation import inserts_framing, query_framing, query_stream_framing
from gateway.http.queries import QuerySession
from gateway.http.riders import InsertRider, QueryRider
from gateway.http.streams import LANE_KEY
from protocol.arguments import QueryArguments, parse_query_arguments, parse_query_request
from protocol.errors import BadRequest, Http2Required, InternalError, RowRejected
from protocol.framing import Framing

_log = structlog.get_logger("headrace.http")

LANE_PATHS = frozenset({b"/inserts-stream", b"/insert-stream", b"/query-stream", b"/query"})

NEXT_OFFSET_HEADER = "headrace-next-offset"
"""Where a stream's channel stood when it was opened: rows below it are held already."""

LINGER_S = 1.0
"""How long a client over HTTP/1.1 may go on sending rows to a stream whose answer is an error."""


def add_stream_routes(app: Quart, doors: Doors, limits: HttpLimits) -> None:
    """Register them."""
    measure = InsertMeasure(doors.metrics)

    async def inserts_stream() -> Response:
        if not _may_insert(limits):
            raise Http2Required
        doors.open_streams.require_running()
        session = InsertSession(
            doors.sources,
            doors.intake,
            limits.inserts,
            inserts_framing(),
            measure,
            permit=permit(),
        )
        return await _inserts(session, doors, limits)

    async def query_stream() -> Response:
        _refuse_http_1_0()
        doors.open_streams.require_running()
        return await _query(query_stream_framing(), parse_query_arguments, doors, limits)

    async def query() -> Response:
        doors.open_streams.require_running()
        return await _query(query_framing(), parse_query_request, doors, limits)

    app.post("/inserts-stream")(inserts_stream)
    app.post("/insert-stream")(inserts_stream)
    app.post("/query-stream")(query_stream)
    app.post("/query")(query)


# ── queries ──────────────────────────────────────────────────────────────────────────────────


async def _query(
    framing: Framing,
    parse: Callable[[bytes], QueryArguments],
    doors: Doors,
    limits: HttpLimits,
) -> Response:
    refuse_announced(limits.body_bytes)
    lane = _lane()
    rider = QueryRider(lane, body_limit_bytes=limits.body_bytes) if lane is not None else None
    body = await (rider.body() if rider is not None else read_body(limits.body_bytes))
    session = QuerySession(framing, parse(body))
    close_at_end(session.close)
    await session.start(doors.queries, permit())
    response = _streamed(rider.run(session) if rider is not None else _each(session.frames()))
    response.content_type = framing.value
    return response


async def _each(frames: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    async for several in frames:
        for frame in several:
            yield frame


def _refuse_http_1_0() -> None:
    """It has no chunks: a client could not tell the end of a result from a lost connection."""
    if request.http_version == "1.0":
        raise BadRequest("This endpoint is only available when using HTTP1.1 or HTTP2")


# ── inserts ──────────────────────────────────────────────────────────────────────────────────


def _may_insert(limits: HttpLimits) -> bool:
    if request.http_version in ("2", "3"):
        return True
    return limits.inserts_over_http1 and request.http_version == "1.1"


async def _inserts(session: InsertSession, doors: Doors, limits: HttpLimits) -> Response:
    async def close() -> None:
        session.close()

    close_at_end(close)
    lane = _lane()
    if lane is not None:
        rider = InsertRider(session, lane, overrun_max_bytes=limits.overrun_max_bytes)
        await rider.arguments()
        await session.admit()
        return _insert_response(session, rider.run(doors.open_streams))
    pipe = BodyPipe(session, exchange().gate, lingers=request.http_version == "1.1")
    await pipe.read_arguments(aiter(request.body))
    if session.needs_admission:
        await session.admit()
    return _insert_response(session, pipe.run(doors.open_streams))


def _insert_response(session: InsertSession, frames: AsyncIterator[bytes]) -> Response:
    response = _streamed(frames)
    if session.next_offset is not None:
        response.headers[NEXT_OFFSET_HEADER] = str(session.next_offset)
    return response


class BodyPipe:
    """An insert stream through the framework: a reader of the body beside the writer of frames.

    ``lingers``: what a client still sends after an error is read, and dropped, for a while. Over
    HTTP/1.1 the connection is closed then, and that is a reset where bytes were left unread, which
    takes the answer with it.
    """

    def __init__(self, session: InsertSession, gate: BodyGate, *, lingers: bool) -> None:
        self._session = session
        self._gate = gate
        self._lingers = lingers
        self._body: AsyncIterator[bytes] | None = None

    async def read_arguments(self, body: AsyncIterator[bytes]) -> None:
        """Read until the arguments line is there. Raises `KsqlError`."""
        async for data in body:
            self._gate.taken(len(data))
            self._session.receive(data)
            if self._session.needs_admission:
                self._body = body
                return
        self._session.receive_end()

    async def run(self, open_streams: OpenStreams) -> AsyncIterator[bytes]:
        """The response's body."""
        reader = asyncio.create_task(self._read_rows())
        try:
            with open_streams.opened(self._session):
                async for frames in self._session.frames():
                    for frame in frames:
                        yield frame
            if self._lingers:
                await asyncio.wait((reader,), timeout=LINGER_S)
        finally:
            self._session.close()
            reader.cancel()

    async def _read_rows(self) -> None:
        session = self._session
        if self._body is None:
            return
        try:
            async for data in self._body:
                session.receive(data)
                await session.until_readable()
                self._gate.taken(len(data))
            session.receive_end()
        except Exception as fault:  # noqa: BLE001 - whatever it was
            # Nobody awaits this task: the client must hear of it through its own stream.
            _log.error("reading rows failed", exc_info=fault)
            session.stop(RowRejected(InternalError().message, 50000))


# ── both ─────────────────────────────────────────────────────────────────────────────────────


def _lane() -> Lane | None:
    """The stream's lane, where the connection gave it one."""
    state: Mapping[str, Any] = request.scope.get("state") or {}
    lane = state.get(LANE_KEY)
    assert lane is None or isinstance(lane, Lane)
    return lane


def _streamed(frames: AsyncIterator[bytes]) -> Response:
    response = Response(frames)
    response.timeout = None
    response.headers.remove("content-type")
    return response
