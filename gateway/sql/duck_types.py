"""DuckDB's types as values, and what ksqlDB and Druid call them."""

from dataclasses import dataclass
from typing import Any

import duckdb

from protocol.types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    Base,
    Column,
    SqlType,
    array_of,
    map_of,
)

_SQL_TYPES = {
    "VARCHAR": STRING,
    "JSON": STRING,
    "NULL": STRING,
    "TINYINT": INTEGER,
    "SMALLINT": INTEGER,
    "INTEGER": INTEGER,
    "UTINYINT": INTEGER,
    "USMALLINT": INTEGER,
    "BIGINT": BIGINT,
    "UINTEGER": BIGINT,
    "UBIGINT": BIGINT,
    "HUGEINT": BIGINT,
    "UHUGEINT": BIGINT,
    "DOUBLE": DOUBLE,
    "FLOAT": DOUBLE,
    "BOOLEAN": BOOLEAN,
    "TIMESTAMP": TIMESTAMP,
    "DATE": DATE,
    "TIME": TIME,
    "BLOB": BYTES,
}

_DRUID_NAMES = {
    Base.STRING: "VARCHAR",
    Base.INTEGER: "INTEGER",
    Base.BIGINT: "BIGINT",
    Base.DOUBLE: "DOUBLE",
    Base.BOOLEAN: "BOOLEAN",
    Base.TIMESTAMP: "TIMESTAMP",
    Base.DATE: "DATE",
    Base.DECIMAL: "DOUBLE",
    Base.ARRAY: "ARRAY",
}

WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)
"""Kinds whose values are whole numbers."""


@dataclass(frozen=True, slots=True)
class DuckType:
    """``kind`` is DuckDB's keyword, or LIST, STRUCT, MAP, JSON.

    ``parts`` holds the element of a LIST, the fields of a STRUCT by name, key and value of a MAP.
    """

    kind: str
    precision: int = 0
    scale: int = 0
    parts: "tuple[tuple[str, DuckType], ...]" = ()


def columns_of(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[str, DuckType]]:
    """Names and types of a query's result, by binding it without running it."""
    relation = connection.sql(sql)
    return [
        (name, duck_type(kind)) for name, kind in zip(relation.columns, relation.types, strict=True)
    ]


def duck_type(found: Any) -> DuckType:
    """DuckDB's own type object as a value."""
    text = str(found)
    match found.id:
        case "list" | "array":
            return DuckType("LIST", parts=(("", duck_type(found.children[0][1])),))
        case "struct" | "map":
            parts = tuple((name, duck_type(part)) for name, part in found.children)
            return DuckType(found.id.upper(), parts=parts)
        case "decimal":
            precision, scale = (int(value) for _, value in found.children)
            return DuckType("DECIMAL", precision, scale)
        case "null":
            return DuckType("NULL")
    return DuckType("JSON" if text == "JSON" else text.upper())


def sql_type(found: DuckType) -> SqlType:
    """What ksqlDB calls the type; a kind it has no name for reads as STRING."""
    match found.kind:
        case "DECIMAL":
            return SqlType(Base.DECIMAL, found.precision, found.scale)
        case "LIST":
            return array_of(sql_type(found.parts[0][1]))
        case "MAP":
            return map_of(sql_type(found.parts[1][1]))
        case "STRUCT":
            fields = tuple(Column(name, sql_type(part)) for name, part in found.parts)
            return SqlType(Base.STRUCT, fields=fields)
    return _SQL_TYPES.get(found.kind, STRING)


def druid_type(found: DuckType) -> SqlType:
    """`sql_type` as Druid knows types: it has no DECIMAL."""
    if found.kind == "DECIMAL":
        return DOUBLE
    if found.kind == "LIST":
        return array_of(druid_type(found.parts[0][1]))
    return sql_type(found)


def druid_name(found: DuckType) -> str:
    """What Druid's SQL header calls the type."""
    if found.kind in ("JSON", "STRUCT", "MAP"):
        return "COMPLEX<json>"
    return _DRUID_NAMES.get(sql_type(found).base, "VARCHAR")
