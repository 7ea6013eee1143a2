"""What the files hold that a configuration names: whether a gateway could start with it.

A start reads them room by room and ends at the first that cannot be used; here all are told.
"""

from collections.abc import Callable, Iterator

from gateway.access.settings import AccessUnusable
from gateway.access.tokens import read_tokens
from gateway.access.users import read_users
from gateway.config import Config
from gateway.config.errors import Problem
from gateway.config.loading import Loaded
from gateway.runtime.wiring import admin_tls_files, druid_tls, tls_files
from gateway.tls import TlsUnusable


def unusable(loaded: Loaded) -> Iterator[Problem]:
    """Each file of users, tokens, certificates and keys that a start would end at."""
    access = loaded.config.access
    for key, file, read in (
        ("users_file", access.users_file, read_users),
        ("tokens_file", access.tokens_file, read_tokens),
    ):
        if file is not None:
            try:
                read(file)
            except AccessUnusable as error:
                place = loaded.place(("access", key))
                yield Problem(place=place, key=f"access.{key}", what=str(error))
    for section, make in _CERTIFICATES.items():
        try:
            make(loaded.config)
        except TlsUnusable as error:  # it names its key
            place = loaded.place((section, "tls_cert_file"))
            yield Problem(place=place, key="", what=str(error))


def _front_door(config: Config) -> object:
    files = tls_files(config)
    return files and files.make()


def _admin_port(config: Config) -> object:
    files = admin_tls_files(config)
    return files and files.make()


_CERTIFICATES: dict[str, Callable[[Config], object]] = {
    "http": _front_door,
    "admin": _admin_port,
    "druid": druid_tls,
}
