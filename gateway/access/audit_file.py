"""The audit log's file: appended to, never through a link, for its owner's eyes.

It may be moved away at any time; `reopen` goes on in a new one. A line that a full disk cut short
is ended before the next begins.
"""

import os
import stat
from pathlib import Path

_FLAGS = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # O_NONBLOCK: a pipe of that name must not hold up the start


class AuditFile:
    """Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _opened(path)
        self._is_torn = False

    def write(self, data: bytes) -> None:
        """Append whole lines. Raises `OSError`; part of them may be written then."""
        view = memoryview(b"\n" + data if self._is_torn else data)
        while view:
            self._is_torn = True
            view = view[os.write(self._file, view) :]
        self._is_torn = False

    def reopen(self) -> None:
        """Go on in the file that has the name now; where there can be none, in the old one."""
        try:
            opened = _opened(self._path)
        except OSError:
            return
        os.close(self._file)
        self._file, self._is_torn = opened, False

    def close(self) -> None:
        """Let it go."""
        os.close(self._file)


def _opened(path: Path) -> int:
    file = os.open(path, _FLAGS, 0o600)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise OSError(f"{path} is not a file")
