"""The event loop's pulse: how late its timers are, which is how late everything else is."""

import asyncio
import time

from gateway.metrics.declared import LOOP_LAG
from gateway.metrics.registry import Metrics

BEAT_S = 0.25
"""Between two beats."""


async def beat(metrics: Metrics) -> None:
    """Measure, until cancelled."""
    lag = metrics.histogram(LOOP_LAG)
    # Not the loop's own clock: uvloop's stands still within a turn, and counts whole milliseconds.
    now = time.monotonic
    while True:
        due_at = now() + BEAT_S
        await asyncio.sleep(BEAT_S)
        lag.observe(max(0.0, now() - due_at))
