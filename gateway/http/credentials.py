"""Who a request comes from: its credentials, and the permit that the access room gives for them.

Asked before anything else of a request is looked at: its body, its HTTP version, whether rooms are
open, whether there is such a path at all. What is open to all is told by its route, not by the path
as it was written. Where nobody is asked (``access`` is None) this costs an attribute.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from quart import Request, Websocket, g, request, websocket

from gateway.seams import UNASKED, Access, Credentials, Permit, Right
from protocol.errors import BadRequest

CERTIFICATE_KEY = "headrace.certificate"
"""In the ASGI scope's ``state``: the DER of the client certificate that TLS has verified; absent
where none was shown."""

OPEN_TO_ALL = frozenset(
    {
        "/healthcheck",
        "/v1/metadata",
        "/v1/metadata/id",
        "/chc/live",
        "/chc/ready",
        "/livez",
        "/readyz",
        "/batches/<token>",  # The token is a secret of its own.
    }
)
"""Routes that need no credentials: ksqlDB's own (protocol notes §2.3), and probes."""

TOKEN_PARAMETER = "access_token"  # noqa: S105 - the name of a parameter (RFC 6750 §2.3)
"""A browser's WebSocket has no headers of its own: its bearer token may stand in the URL."""


def permit() -> Permit:
    """What the current request may do, once `ask` has looked at it."""
    found: Permit = g.permit
    return found


async def ask(access: Access | None, right: Right | None = None) -> None:
    """Find out who the current request comes from, and that it has ``right``.

    Raises `protocol.errors.Unauthorized`, `protocol.errors.Forbidden`.
    """
    g.permit = UNASKED
    if access is None or _is_open_to_all():
        return
    given = await access.permit(credentials_of(request))
    if right is not None:
        given.require(right)
    g.permit = given
    _name_in_log(given)


async def ask_socket(access: Access | None) -> Permit:
    """As `ask`, for the current WebSocket."""
    if access is None:
        return UNASKED
    given = await access.permit(credentials_of(websocket, websocket.args.getlist(TOKEN_PARAMETER)))
    _name_in_log(given)
    return given


def credentials_of(given: Request | Websocket, tokens: Iterable[str] = ()) -> Credentials:
    """What it shows. Raises `BadRequest` where it shows two things for one."""
    shown = given.headers.getlist("authorization")
    shown += (f"Bearer {token}" for token in tokens)
    if len(shown) > 1:
        raise BadRequest("There is more than one Authorization: send one")
    state: Mapping[str, Any] = given.scope.get("state") or {}
    client = given.scope.get("client")
    return Credentials(
        authorization=shown[0] if shown else None,
        certificate=state.get(CERTIFICATE_KEY),
        peer=str(client[0]) if client else "",
    )


def _is_open_to_all() -> bool:
    rule = request.url_rule
    return rule is not None and rule.rule in OPEN_TO_ALL


def _name_in_log(given: Permit) -> None:
    """What the request leads to logs says who asked. Each request has a context of its own, that of
    its task: no other sees it, of the same connection either."""
    if given.principal.shown != UNASKED.principal.shown:
        structlog.contextvars.bind_contextvars(principal=given.principal.name)
