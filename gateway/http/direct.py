"""Rows without a stream: ``INSERT INTO … VALUES`` goes the way that streamed rows go.

The same check, the same spool, the same ack level; the caller waits for all its rows at once.
"""

import asyncio
from typing import Any

import orjson

from gateway.clock import now_ms
from gateway.http.inserts import InsertLimits, row_schema
from gateway.seams import Intake, Permit, Sources, SpoolFull
from protocol.errors import RowRejected, TooManyRequests
from protocol.rows import RowChecker

LATE_MAX_S = 10.0
"""How late an answer is at the most."""


class DirectInserts:
    """Stores a few rows and waits until they hold their stream's ack level."""

    def __init__(self, sources: Sources, intake: Intake, limits: InsertLimits) -> None:
        self._sources = sources
        self._intake = intake
        self._limits = limits

    async def insert(self, target: str, rows: list[dict[str, Any]], permit: Permit) -> None:
        """Store ``rows``, all or none. Raises `RowRejected`, `protocol.errors.KsqlError`.

        Whoever calls has asked whether the permit allows it. A principal over its rates gets its
        answer late.
        """
        source = await self._sources.resolve(target)
        block = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        checker = RowChecker(row_schema(source), row_limit_bytes=self._limits.row_bytes)
        checked = checker.check(block, now_ms())
        if checked.rejected is not None:
            raise checked.rejected
        settled = _AllSettled(checked.count)
        try:
            level = source.ack or self._limits.ack
            way_in = await self._intake.open_stream(source, level, settled)
        except SpoolFull as full:
            raise TooManyRequests(str(full)) from full
        try:
            way_in.append(0, checked.count, checked.raw, len(block))
            await settled.outcome
            now = asyncio.get_running_loop().time()
            debt_s = permit.took(checked.count, len(checked.raw), now)
            if debt_s:
                await asyncio.sleep(min(debt_s, LATE_MAX_S))
        finally:
            way_in.close()


class _AllSettled:
    """Implements `gateway.seams.ReceiptSink`: done once all rows are, or one has failed."""

    def __init__(self, rows: int) -> None:
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = rows

    def spooled(self, credit_bytes: int) -> None:
        """See `gateway.seams.ReceiptSink`: nobody sends more."""

    def settled(self, first_seq: int, end_seq: int) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self._left -= end_seq - first_seq
        if not self._left and not self.outcome.done():
            self.outcome.set_result(None)

    def failed(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self._fail(rejected)

    def broken(self, seq: int, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`."""
        self._fail(rejected)

    def stopped(self, rejected: RowRejected) -> None:
        """See `gateway.seams.ReceiptSink`: all rows were handed over, and get their verdicts."""

    def _fail(self, rejected: RowRejected) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(rejected)
