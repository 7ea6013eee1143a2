"""``INSERT INTO … VALUES`` → rows as a client of ``/inserts-stream`` sends them.

Pure: the source comes in. Owns: which column a value is for, that each fits its type, and the words
where one does not. A row that leaves has the datasource's spelling of every name, a member for
every column, and passes `protocol.rows.RowChecker`.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gateway.catalog.definition import time_column_of
from gateway.seams import Source
from protocol.coercion import Uncoercible, coerce, coerce_time, text_of
from protocol.errors import BadStatement
from protocol.forms import InsertValues, MapValue, StructValue, Value
from protocol.timestamps import compile_pattern
from protocol.types import Base, Column, SqlType, fold, quote

_PSEUDO = ("ROWTIME", "ROWPARTITION", "ROWOFFSET")


def rows_of(statement: InsertValues, source: Source) -> list[dict[str, Any]]:
    """The rows of the statement. Raises `BadStatement` for the first value that does not fit."""
    places = _places(statement, source)
    stored = [column.name for column in source.spec.columns]
    rows = []
    for values in statement.rows:
        if len(values) != len(places):
            raise _failed(statement, source, _count_problem(source, places, len(values)))
        row: dict[str, Any] = dict.fromkeys(stored)
        for place, value in zip(places, values, strict=True):
            row[stored[place]] = _checked(statement, source, place, value)
        _require(statement, source, row)
        rows.append(row)
    return rows


# ── columns ──────────────────────────────────────────────────────────────────────────────────


def _places(statement: InsertValues, source: Source) -> list[int]:
    """For each value the index of its column."""
    if statement.columns is None:
        return list(range(len(source.columns)))
    places: list[int] = []
    for written in statement.columns:
        place = _place(statement, source, written)
        if place in places:
            name = quote(source.columns[place].name)
            raise _failed(statement, source, f"Column {name} is named twice.")
        places.append(place)
    return places


def _place(statement: InsertValues, source: Source, written: str) -> int:
    """Names resolve as those of a row do: folded, or in a discovered datasource in any case."""
    name = fold(written)
    names = [column.name for column in source.columns]
    if name in names:
        return names.index(name)
    if not source.declared and written[0] not in '`"':
        alike = [at for at, known in enumerate(names) if known.upper() == name]
        if written in names:
            return names.index(written)
        if len(alike) == 1:
            return alike[0]
    if name in _PSEUDO:
        raise _failed(statement, source, _pseudo_problem(source, name))
    raise _failed(statement, source, f"Column {quote(name[:200])} does not exist.")


def _pseudo_problem(source: Source, name: str) -> str:
    if name != "ROWTIME":
        return f"Column {name} cannot be given."
    time_column = time_column_of(source)
    if time_column is not None:
        return f"ROWTIME cannot be given: the time of a row is its column {quote(time_column)}."
    return (
        "ROWTIME cannot be given: the stream has no TIMESTAMP property, so its rows are stamped "
        "when they arrive. Declare it WITH (timestamp='COLUMN') to give the time yourself."
    )


def _count_problem(source: Source, places: list[int], found: int) -> str:
    names = ", ".join(source.columns[place].name for place in places)
    return f"Expected a value for each column. Expected Columns: [{names}]. Got {found} values."


# ── values ───────────────────────────────────────────────────────────────────────────────────


def _checked(statement: InsertValues, source: Source, place: int, value: Value) -> Any:
    column = source.columns[place]
    try:
        plain = _plain(value, column.type)
        if plain is not None and source.spec.columns[place].name == source.spec.time_column:
            coerce_time(plain, column.type, _time_reader(source, column))
        else:
            coerce(plain, column.type)
    except Uncoercible as problem:
        said = f"{problem} (column {quote(column.name)})."
        raise _failed(statement, source, said) from problem
    if "\x00" in text_of(plain):
        problem_ = f"U+0000 cannot be stored: remove it from column {quote(column.name)}."
        raise _failed(statement, source, problem_)
    return plain


def _time_reader(source: Source, column: Column) -> Callable[[str], int] | None:
    if source.time_format is None or column.type.base is not Base.STRING:
        return None
    return compile_pattern(source.time_format)


def _plain(value: Value, kind: SqlType) -> Any:
    """A literal as JSON.

    A DECIMAL is text, which keeps every digit; a DOUBLE may be an integer of more than 64 bits,
    which JSON writers refuse.
    """
    if isinstance(value, Decimal):
        return f"{value}" if kind.base is Base.DECIMAL else float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value}" if kind.base is Base.DECIMAL else _integer(value, kind)
    if isinstance(value, list):
        element = kind.element if kind.base is Base.ARRAY else None
        return [_plain(item, element or kind) for item in value]
    if isinstance(value, MapValue):
        if kind.base is not Base.MAP or kind.element is None:
            raise Uncoercible(f"Can't coerce a MAP into type {kind}")
        return {key: _plain(item, kind.element) for key, item in value.entries.items()}
    if isinstance(value, StructValue):
        return _struct(value, kind)
    return value


def _integer(value: int, kind: SqlType) -> int | float:
    return float(value) if kind.base is Base.DOUBLE else value


def _struct(value: StructValue, kind: SqlType) -> dict[str, Any]:
    if kind.base is not Base.STRUCT:
        raise Uncoercible(f"Can't coerce a STRUCT into type {kind}")
    types = {field.name: field.type for field in kind.fields}
    members: dict[str, Any] = {}
    for name, item in value.fields.items():
        if name not in types:
            raise Uncoercible(f"There is no field {quote(name[:200])} in {kind}")
        members[quote(name)] = _plain(item, types[name])
    return members


def _require(statement: InsertValues, source: Source, row: dict[str, Any]) -> None:
    """Key columns and the time are there, as every row needs them."""
    for column, stored in zip(source.columns, source.spec.columns, strict=True):
        if row[stored.name] is not None:
            continue
        if column.key:
            raise _failed(statement, source, f"Key field must be specified: {column.name}")
        if stored.name == source.spec.time_column:
            said = f"Time column {quote(column.name)} must not be null: every row needs a time."
            raise _failed(statement, source, said)


def _failed(statement: InsertValues, source: Source, problem: str) -> BadStatement:
    message = f"Failed to insert values into {quote(source.name)}. {problem}"
    return BadStatement(message, statement.text)
