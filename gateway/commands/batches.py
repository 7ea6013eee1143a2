"""``headrace batches``: batches that are not committed, and the operator's say over the held."""

from typing import Annotated
from urllib.parse import quote

from cyclopts import App, Parameter

from gateway.commands.failures import Refused, WrongUsage
from gateway.commands.options import DEFAULT_REACH, Reach
from gateway.commands.outcomes import REFUSED, tell
from gateway.commands.output import print_documents
from gateway.commands.port import AdminPort, Document

COLUMNS = (
    "id",
    "stream",
    "datasource",
    "state",
    "attempt",
    "rows",
    "sizeBytes",
    "sealed",
    "taskId",
    "error",
)

Ids = Annotated[str, Parameter(help="ids of batches")]

app = App(name="batches", help="Batches that are not committed: list them, decide on held ones.")


@app.command(name="list")
def list_batches(
    *,
    stream: Annotated[str | None, Parameter(help="only of this stream")] = None,
    state: Annotated[str | None, Parameter(help="only in this state, e.g. HELD")] = None,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """List batches that are not committed, oldest first.

    Without a terminal, fields are separated by tabs: id, stream, datasource, state, attempt, rows,
    bytes, when it was sealed, task id, error.
    """
    found = [
        batch
        for batch in reach.port.ask("GET", "/batches")
        if stream in (None, batch["stream"]) and (state is None or state.upper() == batch["state"])
    ]
    print_documents(found, COLUMNS, as_json=reach.json)
    return 0


@app.command
def retry(*ids: Ids, reach: Reach = DEFAULT_REACH) -> int:
    """Try held or failed batches again, as they are, each as a new task."""
    return _decide("retry", ids, reach)


@app.command
def accept(*ids: Ids, reach: Reach = DEFAULT_REACH) -> int:
    """Take held or failed batches for committed: you have seen their rows in the warehouse."""
    return _decide("accept", ids, reach)


@app.command
def drop(*ids: Ids, reach: Reach = DEFAULT_REACH) -> int:
    """Give held or failed batches up: their rows go to the dead letters."""
    return _decide("drop", ids, reach)


def _decide(verdict: str, ids: tuple[str, ...], reach: Reach) -> int:
    if not ids:
        raise WrongUsage(f"say which batches: headrace batches {verdict} ID…")
    port = reach.port
    return tell((_outcome(port, verdict, each) for each in ids), "batch", as_json=reach.json)


def _outcome(port: AdminPort, verdict: str, batch_id: str) -> Document:
    """One that is refused does not stop those after it."""
    try:
        answer: Document = port.ask("POST", f"/batches/{quote(batch_id, safe='')}/{verdict}")
    except Refused as refusal:
        return {"id": batch_id, "outcome": REFUSED, "message": str(refusal)}
    return answer
