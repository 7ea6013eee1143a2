"""A source's rows as ksqlDB types: what each member is read as, and how it becomes its type.

The members are named by ``spec.columns``, which stand in the order of the source's columns. Rows
were checked before they were spooled, so a value that still has no such type reads as null: one
row must not end a standing query.
"""

from dataclasses import dataclass

from gateway.seams import TIME_COLUMN, Source, TimeEncoding
from gateway.sql.names import identifier, literal, quoted
from gateway.sql.periods import strftime_pattern
from gateway.sql.rowfile import Field
from protocol.types import Base, Column, SqlType

MAX_DECIMAL_DIGITS = 38
"""DuckDB's longest decimal; a longer one stays text."""

_READ = {
    Base.STRING: "VARCHAR",
    Base.INTEGER: "BIGINT",
    Base.BIGINT: "BIGINT",
    Base.DOUBLE: "DOUBLE",
    Base.BOOLEAN: "BOOLEAN",
    Base.BYTES: "VARCHAR",
    Base.TIMESTAMP: "VARCHAR",
    Base.DATE: "VARCHAR",
    Base.TIME: "VARCHAR",
}
_CONVERTED = {Base.TIMESTAMP, Base.DATE, Base.TIME, Base.BYTES}


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """A source's column: the member it comes from, and the DuckDB text of its typed value."""

    column: Column
    field: Field
    value: str


def typed_columns(source: Source) -> list[TypedColumn]:
    """Every column of the source, in its order."""
    return [
        _typed_column(source, column, stored.name)
        for column, stored in zip(source.columns, source.spec.columns, strict=True)
    ]


def row_time(source: Source) -> TypedColumn:
    """The row's time as a TIMESTAMP."""
    spec = source.spec
    column = Column(TIME_COLUMN, SqlType(Base.TIMESTAMP))
    return TypedColumn(column, _time_field(source), _time(spec.time_column, spec.time_encoding))


def long_decimals(source: Source) -> frozenset[str]:
    """Members with numbers that a double does not hold."""
    return frozenset(c.name for c in source.spec.columns if _has_long_decimal(c.type))


def _has_long_decimal(kind: SqlType) -> bool:
    if kind.base in (Base.ARRAY, Base.MAP) and kind.element is not None:
        return _has_long_decimal(kind.element)
    return kind.base is Base.DECIMAL and kind.precision > 15


def _typed_column(source: Source, column: Column, member: str) -> TypedColumn:
    if member == source.spec.time_column:
        return TypedColumn(column, _time_field(source), _declared_time(source, column))
    field = Field(member, read_type(column.type))
    return TypedColumn(column, field, converted(identifier(member), column.type))


def _time_field(source: Source) -> Field:
    spec = source.spec
    millis = spec.time_encoding is TimeEncoding.MILLIS
    return Field(spec.time_column, "BIGINT" if millis else "VARCHAR")


def _time(name: str, encoding: TimeEncoding) -> str:
    if encoding is TimeEncoding.MILLIS:
        return f"make_timestamp_ms({identifier(name)})"
    return f"CAST(TRY_CAST({identifier(name)} AS TIMESTAMPTZ) AS TIMESTAMP)"


def _declared_time(source: Source, column: Column) -> str:
    """The time column under its declared type."""
    spec = source.spec
    name, time = identifier(spec.time_column), _time(spec.time_column, spec.time_encoding)
    millis = spec.time_encoding is TimeEncoding.MILLIS
    match column.type.base:
        case Base.BIGINT | Base.INTEGER:
            return name if millis else f"epoch_ms({time})"
        case Base.STRING if not millis and source.time_format is None:
            return name
        case Base.STRING:
            pattern = source.time_format or "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"
            return f"strftime({time}, {literal(strftime_pattern(pattern))})"
        case Base.DATE:
            return f"CAST({time} AS DATE)"
    return time


def read_type(kind: SqlType) -> str:
    """The DuckDB type that a member of type ``kind`` is read as."""
    match kind.base:
        case Base.DECIMAL if kind.precision > MAX_DECIMAL_DIGITS:
            return "VARCHAR"
        case Base.DECIMAL:
            return f"DECIMAL({kind.precision}, {kind.scale})"
        case Base.ARRAY if kind.element is not None:
            return f"{read_type(kind.element)}[]"
        case Base.MAP if kind.element is not None:
            return f"MAP(VARCHAR, {read_type(kind.element)})"
        case Base.STRUCT:
            inner = ", ".join(f"{quoted(f.name)} {read_type(f.type)}" for f in kind.fields)
            return f"STRUCT({inner})"
    return _READ[kind.base]


def converted(value: str, kind: SqlType, depth: int = 0) -> str:
    """DuckDB text that turns a member as read into its type."""
    if not _needs_converting(kind):
        return value
    match kind.base:
        case Base.TIMESTAMP:
            text = f"CAST(TRY_CAST({value} AS TIMESTAMPTZ) AS TIMESTAMP)"
            return f"coalesce(make_timestamp_ms(TRY_CAST({value} AS BIGINT)), {text})"
        case Base.DATE:
            return f"TRY_CAST({value} AS DATE)"
        case Base.TIME:
            padded = f"CASE WHEN length({value}) = 5 THEN {value} || ':00' ELSE {value} END"
            return f"TRY_CAST({padded} AS TIME)"
        case Base.BYTES:
            return f"translate({value}, '-_', '+/')"
        case Base.ARRAY if kind.element is not None:
            inner = converted(f"x{depth}", kind.element, depth + 1)
            return f"list_transform({value}, lambda x{depth}: {inner})"
        case Base.MAP if kind.element is not None:
            return _converted_map(value, kind.element, depth)
    parts = ", ".join(
        f"{quoted(f.name)} := "
        + converted(f"struct_extract({value}, {literal(f.name)})", f.type, depth)
        for f in kind.fields
    )
    return f"(CASE WHEN {value} IS NOT NULL THEN struct_pack({parts}) END)"


def _converted_map(value: str, element: SqlType, depth: int) -> str:
    inner = converted(f"x{depth}", element, depth + 1)
    values = f"list_transform(map_values({value}), lambda x{depth}: {inner})"
    return f"(CASE WHEN {value} IS NOT NULL THEN map(map_keys({value}), {values}) END)"


def _needs_converting(kind: SqlType) -> bool:
    if kind.base in (Base.ARRAY, Base.MAP) and kind.element is not None:
        return _needs_converting(kind.element)
    if kind.base is Base.STRUCT:
        return any(_needs_converting(field.type) for field in kind.fields)
    return kind.base in _CONVERTED
