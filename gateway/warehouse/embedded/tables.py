"""Which tables a query may see: the datasources, and Druid's description of them.

Every base table of a query is handed out here, as a subquery without the hidden column. A name
that is not here does not exist for a user.
"""

from collections.abc import Mapping

import duckdb

from gateway.seams import TIME_COLUMN, QueryRefused
from gateway.sql.names import decode, encode, identifier
from gateway.warehouse.embedded.storage import SEQ_COLUMN, table
from protocol.types import BIGINT, DOUBLE, STRING, TIMESTAMP, Column, SqlType, array_of

_READ_BACK: Mapping[str, SqlType] = {
    "VARCHAR": STRING,
    "JSON": STRING,
    "BIGINT": BIGINT,
    "DOUBLE": DOUBLE,
    "TIMESTAMP": TIMESTAMP,
    "VARCHAR[]": array_of(STRING),
    "BIGINT[]": array_of(BIGINT),
    "DOUBLE[]": array_of(DOUBLE),
}

_NAMES = "regexp_replace({0}, '\\^(.)', '\\1', 'g')"

_DRUID_TYPES = (
    "CASE WHEN data_type LIKE '%[]' THEN 'ARRAY' WHEN data_type = 'JSON' THEN 'COMPLEX<json>' "
    "ELSE data_type END"
)

_DESCRIPTIONS = {
    "TABLES": (
        {
            "TABLE_CATALOG": "'druid'",
            "TABLE_SCHEMA": "'druid'",
            "TABLE_NAME": _NAMES.format("table_name"),
            "TABLE_TYPE": "'TABLE'",
            "IS_JOINABLE": "'NO'",
            "IS_BROADCAST": "'NO'",
        },
        "duckdb_tables() WHERE schema_name = 'data'",
    ),
    "COLUMNS": (
        {
            "TABLE_CATALOG": "'druid'",
            "TABLE_SCHEMA": "'druid'",
            "TABLE_NAME": _NAMES.format("table_name"),
            "COLUMN_NAME": _NAMES.format("column_name"),
            "ORDINAL_POSITION": "CAST(column_index AS BIGINT)",
            "IS_NULLABLE": f"CASE WHEN column_name = '{TIME_COLUMN}' THEN 'NO' ELSE 'YES' END",
            "DATA_TYPE": _DRUID_TYPES,
        },
        f"duckdb_columns() WHERE schema_name = 'data' AND column_name <> '{SEQ_COLUMN}'",
    ),
    "SCHEMATA": (
        {"CATALOG_NAME": "'druid'", "SCHEMA_NAME": "s"},
        "(VALUES ('druid'), ('INFORMATION_SCHEMA')) AS v(s)",
    ),
}


def relation(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> str:
    """DuckDB text of the table that a query names (`gateway.sql.select.Relation`)."""
    if schema == "INFORMATION_SCHEMA" and name in _DESCRIPTIONS:
        columns_by_name, source = _DESCRIPTIONS[name]
        items = ", ".join(f"{text} AS {identifier(key)}" for key, text in columns_by_name.items())
        return f"(SELECT {items} FROM {source})"
    if schema == "druid" and exists(connection, name):
        return f"(SELECT * EXCLUDE ({identifier(SEQ_COLUMN)}) FROM {table(name)})"
    shown = name if schema == "druid" else f"{schema}.{name}"
    raise QueryRefused(f"Object '{shown}' not found")


def exists(connection: duckdb.DuckDBPyConnection, datasource: str) -> bool:
    """Whether there is such a datasource."""
    return bool(columns(connection, datasource))


def columns(connection: duckdb.DuckDBPyConnection, datasource: str) -> dict[str, str]:
    """Stored types of a datasource's columns by name, in its order; empty if there is no table."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE schema_name = 'data' AND table_name = ? ORDER BY column_index",
        [encode(datasource)],
    ).fetchall()
    return {decode(name): kind for name, kind in rows}


def described(stored: Mapping[str, str]) -> tuple[Column, ...]:
    """A datasource's columns as ksqlDB types, the hidden one left out."""
    return tuple(
        Column(name, _READ_BACK.get(kind, STRING))
        for name, kind in stored.items()
        if name != SEQ_COLUMN
    )


def datasources(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of all datasources, sorted."""
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'data'"
    ).fetchall()
    return sorted(decode(name) for (name,) in rows)
