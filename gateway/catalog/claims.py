"""``ASSERT``: whether a claim about topics and sources holds, and waiting until it does.

Owns: what makes a claim true. A topic is a datasource, declared or existing. Must never know: how a
claim is written.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.catalog.catalog import Catalog
from gateway.catalog.entries import entry_of
from protocol import entities
from protocol.assertions import AssertionFailed
from protocol.entities import Entity
from protocol.forms import AssertSource, AssertTopic
from protocol.types import fold, quote

TIMEOUT_S = 1.0
"""How long a claim without TIMEOUT is waited for: ksqlDB's default."""

LOOK_S = 0.1
"""Between two looks. A datasource is seen `discovery.NAMES_FRESH_S` late at the most."""

_CHECKED = ("PARTITIONS", "REPLICAS")


class Claims:
    """Checks claims against a catalogue. ``clock`` gives seconds that only grow."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._sleep = sleep

    async def topic(self, claim: AssertTopic) -> Entity:
        """``assert_topic``. Raises `AssertionFailed`, `protocol.errors.WarehouseAway`."""
        name = fold(claim.target)

        async def problem() -> str | None:
            known = await self._catalog.datasources()
            found = _named(claim.target, known)
            if not claim.exists:
                return None if found is None else f"Topic {found} exists"
            if found is None:
                return f"Topic {name} does not exist"
            return self._mismatch(found, claim)

        await self._hold(problem, claim.timeout_s)
        known = await self._catalog.datasources()
        shown = _named(claim.target, known) or name
        return entities.assert_topic(claim.text, shown, exists=claim.exists)

    async def source(self, claim: AssertSource) -> Entity:
        """``currentStatus``: ksqlDB has no entity for it. Raises `AssertionFailed`."""

        async def problem() -> str | None:
            return self._source_problem(claim)

        await self._hold(problem, claim.timeout_s)
        claimed = "exists" if claim.exists else "does not exist"
        return entities.current_status(
            claim.text,
            command_id=entities.command_id(claim.kind, claim.name, "assert"),
            message=f"{claim.kind.capitalize()} {quote(claim.name)} {claimed}",
        )

    def _source_problem(self, claim: AssertSource) -> str | None:
        name = f"{claim.kind.capitalize()} {quote(claim.name)}"
        source = self._catalog.declared(claim.name)
        if source is None or source.kind != claim.kind:
            return f"{name} does not exist" if claim.exists else None
        if not claim.exists:
            return f"{name} exists"
        if claim.columns and claim.columns != source.columns:
            declared = ", ".join(f"{quote(one.name)} {one.type}" for one in source.columns)
            return f"{name} has other columns: {declared}"
        for prop, value in claim.properties.items():
            found = source.properties.get(prop)
            if found is None or found.upper() != value.upper():
                return f"{name} has property {prop} {found or 'unset'}, not {value}"
        return None

    def _mismatch(self, datasource: str, claim: AssertTopic) -> str | None:
        """PARTITIONS and REPLICAS are those that were declared, else 1, as LIST TOPICS says."""
        counts = {"PARTITIONS": 1, "REPLICAS": 1}
        for source in self._catalog.all_declared():
            if source.spec.datasource == datasource:
                entry = entry_of(source)
                counts = {"PARTITIONS": entry.partitions, "REPLICAS": entry.replication}
        for prop, value in claim.properties.items():
            if prop not in _CHECKED:
                return f"Topic {datasource} has no {prop}: only PARTITIONS and REPLICAS are checked"
            if value != str(counts[prop]):
                return f"Topic {datasource} has {prop} {counts[prop]}, not {value[:80]}"
        return None

    async def _hold(
        self, problem: Callable[[], Awaitable[str | None]], timeout_s: float | None
    ) -> None:
        """Return once there is no problem. Raises `AssertionFailed` when the time is over."""
        end_s = self._clock() + (TIMEOUT_S if timeout_s is None else timeout_s)
        while (found := await problem()) is not None:
            left_s = end_s - self._clock()
            if left_s <= 0:
                raise AssertionFailed(found)
            await self._sleep(min(LOOK_S, left_s))


def _named(target: str, known: list[str]) -> str | None:
    """A quoted name is literal; another is as it is written, or folded."""
    candidates = (fold(target),) if target[0] in '`"' else (target, fold(target))
    return next((name for name in candidates if name in known), None)
