"""``EXPLAIN``: the warehouse's plan of a pull query, and what the gateway does for a push query."""

from gateway.catalog.catalog import Catalog
from gateway.catalog.outside import NO_EXPLAIN, ExplainQuery, LiveQueries
from gateway.seams import (
    Permit,
    QueryRefused,
    Right,
    Source,
    WarehouseUnreachable,
    find_permitted,
    readable_names,
    require_readable,
)
from gateway.sql import names_read
from protocol import entities
from protocol.entities import Entity, LiveQuery
from protocol.errors import BadStatement, WarehouseAway
from protocol.forms import Explain
from protocol.names import resolve_query
from protocol.query_text import PullQuery, PushQueryText
from protocol.vocabulary import refusal


class Plans:
    """Answers EXPLAIN. ``explain`` asks the warehouse; None: it cannot be asked."""

    def __init__(
        self, catalog: Catalog, queries: LiveQueries, explain: ExplainQuery | None
    ) -> None:
        self._catalog = catalog
        self._queries = queries
        self._explain = explain

    async def answer(self, statement: Explain, permit: Permit) -> Entity:
        """``queryDescription``, for whom may run the query. Raises `KsqlError`."""
        if isinstance(statement.query, PullQuery):
            return await self._pull(statement, statement.query, permit)
        if isinstance(statement.query, PushQueryText):
            return await self._push(statement, statement.query, permit)
        return self._live(statement, statement.query_id or "", permit)

    async def _pull(self, statement: Explain, query: PullQuery, permit: Permit) -> Entity:
        if self._explain is None:
            raise BadStatement(refusal(("EXPLAIN",), NO_EXPLAIN), statement.text)
        resolved = resolve_query(query.sql, readable_names(self._catalog.names, permit))
        await require_readable(permit, resolved, names_read)
        try:
            plan = await self._explain(resolved.sql)
        except QueryRefused as refused:
            raise BadStatement(str(refused), statement.text) from refused
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"The warehouse does not answer: {lost}") from lost
        return entities.query_description(
            statement.text,
            LiveQuery(query_id="", sql=query.sql.strip(), state=""),
            kind="PULL",
            plan=plan,
            sources=[names.name for names in resolved.sources],
        )

    async def _push(self, statement: Explain, query: PushQueryText, permit: Permit) -> Entity:
        problem = "A push query reads one stream by its name, and there is none of this name"
        if query.source_text is None:
            raise BadStatement(problem, statement.text)
        source = await find_permitted(self._catalog, query.source_text, permit, Right.QUERY)
        if source is None:
            raise BadStatement(problem, statement.text)
        return entities.query_description(
            statement.text,
            LiveQuery(query_id="", sql=query.sql, state=""),
            kind="PUSH",
            plan=_push_plan(source, query.sql),
            sources=[source.name],
        )

    def _live(self, statement: Explain, query_id: str, permit: Permit) -> Entity:
        for query in self._queries.live(permit):
            if query.query_id in (query_id, query_id.upper()):
                return entities.query_description(
                    statement.text, query, kind=query.kind, plan=_LIVE_PLANS[query.kind]
                )
        problem = (
            f"No query with id {query_id[:200]} is live: LIST QUERIES names those that are, "
            "and EXPLAIN takes the text of a query as well"
        )
        raise BadStatement(problem, statement.text)


_LIVE_PLANS = {
    "PUSH": "Push query over committed batches, in the order of their commits.",
    "PULL": "Pull query, run by the warehouse: EXPLAIN of its text gives the warehouse's plan.",
}


def _push_plan(source: Source, sql: str) -> str:
    return (
        f"Push query over {source.kind} {source.name} (datasource {source.spec.datasource}).\n"
        " > each committed batch, in the order of the commits\n"
        f" > evaluated once in the gateway for all subscribers: {sql}"
    )
