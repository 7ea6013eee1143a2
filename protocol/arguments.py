"""Arguments of the streaming endpoints: JSON bodies → frozen values.

ksqlDB reads them with Jackson: member names are case-sensitive, unknown members are ignored, of
duplicate members the last wins, what follows the object is ignored, and a scalar where text is
wanted is taken as its text. The messages start as ksqlDB's do; clients compare prefixes.
Facts: protocol notes §1.4, §3.1, §4.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import BadRequest

_PREFIX = "Invalid JSON in request: "


@dataclass(frozen=True, slots=True)
class InsertArguments:
    """First line of ``/inserts-stream``; ``target`` as the client wrote it."""

    target: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QueryArguments:
    """Body of ``/query-stream``; ``/query`` and the WebSocket give the same under other names."""

    sql: str
    properties: Mapping[str, Any]
    session_variables: Mapping[str, Any]
    request_properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KsqlArguments:
    """Body of ``/ksql``."""

    ksql: str
    properties: Mapping[str, Any]
    session_variables: Mapping[str, Any]


def parse_insert_arguments(body: bytes) -> InsertArguments:
    """Raises `BadRequest`."""
    members = _object(body)
    return InsertArguments(_text(members, "target"), _map(members, "properties"))


def parse_query_arguments(body: bytes) -> QueryArguments:
    """Raises `BadRequest`."""
    members = _object(body)
    return QueryArguments(
        _text(members, "sql"),
        _map(members, "properties"),
        _map(members, "sessionVariables"),
        _map(members, "requestProperties"),
    )


def parse_query_request(body: bytes) -> QueryArguments:
    """Body of ``/query`` and parameter of the WebSocket (KsqlRequest): text in ``ksql``.

    Raises `BadRequest`. An absent or null text is empty, and no statement then.
    """
    members = _object(body)
    return QueryArguments(
        _ksql(members),
        _map(members, "streamsProperties"),
        _map(members, "sessionVariables"),
        _map(members, "requestProperties"),
    )


def parse_close_arguments(body: bytes) -> str:
    """The query id of ``/close-query``. Raises `BadRequest`."""
    return _text(_object(body), "queryId")


def parse_ksql_arguments(body: bytes) -> KsqlArguments:
    """Raises `BadRequest`. An absent or null statement text is empty."""
    members = _object(body)
    return KsqlArguments(
        _ksql(members), _map(members, "streamsProperties"), _map(members, "sessionVariables")
    )


def _ksql(members: Mapping[str, Any]) -> str:
    return "" if members.get("ksql") is None else _text(members, "ksql")


def _object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode().lstrip()
    except UnicodeDecodeError as error:
        raise BadRequest(f"{_PREFIX}Invalid UTF-8 at byte {error.start}") from None
    if not text:
        raise BadRequest(f"{_PREFIX}No content to map due to end-of-input")
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise BadRequest(_PREFIX + _malformed(text, error)) from None
    except (RecursionError, ValueError):
        raise BadRequest(f"{_PREFIX}Document nesting or a number in it is too large") from None
    if not isinstance(value, dict):
        raise BadRequest(f"{_PREFIX}Cannot read an object from {_kind(value)}")
    if "\\u" in text:
        _refuse_half_pairs(value)
    return value


def _refuse_half_pairs(value: dict[str, Any]) -> None:
    r"""Text with half of a surrogate pair (``\ud800``) cannot be written anywhere as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{_PREFIX}Text holds half of a surrogate pair") from None


def _malformed(text: str, error: json.JSONDecodeError) -> str:
    place = f" (line {error.lineno}, column {error.colno})"
    if error.pos >= len(text.rstrip()) and text[0] in "{[":
        what = "Object" if text[0] == "{" else "Array"
        return f"Unexpected end-of-input: expected close marker for {what}{place}"
    return f"{error.msg}{place}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _text(members: Mapping[str, Any], name: str) -> str:
    if name not in members:
        raise BadRequest(f"{_PREFIX}Missing required creator property '{name}' (index 0)")
    value = members[name]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise BadRequest(f"{_PREFIX}Cannot read '{name}' as text from {_kind(value)}")
    return value


def _map(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{_PREFIX}Cannot read '{name}' as an object from {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "an Array value"
    return "an Object value" if isinstance(value, dict) else f"a {type(value).__name__} value"
