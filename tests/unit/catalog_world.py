"""A statement runner over a small warehouse, for the tests of ``/ksql``."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gateway.catalog.catalog import Catalog
from gateway.catalog.statements import StatementRunner
from gateway.seams import UNASKED, Permit, TaskState, WarehouseUnreachable
from protocol.entities import Entity, LiveQuery
from protocol.types import STRING, TIMESTAMP, Column


class World:
    """A runner over a warehouse with one datasource and one live query.

    Time passes only while the runner sleeps; ``later`` happens then.
    """

    def __init__(self, folder: Path) -> None:
        self.live = ["q-1", "LOUD"]
        self.away = False
        self.names = ["flights"]
        self.now_s = 0.0
        self.later: list[str] = []
        self.inserted: list[tuple[str, list[dict[str, Any]]]] = []
        self.tasks: list[str] = []
        self.refusal: Exception | None = None
        self.catalog = Catalog(
            folder / "catalog.json", self._columns, self._datasources, clock=lambda: self.now_s
        )
        self.runner = StatementRunner(
            self.catalog,
            self._queries,
            self._terminate,
            {"headrace.version": "1"},
            insert=self._insert,
            run_task=self._run_task,
            explain=self._explain,
            task_states=self._states,
            clock=lambda: self.now_s,
            sleep=self._sleep,
        )

    async def run(
        self,
        text: str,
        variables: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        permit: Permit = UNASKED,
    ) -> list[Entity]:
        """The entities of a text."""
        return await self.runner.run(text, variables, properties, permit)

    def bare(self) -> StatementRunner:
        """A runner that was given no way to the warehouse."""
        return StatementRunner(self.catalog, self._queries, self._terminate, {})

    async def _columns(self, datasource: str) -> tuple[Column, ...] | None:
        known = {"flights": (Column("__time", TIMESTAMP), Column("origin", STRING))}
        return known.get(datasource)

    async def _datasources(self) -> list[str]:
        if self.away:
            raise WarehouseUnreachable
        return list(self.names)

    def _queries(self, permit: Permit) -> list[LiveQuery]:
        return [LiveQuery(query_id=query_id, sql="SELECT 1") for query_id in self.live]

    def _terminate(self, query_id: str, permit: Permit) -> bool:
        if query_id in self.live:
            self.live.remove(query_id)
            return True
        return False

    async def _insert(self, target: str, rows: list[dict[str, Any]], permit: Permit) -> None:
        self._refuse()
        self.inserted.append((target, rows))

    async def _run_task(self, sql: str) -> str:
        self._refuse()
        self.tasks.append(sql)
        return f"query-{len(self.tasks)}"

    async def _explain(self, sql: str) -> str:
        self._refuse()
        return f"plan of {sql}"

    async def _states(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        return dict.fromkeys(task_ids, TaskState.SUCCESS)

    async def _sleep(self, duration_s: float) -> None:
        self.now_s += duration_s
        if self.later and self.now_s > 3.0:
            self.names.append(self.later.pop())

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal
