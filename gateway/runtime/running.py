"""A gateway that runs: its sockets, its doors, its drain and its end, in one order.

Ports are listened on first and answer from then on (503 while rooms are being opened). A stop
begins with a drain: new streams are refused, open ones get their last acks, push queries end.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from gateway.config import Config, Reloads
from gateway.http.app import make_app
from gateway.http.batches import BatchFetches
from gateway.http.drain import ServerState
from gateway.http.fetches import make_fetch_app
from gateway.http.server import FrontDoor, SideDoor, address, listen_for, serve
from gateway.runtime.certificates import Certificates
from gateway.runtime.folder import DataFolder
from gateway.runtime.readiness import look_at_certificates
from gateway.runtime.rooms import Gateway, admin_app, cancel, opened
from gateway.runtime.traces import batch_traces
from gateway.runtime.wiring import (
    DruidCredentials,
    access_settings,
    fetch_host,
    h2_options,
    http_limits,
    make_warehouse,
)
from gateway.warehouse.druid.warehouse import DruidWarehouse

_log = structlog.get_logger("headrace")


class WorkDied(Exception):
    """The gateway cannot go on as it is."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The sockets that are listened on; None: there is no such port."""

    front: socket.socket
    admin: socket.socket | None
    fetches: socket.socket | None
    """for batches alone"""

    @classmethod
    def listening(cls, config: Config, held: ExitStack) -> "Ports":
        """Listen on them; ``held`` closes them. Raises `AddressUnusable`."""

        def listen(key: str, host: str, port: int) -> socket.socket:
            return held.enter_context(contextlib.closing(listen_for(key, host, port)))

        http, admin, batches_host = config.http, config.admin, fetch_host(config)
        return cls(
            front=listen("http.port", http.host, http.port),
            admin=None if admin.port is None else listen("admin.port", admin.host, admin.port),
            fetches=None
            if batches_host is None
            else listen("druid.fetch_port", batches_host, config.druid.fetch_port),
        )


async def run(
    config: Config,
    stop: Callable[[], Awaitable[None]],
    ready: Callable[[str, str | None], None],
    reloads: Reloads | None = None,
) -> None:
    """Serve until ``stop`` returns, then drain.

    ``ready`` gets the address, and that of the admin port if there is one, once all is open. Both
    answer from the first moment: while rooms are being opened, with 503 and 50302.

    Whoever can take up a new configuration is added to ``reloads`` before ``ready`` is called.
    """
    traces = batch_traces(config.traces)
    with ExitStack() as held:
        ports = Ports.listening(config, held)
        certificates = Certificates(config)
        folder = held.enter_context(contextlib.closing(DataFolder(config.data_dir)))
        house = House(config, ports, certificates, folder)
        house.add_reloads(Reloads() if reloads is None else reloads)
        if traces is not None:
            house.gateway.ingest.on_change.append(traces.changed)
            house.gateway.ingest.on_queryable.append(traces.queryable)
        try:
            await house.serve(stop, ready)
        finally:
            if traces is not None:
                await traces.close()


class House:
    """A gateway's rooms behind its doors. Nothing is open before `serve`."""

    def __init__(
        self, config: Config, ports: Ports, certificates: Certificates, folder: DataFolder
    ) -> None:
        self._config = config
        self._ports = ports
        self._certificates = certificates
        self._credentials = DruidCredentials(config)
        self.warehouse = make_warehouse(
            config, self._fetch_url(), folder.secret(), self._credentials, certificates.druid
        )
        self.gateway = Gateway(config, self.warehouse, config.data_dir / "spool.db")
        self._admin = SideDoor(admin_app(self.gateway), ports.admin, certificates.admin)
        self._fetches = SideDoor(make_fetch_app(self._staged), ports.fetches, certificates.fetches)
        self._front = FrontDoor(
            h2_options(config) if config.http.lanes else None, self.gateway.metrics
        )
        look_at_certificates(self.gateway.metrics, lambda: certificates.expires_at)

    def add_reloads(self, reloads: Reloads) -> None:
        """Whoever of the house can take up a new configuration."""
        access = self.gateway.access
        reloads.add("limits", self.gateway.reload)
        reloads.add("access", lambda new: access.reload_soon(access_settings(new)))
        reloads.add("certificates", self._certificates.reload)
        if isinstance(self.warehouse, DruidWarehouse):
            renew = self.warehouse.renew_credentials
            reloads.add("credentials", self._credentials.reloading(renew))

    async def serve(
        self, stop: Callable[[], Awaitable[None]], ready: Callable[[str, str | None], None]
    ) -> None:
        """See `run`. Raises `WorkDied`."""
        cannot_open = asyncio.Event()
        with self._front.installed():
            serving = asyncio.create_task(self._serve_front(stop, cannot_open))
            self._admin.start()
            self._fetches.start()
            watching = asyncio.create_task(self.gateway.carry_on(self._certificates.watch()))
            try:
                async with opened(self.gateway):
                    self._say_ready(ready)
                    await serving
                    await self._admin.stop()
                    if self.gateway.died.is_set():
                        raise WorkDied(
                            "work in the background died: what was acked is on disk, and a new "
                            "start goes on from there"
                        )
            finally:
                cannot_open.set()
                await asyncio.wait([serving])
                await self._admin.stop()
                await self._fetches.stop()
                await cancel(watching)

    async def _serve_front(
        self, stop: Callable[[], Awaitable[None]], cannot_open: asyncio.Event
    ) -> None:
        async def stopping() -> None:
            if await _first(stop(), cannot_open.wait(), self.gateway.died.wait()) == 0:
                await drain(self.gateway, self._front)

        config = self._config
        at_front = self._staged if self._ports.fetches is None else None
        await serve(
            make_app(self.gateway.doors(at_front), http_limits(config)),
            self._ports.front,
            streams_max=config.http.streams_max,
            connections_max=config.http.connections_max,
            stop=stopping,
            tls=self._certificates.front,
        )

    def _say_ready(self, ready: Callable[[str, str | None], None]) -> None:
        streams = self.gateway.open_streams
        if streams.state is ServerState.STARTING:
            streams.state = ServerState.RUNNING
            ready(address(self._ports.front, self._certificates.front), self._admin.url)

    @property
    def _staged(self) -> BatchFetches | None:
        """The batches that Druid's workers may fetch."""
        return self.warehouse.staged if isinstance(self.warehouse, DruidWarehouse) else None

    def _fetch_url(self) -> str:
        """Where they fetch them from, unless the configuration says otherwise."""
        if self._ports.fetches is None:
            return address(self._ports.front, self._certificates.front)
        return address(self._ports.fetches, self._certificates.fetches)


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
    connections = asyncio.create_task(door.drain(drain_s + 1.0))
    # GOAWAY leaves before the ends: a subscriber must see that they are the gateway's own.
    await asyncio.sleep(0)
    gateway.queries.terminate_all()
    if not await gateway.open_streams.drain(drain_s):
        _log.warning(
            "streams were given up at the end of the grace time, and told so",
            still_open=len(gateway.open_streams),
        )
    await connections
    gateway.open_streams.state = ServerState.STOPPED
    await gateway.console.close()
