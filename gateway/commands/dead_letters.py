"""``headrace dead-letters``: rows that could not be stored, looked at and decided on."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from gateway.commands.editor import edited
from gateway.commands.failures import CommandFailed, WrongUsage
from gateway.commands.options import DEFAULT_REACH, Reach, State
from gateway.commands.outcomes import tell
from gateway.commands.output import complain, print_documents, print_json, print_members
from gateway.commands.port import AdminPort, Document

COLUMNS = ("id", "stream", "channel", "offset", "at", "state", "code", "message", "row")

PAGE = 1000
"""letters in one request"""

Ids = Annotated[int, Parameter(help="numbers of dead letters")]
Limit = Annotated[int, Parameter(help="how many at the most")]
All = Annotated[
    bool, Parameter(name="--all", help="all open ones that match", negative="", show_default=False)
]

app = App(name="dead-letters", help="Rows that could not be stored: look at them, mend them.")


@Parameter(name="*")
@dataclass(frozen=True)
class Match:
    """Whose letters."""

    stream: Annotated[str | None, Parameter(help="only of this stream")] = None
    channel: Annotated[str | None, Parameter(help="only of this channel")] = None

    @property
    def given(self) -> dict[str, str]:
        """What it narrows."""
        names = {"stream": self.stream, "channel": self.channel}
        return {name: value for name, value in names.items() if value is not None}


EVERY = Match()


# ── looking ──────────────────────────────────────────────────────────────────────────────────


@app.command(name="list")
def list_letters(
    *,
    match: Match = EVERY,
    state: State = "open",
    limit: Limit = 100,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """List dead letters, oldest first.

    Without a terminal, fields are separated by tabs: id, stream, channel, offset, time, state,
    code, message, row.
    """
    query = {**match.given, "state": state}
    print_documents(_some(reach.port, query, limit), COLUMNS, as_json=reach.json)
    return 0


@app.command
def show(*ids: Ids, reach: Reach = DEFAULT_REACH) -> int:
    """Show all that is known of dead letters."""
    port = reach.port
    for letter_id in _required(ids, "show"):
        print_members(port.ask("GET", f"/dead-letters/{letter_id}"), as_json=reach.json)
    return 0


@app.command
def export(
    *,
    match: Match = EVERY,
    state: State = "open",
    limit: Annotated[int | None, Parameter(help="how many at the most; default: all")] = None,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """Write dead letters as JSON lines, whole, however many there are."""
    query = {**match.given, "state": state}
    letters = reach.port.lines("GET", "/dead-letters/export", query=query)
    for letter in itertools.islice(letters, limit):
        print_json(letter)
    return 0


def _some(port: AdminPort, query: dict[str, str], limit: int) -> Iterator[Document]:
    """Answers may be shorter than asked for: only an empty one is the end."""
    after = 0
    while limit > 0:
        asked = {**query, "after": after, "limit": min(limit, PAGE)}
        found: list[Document] = port.ask("GET", "/dead-letters", query=asked)
        if not found:
            return
        yield from found
        after = found[-1]["id"]
        limit -= len(found)


# ── deciding ─────────────────────────────────────────────────────────────────────────────────


@app.command
def edit(
    letter_id: Annotated[int, Parameter(help="number of the dead letter")],
    row: Annotated[
        str | None, Parameter(help="the row, or - for standard input", allow_leading_hyphen=True)
    ] = None,
    *,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """Put another row in the place of one that could not be stored; retry it then.

    Without a row, on a terminal, $VISUAL or $EDITOR is opened on the row that there is.
    """
    port = reach.port
    place = f"/dead-letters/{letter_id}"

    def put(text: str) -> Document:
        answer: Document = port.ask("PUT", place, body={"row": text})
        return answer

    if row is not None:
        print_members(put(_standard_input() if row == "-" else row), as_json=reach.json)
        return 0
    if not sys.stdin.isatty():
        raise WrongUsage("say what the row is to be: --row '{…}', or - for standard input")
    letter = edited(port.ask("GET", place)["row"], put)
    if letter is None:
        complain(f"dead letter {letter_id} is as it was")
        return 0
    print_members(letter, as_json=reach.json)
    return 0


@app.command
def retry(*ids: Ids, every: All = False, match: Match = EVERY, reach: Reach = DEFAULT_REACH) -> int:
    """Send rows on their way again: those with these numbers, or all open ones that match."""
    return _decide("retry", ids, every, match, reach)


@app.command
def drop(
    *ids: Ids,
    every: All = False,
    match: Match = EVERY,
    yes: Annotated[
        bool, Parameter(help="with --all: do it", negative="", show_default=False)
    ] = False,
    reach: Reach = DEFAULT_REACH,
) -> int:
    """Give rows up: those with these numbers, or all open ones that match."""
    if every and not yes:
        raise WrongUsage("rows that are dropped are lost: say --yes to drop all that match")
    return _decide("drop", ids, every, match, reach)


def _decide(verdict: str, ids: tuple[int, ...], every: bool, match: Match, reach: Reach) -> int:
    if every == bool(ids):
        raise WrongUsage(f"say which dead letters to {verdict}: their numbers, or --all")
    if match.given and not every:
        raise WrongUsage("--stream and --channel go with --all")
    outcomes = _outcomes(reach.port, verdict, _bodies(ids, match))
    return tell(outcomes, "dead letter", as_json=reach.json)


def _bodies(ids: tuple[int, ...], match: Match) -> list[Document]:
    if not ids:
        return [dict(match.given) or {"all": True}]
    return [{"ids": ids[at : at + PAGE]} for at in range(0, len(ids), PAGE)]


def _outcomes(port: AdminPort, verdict: str, bodies: list[Document]) -> Iterator[Document]:
    for body in bodies:
        yield from port.lines("POST", f"/dead-letters/{verdict}", body=body)


def _required(ids: tuple[int, ...], command: str) -> tuple[int, ...]:
    if not ids:
        raise WrongUsage(f"say which dead letters to {command}: their numbers")
    return ids


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"standard input is not UTF-8: {error}") from None
