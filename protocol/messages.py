"""Messages of the WebSocket ``/ws/query``: a schema, rows, an end.

Owns: their shapes and the close codes. Each is JSON text; rows have the shape that they have in
v1+json. Knows no socket.

Protocol: ksqlDB's WSQueryEndpoint; facts in the protocol notes §9. Close codes: RFC 6455 §7.4.1.
"""

from collections.abc import Mapping, Sequence

import orjson

from protocol.arguments import QueryArguments, parse_query_request
from protocol.entities import schema_info
from protocol.errors import BadRequest, KsqlError
from protocol.types import Column

VERSION = "1"
REASON_MAX_BYTES = 123
"""A close frame holds 125 bytes, two of them the code (RFC 6455 §5.5)."""

NORMAL = 1000
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013

DONE = '{"error":"done"}'
"""The last message of a query that ended well."""


def socket_request(parameters: Mapping[str, str]) -> QueryArguments:
    """The query that a WebSocket was opened for: ``request``, and ``version`` if given.

    Raises `BadRequest`.
    """
    version = parameters.get("version", VERSION)
    if version != VERSION:
        raise BadRequest(f"Received request in unsupported version '{version}': it must be 1")
    if "request" not in parameters:
        raise BadRequest("The parameter 'request' is missing: it holds the query as JSON")
    return parse_query_request(parameters["request"].encode(errors="surrogateescape"))


def schema_message(columns: Sequence[Column]) -> str:
    """The first message: the columns with their types."""
    document = [{"name": c.name, "schema": schema_info(c.type)} for c in columns]
    return orjson.dumps(document).decode()


def row_message(line: bytes) -> str:
    """A row: a JSON array, with or without its newline."""
    return '{"row":{"columns":' + line.decode().rstrip("\n") + "}}"


def error_message(error: KsqlError) -> str:
    """The last message of a query that failed."""
    return orjson.dumps({"error": error.message}).decode()


def close_code(error: KsqlError) -> int:
    """The code that a failed query's socket is closed with."""
    if error.status in (429, 503):
        return TRY_AGAIN_LATER
    if error.status in (401, 403):
        return POLICY_VIOLATION
    return UNSUPPORTED_DATA if error.status < 500 else INTERNAL_ERROR


def close_reason(text: str) -> str:
    """``text`` as a close frame can hold it; a cut one ends in ``...``."""
    raw = text.encode()
    if len(raw) <= REASON_MAX_BYTES:
        return text
    return raw[: REASON_MAX_BYTES - 3].decode(errors="ignore") + "..."
