"""A gateway that runs: its sockets, its doors, its drain and its end, in one order.

Ports are listened on first and answer from then on (503 while rooms are being opened). A stop
begins with a drain: new streams are refused, open ones get their last acks, push queries end.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import structlog

from gateway.config import Config, Reloads
from gateway.http.app import make_app
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
    reloads = Reloads() if reloads is None else reloads
    traces = batch_traces(config.traces)
    with ExitStack() as held:
        listener = _listen(held, "http.port", config.http.host, config.http.port)
        admin_listener = (
            None
            if config.admin.port is None
            else _listen(held, "admin.port", config.admin.host, config.admin.port)
        )
        fetch_listener = _fetch_listener(held, config)
        certificates = Certificates(config)
        tls = certificates.front
        folder = held.enter_context(contextlib.closing(DataFolder(config.data_dir)))
        own_url = (
            address(listener, tls)
            if fetch_listener is None
            else address(fetch_listener, certificates.fetches)
        )
        credentials = DruidCredentials(config)
        warehouse = make_warehouse(
            config, own_url, folder.secret(), credentials, certificates.druid
        )
        gateway = Gateway(config, warehouse, config.data_dir / "spool.db")
        if traces is not None:
            gateway.ingest.on_change.append(traces.changed)
            gateway.ingest.on_queryable.append(traces.queryable)
        reloads.add("limits", gateway.reload)
        reloads.add("access", lambda new: gateway.access.reload_soon(access_settings(new)))
        reloads.add("certificates", certificates.reload)
        staged = None
        if isinstance(warehouse, DruidWarehouse):
            staged = warehouse.staged
            reloads.add("credentials", credentials.reloading(warehouse.renew_credentials))
        at_front = staged if fetch_listener is None else None
        app = make_app(gateway.doors(at_front), http_limits(config))
        admin = SideDoor(admin_app(gateway), admin_listener, certificates.admin)
        fetches = SideDoor(make_fetch_app(staged), fetch_listener, certificates.fetches)
        door = FrontDoor(h2_options(config) if config.http.lanes else None, gateway.metrics)
        look_at_certificates(gateway.metrics, lambda: certificates.expires_at)
        cannot_open = asyncio.Event()

        async def stopping() -> None:
            if await _first(stop(), cannot_open.wait(), gateway.died.wait()) == 0:
                await drain(gateway, door)

        with door.installed():
            serving = asyncio.create_task(
                serve(
                    app,
                    listener,
                    streams_max=config.http.streams_max,
                    connections_max=config.http.connections_max,
                    stop=stopping,
                    tls=tls,
                )
            )
            admin.start()
            fetches.start()
            watching = asyncio.create_task(gateway.carry_on(certificates.watch()))
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
                await fetches.stop()
                await cancel(watching)
                if traces is not None:
                    await traces.close()


def _listen(held: ExitStack, key: str, host: str, port: int) -> socket.socket:
    return held.enter_context(contextlib.closing(listen_for(key, host, port)))


def _fetch_listener(held: ExitStack, config: Config) -> socket.socket | None:
    """Where batches have a listener of their own."""
    host, port = fetch_host(config), config.druid.fetch_port
    return None if host is None else _listen(held, "druid.fetch_port", host, port)


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
