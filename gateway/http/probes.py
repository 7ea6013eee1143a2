"""What machines ask the admin port: ``/livez``, ``/readyz``, ``/metrics``.

Alive: the event loop answers, and no work in the background has died; whoever is not should be
started anew. Ready: new streams are served now; whoever is not should get none. A warehouse that is
away makes nobody unready: rows are spooled, and other gateways could do no better.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quart import Quart, Response, request

from gateway.http.endpoints import json_response
from gateway.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One of the things that must be well. ``required``: without it the answer is no."""

    ok: bool
    required: bool = True
    details: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"ok": self.ok, "required": self.required, **(self.details or {})}


Checks = Callable[[], Mapping[str, Check]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What the three routes tell."""

    alive: Checks
    ready: Checks
    metrics: Metrics


def is_well(checks: Mapping[str, Check]) -> bool:
    """Whether all that is required is well."""
    return all(check.ok for check in checks.values() if check.required)


def add_probes(app: Quart, probes: Probes) -> None:
    """Register the routes."""

    @app.get("/livez")
    async def livez() -> Response:
        return _answer(probes.alive())

    @app.get("/readyz")
    async def readyz() -> Response:
        return _answer(probes.ready())

    @app.get("/metrics")
    async def metrics() -> Response:
        body, media_type = await probes.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, content_type=media_type)


def _answer(checks: Mapping[str, Check]) -> Response:
    well = is_well(checks)
    document = {
        "ok": well,
        "checks": {name: check.document() for name, check in checks.items()},
    }
    response = json_response(document, 200 if well else 503)
    response.headers["cache-control"] = "no-store"
    return response
