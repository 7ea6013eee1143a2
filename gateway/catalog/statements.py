"""``/ksql``: parsed statements, run one after the other against the catalogue (§1.8).

Owns: which entity answers which statement. Must never know: HTTP, or what a live query is beyond
its description. The whole text is read before its first statement runs; a statement that fails
then ends the request with an error that carries the entities of those before it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.catalog.catalog import Catalog, Change, already_there
from gateway.catalog.definition import time_column_of
from gateway.seams import Source
from protocol import entities
from protocol.entities import Entity, LiveQuery, SourceEntry
from protocol.errors import BadStatement
from protocol.statements import (
    CreateSource,
    Describe,
    DropSource,
    ListProperties,
    ListQueries,
    ListSources,
    ListTopics,
    SetProperty,
    Statement,
    Terminate,
    UnsetProperty,
    parse_statements,
)
from protocol.types import quote


class StatementRunner:
    """Runs the text of a ``/ksql`` request.

    ``queries`` gives the push queries that live now; ``terminate`` closes one by its id and says
    whether there was one; ``properties`` is what LIST PROPERTIES shows.
    """

    def __init__(
        self,
        catalog: Catalog,
        queries: Callable[[], Iterable[LiveQuery]],
        terminate: Callable[[str], bool],
        properties: Mapping[str, str],
    ) -> None:
        self._catalog = catalog
        self._queries = queries
        self._terminate = terminate
        self._properties = properties

    async def run(
        self, ksql_text: str, session_variables: Mapping[str, Any] | None = None
    ) -> list[Entity]:
        """The entities of the statements in their order; SET and UNSET give none.

        Raises `BadStatement` (with the entities so far), `QueryOnKsql`, and
        `protocol.errors.WarehouseAway`.
        """
        done: list[Entity] = []
        for statement in parse_statements(ksql_text, session_variables):
            try:
                entity = await self._run(statement)
            except BadStatement as error:
                # Names inside a statement are looked up by themselves, and then the error carries
                # the name: the client is told the statement that it stood in.
                raise BadStatement(error.message, statement.text, tuple(done)) from error
            if entity is not None:
                done.append(entity)
        return done

    async def _run(self, statement: Statement) -> Entity | None:
        match statement:
            case CreateSource():
                return await self._create(statement)
            case DropSource():
                return await self._drop(statement)
            case ListSources():
                return self._list_sources(statement)
            case ListTopics():
                names = await self._catalog.datasources()
                return entities.kafka_topics(statement.text, names, extended=statement.extended)
            case ListQueries():
                return entities.queries(statement.text, self._queries())
            case ListProperties():
                return entities.properties(statement.text, self._properties)
            case Describe():
                return await self._describe(statement)
            case Terminate():
                return self._stop(statement)
            case SetProperty() | UnsetProperty():
                return None

    async def _create(self, statement: CreateSource) -> Entity:
        source, change = await self._catalog.define(statement)
        if change is Change.KEPT:
            return entities.warning(statement.text, f"{already_there(statement, source)}.")
        return entities.current_status(
            statement.text,
            command_id=entities.command_id(statement.kind, statement.name, "create"),
            message=f"{statement.kind.capitalize()} {change.value}",
            sequence=self._catalog.revision,
        )

    async def _drop(self, statement: DropSource) -> Entity:
        source = await self._catalog.drop(statement)
        name = quote(statement.name)
        if source is None:
            message, warnings = f"Source {name} does not exist.", []
        else:
            datasource = source.spec.datasource
            message = f"Source {name} (topic: {datasource}) was dropped."
            warnings = [_KEPT.format(datasource)] if statement.delete_topic else []
        return entities.current_status(
            statement.text,
            command_id=entities.command_id(statement.kind, statement.name, "drop"),
            message=message,
            sequence=self._catalog.revision,
            warnings=warnings,
        )

    def _list_sources(self, statement: ListSources) -> Entity:
        listed = [
            source_entry(source)
            for source in self._catalog.all_declared()
            if source.kind == statement.kind
        ]
        if statement.extended:
            return entities.source_descriptions(statement.text, listed)
        build = entities.streams if statement.kind == "STREAM" else entities.tables
        return build(statement.text, listed)

    async def _describe(self, statement: Describe) -> Entity:
        source = await self._catalog.find(statement.target)
        if source is None:
            raise BadStatement(
                f"There is no stream, table or datasource {statement.target}"
                f"{self._catalog.suggestion(statement.target)}",
                statement.text,
            )
        return entities.source_description(
            statement.text, source_entry(source), extended=statement.extended
        )

    def _stop(self, statement: Terminate) -> Entity:
        """An id stands as it was written; unquoted, it may also be the folded one."""
        if statement.query_id is None:
            stopped = [self._terminate(query.query_id) for query in list(self._queries())]
            return entities.terminate_query(statement.text, "ALL", was_terminated=any(stopped))
        for query_id in (statement.query_id, statement.query_id.upper()):
            if self._terminate(query_id):
                return entities.terminate_query(statement.text, query_id, was_terminated=True)
        raise BadStatement(f"Unknown queryId: {statement.query_id}", statement.text)


_KEPT = (
    "DELETE TOPIC has no effect here: datasource '{}' keeps its rows. "
    "Druid's own API marks its segments unused."
)


def source_entry(source: Source) -> SourceEntry:
    """A source as lists and descriptions show it: formats and counts are echoed as declared."""
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
