"""``headrace streams``: what can be inserted into and queried."""

from typing import Annotated, Any

from cyclopts import Parameter

from gateway.commands.door import DEFAULT_DOOR, Door, told
from gateway.commands.entities import COLUMNS, SOURCES, described, source
from gateway.commands.failures import WrongUsage
from gateway.commands.interrupts import run
from gateway.commands.output import print_documents


def streams(
    name: Annotated[str | None, Parameter(help="show the columns of this one")] = None,
    /,
    *,
    door: Door = DEFAULT_DOOR,
) -> int:
    """List streams and tables, or show the columns of one, or of a datasource.

    Without a terminal, fields are separated by tabs: name, type, datasource, format; of columns:
    name, type, and `time` for the time column.
    """
    if name is None:
        print_documents(run(_every_source(door)), SOURCES, as_json=door.json)
    else:
        print_documents(run(_columns(door, name)), COLUMNS, as_json=door.json)
    return 0


async def _every_source(door: Door) -> list[dict[str, Any]]:
    async with door.opened() as client:
        with told(door):
            lists = await client.ksql("LIST STREAMS; LIST TABLES;")
    return [source(each) for one in lists for each in one.get("streams", one.get("tables", ()))]


async def _columns(door: Door, name: str) -> list[dict[str, Any]]:
    async with door.opened() as client:
        try:
            with told(door):
                return described(await client.describe(name))
        except ValueError as error:
            raise WrongUsage(str(error)) from None
