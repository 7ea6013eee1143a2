"""Stored values → declared values: what a plain column of a declared stream shows (DESIGN §6, 5).

A warehouse stores BOOLEAN as 0 and 1, a non-time TIMESTAMP as milliseconds, MAP and STRUCT as
JSON text, a long DECIMAL as text; Druid 27 shows an array as JSON text, and one of a single text
as that text. Where a result column is a declared one, its rows are decoded, converted and encoded
again. A result that needs none of this passes through as bytes, and so does all but the time of
one that starts with its time and needs nothing else: the rows of most streams.
"""

from collections.abc import Callable, Mapping, Sequence
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
            return _millis_of_iso
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
    quick = _LEADING.get(converters[0]) if not any(converters[1:]) else None
    raw = quick(lines) if quick is not None else None
    return RowLines(raw or _each_value(lines.raw, converters), lines.count)


def _each_value(raw: bytes, converters: Sequence[Convert | None]) -> bytes:
    # One call for all rows: JSON has no newline but between them.
    rows = orjson.loads(b"[%b]" % raw[:-1].replace(b"\n", b","))
    for at, change in enumerate(converters):
        if change is not None:
            for row in rows:
                if row[at] is not None:
                    row[at] = change(row[at])
    out: list[Any] = [_NEWLINE] * (2 * len(rows) - 1)
    out[::2] = rows
    # One call again: a newline stands between two commas nowhere but where it was put.
    return orjson.dumps(out, default=_fragment)[1:-1].replace(b",\n,", b"\n") + b"\n"


_NEWLINE = orjson.Fragment(b"\n")


def _fragment(value: Any) -> Any:
    """Decimals leave with their digits as they are."""
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError(f"no JSON for {type(value).__name__}")


_DAYS_MAX = 4096
_days: dict[str, int] = {}
"""Milliseconds of the days seen of late: rows of a result mostly lie close to one another."""


def _millis_of_iso(value: str) -> int:
    """What `parse_timestamp` says, quicker for the one form that warehouses write by default."""
    if len(value) != 24 or value[23] != "Z":
        return parse_timestamp(value)
    day = _days.get(value[:10])
    if day is None:
        if len(_days) >= _DAYS_MAX:
            _days.clear()
        day = _days[value[:10]] = parse_timestamp(value[:10])
    seconds = int(value[11:13]) * 3600 + int(value[14:16]) * 60 + int(value[17:19])
    return day + seconds * 1000 + int(value[20:23])


class _Seconds(dict[bytes, bytes]):
    """Starts of rows by the times they start with, to the second: ``[1700006400`` for it.

    Raises ValueError for what is none, and for those that milliseconds cannot just follow.
    """

    def __missing__(self, text: bytes) -> bytes:
        seconds = _millis_of_iso(text.decode() + "000Z") // 1000
        if seconds <= 0:
            raise ValueError("not after 1970 began")
        if len(self) >= _SECONDS_MAX:
            self.clear()
        found = self[text] = b"[%d" % seconds
        return found


_SECONDS_MAX = 65_536
_seconds = _Seconds()
_millis = {b'%03dZ"' % millis: b"%03d" % millis for millis in range(1000)}


def _texts(lines: RowLines) -> list[bytes] | None:
    """Rows that start with a text, without their ``["``; None if they do not all."""
    first, *rows = (b"\n" + lines.raw[:-1]).split(b'\n["')
    return None if first or len(rows) != lines.count else rows


def _leading_millis(lines: RowLines) -> bytes | None:
    """Rows whose time is ``2023-11-15T00:00:00.123Z``, as warehouses write it by default."""
    rows = _texts(lines)
    if rows is None:
        return None
    parts = [b"\n"] * (4 * len(rows))
    try:
        parts[0::4] = [_seconds[row[:20]] for row in rows]
        parts[1::4] = [_millis[row[20:25]] for row in rows]
    except (KeyError, ValueError):
        return None
    parts[2::4] = [row[25:] for row in rows]
    return b"".join(parts)


def _leading_text(lines: RowLines) -> bytes | None:
    rows = _texts(lines)
    if rows is None or {row[23:25] for row in rows} != {b'Z"'}:
        return None
    return b'["' + b'\n["'.join([row[:23] + row[24:] for row in rows]) + b"\n"


def _text_of_iso(value: str) -> str:
    if len(value) == 24 and value[23] == "Z":
        return value[:23]
    return to_iso(parse_timestamp(value))[:-1]


_MINUTE_MS = 60_000
_MINUTES_MAX = 4096
_minutes: dict[int, str] = {}
"""Text of the minutes seen of late, by their number since 1970, up to the seconds."""


def _text_of_millis(value: int) -> str:
    minute, rest = divmod(int(value), _MINUTE_MS)
    text = _minutes.get(minute)
    if text is None:
        if len(_minutes) >= _MINUTES_MAX:
            _minutes.clear()
        text = _minutes[minute] = to_iso(minute * _MINUTE_MS)[:17]
    return f"{text}{rest // 1000:02d}.{rest % 1000:03d}"


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


_LEADING: Mapping[Convert | None, Callable[[RowLines], bytes | None]] = {
    _millis_of_iso: _leading_millis,
    _text_of_iso: _leading_text,
}
"""How rows are converted whose first value alone needs it; None from one: as all others."""
