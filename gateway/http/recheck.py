"""Rows that come a second time: dead letters that are edited or driven again are checked anew."""

from typing import Protocol

import orjson

from gateway.clock import now_ms
from gateway.http.inserts import row_schema
from gateway.seams import ARRIVAL_FIELD, InsertSpec, Sources
from protocol.errors import BadRequest
from protocol.rows import RowChecker


class RowCheck(Protocol):
    """``(stream, row, arrival_ms)`` → how it is inserted and its line as it is spooled."""

    async def __call__(self, stream: str, raw: bytes, arrival_ms: int) -> tuple[InsertSpec, bytes]:
        """Raises `protocol.errors.KsqlError` if the stream does not take the row."""


def row_check(sources: Sources, row_limit_bytes: int) -> RowCheck:
    """A check of single rows against their streams as they are declared now."""

    async def check(stream: str, raw: bytes, arrival_ms: int) -> tuple[InsertSpec, bytes]:
        quoted = "`" + stream.replace("`", "``") + "`"
        source = sources.declared(stream) or await sources.resolve(quoted)
        checker = RowChecker(row_schema(source), row_limit_bytes=row_limit_bytes)
        if b"\n" in raw:
            raise BadRequest("A row is one line: remove the line breaks from it")
        checked = checker.check(raw + b"\n", _arrival(raw) or arrival_ms or now_ms())
        if checked.rejected is not None:
            raise BadRequest(checked.rejected.message)
        return source.spec, checked.raw

    return check


def _arrival(raw: bytes) -> int | None:
    """When the row arrived, where it was spooled before and says so."""
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    found = members.get(ARRIVAL_FIELD) if isinstance(members, dict) else None
    return found if isinstance(found, int) else None
