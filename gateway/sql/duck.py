"""How DuckDB is set up, for everybody who opens one: closed to the outside, then locked.

One folder stays open to reading, since rows come in over files (`rowfile`). Extensions, other
files, other databases and Python's own variables are out of reach, and no later statement can
change that.
"""

import re
from pathlib import Path

import duckdb

from gateway.seams import QueryRefused
from gateway.sql.names import decode, literal

_MISSING_COLUMN = re.compile(r'Referenced column "((?:[^"]|"")*)" not found')
_MISSING_IN_TABLE = re.compile(
    r'Table "((?:[^"]|"")*)" does not have a column named "((?:[^"]|"")*)"'
)
_PREFIX = re.compile(r"^(?:[A-Z][A-Za-z ]* Error|Permission Error): ")

_SETTINGS = {
    "TimeZone": "'UTC'",
    "integer_division": "true",
    "error_on_division_by_zero": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
}


def close_off(
    connection: duckdb.DuckDBPyConnection,
    folder: Path | None,
    settings: dict[str, str] | None = None,
) -> None:
    """Apply ``settings`` (DuckDB texts by name), leave ``folder`` readable, lock the rest.

    A setting that this version of DuckDB does not have is left out: 1.4 has a null for a division
    by zero without being asked.
    """
    rows = connection.execute("SELECT name, scope FROM duckdb_settings()").fetchall()
    scopes = dict(rows)
    for name, value in {**_SETTINGS, **(settings or {})}.items():
        if name in scopes:
            # GLOBAL, so that it holds for every cursor, whose configuration is locked as well.
            connection.execute(f"SET {scopes[name]} {name} = {value}")
    if folder is not None:
        connection.execute(f"SET allowed_directories = [{literal(str(folder) + '/')}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def refusal(error: duckdb.Error) -> QueryRefused:
    """DuckDB's complaint about a statement, in a user's names and in Druid's words."""
    text = str(error)
    if found := _MISSING_COLUMN.search(text):
        return QueryRefused(f"Column '{_name(found[1])}' not found in any table")
    if found := _MISSING_IN_TABLE.search(text):
        return QueryRefused(f"Column '{_name(found[2])}' not found in table '{_name(found[1])}'")
    return QueryRefused(complaint(error))


def complaint(error: duckdb.Error) -> str:
    """The first line of DuckDB's message, names decoded."""
    line = str(error).strip().split("\n", 1)[0]
    return decode(_PREFIX.sub("", line)).strip() or "the query failed"


def _name(text: str) -> str:
    return decode(text.replace('""', '"'))
