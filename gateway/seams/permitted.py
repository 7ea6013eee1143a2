"""Names and permits: what a principal may touch and see, decided alike in every room. Pure.

Law: whoever may not touch a name is told the same of it whether it exists or not.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from gateway.seams.access import Permit, Principal, Right, Use
from gateway.seams.sources import Source, Sources
from protocol.errors import BadStatement, Forbidden, WarehouseAway
from protocol.names import DeclaredNames, ResolvedQuery
from protocol.types import NameTextError, fold

EVERY_NAME = "\0" * 64
"""Stands for all names at once: it is none of a stream's, and of patterns only ``*`` fits it."""

SEEING = (Right.QUERY, Right.INSERT, Right.DEFINE)
"""Rights to a name: whoever has one of them may know that it is there."""


class Unasked:
    """Implements `gateway.seams.Permit` where nobody is asked for credentials."""

    principal = Principal(name="anonymous", shown="nothing")

    def may(self, right: Right, name: str = "") -> bool:
        """See `gateway.seams.Permit`."""
        return True

    def require(self, right: Right, name: str = "") -> None:
        """See `gateway.seams.Permit`."""

    def record(self, action: str, name: str = "", *, outcome: str = "done") -> None:
        """See `gateway.seams.Permit`."""

    def using(self, use: Use) -> AbstractContextManager[None]:
        """See `gateway.seams.Permit`."""
        return nullcontext()

    def took(self, rows: int, size_bytes: int, now: float) -> float:
        """See `gateway.seams.Permit`."""
        return 0.0


UNASKED = Unasked()


def sees(permit: Permit, name: str, rights: tuple[Right, ...] = SEEING) -> bool:
    """Whether it has any of the rights to that name."""
    return any(permit.may(right, name) for right in rights)


def require_any(permit: Permit, name: str, rights: tuple[Right, ...] = SEEING) -> None:
    """Raises `protocol.errors.Forbidden` where it has none of the rights to that name."""
    if not sees(permit, name, rights):
        permit.require(rights[0], name)


async def resolve_permitted(
    sources: Sources, target: str, permit: Permit, *rights: Right
) -> Source:
    """The source that ``target`` names, to which the permit has one of the rights.

    Raises `protocol.errors.Forbidden` where it has none, be there such a source or not, and as
    `Sources.resolve` does.
    """
    try:
        source = await sources.resolve(target)
    except (BadStatement, WarehouseAway) as unknown:
        _require_written(permit, target, rights)
        if isinstance(unknown, BadStatement) and not permit.may(rights[0], EVERY_NAME):
            # What else there is, is not told to who may not see all of it.
            message = unknown.message.partition("\nDid you mean")[0]
            raise BadStatement(message, unknown.statement) from None
        raise
    if not sees(permit, source.name, rights):
        _refuse(permit, target, source.name, rights)
    return source


class Finds(Protocol):
    """What `find_permitted` asks."""

    async def find(self, target: str) -> Source | None:
        """As `Sources.resolve`; None where there is no such source."""


async def find_permitted(
    sources: Finds, target: str, permit: Permit, *rights: Right
) -> Source | None:
    """As `resolve_permitted`; None where there is none."""
    try:
        source = await sources.find(target)
    except WarehouseAway:
        _require_written(permit, target, rights)
        raise
    if source is None:
        _require_written(permit, target, rights)
    elif not sees(permit, source.name, rights):
        _refuse(permit, target, source.name, rights)
    return source


def _require_written(permit: Permit, target: str, rights: tuple[Right, ...]) -> None:
    """A name that is not there: it must be one that the permit has a right to, as written."""
    text = target.strip()
    try:
        folded = fold(text)
    except NameTextError:
        return
    if folded and not (sees(permit, folded, rights) or sees(permit, text, rights)):
        permit.require(rights[0], folded)


def _refuse(permit: Permit, target: str, name: str, rights: tuple[Right, ...]) -> None:
    """By the name as it was written: how a datasource spells it is not told either."""
    folded = fold(target.strip())
    permit.require(rights[0], name if sees(permit, folded, rights) else folded)


def readable_names(
    lookup: Callable[[str], DeclaredNames | None], permit: Permit
) -> Callable[[str], DeclaredNames | None]:
    """``lookup`` of declared sources, in which those that may not be queried are not there."""

    def readable(name: str) -> DeclaredNames | None:
        return lookup(name) if permit.may(Right.QUERY, name) else None

    return readable


async def require_readable(
    permit: Permit, query: ResolvedQuery, reads: Callable[[str], frozenset[str] | None]
) -> None:
    """The right to ``query`` every name that the SELECT reads.

    ``reads`` gives the names in a text, None where they cannot be told (`gateway.sql.names_read`):
    then it takes a rule for all names. It may take a while, and runs in a thread. Of what the
    declared sources in ``query`` read, their own names decide. Raises `protocol.errors.Forbidden`.
    """
    names = {source.name for source in query.sources}
    if not permit.may(Right.QUERY, EVERY_NAME):
        read = await asyncio.to_thread(reads, query.sql)
        if read is None:
            refuse_unclear(permit, "query")
        else:
            names |= read - {source.datasource for source in query.sources}
    for name in sorted(names):
        permit.require(Right.QUERY, name)
    permit.record("query", ", ".join(sorted(names)))


def refuse_unclear(permit: Permit, action: str) -> None:
    """Where it cannot be told what a statement touches. Raises `protocol.errors.Forbidden`."""
    permit.record(action, outcome="refused: unclear names")
    raise Forbidden(
        "It cannot be told for certain which names this statement reads, so it needs the right "
        '`query` to all of them (names = ["*"]). Write it without TABLE(…) and EXTERN, without '
        "prefixes of strings and with plain comments, or quote its names."
    )
