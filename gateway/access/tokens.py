"""Static bearer tokens: a file of ``name:sha256-of-token`` lines.

A token is 256 random bits, so one fast hash keeps it secret: there is nothing to guess it from. It
is looked up by its digest. That look-up does not take constant time and need not: how long it takes
depends on the digest of what was shown, and nobody can choose a token by its digest, so no digest
in the file can be approached step by step, as a token itself could be.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from gateway.access.files import lines
from gateway.access.settings import AccessUnusable

PREFIX = "hrt_"
"""so that scanners for leaked secrets know one when they see it"""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def new_token() -> str:
    """256 random bits that can be used as a token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What stands for a token in the file: SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path | None) -> Mapping[str, str]:
    """Principals' names by digest. A name may have several, so that a token can be replaced while
    the old one still is in use. Raises `AccessUnusable`."""
    names: dict[str, str] = {}
    if path is None:
        return names
    for line in lines(path, "name:sha256-of-token, as `headrace access new-token` writes it"):
        value = line.value.lower()
        if not _DIGEST.fullmatch(value):
            raise AccessUnusable(
                f"{line.place}: not the SHA-256 of a token: 64 hexadecimal digits, as "
                "`headrace access new-token` writes them"
            )
        if value in names:
            raise AccessUnusable(f"{line.place}: the same token stands above: remove one")
        names[value] = line.name
    return names
