"""Who a command speaks for, and whom it trusts: credentials and TLS of every connection it makes.

Law: no secret is on a command line, in a message or in a ``repr``: it comes from the environment,
from a file, or from a person at a terminal.
"""

import base64
import functools
import os
import signal
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.commands.failures import Interrupted, WrongUsage

PASSWORD, TOKEN = "HEADRACE_PASSWORD", "HEADRACE_TOKEN"


@Parameter(name="*", group="Which gateway, and as whom")
@dataclass(frozen=True)
class Who:
    """Credentials and certificates."""

    user: Annotated[
        str | None,
        Parameter(
            help="user name; the password is in HEADRACE_PASSWORD or the file that "
            "HEADRACE_PASSWORD_FILE names, or is asked for on a terminal. A bearer token is in "
            "HEADRACE_TOKEN or HEADRACE_TOKEN_FILE",
            env_var="HEADRACE_USER",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Parameter(
            help="PEM of the authorities to trust, not the system's", env_var="HEADRACE_CA_FILE"
        ),
    ] = None
    cert_file: Annotated[
        Path | None,
        Parameter(help="PEM of a client certificate to show", env_var="HEADRACE_CERT_FILE"),
    ] = None
    key_file: Annotated[
        Path | None,
        Parameter(help="PEM of its key, where it is not in there", env_var="HEADRACE_KEY_FILE"),
    ] = None

    @property
    def password(self) -> str | None:
        """The user's; None without a user. Raises `WrongUsage` where there is none to be had."""
        return None if self.user is None else _password(self.user)

    @property
    def token(self) -> str | None:
        """The bearer token, if there is one and no user was named."""
        return _secret(TOKEN) if self.user is None else None

    @property
    def authorization(self) -> str | None:
        """The value of the header."""
        if self.user is not None:
            pair = f"{self.user}:{self.password}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        token = self.token
        return None if token is None else f"Bearer {token}"

    @property
    def tls(self) -> ssl.SSLContext:
        """For a connection that wants TLS. Raises `WrongUsage` for files that are none."""
        if self.key_file is not None and self.cert_file is None:
            raise WrongUsage("--key-file goes with --cert-file")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = [self.ca_file, self.cert_file, self.key_file]
            named = ", ".join(str(file) for file in files if file is not None)
            raise WrongUsage(f"{named}: cannot be used for TLS: {error}") from None
        return context


NOBODY = Who()


def unknown_caller(status: int, message: str, url: str, who: Who = NOBODY) -> str:
    """What to say where a gateway does not know who asks (401), or does not let them (403)."""
    if status == 403:
        return message
    said = message.rstrip(".")
    if who.user is not None:
        return (
            f"{url} does not know user {who.user} with this password ({said}): look at --user, and "
            f"at {PASSWORD} or {PASSWORD}_FILE if they are set"
        )
    if who.token is not None:
        return f"{url} does not take this token ({said}): look at {TOKEN} or {TOKEN}_FILE"
    return f"{url} asks who you are ({said}): say --user, or set {TOKEN}"


def without_userinfo(url: str) -> str:
    """A URL as it may be shown: credentials may be in it."""
    scheme, is_there, rest = url.partition("://")
    place, *path = rest.split("/", 1)
    return scheme + is_there + "/".join([place.rpartition("@")[2], *path])


@functools.cache
def _password(user: str) -> str:
    """Asked for once, however many connections want it."""
    found = _secret(PASSWORD)
    if found is not None:
        return found
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise WrongUsage(f"the password of {user} is wanted: {PASSWORD} or {PASSWORD}_FILE")
    return _asked(f"password of {user}: ")


def _asked(prompt: str) -> str:
    """Raises `Interrupted`: an event loop only takes notes of signals, and would wait as long."""
    import getpass

    def leave(number: int, _: object) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, leave) for number in numbers]
    try:
        return getpass.getpass(prompt)
    except Interrupted:
        print(file=sys.stderr)
        raise
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _secret(name: str) -> str | None:
    """From the environment or the file that it names; a newline at the file's end is not part."""
    found, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if found is not None and file is not None:
        raise WrongUsage(f"{name} and {name}_FILE are both set: set one of them")
    if file is None:
        return found
    try:
        return Path(file).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{name}_FILE: {file} cannot be read: {error}") from None
