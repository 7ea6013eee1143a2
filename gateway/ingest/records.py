"""Records that must reach the disk: nothing goes on without them."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from gateway.ingest.spool import SpoolFile
from gateway.ingest.writer import SpoolFailed, SpoolWriter

_log = structlog.get_logger("headrace.spool")

T = TypeVar("T")


async def persist(writer: SpoolWriter, apply: Callable[[SpoolFile], T], retry_s: float) -> T:
    """Record a change; it is tried every ``retry_s`` until the disk takes it."""
    while True:
        try:
            return await writer.record(apply)
        except SpoolFailed as failed:
            _log.error("the spool cannot be written", error=str(failed))
            await asyncio.sleep(retry_s)
