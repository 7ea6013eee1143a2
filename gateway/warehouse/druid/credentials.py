"""What the gateway shows Druid: a user and password, or a bearer token; and a certificate.

Whence they come is not known here: callables read them, each time anew, so that a secret that was
changed in its file is found.
"""

import base64
import ssl
from collections.abc import Callable
from pathlib import Path

from gateway.tls import KeyPair, LiveContext, trust

Authorization = Callable[[], str | None]
"""Reads the value of the header ``Authorization``; None: there is none."""


def nobody() -> str | None:
    """No credentials."""
    return None


def basic(user: str, password: str) -> str:
    """A user and password as RFC 7617 has them."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return f"Basic {pair}"


def bearer(token: str) -> str:
    """A token as RFC 6750 has it. Raises ValueError if it holds what no header may."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("druid.token holds characters that no token has")
    return f"Bearer {token}"


def client_tls(authorities: Path | None, pair: KeyPair | None) -> LiveContext:
    """TLS towards Druid: its certificate and the name in it are checked always.

    ``authorities``: a PEM file instead of the system's. ``pair``: the certificate that Druid is
    shown. Raises `gateway.tls.TlsUnusable`.
    """

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if authorities is None:
            context.load_default_certs()
        else:
            trust(context, "druid.tls_ca_file", authorities)
        if pair is not None:
            pair.load_into(context)
        return context

    named = () if authorities is None else (authorities,)
    own = () if pair is None else (pair.certificate, pair.key)
    return LiveContext("druid", (*named, *own), make)
