"""The SQL that Druid is sent, and the only place where names and values are quoted into it.

Pure. Every statement that carries foreign text goes through `identifier` and `literal`; nothing
else in the package writes a quote. Dialect: Druid's ``multi-stage-query/reference`` (EXTERN,
PARTITIONED BY, CLUSTERED BY) and ``querying/sql`` (lexical rules: a doubled quote is one quote,
``U&'…'`` holds UTF-16 units as four hex digits after a backslash).
"""

import json
import re
from dataclasses import dataclass

from gateway.seams import BATCH_COLUMN, TIME_COLUMN, InsertSpec, TimeEncoding
from protocol.types import Base, Column, SqlType

_PLAIN = re.compile(r"[\x01-\x7f]*")
_KEYWORDS = {"HOUR", "DAY", "MONTH", "YEAR", "ALL", "ALL TIME"}
_PERIODS = {
    *("PT1S", "PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT6H", "PT8H"),
    *("P1D", "P1W", "P1M", "P3M", "P1Y"),
}
_GIVEN_TIME = "__given_time"
"""Name under which a row's own ``__time`` is read: in EXTERN that name is always a timestamp, so
neither a number nor a text could be made one."""

EXACT_DOUBLE_DIGITS = 15
"""A decimal of so many digits survives a double; a longer one is stored as text."""


class UnspeakableSql(ValueError):
    """The text cannot be said in SQL, or the specification asks for what Druid has no word for."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a Druid version can be told.

    ``arrays`` says that it stores arrays as arrays (28 and newer); 27 stores multi-value strings.
    """

    version: str
    arrays: bool

    @staticmethod
    def of(version: str) -> "Dialect":
        """The dialect of a version text such as ``27.0.0``; what is no number is a new version."""
        major = re.match(r"\d+", version)
        return Dialect(version, arrays=major is None or int(major.group()) >= 28)

    @property
    def array_ingest_mode(self) -> str:
        """The ``arrayIngestMode`` to send: its default changed in 31, so it is always said."""
        return "array" if self.arrays else "mvd"


def identifier(name: str) -> str:
    """A name in double quotes. Raises `UnspeakableSql` for an empty name and for U+0000."""
    if not name or "\0" in name or _has_surrogate(name):
        raise UnspeakableSql(f"not a name: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal; text beyond ASCII is written as UTF-16 units, as Druid itself does.

    Raises `UnspeakableSql` for U+0000 and for lone surrogates.
    """
    if "\0" in text or _has_surrogate(text):
        raise UnspeakableSql(f"not a text: {text[:80]!r}")
    if _PLAIN.fullmatch(text):
        return "'" + text.replace("'", "''") + "'"
    return "U&'" + "".join(map(_escaped, text)) + "'"


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False


def _escaped(char: str) -> str:
    if char == "'":
        return "''"
    if char.isascii() and char != "\\":
        return char
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\{units[at : at + 4]}" for at in range(0, len(units), 4))


# ── inserting ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Field:
    """A column on its way in: how EXTERN reads it, and what is stored of it."""

    name: str
    extern_type: str
    expression: str


def inline_source(data: str) -> str:
    """The input source that carries the rows within the statement (``input-sources``, inline)."""
    return json.dumps({"type": "inline", "data": data})


def http_source(url: str) -> str:
    """The input source that a worker fetches (``input-sources``, http)."""
    return json.dumps({"type": "http", "uris": [url]})


def insert_sql(spec: InsertSpec, batch_id: str, input_source_json: str, dialect: Dialect) -> str:
    """``INSERT INTO … SELECT … FROM TABLE(EXTERN(…)) PARTITIONED BY … [CLUSTERED BY …]``.

    Raises `UnspeakableSql` for a granularity, a name or a batch id that cannot be said.
    """
    time = _time_field(spec)
    fields = [_field(column, dialect) for column in spec.columns if column.name != spec.time_column]
    signature = [{"name": f.name, "type": f.extern_type} for f in (time, *fields)]
    selected = [f"{time.expression} AS {identifier(TIME_COLUMN)}"]
    selected += [f"{f.expression} AS {identifier(f.name)}" for f in fields]
    selected.append(f"{literal(batch_id)} AS {identifier(BATCH_COLUMN)}")
    extern = ", ".join(
        literal(part) for part in (input_source_json, _input_format(time), json.dumps(signature))
    )
    sql = (
        f"INSERT INTO {identifier(spec.datasource)}\n"
        f"SELECT {', '.join(selected)}\n"
        f"FROM TABLE(EXTERN({extern}))\n"
        f"PARTITIONED BY {granularity(spec.partitioned_by)}"
    )
    if spec.clustered_by:
        sql += f"\nCLUSTERED BY {', '.join(map(identifier, spec.clustered_by))}"
    return sql


def granularity(text: str) -> str:
    """What may follow PARTITIONED BY: a keyword, or one of the periods that Druid recommends."""
    word = " ".join(text.split()).upper()
    if word in _KEYWORDS:
        return word
    period = word.strip("'")
    if period in _PERIODS:
        return f"TIME_FLOOR({identifier(TIME_COLUMN)}, {literal(period)})"
    raise UnspeakableSql(f"not a granularity: {text[:80]!r}")


def _input_format(time: _Field) -> str:
    if time.name != _GIVEN_TIME:
        return json.dumps({"type": "json"})
    rename = {"type": "root", "name": _GIVEN_TIME, "expr": TIME_COLUMN}
    flatten = {"useFieldDiscovery": True, "fields": [rename]}
    return json.dumps({"type": "json", "flattenSpec": flatten})


def _time_field(spec: InsertSpec) -> _Field:
    name = _GIVEN_TIME if spec.time_column == TIME_COLUMN else spec.time_column
    if spec.time_encoding is TimeEncoding.MILLIS:
        return _Field(name, "long", f"MILLIS_TO_TIMESTAMP({identifier(name)})")
    return _Field(name, "string", f"TIME_PARSE({identifier(name)})")


def _field(column: Column, dialect: Dialect) -> _Field:
    """How a column is read and stored: the table of DESIGN §4."""
    if set(column.name) & {",", "\n", "\r"}:
        # Segments list their columns in a CSV file that knows no quotes: the task would fail.
        raise UnspeakableSql(f"not a name that a segment can hold: {column.name!r}")
    quoted = identifier(column.name)
    match column.type.base:
        case Base.INTEGER | Base.BIGINT:
            return _Field(column.name, "long", quoted)
        case Base.DOUBLE:
            return _Field(column.name, "double", quoted)
        case Base.BOOLEAN:
            # A JSON true read as a long is null in Druid, so it is read as text.
            cases = f"CASE {quoted} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
            return _Field(column.name, "string", cases)
        case Base.DECIMAL:
            exact = column.type.precision <= EXACT_DOUBLE_DIGITS
            return _Field(column.name, "double" if exact else "string", quoted)
        case Base.TIMESTAMP:
            return _Field(column.name, "string", _millis_of(quoted))
        case Base.ARRAY | Base.MAP | Base.STRUCT:
            return _Field(column.name, _nested_type(column.type, dialect), quoted)
        case _:
            return _Field(column.name, "string", quoted)


def _millis_of(quoted: str) -> str:
    """Milliseconds of a timestamp written as a number or as ISO text.

    Only the text has a dash after its first character.
    """
    return (
        f"CASE WHEN {quoted} LIKE '_%-%' THEN TIMESTAMP_TO_MILLIS(TIME_PARSE({quoted})) "
        f"ELSE CAST({quoted} AS BIGINT) END"
    )


def _nested_type(type_: SqlType, dialect: Dialect) -> str:
    """The EXTERN type of a nested value. Druid 27 knows one kind of array: that of strings."""
    element = type_.element.base if type_.base is Base.ARRAY and type_.element else None
    match element:
        case Base.STRING | Base.DATE | Base.TIME | Base.BYTES:
            return "ARRAY<STRING>"
        case Base.INTEGER | Base.BIGINT if dialect.arrays:
            return "ARRAY<LONG>"
        case Base.DOUBLE if dialect.arrays:
            return "ARRAY<DOUBLE>"
        case _:
            return "COMPLEX<json>"


# ── asking ───────────────────────────────────────────────────────────────────────────────────


def count_sql(datasource: str, batch_id: str) -> str:
    """How many rows of a batch there are; the same text for an MSQ task and for a native query."""
    return (
        f"SELECT COUNT(*) AS {identifier('n')} FROM {identifier(datasource)} "
        f"WHERE {identifier(BATCH_COLUMN)} = {literal(batch_id)}"
    )


def datasources_sql() -> str:
    """Names of all datasources (``querying/sql-metadata-tables``)."""
    return "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'druid'"


def columns_sql(datasource: str) -> str:
    """Names and types of a datasource's columns, in its order."""
    return (
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
        f"WHERE TABLE_SCHEMA = 'druid' AND TABLE_NAME = {literal(datasource)} "
        "ORDER BY ORDINAL_POSITION"
    )
