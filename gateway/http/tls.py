"""The gateway's own side of TLS: what its ports offer, and whom they ask for a certificate.

TLS 1.2 or newer with forward secrecy, HTTP/2 and HTTP/1.1 by ALPN. A port may ask for client
certificates (mTLS): one that is shown must be good whether it had to be shown or not. It knows
nothing of principals: the verified certificate goes to the application as it is.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.tls import KeyPair, LiveContext, TlsUnusable, tell_expiry, trust

HANDSHAKE_S = 10.0
"""For a TLS handshake; a peer that takes longer is hung up on."""

ALPN = ("h2", "http/1.1")
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""
_DEMANDS = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}

ClientAuth = Literal["off", "optional", "required"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a port is configured with: PEM files, and whom it asks.

    ``section`` of the configuration has them. ``client_ca``: the authorities whose client
    certificates are taken, where ``client_auth`` is not off.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_auth: ClientAuth = "off"
    section: str = "http"

    @property
    def pair(self) -> KeyPair:
        """The certificate and its key."""
        return KeyPair(self.section, self.certificate, self.key)

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        ca = () if self.client_ca is None else (self.client_ca,)
        return (self.certificate, self.key, *ca)

    def make(self) -> ssl.SSLContext:
        """A context of what is in the files now. Raises `TlsUnusable`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(list(ALPN))
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        self.pair.load_into(context)
        if self.client_auth != "off":
            if self.client_ca is None:
                raise TlsUnusable(
                    f"{self.section}.tls_client_auth needs {self.section}.tls_client_ca_file: "
                    "whose certificates are taken"
                )
            trust(context, f"{self.section}.tls_client_ca_file", self.client_ca)
        context.verify_mode = _DEMANDS[self.client_auth]
        return context


class ServerTls:
    """The TLS of one port (or of several that show the same certificate), kept up to date.

    ``expires_at``: when the certificate that new connections are shown expires, in seconds since
    1970. Raises `TlsUnusable` if the files cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.expires_at = 0.0
        self._files = files
        self._live = LiveContext(files.section, files.files, lambda: self._made(files))

    @property
    def context(self) -> ssl.SSLContext:
        """For the server to hold for good."""
        return self._live.context

    @property
    def client_auth(self) -> ClientAuth:
        """Whether clients are asked for a certificate."""
        return self._files.client_auth

    def reload(self, files: TlsFiles | None = None) -> None:
        """Read the files again, or others. Raises `TlsUnusable`, and goes on with what it had."""
        wanted = files or self._files
        self._live.reload(wanted.files, lambda: self._made(wanted))
        self._files = wanted

    def reload_if_changed(self) -> None:
        """The same where a file has changed; one that is bad is logged, and changes nothing."""
        self._live.reload_if_changed()

    async def watch(self) -> None:
        """Notice changed files, until cancelled."""
        await self._live.watch()

    def _made(self, files: TlsFiles) -> ssl.SSLContext:
        context = files.make()
        self.expires_at = files.pair.expires_at()
        tell_expiry(files.section, self.expires_at)
        return context
