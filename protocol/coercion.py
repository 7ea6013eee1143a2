"""JSON values → SQL values, refused in ksqlDB's own words.

The values that come out are what a spooled row holds (JSON again):

=================  ============================================================================
STRING, BOOLEAN    as they are
INTEGER, BIGINT    JSON integers in range
DOUBLE             JSON numbers, finite
DECIMAL(p, s)      a number if p ≤ 15 (a double holds it), else text with all its digits
BYTES              text, standard base64 with padding; both alphabets are read
TIMESTAMP          milliseconds since 1970; as a stream's time: ISO text
DATE, TIME         ISO text
ARRAY, MAP         arrays, objects; items coerced, nulls kept
STRUCT             objects with the fields' names, each coerced; missing ones null
=================  ============================================================================

Facts: protocol notes §3.5 (ksqlDB's strict coercion), §1.6 (values on the wire).
"""

import base64
import binascii
import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TypeVar

from protocol.timestamps import (
    MILLIS_MAX,
    MILLIS_MIN,
    parse_date,
    parse_time,
    parse_timestamp,
    to_iso,
)
from protocol.types import Base, NameTextError, SqlType, fold

T = TypeVar("T")

DOUBLE_DIGITS = 15
"""Decimal digits that a double always holds exactly."""


class Uncoercible(ValueError):
    """The value does not fit the type; the text is for the client."""


def coerce(value: Any, kind: SqlType) -> Any:
    """``value`` (from JSON) as ``kind`` is spooled; null stays null. Raises `Uncoercible`."""
    if value is None:
        return None
    return _COERCIONS[kind.base](value, kind)


def coerce_time(value: Any, kind: SqlType, read: Callable[[str], int] | None) -> int | str:
    """The row's own time: epoch ms from a BIGINT, else ISO text. ``read`` knows the pattern."""
    if kind.base is Base.BIGINT:
        millis: int = _integer(value, kind)
    elif isinstance(value, str):
        millis = _parsed(read or parse_timestamp, value)
    else:
        raise _mismatch(value, kind)
    if not MILLIS_MIN <= millis <= MILLIS_MAX:
        raise Uncoercible(f"{millis} is outside the years 0001 to 9999")
    return millis if kind.base is Base.BIGINT else to_iso(millis)


def text_of(value: Any) -> str:
    """Every text in a JSON value, keys of objects too, joined: to look through it all at once."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        return "".join(value) + "".join(map(text_of, value.values()))
    return ""


def java_class(value: Any) -> str:
    """The Java class that ksqlDB names for a JSON value."""
    match value:
        case bool():
            return "java.lang.Boolean"
        case int():
            if -(2**31) <= value < 2**31:
                return "java.lang.Integer"
            return "java.lang.Long" if _is_long(value) else "java.math.BigInteger"
        case float():
            return "java.lang.Double"
        case str():
            return "java.lang.String"
        case list():
            return "io.vertx.core.json.JsonArray"
        case _:
            return "io.vertx.core.json.JsonObject"


def _mismatch(value: Any, kind: SqlType) -> Uncoercible:
    return Uncoercible(f"Can't coerce a field of type class {java_class(value)} into type {kind}")


def _is_long(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(value: Any, kind: SqlType) -> int:
    if not _is_int(value):
        raise _mismatch(value, kind)
    if not _is_long(value):
        raise Uncoercible(f"Integer of more than 64 bits cannot be stored as {kind}")
    if kind.base is Base.INTEGER and not -(2**31) <= value < 2**31:
        raise _mismatch(value, kind)
    return int(value)


def _double(value: Any, kind: SqlType) -> float:
    if not (_is_int(value) or isinstance(value, float)):
        raise _mismatch(value, kind)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Uncoercible("A DOUBLE must be finite")
    return number


def _boolean(value: Any, kind: SqlType) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, kind)
    return value


def _string(value: Any, kind: SqlType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, kind)
    return value


def _decimal(value: Any, kind: SqlType) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _mismatch(value, kind)
    try:
        number = Decimal(str(value).strip())
        scaled = number.quantize(Decimal(1).scaleb(-kind.scale), rounding=ROUND_HALF_UP)
    except InvalidOperation:
        raise Uncoercible(f"'{str(value)[:80]}' is not a {kind}") from None
    if not scaled.is_finite() or scaled.adjusted() + 1 > kind.precision - kind.scale:
        raise _mismatch(value, kind)
    return float(scaled) if kind.precision <= DOUBLE_DIGITS else f"{scaled:f}"


def _bytes(value: Any, kind: SqlType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, kind)
    standard = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Uncoercible(f"'{value[:80]}' is not base64") from None
    return base64.b64encode(raw).decode()


def _timestamp(value: Any, kind: SqlType) -> int:
    if not isinstance(value, str):
        raise _mismatch(value, kind)
    return _parsed(parse_timestamp, value)


def _date(value: Any, kind: SqlType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, kind)
    return _parsed(parse_date, value)


def _time(value: Any, kind: SqlType) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, kind)
    return _parsed(parse_time, value)


def _parsed(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except (ValueError, OverflowError) as problem:
        raise Uncoercible(str(problem)[:300]) from None


def _array(value: Any, kind: SqlType) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(value, kind)
    assert kind.element is not None
    return [coerce(item, kind.element) for item in value]


def _map(value: Any, kind: SqlType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, kind)
    assert kind.element is not None
    return {key: coerce(item, kind.element) for key, item in value.items()}


def _struct(value: Any, kind: SqlType) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(value, kind)
    by_name: dict[str, Any] = {}
    for written, item in value.items():
        try:
            name = fold(written)
        except NameTextError as problem:
            raise Uncoercible(
                f"Invalid column / struct field name. Name: {written}. Reason: {problem}."
            ) from None
        if name in by_name:
            raise Uncoercible(f"Found duplicate column / struct field name: {name}")
        by_name[name] = item
    return {field.name: coerce(by_name.get(field.name), field.type) for field in kind.fields}


_COERCIONS: dict[Base, Callable[[Any, SqlType], Any]] = {
    Base.STRING: _string,
    Base.INTEGER: _integer,
    Base.BIGINT: _integer,
    Base.DOUBLE: _double,
    Base.BOOLEAN: _boolean,
    Base.DECIMAL: _decimal,
    Base.BYTES: _bytes,
    Base.TIMESTAMP: _timestamp,
    Base.DATE: _date,
    Base.TIME: _time,
    Base.ARRAY: _array,
    Base.MAP: _map,
    Base.STRUCT: _struct,
}
