"""The files that keys name: whether they can be read, and whether secrets in them are anybody's.

Looked at by who is about to serve (and by `headrace config check`), not whenever a configuration is
read: other commands run as users who may not read them.
"""

from collections.abc import Iterator
from pathlib import Path

from gateway.config.errors import ConfigError, Problem
from gateway.config.explaining import text_of
from gateway.config.keys import Key, all_keys
from gateway.config.loading import Loaded
from gateway.config.secrets import is_open_to_all

WRITTEN = frozenset({"access.audit_file"})
"""files that the gateway writes itself"""
_PRIVATE = ("password_file", "token_file", "tls_key_file")


def require_files(loaded: Loaded) -> None:
    """Raises `ConfigError` where files that are named cannot be read, with all of them."""
    if problems := tuple(unreadable(loaded)):
        raise ConfigError(text_of(problems), problems)


def unreadable(loaded: Loaded) -> Iterator[Problem]:
    """Each file that cannot be read."""
    for key, file in _named(loaded):
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            what = f"{file} cannot be read: {error.strerror}"
            yield Problem(place=loaded.place(key.path), key=key.name, what=what)
    druid = loaded.config.druid
    for name, read in (("password", druid.secret_password), ("token", druid.secret_token)):
        path = ("druid", f"{name}_file")
        try:
            read()
        except ConfigError as error:
            if "cannot be read" not in str(error):  # that was said above
                yield Problem(place=loaded.place(path), key="", what=str(error))


def open_to_all(loaded: Loaded) -> Iterator[Problem]:
    """Each file with a secret that every user of the machine may read."""
    for key, file in _named(loaded):
        if key.path[-1] in _PRIVATE and is_open_to_all(file):
            yield Problem(
                place=loaded.place(key.path),
                key=key.name,
                what=f"every user of this machine may read {file}",
                remedy="Take that right away: chmod o-r",
            )


def _named(loaded: Loaded) -> Iterator[tuple[Key, Path]]:
    for key in all_keys().values():
        if not key.path[-1].endswith("_file") or key.name in WRITTEN or key.variable is None:
            continue
        value = loaded.config
        for part in key.path:
            value = getattr(value, part, None)  # type: ignore[assignment]
        if isinstance(value, Path):
            yield key, value
