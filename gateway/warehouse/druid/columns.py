"""Druid's types as ksqlDB's.

Pure. Two sources: DATA_TYPE of INFORMATION_SCHEMA.COLUMNS (``querying/sql-metadata-tables``) and
the type lines of a result (``api-reference/sql-api``: ``sqlTypesHeader``, ``typesHeader``).
``COMPLEX<json>`` becomes STRING, because Druid gives such values as JSON text; so do sketches,
which it gives as base64.
"""

import re

from protocol.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    STRING,
    TIMESTAMP,
    SqlType,
    array_of,
)

_BY_SQL_NAME = {
    "BIGINT": BIGINT,
    "BOOLEAN": BOOLEAN,
    "DATE": DATE,
    "DECIMAL": DOUBLE,
    "DOUBLE": DOUBLE,
    "FLOAT": DOUBLE,
    "INTEGER": INTEGER,
    "REAL": DOUBLE,
    "SMALLINT": INTEGER,
    "TIMESTAMP": TIMESTAMP,
    "TINYINT": INTEGER,
}
_BY_NATIVE_NAME = {"LONG": BIGINT, "DOUBLE": DOUBLE, "FLOAT": DOUBLE}
_ARRAY = re.compile(r"(?:ARRAY<(?P<native>.+)>|(?P<sql>[A-Z]+)(?:\(.*\))? ARRAY)")


def stored_type(data_type: str) -> SqlType:
    """The type of a stored column; DATA_TYPE such as ``BIGINT``, ``VARCHAR ARRAY``."""
    match = _ARRAY.fullmatch(data_type)
    if match is not None and match["native"]:
        return array_of(_native_type(match["native"]))
    if match is not None:
        return array_of(_BY_SQL_NAME.get(match["sql"], STRING))
    if data_type == "ARRAY":
        return array_of(STRING)
    return _BY_SQL_NAME.get(data_type, STRING)


def result_type(sql_type: str | None, native_type: str | None) -> SqlType:
    """The type of a result column from its SQL type and, for arrays, its native one."""
    if native_type and native_type.startswith("ARRAY<"):
        return _native_type(native_type)
    if sql_type == "ARRAY":
        return array_of(STRING)
    if sql_type is None:
        return _native_type(native_type or "")
    return _BY_SQL_NAME.get(sql_type, STRING)


def _native_type(name: str) -> SqlType:
    if name.startswith("ARRAY<") and name.endswith(">"):
        return array_of(_native_type(name[6:-1]))
    return _BY_NATIVE_NAME.get(name, STRING)
