"""The catalogue: declared sources in memory and on disk, discovered ones behind them.

Implements `gateway.seams.Sources`. Changes go one after the other, to the disk first and then into
memory, so what a reader sees is on disk; a caller that goes away does not stop its change halfway.
"""

import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from gateway.catalog.definition import datasource_of, define_source, names_of
from gateway.catalog.discovery import Discovery
from gateway.catalog.store import CatalogFile
from gateway.seams import Source, WarehouseUnreachable
from protocol.errors import BadStatement, WarehouseAway
from protocol.names import DeclaredNames
from protocol.statements import CreateSource, DropSource
from protocol.types import Column, NameTextError, fold, quote

_SHOWN_CHARS = 200
"""How much of a name that is not found an error shows."""

T = TypeVar("T")


class Change(Enum):
    """What a declaration did."""

    CREATED = "created"
    REPLACED = "replaced"
    KEPT = "kept"
    """it was there already, and the statement says IF NOT EXISTS"""


class Defined(NamedTuple):
    """The source that is declared now, and what became of the declaration."""

    source: Source
    change: Change


class Catalog:
    """Every stream and table by name.

    ``path`` is the file (its folder is made on the first change); the two callables ask the
    warehouse and may raise `WarehouseUnreachable`; ``clock`` gives seconds that only grow.
    Raises `gateway.catalog.errors.CatalogUnreadable` if there is a file that cannot be read.
    """

    def __init__(
        self,
        path: Path,
        warehouse_columns: Callable[[str], Awaitable[tuple[Column, ...] | None]],
        warehouse_datasources: Callable[[], Awaitable[list[str]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = CatalogFile(path)
        self._warehouse_columns = warehouse_columns
        self._discovery = Discovery(warehouse_columns, warehouse_datasources, clock)
        self._revision, sources = self._file.load()
        self._sources = {source.name: source for source in sources}
        self._one_at_a_time = asyncio.Lock()
        self._changes: set[asyncio.Task[Any]] = set()

    @property
    def revision(self) -> int:
        """How many changes there have been, over all restarts."""
        return self._revision

    async def close(self) -> None:
        """Wait for the changes whose callers have gone."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    # looking up

    def declared(self, name: str) -> Source | None:
        """The declared source of exactly this (already folded) name."""
        return self._sources.get(name)

    def all_declared(self) -> list[Source]:
        """Every declared source, by name."""
        return [self._sources[name] for name in sorted(self._sources)]

    def names(self, name: str) -> DeclaredNames | None:
        """What a pull query may name of a declared source: for `protocol.names`."""
        source = self._sources.get(name)
        return names_of(source) if source is not None else None

    async def datasources(self) -> list[str]:
        """Every datasource: those that exist and those that are declared, sorted."""
        declared = {source.spec.datasource for source in self._sources.values()}
        return sorted(declared.union(await self._discovery.names()))

    async def find(self, target: str) -> Source | None:
        """The source that ``target`` names, as it was written; None if there is none.

        Raises `BadStatement` for broken quoting (§3.1), `WarehouseAway` where the name is not
        declared and the warehouse cannot be asked.
        """
        text = target.strip()
        folded = _folded_target(target, text)
        source = self._sources.get(folded)
        if source is not None:
            return source
        return await self._discovery.find(text, folded, quoted=_is_quoted(text))

    async def resolve(self, target: str) -> Source:
        """As `find`; an unknown name is a `BadStatement` in ksqlDB's words (§8 row 51)."""
        source = await self.find(target)
        if source is not None:
            return source
        name = _folded_target(target, target.strip())
        problem = f"Cannot insert values into an unknown stream/table: {quote(name[:_SHOWN_CHARS])}"
        raise BadStatement(problem + self.suggestion(target), target)

    def suggestion(self, target: str) -> str:
        """``\\nDid you mean X?`` for a name that is not there; empty if none is like it."""
        text = target.strip()
        name = _folded_target(target, text)
        alike = sorted(one for one in self._sources if one.upper() == name.upper())
        if alike:
            hint = "removing" if _is_quoted(text) else "adding"
            where = "from" if _is_quoted(text) else "around"
            return (
                f"\nDid you mean {alike[0]}? "
                f"Hint: try {hint} double quotes {where} the source name."
            )
        # Comparing is quadratic in the length, and no long name is a slip of the pen.
        if len(name) > _SHOWN_CHARS:
            return ""
        near = difflib.get_close_matches(name, sorted(self._sources), n=1, cutoff=0.75)
        return f"\nDid you mean {near[0]}?" if near else ""

    # changing

    async def define(self, statement: CreateSource) -> Defined:
        """Declare a source; on return it is on disk.

        Raises `BadStatement` if it may not be declared so, or is there already; `WarehouseAway`
        if the warehouse cannot say how its datasource spells its columns.
        """
        return await self._change(self._define(statement))

    async def drop(self, statement: DropSource) -> Source | None:
        """Forget a declared source; its datasource stays. None: not there, and IF EXISTS said.

        Raises `BadStatement` if it is not there, or of the other kind.
        """
        return await self._change(self._drop(statement))

    async def _define(self, statement: CreateSource) -> Defined:
        before = self._sources.get(statement.name)
        if before is not None and statement.if_not_exists and not statement.or_replace:
            return Defined(before, Change.KEPT)
        if before is not None and not statement.or_replace:
            raise BadStatement(already_there(statement, before), statement.text)
        if before is not None and before.kind != statement.kind:
            problem = f"Cannot replace {before.kind} {quote(before.name)} with a {statement.kind}"
            raise BadStatement(problem, statement.text)
        source = define_source(statement, await self._existing_columns(statement))
        await self._save({**self._sources, source.name: source})
        return Defined(source, Change.CREATED if before is None else Change.REPLACED)

    async def _existing_columns(self, statement: CreateSource) -> tuple[Column, ...] | None:
        # What is wrong with the statement alone is told before anyone is asked.
        define_source(statement, None)
        try:
            return await self._warehouse_columns(datasource_of(statement))
        except WarehouseUnreachable as error:
            raise WarehouseAway(
                "The warehouse cannot be reached, so it is not known how the datasource spells "
                "its columns. Nothing was declared; try again later."
            ) from error

    async def _drop(self, statement: DropSource) -> Source | None:
        source = self._sources.get(statement.name)
        if source is None:
            if statement.if_exists:
                return None
            raise BadStatement(f"Source {quote(statement.name)} does not exist.", statement.text)
        if source.kind != statement.kind:
            problem = f"{quote(source.name)} is a {source.kind}: use DROP {source.kind}"
            raise BadStatement(problem, statement.text)
        await self._save({name: one for name, one in self._sources.items() if one is not source})
        return source

    async def _save(self, sources: dict[str, Source]) -> None:
        revision = self._revision + 1
        ordered = [sources[name] for name in sorted(sources)]
        await asyncio.to_thread(self._file.save, revision, ordered)
        self._revision, self._sources = revision, sources

    async def _change(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end, even if its caller is cancelled meanwhile."""
        task = asyncio.create_task(self._alone(change))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _alone(self, change: Coroutine[Any, Any, T]) -> T:
        async with self._one_at_a_time:
            return await change


def already_there(statement: CreateSource, before: Source) -> str:
    """The words for a name that is taken; the Java client looks for their beginning (§6.3)."""
    return (
        f"Cannot add {statement.kind.lower()} {quote(statement.name)}: "
        f"A {before.kind.lower()} with the same name already exists"
    )


def _folded_target(target: str, text: str) -> str:
    try:
        name = fold(text)
    except NameTextError as error:
        raise BadStatement(
            f"Invalid target name: {target[:_SHOWN_CHARS]}. Reason: {error}", target
        ) from error
    if not name:
        raise BadStatement("Invalid target name: it is empty", target)
    return name


def _is_quoted(text: str) -> bool:
    return text[:1] in ("`", '"')
