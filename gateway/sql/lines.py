"""Result rows as JSON lines, written by DuckDB itself: no Python per row or value.

Two styles. DRUID is what ``/druid/v2/sql`` answers as ``arrayLines``: times in ISO with a ``Z``,
JSON columns as strings that hold JSON. KSQL is ksqlDB's (``ksqldb-protocol.md`` §1.6): times
without a zone, decimals in plain notation with their scale, structs and maps as objects. Inside a
struct ksqlDB writes times as numbers and decimals as doubles: NESTED.
"""

from collections.abc import Sequence
from enum import Enum, auto

from gateway.sql.duck_types import WHOLE, DuckType
from gateway.sql.names import literal, quoted


class Style(Enum):
    """Whose JSON to write."""

    DRUID = auto()
    KSQL = auto()
    NESTED = auto()
    """a value inside a struct of ksqlDB's"""


_STRFTIME = {Style.DRUID: '"%Y-%m-%dT%H:%M:%S.%gZ"', Style.KSQL: '"%Y-%m-%dT%H:%M:%S.%g"'}
_AS_IT_IS = WHOLE | {"BOOLEAN"}
_PLAIN = WHOLE | {"BOOLEAN", "VARCHAR"}


def row_line(columns: Sequence[tuple[str, DuckType]], style: Style) -> str:
    """DuckDB text of one JSON array per row, from (DuckDB text, type) of each value."""
    values = ", ',', ".join(_member(sql, kind, style) for sql, kind in columns)
    return f"concat('[', {values}, ']')"


def _member(value: str, kind: DuckType, style: Style, depth: int = 0) -> str:
    """JSON text of a value, ``null`` included."""
    return f"coalesce({_json(value, kind, style, depth)}, 'null')"


def _json(value: str, kind: DuckType, style: Style, depth: int) -> str:
    """JSON text of a value; null for null."""
    if kind.kind in _AS_IT_IS:
        return f"CAST({value} AS VARCHAR)"
    match kind.kind:
        case "DOUBLE" | "FLOAT":
            return _double(f"CAST({value} AS DOUBLE)")
        case "DECIMAL":
            if style is Style.KSQL:
                return f"CAST({value} AS VARCHAR)"
            return _double(f"CAST({value} AS DOUBLE)")
        case "TIMESTAMP" | "DATE" | "TIME":
            return _time(value, kind.kind, style)
        case "LIST":
            return _list(value, kind.parts[0][1], style, depth)
        case "STRUCT":
            return _struct(value, kind, depth)
        case "MAP":
            return _map(value, kind.parts[1][1], style, depth)
        case "BLOB":
            return f"concat('\"', base64({value}), '\"')"
        case "NULL":
            return "NULL"
    return f"CAST(to_json(CAST({value} AS VARCHAR)) AS VARCHAR)"


def _double(value: str) -> str:
    """``1.0`` even for whole values; what is no number is a string, as Jackson writes it."""
    return (
        f"(CASE WHEN isfinite({value}) THEN CAST(to_json({value}) AS VARCHAR) "
        f"WHEN isnan({value}) THEN '\"NaN\"' WHEN {value} > 0 THEN '\"Infinity\"' "
        f"WHEN {value} < 0 THEN '\"-Infinity\"' END)"
    )


def _time(value: str, kind: str, style: Style) -> str:
    if style is Style.NESTED:
        unit = {"TIMESTAMP": "epoch_ms({0})", "DATE": "datediff('day', DATE '1970-01-01', {0})"}
        number = unit.get(kind, "(epoch_us({0}) // 1000)").format(value)
        return f"CAST({number} AS VARCHAR)"
    if kind == "TIMESTAMP" or (kind == "DATE" and style is Style.DRUID):
        return f"strftime(CAST({value} AS TIMESTAMP), {literal(_STRFTIME[style])})"
    if kind == "DATE":
        return f"strftime({value}, '\"%Y-%m-%d\"')"
    # Java's LocalTime leaves out seconds that are zero.
    text = f"CAST({value} AS VARCHAR)"
    return (
        f"(CASE WHEN {text}[7:8] = '00' THEN concat('\"', {text}[1:5], '\"') "
        f"WHEN {value} IS NOT NULL THEN concat('\"', {text}[1:8], '\"') END)"
    )


def _list(value: str, element: DuckType, style: Style, depth: int) -> str:
    if element.kind in _PLAIN:
        return f"CAST(to_json({value}) AS VARCHAR)"
    name = f"e{depth}"
    members = f"list_transform({value}, lambda {name}: {_member(name, element, style, depth + 1)})"
    return _between("[", f"array_to_string({members}, ',')", "]", value)


def _struct(value: str, kind: DuckType, depth: int) -> str:
    parts = ", ',', ".join(
        f"{literal(_key(name))}, "
        + _member(f"struct_extract({value}, {literal(name)})", part, Style.NESTED, depth)
        for name, part in kind.parts
    )
    return f"(CASE WHEN {value} IS NOT NULL THEN concat('{{', {parts}, '}}') END)"


def _map(value: str, element: DuckType, style: Style, depth: int) -> str:
    if element.kind in _PLAIN:
        return f"CAST(to_json({value}) AS VARCHAR)"
    name = f"e{depth}"
    member = _member(f"{name}.{quoted('value')}", element, style, depth + 1)
    entry = f"concat(CAST(to_json({name}.{quoted('key')}) AS VARCHAR), ':', {member})"
    entries = f"list_transform(map_entries({value}), lambda {name}: {entry})"
    return _between("{", f"array_to_string({entries}, ',')", "}", value)


def _between(opening: str, text: str, closing: str, value: str) -> str:
    return f"(CASE WHEN {value} IS NOT NULL THEN concat('{opening}', {text}, '{closing}') END)"


def _key(name: str) -> str:
    """A struct's field name with its colon, as JSON writes it."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}":'
