"""What a refusal by Druid says, in every shape that its eras gave it.

Pure. ``error`` is a discriminator and never a message; decisions are made on ``category`` and the
HTTP status, not on wording (Druid's ``DruidException``, 27 and newer; ``QueryException`` before).
"""

import re
from dataclasses import dataclass, field
from typing import Any

import orjson

_TAG = re.compile(r"<[^>]*>")
_MESSAGE_LIMIT = 4000

_LEGACY_CATEGORIES = {
    "SQL parse failed": "INVALID_INPUT",
    "Plan validation failed": "INVALID_INPUT",
    "Unsupported operation": "UNSUPPORTED",
    "SQL query is unsupported": "UNSUPPORTED",
    "Query timeout": "TIMEOUT",
    "Query cancelled": "CANCELED",
    "Resource limit exceeded": "RUNTIME_FAILURE",
    "Query capacity exceeded": "CAPACITY_EXCEEDED",
    "Unauthorized": "FORBIDDEN",
    "Unauthorized request.": "FORBIDDEN",
    "Unknown exception": "UNCATEGORIZED",
}

_STATUS_CATEGORIES = {
    400: "INVALID_INPUT",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    429: "CAPACITY_EXCEEDED",
    501: "UNSUPPORTED",
}


@dataclass(frozen=True, slots=True)
class DruidError:
    """A refusal.

    ``category`` is DruidException's word, ``""`` where the reply carries no meaning of Druid's
    own (a proxy's page, a servlet container's fault). ``message`` is for people.
    """

    status: int
    category: str
    message: str
    code: str = ""
    context: dict[str, Any] = field(default_factory=dict)


def druid_error(status: int, body: bytes) -> DruidError:
    """Read a non-2xx reply: task wrapper, bare object, 24-era, legacy-wrapped, HTML or text."""
    document = json_object(body)
    if document is None:
        text = " ".join(_TAG.sub(" ", body.decode("utf-8", "replace")).split())
        return DruidError(status, _STATUS_CATEGORIES.get(status, ""), text[:_MESSAGE_LIMIT])
    inner = document.get("error")
    if isinstance(inner, dict):
        document = inner
    return _from_object(status, document)


def _from_object(status: int, document: dict[str, Any]) -> DruidError:
    context = document.get("context")
    kind = document.get("error")
    message = document.get("errorMessage") or document.get("message") or kind or document
    category = document.get("category")
    if not category and isinstance(kind, str):
        category = _LEGACY_CATEGORIES.get(kind)
    # A bare {"error": "Task[x] already exists!"} is the Overlord's way; a servlet container's
    # JSON has no "error" at all and says nothing about what was asked.
    return DruidError(
        status,
        str(category or _STATUS_CATEGORIES.get(status, "")),
        (message if isinstance(message, str) else str(message))[:_MESSAGE_LIMIT],
        str(document.get("errorCode") or ""),
        context if isinstance(context, dict) else {},
    )


def json_object(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object; None where it is none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
