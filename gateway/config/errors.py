"""What is said of a configuration that cannot be used.

Law: a problem never holds the value of a secret, nor a line of the file: both may be printed and
logged by anybody.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where (``file:line:column``, a variable, a flag), which key, what,
    and what to do."""

    place: str
    key: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        named = ": ".join(part for part in (self.place, self.key, self.what) if part)
        return f"{named}. {self.remedy}" if self.remedy else named


class ConfigError(Exception):
    """The configuration cannot be used; the text names every place and its remedy."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
