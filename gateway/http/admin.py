"""The admin port: what an operator looks at and decides, on a socket of its own.

Owns: the guard before every request, health, and the held batches; dead letters have their own
file. Further things of the operator's are blueprints, added in `make_admin_app`. Must never know:
how rows are stored, nor the routes of the front door.

It listens on the loopback unless it is told otherwise, and refuses what a foreign web page could
send (`gateway.http.callers`). Where access asks for credentials, everything here but the probes
needs the right ``admin``. Errors are those of the front door, in the same form.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from quart import Blueprint, Quart, Response, g, request

from gateway.http.app import bare_app
from gateway.http.bodies import read_body
from gateway.http.callers import Callers, require_json
from gateway.http.credentials import ask, permit
from gateway.http.dead_letters import add_dead_letters, iso_time
from gateway.http.endpoints import json_response
from gateway.http.measures import count_requests
from gateway.http.probes import Probes, add_probes
from gateway.seams import Access, Batches, BatchView, DeadLetters, Right


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminDoors:
    """What the routes lead to; those of a door that is not there are not there either.

    ``require_running`` raises `protocol.errors.KsqlError` while rooms are not open. ``access`` says
    who may come in; None: nobody is asked.
    """

    health: Callable[[], Mapping[str, Any]]
    require_running: Callable[[], None]
    dead_letters: DeadLetters | None = None
    batches: Batches | None = None
    access: Access | None = None
    probes: Probes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminLimits:
    """``body_bytes`` of any request; ``row_bytes`` of a row that an edit brings."""

    body_bytes: int
    row_bytes: int


def make_admin_app(doors: AdminDoors, limits: AdminLimits, callers: Callers) -> Quart:
    """The application at the admin port."""
    app = bare_app("headrace.admin")
    if doors.probes is not None:
        count_requests(app, doors.probes.metrics, "admin")
        add_probes(app, doors.probes)

    @app.before_request
    async def guard() -> None:
        """Bodies are read here, whole and for every method: unread, one costs the connection."""
        callers.require(request.headers.get("host", ""), request.headers.get("origin"))
        await ask(doors.access, Right.ADMIN)
        if request.routing_exception is not None:
            return
        g.body = await read_body(limits.body_bytes)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            require_json(request.mimetype, g.body)
            permit().record("admin", f"{request.method} {request.path[:200]}")

    @app.get("/healthcheck")
    async def healthcheck() -> Response:
        return json_response(doors.health())

    if doors.dead_letters is not None:
        add_dead_letters(app, doors.dead_letters, doors.require_running, limits.row_bytes)
    if doors.batches is not None:
        _add_batches(app, doors.batches, doors.require_running)
    return app


# ── batches ──────────────────────────────────────────────────────────────────────────────────


def _add_batches(app: Quart, batches: Batches, require_running: Callable[[], None]) -> None:
    routes = Blueprint("batches", __name__, url_prefix="/batches")
    routes.before_request(require_running)
    verdicts = {
        "retry": (batches.retry, "retried"),
        "accept": (batches.accept, "accepted"),
        "drop": (batches.drop, "dropped"),
    }

    @routes.get("")
    async def every_batch() -> Response:
        return json_response([batch_document(batch) for batch in await batches.all()])

    @routes.post("/<batch_id>/<any(retry, accept, drop):verdict>")
    async def decide(batch_id: str, verdict: str) -> Response:
        act, outcome = verdicts[verdict]
        await act(batch_id)
        return json_response({"id": batch_id, "outcome": outcome})

    app.register_blueprint(routes)


def batch_document(batch: BatchView) -> dict[str, Any]:
    """A batch as its JSON object."""
    document = asdict(batch)
    document["taskId"] = document.pop("task_id")
    document["sizeBytes"] = document.pop("size_bytes")
    document["sealed"] = iso_time(document.pop("sealed_ms"))
    return document
