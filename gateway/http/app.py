"""Routes: ksqlDB's endpoints on Quart, and the errors they answer with.

Every error has a JSON body: ksqlDB's Java client hangs on any other. Statuses and codes follow
`protocol.errors`. Request bodies are read whole and bounded, except those of inserts.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from quart import Quart, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.http.batches import BatchFetches, serve_batch
from gateway.http.drain import OpenStreams
from gateway.http.inserts import InsertLimits, InsertSession
from gateway.http.lanes import Lane
from gateway.http.queries import QuerySession
from gateway.http.riders import InsertRider, QueryRider
from gateway.http.streams import LANE_KEY
from gateway.seams import Intake, Queries, Sources
from protocol.arguments import (
    parse_close_arguments,
    parse_ksql_arguments,
    parse_query_arguments,
)
from protocol.errors import (
    BadRequest,
    BodyTooLarge,
    Http2Required,
    InternalError,
    KsqlError,
    NotFound,
    RowRejected,
    ShuttingDown,
)
from protocol.framing import Framing, negotiate

_log = structlog.get_logger("headrace.http")

STREAM_FRAMINGS = (Framing.DELIMITED, Framing.JSON)
LANE_PATHS = frozenset({b"/inserts-stream", b"/insert-stream", b"/query-stream"})
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What the routes lead to: each a room's door or a callable of the runtime's."""

    sources: Sources
    intake: Intake
    queries: Queries
    statements: Callable[[str, Mapping[str, Any]], Awaitable[list[dict[str, Any]]]]
    health: Callable[[], Mapping[str, Any]]
    info: Callable[[], Mapping[str, Any]]
    open_streams: OpenStreams
    batches: BatchFetches | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """``body_bytes`` of a request that is read whole; limits of insert streams.

    ``overrun_max_bytes`` of rows wait where a sender ignores its window, before it is stopped.
    """

    body_bytes: int
    overrun_max_bytes: int
    inserts: InsertLimits


def make_app(doors: Doors, limits: HttpLimits) -> Quart:
    """The application. Streams outlive every timeout of Quart's, so those are off."""
    app = Quart("headrace")
    # The limit on bodies is kept here, for those that are read whole: inserts have no length.
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None, MAX_CONTENT_LENGTH=None)
    app.register_error_handler(KsqlError, _answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_fault)
    _add_streams(app, doors, limits)
    _add_statements(app, doors, limits)
    _add_health(app, doors)
    if doors.batches is not None:
        _add_batches(app, doors.batches)
    return app


# ── streams ──────────────────────────────────────────────────────────────────────────────────


def _add_streams(app: Quart, doors: Doors, limits: HttpLimits) -> None:
    async def inserts_stream() -> Response:
        if request.http_version not in ("2", "3"):
            raise Http2Required
        _refuse_while_draining(doors)
        session = InsertSession(
            doors.sources, doors.intake, limits.inserts, _framing(STREAM_FRAMINGS)
        )
        lane = _lane()
        if lane is not None:
            rider = InsertRider(session, lane, overrun_max_bytes=limits.overrun_max_bytes)
            await rider.arguments()
            await session.admit()
            return _streamed(rider.run(doors.open_streams))
        body = aiter(request.body)
        ended = await _read_arguments(session, body)
        if session.needs_admission:
            await session.admit()
        if ended:
            session.receive_end()
        return _streamed(_insert_frames(session, None if ended else body, doors.open_streams))

    async def query_stream() -> Response:
        _refuse_while_draining(doors)
        lane, framing = _lane(), _framing(STREAM_FRAMINGS)
        _refuse_announced(limits)
        rider = QueryRider(lane, body_limit_bytes=limits.body_bytes) if lane is not None else None
        arguments = parse_query_arguments(await (rider.body() if rider else _body(limits)))
        session = QuerySession(framing, arguments)
        await session.start(doors.queries)
        response = _streamed(rider.run(session) if rider else _each(session.frames()))
        response.content_type = session.framing.value
        return response

    async def close_query() -> Response:
        query_id = parse_close_arguments(await _body(limits))
        if not await doors.queries.close_query(query_id):
            raise BadRequest(f"No query with id {query_id}")
        return _json({})

    app.post("/inserts-stream")(inserts_stream)
    app.post("/insert-stream")(inserts_stream)
    app.post("/query-stream")(query_stream)
    app.post("/close-query")(close_query)


async def _read_arguments(session: InsertSession, body: AsyncIterator[bytes]) -> bool:
    """Read until the arguments line is there; whether the body has ended before it was."""
    async for data in body:
        session.receive(data)
        if session.needs_admission:
            return False
    session.receive_end()
    return True


async def _insert_frames(
    session: InsertSession, body: AsyncIterator[bytes] | None, open_streams: OpenStreams
) -> AsyncIterator[bytes]:
    reader = asyncio.create_task(_read_rows(session, body)) if body is not None else None
    try:
        with open_streams.opened(session):
            async for frames in session.frames():
                for frame in frames:
                    yield frame
    finally:
        session.close()
        if reader is not None:
            reader.cancel()


async def _read_rows(session: InsertSession, body: AsyncIterator[bytes]) -> None:
    try:
        async for data in body:
            session.receive(data)
            await session.until_readable()
        session.receive_end()
    except Exception as fault:  # noqa: BLE001 - whatever it was
        # Nobody awaits this task: the client must hear of it through its own stream.
        _log.error("reading rows failed", exc_info=fault)
        session.stop(RowRejected(InternalError().message, 50000))


async def _each(frames: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    async for several in frames:
        for frame in several:
            yield frame


def _refuse_announced(limits: HttpLimits) -> None:
    """A body that says it is too large is not waited for."""
    if (request.content_length or 0) > limits.body_bytes:
        raise BodyTooLarge("The request body is larger than http.body_limit_bytes")


async def _body(limits: HttpLimits) -> bytes:
    """The whole body of the request. Raises `BodyTooLarge`."""
    _refuse_announced(limits)
    parts: list[bytes] = []
    size_bytes = 0
    async for part in request.body:
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > limits.body_bytes:
            raise BodyTooLarge("The request body is larger than http.body_limit_bytes")
    return b"".join(parts)


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


def _framing(offered: tuple[Framing, ...]) -> Framing:
    framing = negotiate(request.headers.get("accept"), offered)
    if framing is None:
        raise NotFound(f"No acceptable content type; this endpoint offers {', '.join(offered)}")
    return framing


def _refuse_while_draining(doors: Doors) -> None:
    if doors.open_streams.draining:
        raise ShuttingDown


# ── statements, health, batches ──────────────────────────────────────────────────────────────


def _add_statements(app: Quart, doors: Doors, limits: HttpLimits) -> None:
    @app.post("/ksql")
    async def ksql() -> Response:
        arguments = parse_ksql_arguments(await _body(limits))
        entities = await doors.statements(arguments.ksql, arguments.session_variables)
        return _json(entities)


def _add_health(app: Quart, doors: Doors) -> None:
    @app.get("/")
    async def root() -> Response:
        return Response(b"", status=307, headers={"location": "/info"})

    @app.get("/info")
    async def info() -> Response:
        return _json({"KsqlServerInfo": doors.info()})

    @app.get("/healthcheck")
    async def healthcheck() -> Response:
        return _json(doors.health())

    @app.get("/chc/ready")
    async def ready() -> Response:
        _refuse_while_draining(doors)
        return _json({})

    @app.get("/chc/live")
    async def live() -> Response:
        return _json({})


def _add_batches(app: Quart, fetches: BatchFetches) -> None:
    @app.get("/batches/<token>")
    async def batch(token: str) -> Response:
        return await serve_batch(fetches, token, request.headers.get("range"))


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status=status, content_type=_JSON)


# ── errors ───────────────────────────────────────────────────────────────────────────────────


async def _answer(error: KsqlError) -> Response:
    return Response(error.body(), status=error.status, content_type=_JSON)


async def _answer_http(error: HTTPException) -> Response:
    """Quart's own refusals, in ksqlDB's form."""
    if error.code == 404:
        return await _answer(NotFound(f"Path not found: {request.path}"))
    refusal = NotFound(f"{error.name}: {request.method} {request.path}")
    refusal.code = (error.code or 500) * 100
    response = await _answer(refusal)
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


async def _answer_fault(error: Exception) -> Response:
    _log.error("request failed", path=request.path, exc_info=error)
    return await _answer(InternalError())
