"""CAST as Druid and Java do it: towards zero, and null where text is no number.

DuckDB's own CAST rounds and fails. What a column holds is not known here, so the text asks
DuckDB's ``typeof``, which is constant for a column and costs nothing at run time.
"""

from sqlglot import exp

from gateway.seams import QueryRefused
from gateway.sql.calls import once

_WHOLE = "('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'UBIGINT', 'BOOLEAN')"
_DIGITS = r"'^[+-]?[0-9]+$'"

_TARGETS = {
    "VARCHAR": "VARCHAR",
    "CHAR": "VARCHAR",
    "TEXT": "VARCHAR",
    "BIGINT": "BIGINT",
    "INT": "INTEGER",
    "SMALLINT": "SMALLINT",
    "TINYINT": "TINYINT",
    "DOUBLE": "DOUBLE",
    "FLOAT": "DOUBLE",
    "DECIMAL": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP",
    "DATE": "DATE",
    "TIME": "TIME",
}


def target(kind: exp.DataType) -> str:
    """The DuckDB type that a CAST names; refuses others by name."""
    name = str(getattr(kind.this, "value", kind.this)).upper()
    found = _TARGETS.get(name)
    if found is None:
        raise QueryRefused(f"CAST to {name} is not supported")
    return found


def cast(value: str, to: str) -> str:
    """``value`` as a DuckDB type of `target`."""
    if to in ("BIGINT", "INTEGER", "SMALLINT", "TINYINT"):
        return once(value, lambda v: _to_whole(v, to))
    if to == "TIMESTAMP":
        return once(value, _to_timestamp)
    if to == "VARCHAR":
        return f"CAST({value} AS VARCHAR)"
    return f"TRY_CAST({value} AS {to})"


def _to_whole(value: str, to: str) -> str:
    cut = f"TRY_CAST(trunc(TRY_CAST({value} AS DOUBLE)) AS {to})"
    return (
        f"(CASE WHEN typeof({value}) IN {_WHOLE} THEN TRY_CAST({value} AS {to}) "
        f"WHEN typeof({value}) = 'TIMESTAMP' "
        f"THEN TRY_CAST(epoch_ms(TRY_CAST(CAST({value} AS VARCHAR) AS TIMESTAMP)) AS {to}) "
        f"WHEN typeof({value}) = 'VARCHAR' AND regexp_matches(CAST({value} AS VARCHAR), {_DIGITS}) "
        f"THEN TRY_CAST({value} AS {to}) ELSE {cut} END)"
    )


def _to_timestamp(value: str) -> str:
    text = f"CAST({value} AS VARCHAR)"
    return (
        f"(CASE WHEN typeof({value}) IN {_WHOLE} "
        f"THEN make_timestamp_ms(TRY_CAST({text} AS BIGINT)) "
        f"ELSE TRY_CAST({text} AS TIMESTAMP) END)"
    )
