"""The application: ksqlDB's endpoints on Quart, and the errors they answer with.

Every error has a JSON body: ksqlDB's Java client hangs on any other. Statuses and codes follow
`protocol.errors`. The routes are in `stream_routes`, `endpoints` and `websocket`.
"""

import contextlib
from contextlib import AsyncExitStack
from typing import cast

import structlog
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from quart import Quart, Response, has_websocket_context, request, websocket
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.http.bodies import EXCHANGE_KEY, BodyGate, Exchange
from gateway.http.doors import Doors, HttpLimits
from gateway.http.endpoints import JSON_TYPE, add_endpoints
from gateway.http.inserts import PeerGone
from gateway.http.riders import ResponseBroken
from gateway.http.stream_routes import LANE_PATHS, add_stream_routes
from gateway.http.websocket import add_websocket
from protocol.errors import InternalError, KsqlError, NotFound

__all__ = ["LANE_PATHS", "Doors", "HttpLimits", "bare_app", "make_app"]

_log = structlog.get_logger("headrace.http")


class Application(Quart):
    """Quart with a gate before each request's body, and an end to whatever a request opened."""

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
    app.body_waiting_bytes = limits.inserts.waiting_bytes
    add_stream_routes(app, doors, limits)
    add_endpoints(app, doors, limits)
    add_websocket(app, doors)
    return app


def bare_app(name: str) -> Application:
    """An application without a route, whose every error is in ksqlDB's form.

    Streams outlive every timeout of Quart's, so those are off.
    """
    app = Application(name)
    # The limit on bodies is kept by `bodies`, for those that are read whole: inserts have none.
    app.config.update(BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None, MAX_CONTENT_LENGTH=None)
    app.register_error_handler(KsqlError, _answer)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(PeerGone, _answer_nobody)
    app.register_error_handler(Exception, _answer_fault)
    return app


# ── errors ───────────────────────────────────────────────────────────────────────────────────


async def _answer(error: KsqlError) -> Response:
    return Response(error.body(), status=error.status, content_type=JSON_TYPE)


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
