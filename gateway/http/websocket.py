"""The WebSocket ``/ws/query``: one query a socket, rows as messages.

The socket is accepted first, so that a refusal can be read: a browser tells its page nothing of an
HTTP error. Runs over HTTP/1.1, and over HTTP/2 where a client asks for it (RFC 8441). A client that
leaves closes its query; one that does not read stops its own query by TCP or its window alone.
"""

import asyncio
import contextlib

import structlog
from quart import Quart, websocket

from gateway.http.credentials import ask_socket
from gateway.http.doors import Doors
from gateway.http.origins import Origins, require_socket_origin
from gateway.http.queries import columns_of
from gateway.seams import RunningQuery
from protocol.errors import InternalError, KsqlError
from protocol.messages import (
    DONE,
    NORMAL,
    close_code,
    close_reason,
    error_message,
    row_message,
    schema_message,
    socket_request,
)

_log = structlog.get_logger("headrace.http")


def add_websocket(app: Quart, doors: Doors, origins: Origins) -> None:
    """Register it."""

    @app.websocket("/ws/query")
    async def query_socket() -> None:
        await websocket.accept()
        silence = asyncio.create_task(_drop_messages())
        try:
            await _converse(doors, origins)
        except KsqlError as error:
            await _end_with(error)
        except Exception as fault:  # noqa: BLE001 - whatever it was, the client must hear of it
            _log.error("a WebSocket query failed", exc_info=fault)
            await _end_with(InternalError())
        finally:
            silence.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await silence


async def _converse(doors: Doors, origins: Origins) -> None:
    require_socket_origin(origins)
    permit = await ask_socket(doors.access)
    doors.open_streams.require_running()
    arguments = socket_request(websocket.args)
    query = await doors.queries.start(arguments, permit)
    try:
        await _send_rows(query)
    finally:
        await query.close()
    await websocket.send(DONE)
    await websocket.close(NORMAL, "done")


async def _send_rows(query: RunningQuery) -> None:
    await websocket.send(schema_message(columns_of(query)))
    async for lines in query.rows():
        for line in lines.raw.splitlines():
            await websocket.send(row_message(line))


async def _end_with(error: KsqlError) -> None:
    await websocket.send(error_message(error))
    await websocket.close(close_code(error), close_reason(error.message))


async def _drop_messages() -> None:
    """A client has nothing to say; what it says all the same must not gather in memory."""
    while True:
        await websocket.receive()
