"""A folder as a disk holds it: what every process sees, what is safe, and what lies in between.

It owns the consequences of each disk call and what is left of them by a crash. It never knows
SQLite; no file is touched but by `write_out`.

Laws:
1. A process crash loses nothing that was written.
2. A power loss keeps what was synced. Of the changes to a file since its last sync it keeps any
   subset, the last of these possibly torn at a sector; names that were not made durable are kept
   up to some point in the order in which they came and went.
3. Bytes beside the written ones stay as they are ("powersafe overwrite", what SQLite builds on).
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SECTOR_BYTES = 512


class Call(StrEnum):
    """A disk call that changes something."""

    CREATE = "create"
    WRITE = "write"
    TRUNCATE = "truncate"
    SYNC = "sync"
    DELETE = "delete"
    SHARE = "share"
    """growth of the shared memory beside a WAL: nothing of it outlives a crash"""


@dataclass(frozen=True, slots=True)
class Change:
    """One disk call. ``start`` is where a WRITE begins, and the new size of a TRUNCATE.

    ``folder`` says of a CREATE that the file's first sync makes its name durable too, and of a
    DELETE that it is durable at once.
    """

    call: Call
    name: str
    start: int = 0
    raw: bytes = b""
    folder: bool = False

    def sectors(self) -> list["Change"]:
        """A WRITE cut where a torn one can end: at the sectors of the file."""
        cuts = [0, *range(-self.start % SECTOR_BYTES or SECTOR_BYTES, len(self.raw), SECTOR_BYTES)]
        return [
            Change(self.call, self.name, self.start + first, self.raw[first:end])
            for first, end in zip(cuts, [*cuts[1:], len(self.raw)], strict=True)
        ]


@dataclass(slots=True, eq=False)
class _File:
    syncs_folder: bool
    now: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        _apply(change, self.now)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            _apply(change, self.safe)
        self.pending.clear()

    def after_power_loss(self, draw: random.Random) -> bytes:
        left = bytearray(self.safe)
        chance = draw.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        kept = [change for change in self.pending if draw.random() < chance]
        if kept and kept[-1].call is Call.WRITE and draw.random() < 0.5:
            sectors = kept.pop().sectors()
            kept += [sector for sector in sectors if draw.random() < 0.5]
        for change in kept:
            _apply(change, left)
        return bytes(left)


class Medium:
    """A folder that takes one change after the other; ``files`` are safe in it from before."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._names = {
            name: _File(False, bytearray(raw), bytearray(raw))
            for name, raw in (files or {}).items()
        }
        self._safe_names = dict(self._names)
        self._pending_names: list[tuple[str, _File | None]] = []

    def apply(self, change: Change) -> None:
        """The call was made and did what it should."""
        match change.call:
            case Call.CREATE:
                made = _File(change.folder)
                self._names[change.name] = made
                self._pending_names.append((change.name, made))
            case Call.DELETE:
                del self._names[change.name]
                self._pending_names.append((change.name, None))
                if change.folder:
                    self._sync_names()
            case Call.SYNC:
                file = self._names[change.name]
                file.sync()
                if file.syncs_folder:
                    file.syncs_folder = False
                    self._sync_names()
            case Call.WRITE | Call.TRUNCATE:
                self._names[change.name].change(change)
            case Call.SHARE:
                pass

    def after_process_crash(self) -> dict[str, bytes]:
        """Names and contents that the next process finds."""
        return {name: bytes(file.now) for name, file in self._names.items()}

    def after_power_loss(self, draw: random.Random) -> dict[str, bytes]:
        """Names and contents that the next process may find; ``draw`` decides."""
        names = dict(self._safe_names)
        for name, file in self._pending_names[: draw.randint(0, len(self._pending_names))]:
            _rename(names, name, file)
        return {name: file.after_power_loss(draw) for name, file in names.items()}

    def _sync_names(self) -> None:
        for name, file in self._pending_names:
            _rename(self._safe_names, name, file)
        self._pending_names.clear()


def write_out(files: dict[str, bytes], folder: Path) -> None:
    """Make the folder, and the files in it."""
    folder.mkdir()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


def _rename(names: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _apply(change: Change, to: bytearray) -> None:
    if change.call is Call.TRUNCATE:
        del to[change.start :]
    to.extend(bytes(max(0, change.start - len(to))))
    to[change.start : change.start + len(change.raw)] = change.raw
