"""The command line: ``headrace serve``, and the commands for the operator around it."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from gateway.commands.failures import CommandFailed, WrongUsage
from gateway.commands.output import complain

EX_CONFIG = 78
EX_INTERRUPTED = 130

app = App(
    name="headrace",
    help="A streaming gateway: ksqlDB's protocol in, Apache Druid behind.",
    version=lambda: importlib.metadata.version("headrace"),
)

# Modules of commands are loaded when they are called for; their docstrings are their help.
_COMMANDS = {
    "insert": "insert:insert",
    "query": "query:query",
    "sql": "sql:sql",
    "streams": "streams:streams",
    "tasks": "tasks:tasks",
    "queries": "queries:app",
    "dead-letters": "dead_letters:app",
    "batches": "batches:app",
    "spool": "spool:app",
    "top": "top:top",
    "config": "config:app",
    "access": "access:app",
}
for _name, _place in _COMMANDS.items():
    app.command(f"gateway.commands.{_place}", name=_name)


@app.command
def serve(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file")] = None,
    data_dir: Annotated[Path | None, Parameter(help="spool, catalogue, embedded data")] = None,
    host: Annotated[str | None, Parameter(help="address to listen on; default 127.0.0.1")] = None,
    port: Annotated[int | None, Parameter(help="port; default 8088, 0 picks a free one")] = None,
    warehouse: Annotated[
        Literal["embedded", "druid"] | None, Parameter(help="where rows go")
    ] = None,
    druid_url: Annotated[str | None, Parameter(help="URL of Druid's router")] = None,
    admin_port: Annotated[
        int | Literal["off"] | None, Parameter(help="default 8089, 0 picks a free one")
    ] = None,
) -> int:
    """Run the gateway until SIGTERM or SIGINT; a second signal stops it at once."""
    # The other commands start twice as fast without.
    from gateway.config import ConfigError
    from gateway.config.files import require_files
    from gateway.config.loading import Sources

    flags: dict[str, Any] = {
        "data_dir": data_dir,
        "warehouse": warehouse,
        "http": _given(host=host, port=port),
        "druid": _given(url=druid_url),
        "admin": _given(port=admin_port),
    }
    sources = Sources(config, {name: value for name, value in flags.items() if value}, os.environ)
    try:
        loaded = sources.read()
        require_files(loaded)
    except ConfigError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return EX_CONFIG
    from gateway.process.serving import serve_until_stopped

    status = serve_until_stopped(sources, loaded)
    # All is closed. DuckDB's bindings would only tell of leaks of their own at a common exit.
    sys.stderr.flush()
    os._exit(status)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def main() -> None:
    """Entry point of the ``headrace`` command."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in app.help_flags:
        # The list of all commands has a line of each.
        for name in _COMMANDS:
            app[name]
    try:
        result = app(arguments, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError:
        # It has been printed, with what would have been right.
        return WrongUsage.exit_code
    except CommandFailed as failure:
        if str(failure):
            complain(str(failure))
        return failure.exit_code
    except BrokenPipeError:
        # Who reads has enough (`| head`). What is still buffered must not fail at the exit again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return EX_INTERRUPTED
    return int(result or 0)
