"""``/ksql``: parsed statements, run one after the other against the catalogue (§1.8).

Owns: which entity answers which statement, and what a request's SET and DEFINE hold. Must never
know: HTTP, what a live query is beyond its description, or how rows and tasks reach the warehouse:
`outside` has the callables. The whole text is read before its first statement runs; a statement
that fails then ends the request with an error that carries the entities of those before it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from gateway.catalog.catalog import Catalog, Change, already_there
from gateway.catalog.claims import Claims
from gateway.catalog.commands import Commands
from gateway.catalog.definition import datasource_of
from gateway.catalog.entries import entry_of
from gateway.catalog.functions import PULL_FUNCTIONS, scalar_functions
from gateway.catalog.outside import (
    NO_INSERT,
    NO_TASKS,
    ExplainQuery,
    InsertRows,
    LiveQueries,
    RunTask,
    TaskStates,
    TaskWhy,
)
from gateway.catalog.plans import Plans
from gateway.catalog.rights import require_define, require_task, require_topic
from gateway.catalog.values import rows_of
from gateway.seams import (
    EVERY_NAME,
    SEEING,
    Permit,
    QueryRefused,
    Right,
    Source,
    SubmissionRefused,
    WarehouseUnreachable,
    find_permitted,
    require_any,
    resolve_permitted,
    sees,
)
from protocol import entities
from protocol.assertions import NoSchemaRegistry
from protocol.entities import Entity, LiveQuery
from protocol.errors import BadStatement, KsqlError, RowRejected, WarehouseAway
from protocol.properties import DEFAULTS
from protocol.statements import (
    AssertSchema,
    AssertSource,
    AssertTopic,
    CreateSource,
    DefineVariable,
    Describe,
    DropConnector,
    DropSource,
    Explain,
    InsertValues,
    ListAbsent,
    ListFunctions,
    ListProperties,
    ListQueries,
    ListSources,
    ListTopics,
    ListVariables,
    SetProperty,
    Statement,
    Terminate,
    UndefineVariable,
    UnsetProperty,
    WarehouseTask,
    parse_statements,
)
from protocol.types import quote
from protocol.variables import Variables, shown
from protocol.vocabulary import CONNECTORS, refusal


class _Request:
    """Who asks, and what SET and DEFINE hold until the end of the request."""

    def __init__(
        self, variables: Mapping[str, Any], properties: Mapping[str, Any], permit: Permit
    ) -> None:
        self.permit = permit
        self.variables = Variables(variables)
        self.properties = {name: shown(value) for name, value in properties.items()}


class StatementRunner:
    """Runs the text of a ``/ksql`` request, and remembers what became of its commands.

    ``queries`` and ``terminate`` are as in `outside.LiveQueries`; ``properties`` is what LIST
    PROPERTIES shows beyond ksqlDB's own. ``insert``, ``run_task`` and ``explain`` reach the
    warehouse: where one is None, its statement is refused. ``task_states`` and ``task_why`` tell
    what becomes of tasks. ``own_sources`` are the gateway's own, which DESCRIBE knows too.
    """

    def __init__(
        self,
        catalog: Catalog,
        queries: Callable[[Permit], Iterable[LiveQuery]],
        terminate: Callable[[str, Permit], bool],
        properties: Mapping[str, str],
        *,
        insert: InsertRows | None = None,
        run_task: RunTask | None = None,
        explain: ExplainQuery | None = None,
        task_states: TaskStates | None = None,
        task_why: TaskWhy | None = None,
        own_sources: Iterable[Source] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._queries = LiveQueries(live=queries, terminate=terminate)
        self._properties = {**DEFAULTS, **properties}
        self._insert_rows = insert
        self._run_task = run_task
        self._own_sources = {source.name: source for source in own_sources}
        self._commands = Commands(task_states, task_why)
        self._plans = Plans(catalog, self._queries, explain)
        self._claims = Claims(catalog, clock=clock, sleep=sleep)

    async def run(
        self,
        ksql_text: str,
        session_variables: Mapping[str, Any] | None,
        properties: Mapping[str, Any] | None,
        permit: Permit,
    ) -> list[Entity]:
        """The entities of the statements in their order; SET, DEFINE, INSERT VALUES give none.

        ``properties`` are the request's ``streamsProperties``; the permit is asked for each name
        that a statement touches. Raises `BadStatement` (with the entities so far), `QueryOnKsql`,
        `protocol.assertions.AssertionFailed` and `NoSchemaRegistry`, and
        `protocol.errors.Forbidden` and `WarehouseAway`.
        """
        request = _Request(session_variables or {}, properties or {}, permit)
        done: list[Entity] = []
        for number, statement in enumerate(parse_statements(ksql_text, session_variables)):
            try:
                entity = await self._run(statement, request)
            except RowRejected as rejected:
                raise BadStatement(rejected.message, statement.text, tuple(done)) from rejected
            except BadStatement as error:
                # Names inside a statement are looked up by themselves, and then the error carries
                # the name: the client is told the statement that it stood in.
                raise BadStatement(error.message, statement.text, tuple(done)) from error
            except KsqlError as error:
                if number == 0:
                    raise
                # Others were carried out already: whoever sent them must hear how far it got.
                raise error.within(statement.text, done) from error
            if entity is not None:
                done.append(entity)
        return done

    async def status(self, command_id: str, permit: Permit) -> Entity | None:
        """``/status/<type>/<name>/<action>``: the status of a command; None is 404 (40400)."""
        return await self._commands.status(command_id, permit)

    async def statuses(self, permit: Permit) -> dict[str, str]:
        """``/status``: the status word of every command by its id."""
        return await self._commands.statuses(permit)

    async def _run(self, statement: Statement, request: _Request) -> Entity | None:
        permit = request.permit
        match statement:
            case CreateSource():
                return await self._create(statement, permit)
            case DropSource():
                return await self._drop(statement, permit)
            case InsertValues():
                await self._insert(statement, permit)
                return None
            case WarehouseTask():
                return await self._start_task(statement, permit)
            case AssertTopic():
                require_topic(permit, statement)
                return await self._claims.topic(statement)
            case AssertSource():
                require_any(permit, statement.name)
                return await self._claims.source(statement)
            case AssertSchema():
                raise NoSchemaRegistry
            case Terminate():
                return self._stop(statement, permit)
            case Describe():
                return await self._describe(statement, permit)
            case Explain():
                return await self._plans.answer(statement, permit)
            case ListTopics():
                known = await self._catalog.datasources()
                names = [name for name in known if sees(permit, name)]
                return entities.kafka_topics(statement.text, names, extended=statement.extended)
            case _:
                return self._answer(statement, request)

    def _answer(self, statement: Statement, request: _Request) -> Entity | None:
        """Statements that ask nobody."""
        text = statement.text
        match statement:
            case ListSources():
                return self._list_sources(statement, request.permit)
            case ListQueries(extended=extended):
                build = entities.query_descriptions if extended else entities.queries
                return build(text, self._queries.live(request.permit))
            case ListProperties():
                return entities.properties(text, self._properties, request.properties)
            case ListVariables():
                return entities.variables(text, request.variables.listed())
            case ListFunctions():
                return entities.function_names(text, scalar_functions(), [PULL_FUNCTIONS])
            case ListAbsent(what=what):
                return _EMPTY[what](text)
            case DropConnector(name=name):
                message = f"Connector {quote(name)} does not exist: {CONNECTORS}."
                return entities.warning(text, message)
            case SetProperty(name=name, value=value):
                request.properties[name] = value
            case UnsetProperty(name=name):
                request.properties.pop(name, None)
            case DefineVariable(name=name, value=value):
                request.variables.define(name, value)
            case UndefineVariable(name=name):
                if not request.variables.undefine(name):
                    return entities.warning(text, f"Variable '{name}' was never defined.")
        return None

    # ── declarations ──

    async def _create(self, statement: CreateSource, permit: Permit) -> Entity:
        require_define(permit, statement.name, datasource_of(statement), self._catalog.declared)
        source, change = await self._catalog.define(statement)
        if change is Change.KEPT:
            return entities.warning(statement.text, f"{already_there(statement, source)}.")
        return self._done(
            statement,
            permit,
            entities.command_id(statement.kind, statement.name, "create"),
            f"{statement.kind.capitalize()} {change.value}",
        )

    async def _drop(self, statement: DropSource, permit: Permit) -> Entity:
        require_define(permit, statement.name, None, self._catalog.declared)
        source = await self._catalog.drop(statement)
        name = quote(statement.name)
        if source is None:
            message, warnings = f"Source {name} does not exist.", []
        else:
            datasource = source.spec.datasource
            message = f"Source {name} (topic: {datasource}) was dropped."
            warnings = [_KEPT.format(datasource)] if statement.delete_topic else []
        command_id = entities.command_id(statement.kind, statement.name, "drop")
        return self._done(statement, permit, command_id, message, warnings)

    def _done(
        self,
        statement: CreateSource | DropSource,
        permit: Permit,
        command_id: str,
        message: str,
        warnings: Iterable[str] = (),
    ) -> Entity:
        permit.record("statement", command_id)
        self._commands.done(command_id, message, permit.principal.name, statement.name)
        return entities.current_status(
            statement.text,
            command_id=command_id,
            message=message,
            sequence=self._catalog.revision,
            warnings=warnings,
        )

    # ── rows and tasks ──

    async def _insert(self, statement: InsertValues, permit: Permit) -> None:
        if self._insert_rows is None:
            problem = refusal(("INSERT", "INTO", "VALUES"), NO_INSERT)
            raise BadStatement(problem, statement.text)
        source = await resolve_permitted(self._catalog, statement.target, permit, Right.INSERT)
        rows = rows_of(statement, source)
        try:
            await self._insert_rows(quote(source.name), rows, permit)
        except WarehouseUnreachable as lost:
            raise WarehouseAway(f"The warehouse does not answer: {lost}") from lost
        permit.record("insert", source.name)

    async def _start_task(self, statement: WarehouseTask, permit: Permit) -> Entity:
        await require_task(permit, statement)
        if self._run_task is None:
            raise BadStatement(refusal(("A", "SQL", "task"), NO_TASKS), statement.text)
        try:
            task_id = await self._run_task(statement.sql)
        except (QueryRefused, SubmissionRefused) as refused:
            raise BadStatement(str(refused), statement.text) from refused
        except WarehouseUnreachable as lost:
            raise WarehouseAway(
                f"The warehouse does not answer: {lost}. Whether the task was started is not "
                "known: look at Druid's tasks before sending it again."
            ) from lost
        # ksqlDB's types of a command are few and clients read them strictly: a task is a stream's.
        command_id = f"stream/{task_id}/execute"
        message = f"Task {task_id} runs: GET /status/{command_id} tells what becomes of it"
        self._commands.started(command_id, task_id, message, permit.principal.name)
        return entities.current_status(
            statement.text,
            command_id=command_id,
            message=message,
            status="RUNNING",
            query_id=task_id,
        )

    # ── looking and stopping ──

    def _list_sources(self, statement: ListSources, permit: Permit) -> Entity:
        listed = [
            entry_of(source)
            for source in self._catalog.all_declared()
            if source.kind == statement.kind and sees(permit, source.name)
        ]
        if statement.extended:
            return entities.source_descriptions(statement.text, listed)
        build = entities.streams if statement.kind == "STREAM" else entities.tables
        return build(statement.text, listed)

    async def _describe(self, statement: Describe, permit: Permit) -> Entity:
        source = self._own_sources.get(statement.target.strip().strip('`"').upper())
        if source is not None and not permit.may(Right.ADMIN):
            require_any(permit, source.name)
        source = source or await find_permitted(self._catalog, statement.target, permit, *SEEING)
        if source is None:
            all_seen = permit.may(Right.QUERY, EVERY_NAME)
            hint = self._catalog.suggestion(statement.target) if all_seen else ""
            raise BadStatement(
                f"There is no stream, table or datasource {statement.target}{hint}", statement.text
            )
        return entities.source_description(
            statement.text, entry_of(source), extended=statement.extended
        )

    def _stop(self, statement: Terminate, permit: Permit) -> Entity:
        """An id stands as it was written; unquoted, it may also be the folded one."""
        terminate = self._queries.terminate
        if statement.query_id is None:
            live = list(self._queries.live(permit))
            stopped = [terminate(query.query_id, permit) for query in live]
            return entities.terminate_query(statement.text, "ALL", was_terminated=any(stopped))
        for query_id in (statement.query_id, statement.query_id.upper()):
            if terminate(query_id, permit):
                return entities.terminate_query(statement.text, query_id, was_terminated=True)
        raise BadStatement(f"Unknown queryId: {statement.query_id}", statement.text)


_EMPTY: Mapping[str, Callable[[str], Entity]] = {
    "types": entities.type_list,
    "connectors": entities.connector_list,
    "plugins": entities.connector_plugins_list,
}

_KEPT = (
    "DELETE TOPIC has no effect here: datasource '{}' keeps its rows. "
    "Druid's own API marks its segments unused."
)
