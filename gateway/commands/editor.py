"""A text in the user's own editor.

Law: what the user wrote is never lost: where it cannot be put to use, it stays in its file, and
the failure names the file.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.commands.failures import CommandFailed

_T = TypeVar("_T")


def edited(text: str, use: Callable[[str], _T]) -> _T | None:
    """Let the user change ``text`` and ``use`` it; None if it was left as it was, or emptied."""
    handle, name = tempfile.mkstemp(prefix="headrace-", suffix=".json")
    file = Path(name)
    with os.fdopen(handle, "w") as opened:
        opened.write(text + "\n")
    _run_editor(file)
    try:
        written = file.read_text().strip()
        result = use(written) if written not in ("", text.strip()) else None
    except (CommandFailed, OSError, ValueError) as failure:
        kind = type(failure) if isinstance(failure, CommandFailed) else CommandFailed
        raise kind(f"{failure} (what you wrote is in {file})") from None
    file.unlink()
    return result


def _run_editor(file: Path) -> None:
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        # The user's own command, as every program takes it: it may have arguments.
        status = subprocess.run([*shlex.split(command), str(file)], check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        raise CommandFailed(f"the editor `{command}` cannot be run: {error}; set EDITOR") from None
    if status != 0:
        raise CommandFailed(f"the editor `{command}` ended with {status}; its file is {file}")
