"""``headrace config``: whether a configuration can be used, and which one holds.

Law: nothing secret is printed; a key that holds a secret shows where it comes from only.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.commands.failures import BadConfiguration, WrongUsage
from gateway.commands.output import plain, print_json
from gateway.config.cautions import cautions
from gateway.config.errors import ConfigError, Problem
from gateway.config.explaining import text_of
from gateway.config.files import require_files
from gateway.config.loading import Loaded, Sources
from gateway.config.memory import Memory, in_words, most_memory, there_is
from gateway.config.showing import as_json, as_toml, sample

File = Annotated[Path | None, Parameter(help="TOML file; default: the environment alone")]
Json = Annotated[bool, Parameter(help="print JSON", negative="", show_default=False)]

app = App(name="config", help="The configuration: look at it before a gateway does.")


@app.command
def check(
    file: File = None,
    /,
    *,
    config: Annotated[Path | None, Parameter(help="the same, as `headrace serve` has it")] = None,
    json: Json = False,
) -> int:
    """Say whether a gateway would start with it: exit code 0, or 78 with every problem.

    What is allowed and hardly meant is told as a warning. The environment counts, as in a start.
    """
    try:
        loaded = _read(_one(file, config))
        require_files(loaded)
        _require_contents(loaded)
    except ConfigError as error:
        if json:
            print_json(_report(error.problems, [], None))
        else:
            _complain(error)
        return BadConfiguration.exit_code
    found, memory = cautions(loaded, tuple(os.environ)), most_memory(loaded.config)
    if json:
        print_json(_report((), found, memory))
        return 0
    for caution in found:
        print(f"warning: {plain(str(caution))}", file=sys.stderr)
    said = _counted(len(found))
    print(f"the configuration can be used{said}; {_memory_in_words(memory)}")
    return 0


@app.command
def show(
    file: File = None,
    /,
    *,
    config: Annotated[Path | None, Parameter(help="the same, as `headrace serve` has it")] = None,
    defaults: Annotated[
        bool,
        Parameter(
            help="print a sample file instead: every key, and what it is",
            negative="",
            show_default=False,
        ),
    ] = False,
    memory: Annotated[
        bool,
        Parameter(help="print what the limits add up to instead", negative="", show_default=False),
    ] = False,
    json: Json = False,
) -> int:
    """Print the configuration that holds, as TOML, with the source of each value.

    Secrets are never printed, nor what is secret in a URL.
    """
    if defaults and (memory or json):
        raise WrongUsage("--defaults goes with nothing else")
    if defaults:
        print(sample(), end="")
        return 0
    try:
        loaded = _read(_one(file, config))
    except ConfigError as error:
        _complain(error)
        return BadConfiguration.exit_code
    if memory:
        _print_memory(most_memory(loaded.config), as_json=json)
    elif json:
        print_json(as_json(loaded))
    else:
        print(as_toml(loaded), end="")
    return 0


def _one(file: Path | None, config: Path | None) -> Path | None:
    if file is not None and config is not None:
        raise WrongUsage("name the file once: FILE and --config are the same")
    return file or config


def _read(file: Path | None) -> Loaded:
    return Sources(file, {}, os.environ).read()


def _require_contents(loaded: Loaded) -> None:
    # It loads every room: `show` does without.
    from gateway.commands.contents import unusable

    if problems := tuple(unusable(loaded)):
        raise ConfigError(text_of(problems), problems)


def _report(
    problems: tuple[Problem, ...], found: list[Problem], memory: Memory | None
) -> dict[str, Any]:
    report: dict[str, Any] = {
        "usable": not problems and memory is not None,
        "problems": list(map(_document, problems)),
        "warnings": list(map(_document, found)),
    }
    if memory is not None:
        report["memory"] = _memory_document(memory)
    return report


def _document(problem: Problem) -> dict[str, str]:
    return {
        "place": problem.place,
        "key": problem.key,
        "what": problem.what,
        "remedy": problem.remedy,
    }


def _counted(warnings: int) -> str:
    if not warnings:
        return ""
    return f", with {warnings} warning{'s' if warnings > 1 else ''}"


# ── memory ──


def _memory_in_words(memory: Memory) -> str:
    limit = there_is()
    return (
        f"its limits allow {in_words(memory.fixed_bytes)} of memory and "
        f"{in_words(memory.connection_bytes)} for each connection, of {in_words(limit)}: room for "
        f"{memory.connections(limit)} connections at their very limits"
    )


def _memory_document(memory: Memory) -> dict[str, Any]:
    limit = there_is()
    return {
        "parts_bytes": memory.parts,
        "fixed_bytes": memory.fixed_bytes,
        "connection_bytes": memory.connection_bytes,
        "machine_bytes": limit,
        "connections": memory.connections(limit),
    }


def _print_memory(memory: Memory, *, as_json: bool) -> None:
    if as_json:
        print_json(_memory_document(memory))
        return
    for name, size_bytes in memory.parts.items():
        print(f"{in_words(size_bytes):>12}  {name}")
    print(f"{in_words(memory.fixed_bytes):>12}  together")
    print(f"{in_words(memory.connection_bytes):>12}  more for each connection at its very limits")
    limit = there_is()
    print(f"{in_words(limit):>12}  there are: room for {memory.connections(limit)} of these")


def _complain(error: ConfigError) -> None:
    for line in str(error).splitlines():
        print(f"headrace: {plain(line)}", file=sys.stderr)
