"""Streams and tables: what rooms know of them, and how their rows are inserted."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from protocol.names import DeclaredNames
from protocol.types import Column

ARRIVAL_FIELD = "__arrival"
"""Field of a spooled row that holds its arrival (epoch ms) where the stream declares no time."""

BATCH_COLUMN = "_batch"
"""Column of every datasource row that names the batch which carried it."""

TIME_COLUMN = "__time"
"""Druid's name for the primary time column."""


class AckLevel(StrEnum):
    """What an ``ok`` promises; each level holds what the one before it holds."""

    SPOOLED = "spooled"
    COMMITTED = "committed"
    QUERYABLE = "queryable"


class TimeEncoding(StrEnum):
    """How a row's time is written in its spooled bytes."""

    MILLIS = "millis"
    """a JSON integer, milliseconds since 1970 in UTC"""
    ISO = "iso"
    """a JSON string, ISO 8601 with date and time, UTC unless it carries an offset"""


class InsertSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the spooled rows of a stream become rows of a datasource.

    Frozen with the rows: a batch is submitted under the specification it was spooled under, even
    if the stream was defined anew meanwhile. ``columns`` have the names that stand in the row
    bytes, which are the datasource's own; the one named ``time_column`` becomes ``__time`` and is
    not stored twice. ``time_column`` is `ARRIVAL_FIELD` (and then no member of ``columns``) where
    the stream declares no time.
    """

    datasource: str
    columns: tuple[Column, ...]
    time_column: str = ARRIVAL_FIELD
    time_encoding: TimeEncoding = TimeEncoding.MILLIS
    partitioned_by: str = "DAY"
    """what follows PARTITIONED BY: a Druid granularity keyword (HOUR, DAY, MONTH, YEAR, ALL)"""
    clustered_by: tuple[str, ...] = ()


class SourceKind(StrEnum):
    """What ``CREATE`` declared."""

    STREAM = "STREAM"
    TABLE = "TABLE"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A stream or table by name, declared by a statement or discovered in the warehouse.

    ``columns`` are the declared ones in their order; ``spec.columns`` are the same with the names
    that the datasource gives them. For a discovered datasource the columns are its own, ``__time``
    among them, and ``declared`` is false.
    """

    name: str
    kind: SourceKind
    columns: tuple[Column, ...]
    spec: InsertSpec
    declared: bool = True
    time_format: str | None = None
    """pattern of a STRING time column; None: ISO 8601"""
    ack: AckLevel | None = None
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    """the WITH properties as written, Kafka's too: they are echoed, never interpreted"""
    statement: str = ""


class Sources(Protocol):
    """The catalogue as other rooms see it."""

    async def resolve(self, target: str) -> Source:
        """The source that ``target`` (text as the client wrote it) names.

        Raises `protocol.errors.BadStatement` for broken quoting and for an unknown name.
        """

    def declared(self, name: str) -> Source | None:
        """The declared source of exactly this (already folded) name."""

    def all_declared(self) -> list[Source]:
        """Every declared source, by name."""

    def names(self, name: str) -> DeclaredNames | None:
        """What a query may name of the declared source of exactly this (already folded) name."""
