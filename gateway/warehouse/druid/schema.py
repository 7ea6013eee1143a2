"""What exists: datasources and columns as the Broker plans with them, and as the metadata has them.

The Broker hears of a new datasource or column seconds to minutes after it was published
(``druid.sql.planner.metadataRefreshPeriod``). Where "it does not exist" decides whether rows are
sent again, the Coordinator is asked, with its own lag switched off (``forceMetadataRefresh``,
Druid's ``api-reference/data-management-api``).
"""

import uuid
from typing import Any
from urllib.parse import quote

import orjson

from gateway.seams import (
    BATCH_COLUMN,
    QueryRefused,
    WarehouseUnreachable,
)
from gateway.warehouse.druid import sql
from gateway.warehouse.druid.columns import stored_type
from gateway.warehouse.druid.replies import (
    names_unknown_column,
    names_unknown_object,
    rows_of,
)
from gateway.warehouse.druid.transport import Reply, Server, Transport
from protocol.types import Column

_COORDINATOR = "/druid/coordinator/v1"


class Schema:
    """Questions about what there is, each one small query or call."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def datasources(self) -> list[str]:
        """Names of the datasources that the Broker knows, sorted."""
        return sorted(row[0] for row in await self._select(sql.datasources_sql()))

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """Columns of a datasource in the Broker's order; None if the Broker does not know it."""
        rows = await self._select(sql.columns_sql(datasource))
        return tuple(Column(name, stored_type(kind)) for name, kind in rows) or None

    async def loaded_rows(self, datasource: str, batch_id: str) -> int:
        """Rows of a batch that a SELECT sees now; 0 while the Broker does not know the table."""
        try:
            rows = await self._select(sql.count_sql(datasource, batch_id))
        except QueryRefused as refused:
            if names_unknown_object(str(refused)) or names_unknown_column(str(refused)):
                return 0
            raise WarehouseUnreachable(f"Druid refused to count: {refused}") from refused
        return int(rows[0][0]) if rows else 0

    async def published(self, datasource: str) -> bool:
        """Whether the datasource has any used segment, by the metadata store itself.

        The Coordinator reads its metadata anew for this, which also helps workers that are about
        to ask it for a segment of a moment ago. Raises `WarehouseUnreachable` where it will not.
        """
        path = f"{_COORDINATOR}/datasources/{quote(datasource, safe='')}/loadstatus"
        ask = {"forceMetadataRefresh": "true", "simple": "true"}
        reply = await self._transport.get(Server.COORDINATOR, path, ask)
        if reply.status not in (200, 204):
            raise _no_answer(reply)
        return reply.status == 200

    async def published_with_batches(self, datasource: str) -> bool:
        """Whether any published segment has a batch column. Ask `published` just before."""
        path = f"{_COORDINATOR}/metadata/datasources/{quote(datasource, safe='')}/segments"
        reply = await self._transport.get(Server.COORDINATOR, path, {"full": ""})
        if reply.status not in (200, 404):
            raise _no_answer(reply)
        return reply.status == 200 and any(map(_has_batch_column, _segments(reply)))

    async def _select(self, text: str) -> list[list[Any]]:
        query_id = f"headrace-{uuid.uuid4().hex}"
        document = {
            "query": text,
            "resultFormat": "array",
            "context": {"sqlQueryId": query_id, "sqlStringifyArrays": False},
        }
        reply = await self._transport.post(Server.BROKER, "/druid/v2/sql", document)
        return rows_of(reply.status, reply.body)


def _segments(reply: Reply) -> list[dict[str, Any]]:
    try:
        segments = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise _no_answer(reply) from None
    if not isinstance(segments, list):
        raise _no_answer(reply)
    return segments


def _has_batch_column(segment: dict[str, Any]) -> bool:
    dimensions = segment.get("dimensions")
    names = dimensions.split(",") if isinstance(dimensions, str) else dimensions or ()
    return BATCH_COLUMN in names


def _no_answer(reply: Reply) -> WarehouseUnreachable:
    text = reply.body[:300].decode("utf-8", "replace")
    return WarehouseUnreachable(f"the Coordinator answered {reply.status}: {text}")
