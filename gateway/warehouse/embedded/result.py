"""A running SELECT: DuckDB makes the lines, a reader thread fetches them a chunk at a time.

The thread is one chunk ahead of whoever reads, so that both work at once; no more than that, since
what is ahead lies in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import duckdb

from gateway.seams import QueryBroken, QueryRefused, ResultColumn, RowLines
from gateway.sql.duck import complaint, refusal
from gateway.sql.duck_types import columns_of, druid_name, druid_type
from gateway.sql.lines import Style, row_line
from gateway.sql.names import decode, quoted
from gateway.sql.select import translate
from gateway.warehouse.embedded import tables
from gateway.warehouse.embedded.shown import as_declared
from protocol.types import SqlType

CHUNK_BYTES = 256 * 1024
"""Aim for the size of a chunk; the number of rows follows from their size so far."""

_FIRST_ROWS = 128
_MAX_ROWS = 8192
_INTERRUPT_EVERY_S = 0.01

T = TypeVar("T")


class EmbeddedResult:
    """Rows of one SELECT; `close` interrupts it wherever it is."""

    columns: tuple[ResultColumn, ...] = ()

    def __init__(self, cursor: duckdb.DuckDBPyConnection, pool: Executor) -> None:
        self._cursor = cursor
        self._pool = pool
        self._work: Future[Any] | None = None
        self._closed = False
        self._rows_wanted = _FIRST_ROWS

    async def start(self, sql: str, shows: Sequence[SqlType | None] = ()) -> None:
        """Translate and begin. Raises `QueryRefused`; a cancellation interrupts the query.

        ``shows``: see `gateway.seams.WarehouseQuery`.
        """
        try:
            await asyncio.wrap_future(self._submit(lambda: self._begin(sql, shows)))
        except BaseException:
            await self.close()
            raise

    async def rows(self) -> AsyncIterator[RowLines]:
        """Chunks to the end of the result; raises `QueryBroken` if it ends before."""
        try:
            coming = self._submit(self._fetch)
            while (chunk := await asyncio.wrap_future(coming)) is not None:
                coming = self._submit(self._fetch)
                yield chunk
        finally:
            await self.close()

    async def close(self) -> None:
        """Interrupt the query if it runs, and give its snapshot back."""
        if self._closed:
            return
        self._closed = True
        # Shielded: a snapshot that stays open would keep the file from shrinking.
        await asyncio.shield(self._stop())

    async def _stop(self) -> None:
        # Interrupting what is about to begin has no effect, so it is done until the thread is out.
        while self._work is not None and not self._work.done():
            self._cursor.interrupt()
            await asyncio.sleep(_INTERRUPT_EVERY_S)
        # Not in the pool, where it would wait behind the queries of others.
        await asyncio.to_thread(self._cursor.close)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        self._work = future = self._pool.submit(work)
        return future

    def _begin(self, sql: str, shows: Sequence[SqlType | None]) -> None:
        if self._closed:
            raise QueryRefused("the query was closed")
        inner = translate(sql, lambda schema, name: tables.relation(self._cursor, schema, name))
        try:
            found = columns_of(self._cursor, inner)
            names = [quoted(f"c{at}") for at in range(len(found))]
            stored = [(name, kind) for name, (_, kind) in zip(names, found, strict=True)]
            if len(shows) != len(stored):
                shows = (None,) * len(stored)
            shown = [as_declared(value, kind) for value, kind in zip(stored, shows, strict=True)]
            self.columns = tuple(
                ResultColumn(
                    decode(name), druid_type(kind), druid_name(kind), as_declared=value is not None
                )
                for (name, kind), value in zip(found, shown, strict=True)
            )
            values = [ours or theirs for ours, theirs in zip(shown, stored, strict=True)]
            line = row_line(values, Style.DRUID)
            self._cursor.execute(f"SELECT {line} FROM ({inner}) AS q({', '.join(names)})")
        except duckdb.Error as error:
            raise refusal(error) from error

    def _fetch(self) -> RowLines | None:
        if self._closed:
            raise QueryBroken("the query was closed")
        try:
            rows = self._cursor.fetchmany(self._rows_wanted)
        except duckdb.Error as error:
            raise QueryBroken(complaint(error)) from error
        if not rows:
            return None
        raw = ("\n".join([line for (line,) in rows]) + "\n").encode()
        per_row = len(raw) // len(rows) + 1
        self._rows_wanted = max(1, min(_MAX_ROWS, CHUNK_BYTES // per_row))
        return RowLines(raw, len(rows))
