"""Which content type a request gets: `protocol.framing` applied to its ``Accept``.

Nothing acceptable is a 404, as ksqlDB has it, with a JSON body that names what there is (§1.3).
"""

from quart import request

from protocol.errors import NotFound
from protocol.framing import (
    DOCUMENT_TYPES,
    INSERTS_FRAMINGS,
    QUERY_FRAMINGS,
    QUERY_STREAM_FRAMINGS,
    Framing,
    negotiate,
    negotiate_query,
)


def query_stream_framing() -> Framing:
    """The framing of this request to ``/query-stream``. Raises `NotFound`."""
    return _acceptable(negotiate(_accept(), QUERY_STREAM_FRAMINGS), QUERY_STREAM_FRAMINGS)


def query_framing() -> Framing:
    """The framing of this request to ``/query``. Raises `NotFound`."""
    return _acceptable(negotiate_query(_accept()), QUERY_FRAMINGS)


def inserts_framing() -> Framing:
    """The framing of the acks of this request. Raises `NotFound`."""
    return _acceptable(negotiate(_accept(), INSERTS_FRAMINGS), INSERTS_FRAMINGS)


def require_json_accepted() -> None:
    """An endpoint that answers one document answers JSON. Raises `NotFound`."""
    _acceptable(negotiate(_accept(), DOCUMENT_TYPES), DOCUMENT_TYPES)


def _accept() -> str | None:
    return request.headers.get("accept")


def _acceptable(framing: Framing | None, offered: tuple[Framing, ...]) -> Framing:
    if framing is None:
        raise NotFound(
            f"No acceptable content type: {request.path} offers {', '.join(offered)}, "
            f"and {_accept()} was asked for"
        )
    return framing
