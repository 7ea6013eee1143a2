"""Drives PyPI's ``ksql-python-ng`` (module ``ksql``): httpx, HTTP/2 for two calls, else 1.1."""

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from ksql import KSQLAPI  # type: ignore[import-not-found, unused-ignore]
from ksql.upload import FileUpload  # type: ignore[import-not-found, unused-ignore]
from ksql.utils import (  # type: ignore[import-not-found, unused-ignore]
    drop_stream,
    get_all_streams,
    get_stream_info,
)

from tests.clients.drivers.serving import serve

url = sys.argv[1]
client: Any = KSQLAPI(url)
queries: dict[str, Iterator[Any]] = {}


def pull(sql: str, http2: bool, parse: bool) -> list[Any]:
    return list(client.query(sql, use_http2=http2, parse=parse))


def open_query(handle: str, sql: str, properties: dict[str, Any], http2: bool) -> Any:
    """The first chunk of a push query, which stays open under this handle."""
    queries[handle] = client.query(sql, stream_properties=properties, use_http2=http2)
    return next_chunk(handle)


def next_chunk(handle: str) -> Any:
    """The next chunk, None at the end."""
    return next(queries[handle], None)


def upload(script: str) -> Any:
    """Run a file of statements."""
    with tempfile.NamedTemporaryFile("w", suffix=".ksql") as file:
        file.write(script)
        file.flush()
        return FileUpload(url).upload(file.name)


serve(
    {
        "get_ksql_version": client.get_ksql_version,
        "get_properties": client.get_properties,
        "ksql": client.ksql,
        "create_stream": client.create_stream,
        "create_table": client.create_table,
        "create_stream_as": client.create_stream_as,
        "inserts_stream": client.inserts_stream,
        "close_query": client.close_query,
        "pull": pull,
        "open_query": open_query,
        "next_chunk": next_chunk,
        "upload": upload,
        "get_all_streams": lambda prefix: get_all_streams(client, prefix),
        "get_stream_info": lambda name: get_stream_info(client, name),
        "drop_stream": lambda name: drop_stream(client, name),
    }
)
