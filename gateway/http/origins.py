"""Pages of other sites: which of them may call the front door, and what browsers are told (CORS).

A browser sends a page's simple requests to anybody, with or without an answer to CORS, and a
statement needs no more than that to take effect. So a request of a page that is neither our own nor
listed is refused before it does anything, whoever else may be asked for credentials or not.
Programs send no ``Origin``. A page is our own where it was loaded from the address that it calls;
one from a name has to be listed, for names can be made to lead here (DNS rebinding). Credentials
that a browser keeps (cookies, Basic, certificates) are never asked for across origins: a page sends
its own Authorization.

Sources: the Fetch standard §3.2 (Origin, CORS protocol).
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from quart import Quart, Response, g, request, websocket

from protocol.errors import Forbidden

EXPOSED = "headrace-next-offset, retry-after, www-authenticate"
ALLOWED_HEADERS = "accept, authorization, content-type"
ALLOWED_METHODS = "GET, POST"
PREFLIGHT_S = 600


@dataclass(frozen=True, slots=True)
class Origins:
    """``listed`` are whole origins, as browsers send them: ``https://page.example:8443``."""

    listed: frozenset[str] = frozenset()

    def require(self, origins: list[str], authority: str) -> str | None:
        """The foreign origin that may call us; None: it is no page, or one of ours.

        Raises `Forbidden`.
        """
        if not origins or (len(origins) == 1 and _is_own_page(origins[0], authority)):
            return None
        if len(origins) == 1 and origins[0] in self.listed:
            return origins[0]
        raise Forbidden(
            f"Pages from {origins[0][:200]} may not use this gateway. To let them, add their "
            "origin to http.cors_origins."
        )


NO_ORIGINS = Origins()
"""Only our own pages."""


def add_origins(app: Quart, origins: Origins) -> None:
    """Look at every request's Origin before anything else, and answer browsers' questions."""

    @app.before_request
    async def look() -> Response | None:
        g.origin = origins.require(request.headers.getlist("origin"), request.host)
        asks = g.origin is not None and request.method == "OPTIONS"
        return _preflight() if asks else None

    if origins.listed:

        @app.after_request
        async def tell(response: Response) -> Response:
            response.headers.add("vary", "origin")
            if (origin := g.get("origin")) is not None:
                response.headers["access-control-allow-origin"] = origin
                response.headers["access-control-expose-headers"] = EXPOSED
            return response


def require_socket_origin(origins: Origins) -> None:
    """The same for the current WebSocket, to which CORS does not apply. Raises `Forbidden`."""
    origins.require(websocket.headers.getlist("origin"), websocket.host)


def _is_own_page(origin: str, authority: str) -> bool:
    return is_same_origin(origin, authority) and is_address(authority)


def is_same_origin(origin: str, authority: str) -> bool:
    """Whether a page of ``origin`` came from the address that it now calls as ``authority``.

    The scheme is not compared: before a proxy that ends TLS it is another. It says nothing of
    names: whoever has one can make it lead here once his page is loaded (`is_address`).
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == authority.lower()


def is_address(authority: str) -> bool:
    """Whether it names an address, or this machine, and no name that may lead anywhere."""
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return host == "localhost" or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _preflight() -> Response:
    response = Response(b"", status=204)
    response.headers["access-control-allow-methods"] = ALLOWED_METHODS
    response.headers["access-control-allow-headers"] = ALLOWED_HEADERS
    response.headers["access-control-max-age"] = str(PREFLIGHT_S)
    return response
