"""What an earlier run of a load has written into its file of refused rows.

Law: it takes no memory: lines of an input come in their order, in that run as in this one, so that
both are gone through side by side.
"""

import os
from pathlib import Path
from typing import Any

import orjson


class EarlierRun:
    """The newest load in the file: each starts over at the first lines of its input."""

    def __init__(self, file: Path) -> None:
        """What a run that was killed has left of its last line is cut off. Raises `OSError`."""
        start, self._end = _newest(file)
        os.truncate(file, self._end)
        self._file = file.open("rb")
        self._file.seek(start)
        self._next = self._read()

    def has(self, line: int, text: str) -> bool:
        """Whether that row of that line is there. Ask in the order of lines."""
        while self._next is not None and self._next[0] < line:
            self._next = self._read()
        return self._next == (line, text)

    def close(self) -> None:
        """May be repeated."""
        self._file.close()

    def _read(self) -> tuple[int, str] | None:
        """Line and text of the next row; None at the end."""
        while self._file.tell() < self._end:
            document = _document(self._file.readline())
            if document is not None:
                return document["line"], str(document.get("row"))
        return None


def _newest(file: Path) -> tuple[int, int]:
    """Where its bytes begin and end."""
    start = end = last_line = 0
    with file.open("rb") as opened:
        for text in opened:
            if not text.endswith(b"\n"):
                break
            document = _document(text)
            if document is not None:
                if document["line"] <= last_line:
                    start = end
                last_line = document["line"]
            end += len(text)
    return start, end


def _document(text: bytes) -> dict[str, Any] | None:
    """None for what no load has written."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    is_ours = isinstance(document, dict) and isinstance(document.get("line"), int)
    return document if is_ours else None
