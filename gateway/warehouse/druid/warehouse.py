"""`DruidWarehouse`: the seam `gateway.seams.Warehouse` before a Druid cluster."""

import asyncio
import json
import secrets
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import structlog

from gateway.seams import (
    QueryEngine,
    Result,
    Submission,
    SubmissionRefused,
    Submitted,
    TaskFailure,
    TaskProgress,
    TaskState,
    WarehouseQuery,
    WarehouseUnreachable,
)
from gateway.tls import LiveContext
from gateway.warehouse.druid.counting import Counting
from gateway.warehouse.druid.credentials import Authorization, nobody
from gateway.warehouse.druid.endings import Endings
from gateway.warehouse.druid.errors import json_object
from gateway.warehouse.druid.gate import SlotGate
from gateway.warehouse.druid.orphans import Orphans
from gateway.warehouse.druid.progress import Progress
from gateway.warehouse.druid.reading import start_query
from gateway.warehouse.druid.replies import NotPermitted
from gateway.warehouse.druid.schema import Schema
from gateway.warehouse.druid.slots import SLOTS_PER_TASK
from gateway.warehouse.druid.sql import Dialect, UnspeakableSql, insert_sql
from gateway.warehouse.druid.staging import StagedBatches, Staging, without_token
from gateway.warehouse.druid.task_query import TaskQueries
from gateway.warehouse.druid.tasks import Tasks
from gateway.warehouse.druid.transport import DruidUrls, Server, Timeouts, Transport
from protocol.types import Column

_LOOK_S = 5.0
"""How long a start waits for the first look at the cluster: it goes on without."""

_INSERT_CONTEXT = MappingProxyType({"rowsInMemory": 20_000})
"""Druid's own 100,000 rows a worker make two batches at once fight for the heap of a small
Indexer: measured on 27 with 700 MB and rows of 112 bytes, 20,000 is a fifth quicker alone, and two
batches at once keep that pace where the default drops to a half of it at times."""

_DENIED = (
    "Druid does not let the gateway insert (give its user READ and WRITE on the datasource, and "
    "READ on EXTERNAL; rows wait meanwhile)"
)
_WORKER_LOST = "the worker of the task had failed and its controller waited on: it was shut down"

log = structlog.get_logger("headrace.druid")


@dataclass(frozen=True, slots=True, kw_only=True)
class DruidSettings:
    """How to reach a cluster and how to use it.

    ``fetch_base_url`` is the gateway as Druid's workers see it; ``fetch_secret`` makes the URLs of
    batches, and must be the same after a restart; ``fetch_expiry_s``: how long one is good at the
    most. ``authorization`` and ``tls``: see `transport`. ``blind_batches_limit`` holds where Druid
    does not tell its slots. ``stuck_s``: how long the controller of an insert may run on after its
    worker has failed (see `orphans`) before it is shut down. ``insert_context`` is added to every
    insert's context (Druid's ``multi-stage-query/reference``, context parameters) and may replace
    what is set here, but for the task's id and size.
    """

    urls: DruidUrls
    fetch_base_url: str
    fetch_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    fetch_expiry_s: float = 24 * 3600.0
    authorization: Authorization = field(default=nobody, repr=False)
    tls: LiveContext | None = field(default=None, repr=False)
    inline_limit_bytes: int = 256 << 10
    blind_batches_limit: int = 1
    connections_limit: int = 64
    timeouts: Timeouts = field(default_factory=Timeouts)
    slot_wait_limit_s: float = 60.0
    count_limit_s: float = 180.0
    report_wait_s: float = 10.0
    stuck_s: float = 10.0
    insert_context: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class DruidWarehouse:
    """Rows in an Apache Druid cluster.

    `submit` waits at the gate until the batch has its two slots, so no number of submissions at
    once can starve the cluster; `free_batches` says beforehand how many will not wait.
    """

    name = "druid"
    queryable_at_commit = False

    def __init__(self, settings: DruidSettings) -> None:
        self.staged = StagedBatches(settings.fetch_secret)
        self._settings = settings
        self._transport = Transport(
            settings.urls,
            authorization=settings.authorization,
            tls=settings.tls.context if settings.tls is not None else None,
            timeouts=settings.timeouts,
            connections_limit=settings.connections_limit,
        )
        self._staging = Staging(
            self.staged,
            settings.fetch_base_url,
            settings.inline_limit_bytes,
            settings.fetch_expiry_s,
        )
        self._tasks = Tasks(self._transport, settings.report_wait_s)
        self._gate = SlotGate(
            self._tasks,
            blind_limit=settings.blind_batches_limit,
            wait_limit_s=settings.slot_wait_limit_s,
        )
        self._schema = Schema(self._transport)
        self._counting = Counting(self._tasks, self._gate, self._schema, settings.count_limit_s)
        self._endings = Endings(self._transport, self._tasks, self._gate)
        self._orphans = Orphans(settings.stuck_s)
        self._progress = Progress(self._tasks)
        self._task_queries = TaskQueries(
            self._tasks, self._gate, self._endings, settings.report_wait_s
        )
        self._known_dialect: Dialect | None = None

    async def open(self) -> None:
        """Make the connection pool and look at the cluster.

        An unreachable cluster stops nobody: rows are spooled until it is there. It is logged.
        Raises `WarehouseUnreachable` where there are no credentials to try it with.
        """
        try:
            self._transport.open()
        except (OSError, ValueError) as error:
            raise WarehouseUnreachable(f"Druid's credentials cannot be read: {error}") from None
        try:
            async with asyncio.timeout(_LOOK_S):
                dialect = await self._dialect()
                enabled = await self._transport.get(Server.BROKER, "/druid/v2/sql/task/enabled")
                slots = await self._tasks.slots()
        except (WarehouseUnreachable, TimeoutError) as error:
            log.warning("Druid does not answer", error=str(error) or f"no answer in {_LOOK_S} s")
            return
        if enabled.status != 200:
            log.warning("Druid has no task engine", status=enabled.status)
        if slots is None:
            limit = self._settings.blind_batches_limit
            log.warning("Druid does not tell of its slots", batches_limit=limit)
        elif slots.capacity < SLOTS_PER_TASK:
            log.warning("Druid has too few slots", capacity=slots.capacity, needed=SLOTS_PER_TASK)
        else:
            log.info("Druid is ready", version=dialect.version, capacity=slots.capacity)

    async def close(self) -> None:
        """End what readers have left, close the connections. Batches' tasks run on."""
        await self._endings.settled()
        await self._transport.close()

    def renew_credentials(self) -> None:
        """Read secrets again. Raises what reading them does (OSError, ValueError): they stay."""
        self._transport.renew()

    # going down

    async def submit(self, submission: Submission) -> Submitted:
        """Start the insert as an MSQ task, once its slots are free (``slot_wait_limit_s``).

        Credentials that Druid does not take, and rights that their user lacks, are
        `WarehouseUnreachable`: the batch is tried again.
        """
        task_id = submission.task_id
        dialect = await self._dialect()
        await self._gate.enter(task_id)
        try:
            text = await self._insert_sql(submission, dialect)
            return await self._tasks.submit(text, self._insert_context(task_id, dialect))
        except SubmissionRefused as refused:
            self._gate.left(task_id)
            self._staging.release(task_id)
            if isinstance(refused, NotPermitted):
                # Rights are given and taken by people. The rows are at no fault: they wait.
                raise WarehouseUnreachable(f"{_DENIED}: {refused}") from refused
            raise
        finally:
            self._gate.sent(task_id)

    def resumed(self, submission: Submission) -> None:
        """See `gateway.seams.Warehouse`."""
        self._staging.resumed(submission.task_id, submission.content)

    async def run_task(self, sql: str) -> str:
        """Start a user's own INSERT or REPLACE as an MSQ task; returns its id for `statuses`.

        The text reaches Druid as it is. It takes its place at the gate like any batch, until
        Druid has said that it is final. Raises `SubmissionRefused`.
        """
        task_id = f"hr-sql-{uuid.uuid4().hex}"
        await self._gate.enter(task_id)
        try:
            await self._tasks.submit(sql, {"sqlQueryId": task_id, "maxNumTasks": SLOTS_PER_TASK})
        except SubmissionRefused:
            self._gate.left(task_id)
            raise
        finally:
            self._gate.sent(task_id)
        return task_id

    async def explain(self, sql: str) -> str:
        """Druid's plan of a SELECT, as text. Raises `QueryRefused`."""
        query_id = f"hr-plan-{uuid.uuid4().hex}"
        result = await self.query(WarehouseQuery(sql=f"EXPLAIN PLAN FOR {sql}", query_id=query_id))
        raw = b"".join([lines.raw async for lines in result.rows()])
        return str(json.loads(raw.splitlines()[0])[0])

    async def _insert_sql(self, submission: Submission, dialect: Dialect) -> str:
        try:
            source = await self._staging.input_source(submission.task_id, submission.content)
            return insert_sql(submission.spec, submission.batch_id, source, dialect)
        except (UnspeakableSql, UnicodeDecodeError) as error:
            raise SubmissionRefused(str(error)) from error

    def _insert_context(self, task_id: str, dialect: Dialect) -> dict[str, Any]:
        return {
            "arrayIngestMode": dialect.array_ingest_mode,
            **_INSERT_CONTEXT,
            **self._settings.insert_context,
            "sqlQueryId": task_id,
            "maxNumTasks": SLOTS_PER_TASK,
        }

    async def statuses(self, task_ids: Collection[str]) -> dict[str, TaskState]:
        """One ``POST …/taskStatus`` for all and their workers; unknown ids are absent.

        A controller that waits for a worker which is gone is shut down, to be FAILED like any.
        """
        if not task_ids:
            return {}
        states = await self._tasks.states([*task_ids, *self._orphans.workers(task_ids)])
        self._gate.observe(task_ids, states)
        now = asyncio.get_running_loop().time()
        for task_id in self._orphans.due(task_ids, states, now):
            log.warning(
                "a task is stuck",
                task_id=task_id,
                worker_failed_s=self._settings.stuck_s,
                effect="it is shut down, and its batch submitted again",
                known="27.0.0 may keep its slot until the Indexer is started anew",
            )
            self._endings.task(task_id)
        return {task_id: states[task_id] for task_id in task_ids if task_id in states}

    async def failure(self, task_id: str) -> TaskFailure:
        """Druid's code and whole message, and the line where it names one."""
        if self._orphans.was_ended(task_id):
            return TaskFailure(code="WorkerLost", message=_WORKER_LOST)
        failure = await self._tasks.failure(task_id)
        return TaskFailure(
            code=failure.code,
            message=without_token(failure.message),
            line=failure.line,
            data_error=failure.data_error,
        )

    async def task_progress(self, task_ids: Collection[str]) -> dict[str, TaskProgress]:
        """Stages and counters of the tasks' reports, live or last, a few at a time."""
        return await self._progress.of(task_ids)

    async def count(self, datasource: str, batch_id: str) -> int:
        """Published rows of a batch, by an MSQ SELECT that takes two slots for a second."""
        return await self._counting.count(datasource, batch_id)

    async def queryable(self, datasource: str, batch_id: str, rows: int) -> bool:
        """Whether a native SELECT sees all rows of the batch now."""
        return await self._schema.loaded_rows(datasource, batch_id) == rows

    async def free_batches(self) -> int:
        """How many batches `submit` would take now without waiting.

        ``floor((capacity - max(used, used by others + 2 * our live tasks)) / 2)``: a batch of
        ours counts from its submission on until Druid says that it is final.
        """
        return await self._gate.free()

    async def release(self, task_id: str) -> None:
        """Take the batch's URL back and forget the task."""
        self._staging.release(task_id)
        self._gate.left(task_id)
        self._orphans.forget(task_id)

    # coming up

    async def datasources(self) -> list[str]:
        """Names of the datasources that the Broker knows, sorted."""
        return await self._schema.datasources()

    async def columns(self, datasource: str) -> tuple[Column, ...] | None:
        """Columns of a datasource; None if the Broker does not know it (yet)."""
        return await self._schema.columns(datasource)

    async def query(self, query: WarehouseQuery) -> Result:
        """Start a SELECT on the engine that it asks for; its text reaches Druid as it is."""
        if query.engine is QueryEngine.TASK:
            return await self._task_queries.start(query)
        return await start_query(self._transport, query, self._endings)

    async def _dialect(self) -> Dialect:
        """The dialect of the cluster; asked again until there is an answer, then kept."""
        if self._known_dialect is None:
            reply = await self._transport.get(Server.BROKER, "/status")
            document = json_object(reply.body)
            if reply.status == 200 and document is not None:
                self._known_dialect = Dialect.of(str(document.get("version")))
            elif reply.status in (401, 403, 404):
                # Druid is there and does not tell: take it for a new one.
                self._known_dialect = Dialect.of("")
            else:
                raise WarehouseUnreachable(f"Druid answered {reply.status} to /status")
        return self._known_dialect
