"""``headrace query``: one query, its rows printed as they come."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from gateway.client import Client
from gateway.commands.door import DEFAULT_DOOR, Door, told
from gateway.commands.failures import WrongUsage
from gateway.commands.gathered import gathered
from gateway.commands.interrupts import run
from gateway.commands.outlet import Outlet
from gateway.commands.results import Form, form_of, printer
from protocol.errors import BadStatement
from protocol.query_text import PushQueryText, parse_query

SQL_LIMIT_CHARS = 262_144
TIMEOUT = "headrace.query.timeout_ms"

FIRST_ROWS_S = 0.1
"""how long a table waits for the rows that its columns' widths are taken from"""


def query(
    sql: Annotated[
        str, Parameter(help="the query, or - for standard input", allow_leading_hyphen=True)
    ],
    /,
    *,
    csv: Annotated[
        bool, Parameter(help="print CSV with a header", negative="", show_default=False)
    ] = False,
    property: Annotated[
        tuple[str, ...],
        Parameter(
            help="name=value for the query, e.g. auto.offset.reset=earliest; may be repeated",
            negative="",
            show_default=False,
        ),
    ] = (),
    timeout: Annotated[
        float | None,
        Parameter(help="seconds: a pull query fails after them, EMIT CHANGES ends"),
    ] = None,
    door: Door = DEFAULT_DOOR,
) -> int:
    """Print what a query answers: a table on a terminal, tab-separated fields elsewhere.

    With EMIT CHANGES rows are printed as they come, until LIMIT, --timeout or ^C (exit code 130).
    """
    if csv and door.json:
        raise WrongUsage("--csv and --json: say one of them")
    text = _standard_input() if sql == "-" else sql
    properties = dict(map(_pair, property))
    is_push = _is_push(text)
    if timeout is not None and not is_push:
        properties.setdefault(TIMEOUT, str(round(timeout * 1000)))
    deadline_s = timeout if is_push else None
    form = form_of(as_json=door.json, as_csv=csv)
    run(_run(door, text, properties, form, deadline_s))
    return 0


async def _run(
    door: Door, sql: str, properties: Mapping[str, Any], form: Form, deadline_s: float | None
) -> None:
    async with door.opened() as client:
        with told(door):
            await print_result(client, sql, properties, form, deadline_s)


async def print_result(
    client: Client,
    sql: str,
    properties: Mapping[str, Any],
    form: Form,
    deadline_s: float | None = None,
) -> int:
    """Run a query and print its rows; how many there were. Raises the client's errors.

    However it is left, the query is closed. ``deadline_s``: rows are taken for so long.
    """
    count = 0
    async with client.query(sql, properties=properties) as rows:
        with Outlet() as out:
            text = printer(form, rows.columns)
            await out.write(text.begin())
            first_s = FIRST_ROWS_S if form == "table" else 0.0
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(deadline_s),
                    contextlib.aclosing(gathered(rows, first_s=first_s)) as together,
                ):
                    async for some in together:
                        await out.write(text.rows(some))
                        count += len(some)
            await out.write(text.end())
    return count


def _is_push(sql: str) -> bool:
    """Whether it goes on; what cannot be read is the gateway's to refuse."""
    try:
        return isinstance(parse_query(sql), PushQueryText)
    except BadStatement:
        return False


def _pair(text: str) -> tuple[str, str]:
    name, is_there, value = text.partition("=")
    if not is_there or not name:
        raise WrongUsage(f"--property is name=value, not {text!r}")
    return name, value


def _standard_input() -> str:
    text = sys.stdin.read(SQL_LIMIT_CHARS + 1)
    if len(text) > SQL_LIMIT_CHARS:
        raise WrongUsage(f"a query has at most {SQL_LIMIT_CHARS} characters")
    return text
