"""Stored values → declared values: what a plain column of a declared stream shows (DESIGN §6, 5).

A warehouse stores BOOLEAN as 0 and 1, a non-time TIMESTAMP as milliseconds, MAP and STRUCT as
JSON text, a long DECIMAL as text; Druid 27 shows an array as JSON text, and one of a single text
as that text. Where a result column is a declared one, its rows are decoded, converted and encoded
again; a result that needs none of this passes through as bytes.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson

from gateway.seams import RowLines
from protocol.timestamps import parse_timestamp, to_iso
from protocol.types import STRING, Base, SqlType

Convert = Callable[[Any], Any]


def converter(declared: SqlType, stored_as: str) -> Convert | None:
    """How a stored value becomes one of ``declared``; None if it is one already."""
    is_timestamp = stored_as.upper().startswith("TIMESTAMP")
    match declared.base:
        case Base.BOOLEAN:
            return bool
        case Base.TIMESTAMP:
            return _text_of_iso if is_timestamp else _text_of_millis
        case Base.BIGINT if is_timestamp:
            return parse_timestamp
        case Base.TIME:
            return _time_of_day
        case Base.DECIMAL:
            return _decimal(declared.scale)
        case Base.MAP | Base.STRUCT:
            return _document
        case Base.ARRAY:
            return _array_of_text if declared.element == STRING else _document
        case _:
            return None


def convert(lines: RowLines, converters: Sequence[Convert | None]) -> RowLines:
    """Rows with each value converted; nulls stay nulls."""
    rows: list[bytes] = []
    for line in lines.raw.splitlines():
        row = orjson.loads(line)
        for at, change in enumerate(converters):
            if change is not None and row[at] is not None:
                row[at] = change(row[at])
        rows.append(orjson.dumps(row, default=_fragment))
    rows.append(b"")
    return RowLines(b"\n".join(rows), lines.count)


def _fragment(value: Any) -> Any:
    """Decimals leave with their digits as they are."""
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError(f"no JSON for {type(value).__name__}")


def _text_of_iso(value: str) -> str:
    return to_iso(parse_timestamp(value))[:-1]


def _text_of_millis(value: int) -> str:
    return to_iso(int(value))[:-1]


def _time_of_day(value: str) -> str:
    """As ksqlDB writes it: to the second, and without seconds where they are zero."""
    return value[:5] if value[5:8] in ("", ":00") else value[:8]


def _decimal(scale: int) -> Convert:
    step = Decimal(1).scaleb(-scale)
    return lambda value: Decimal(str(value)).quantize(step)


def _document(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


def _array_of_text(value: Any) -> Any:
    """Druid 27 keeps ARRAY<STRING> as a multi-value string: several items are JSON, one is bare."""
    if not isinstance(value, str):
        return value
    try:
        items = orjson.loads(value)
    except orjson.JSONDecodeError:
        return [value]
    is_array = isinstance(items, list) and all(isinstance(item, str | None) for item in items)
    return items if is_array else [value]
