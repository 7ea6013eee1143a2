"""The door of the query room: what a text is, who is live, and how a query is closed."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial

from gateway.metrics import Metrics
from gateway.metrics import declared as d
from gateway.query.evaluations import Evaluations
from gateway.query.feed import Feed
from gateway.query.measures import PullMeasure, PushMeasure
from gateway.query.own_streams import OwnStreams, find_own_start
from gateway.query.owners import may_read, owns
from gateway.query.pull import PullLimits, PullQueries
from gateway.query.push import RunningPush, SubscriptionLimits
from gateway.query.push_options import push_options
from gateway.query.start import find_start
from gateway.seams import (
    UNASKED,
    OwnStream,
    Permit,
    PushLevel,
    PushLog,
    QueryRefused,
    Right,
    RunningQuery,
    Source,
    Sources,
    Use,
    Warehouse,
    resolve_permitted,
)
from gateway.sql import PushQuery, compile_push
from protocol.arguments import QueryArguments
from protocol.entities import LiveQuery
from protocol.errors import BadStatement, TooManyPushQueries
from protocol.query_text import PullQuery, PushQueryText, parse_query
from protocol.tokens import TokenBinding

_NO_USES = ExitStack()

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
        metrics: Metrics | None = None,
    ) -> None:
        metrics = metrics or Metrics()
        self._measure = PushMeasure(metrics)
        self._sources = sources
        self._push_queries_max = push_queries_max
        self._push_limits = push_limits
        self._pulls = PullQueries(warehouse, sources, pull_limits, PullMeasure(metrics))
        self._evaluations = Evaluations(evaluated_bytes, self._measure)
        self._feed = Feed(logs, self._evaluations)
        self._own = OwnStreams(own_streams, self._evaluations)
        self._live: dict[str, RunningPush] = {}
        self._uses: dict[str, ExitStack] = {}
        self._statements: dict[tuple[str, str], tuple[Source, asyncio.Future[PushQuery]]] = {}
        self._look_at(metrics)

    async def start(self, arguments: QueryArguments, permit: Permit) -> RunningQuery:
        """See `gateway.seams.Queries`."""
        query = parse_query(arguments.sql, arguments.session_variables)
        if isinstance(query, PullQuery):
            return await self._start_pull(query, arguments, permit)
        return await self._start_push(query, arguments, permit)

    async def close_query(self, query_id: str, permit: Permit) -> bool:
        """See `gateway.seams.Queries`."""
        return self.terminate(query_id, permit)

    def terminate(self, query_id: str, permit: Permit) -> bool:
        """Close a live query; False if the permit's principal has none of this id.

        A pull query ends in an error.
        """
        query = self._live.get(query_id)
        if query is None:
            return self._pulls.terminate(query_id, permit)
        if not owns(permit, query.owner):
            return False
        permit.record("close query", query_id)
        query.end()
        return True

    def relimit(
        self, push_queries_max: int, push_limits: SubscriptionLimits, pull_limits: PullLimits
    ) -> None:
        """Other limits, for queries that start from now on."""
        self._push_queries_max = push_queries_max
        self._push_limits = push_limits
        self._pulls.relimit(pull_limits)

    def live(self, permit: Permit) -> list[LiveQuery]:
        """Queries of its principal that run, of all with ``admin``: pull queries, then push."""
        return self._pulls.live(permit) + [
            LiveQuery(
                query_id=query.id,
                sql=query.statement,
                rows_delivered=query.rows_out,
                since_ms=query.since_ms,
                level=query.level.value,
                entries_behind=query.behind,
            )
            for query in self._live.values()
            if owns(permit, query.owner)
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

    async def _start_pull(
        self, query: PullQuery, arguments: QueryArguments, permit: Permit
    ) -> RunningQuery:
        try:
            return await self._pulls.start(query.sql, arguments.properties, permit)
        except BadStatement as refused:
            if (name := self._own.names_one(query.sql)) is None:
                raise
            hint = f"{name} is a stream of the gateway's own: add EMIT CHANGES to read it."
            message = f"{refused.message.rstrip('.')}. {hint}"
            raise BadStatement(message, query.sql) from refused

    async def _start_push(
        self, query: PushQueryText, arguments: QueryArguments, permit: Permit
    ) -> RunningQuery:
        if query.source_text is None:
            raise BadStatement(
                "A push query reads one stream by its name: FROM a subquery is not supported",
                query.sql,
            )
        options = push_options(arguments)
        own = self._own.find(query.source_text)
        if own is None:
            resolved = await resolve_permitted(
                self._sources, query.source_text, permit, Right.QUERY
            )
            source, feed = resolved, self._feed
        else:
            source, feed = own
            if not may_read(permit, source.name):
                permit.require(Right.QUERY, source.name)
        self._require_room()
        push = await self._compiled(query.sql, source)
        log = feed.logs[options.level]
        binding = TokenBinding(
            log_id=log.log_id, level=log.level.value, source=source.name, statement=push.key
        )
        start = await (find_own_start if own else find_start)(options, log, binding)
        self._require_room()
        with ExitStack() as uses:
            uses.enter_context(permit.using(Use.PUSH_QUERY))
            running = RunningPush(
                push, query.sql, source, start, feed, self._push_limits, self._ended, permit
            )
            self._live[running.id] = running
            self._uses[running.id] = uses.pop_all()
        self._measure.began()
        permit.record("query", source.name)
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

    def _look_at(self, metrics: Metrics) -> None:
        live = self._live
        metrics.look(d.PUSH_OPEN, lambda: len(live))
        metrics.look(d.PUSH_LIMIT, lambda: self._push_queries_max)
        metrics.look(d.PUSH_STATEMENTS, lambda: len(self._feed))
        metrics.look(d.PUSH_MAILBOX_ROWS, lambda: sum(q.waiting[0] for q in live.values()))
        metrics.look(d.PUSH_MAILBOX_BYTES, lambda: sum(q.waiting[1] for q in live.values()))
        metrics.look(d.PUSH_BEHIND, lambda: max((q.behind for q in live.values()), default=0))
        metrics.look(d.PULL_OPEN, lambda: len(self._pulls.live(UNASKED)))

    def _ended(self, query: RunningPush) -> None:
        self._live.pop(query.id, None)
        self._uses.pop(query.id, _NO_USES).close()
