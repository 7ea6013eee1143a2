"""The data folder: one gateway at a time.

The lock is the kernel's (flock), so it goes with its process however that ends; the process id in
the file is there to be read by people.
"""

import fcntl
import os
import secrets
from pathlib import Path


class FolderUnusable(Exception):
    """The data folder cannot be used; the text says why."""


class DataFolder:
    """Holds a folder, made if need be, until it is closed. Raises `FolderUnusable`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Rows lie in it as they came: a folder that is made here is its owner's alone.
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise FolderUnusable(f"the data folder {path} cannot be written: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 64, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise FolderUnusable(
                f"the data folder {path} is held by another gateway (process {holder}): "
                "stop it, or choose another folder with --data-dir"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def secret(self) -> bytes:
        """32 random bytes, made once and kept. Raises `FolderUnusable`."""
        path, made = self.path / "secret", self.path / "secret.new"
        try:
            if not path.exists():
                made.unlink(missing_ok=True)
                file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(file, "wb") as opened:
                    opened.write(secrets.token_bytes(32))
                made.replace(path)
            return path.read_bytes()
        except OSError as error:
            raise FolderUnusable(f"{path} cannot be read or made: {error}") from error

    def close(self) -> None:
        """Let it go."""
        os.close(self._lock)
