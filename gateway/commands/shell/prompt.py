"""The prompt: keys, history, completion. Must never know: what a statement means.

Laws:
1. ^C gives up what is typed, or the query that runs; only ^D and ``\\q`` leave.
2. The history's file is its owner's alone.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from gateway.client import Client
from gateway.commands.failures import CommandFailed
from gateway.commands.output import complain
from gateway.commands.shell.session import Session
from gateway.commands.shell.statements import is_complete
from gateway.commands.shell.vocabulary import Vocabulary

PROMPT, MORE = "headrace> ", "       -> "
WORD = r"[\w.$]+"

HELP = """\
A statement ends with a semicolon and may take several lines.
  SELECT …;                a query in Druid SQL; it ends
  SELECT … EMIT CHANGES;   rows as they come, until ^C
  LIST STREAMS; DESCRIBE name; CREATE STREAM …; DROP STREAM …; LIST QUERIES; TERMINATE id;
  SET 'auto.offset.reset' = 'earliest';   for the queries that follow
  INSERT INTO name (columns) VALUES (…);
Tab completes, ↑ and ↓ and ^R look into the history. ^C gives up a query, ^D or \\q leaves."""


async def converse(client: Client, session: Session) -> None:
    """Until ^D or ``\\q``."""
    vocabulary = Vocabulary()
    keeping = asyncio.create_task(vocabulary.keep(client))
    asking: PromptSession[str] = PromptSession(
        PROMPT,
        multiline=True,
        prompt_continuation=MORE,
        history=_history(),
        completer=_Names(vocabulary),
        complete_while_typing=False,
        key_bindings=_keys(),
    )
    try:
        while await _turn(asking, session, vocabulary):
            pass
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _turn(asking: PromptSession[str], session: Session, vocabulary: Vocabulary) -> bool:
    """One text typed and run; whether there may be another."""
    try:
        text = (await asking.prompt_async()).strip()
    except KeyboardInterrupt:
        return True
    except EOFError:
        return False
    if text.startswith("\\"):
        return _own_command(text)
    try:
        if await _interruptible(session.run(text)):
            vocabulary.refresh()
    except CommandFailed as failure:
        complain(str(failure))
    return True


def _own_command(text: str) -> bool:
    match text.rstrip(";").strip():
        case "\\q" | "\\quit":
            return False
        case "\\help" | "\\h" | "\\?":
            print(HELP)
        case other:
            complain(f"there is no {other}: \\help tells what there is")
    return True


async def _interruptible(running: Awaitable[bool]) -> bool:
    """Run it; ^C cancels it and nothing else."""
    task = asyncio.ensure_future(running)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if task.cancelled():
        print()
        return False
    return task.result()


# ── history ──────────────────────────────────────────────────────────────────────────────────


def history_file() -> Path:
    """Where the XDG base directories put what a program remembers."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "headrace" / "history"


def _history() -> History:
    """In memory where no file can be had: a prompt is worth more than its history."""
    file = history_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        file.chmod(0o600)
    except OSError as error:
        complain(f"{file} cannot be used ({error.strerror}): the history is forgotten at the end")
        return InMemoryHistory()
    return FileHistory(str(file))


# ── keys and completion ──────────────────────────────────────────────────────────────────────


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @Condition
    def ends_here() -> bool:
        from prompt_toolkit.application import get_app

        return is_complete(get_app().current_buffer.text)

    @keys.add("enter", filter=ends_here)
    def _run(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


class _Names(Completer):
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def get_completions(self, document: Document, _: CompleteEvent) -> Iterator[Completion]:
        begun = document.get_word_before_cursor(WORD=False)
        if begun.strip():
            for word in self._vocabulary.completions(begun):
                yield Completion(word, start_position=-len(begun))
