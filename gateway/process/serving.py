"""The gateway as a process: its log, its signals, its exit code."""

import asyncio
import gc
import os
import signal
import sys
from typing import Any

import structlog

from gateway.access.settings import AccessUnusable
from gateway.catalog.errors import CatalogUnreadable
from gateway.config import Config, ConfigError, Reloads
from gateway.config.cautions import cautions
from gateway.config.loading import Loaded, Sources
from gateway.http.server import AddressUnusable
from gateway.ingest.layout import SpoolUnusable
from gateway.process.logs import reload_level, set_up_log
from gateway.process.notify import ServiceManager
from gateway.process.reloading import Reloading
from gateway.runtime.folder import FolderUnusable
from gateway.runtime.running import WorkDied, run
from gateway.seams import WarehouseUnreachable
from gateway.tls import TlsUnusable

_log = structlog.get_logger("headrace")

EX_SOFTWARE = 70
EX_CONFIG = 78
EX_INTERRUPTED = 130


def serve_until_stopped(sources: Sources, loaded: Loaded) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code of the process.

    ``loaded`` is what was read from ``sources``, which are read again on SIGHUP.
    """
    settings = loaded.config
    set_up_log(settings.log)
    for caution in cautions(loaded, tuple(os.environ)):
        _log.warning("a setting that is hardly meant", setting=str(caution))
    try:
        _run(_serve(sources, settings))
    except (
        AddressUnusable,
        TlsUnusable,
        FolderUnusable,
        SpoolUnusable,
        AccessUnusable,
        CatalogUnreadable,
        WarehouseUnreachable,
    ) as error:
        print(f"headrace: cannot start: {error}", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return EX_CONFIG
    except WorkDied as error:
        print(f"headrace: stopped: {error}", file=sys.stderr)
        return EX_SOFTWARE
    except OSError as error:
        where = f"{settings.http.host}:{settings.http.port}"
        print(f"headrace: cannot start: {error} ({where})", file=sys.stderr)
        return 1
    return 0


async def _serve(sources: Sources, settings: Config) -> None:
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    manager, reloads = ServiceManager(), Reloads()
    reloading = Reloading(sources, settings, reloads, manager)
    reloads.add("log", reload_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, asked_to_stop)
    # One that comes before all is open waits until there is somebody to hear of it.
    loop.add_signal_handler(signal.SIGHUP, reloading.ask)

    async def stop() -> None:
        await asked_to_stop.wait()
        manager.stopping()

    works = [loop.create_task(manager.keep_alive())]

    def ready(url: str, admin_url: str | None) -> None:
        _freeze()
        said = f"at {url} (data folder {settings.data_dir}, warehouse {settings.warehouse})"
        said += f", admin port at {admin_url}" if admin_url else ""
        print(f"headrace ready {said}", file=sys.stderr, flush=True)
        works.append(loop.create_task(reloading.run(f"ready {said}")))
        manager.ready(f"ready {said}")

    try:
        await run(settings, stop, ready, reloads)
    finally:
        for work in works:
            work.cancel()
        await asyncio.wait(works)


def _freeze() -> None:
    # What there is now (mostly modules) stays for good. Looking through it all is a pause of
    # some 20 ms in the middle of traffic, each time the collector takes its oldest generation.
    gc.collect()
    gc.freeze()


def _on_signal(asked_to_stop: asyncio.Event) -> None:
    if asked_to_stop.is_set():
        # The spool is consistent at every moment, and what was acked is on disk: nothing is closed.
        os._exit(EX_INTERRUPTED)
    asked_to_stop.set()


def _run(work: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
