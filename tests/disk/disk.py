"""A disk under SQLite that counts, records and fails on purpose.

`Disk` registers a VFS of its own as SQLite's default for the length of a ``with``, so that every
connection which code under test opens inside one folder goes through it; files elsewhere are left
to the real VFS. It owns: the count of calls that change something, the fault to be, the record of
what was done. It never knows what the bytes mean.

Laws:
1. Whatever is not made to fail goes to the real VFS, but for syncs: no machine is switched off
   here, so what counts as synced is a matter of the record.
2. A call that fails has done nothing, but for a write on a full disk, which got half of it down.
3. The record holds exactly what was done: a failed sync is none.
"""

import ctypes
import os
from collections.abc import Callable
from ctypes import POINTER, byref, cast
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.disk import abi
from tests.disk.medium import Call, Change


class Fault(StrEnum):
    """What is wrong with the disk."""

    FULL = "full"
    IO_ERROR = "I/O errors"
    READ_ONLY = "read-only"


_CODES = {
    (Fault.FULL, Call.CREATE): abi.CANNOT_OPEN,
    (Fault.FULL, Call.WRITE): abi.FULL,
    (Fault.FULL, Call.SYNC): abi.IO_FSYNC,
    (Fault.FULL, Call.SHARE): abi.IO_SHM_SIZE,
    (Fault.IO_ERROR, Call.CREATE): abi.CANNOT_OPEN,
    (Fault.IO_ERROR, Call.WRITE): abi.IO_WRITE,
    (Fault.IO_ERROR, Call.TRUNCATE): abi.IO_TRUNCATE,
    (Fault.IO_ERROR, Call.SYNC): abi.IO_FSYNC,
    (Fault.IO_ERROR, Call.DELETE): abi.IO_DELETE,
    (Fault.IO_ERROR, Call.SHARE): abi.IO_SHM_SIZE,
    (Fault.READ_ONLY, Call.CREATE): abi.CANNOT_OPEN,
    (Fault.READ_ONLY, Call.WRITE): abi.READ_ONLY,
    (Fault.READ_ONLY, Call.TRUNCATE): abi.READ_ONLY,
    (Fault.READ_ONLY, Call.SYNC): abi.IO_FSYNC,
    (Fault.READ_ONLY, Call.DELETE): abi.IO_DELETE,
    (Fault.READ_ONLY, Call.SHARE): abi.CANNOT_OPEN,
}
"""What SQLite is told; on a full disk files can still be cut and deleted."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault from call number ``first`` on (0 is the first call), of one call or until mended."""

    fault: Fault
    first: int
    lasting: bool = False


@dataclass(slots=True)
class _Opened:
    name: str
    real: Any
    """`abi.Methods` of the real VFS"""


class Disk:
    """The disk under ``folder``. Use it in a ``with``; one at a time."""

    def __init__(self, folder: Path, planned: Planned | None = None) -> None:
        self._folder = str(folder.resolve())
        self.planned = planned
        self.calls = 0
        """calls so far that change something, failed ones too"""
        self.failed = 0
        """of these, by the planned fault"""
        self.changes: list[Change] = []
        """what was done; `tests.disk.medium.Medium` takes it"""
        self._broken: list[Exception] = []
        self._library = abi.library()
        self._real: Any = self._library.sqlite3_vfs_find(None)
        self._opened: dict[int, _Opened] = {}
        self._methods: dict[int, abi.Methods] = {}
        told = self._told
        self._close, self._sync = abi.Close(told(self._on_close)), abi.Sync(told(self._on_sync))
        self._write = abi.Write(told(self._on_write))
        self._truncate = abi.Truncate(told(self._on_truncate))
        self._shm_map = abi.ShmMap(told(self._on_shm_map))
        self._vfs = abi.Vfs.from_buffer_copy(self._real.contents)
        self._vfs.name = b"headrace-test"
        self._vfs.open = abi.Open(told(self._on_open))
        self._vfs.delete = abi.Delete(told(self._on_delete))

    def __enter__(self) -> "Disk":
        assert self._library.sqlite3_vfs_register(byref(self._vfs), 1) == abi.OK
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        assert self._library.sqlite3_vfs_unregister(byref(self._vfs)) == abi.OK
        assert self._library.sqlite3_vfs_register(self._real, 1) == abi.OK
        if self._opened:
            _left_open.append(self)
        if kind is None:
            assert not self._broken, self._broken
            assert not self._opened, f"left open: {[file.name for file in self._opened.values()]}"

    def mend(self) -> None:
        """Nothing fails any more."""
        self.planned = None

    # ── whether a call fails, and its record ──

    def _code(self, call: Call) -> int:
        """Count a call; how it fails, or OK."""
        number = self.calls
        self.calls += 1
        planned = self.planned
        if planned is None or number < planned.first:
            return abi.OK
        code = _CODES.get((planned.fault, call), abi.OK)
        if code and not planned.lasting:
            self.planned = None
        self.failed += bool(code)
        return code

    def _told(self, answer: Callable[..., int]) -> Callable[..., int]:
        """Of an exception ctypes would say that all is well: here it is kept for `__exit__`."""

        def call(*arguments: Any) -> int:
            try:
                return answer(*arguments)
            except Exception as fault:  # noqa: BLE001
                self._broken.append(fault)
                return abi.IO_ERROR

        return call

    def _name(self, path: int | None) -> str | None:
        """The name of a file in the folder; None: a file elsewhere, or one without a name."""
        if not path:
            return None
        folder, _, name = os.fsdecode(ctypes.string_at(path)).rpartition("/")
        return name if folder == self._folder else None

    def _exists(self, name: str) -> bool:
        return os.path.exists(f"{self._folder}/{name}")

    # ── names ──

    def _on_open(self, _: int, path: int | None, file: int, flags: int, out_flags: int) -> int:
        name = self._name(path)
        if name is None or flags & abi.OPEN_DELETE_ON_CLOSE:
            return int(self._real.contents.open(self._real_at, path, file, flags, out_flags))
        is_new = not self._exists(name)
        if is_new and flags & abi.OPEN_CREATE and (code := self._code(Call.CREATE)):
            cast(file, POINTER(abi.File)).contents.methods = None
            return code
        code = int(self._real.contents.open(self._real_at, path, file, flags, out_flags))
        if code == abi.OK:
            self._wrap(name, file)
            if is_new:
                syncs_folder = bool(flags & abi.OPEN_SYNCS_FOLDER)
                self.changes.append(Change(Call.CREATE, name, folder=syncs_folder))
        return code

    def _on_delete(self, _: int, path: int, syncs_folder: int) -> int:
        name = self._name(path)
        if name is None or not self._exists(name):
            return int(self._real.contents.delete(self._real_at, path, syncs_folder))
        if code := self._code(Call.DELETE):
            return code
        code = int(self._real.contents.delete(self._real_at, path, 0))
        if code == abi.OK:
            self.changes.append(Change(Call.DELETE, name, folder=bool(syncs_folder)))
        return code

    @property
    def _real_at(self) -> int | None:
        return cast(self._real, ctypes.c_void_p).value

    # ── open files ──

    def _wrap(self, name: str, file: int) -> None:
        """Put our methods in the place of the real ones of a file that was opened."""
        opened = cast(file, POINTER(abi.File)).contents
        real = opened.methods.contents
        at = ctypes.addressof(real)
        if at not in self._methods:
            ours = abi.Methods.from_buffer_copy(real)
            ours.close, ours.write, ours.truncate = self._close, self._write, self._truncate
            ours.sync, ours.shm_map = self._sync, self._shm_map
            self._methods[at] = ours
        self._opened[file] = _Opened(name, real)
        opened.methods = ctypes.pointer(self._methods[at])

    def _on_close(self, file: int) -> int:
        real = self._opened.pop(file).real
        return int(real.close(file))

    def _on_write(self, file: int, raw: int, size: int, start: int) -> int:
        code = self._code(Call.WRITE)
        if code == abi.FULL:
            size //= 2
        elif code:
            return code
        return self._really_write(file, raw, size, start) or code

    def _really_write(self, file: int, raw: int, size: int, start: int) -> int:
        opened = self._opened[file]
        done = int(opened.real.write(file, raw, size, start))
        if done == abi.OK:
            change = Change(Call.WRITE, opened.name, start, ctypes.string_at(raw, size))
            self.changes.append(change)
        return done

    def _on_truncate(self, file: int, size: int) -> int:
        if code := self._code(Call.TRUNCATE):
            return code
        opened = self._opened[file]
        code = int(opened.real.truncate(file, size))
        if code == abi.OK:
            self.changes.append(Change(Call.TRUNCATE, opened.name, size))
        return code

    def _on_sync(self, file: int, _: int) -> int:
        if code := self._code(Call.SYNC):
            return code
        self.changes.append(Change(Call.SYNC, self._opened[file].name))
        return abi.OK

    def _on_shm_map(self, file: int, region: int, size: int, extend: int, out: int) -> int:
        if extend and (code := self._code(Call.SHARE)):
            cast(out, POINTER(ctypes.c_void_p)).contents.value = None
            return code
        return int(self._opened[file].real.shm_map(file, region, size, extend, out))


_left_open: list[Disk] = []
"""Disks whose files are still open when they should not be: freed, they would take us with them."""
