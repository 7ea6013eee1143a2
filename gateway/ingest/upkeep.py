"""What is done to the spool by the clock: committed rows past their retention go, and a disk that
was at fault is tried again.

Committed rows stay for push queries, for a time and up to a size.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import SpoolFailed, SpoolWriter

_log = structlog.get_logger("headrace.spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimits:
    """How long and up to what size committed rows stay; ``sweep_s`` between two looks."""

    keep_s: float
    keep_bytes: int
    sweep_s: float = 5.0


async def watch_disk(writer: SpoolWriter, retry_s: float, back: Callable[[], None]) -> None:
    """See when a disk that was at fault takes writes again, until cancelled."""
    while True:
        await asyncio.sleep(retry_s)
        if writer.fault is None:
            continue
        with contextlib.suppress(SpoolFailed):
            await writer.record(lambda spool: spool.touch())
            _log.info("the spool's disk takes rows again")
            back()


async def keep_within(
    now_kept: Callable[[], RetentionLimits],
    writer: SpoolWriter,
    freed: Callable[[int], None],
) -> None:
    """Drop what is past its retention, until cancelled; ``freed`` hears the bytes of each sweep.

    ``now_kept`` tells the limits anew for each sweep: they may change.
    """
    while True:
        await asyncio.sleep(now_kept().sweep_s)
        limits = now_kept()
        before_ms = int((time.time() - limits.keep_s) * 1000)
        try:
            size_bytes = await writer.record(
                partial(_forget, before_ms=before_ms, keep_bytes=limits.keep_bytes)
            )
        except SpoolFailed as failed:
            _log.warning("retention waits for the disk", error=str(failed))
            continue
        # Also where nothing went: room comes back in other ways too, as when a batch is held.
        freed(size_bytes)


def _forget(spool: SpoolFile, before_ms: int, keep_bytes: int) -> int:
    return spool.forget(before_ms, keep_bytes)
