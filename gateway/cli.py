"""The command line: ``headrace serve`` and, later, the tools around it."""

import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from cyclopts import App, Parameter

from gateway.catalog.errors import CatalogUnreadable
from gateway.config import Config, ConfigError, load
from gateway.folder import FolderUnusable
from gateway.ingest.spool import SpoolUnusable
from gateway.runtime import run
from gateway.seams import WarehouseUnreachable

EX_CONFIG = 78

app = App(name="headrace", help="A streaming gateway: ksqlDB's protocol in, Apache Druid behind.")


@app.command
def serve(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file")] = None,
    data_dir: Annotated[Path | None, Parameter(help="spool, catalogue, embedded data")] = None,
    host: Annotated[str | None, Parameter(help="address to listen on; default 127.0.0.1")] = None,
    port: Annotated[int | None, Parameter(help="port; default 8088, 0 picks a free one")] = None,
    warehouse: Annotated[Literal["embedded", "druid"] | None, Parameter(help="where to")] = None,
    druid_url: Annotated[str | None, Parameter(help="URL of Druid's router")] = None,
) -> int:
    """Run the gateway until SIGTERM or SIGINT; a second signal stops it at once."""
    flags: dict[str, Any] = {
        "data_dir": data_dir,
        "warehouse": warehouse,
        "http": _given(host=host, port=port),
        "druid": _given(url=druid_url),
    }
    try:
        settings = load(config, {name: value for name, value in flags.items() if value})
    except ConfigError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return EX_CONFIG
    _set_up_log()
    try:
        _run(_serve(settings))
    except (FolderUnusable, SpoolUnusable, CatalogUnreadable, WarehouseUnreachable) as error:
        print(f"headrace: cannot start: {error}", file=sys.stderr)
        return 1
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

    def ready(url: str) -> None:
        # What there is now (mostly modules) stays for good. Looking through it all is a pause of
        # some 20 ms in the middle of traffic, each time the collector takes its oldest generation.
        gc.collect()
        gc.freeze()
        print(
            f"headrace ready at {url} "
            f"(data folder {settings.data_dir}, warehouse {settings.warehouse})",
            file=sys.stderr,
            flush=True,
        )

    await run(settings, stop, ready)


def _on_signal(asked_to_stop: asyncio.Event) -> None:
    if asked_to_stop.is_set():
        # The spool is consistent at every moment: what was acked is on disk.
        raise SystemExit(130)
    asked_to_stop.set()


def _run(work: Any) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _set_up_log() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Entry point of the ``headrace`` command."""
    sys.exit(app() or 0)
