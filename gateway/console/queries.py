"""The query box: one query in, its rows as lines out, as fast as the page reads them.

An answer is lines of JSON: the header ``{"query": {...}}``, rows as arrays, and at the end
``{"end": "completed"|"limit"|"closed"}`` or ksqlDB's error object. Whoever leaves closes the query.
Back-pressure is the socket's: rows wait where all push queries' rows wait.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson
import structlog

from gateway.console.doors import ConsoleDoors
from gateway.seams import QueryKind, RowLines, RunningQuery
from protocol.arguments import parse_query_arguments
from protocol.errors import InternalError, KsqlError

LINES_TYPE = "application/x-ndjson"

_log = structlog.get_logger("headrace.console")


class QueryBox:
    """One query of the page's. `start` it, send `lines`, `close` it whatever happened."""

    def __init__(self, doors: ConsoleDoors) -> None:
        self._doors = doors
        self._query: RunningQuery | None = None
        self._rows: AsyncIterator[RowLines] | None = None
        self._first: RowLines | None = None

    async def start(self, body: bytes) -> None:
        """Start what ``body`` asks for, as ``/query-stream`` does. Raises `KsqlError`.

        A pull query is waited for until it has a row, or an error: that is still a status.
        """
        self._doors.require_running()
        self._query = await self._doors.start_query(parse_query_arguments(body))
        self._rows = self._query.rows()
        if self._query.kind is QueryKind.PULL:
            self._first = await anext(self._rows, None)

    async def close(self) -> None:
        """It is over."""
        if self._query is not None:
            await self._query.close()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The answer's body."""
        assert self._query is not None
        yield _line(_header(self._query))
        try:
            async for rows in self._each():
                if rows.raw:
                    yield rows.raw
        except KsqlError as error:
            yield _line(error.document())
        except Exception as fault:  # noqa: BLE001 - whatever it was, the page must hear of it
            _log.error("a query of the page broke off", exc_info=fault)
            yield _line(InternalError().document())
        else:
            yield _line({"end": self._query.ended_by.value})
        finally:
            await self.close()

    async def _each(self) -> AsyncIterator[RowLines]:
        assert self._rows is not None
        if self._first is not None:
            yield self._first
            self._first = None
        async for rows in self._rows:
            yield rows


def _header(query: RunningQuery) -> dict[str, Any]:
    columns = [{"name": column.name, "type": str(column.type)} for column in query.columns]
    return {"query": {"id": query.id, "kind": query.kind.value, "columns": columns}}


def _line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
