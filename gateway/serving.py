"""The gateway as a process: its log, its signals, its exit code."""

import asyncio
import gc
import logging
import os
import signal
import sys
from typing import Any

import structlog

from gateway.catalog.errors import CatalogUnreadable
from gateway.config import Config
from gateway.folder import FolderUnusable
from gateway.http.server import AddressUnusable
from gateway.ingest.layout import SpoolUnusable
from gateway.runtime import WorkDied, run
from gateway.seams import WarehouseUnreachable

EX_SOFTWARE = 70
EX_INTERRUPTED = 130


def serve_until_stopped(settings: Config) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code of the process."""
    _set_up_log()
    try:
        _run(_serve(settings))
    except (
        AddressUnusable,
        FolderUnusable,
        SpoolUnusable,
        CatalogUnreadable,
        WarehouseUnreachable,
    ) as error:
        print(f"headrace: cannot start: {error}", file=sys.stderr)
        return 1
    except WorkDied as error:
        print(f"headrace: stopped: {error}", file=sys.stderr)
        return EX_SOFTWARE
    except OSError as error:
        where = f"{settings.http.host}:{settings.http.port}"
        print(f"headrace: cannot start: {error} ({where})", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Config) -> None:
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, asked_to_stop)

    async def stop() -> None:
        await asked_to_stop.wait()

    def ready(url: str, admin_url: str | None) -> None:
        # What there is now (mostly modules) stays for good. Looking through it all is a pause of
        # some 20 ms in the middle of traffic, each time the collector takes its oldest generation.
        gc.collect()
        gc.freeze()
        print(
            f"headrace ready at {url} "
            f"(data folder {settings.data_dir}, warehouse {settings.warehouse})"
            + (f", admin port at {admin_url}" if admin_url else ""),
            file=sys.stderr,
            flush=True,
        )

    await run(settings, stop, ready)


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


def _set_up_log() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
