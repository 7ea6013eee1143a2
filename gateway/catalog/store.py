"""The catalogue's file: one JSON document, replaced as a whole.

Owns: its format and version, and that a crash leaves the old file or the new one. Types are
written as ksqlDB writes them, so a person can read the file. Must never know: what a source means.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gateway.catalog.errors import CatalogUnreadable
from gateway.seams import AckLevel, InsertSpec, Source, SourceKind, TimeEncoding
from protocol.types import Column, parse_type

FORMAT = 1


class _Column(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    stored: str
    """the datasource's spelling"""
    type: str
    key: bool = False


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: SourceKind
    datasource: str
    columns: tuple[_Column, ...]
    time_column: str
    """its spelling in the rows, or the field of their arrival"""
    time_format: str | None
    time_encoding: TimeEncoding
    partitioned_by: str
    clustered_by: tuple[str, ...]
    ack: AckLevel | None
    properties: dict[str, str]
    statement: str


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: int


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    revision: int
    sources: tuple[_Source, ...]


class CatalogFile:
    """The file at ``path``. Both methods block on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[int, list[Source]]:
        """The revision and the sources; ``(0, [])`` if there is no file yet.

        Raises `CatalogUnreadable` for a file of a later version, and for a damaged one.
        """
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return 0, []
        try:
            version = msgspec.json.decode(raw, type=_Head).format
            if version > FORMAT:
                raise CatalogUnreadable(
                    f"{self._path} is of format {version}, written by a later version of the "
                    f"gateway; this one reads format {FORMAT}. Start that version instead."
                )
            document = msgspec.json.decode(raw, type=_Document)
            return document.revision, [_read(stored) for stored in document.sources]
        except (msgspec.MsgspecError, ValueError) as error:
            raise CatalogUnreadable(
                f"{self._path} is damaged and cannot be read as a catalogue ({error}). "
                "Put a backup in its place, or move it away and declare the streams again."
            ) from error

    def save(self, revision: int, sources: Iterable[Source]) -> None:
        """Replace the file. When this returns, the new one survives a power loss."""
        document = _Document(
            format=FORMAT, revision=revision, sources=tuple(_written(one) for one in sources)
        )
        raw = msgspec.json.format(msgspec.json.encode(document), indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(self._path.name + ".tmp")
        with fresh.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        _sync_folder(self._path.parent)


def _sync_folder(folder: Path) -> None:
    """The new name is an entry of the folder, and reaches the disk with it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written(source: Source) -> _Source:
    spec = source.spec
    return _Source(
        name=source.name,
        kind=source.kind,
        datasource=spec.datasource,
        columns=tuple(
            _Column(name=column.name, stored=kept.name, type=str(column.type), key=column.key)
            for column, kept in zip(source.columns, spec.columns, strict=True)
        ),
        time_column=spec.time_column,
        time_format=source.time_format,
        time_encoding=spec.time_encoding,
        partitioned_by=spec.partitioned_by,
        clustered_by=spec.clustered_by,
        ack=source.ack,
        properties=dict(source.properties),
        statement=source.statement,
    )


def _read(stored: _Source) -> Source:
    types = [parse_type(column.type) for column in stored.columns]
    columns = list(zip(stored.columns, types, strict=True))
    return Source(
        name=stored.name,
        kind=stored.kind,
        columns=tuple(Column(column.name, type_, column.key) for column, type_ in columns),
        spec=InsertSpec(
            datasource=stored.datasource,
            columns=tuple(Column(column.stored, type_, column.key) for column, type_ in columns),
            time_column=stored.time_column,
            time_encoding=stored.time_encoding,
            partitioned_by=stored.partitioned_by,
            clustered_by=stored.clustered_by,
        ),
        time_format=stored.time_format,
        ack=stored.ack,
        properties=stored.properties,
        statement=stored.statement,
    )
