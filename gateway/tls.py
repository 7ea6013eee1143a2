"""TLS contexts that are made anew from their files while they are in use.

It owns what both directions share: files into contexts with errors that name the key and the
remedy, and the exchange of one context for the next. What a context offers or demands is said by
who makes it. It knows no configuration and no socket.

Laws:
1. Connections that are open keep the context that they began with; new ones get the newest.
2. Files that cannot be used change nothing: what was good stays in use, and the log says so.
3. A context is never altered: a certificate, a key and an authority change together or not at all,
   and sessions that an older context gave out are not resumed past a newer one's checks.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

WATCH_S = 30.0
"""Between two looks at the files: mounted secrets change without a signal."""

_SOON_S = 14 * 24 * 3600.0

log = structlog.get_logger("headrace.tls")


class TlsUnusable(ValueError):
    """The files cannot be used; the text names the key, the file and the remedy."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM files of a certificate (its chain behind it) and of its key.

    ``section`` is where the configuration names them: ``<section>.tls_cert_file``.
    """

    section: str
    certificate: Path
    key: Path

    def load_into(self, context: ssl.SSLContext) -> None:
        """Show this certificate. Raises `TlsUnusable`."""
        certificate_at = f"{self.section}.tls_cert_file: {self.certificate}"
        key_at = f"{self.section}.tls_key_file: {self.key}"
        require_readable(certificate_at, self.certificate)
        require_readable(key_at, self.key)
        self.expires_at()
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except _Encrypted:
            raise TlsUnusable(
                f"{key_at} is encrypted: nobody is there to type its password. Write it without "
                "one (openssl pkey -in … -out …) and let only the gateway read it"
            ) from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsUnusable(
                    f"{key_at} is not the key of {self.certificate}: name the two that were made "
                    "together, the certificate's own first in its file"
                ) from None
            raise TlsUnusable(
                f"{key_at} or its certificate is no usable PEM ({error.reason or error}): give a "
                "PEM certificate chain and its private key"
            ) from None

    def expires_at(self) -> float:
        """When the certificate expires, in seconds since 1970. Raises `TlsUnusable`."""
        where = f"{self.section}.tls_cert_file: {self.certificate}"
        require_readable(where, self.certificate)
        # A tenth of a gateway's start, and only where there is TLS.
        from cryptography import x509

        try:
            own = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except ValueError:
            raise TlsUnusable(
                f"{where} is no PEM certificate: one begins with -----BEGIN CERTIFICATE-----"
            ) from None
        return own.not_valid_after_utc.timestamp()


def trust(context: ssl.SSLContext, key: str, authorities: Path) -> None:
    """Trust the authorities of a PEM file, which ``key`` names. Raises `TlsUnusable`."""
    require_readable(f"{key}: {authorities}", authorities)
    try:
        context.load_verify_locations(cafile=authorities)
    except ssl.SSLError as error:
        raise TlsUnusable(
            f"{key}: {authorities} holds no PEM certificate ({error.reason or error}): give the "
            "certificates of the authorities, one below the other"
        ) from None


def require_readable(where: str, file: Path) -> None:
    """Raises `TlsUnusable` unless the file can be read."""
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise TlsUnusable(
            f"{where} cannot be read: {error.strerror}. Put it there for the gateway's user to "
            "read, or name another"
        ) from None


class LiveContext:
    """A context and the files that it is made of.

    ``make`` makes one anew, and raises `TlsUnusable`; the first call is at once. ``context`` is
    what servers and clients hold for good: each new connection takes the newest behind it.
    """

    def __init__(
        self, name: str, files: Iterable[Path], make: Callable[[], ssl.SSLContext]
    ) -> None:
        self._name = name
        self._files = tuple(files)
        self._make = make
        self._seen = self._look()
        made = make()
        self.context = _Exchanged(made.protocol)
        self.context.newest = made

    def reload(
        self,
        files: Iterable[Path] | None = None,
        make: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Make it anew, from other files if they are given. Raises `TlsUnusable`: as it was."""
        wanted = self._files if files is None else tuple(files)
        seen = _fingerprint(wanted)
        made = (make or self._make)()
        self._files, self._make, self._seen = wanted, make or self._make, seen
        self.context.newest = made
        log.info("certificates are taken up", of=self._name)

    def reload_if_changed(self) -> None:
        """Make it anew if a file is another one than before; what is wrong with it is logged."""
        seen = self._look()
        if seen == self._seen:
            return
        try:
            self.reload()
        except TlsUnusable as error:
            # Said once for each state of the files: half of a change is mended by its other half.
            self._seen = seen
            what = "changed certificates cannot be used, and the old ones stay"
            log.error(what, of=self._name, error=str(error))  # noqa: TRY400 - no fault of ours

    async def watch(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            await asyncio.to_thread(self.reload_if_changed)

    def _look(self) -> tuple[object, ...]:
        return _fingerprint(self._files)


def tell_expiry(name: str, expires_at: float) -> None:
    """Log when a certificate expires; as a warning where that is soon or was."""
    expires = datetime.fromtimestamp(expires_at, UTC)
    left_s = (expires - datetime.now(UTC)).total_seconds()
    tell = log.info if left_s > _SOON_S else log.warning
    tell("certificate", of=name, expires=expires.isoformat(), days_left=int(left_s // 86400))


class _Exchanged(ssl.SSLContext):
    """Hands every new connection to the newest context.

    Servers and clients on the event loop, asyncio's and uvloop's, make their side of a connection
    by this one method.
    """

    newest: ssl.SSLContext

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return self.newest.wrap_bio(*args, **options)


class _Encrypted(Exception):
    """The key needs a password."""


def _no_password() -> str:
    raise _Encrypted


def _fingerprint(files: Iterable[Path]) -> tuple[object, ...]:
    """What changes when a file is written anew, or a link on its way is set to another one."""
    found: list[object] = []
    for file in files:
        found.append(None)
        with contextlib.suppress(OSError):
            stat = file.stat()
            found[-1] = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return tuple(found)
