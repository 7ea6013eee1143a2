"""Where a gateway answers, who asks, and how TLS is set up: what a URL and its options come to.

Owns: the reading of URLs, the ``authorization`` header, the SSL context.
Law: a credential is in no ``repr`` and in no message; the userinfo of a URL is taken out of it.
"""

import base64
import inspect
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or what gives one: it is asked at each request, so a token may be renewed."""

DEFAULT_PORT = 8088
"""Of both schemes: a gateway's own."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port, and the SSL context of a connection; None: it is in the clear."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.tls is None else "https"

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Authorization:
    """The value of the ``authorization`` header; it shows in no ``repr``."""

    def __init__(self, given: str | Callable[[], str | Awaitable[str]] | None) -> None:
        self._given = given

    def __repr__(self) -> str:
        return "<Authorization>"

    async def header(self) -> list[tuple[str, str]]:
        """The header of one request, if there is any."""
        given = self._given
        if given is None:
            return []
        if isinstance(given, str):
            return [("authorization", given)]
        token = given()
        return [("authorization", _bearer(await token if inspect.isawaitable(token) else token))]


def read_address(url: str, tls: Callable[[], ssl.SSLContext]) -> Address:
    """The address in a URL, ``tls`` asked where it is https. Raises ValueError."""
    parts = _split(url)
    assert parts.hostname
    context = tls() if parts.scheme == "https" else None
    return Address(parts.hostname, parts.port or DEFAULT_PORT, context)


def read_authorization(
    url: str, username: str | None, password: str | None, token: Token | None
) -> Authorization:
    """Who asks, by the options or by the URL's userinfo. Raises ValueError where both are given."""
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        if username is not None or password is not None:
            raise ValueError("credentials are in the URL and in username or password: give one")
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if token is not None and username is not None:
        raise ValueError("a bearer token and a username: give one of them")
    if token is not None:
        return Authorization(_bearer(token) if isinstance(token, str) else token)
    if username is None:
        if password is not None:
            raise ValueError("a password needs a username")
        return Authorization(None)
    if ":" in username:
        raise ValueError("a username of Basic authentication holds no colon")
    pair = f"{username}:{password or ''}".encode()
    return Authorization("Basic " + base64.b64encode(pair).decode())


def tls_context(
    given: ssl.SSLContext | None,
    ca_file: str | Path | None,
    cert_file: str | Path | None,
    key_file: str | Path | None,
) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/2 by ALPN, which is set in a context that was given too.

    ``ca_file``: authorities to trust in place of the system's. ``cert_file`` and ``key_file``
    (PEM; None: it is in the former): what this client shows. Raises ValueError, OSError.
    """
    if given is not None and (ca_file or cert_file or key_file):
        raise ValueError("an SSL context and files for one: give one of them")
    if key_file is not None and cert_file is None:
        raise ValueError("key_file needs cert_file")
    context = given or ssl.create_default_context(cafile=ca_file)
    if given is None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        context.load_cert_chain(cert_file, key_file)
    context.set_alpn_protocols(["h2"])
    return context


def refusal_of(session: ssl.SSLObject) -> str | None:
    """Why a TLS session cannot be used; None: it can."""
    if session.selected_alpn_protocol() != "h2":
        chosen = session.selected_alpn_protocol() or "nothing"
        return f"it does not choose HTTP/2 by ALPN, but {chosen}: is this a gateway's port?"
    if session.version() not in ("TLSv1.2", "TLSv1.3"):
        return f"it speaks {session.version()}, and TLS 1.2 is the least that is taken"
    return None


def _bearer(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a bearer token is printable ASCII without spaces")
    return f"Bearer {token}"


def _split(url: str) -> SplitResult:
    """The parts of a URL. The message of its ValueError holds no userinfo."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and parts.port != 0 and not (parts.path.strip("/") or parts.query)
    except ValueError:
        usable = False
    if not usable:
        shown = url.rpartition("@")[2] if "@" in url else url
        raise ValueError(f"expected a URL such as http://127.0.0.1:8088, got {shown!r}")
    return parts
