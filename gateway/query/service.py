"""The door of the query room: what a text is, who is live, and how a query is closed."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from gateway.query.evaluations import Evaluations
from gateway.query.feed import Feed
from gateway.query.own_streams import OwnStreams, find_own_start
from gateway.query.pull import PullLimits, PullQueries
from gateway.query.push import RunningPush, SubscriptionLimits
from gateway.query.push_options import push_options
from gateway.query.start import find_start
from gateway.seams import (
    OwnStream,
    PushLevel,
    PushLog,
    QueryRefused,
    RunningQuery,
    Source,
    Sources,
    Warehouse,
)
from gateway.sql import PushQuery, compile_push
from protocol.arguments import QueryArguments
from protocol.entities import LiveQuery
from protocol.errors import BadStatement, TooManyPushQueries
from protocol.query_text import PullQuery, PushQueryText, parse_query
from protocol.tokens import TokenBinding

STATEMENTS_KEPT = 256
"""Compiled statements that are kept for whoever asks the same."""


class QueryService:
    """Implements `gateway.seams.Queries`. ``evaluated_bytes``: see `Evaluations`."""

    def __init__(
        self,
        *,
        warehouse: Warehouse,
        sources: Sources,
        logs: Mapping[PushLevel, PushLog],
        push_queries_max: int,
        push_limits: SubscriptionLimits,
        evaluated_bytes: int,
        pull_limits: PullLimits | None = None,
        own_streams: Iterable[OwnStream] = (),
    ) -> None:
        self._sources = sources
        self._push_queries_max = push_queries_max
        self._push_limits = push_limits
        self._pulls = PullQueries(warehouse, sources, pull_limits)
        self._evaluations = Evaluations(evaluated_bytes)
        self._feed = Feed(logs, self._evaluations)
        self._own = OwnStreams(own_streams, self._evaluations)
        self._live: dict[str, RunningPush] = {}
        self._statements: dict[tuple[str, str], tuple[Source, asyncio.Future[PushQuery]]] = {}

    async def start(self, arguments: QueryArguments) -> RunningQuery:
        """See `gateway.seams.Queries`."""
        query = parse_query(arguments.sql, arguments.session_variables)
        if isinstance(query, PullQuery):
            return await self._start_pull(query, arguments)
        return await self._start_push(query, arguments)

    async def close_query(self, query_id: str) -> bool:
        """See `gateway.seams.Queries`."""
        return self.terminate(query_id)

    def terminate(self, query_id: str) -> bool:
        """Close a live query; False if there is none of this id. A pull query ends in an error."""
        query = self._live.get(query_id)
        if query is None:
            return self._pulls.terminate(query_id)
        query.end()
        return True

    def live(self) -> list[LiveQuery]:
        """Queries that run: pull queries, then push queries."""
        return self._pulls.live() + [
            LiveQuery(
                query_id=query.id,
                sql=query.statement,
                rows_delivered=query.rows_out,
                since_ms=query.since_ms,
                level=query.level.value,
                entries_behind=query.behind,
            )
            for query in self._live.values()
        ]

    def terminate_all(self) -> None:
        """Close every live push query: their streams end well."""
        for query in list(self._live.values()):
            query.end()

    async def close(self) -> None:
        """Close every live query and stop evaluating."""
        self.terminate_all()
        await self._pulls.close()
        await asyncio.to_thread(self._evaluations.close)

    async def _start_pull(self, query: PullQuery, arguments: QueryArguments) -> RunningQuery:
        try:
            return await self._pulls.start(query.sql, arguments.properties)
        except BadStatement as refused:
            if (name := self._own.names_one(query.sql)) is None:
                raise
            hint = f"{name} is a stream of the gateway's own: add EMIT CHANGES to read it."
            message = f"{refused.message.rstrip('.')}. {hint}"
            raise BadStatement(message, query.sql) from refused

    async def _start_push(self, query: PushQueryText, arguments: QueryArguments) -> RunningQuery:
        if query.source_text is None:
            raise BadStatement(
                "A push query reads one stream by its name: FROM a subquery is not supported",
                query.sql,
            )
        options = push_options(arguments)
        own = self._own.find(query.source_text)
        source, feed = own or (await self._sources.resolve(query.source_text), self._feed)
        self._require_room()
        push = await self._compiled(query.sql, source)
        log = feed.logs[options.level]
        binding = TokenBinding(
            log_id=log.log_id, level=log.level.value, source=source.name, statement=push.key
        )
        start = await (find_own_start if own else find_start)(options, log, binding)
        self._require_room()
        running = RunningPush(push, query.sql, source, start, feed, self._push_limits, self._ended)
        self._live[running.id] = running
        return running

    def _require_room(self) -> None:
        if len(self._live) >= self._push_queries_max:
            raise TooManyPushQueries(
                f"Maximum number of push queries exceeded: {len(self._live)} are live, and "
                "query.push_queries_max allows no more"
            )

    async def _compiled(self, sql: str, source: Source) -> PushQuery:
        """The compiled statement; the same text over the same source is compiled once.

        Who asks while it is being compiled waits for the same.
        """
        known = self._statements.get((sql, source.name))
        if known is None or known[0] != source:
            # Tens of milliseconds of parsing: not on the event loop.
            work = asyncio.ensure_future(asyncio.to_thread(compile_push, sql, source))
            while len(self._statements) >= STATEMENTS_KEPT:
                del self._statements[next(iter(self._statements))]
            known = self._statements[sql, source.name] = (source, work)
            work.add_done_callback(partial(self._forget_failed, (sql, source.name)))
        try:
            # One who gives up does not take it away from the others.
            return await asyncio.shield(known[1])
        except QueryRefused as refused:
            raise BadStatement(str(refused), sql) from refused

    def _forget_failed(self, key: tuple[str, str], work: "asyncio.Future[PushQuery]") -> None:
        """Whatever went wrong, also where nobody waits any more: the next who asks tries again."""
        failed = work.cancelled() or work.exception() is not None
        if failed and key in self._statements and self._statements[key][1] is work:
            del self._statements[key]

    def _ended(self, query: RunningPush) -> None:
        self._live.pop(query.id, None)
