"""What a request has shown, once it has been checked: no secret is left in it.

A `Proof` outlives the request, in the permits of open streams, and `mark` and `good_until` say when
it ends: with the line of the file that it came from, or at a time.
"""

from dataclasses import dataclass

from gateway.seams import Principal

ANONYMOUS = "anonymous"
"""who shows nothing; nobody can show a credential of that name"""
NAME_MAX = 256


class Refused(Exception):
    """No good. ``reason`` is for the audit log alone, and holds nothing that was shown but the
    name of a known user."""

    def __init__(self, reason: str, *, how: str, principal: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.how = how
        self.principal = principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """``mark`` is a stored hash that must still be in its file, ``good_until`` in seconds since
    1970."""

    principal: Principal
    mark: str = ""
    good_until: float | None = None


NOTHING = Proof(principal=Principal(name=ANONYMOUS, shown="nothing"))


def is_name(text: object) -> bool:
    """Whether that can be a principal's name, wherever it comes from."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= NAME_MAX
        and text.isprintable()
        and text == text.strip()
        and text != ANONYMOUS
    )
