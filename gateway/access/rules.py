"""Who may do what to which names. Pure.

Patterns are whole-name and case-sensitive; ``*`` is any run of characters, ``?`` any one, and all
other characters are themselves. Laws: what no rule grants is refused; who shows nothing is granted
only what a rule for ``anonymous``, spelt out, grants; a pattern over names does not reach into the
warehouse's own schemas unless it says so; the order of rules means nothing; the memory
of past decisions is bounded and can be dropped at any time.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

from gateway.access.proofs import ANONYMOUS
from gateway.access.settings import Rule
from gateway.seams import EVERY_NAME, TASKS_STREAM, WAREHOUSE_SCHEMAS, Right

DECISIONS_MAX = 4096
NAME_KEPT_MAX = 256
"""a longer name is decided anew each time, so that the memory stays small"""

Matches = Callable[[str], object]


def pattern(text: str) -> Matches:
    """A function that says (truthy) whether a name fits. It takes linear time per ``*``."""
    # ``[`` starts a set in fnmatch; in a set of its own it is itself.
    return re.compile(fnmatch.translate(text.replace("[", "[[]"))).match


def principals(text: str) -> Matches:
    """As `pattern`, but no wildcard lets in who shows nothing."""
    if text == ANONYMOUS:
        return ANONYMOUS.__eq__
    fits = pattern(text)
    return lambda name: name != ANONYMOUS and fits(name)


def names(text: str) -> Matches:
    """As `pattern`, but what tells of everybody's is let in only by ``*``, or where it is spelt:
    tables of the warehouse's own schemas (``sys.*``), and the gateway's own stream of tasks. All
    names at once (`EVERY_NAME`) are ``*`` alone."""
    if text and not text.strip("*"):
        return lambda _: True
    fits = pattern(text)
    return lambda name: name != EVERY_NAME and _spells(text, name) and fits(name)


def _spells(text: str, name: str) -> bool:
    schema, dot, _ = name.partition(".")
    if dot and schema in WAREHOUSE_SCHEMAS:
        return text.startswith(f"{schema}.")
    return name != TASKS_STREAM or text == name


class Rules:
    """The rules of one configuration, compiled once. Without any, nothing is granted."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [_Compiled(rule) for rule in rules]
        self._decided: dict[tuple[str, Right, str], bool] = {}

    def knows(self, principal: str) -> bool:
        """Whether some rule is about that principal."""
        return any(rule.principal(principal) for rule in self._rules)

    def grants(self, principal: str, right: Right, name: str = "") -> bool:
        """Whether some rule grants it. ``ADMIN`` looks at no name."""
        key = (principal, right, "" if right is Right.ADMIN else name)
        known = self._decided.get(key)
        if known is not None:
            return known
        decided = any(rule.grants(*key) for rule in self._rules)
        if len(name) <= NAME_KEPT_MAX:
            if len(self._decided) >= DECISIONS_MAX:
                self._decided.clear()
            self._decided[key] = decided
        return decided


class _Compiled:
    __slots__ = ("_names", "_rights", "principal")

    def __init__(self, rule: Rule) -> None:
        self.principal = principals(rule.principal)
        self._rights = frozenset(rule.rights)
        self._names = [names(name) for name in rule.names]

    def grants(self, principal: str, right: Right, name: str) -> bool:
        return (
            right in self._rights
            and bool(self.principal(principal))
            and (right is Right.ADMIN or _any_fits(self._names, name))
        )


def _any_fits(patterns: Iterable[Matches], name: str) -> bool:
    return any(fits(name) for fits in patterns)
