"""The application: ksqlDB's endpoints on Quart, and the errors they answer with.

Every error has a JSON body: ksqlDB's Java client hangs on any other. Statuses and codes follow
`protocol.errors`. The routes are in `stream_routes`, `endpoints` and `websocket`.
"""

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import cast

import structlog
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from quart import Quart, Response, has_websocket_context, request, websocket
from quart.wrappers.response import IterableBody
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.http.bodies import EXCHANGE_KEY, BodyGate, Exchange, drop_rest, exchange
from gateway.http.credentials import ask
from gateway.http.doors import Doors, HttpLimits
from gateway.http.endpoints import JSON_TYPE, add_endpoints
from gateway.http.inserts import PeerGone
from gateway.http.measures import count_requests, look_at_streams
from gateway.http.origins import add_origins
from gateway.http.riders import ResponseBroken
from gateway.http.stream_routes import LANE_PATHS, LINGER_S, add_stream_routes
from gateway.http.websocket import add_websocket
from protocol.errors import (
    BadRequest,
    InternalError,
    KsqlError,
    NotFound,
    TooManyRequests,
    Unauthorized,
)

__all__ = ["LANE_PATHS", "Doors", "HttpLimits", "bare_app", "make_app"]

_log = structlog.get_logger("headrace.http")


class Application(Quart):
    """Quart with a gate before each request's body, and an end to whatever a request opened."""

    rides_lanes = False
    """whether the handlers of `LANE_PATHS` attach to lanes"""
    body_waiting_bytes = 1 << 20
    """bytes of one request's body that may wait for its handler"""

    async def asgi_app(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """See `quart.Quart.asgi_app`."""
        if scope["type"] != "http":
            await super().asgi_app(scope, receive, send)
            return
        # A broken response ends here without its end, and without a word in the log: the
        # connection resets the stream, as the handler wants it.
        with contextlib.suppress(ResponseBroken):
            async with AsyncExitStack() as closing:
                gate = BodyGate(receive, self.body_waiting_bytes)
                _state(scope)[EXCHANGE_KEY] = Exchange(gate, closing)
                await super().asgi_app(scope, gate.receive, send)


def _state(scope: HTTPScope) -> dict[str, object]:
    return cast("dict[str, dict[str, object]]", scope).setdefault("state", {})


def make_app(doors: Doors, limits: HttpLimits) -> Quart:
    """The application at the front door."""
    app = bare_app("headrace")
    app.rides_lanes = True
    app.body_waiting_bytes = limits.inserts.waiting_bytes
    count_requests(app, doors.metrics, "front")
    look_at_streams(doors.metrics, doors.open_streams)
    add_origins(app, limits.origins)
    app.before_request(partial(ask, doors.access))
    add_stream_routes(app, doors, limits)
    add_endpoints(app, doors, limits)
    add_websocket(app, doors, limits.origins)
    return app


def bare_app(name: str) -> Application:
    """An application without a route, whose every error is in ksqlDB's form.

    Streams outlive every timeout of Quart's, so those are off.
    """
    app = Application(name)
    # The limit on bodies is kept by `bodies`, for those that are read whole: inserts have none.
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None, MAX_CONTENT_LENGTH=None)
    app.before_request(_refuse_two_lengths)
    app.register_error_handler(KsqlError, _answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(PeerGone, _answer_nobody)
    app.register_error_handler(Exception, _answer_fault)
    return app


# ── errors ───────────────────────────────────────────────────────────────────────────────────


class TwoLengths(BadRequest):
    """A body that two readers would end in different places."""


async def _refuse_two_lengths() -> None:
    """RFC 9112 §6.1. What seems to follow such a request may be part of it: it is not read."""
    if "transfer-encoding" in request.headers and "content-length" in request.headers:
        raise TwoLengths("A request has a Content-Length or a Transfer-Encoding, and never both")


async def _answer(error: KsqlError) -> Response:
    body = error.body()
    response = Response(body, status=error.status, content_type=JSON_TYPE)
    if isinstance(error, Unauthorized):
        for challenge in error.challenges:
            response.headers.add("www-authenticate", challenge)
    elif isinstance(error, TooManyRequests):
        response.headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, TwoLengths):
        response.headers["connection"] = "close"
    elif _may_be_unread():
        response.set_data(b"")
        rest = _and_then_the_rest(body, aiter(request.body), exchange().gate)
        response.response = IterableBody(rest)
        response.timeout = None
        response.content_length = len(body)
    return response


def _may_be_unread() -> bool:
    """Over HTTP/2 the connection drops by itself what a peer still sends to an answered stream."""
    if has_websocket_context() or request.http_version == "2":
        return False
    return bool(request.content_length) or "transfer-encoding" in request.headers


async def _and_then_the_rest(
    body: bytes, rest: AsyncIterator[bytes], gate: BodyGate
) -> AsyncIterator[bytes]:
    yield body
    await drop_rest(rest, gate, LINGER_S)


async def _answer_http(error: HTTPException) -> Response:
    """Quart's own refusals, in ksqlDB's form."""
    if error.code == 404:
        return await _answer(NotFound(f"Path not found: {_path()}"))
    refusal = NotFound(f"{error.name}: {_method()} {_path()}")
    refusal.code = (error.code or 500) * 100
    response = await _answer(refusal)
    if isinstance(error, MethodNotAllowed):
        response.headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


async def _answer_nobody(_: PeerGone) -> Response:
    """Clients come and go: that is no fault to tell of."""
    return Response(b"", status=499)


async def _answer_fault(error: Exception) -> Response:
    _log.error("request failed", path=_path(), exc_info=error)
    return await _answer(InternalError())


def _path() -> str:
    return websocket.path if has_websocket_context() else request.path


def _method() -> str:
    return "WEBSOCKET" if has_websocket_context() else request.method
