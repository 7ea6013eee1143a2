"""Where refused rows go: a file of JSON lines, or the first few of them to standard error.

Law: a row that an earlier run of the same load has put into the file is not put there again: on a
channel rows that are not acked yet are sent anew, and refused anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson

from gateway.commands.failures import CommandFailed, WrongUsage
from gateway.commands.load.earlier import EarlierRun
from gateway.commands.output import complain

TOLD_MAX = 10


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """``line`` of the input, the gateway's code and words, and the row as it was sent."""

    line: int
    code: int
    message: str
    row: bytes


class Rejected:
    """Takes refused rows. Use it in a ``with``."""

    def __init__(self, file: Path | None, *, goes_on: bool) -> None:
        """``goes_on``: an earlier run has written to the file. Raises `WrongUsage`."""
        self.count = 0
        self._name = file
        self._file: IO[bytes] | None = None
        self._earlier: EarlierRun | None = None
        if file is not None:
            try:
                if goes_on and file.exists():
                    self._earlier = EarlierRun(file)
                self._file = file.open("ab" if goes_on else "wb")
            except OSError as error:
                raise WrongUsage(f"{file} cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._earlier is not None:
            self._earlier.close()
        if self._file is not None:
            self._file.close()
        elif self.count > TOLD_MAX and kind is None:
            complain(f"and {self.count - TOLD_MAX} more rows; name a file for them: --rejected")

    def add(self, rows: Iterable[RejectedRow]) -> None:
        """In the order of the input; on disk's way when this returns. Raises `CommandFailed`."""
        for row in rows:
            self.count += 1
            if self._file is not None:
                self._write(self._file, row)
            elif self.count <= TOLD_MAX:
                complain(f"line {row.line} was refused: {row.message}")
        if self._file is not None:
            self._file.flush()

    def _write(self, file: IO[bytes], row: RejectedRow) -> None:
        text = row.row.decode(errors="replace")
        if self._earlier is not None and self._earlier.has(row.line, text):
            return
        document = {"line": row.line, "code": row.code, "message": row.message, "row": text}
        try:
            file.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            raise CommandFailed(f"{self._name} cannot be written: {error.strerror}") from None
