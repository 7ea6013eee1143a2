"""The rooms of one gateway: built, joined, opened, and what they lead to.

With `running` it is the composition root: they alone construct, and they alone know all rooms.
Start: access, warehouse, spool, what the spool held, catalogue, queries, committer. Stop is the
reverse: the spool is closed last but for the warehouse.
"""

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from quart import Quart

from gateway.access.access_room import AccessRoom
from gateway.catalog.catalog import Catalog
from gateway.catalog.statements import StatementRunner
from gateway.config import Config
from gateway.console.doors import ConsoleDoors
from gateway.console.room import Console
from gateway.http.admin import AdminDoors, make_admin_app
from gateway.http.app import Doors
from gateway.http.batches import BatchFetches
from gateway.http.callers import Callers
from gateway.http.credentials import permit
from gateway.http.direct import DirectInserts
from gateway.http.drain import OpenStreams, ServerState
from gateway.http.measures import counted_statements
from gateway.http.probes import Probes
from gateway.http.recheck import row_check
from gateway.ingest.ingest_room import IngestRoom
from gateway.ingest.log import SpooledLog, SpoolLog
from gateway.ingest.task_log import TASK_SOURCE
from gateway.metrics import Metrics
from gateway.metrics.pulse import beat
from gateway.query.options import is_context_property
from gateway.query.service import QueryService
from gateway.runtime.console_doors import console_doors
from gateway.runtime.readiness import liveness, look_at_gateway, readiness
from gateway.runtime.wiring import (
    access_settings,
    admin_limits,
    ingest_limits,
    insert_limits,
    pull_limits,
    push_limits,
)
from gateway.seams import OwnStream, Warehouse
from gateway.warehouse.druid.warehouse import DruidWarehouse
from protocol.properties import is_known_property

_log = structlog.get_logger("headrace")

KSQL_VERSION = "7.9.0"
"""The version that ``/info`` names: clients choose their dialect by it."""


class Gateway:
    """Every room of one gateway, built and not open yet. Use `running.run`."""

    def __init__(self, config: Config, warehouse: Warehouse, spool: Path) -> None:
        self.config = config
        self.warehouse = warehouse
        self.metrics = Metrics()
        self.access = AccessRoom(access_settings(config))
        self.catalog = Catalog(
            config.data_dir / "catalog.json", warehouse.columns, warehouse.datasources
        )
        check = row_check(self.catalog, config.http.row_limit_bytes)
        self.ingest = IngestRoom.at(spool, warehouse, ingest_limits(config), check, self.metrics)
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
            metrics=self.metrics,
        )
        self.metrics.watch_process()
        look_at_gateway(self.metrics, self.ingest, self.open_streams, config.warehouse)
        self.console = Console(self._console_doors(), self.metrics)

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

    def reload(self, config: Config) -> None:
        """Take up the limits of ingest and queries that can change while they run."""
        self.config = config
        self.ingest.relimit(ingest_limits(config))
        self.queries.relimit(
            config.query.push_queries_max, push_limits(config), pull_limits(config)
        )

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
            statements=counted_statements(self.metrics, runner.run),
            health=self._front_health,
            info=self._info,
            open_streams=self.open_streams,
            batches=batches,
            statuses=runner.statuses,
            status=runner.status,
            is_known_property=lambda name: is_known_property(name) or is_context_property(name),
            access=self.access,
            metrics=self.metrics,
        )

    def admin_doors(self) -> AdminDoors:
        """The rooms' doors for the admin port."""
        return AdminDoors(
            health=self._health,
            require_running=self.open_streams.require_running,
            dead_letters=self.ingest.dead_letters,
            batches=self.ingest.batches,
            access=self.access,
            probes=Probes(
                alive=lambda: liveness(died=self.died.is_set()),
                ready=lambda: readiness(self.ingest, self.open_streams),
                metrics=self.metrics,
            ),
        )

    def _console_doors(self) -> ConsoleDoors:
        return console_doors(
            version=importlib.metadata.version("headrace"),
            warehouse=self.warehouse.name,
            catalog=self.catalog,
            ingest=self.ingest,
            queries=self.queries,
            open_streams=self.open_streams,
            start_query=lambda arguments: self.queries.start(arguments, permit()),
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

    def _front_health(self) -> Mapping[str, Any]:
        """`_health` as the front door tells it: to anybody, so without words where people are
        asked who they are. They name hosts and paths, and the admin port has them."""
        health = self._health()
        if self.access.asks:
            for part in health["details"].values():
                if "state" in part:
                    part["state"] = "the admin port and the log say why"
        return health

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
        await gateway.access.open()
        stack.push_async_callback(gateway.access.close)
        await gateway.warehouse.open()
        stack.push_async_callback(gateway.warehouse.close)
        await gateway.ingest.open()
        stack.push_async_callback(gateway.ingest.close)
        await gateway.recover()
        stack.push_async_callback(gateway.catalog.close)
        stack.push_async_callback(gateway.queries.close)
        for work in (*gateway.ingest.works(), gateway.console.run(), beat(gateway.metrics)):
            stack.push_async_callback(cancel, asyncio.create_task(gateway.carry_on(work)))
        yield


def admin_app(gateway: Gateway) -> Quart:
    """The application at the admin port."""
    config = gateway.config
    callers = Callers(config.admin.host, frozenset(config.admin.names))
    app = make_admin_app(gateway.admin_doors(), admin_limits(config), callers)
    gateway.console.add_to(app)
    return app


async def cancel(task: "asyncio.Task[None]") -> None:
    """Cancel it, and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
