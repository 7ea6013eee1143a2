"""What a browser loads: the page, its style and its scripts, from the package and nowhere else.

There is no build step: files are served as they lie beside this one. The policy lets a browser load
nothing that is not ours and run nothing that stands in the document, so that a row that looks like
markup stays a row.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources

PAGE = "page.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file as it is served; ``tag`` is its ETag."""

    content: bytes
    media_type: str
    tag: str


def files() -> dict[str, File]:
    """Every file of the page, by its name."""
    found = {}
    for entry in resources.files(__package__).iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found[entry.name] = File(content, _TYPES[suffix], tag)
    return found
