"""``headrace queries``: queries that run, and their end."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from gateway.client import KsqlResponseError
from gateway.commands.door import DEFAULT_DOOR, Door, told
from gateway.commands.entities import QUERIES, live_query
from gateway.commands.failures import WrongUsage
from gateway.commands.interrupts import run
from gateway.commands.outcomes import REFUSED, tell
from gateway.commands.output import print_documents

app = App(name="queries", help="Queries that run: list them, close them.")


@app.default
@app.command(name="list")
def list_queries(*, door: Door = DEFAULT_DOOR) -> int:
    """List the queries that run, push and pull.

    Without a terminal, fields are separated by tabs: id, type, state, rows delivered, entries
    behind the end of its log, text.
    """
    print_documents(run(_every_query(door)), QUERIES, as_json=door.json)
    return 0


@app.command
def close(
    *ids: Annotated[str, Parameter(help="ids of queries", allow_leading_hyphen=True)],
    door: Door = DEFAULT_DOOR,
) -> int:
    """End queries: their readers get all rows so far, and an end in good form."""
    if not ids:
        raise WrongUsage("say which queries: headrace queries close ID…")
    return tell(run(_closed(door, ids)), "query", as_json=door.json)


async def _every_query(door: Door) -> list[dict[str, Any]]:
    async with door.opened() as client:
        with told(door):
            return [live_query(each) for each in await client.queries()]


async def _closed(door: Door, ids: tuple[str, ...]) -> list[dict[str, Any]]:
    """One that is not there does not stop those after it."""
    outcomes = []
    async with door.opened() as client:
        for query_id in ids:
            outcome = {"id": query_id, "outcome": "closed"}
            try:
                await client.close_query(query_id)
            except KsqlResponseError as refused:
                if refused.status != 400:
                    with told(door):
                        raise
                outcome |= {"outcome": REFUSED, "message": refused.message}
            outcomes.append(outcome)
    return outcomes
