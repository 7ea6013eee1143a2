"""Datasources that exist without being declared, asked of the warehouse and remembered briefly.

Owns: how often the warehouse is asked. Every answer, "there is none" too, holds for a while, and
callers that wait for the same answer share one question; so no stream of unknown targets becomes a
stream of requests. While the warehouse is away the last answer goes on holding: rows for a known
datasource reach the spool in an outage too. Must never know: declared streams.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.catalog.definition import discovered_source
from gateway.seams import Source, WarehouseUnreachable
from protocol.errors import WarehouseAway
from protocol.types import Column

NAMES_FRESH_S = 2.0
"""How long the list of datasources holds: how late a new one is seen."""

COLUMNS_FRESH_S = 10.0
"""How long the columns of a datasource hold: how late a new one is written to."""

T = TypeVar("T")


class Discovery:
    """Look-ups in the warehouse. ``clock`` gives seconds that only grow."""

    def __init__(
        self,
        columns: Callable[[str], Awaitable[tuple[Column, ...] | None]],
        datasources: Callable[[], Awaitable[list[str]]],
        clock: Callable[[], float],
    ) -> None:
        self._ask_columns = columns
        self._clock = clock
        self._names = _Remembered(datasources, NAMES_FRESH_S, clock)
        self._columns: dict[str, _Remembered[tuple[Column, ...] | None]] = {}

    async def names(self) -> list[str]:
        """Datasources that exist, sorted. Raises `WarehouseAway` if that was never known."""
        return await self._names.get()

    async def find(self, raw: str, folded: str, *, quoted: bool) -> Source | None:
        """The datasource that a target names: as it is written, folded, or whatever its case.

        A quoted name is literal. Raises `WarehouseAway` as `names` does.
        """
        known = await self.names()
        name = _matching(known, raw, folded, quoted=quoted)
        if name is None:
            return None
        columns = await self._columns_of(name, known)
        return discovered_source(name, columns) if columns is not None else None

    async def _columns_of(self, name: str, known: list[str]) -> tuple[Column, ...] | None:
        remembered = self._columns.get(name)
        if remembered is None:
            # As many are remembered as there are datasources, and no more.
            for gone in self._columns.keys() - set(known):
                del self._columns[gone]
            remembered = _Remembered(lambda: self._ask_columns(name), COLUMNS_FRESH_S, self._clock)
            self._columns[name] = remembered
        return await remembered.get()


def _matching(known: list[str], raw: str, folded: str, *, quoted: bool) -> str | None:
    if quoted:
        return folded if folded in known else None
    for name in (raw, folded):
        if name in known:
            return name
    alike = [name for name in known if name.casefold() == raw.casefold()]
    return alike[0] if len(alike) == 1 else None


class _Remembered(Generic[T]):
    """One answer of the warehouse, asked anew once it is older than ``fresh_s``."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], fresh_s: float, clock: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._answers: list[T] = []
        """the last answer, or nothing"""
        self._asked_s: float | None = None

    async def get(self) -> T:
        async with self._one_at_a_time:
            now_s = self._clock()
            if self._asked_s is None or now_s - self._asked_s >= self._fresh_s:
                await self._refresh()
            if not self._answers:
                raise WarehouseAway(
                    "The warehouse cannot be reached, so an undeclared name cannot be looked up. "
                    "Try again later."
                )
            return self._answers[0]

    async def _refresh(self) -> None:
        # While it is away the last answer, if there is one, holds on; it is asked again in turn.
        with contextlib.suppress(WarehouseUnreachable):
            self._answers = [await self._ask()]
        self._asked_s = self._clock()
