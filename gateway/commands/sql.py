"""``headrace sql``: statements and queries, at a prompt or out of a pipe."""

import sys
from typing import Annotated

from cyclopts import Parameter

from gateway.commands.door import DEFAULT_DOOR, Door, told
from gateway.commands.failures import WrongUsage
from gateway.commands.interrupts import run
from gateway.commands.results import Form, form_of
from gateway.commands.shell.session import Session

SCRIPT_LIMIT_CHARS = 262_144


def sql(
    *,
    csv: Annotated[
        bool, Parameter(help="print queries' rows as CSV", negative="", show_default=False)
    ] = False,
    door: Door = DEFAULT_DOOR,
) -> int:
    """A prompt for statements and queries, with history and completion.

    Statements that come through a pipe are run one by one, up to the first that fails (exit
    code 1).
    """
    form = form_of(as_json=door.json, as_csv=csv)
    if sys.stdin.isatty():
        run(_prompt(door, form))
    else:
        run(_script(door, form, _standard_input()))
    return 0


async def _prompt(door: Door, form: Form) -> None:
    # Loaded for people only.
    from gateway.commands.shell.prompt import converse

    async with door.opened() as client:
        with told(door):
            # Who may not come in is told so before they have typed anything.
            await client.info()
        await converse(client, Session(client, door, form))


async def _script(door: Door, form: Form, text: str) -> None:
    async with door.opened() as client:
        await Session(client, door, form).run(text)


def _standard_input() -> str:
    text = sys.stdin.read(SCRIPT_LIMIT_CHARS + 1)
    if len(text) > SCRIPT_LIMIT_CHARS:
        raise WrongUsage(f"a script has at most {SCRIPT_LIMIT_CHARS} characters: run it in parts")
    return text
