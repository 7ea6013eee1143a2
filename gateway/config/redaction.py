"""What may be shown of a value. Laws: of a secret nothing, of a URL no user, password or query."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.config.keys import Key

REDACTED = "**********"
_SHOWN_MAX = 40


def without_credentials(url: str) -> str:
    """``url`` with ``***`` for its user and password, and for its query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    if not parts.scheme and "@" in url:
        return REDACTED
    userinfo, at, host = parts.netloc.rpartition("@")
    netloc = f"***@{host}" if at and userinfo else parts.netloc
    hidden = {name: "***" for name in ("query", "fragment") if getattr(parts, name)}
    return urlunsplit(parts._replace(netloc=netloc, **hidden))


def is_url(key: Key) -> bool:
    """Whether a key's values are URLs."""
    return key.type is str and (key.path[-1] == "url" or key.path[-1].endswith("_url"))


def shown_wrong(key: Key, value: Any) -> str | None:
    """A value that is wrong for ``key``, for an error; None: it is not to be shown.

    A text may be a secret that stands under the wrong key: none is shown.
    """
    if key.is_secret or not isinstance(value, bool | int | float):
        return None
    return str(value).lower()[:_SHOWN_MAX]
