"""Drives PyPI's ``ksqldb-client``: httpx, which over clear text stays on HTTP/1.1."""

import sys
from typing import Any

from ksqldb_client import KSqlDBClient  # type: ignore[import-not-found, unused-ignore]

from tests.clients.drivers.serving import serve

client: Any = KSqlDBClient(sys.argv[1])


def plain(model: Any) -> Any:
    """A pydantic model as JSON, by the wire's names."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def ksql(text: str, variables: dict[str, Any] | None = None) -> Any:
    return plain(client.ksql(text, session_variables=variables))


serve(
    {
        "info": lambda: plain(client.info()),
        "ksql": ksql,
        "query": lambda sql, properties=None: plain(
            client.query(sql, stream_properties=properties)
        ),
        "query_stream": lambda sql: plain(client.query_stream(sql)),
        "close_query": lambda query_id: client.close_query(query_id=query_id),
        "status": lambda command: plain(client.status(command)),
        "cluster_status": client.cluster_status,
    }
)
