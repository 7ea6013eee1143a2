"""Records that must reach the disk, and looks at it that must succeed: nothing goes on without.

A disk that is at fault for a while costs time only. Damage is raised: no waiting mends it.
"""

import asyncio
import sqlite3
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


async def look(read: Callable[[], T], retry_s: float) -> T:
    """Read from the spool, in a thread; tried every ``retry_s`` until the disk lets it."""
    while True:
        try:
            return await asyncio.to_thread(read)
        except sqlite3.OperationalError as failed:
            _log.error("the spool cannot be read", error=str(failed))
            await asyncio.sleep(retry_s)
