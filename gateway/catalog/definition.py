"""``CREATE STREAM`` → `Source`: the checks, the meaning of the WITH properties, the spelling.

Pure: what exists in the warehouse comes in as columns. Every refusal is a `BadStatement` (40001)
that names the column or property at fault.
"""

from collections.abc import Sequence

from gateway.seams import (
    ARRIVAL_FIELD,
    BATCH_COLUMN,
    TASKS_STREAM,
    TIME_COLUMN,
    AckLevel,
    InsertSpec,
    Source,
    SourceKind,
    TimeEncoding,
)
from protocol.errors import BadStatement
from protocol.lexer import tokenize
from protocol.names import DeclaredNames
from protocol.statements import CreateSource
from protocol.timestamps import PatternError, compile_pattern
from protocol.types import TIMESTAMP, Base, Column, NameTextError, fold

HIDDEN_COLUMNS = frozenset({BATCH_COLUMN, ARRIVAL_FIELD, "__seq"})
"""Columns of a datasource that are the gateway's own."""

_RESERVED = frozenset(name.upper() for name in (*HIDDEN_COLUMNS, TIME_COLUMN, "ROWTIME"))

_GRANULARITIES = {
    **{word: word for word in ("HOUR", "DAY", "MONTH", "YEAR", "ALL")},
    "ALL TIME": "ALL",
    "PT1H": "HOUR",
    "P1D": "DAY",
    "P1M": "MONTH",
    "P1Y": "YEAR",
    **{period: period for period in ("PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT6H", "P3M")},
}
"""What PARTITIONED_BY may say → a keyword of Druid's, or a period that its docs recommend."""

_NAME_CHARS = 255
"""Longest name of a stream, column or datasource, in characters."""


def datasource_of(statement: CreateSource) -> str:
    """The datasource that a declaration is for: DATASOURCE, else KAFKA_TOPIC, else its name."""
    given = statement.properties
    name = given.get("DATASOURCE") or given.get("KAFKA_TOPIC") or statement.name
    _check_name(statement, "datasource", name)
    if name.startswith(".") or "/" in name:
        raise _bad(statement, f"Datasource '{name}' may not begin with '.' or hold '/'")
    return name


def define_source(statement: CreateSource, existing: Sequence[Column] | None) -> Source:
    """The source that the statement declares.

    ``existing`` are the columns of its datasource, None where that does not exist yet: a column
    that it has already, in whatever case, is spelt as it spells it.
    """
    _check_name(statement, statement.kind.lower(), statement.name)
    if statement.name.upper() == TASKS_STREAM:
        raise _bad(
            statement,
            f"{TASKS_STREAM} is a stream of the gateway's own, which tells what becomes of tasks: "
            f"choose another name for the {statement.kind.lower()}",
        )
    _check_columns(statement)
    if "WINDOW_TYPE" in statement.properties:
        raise _bad(
            statement,
            "WINDOW_TYPE is not supported by this gateway: declare the window's bounds as columns, "
            "or leave it out and group by TIME_FLOOR(__time, …) in a pull query.",
        )
    time_column = _time_column(statement)
    stored = _stored_columns(statement.columns, existing or (), time_column)
    return Source(
        name=statement.name,
        kind=SourceKind(statement.kind),
        columns=statement.columns,
        spec=InsertSpec(
            datasource=datasource_of(statement),
            columns=stored,
            time_column=time_column.name if time_column else ARRIVAL_FIELD,
            time_encoding=_time_encoding(time_column),
            partitioned_by=_granularity(statement),
            clustered_by=_clustering(statement, stored, time_column),
        ),
        time_format=_time_format(statement, time_column),
        ack=_ack(statement),
        properties=dict(statement.properties),
        statement=statement.text,
    )


def discovered_source(datasource: str, existing: Sequence[Column]) -> Source:
    """A datasource that was never declared, as a target of its own name and columns."""
    columns = tuple(
        Column(TIME_COLUMN, TIMESTAMP) if column.name == TIME_COLUMN else column
        for column in existing
        if column.name not in HIDDEN_COLUMNS
    )
    has_time = any(column.name == TIME_COLUMN for column in columns)
    return Source(
        name=datasource,
        kind=SourceKind.STREAM,
        columns=columns,
        spec=InsertSpec(
            datasource=datasource,
            columns=columns,
            time_column=TIME_COLUMN if has_time else ARRIVAL_FIELD,
            time_encoding=TimeEncoding.ISO if has_time else TimeEncoding.MILLIS,
        ),
        declared=False,
    )


def names_of(source: Source) -> DeclaredNames:
    """What a pull query may name of the source."""
    return DeclaredNames(
        name=source.name,
        datasource=source.spec.datasource,
        columns=tuple(column.name for column in source.columns),
        stored=tuple(column.name for column in source.spec.columns),
        time_column=time_column_of(source),
    )


def time_column_of(source: Source) -> str | None:
    """The declared name of the column that is the datasource's time; None: the arrival is."""
    for column, stored in zip(source.columns, source.spec.columns, strict=True):
        if stored.name == source.spec.time_column:
            return column.name
    return None


# ── columns ──────────────────────────────────────────────────────────────────────────────────


def _check_columns(statement: CreateSource) -> None:
    if not statement.columns:
        raise _bad(
            statement,
            f"`{statement.name}` has no columns: declare them, or insert into the datasource by "
            "its own name, for which nothing has to be declared",
        )
    seen: dict[str, str] = {}
    for column in statement.columns:
        _check_name(statement, "column", column.name)
        if column.name.upper() in _RESERVED:
            raise _bad(statement, f"Column name '{column.name}' is reserved: choose another one")
        earlier = seen.get(column.name.casefold())
        if earlier is not None:
            raise _bad(statement, _twice(earlier, column.name))
        seen[column.name.casefold()] = column.name


def _twice(earlier: str, name: str) -> str:
    if earlier == name:
        return f"Column '{name}' is declared twice"
    return f"Columns '{earlier}' and '{name}' differ in case only: choose other names"


def _stored_columns(
    columns: Sequence[Column], existing: Sequence[Column], time_column: Column | None
) -> tuple[Column, ...]:
    """The columns as the datasource spells them; a new one keeps its declared name."""
    exact = {column.name for column in existing}
    folded: dict[str, list[str]] = {}
    for column in existing:
        if column.name.upper() not in _RESERVED:
            folded.setdefault(column.name.casefold(), []).append(column.name)
    stored: list[Column] = []
    for column in columns:
        alike = folded.get(column.name.casefold(), [])
        keeps = column is time_column or column.name in exact or len(alike) != 1
        name = column.name if keeps else alike[0]
        stored.append(Column(name, column.type, column.key))
    return tuple(stored)


def _check_name(statement: CreateSource, what: str, name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _NAME_CHARS:
        shown = name[:80].encode("unicode_escape").decode()
        raise _bad(
            statement,
            f"'{shown}' cannot name a {what}: a name has 1 to {_NAME_CHARS} printable characters",
        )


# ── properties ───────────────────────────────────────────────────────────────────────────────


def _time_column(statement: CreateSource) -> Column | None:
    given = statement.properties.get("TIMESTAMP")
    if given is None:
        return None
    name = _fold(statement, "TIMESTAMP", given)
    found = next((column for column in statement.columns if column.name == name), None)
    if found is None:
        raise _bad(statement, f"Property TIMESTAMP names column '{name}', which is not declared")
    if found.type.base not in (Base.BIGINT, Base.TIMESTAMP, Base.STRING):
        raise _bad(
            statement,
            f"Column '{name}' cannot be the timestamp: it is {found.type}, "
            "and has to be BIGINT (milliseconds), TIMESTAMP or STRING",
        )
    return found


def _time_encoding(time_column: Column | None) -> TimeEncoding:
    """BIGINT and arrival are milliseconds; the row checker writes all else as ISO 8601."""
    if time_column is None or time_column.type.base is Base.BIGINT:
        return TimeEncoding.MILLIS
    return TimeEncoding.ISO


def _time_format(statement: CreateSource, time_column: Column | None) -> str | None:
    pattern = statement.properties.get("TIMESTAMP_FORMAT")
    if pattern is None:
        return None
    if time_column is None or time_column.type.base is not Base.STRING:
        raise _bad(
            statement, "TIMESTAMP_FORMAT needs a TIMESTAMP property that names a STRING column"
        )
    try:
        compile_pattern(pattern)
    except PatternError as error:
        raise _bad(statement, f"Property TIMESTAMP_FORMAT: {error}") from error
    return pattern


def _granularity(statement: CreateSource) -> str:
    given = statement.properties.get("PARTITIONED_BY", "DAY")
    granularity = _GRANULARITIES.get(" ".join(given.upper().split()))
    if granularity is None:
        known = "HOUR, DAY, MONTH, YEAR, ALL, or a period such as PT15M"
        raise _bad(statement, f"Property PARTITIONED_BY is '{given}', and has to be {known}")
    return granularity


def _clustering(
    statement: CreateSource, stored: Sequence[Column], time_column: Column | None
) -> tuple[str, ...]:
    """CLUSTERED_BY names declared columns; the result spells them as the datasource does."""
    spelling = {
        column.name: kept.name for column, kept in zip(statement.columns, stored, strict=True)
    }
    chosen: list[str] = []
    for part in _list_of_names(statement, statement.properties.get("CLUSTERED_BY", "")):
        name = _fold(statement, "CLUSTERED_BY", part)
        if name not in spelling:
            raise _bad(
                statement, f"Property CLUSTERED_BY names column '{name}', which is not declared"
            )
        if time_column is not None and name == time_column.name:
            raise _bad(
                statement,
                f"Property CLUSTERED_BY names '{name}', the timestamp: "
                "rows are in the order of their time anyway, leave it out",
            )
        if spelling[name] in chosen:
            raise _bad(statement, f"Property CLUSTERED_BY names column '{name}' twice")
        chosen.append(spelling[name])
    return tuple(chosen)


def _list_of_names(statement: CreateSource, text: str) -> list[str]:
    """``A, `b,c```: names between commas, of which quoted ones may hold commas themselves."""
    parts: list[str] = []
    wants_name = True
    for token in tokenize(text):
        if wants_name != token.is_identifier or not (wants_name or token.is_sign(",")):
            raise _bad(statement, f"Property CLUSTERED_BY is no list of columns: '{text}'")
        if wants_name:
            parts.append(token.text)
        wants_name = not wants_name
    if parts and wants_name:
        raise _bad(statement, f"Property CLUSTERED_BY is no list of columns: '{text}'")
    return parts


def _ack(statement: CreateSource) -> AckLevel | None:
    given = statement.properties.get("ACK")
    if given is None:
        return None
    try:
        return AckLevel(given.lower())
    except ValueError:
        known = ", ".join(AckLevel)
        raise _bad(statement, f"Property ACK is '{given}', and has to be one of {known}") from None


def _fold(statement: CreateSource, prop: str, text: str) -> str:
    try:
        return fold(text.strip())
    except NameTextError as error:
        raise _bad(statement, f"Property {prop}: {error}") from error


def _bad(statement: CreateSource, problem: str) -> BadStatement:
    return BadStatement(problem, statement.text)
