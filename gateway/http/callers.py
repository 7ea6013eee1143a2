"""Who may talk to the admin port: programs of this machine, and no page of a foreign site.

Whoever runs a browser beside the gateway runs other people's scripts, and those reach the loopback
too. Two checks stop them. ``Origin``: a page may only call the address that it came from. ``Host``:
a foreign name that is made to resolve to this machine (DNS rebinding) gives its page our address
for an origin, but it cannot change the name that the browser asks for. Pure: headers in, refusals
out.

Sources: RFC 9110 §7.2 (Host), the Fetch standard §3.2 (Origin).
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.http.origins import is_same_origin
from protocol.errors import Forbidden, KsqlError

JSON_TYPE = "application/json"

_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - it is compared, not bound


class WrongMediaType(KsqlError):
    """A body that is not announced as JSON: a page may send such a one to anybody unasked."""

    code = 41500


@dataclass(frozen=True, slots=True)
class Callers:
    """``host`` is what the port listens on, ``names`` are further ones that it is known by."""

    host: str
    names: frozenset[str] = frozenset()

    def require(self, authority: str, origin: str | None) -> None:
        """Look at a request's Host and Origin. Raises `Forbidden`."""
        if not self._is_ours(_hostname(authority)):
            raise Forbidden(
                f"The Host header names `{authority}`, which is not this machine. Ask by a "
                "loopback address or by admin.host, or add the name to admin.names."
            )
        if origin is not None and not is_same_origin(origin, authority):
            raise Forbidden(f"Pages from {origin} may not use the admin port of this gateway.")

    def _is_ours(self, name: str) -> bool:
        if name in ("localhost", self.host.lower()) or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # Only names can be made to lead elsewhere: behind a wildcard any address is one of ours.
        return address.is_loopback or self.host in _EVERY_ADDRESS


def require_json(media_type: str, body: bytes) -> None:
    """A body must say that it is JSON. Raises `WrongMediaType`."""
    if media_type != JSON_TYPE and (media_type or body):
        raise WrongMediaType(f"Send {JSON_TYPE}, or no body; this was: {media_type or 'untyped'}")


def _hostname(authority: str) -> str:
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""
