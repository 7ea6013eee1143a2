"""The composition root: builds every room, starts, drains and stops them, in one order.

It alone constructs and it alone knows all rooms. Start: warehouse, spool, what the spool held,
catalogue, queries, committer, socket. Stop is the reverse, after a drain: new streams are refused,
open ones get their last acks, push queries end, the spool is closed last.
"""

import asyncio
import contextlib
import importlib.metadata
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from quart import Quart

from gateway.catalog.catalog import Catalog
from gateway.catalog.statements import StatementRunner
from gateway.config import Config
from gateway.folder import DataFolder
from gateway.http.admin import AdminDoors, make_admin_app
from gateway.http.app import Doors, make_app
from gateway.http.batches import BatchFetches
from gateway.http.callers import Callers
from gateway.http.direct import DirectInserts
from gateway.http.drain import OpenStreams, ServerState
from gateway.http.recheck import row_check
from gateway.http.server import FrontDoor, SideDoor, address, listen_for, serve
from gateway.ingest.ingest_room import IngestRoom
from gateway.ingest.log import SpooledLog, SpoolLog
from gateway.ingest.task_log import TASK_SOURCE
from gateway.query.options import is_context_property
from gateway.query.service import QueryService
from gateway.seams import OwnStream, Warehouse
from gateway.warehouse.druid.warehouse import DruidWarehouse
from gateway.wiring import (
    admin_limits,
    h2_options,
    http_limits,
    ingest_limits,
    insert_limits,
    make_warehouse,
    pull_limits,
    push_limits,
    tls_files,
)
from protocol.properties import is_known_property

_log = structlog.get_logger("headrace")

KSQL_VERSION = "7.9.0"
"""The version that ``/info`` names: clients choose their dialect by it."""


class WorkDied(Exception):
    """The gateway cannot go on as it is."""


class Gateway:
    """Every room of one gateway, built and not open yet. Use `run`."""

    def __init__(self, config: Config, warehouse: Warehouse, spool: Path) -> None:
        self.config = config
        self.warehouse = warehouse
        self.catalog = Catalog(
            config.data_dir / "catalog.json", warehouse.columns, warehouse.datasources
        )
        check = row_check(self.catalog, config.http.row_limit_bytes)
        self.ingest = IngestRoom.at(spool, warehouse, ingest_limits(config), check)
        self.log = SpoolLog(self.ingest.reader)
        self.spooled_log = SpooledLog(self.ingest.reader)
        self.ingest.on_commit.append(self.log.grew)
        self.ingest.on_chunk.append(self.spooled_log.grew)
        self.open_streams = OpenStreams(ServerState.STARTING)
        self.died = asyncio.Event()
        """set when work in the background has died"""
        self.queries = QueryService(
            warehouse=warehouse,
            sources=self.catalog,
            logs={log.level: log for log in (self.log, self.spooled_log)},
            push_queries_max=config.query.push_queries_max,
            push_limits=push_limits(config),
            evaluated_bytes=config.query.evaluated_bytes,
            own_streams=(OwnStream(source=TASK_SOURCE, log=self.ingest.task_log),),
            pull_limits=pull_limits(config),
        )

    async def carry_on(self, work: Awaitable[None]) -> None:
        """Work in the background. Where it dies the gateway ends: it must not look alive.

        A new start goes on from what is on disk, which is consistent at every moment.
        """
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException as fault:  # noqa: BLE001 - whatever it was
            _log.critical("background work died", exc_info=fault)
            self.died.set()

    async def recover(self) -> None:
        """Take up what the spool held."""
        reader, spool_id = self.ingest.reader, self.ingest.writer.spool_id
        queues = await asyncio.to_thread(reader.queues)
        self.log.recovered(queues, await asyncio.to_thread(reader.log_end), spool_id)
        chunk_end = await asyncio.to_thread(reader.chunk_end)
        self.spooled_log.recovered(queues, chunk_end, spool_id)

    # ── what the routes lead to ──

    def doors(self, batches: BatchFetches | None) -> Doors:
        """The rooms' doors for the front door."""
        direct = DirectInserts(self.catalog, self.ingest.intake, insert_limits(self.config))
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
            own_sources=(TASK_SOURCE,),
        )
        return Doors(
            sources=self.catalog,
            intake=self.ingest.intake,
            queries=self.queries,
            statements=runner.run,
            health=self._health,
            info=self._info,
            open_streams=self.open_streams,
            batches=batches,
            statuses=runner.statuses,
            status=runner.status,
            is_known_property=lambda name: is_known_property(name) or is_context_property(name),
        )

    def admin_doors(self) -> AdminDoors:
        """The rooms' doors for the admin port."""
        return AdminDoors(
            health=self._health,
            require_running=self.open_streams.require_running,
            dead_letters=self.ingest.dead_letters,
            batches=self.ingest.batches,
        )

    def _properties(self) -> dict[str, str]:
        return {"headrace.ack": self.config.ingest.ack.value}

    def _health(self) -> Mapping[str, Any]:
        details = {"metastore": {"isHealthy": True}, **self.ingest.health()}
        return {
            # Held batches and a warehouse that is away are told, and rows are taken all the same.
            "isHealthy": self.ingest.takes_rows,
            "details": details,
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
        await gateway.ingest.open()
        stack.push_async_callback(gateway.ingest.close)
        await gateway.recover()
        stack.push_async_callback(gateway.catalog.close)
        stack.push_async_callback(gateway.queries.close)
        for work in gateway.ingest.works():
            stack.push_async_callback(_cancel, asyncio.create_task(gateway.carry_on(work)))
        yield


async def run(
    config: Config, stop: Callable[[], Awaitable[None]], ready: Callable[[str, str | None], None]
) -> None:
    """Serve until ``stop`` returns, then drain.

    ``ready`` gets the address, and that of the admin port if there is one, once all is open. Both
    answer from the first moment: while rooms are being opened, with 503 and 50302.
    """
    with ExitStack() as held:
        listener = _listen(held, "http.port", config.http.host, config.http.port)
        admin_listener = (
            None
            if config.admin.port is None
            else _listen(held, "admin.port", config.admin.host, config.admin.port)
        )
        folder = held.enter_context(contextlib.closing(DataFolder(config.data_dir)))
        tls = tls_files(config)
        warehouse = make_warehouse(config, address(listener, tls), folder.secret())
        gateway = Gateway(config, warehouse, config.data_dir / "spool.db")
        app = make_app(gateway.doors(getattr(warehouse, "staged", None)), http_limits(config))
        admin = SideDoor(_admin_app(gateway), admin_listener)
        door = FrontDoor(h2_options(config) if config.http.lanes else None)
        cannot_open = asyncio.Event()

        async def stopping() -> None:
            if await _first(stop(), cannot_open.wait(), gateway.died.wait()) == 0:
                await drain(gateway, door)

        with door.installed():
            serving = asyncio.create_task(
                serve(app, listener, streams_max=config.http.streams_max, stop=stopping, tls=tls)
            )
            admin.start()
            try:
                async with opened(gateway):
                    if gateway.open_streams.state is ServerState.STARTING:
                        gateway.open_streams.state = ServerState.RUNNING
                        ready(address(listener, tls), admin.url)
                    await serving
                    await admin.stop()
                    if gateway.died.is_set():
                        raise WorkDied(
                            "work in the background died: what was acked is on disk, and a new "
                            "start goes on from there"
                        )
            finally:
                cannot_open.set()
                await asyncio.wait([serving])
                await admin.stop()


def _listen(held: ExitStack, key: str, host: str, port: int) -> socket.socket:
    return held.enter_context(contextlib.closing(listen_for(key, host, port)))


def _admin_app(gateway: Gateway) -> Quart:
    config = gateway.config
    callers = Callers(config.admin.host, frozenset(config.admin.names))
    return make_admin_app(gateway.admin_doors(), admin_limits(config), callers)


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
    gateway.ingest.committer.hurry()
    gateway.queries.terminate_all()
    connections = asyncio.create_task(door.drain(drain_s + 1.0))
    if not await gateway.open_streams.drain(drain_s):
        _log.warning(
            "streams were given up at the end of the grace time, and told so",
            still_open=len(gateway.open_streams),
        )
    await connections
    gateway.open_streams.state = ServerState.STOPPED


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
