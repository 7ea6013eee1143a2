"""Whether the gateway is alive, and ready for streams: what the probes tell, put together.

Also what is known of the gateway as a whole by looking, for its metrics. It knows rooms; no room
knows it.
"""

import importlib.metadata
import time
from collections.abc import Callable, Mapping

from gateway.http.drain import OpenStreams, ServerState
from gateway.http.probes import Check, is_well
from gateway.ingest.ingest_room import IngestRoom
from gateway.metrics import Metrics, one_of
from gateway.metrics import declared as d

HIGH_WATER = 0.9
"""Share of the spool's limit past which new streams should go elsewhere: what is on its way to the
others still has room then."""


def liveness(*, died: bool) -> dict[str, Check]:
    """Whether a new start is needed."""
    return {"work": Check(ok=not died)}


def readiness(ingest: IngestRoom, open_streams: OpenStreams) -> dict[str, Check]:
    """Whether new streams are served now."""
    capacity, writer = ingest.capacity, ingest.writer
    high_water = int(HIGH_WATER * capacity.spool_bytes)
    room = {"storedBytes": capacity.stored_bytes, "highWaterBytes": high_water}
    has_room = capacity.stored_bytes < high_water and capacity.full() is None
    lost = ingest.reached.lost_since is not None
    return {
        "server": Check(
            ok=open_streams.state is ServerState.RUNNING,
            details={"state": open_streams.state.value},
        ),
        "disk": Check(
            ok=writer.fault is None, details={"why": writer.fault} if writer.fault else None
        ),
        "room": Check(ok=has_room, details=room),
        "warehouse": Check(
            ok=not lost, required=False, details={"why": ingest.reached.error} if lost else None
        ),
    }


def look_at_gateway(
    metrics: Metrics,
    ingest: IngestRoom,
    open_streams: OpenStreams,
    warehouse: str,
) -> None:
    """Tell of the gateway whenever somebody scrapes."""
    began_at = time.monotonic()
    version = importlib.metadata.version("headrace")
    states = [state.value for state in ServerState]
    metrics.look(d.BUILD, lambda: {(version, warehouse): 1.0})
    metrics.look(d.UPTIME, lambda: time.monotonic() - began_at)
    metrics.look(d.STATE, lambda: one_of(states, open_streams.state.value))
    metrics.look(d.READY, lambda: float(is_well(readiness(ingest, open_streams))))


def look_at_certificates(metrics: Metrics, expires_at: Callable[[], Mapping[str, float]]) -> None:
    """Tell when certificates expire; ``expires_at``: by port, in seconds since 1970."""
    metrics.look(
        d.CERTIFICATE_EXPIRY,
        lambda: {(port,): at - time.time() for port, at in expires_at().items()},
    )
