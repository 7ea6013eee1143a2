"""How rows of a stream are kept: types, tables and the INSERT, as DuckDB text. Pure.

A datasource is the table ``data."<name>"`` with ``__time`` first, its columns, `BATCH_COLUMN`, and
the hidden `SEQ_COLUMN`, the number of the commit that brought the row. Names are encoded
(`gateway.sql.names`).
"""

from collections.abc import Mapping
from pathlib import Path

from gateway.seams import (
    BATCH_COLUMN,
    TIME_COLUMN,
    InsertSpec,
    SubmissionRefused,
    TimeEncoding,
)
from gateway.sql.names import identifier, literal
from gateway.sql.rowfile import Field, relation
from protocol.types import Base, Column, SqlType

SEQ_COLUMN = "__seq"
"""Number of the commit that brought a row: hidden from every query."""

EXACT_DIGITS = 15
"""A double holds every decimal of up to this many digits."""

SCHEMA = """
CREATE SCHEMA IF NOT EXISTS data;
CREATE SCHEMA IF NOT EXISTS meta;
CREATE TABLE IF NOT EXISTS meta.commits (
    task_id VARCHAR PRIMARY KEY, batch_id VARCHAR, datasource VARCHAR, rows BIGINT, seq BIGINT
);
"""

_STORED = {
    Base.STRING: "VARCHAR",
    Base.INTEGER: "BIGINT",
    Base.BIGINT: "BIGINT",
    Base.DOUBLE: "DOUBLE",
    Base.BOOLEAN: "BIGINT",
    Base.BYTES: "VARCHAR",
    Base.TIMESTAMP: "BIGINT",
    Base.DATE: "VARCHAR",
    Base.TIME: "VARCHAR",
    Base.MAP: "JSON",
    Base.STRUCT: "JSON",
}
_ELEMENTS = {Base.STRING, Base.INTEGER, Base.BIGINT, Base.DOUBLE, Base.BOOLEAN}
_MAX_DECIMAL_DIGITS = 38


def table(datasource: str) -> str:
    """The table of a datasource."""
    return f"data.{identifier(datasource)}"


def stored_type(kind: SqlType) -> str:
    """The DuckDB type that keeps a column of ``kind`` (DESIGN §4)."""
    if kind.base is Base.DECIMAL:
        return "DOUBLE" if kind.precision <= EXACT_DIGITS else "VARCHAR"
    if kind.base is Base.ARRAY:
        element = kind.element
        native = element is not None and element.base in _ELEMENTS
        return f"{stored_type(element)}[]" if element and native else "JSON"
    return _STORED[kind.base]


def long_decimals(spec: InsertSpec) -> tuple[str, ...]:
    """Names of the columns whose numbers a double cannot hold."""
    return tuple(column.name for column in spec.columns if _long(column.type))


def _long(kind: SqlType) -> bool:
    if kind.base is Base.ARRAY and kind.element is not None:
        return _long(kind.element)
    return kind.base is Base.DECIMAL and kind.precision > EXACT_DIGITS


def check(spec: InsertSpec) -> None:
    """Raise `SubmissionRefused` for a name that the warehouse keeps for itself."""
    if not spec.datasource:
        raise SubmissionRefused("a datasource needs a name")
    names = [column.name for column in spec.columns if column.name != spec.time_column]
    for name in (TIME_COLUMN, BATCH_COLUMN, SEQ_COLUMN):
        if name in names:
            raise SubmissionRefused(f"the column name '{name}' is reserved")
    if len(set(names)) < len(names):
        raise SubmissionRefused(f"a column name stands twice: {', '.join(names)}")


def kept_columns(spec: InsertSpec) -> list[Column]:
    """The columns besides the time."""
    return [column for column in spec.columns if column.name != spec.time_column]


def changes(spec: InsertSpec, known: Mapping[str, str] | None) -> list[str]:
    """Statements that make room for the rows. ``known``: stored type by name; None: no table."""
    wanted = {column.name: stored_type(column.type) for column in kept_columns(spec)}
    if known is None:
        columns = [f"{identifier(TIME_COLUMN)} TIMESTAMP NOT NULL"]
        columns += [f"{identifier(name)} {kind}" for name, kind in wanted.items()]
        columns += [f"{identifier(BATCH_COLUMN)} VARCHAR", f"{identifier(SEQ_COLUMN)} BIGINT"]
        return [f"CREATE TABLE {table(spec.datasource)} ({', '.join(columns)})"]
    return [
        f"ALTER TABLE {table(spec.datasource)} ADD COLUMN {identifier(name)} {kind}"
        for name, kind in wanted.items()
        if name not in known
    ]


def insert(spec: InsertSpec, path: Path, batch_id: str, seq: int) -> str:
    """The INSERT of one batch from its file of rows."""
    extra = (
        f"{literal(batch_id)} AS {identifier(BATCH_COLUMN)}, "
        f"CAST({seq} AS BIGINT) AS {identifier(SEQ_COLUMN)}"
    )
    return f"INSERT INTO {table(spec.datasource)} BY NAME SELECT {values(spec)}, {extra} " + (
        f"FROM {relation(path, fields(spec))}"
    )


def probe(spec: InsertSpec, path: Path) -> str:
    """A statement that fails where `insert` would, and changes nothing."""
    time = f"coalesce({_time(spec)}, error('null'))"
    kept = [_value(column.name, column.type) for column in kept_columns(spec)]
    seen = ", ".join(f"max(hash({text}))" for text in [time, *kept])
    return f"SELECT {seen} FROM {relation(path, fields(spec))}"


def values(spec: InsertSpec) -> str:
    """The SELECT list that turns rows as read into rows as stored."""
    kept = [
        f"{_value(column.name, column.type)} AS {identifier(column.name)}"
        for column in kept_columns(spec)
    ]
    return ", ".join([f"{_time(spec)} AS {identifier(TIME_COLUMN)}", *kept])


def fields(spec: InsertSpec) -> list[Field]:
    """What to read from each row."""
    time = "BIGINT" if spec.time_encoding is TimeEncoding.MILLIS else "TIMESTAMPTZ"
    kept = [Field(column.name, _read_type(column.type)) for column in kept_columns(spec)]
    return [Field(spec.time_column, time), *kept]


def _time(spec: InsertSpec) -> str:
    name = identifier(spec.time_column)
    if spec.time_encoding is TimeEncoding.MILLIS:
        return f"make_timestamp_ms({name})"
    # Druid keeps milliseconds: finer parts are cut.
    return f"date_trunc('millisecond', CAST({name} AS TIMESTAMP))"


def _read_type(kind: SqlType) -> str:
    match kind.base:
        case Base.BOOLEAN:
            return "BOOLEAN"
        case Base.TIMESTAMP:
            return "VARCHAR"
        case Base.DECIMAL if EXACT_DIGITS < kind.precision <= _MAX_DECIMAL_DIGITS:
            return f"DECIMAL({kind.precision}, {kind.scale})"
        case Base.ARRAY if kind.element is not None and kind.element.base is Base.BOOLEAN:
            return "BOOLEAN[]"
    return stored_type(kind)


def _value(name: str, kind: SqlType) -> str:
    value = identifier(name)
    match kind.base:
        case Base.BOOLEAN:
            return f"CAST({value} AS BIGINT)"
        case Base.TIMESTAMP:
            time = f"CAST(CAST({value} AS TIMESTAMPTZ) AS TIMESTAMP)"
            return f"coalesce(TRY_CAST({value} AS BIGINT), epoch_ms({time}))"
        case Base.DECIMAL if kind.precision > EXACT_DIGITS:
            return f"CAST({value} AS VARCHAR)"
        case Base.BYTES:
            # Both base64 alphabets come in, the standard one is kept.
            return f"translate({value}, '-_', '+/')"
        case Base.ARRAY if kind.element is not None and kind.element.base is Base.BOOLEAN:
            return f"CAST({value} AS BIGINT[])"
    return value
