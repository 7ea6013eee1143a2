"""Users and their passwords: a file of ``name:argon2id-hash`` lines.

An unknown name is checked against a hash too, one that nothing fits, made with the parameters that
some user of the file has: it takes as long as a wrong password, and the same name always as long.
"""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from argon2 import PasswordHasher

from gateway.access.authorization import PASSWORD_MAX_BYTES
from gateway.access.files import lines
from gateway.access.settings import AccessUnusable

MEMORY_MAX_KIB = 256 * 1024
TIME_MAX = 32
LANES_MAX = 64

_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_REMEDY = "write it anew with `headrace access hash-password`"


class BadPassword(ValueError):
    """It cannot be a password; the text says why, without it."""


def hash_password(password: str) -> str:
    """The argon2id hash of a password, with RFC 9106's parameters for 64 MiB. Raises
    `BadPassword`."""
    if not password:
        raise BadPassword("the password is empty")
    if len(password.encode()) > PASSWORD_MAX_BYTES:
        raise BadPassword(f"the password is longer than {PASSWORD_MAX_BYTES} bytes")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in password):
        raise BadPassword("the password has control characters: no Basic header may carry those")
    return PasswordHasher().hash(password)


@dataclass(frozen=True, slots=True)
class Users:
    """Hashes by name, and what stands in for users that do not exist."""

    hashes: dict[str, str] = field(repr=False)
    dummies: tuple[str, ...] = field(repr=False)
    """one for each user, with its parameters: never empty"""
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def hash_of(self, name: str) -> tuple[str, bool]:
        """The hash to check a password against, and whether it is of a user who exists."""
        known = self.hashes.get(name)
        which = int.from_bytes(hmac.digest(self.key, name.encode(), "sha256")[:8])
        dummy = self.dummies[which % len(self.dummies)]
        return (dummy, False) if known is None else (known, True)


def read_users(path: Path) -> Users:
    """Raises `AccessUnusable`, with file and line."""
    hashes: dict[str, str] = {}
    for line in lines(path, "name:argon2id-hash, as `headrace access hash-password` writes it"):
        if line.name in hashes:
            raise AccessUnusable(f"{line.place}: `{line.name}` stands above: remove one")
        hashes[line.name] = _checked(line.place, line.value)
    made = {shape: _dummy(shape) for shape in {_shape(each) for each in hashes.values()}}
    dummies = tuple(made[_shape(each)] for each in hashes.values())
    return Users(hashes, dummies or (_dummy("$argon2id$v=19$m=65536,t=3,p=4$"),))


def _checked(place: str, value: str) -> str:
    found = _HASH.fullmatch(value)
    if not found:
        raise AccessUnusable(f"{place}: not an argon2id hash: {_REMEDY}")
    memory_kib, rounds, lanes = (int(number) for number in found.groups()[:3])
    salt, tag = (_decoded(place, part) for part in found.groups()[3:])
    if not (rounds and lanes and memory_kib >= 8 * lanes and len(salt) >= 8 and len(tag) >= 16):
        raise AccessUnusable(f"{place}: no argon2id hash has these parameters: {_REMEDY}")
    if memory_kib > MEMORY_MAX_KIB or rounds > TIME_MAX or lanes > LANES_MAX:
        raise AccessUnusable(
            f"{place}: the hash costs too much to check: at most m={MEMORY_MAX_KIB}, t={TIME_MAX}, "
            f"p={LANES_MAX}: {_REMEDY}"
        )
    return value


def _decoded(place: str, part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), validate=True)
    except ValueError:
        data = b""
    # argon2 takes the one spelling of it only.
    if _encoded(data) != part:
        raise AccessUnusable(f"{place}: a broken argon2id hash: {_REMEDY}")
    return data


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _shape(value: str) -> str:
    """A hash without its salt and tag, the last ``$`` included."""
    return value[: value.index("p=")] + value[value.index("p=") :].split("$")[0] + "$"


def _dummy(shape: str) -> str:
    """A hash of that shape which no password has: its tag is random, not computed."""
    salt, tag = secrets.token_bytes(16), secrets.token_bytes(32)
    return shape + f"{_encoded(salt)}${_encoded(tag)}"
