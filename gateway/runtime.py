"""The composition root: builds every room, starts, drains and stops them, in one order.

It alone constructs and it alone knows all rooms. Start: warehouse, spool, what the spool held,
catalogue, queries, committer, socket. Stop is the reverse, after a drain: new streams are refused,
open ones get their last acks, push queries end, the spool is closed last.
"""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from gateway.catalog.catalog import Catalog
from gateway.catalog.statements import StatementRunner
from gateway.config import Config
from gateway.folder import DataFolder
from gateway.http.app import LANE_PATHS, Doors, HttpLimits, make_app
from gateway.http.batches import BatchFetches
from gateway.http.direct import DirectInserts
from gateway.http.drain import OpenStreams, ServerState
from gateway.http.h2core import H2Options
from gateway.http.inserts import InsertLimits
from gateway.http.server import FrontDoor, TlsFiles, address, listen, serve
from gateway.ingest.committer import Committed, Committer, CommitterTimes
from gateway.ingest.intake import IntakeLimits, SpoolIntake
from gateway.ingest.log import SpoolLog
from gateway.ingest.policy import BatchLimits, BatchPolicy
from gateway.ingest.receipts import Receipts
from gateway.ingest.retention import RetentionLimits, keep_within
from gateway.ingest.spool import ChunkRecord, SpoolReader
from gateway.ingest.writer import SpoolWriter
from gateway.query.service import QueryService
from gateway.seams import Warehouse
from gateway.warehouse.druid.transport import DruidUrls
from gateway.warehouse.druid.warehouse import DruidSettings, DruidWarehouse
from gateway.warehouse.embedded import EmbeddedWarehouse
from protocol.properties import is_known_property

_log = structlog.get_logger("headrace")

KSQL_VERSION = "7.9.0"
"""The version that ``/info`` names: clients choose their dialect by it."""


class Gateway:
    """Every room of one gateway, built and not open yet. Use `run`."""

    def __init__(self, config: Config, warehouse: Warehouse, spool: Path) -> None:
        self.config = config
        self.warehouse = warehouse
        self.writer = SpoolWriter(spool)
        self.reader = SpoolReader(spool)
        self.receipts = Receipts()
        self.log = SpoolLog(self.reader)
        self.open_streams = OpenStreams(ServerState.STARTING)
        ingest = config.ingest
        limits = BatchLimits(
            rows_max=ingest.batch_rows_max,
            bytes_max=ingest.batch_bytes_max,
            age_s=config.batch_age_s,
        )
        self.committer = Committer(
            warehouse=warehouse,
            writer=self.writer,
            reader=self.reader,
            receipts=self.receipts,
            policy=BatchPolicy(limits),
            times=CommitterTimes(
                poll_s=config.poll_s, retry_s=ingest.retry_s, retry_max_s=ingest.retry_max_s
            ),
            committed=self._committed,
        )
        self.intake = SpoolIntake(
            self.writer,
            self.receipts,
            IntakeLimits(spool_bytes=ingest.spool_limit_bytes, stall_s=ingest.stall_s),
            self._chunk_added,
        )
        self.catalog = Catalog(
            config.data_dir / "catalog.json", warehouse.columns, warehouse.datasources
        )
        self.queries = QueryService(
            warehouse=warehouse,
            sources=self.catalog,
            log=self.log,
            push_queries_max=config.query.push_queries_max,
        )

    async def recover(self) -> None:
        """Take up what the spool held."""
        queues = await asyncio.to_thread(self.reader.queues)
        self.intake.recovered(queues, await asyncio.to_thread(self.reader.stored_bytes))
        self.log.recovered(queues, await asyncio.to_thread(self.reader.log_end))

    async def keep_within_retention(self) -> None:
        """Drop what is past its retention, until cancelled."""
        limits = RetentionLimits(
            keep_s=self.config.ingest.retention_s, keep_bytes=self.config.ingest.retention_bytes
        )
        await keep_within(limits, self.writer, self.intake.freed)

    def _committed(self, committed: Committed) -> None:
        self.log.grew(committed)

    def _chunk_added(self, chunk: ChunkRecord) -> None:
        self.committer.chunk_added(chunk)

    # ── what the routes lead to ──

    def doors(self, batches: BatchFetches | None) -> Doors:
        """The rooms' doors for the front door."""
        direct = DirectInserts(self.catalog, self.intake, _insert_limits(self.config))
        druid = self.warehouse if isinstance(self.warehouse, DruidWarehouse) else None
        runner = StatementRunner(
            catalog=self.catalog,
            queries=self.queries.live,
            terminate=self.queries.terminate,
            properties=self._properties(),
            insert=direct.insert,
            run_task=druid.run_task if druid else None,
            explain=druid.explain if druid else None,
            task_states=self.warehouse.statuses,
            task_why=self.warehouse.failure,
        )
        return Doors(
            sources=self.catalog,
            intake=self.intake,
            queries=self.queries,
            statements=runner.run,
            health=self._health,
            info=self._info,
            open_streams=self.open_streams,
            batches=batches,
            statuses=runner.statuses,
            status=runner.status,
            is_known_property=is_known_property,
        )

    def _properties(self) -> dict[str, str]:
        return {"headrace.ack": self.config.ingest.ack.value}

    def _health(self) -> Mapping[str, Any]:
        spool = {"isHealthy": self.intake.has_room, "storedBytes": self.intake.stored_bytes}
        held = [batch.id for batch in self.committer.held]
        return {
            "isHealthy": self.intake.has_room,
            "details": {
                "metastore": {"isHealthy": True},
                "spool": spool,
                "batches": {"isHealthy": not held, "held": held},
            },
            "serverState": "TERMINATING" if self.open_streams.draining else self.open_streams.state,
        }

    def _info(self) -> Mapping[str, Any]:
        return {
            "version": KSQL_VERSION,
            "kafkaClusterId": self.warehouse.name,
            "ksqlServiceId": "headrace",
            "serverStatus": "RUNNING",
            "headraceVersion": importlib.metadata.version("headrace"),
        }


@asynccontextmanager
async def opened(gateway: Gateway) -> AsyncIterator[None]:
    """Every room open, what the last run left taken up, and the background work going."""
    async with AsyncExitStack() as stack:
        await gateway.warehouse.open()
        stack.push_async_callback(gateway.warehouse.close)
        await gateway.writer.open()
        stack.push_async_callback(gateway.writer.close)
        await gateway.recover()
        stack.push_async_callback(gateway.catalog.close)
        stack.push_async_callback(gateway.queries.close)
        for work in (gateway.committer.run(), gateway.keep_within_retention()):
            stack.push_async_callback(_cancel, asyncio.create_task(_loudly(work)))
        yield


async def run(
    config: Config, stop: Callable[[], Awaitable[None]], ready: Callable[[str], None]
) -> None:
    """Serve until ``stop`` returns, then drain. ``ready`` gets the address once all is open.

    The socket answers from the first moment: while rooms are being opened, with 503 and 50302.
    """
    listener = listen(config.http.host, config.http.port)
    with contextlib.closing(listener), contextlib.closing(DataFolder(config.data_dir)):
        tls = _tls_files(config)
        warehouse = make_warehouse(config, address(listener, tls))
        gateway = Gateway(config, warehouse, config.data_dir / "spool.db")
        app = make_app(gateway.doors(getattr(warehouse, "staged", None)), _http_limits(config))
        door = FrontDoor(_h2_options(config) if config.http.lanes else None)
        cannot_open = asyncio.Event()

        async def stopping() -> None:
            if await _first(stop(), cannot_open.wait()) == 0:
                await drain(gateway, door)

        with door.installed():
            serving = asyncio.create_task(
                serve(app, listener, streams_max=config.http.streams_max, stop=stopping, tls=tls)
            )
            try:
                async with opened(gateway):
                    if gateway.open_streams.state is ServerState.STARTING:
                        gateway.open_streams.state = ServerState.RUNNING
                        ready(address(listener, tls))
                    await serving
            finally:
                cannot_open.set()
                await asyncio.wait([serving])


async def _first(*works: Awaitable[object]) -> int:
    """Wait for one of them; returns which, and cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(at for at, task in enumerate(tasks) if task.done())
    finally:
        for task in tasks:
            task.cancel()


async def drain(gateway: Gateway, door: FrontDoor) -> None:
    """Tell every peer and every open stream, wait for its last acks, end push queries."""
    drain_s = gateway.config.http.drain_s
    gateway.queries.terminate_all()
    connections = asyncio.create_task(door.drain(drain_s + 1.0))
    if not await gateway.open_streams.drain(drain_s):
        _log.warning(
            "streams were still open at the end of the drain", streams=len(gateway.open_streams)
        )
    await connections
    gateway.open_streams.state = ServerState.STOPPED


def _tls_files(config: Config) -> TlsFiles | None:
    certificate, key = config.http.tls_cert_file, config.http.tls_key_file
    return TlsFiles(certificate, key) if certificate and key else None


def _h2_options(config: Config) -> H2Options:
    http = config.http
    return H2Options(
        lane_paths=LANE_PATHS,
        streams_max=http.streams_max,
        stream_window_bytes=http.stream_window_bytes,
        connection_window_bytes=http.connection_window_bytes,
        overrun_max_bytes=http.overrun_max_bytes,
        ping_s=http.ping_s,
        header_s=http.header_s,
        idle_s=http.idle_s,
    )


def make_warehouse(config: Config, own_url: str) -> Warehouse:
    """The warehouse that the configuration names."""
    if config.warehouse == "embedded":
        return EmbeddedWarehouse(
            config.data_dir / "warehouse.duckdb",
            readers=config.embedded.readers,
            memory_limit=f"{config.embedded.memory_limit_bytes}B",
        )
    return DruidWarehouse(
        DruidSettings(
            urls=DruidUrls.router(config.druid.url),
            fetch_base_url=config.druid.fetch_url or own_url,
            inline_limit_bytes=config.druid.inline_limit_bytes,
        )
    )


def _http_limits(config: Config) -> HttpLimits:
    return HttpLimits(
        body_bytes=config.http.body_limit_bytes,
        overrun_max_bytes=config.http.overrun_max_bytes,
        inserts_over_http1=config.http.inserts_over_http1,
        inserts=_insert_limits(config),
    )


def _insert_limits(config: Config) -> InsertLimits:
    return InsertLimits(
        row_bytes=config.http.row_limit_bytes,
        waiting_bytes=config.http.stream_budget_bytes,
        ack=config.ingest.ack,
    )


async def _loudly(work: Awaitable[None]) -> None:
    """No background task may die in silence."""
    try:
        await work
    except asyncio.CancelledError:
        raise
    except BaseException as fault:
        _log.critical("background work died", exc_info=fault)
        raise


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
