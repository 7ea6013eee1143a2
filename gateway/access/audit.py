"""The audit log: who did what, and who was refused what; one JSON line each.

Laws: no credential is in it, nor a text that a client sent whole; writing it never holds up the
event loop: a bounded number of lines waits for a thread. What finds no room, or no disk, is
counted, told in the log, and told in the file itself as soon as it can be written again.
"""

import json
import threading
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.access.audit_file import AuditFile
from gateway.access.settings import AccessUnusable

LINES_MAX = 10_000
"""that wait for the disk"""
TEXT_MAX = 256
CLOSE_S = 5.0

_log = structlog.get_logger("headrace.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``how`` says by what the principal was known, ``name`` what it was about."""

    action: str
    outcome: str
    principal: str = ""
    how: str = ""
    peer: str = ""
    right: str = ""
    name: str = ""
    reason: str = ""

    def document(self) -> dict[str, str]:
        """Its fields in their order, each of bounded length."""
        fields = ("principal", "how", "peer", "action", "right", "name", "outcome", "reason")
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {"time": time, **{field: _short(getattr(self, field)) for field in fields}}


class AuditLog:
    """Lines go to a file, or without one to the log, if ``to_log`` says so."""

    def __init__(self, path: Path | None = None, lines_max: int = LINES_MAX) -> None:
        self.path = path
        self.to_log = True
        self.lost = 0
        """lines that nobody will read"""
        self._lines_max = lines_max
        self._file: AuditFile | None = None
        self._waiting: deque[bytes] = deque()
        self._untold = 0
        self._changed = threading.Condition()
        self._reopen = self._closing = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Raises `AccessUnusable`."""
        if self.path is not None:
            try:
                self._file = AuditFile(self.path)
            except OSError as error:
                raise AccessUnusable(
                    f"{self.path}: the audit log cannot be written: {error.strerror or error}"
                ) from None
            self._thread = threading.Thread(target=self._write_all, name="audit", daemon=True)
            self._thread.start()

    def record(self, decision: Decision) -> None:
        """Write it, soon. It never waits and never raises."""
        if self._thread is None:
            if self.to_log:
                document = decision.document()
                document.pop("time")
                _log.info("access", **document)
            return
        line = _line(decision)
        # Anybody can be refused as often as he likes: that must not push out what others did.
        is_cheap = decision.action == "authenticate"
        room = self._lines_max // 2 if is_cheap else self._lines_max
        with self._changed:
            if len(self._waiting) >= room:
                self._lose(1)
            else:
                self._waiting.append(line)
                self._changed.notify()

    def reopen(self) -> None:
        """The file was moved away: go on in a new one of the same name."""
        with self._changed:
            self._reopen = True
            self._changed.notify()

    def close(self) -> None:
        """Write what waits; a disk that does not answer is given up. It waits: call it in a
        thread."""
        if self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            _log.error("the end of the audit log is lost: its disk does not answer")
        self._thread = None

    # ── in the thread ──

    def _write_all(self) -> None:
        assert self._file is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._reopen or self._closing)
                lines, self._waiting = self._waiting, deque()
                reopen, self._reopen = self._reopen, False
                closing, untold = self._closing, self._untold
            if reopen:
                self._file.reopen()
            self._write(lines, untold)
            if closing:
                self._file.close()
                return

    def _write(self, lines: deque[bytes], untold: int) -> None:
        assert self._file is not None
        if not lines:
            return
        told = [_line(_gap(untold))] if untold else []
        try:
            self._file.write(b"".join([*told, *lines]))
        except OSError as error:
            with self._changed:
                self._lose(len(lines), str(error.strerror))
        else:
            with self._changed:
                self._untold -= untold

    def _lose(self, lines: int, why: str = "the disk is slower than they come") -> None:
        """Count them; the log is told of the first of a row of them."""
        if not self._untold:
            _log.error("lines of the audit log are lost", file=str(self.path), why=why)
        self.lost += lines
        self._untold += lines


def _gap(lines: int) -> Decision:
    return Decision(action="audit", outcome="lost", reason=f"{lines} lines are missing here")


def _line(decision: Decision) -> bytes:
    # In ASCII: whatever a name holds, it ends no line and does nothing to a terminal.
    return json.dumps(decision.document(), separators=(",", ":")).encode() + b"\n"


def _short(text: str) -> str:
    # A lone surrogate would stop the writer; names from a path may hold some.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
