"""The endpoints that answer one document: statements, status, health, metadata.

Those that answer JSON refuse a client that accepts none; ``/``, ``/chc/*`` and ``/close-query`` do
not look (§1.2). Statements wait for a running server, health and identity are told in any state.
"""

from typing import Any
from urllib.parse import unquote

import orjson
from quart import Blueprint, Quart, Response, request

from gateway.clock import now_ms
from gateway.http import metadata
from gateway.http.batches import add_batch_route
from gateway.http.bodies import read_body
from gateway.http.credentials import permit
from gateway.http.doors import Doors, HttpLimits
from gateway.http.negotiation import require_json_accepted
from gateway.seams import Right, resolve_permitted
from protocol.arguments import channel_name, parse_close_arguments, parse_ksql_arguments
from protocol.errors import BadRequest, NotFound, SpoolAway

JSON_TYPE = "application/json"


def add_endpoints(app: Quart, doors: Doors, limits: HttpLimits) -> None:
    """Register them."""
    documents = Blueprint("documents", __name__)

    @documents.before_request
    async def read_what_is_asked_with() -> None:
        """ksqlDB's Java client sends ``{}`` with a GET; unread, it would cost the connection."""
        require_json_accepted()
        if request.method == "GET" and request.content_length:
            await read_body(limits.body_bytes)

    _add_statements(documents, doors, limits)
    _add_status(documents, doors)
    _add_identity(documents, doors)
    _add_channels(documents, doors)
    app.register_blueprint(documents)
    _add_plain(app, doors, limits)
    if doors.batches is not None:
        add_batch_route(app, doors.batches)


def json_response(document: Any, status: int = 200) -> Response:
    """A whole JSON reply."""
    return Response(orjson.dumps(document), status=status, content_type=JSON_TYPE)


# ── statements and their status ──────────────────────────────────────────────────────────────


def _add_statements(documents: Blueprint, doors: Doors, limits: HttpLimits) -> None:
    @documents.post("/ksql")
    async def ksql() -> Response:
        doors.open_streams.require_running()
        arguments = parse_ksql_arguments(await read_body(limits.body_bytes))
        entities = await doors.statements(
            arguments.ksql, arguments.session_variables, arguments.properties, permit()
        )
        return json_response(entities)

    @documents.post("/ksql/terminate")
    async def terminate() -> Response:
        raise BadRequest(
            "Terminating the cluster is not supported by this gateway: it would delete data that "
            "others may read. DROP each stream, and mark its segments unused in Druid."
        )


def _add_status(documents: Blueprint, doors: Doors) -> None:
    @documents.get("/status")
    async def statuses() -> Response:
        return json_response({"commandStatuses": dict(await doors.statuses(permit()))})

    @documents.get("/status/<kind>/<entity>/<action>")
    async def status(kind: str, entity: str, action: str) -> Response:
        found = await doors.status(f"{kind}/{entity}/{action}", permit())
        if found is None:
            raise NotFound("Command not found")
        return json_response(dict(found))

    @documents.get("/is_valid_property/<name>")
    async def is_valid_property(name: str) -> Response:
        if not doors.is_known_property(name):
            raise BadRequest(
                f"Not recognizable as ksql, streams, consumer, or producer property: '{name}'"
            )
        return json_response(True)


# ── health and identity ──────────────────────────────────────────────────────────────────────


def _add_identity(documents: Blueprint, doors: Doors) -> None:
    @documents.get("/info")
    async def info() -> Response:
        return json_response(metadata.server_info(doors.info()))

    @documents.get("/healthcheck")
    async def healthcheck() -> Response:
        return json_response(doors.health())

    @documents.get("/clusterStatus")
    async def cluster_status() -> Response:
        return json_response(metadata.cluster_status(request.host, now_ms()))

    @documents.get("/v1/metadata")
    async def server_metadata() -> Response:
        return json_response(metadata.metadata(doors.info()))

    @documents.get("/v1/metadata/id")
    async def cluster_id() -> Response:
        return json_response(metadata.cluster_id(doors.info()))


# ── channels ─────────────────────────────────────────────────────────────────────────────────


def _add_channels(documents: Blueprint, doors: Doors) -> None:
    # The framework has decoded the path before it looks at it, so a slash in a name must not
    # count: the names are taken from the path as it came.
    @documents.get("/channels/<path:names>", merge_slashes=False)
    async def channel(names: str) -> Response:
        doors.open_streams.require_running()
        parts = _raw_path().removeprefix("/channels/").split("/")
        if len(parts) != 2:
            raise NotFound(f"Path not found: {request.path}: it is /channels/<target>/<channel>")
        target, name = map(_decoded, parts)
        channel_name(name)
        source = await resolve_permitted(doors.sources, target, permit(), Right.INSERT, Right.QUERY)
        found = await doors.intake.channel(source, name)
        if found is None:
            raise NotFound(f"Channel '{name}' of {source.name} holds no row and never did")
        next_offset = {
            "spooled": found.spooled,
            "committed": found.committed,
            "queryable": found.queryable,
        }
        return json_response({"target": source.name, "channel": name, "nextOffset": next_offset})


def _raw_path() -> str:
    raw: bytes = request.scope.get("raw_path") or request.path.encode()
    return raw.split(b"?")[0].decode("latin-1")


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"Not UTF-8 once percent-decoded: {part}") from None


def _add_plain(app: Quart, doors: Doors, limits: HttpLimits) -> None:
    @app.get("/")
    async def root() -> Response:
        return Response(b"", status=307, headers={"location": "/info"})

    @app.get("/chc/ready")
    async def ready() -> Response:
        doors.open_streams.require_running()
        health = doors.health()
        if not health["isHealthy"]:
            raise SpoolAway(health["details"]["spool"]["state"])
        return json_response({})

    @app.get("/chc/live")
    async def live() -> Response:
        return json_response({})

    @app.post("/close-query")
    async def close_query() -> Response:
        query_id = parse_close_arguments(await read_body(limits.body_bytes))
        if not await doors.queries.close_query(query_id, permit()):
            raise BadRequest(f"No query with id {query_id}")
        response = json_response({})
        # As with ksqlDB, whose reply is empty: nobody has to read it.
        response.headers.remove("content-type")
        return response
