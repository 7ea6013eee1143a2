"""A source as lists and descriptions show it: formats and counts are echoed as declared."""

from gateway.catalog.definition import time_column_of
from gateway.seams import Source
from protocol import entities
from protocol.entities import SourceEntry


def entry_of(source: Source) -> SourceEntry:
    """The source's entry; what was not declared has ksqlDB's defaults."""
    given = source.properties
    both = given.get("FORMAT")
    return SourceEntry(
        kind=source.kind,
        name=source.name,
        topic=source.spec.datasource,
        columns=source.columns,
        key_format=given.get("KEY_FORMAT") or both or entities.DEFAULT_KEY_FORMAT,
        value_format=given.get("VALUE_FORMAT") or both or entities.DEFAULT_VALUE_FORMAT,
        timestamp=time_column_of(source) or "",
        partitions=_count(given.get("PARTITIONS")),
        replication=_count(given.get("REPLICAS")),
        statement=source.statement,
    )


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else 1
