"""The statements of ``/ksql`` as frozen dataclasses: what the parsers give and the runner takes.

Owns: their shapes. Must never know: how they are written, or what they do. ``text`` is always the
statement as it stands in the request, after ``${}`` substitution: entities and errors carry it.
A ``target`` is a name as it was written, quotes included: the catalogue resolves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from protocol.query_text import PullQuery, PushQueryText
from protocol.types import Column

SourceWord = Literal["STREAM", "TABLE"]


# ── declarations ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSource:
    """``CREATE [OR REPLACE] STREAM|TABLE [IF NOT EXISTS] name (columns) WITH (properties)``.

    ``properties`` have upper-case names and the values' text, quotes off. ``columns`` is empty
    where the statement names none.
    """

    text: str
    kind: SourceWord
    name: str
    columns: tuple[Column, ...]
    properties: Mapping[str, str]
    or_replace: bool = False
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSource:
    """``DROP STREAM|TABLE [IF EXISTS] name [DELETE TOPIC]``."""

    text: str
    kind: SourceWord
    name: str
    if_exists: bool = False
    delete_topic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConnector:
    """``DROP CONNECTOR IF EXISTS name``: there never is one, and IF EXISTS says that is well."""

    text: str
    name: str


# ── rows and tasks ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class MapValue:
    """``MAP('key' := value, …)``."""

    entries: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StructValue:
    """``STRUCT(field := value, …)``, the fields' names folded."""

    fields: Mapping[str, Any]


Value = None | bool | int | Decimal | str | list[Any] | MapValue | StructValue
"""A literal of ``VALUES``; a number with a point or an exponent keeps every digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertValues:
    """``INSERT INTO target [(columns)] VALUES (…)[, (…)]``.

    ``columns`` are as written, quotes included; None where the statement has no list of them.
    """

    text: str
    target: str
    columns: tuple[str, ...] | None
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarehouseTask:
    """Druid's own ``INSERT INTO … PARTITIONED BY`` or ``REPLACE INTO … OVERWRITE``.

    ``sql`` is the text up to the semicolon, untouched.
    """

    text: str
    sql: str


# ── lists and descriptions ───────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSources:
    """``LIST STREAMS|TABLES [EXTENDED]``, and ``DESCRIBE STREAMS|TABLES``."""

    text: str
    kind: SourceWord
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTopics:
    """``LIST [ALL] TOPICS [EXTENDED]``."""

    text: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQueries:
    """``LIST QUERIES [EXTENDED]``."""

    text: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListProperties:
    """``LIST PROPERTIES``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVariables:
    """``LIST VARIABLES``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFunctions:
    """``LIST FUNCTIONS``."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAbsent:
    """A list of what this gateway has none of: types, connectors, connector plugins."""

    text: str
    what: Literal["types", "connectors", "plugins"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """``DESCRIBE target [EXTENDED]``."""

    text: str
    target: str
    extended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """``EXPLAIN [PLAN FOR] query``, or ``EXPLAIN id`` of a live one. One of the two is None."""

    text: str
    query: PullQuery | PushQueryText | None = None
    query_id: str | None = None


# ── the session ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminate:
    """``TERMINATE [QUERY] id``, the id as it was written without quotes; None: ``ALL``."""

    text: str
    query_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetProperty:
    """``SET 'name' = 'value'``: holds to the end of the request, as in ksqlDB."""

    text: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsetProperty:
    """``UNSET 'name'``."""

    text: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefineVariable:
    """``DEFINE name = 'value'``: holds for the statements after it in the request."""

    text: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndefineVariable:
    """``UNDEFINE name``."""

    text: str
    name: str


# ── assertions ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertTopic:
    """``ASSERT [NOT EXISTS] TOPIC target [WITH (…)] [TIMEOUT n unit]``: a datasource."""

    text: str
    target: str
    exists: bool = True
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertSource:
    """``ASSERT [NOT EXISTS] STREAM|TABLE name [(columns)] [WITH (…)] [TIMEOUT n unit]``.

    ``columns`` is empty where the statement names none: then any will do.
    """

    text: str
    kind: SourceWord
    name: str
    exists: bool = True
    columns: tuple[Column, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertSchema:
    """``ASSERT [NOT EXISTS] SCHEMA [SUBJECT 's'] [ID n] [TIMEOUT n unit]``."""

    text: str


Statement = (
    CreateSource
    | DropSource
    | DropConnector
    | InsertValues
    | WarehouseTask
    | ListSources
    | ListTopics
    | ListQueries
    | ListProperties
    | ListVariables
    | ListFunctions
    | ListAbsent
    | Describe
    | Explain
    | Terminate
    | SetProperty
    | UnsetProperty
    | DefineVariable
    | UndefineVariable
    | AssertTopic
    | AssertSource
    | AssertSchema
)
