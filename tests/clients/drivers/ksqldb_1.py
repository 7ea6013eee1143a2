"""Drives PyPI's ``ksqldb``: httpx on HTTP/2 for streams, requests on HTTP/1.1 for the rest."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from ksqldb import KSQLdbClient  # type: ignore[import-not-found, unused-ignore]

from tests.clients.drivers.serving import serve

client: Any = KSQLdbClient(sys.argv[1])
loop = asyncio.new_event_loop()
queries: dict[str, AsyncIterator[Any]] = {}


def with_credentials() -> None:
    KSQLdbClient(sys.argv[1], api_key="user", api_secret="secret")


def open_query(handle: str, sql: str, properties: dict[str, Any]) -> Any:
    """The first line of a push query, which stays open under this handle."""
    queries[handle] = client.query_async(sql, stream_properties=properties)
    return next_line(handle)


def next_line(handle: str) -> Any:
    """The next line, None at the end."""

    async def following() -> Any:
        return await anext(queries[handle], None)

    return loop.run_until_complete(following())


serve(
    {
        "ksql": client.ksql,
        "get_properties": client.get_properties,
        "inserts_stream": client.inserts_stream,
        "query_sync": client.query_sync,
        "close_query": client.close_query,
        "open_query": open_query,
        "next_line": next_line,
        "with_credentials": with_credentials,
    }
)
