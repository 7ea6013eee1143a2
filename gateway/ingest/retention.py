"""Retention: committed rows stay in the spool for push queries, for a time and up to a size."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.ingest.writer import SpoolFailed, SpoolWriter

_log = structlog.get_logger("headrace.spool")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimits:
    """How long and up to what size committed rows stay; ``sweep_s`` between two looks."""

    keep_s: float
    keep_bytes: int
    sweep_s: float = 5.0


async def keep_within(
    limits: RetentionLimits, writer: SpoolWriter, freed: Callable[[int], None]
) -> None:
    """Drop what is past its retention, until cancelled; tells ``freed`` the bytes it dropped."""
    while True:
        await asyncio.sleep(limits.sweep_s)
        before_ms = int((time.time() - limits.keep_s) * 1000)
        try:
            size_bytes = await writer.record(
                lambda spool, before=before_ms: spool.forget(before, limits.keep_bytes)  # type: ignore[misc]
            )
        except SpoolFailed as failed:
            _log.warning("retention waits for the disk", error=str(failed))
            continue
        if size_bytes:
            freed(size_bytes)
