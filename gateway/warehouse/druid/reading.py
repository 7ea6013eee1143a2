"""SELECT over ``POST /druid/v2/sql``: rows pass through as the bytes that Druid wrote.

Format ``arrayLines`` with three header lines (names, native types, SQL types); every row is one
line, and an empty line at the very end proves that nothing is missing (``api-reference/sql-api``):
an error after the first byte has no other sign than its absence. Reading is pulled by the
consumer; the socket is not read while nobody asks.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from gateway.seams import (
    QueryBroken,
    ResultColumn,
    RowLines,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.warehouse.druid.columns import result_type
from gateway.warehouse.druid.endings import Endings
from gateway.warehouse.druid.replies import query_error
from gateway.warehouse.druid.transport import Server, Transport, read_whole

_PIECE_BYTES = 64 << 10
_LINE_LIMIT_BYTES = 64 << 20
_HEADER_LINES = 3
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


def query_document(query: WarehouseQuery) -> dict[str, Any]:
    """The request body. The text is untouched; the query's own context yields to ours."""
    return {
        "query": query.sql,
        "resultFormat": "arrayLines",
        "header": True,
        "typesHeader": True,
        "sqlTypesHeader": True,
        "context": {
            "sqlStringifyArrays": False,
            **query.context,
            "sqlQueryId": query.query_id,
        },
    }


class LineCutter:
    """Cuts pieces of a body into whole lines. Pure; memory is bounded by one line."""

    def __init__(self, limit_bytes: int = _LINE_LIMIT_BYTES) -> None:
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._limit_bytes = limit_bytes

    def feed(self, piece: bytes) -> bytes:
        """The whole lines that end in this piece. Raises `QueryBroken` for an endless line."""
        end = piece.rfind(b"\n") + 1
        if not end:
            self._keep(piece)
            return b""
        whole = b"".join((*self._rest, piece[:end]))
        self._rest, self._rest_bytes = [], 0
        if end < len(piece):
            self._keep(piece[end:])
        return whole

    def rest(self) -> bytes:
        """What follows the last newline."""
        return b"".join(self._rest)

    def _keep(self, piece: bytes) -> None:
        self._rest.append(piece)
        self._rest_bytes += len(piece)
        if self._rest_bytes > self._limit_bytes:
            raise QueryBroken(f"a result row is longer than {self._limit_bytes} bytes")


class EndProof:
    """Holds back the last newline until it is known whether it is the closing empty line. Pure.

    Druid writes rows of at least two bytes, so an empty line is the end and nothing follows it.
    """

    def __init__(self) -> None:
        self.proven = False

    def rows(self, lines: bytes) -> bytes:
        """The rows among whole lines. Raises `QueryBroken` for anything after the end."""
        if not lines:
            return lines
        if self.proven:
            raise QueryBroken("Druid's result goes on after its end")
        if lines == b"\n":
            self.proven = True
            return b""
        if lines.endswith(b"\n\n"):
            self.proven = True
            return lines[:-1]
        return lines


def header_columns(lines: list[bytes]) -> tuple[ResultColumn, ...]:
    """Columns from the three header lines. Raises ValueError if they are no such lines."""
    names, natives, sql_types = (orjson.loads(line) for line in lines)
    return tuple(
        ResultColumn(name, result_type(sql_type, native), stored_as=sql_type or native or "")
        for name, native, sql_type in zip(names, natives, sql_types, strict=True)
    )


class DruidResult:
    """A running SELECT (`gateway.seams.Result`)."""

    def __init__(self, endings: Endings, query_id: str, response: aiohttp.ClientResponse) -> None:
        self.columns: tuple[ResultColumn, ...] = ()
        self._endings = endings
        self._query_id = query_id
        self._response = response
        self._cutter = LineCutter()
        self._end = EndProof()
        self._first = b""
        self._closed = False

    async def read_header(self) -> None:
        """Read as far as the columns. Raises `WarehouseUnreachable` if they do not come."""
        head = b""
        try:
            while head.count(b"\n") < _HEADER_LINES:
                piece = await self._response.content.read(_PIECE_BYTES)
                if not piece:
                    raise WarehouseUnreachable("Druid's result ended before its header")
                head += self._cutter.feed(piece)
            *lines, rest = head.split(b"\n", _HEADER_LINES)
            self.columns = header_columns(lines)
        except _BROKEN as error:
            raise WarehouseUnreachable(f"Druid's result was cut: {error!r}") from error
        except (ValueError, QueryBroken) as error:
            raise WarehouseUnreachable(f"not a result of Druid's: {error}") from error
        self._first = rest

    async def rows(self) -> AsyncIterator[RowLines]:
        """Chunks of what has come, cut between rows; raises `QueryBroken` short of the end."""
        lines, self._first = self._first, b""
        while True:
            rows = self._end.rows(lines)
            if rows:
                yield RowLines(rows, rows.count(b"\n"))
            piece = await self._piece()
            if not piece:
                break
            lines = self._cutter.feed(piece)
        if self._cutter.rest() or not self._end.proven:
            raise QueryBroken("Druid's result ended before its last row")

    async def _piece(self) -> bytes:
        if self._closed:
            raise QueryBroken("the query was closed")
        try:
            return await self._response.content.readany()
        except _BROKEN as error:
            raise QueryBroken(f"Druid's result was cut: {error!r}") from error

    async def close(self) -> None:
        """Stop reading; unless the end was read, tell Druid to stop the query, too.

        A Broker goes on with a query whose reader has left, so it is told by the query's id.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._end.proven:
                # Shielded: who closes is often being cancelled, and the order must arrive.
                await asyncio.shield(self._endings.native(self._query_id, begun=True))
        finally:
            self._response.close()


async def start_query(transport: Transport, query: WarehouseQuery, endings: Endings) -> DruidResult:
    """Send the SELECT and read its header.

    Raises `QueryRefused`, and `WarehouseUnreachable` where no header came. Where nobody waits for
    the header any more, Druid is told.
    """
    try:
        response = await transport.stream(
            Server.BROKER, "/druid/v2/sql", query_document(query), silence_s=_silence_s(query)
        )
    except BaseException:
        endings.native(query.query_id, begun=False)
        raise
    if response.status != 200:
        raise query_error(response.status, await read_whole(response))
    result = DruidResult(endings, query.query_id, response)
    try:
        await result.read_header()
    except BaseException:  # a cancelled caller, too, must not leave a query behind
        await result.close()
        raise
    return result


def _silence_s(query: WarehouseQuery) -> float | None:
    """How long Druid may say nothing: as long as the query may take, where it says so."""
    timeout_ms = query.context.get("timeout")
    return None if timeout_ms is None else timeout_ms / 1000
