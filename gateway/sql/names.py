"""Names and literals as DuckDB text.

Druid's identifiers are case-sensitive, DuckDB's are not: it compares ASCII letters without regard
to case. Every identifier of a user therefore passes through `encode`, which is injective even
after such a comparison, and comes back through `decode`. It marks each ASCII capital with ``^``,
so ``dep_time`` stays as it is and ``EWR`` is stored as ``^E^W^R``.
"""

import re

_MARKED = re.compile(r"[A-Z^]")
_MARK = re.compile(r"\^(.)", re.DOTALL)


def encode(name: str) -> str:
    """``name`` as DuckDB stores it: distinct names stay distinct when case is ignored."""
    return _MARKED.sub(r"^\g<0>", name)


def decode(stored: str) -> str:
    """The name that `encode` made ``stored`` from."""
    return _MARK.sub(r"\1", stored)


def quoted(text: str) -> str:
    """``text`` as a quoted DuckDB identifier, as it is."""
    return '"' + text.replace('"', '""') + '"'


def identifier(name: str) -> str:
    """A user's ``name`` as a quoted DuckDB identifier."""
    return quoted(encode(name))


def literal(text: str) -> str:
    """``text`` as a DuckDB string literal.

    A zero byte would end DuckDB's statement text, so it is built from its code point.
    """
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in text.split("\0")]
    return pieces[0] if len(pieces) == 1 else "(" + " || chr(0) || ".join(pieces) + ")"
