"""Stored values as the types that their stream declares, written by DuckDB. Pure.

Who shows the rows of a declared stream can convert them itself, a row at a time in Python
(DESIGN §6, 5). What is here is done by DuckDB while it makes the lines, for the conversions whose
text comes out the same to the byte; the others (decimals, documents) stay with whoever shows them.
"""

from gateway.sql.duck_types import WHOLE, DuckType
from gateway.sql.names import literal
from protocol.types import Base, SqlType

Value = tuple[str, DuckType]
"""DuckDB text of a value, and its type."""

_BIGINT, _BOOLEAN, _VARCHAR = DuckType("BIGINT"), DuckType("BOOLEAN"), DuckType("VARCHAR")
_TIME_TEXT = literal("%Y-%m-%dT%H:%M:%S.%g")


def as_declared(value: Value, declared: SqlType | None) -> Value | None:
    """The value as one of ``declared``; None where that is left to the caller."""
    text, kind = value
    if declared is None:
        return None
    match declared.base, kind.kind:
        case Base.BOOLEAN, whole if whole in WHOLE:
            return f"({text} <> 0)", _BOOLEAN
        case Base.BIGINT, "TIMESTAMP":
            return f"epoch_ms({text})", _BIGINT
        case Base.TIMESTAMP, "TIMESTAMP":
            return f"strftime({text}, {_TIME_TEXT})", _VARCHAR
        case Base.TIMESTAMP, "BIGINT":
            return f"strftime(make_timestamp_ms({text}), {_TIME_TEXT})", _VARCHAR
        case Base.TIME, "VARCHAR":
            # To the second, and without seconds where they are zero.
            seconds = f"{text}[6:8] IN ('', ':00')"
            return f"(CASE WHEN {seconds} THEN {text}[1:5] ELSE {text}[1:8] END)", _VARCHAR
        case Base.ARRAY, "LIST":
            return value
    return None
