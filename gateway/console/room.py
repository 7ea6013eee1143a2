"""The console as the runtime has it: its routes on the admin port, its work, its end.

``GET /`` the page · ``GET /console/<file>`` what it loads · ``GET /events`` pictures as they are
made · ``GET /picture`` one · ``POST /query`` the query box · ``POST /queries/<id>/close``.

The guard of the admin port stands before all of them: it looks at who asks, reads the body into
``g.body`` and wants JSON.
"""

import asyncio
from collections.abc import AsyncIterator

import orjson
from quart import Blueprint, Quart, Response, g, request

from gateway.clock import now_ms
from gateway.console.doors import ConsoleDoors
from gateway.console.files import HEADERS, PAGE, File, files
from gateway.console.picture import Painter
from gateway.console.queries import LINES_TYPE, QueryBox
from gateway.console.rates import Rates
from gateway.console.tasks import TaskBoard
from gateway.console.viewers import ViewerLimits, Viewers
from gateway.metrics import Metrics
from protocol.errors import NotFound

JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream; charset=utf-8"
SAMPLE_S = 1.0


class Console:
    """The live page of one gateway."""

    def __init__(
        self, doors: ConsoleDoors, metrics: Metrics, limits: ViewerLimits | None = None
    ) -> None:
        self._doors = doors
        self._rates = Rates(metrics)
        tasks = TaskBoard(doors.task_log)
        painter = Painter(doors, self._rates, tasks, now_ms)
        self._viewers = Viewers(painter.picture, tasks, limits)
        self._files = files()

    async def run(self) -> None:
        """Look at the counters once a second, until cancelled."""
        while True:
            self._rates.sample(asyncio.get_running_loop().time())
            await asyncio.sleep(SAMPLE_S)

    async def close(self) -> None:
        """The gateway stops: whoever looks is told."""
        await self._viewers.close()

    def add_to(self, app: Quart) -> None:
        """Register the routes."""
        routes = Blueprint("console", __name__)
        self._add_files(routes)
        self._add_pictures(routes)
        self._add_queries(routes)
        app.register_blueprint(routes)

    # ── routes ──

    def _add_files(self, routes: Blueprint) -> None:
        @routes.get("/")
        async def page() -> Response:
            return _served(self._files[PAGE])

        @routes.get("/console/<name>")
        async def file(name: str) -> Response:
            if name not in self._files:
                raise NotFound(f"Path not found: {request.path}")
            return _served(self._files[name])

    def _add_pictures(self, routes: Blueprint) -> None:
        @routes.get("/picture")
        async def picture() -> Response:
            return Response(await self._viewers.one(), content_type=JSON_TYPE)

        @routes.get("/events")
        async def events() -> Response:
            viewer = self._viewers.enter()

            async def leave() -> None:
                self._viewers.leave(viewer)

            self._doors.close_at_end(leave)
            return _streamed(self._viewers.events(viewer), EVENTS_TYPE)

    def _add_queries(self, routes: Blueprint) -> None:
        @routes.post("/query")
        async def query() -> Response:
            box = QueryBox(self._doors)
            self._doors.close_at_end(box.close)
            await box.start(g.body)
            return _streamed(box.lines(), LINES_TYPE)

        @routes.post("/queries/<query_id>/close")
        async def close_query(query_id: str) -> Response:
            self._doors.require_running()
            if not self._doors.terminate(query_id):
                raise NotFound(f"No query {query_id[:100]} runs: it may have ended by itself")
            body = orjson.dumps({"id": query_id, "outcome": "closed"})
            return Response(body, content_type=JSON_TYPE)


def _served(file: File) -> Response:
    headers = {**HEADERS, "etag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status=304, headers=headers)
    return Response(file.content, content_type=file.media_type, headers=headers)


def _streamed(pieces: AsyncIterator[bytes], media_type: str) -> Response:
    """What goes on for as long as somebody reads; no proxy is to keep it to itself."""
    response = Response(pieces, content_type=media_type)
    response.timeout = None
    response.headers["cache-control"] = "no-store"
    response.headers["x-accel-buffering"] = "no"
    return response
