"""The ``Authorization`` header taken apart. Pure.

Everything that can be refused by its form is refused here, before anything costs. Source: RFC 7617
(Basic), RFC 6750 §2.1 (Bearer), RFC 9110 §11.4.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from gateway.access.proofs import Refused

HEADER_MAX = 16 * 1024
"""characters; web tokens that carry groups are long"""
PASSWORD_MAX_BYTES = 1024

_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


@dataclass(frozen=True, slots=True)
class Basic:
    """A name and a password, neither empty, no control characters in them."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, static or a web token."""

    token: str = field(repr=False)

    @property
    def is_web_token(self) -> bool:
        """Whether it has the form of a signed JSON Web Token."""
        return self.token.count(".") == 2


def read(header: str) -> Basic | Bearer:
    """Raises `Refused`."""
    if len(header) > HEADER_MAX:
        raise Refused("the header is too long", how="unknown")
    # Only HTTP's own blanks: Python's would take a token's neighbours for some, too.
    scheme, _, value = header.strip(" \t").partition(" ")
    value = value.strip(" ")
    if scheme.lower() == "basic":
        return _basic(value)
    if scheme.lower() == "bearer":
        if not _BEARER.fullmatch(value):
            raise Refused("not the form of a token", how="bearer")
        return Bearer(value)
    raise Refused("neither Basic nor Bearer", how="unknown")


def _basic(value: str) -> Basic:
    try:
        text = base64.b64decode(value.encode("ascii"), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError):
        # The fault holds what was shown: it must not be the cause that a log prints.
        raise Refused("not base64 of UTF-8", how="basic") from None
    name, colon, password = text.partition(":")
    if not (colon and name and password):
        raise Refused("a name, a colon and a password are needed", how="basic")
    if len(password.encode()) > PASSWORD_MAX_BYTES:
        raise Refused("the password is too long", how="basic")
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
        raise Refused("control characters", how="basic")
    return Basic(name, password)
