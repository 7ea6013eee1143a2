"""What the routes lead to, and the limits they keep."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.http.batches import BatchFetches
from gateway.http.drain import OpenStreams
from gateway.http.inserts import InsertLimits
from gateway.http.origins import NO_ORIGINS, Origins
from gateway.metrics import Metrics
from gateway.seams import Access, Intake, Permit, Queries, Sources


async def _no_statuses(_: Permit) -> Mapping[str, str]:
    return {}


async def _no_status(_: str, __: Permit) -> Mapping[str, Any] | None:
    return None


def _no_property(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What the routes lead to: each a room's door or a callable of the runtime's.

    ``statements`` runs a text with its session variables and properties, and gives its entities;
    ``statuses`` gives the status word of every command by its id (``stream/`X`/create``);
    ``status`` one command's ``{"status", "message", "queryId"}``, None for an unknown id; each as
    far as the permit reaches. ``access`` says who may do what; None: nobody is asked.
    ``is_known_property`` says whether a property of that name may be set.
    """

    sources: Sources
    intake: Intake
    queries: Queries
    statements: Callable[
        [str, Mapping[str, Any], Mapping[str, Any], Permit], Awaitable[list[dict[str, Any]]]
    ]
    health: Callable[[], Mapping[str, Any]]
    info: Callable[[], Mapping[str, Any]]
    open_streams: OpenStreams
    batches: BatchFetches | None = None
    statuses: Callable[[Permit], Awaitable[Mapping[str, str]]] = _no_statuses
    status: Callable[[str, Permit], Awaitable[Mapping[str, Any] | None]] = _no_status
    is_known_property: Callable[[str], bool] = _no_property
    access: Access | None = None
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """``body_bytes`` of a request that is read whole; limits of insert streams.

    ``overrun_max_bytes`` of rows wait where a sender ignores its window, before it is stopped.
    ``inserts_over_http1``: insert streams are taken over HTTP/1.1 too. ``origins``: whose pages
    may call.
    """

    body_bytes: int
    overrun_max_bytes: int
    inserts: InsertLimits
    inserts_over_http1: bool = False
    origins: Origins = NO_ORIGINS
