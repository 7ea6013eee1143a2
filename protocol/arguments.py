"""Arguments of the streaming endpoints: JSON bodies → frozen values.

ksqlDB reads them with Jackson: member names are case-sensitive, unknown members are ignored, of
duplicate members the last wins, what follows the object is ignored, and a scalar where text is
wanted is taken as its text. The messages start as ksqlDB's do; clients compare prefixes.
Facts: protocol notes §1.4, §3.1, §4.
"""

import json
import unicodedata
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertOptions:
    """What an insert request asks for in its ``headrace.`` properties, the ack level aside.

    ``channel`` and the ``offset`` of row 0 on it (None: where it stands). ``continues``: a bad row
    gets its error line and the stream goes on. ``coalesced``: frames are packed.
    """

    channel: str | None = None
    offset: int | None = None
    continues: bool = False
    coalesced: bool = False


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


CHANNEL_NAME_MAX = 256
OFFSET_END = 2**63


def parse_insert_options(properties: Mapping[str, Any]) -> InsertOptions:
    """Raises `BadRequest`. A property that is null is not set; unknown ones are ignored."""
    channel = properties.get("headrace.channel")
    offset = properties.get("headrace.offset")
    if channel is None and offset is not None:
        raise BadRequest("headrace.offset needs headrace.channel: it counts the rows of a channel")
    return InsertOptions(
        channel=None if channel is None else channel_name(channel),
        offset=None if offset is None else _offset(offset),
        continues=_continues(properties.get("headrace.on_error")),
        coalesced=coalesces(properties),
    )


def coalesces(properties: Mapping[str, Any]) -> bool:
    """Whether the request asks for packed frames (``headrace.frames=coalesced``)."""
    return properties.get("headrace.frames") == "coalesced"


def channel_name(given: Any) -> str:
    """The name of a channel; a number is taken as its text. Raises `BadRequest`."""
    name = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= CHANNEL_NAME_MAX
        or any(unicodedata.category(character) == "Cc" for character in name)
    ):
        raise BadRequest(
            f"headrace.channel is a name of 1 to {CHANNEL_NAME_MAX} characters, none of them a "
            f"control character: got {_short(given)}"
        )
    return name


def _offset(given: Any) -> int:
    offset = -1
    if isinstance(given, int) and not isinstance(given, bool):
        offset = given
    elif isinstance(given, str) and len(given) <= len(str(OFFSET_END)) and _is_digits(given):
        offset = int(given)
    if not 0 <= offset < OFFSET_END:
        raise BadRequest(
            f"headrace.offset is a whole number from 0 to {OFFSET_END - 1}, the offset of the "
            f"first row on its channel: got {_short(given)}"
        )
    return offset


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _continues(given: Any) -> bool:
    if given not in (None, "continue", "stop"):
        raise BadRequest(
            f"Unknown headrace.on_error {_short(given)}: it is 'continue' (a bad row gets its "
            "error and the stream goes on) or 'stop' (the first one ends the stream)"
        )
    return bool(given == "continue")


def _short(given: Any) -> str:
    """A value as JSON, as far as a message should hold it."""
    text = json.dumps(given)
    return text if len(text) <= 300 else f"{text[:300]}…"


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
