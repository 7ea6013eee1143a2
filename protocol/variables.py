"""``${name}`` in a request's text, filled from its ``sessionVariables`` (§1.4) and ``DEFINE``.

Owns: where a variable may stand and what its value may be there. A value is data, never SQL: out
of quotes it has to be one name, number or string, inside of quotes it cannot end them. Comments
are left alone. Names are found whatever their case; a variable without a value is left as it is,
and is a syntax error then unless it stands in quotes. In quotes ``$${name}`` stands for ``${name}``
itself. Where there are no variables at all, nothing is changed.

Laws: a value never ends or begins a statement, a comment or quotes (next to a word it may become a
part of that word: ``${env}_orders``); it is not searched again; what is filled in is bounded as a
whole (`protocol.lexer.MAX_TEXT_CHARS`), so a short text cannot grow into a huge one.
"""

import re
from collections.abc import Mapping
from typing import Any

from protocol.errors import BadStatement
from protocol.lexer import MAX_TEXT_CHARS, Kind, Token, syntax_error, tokenize

_IN_QUOTES = re.compile(r"(\$?)\$\{([\w.@-]+)\}")

_MEETING = "-'\"`"


def substitute(text: str, variables: Mapping[str, Any]) -> str:
    """``text`` with its variables replaced. Raises as `Variables.fill` does."""
    return Variables(variables).fill(text)


class Variables:
    """The variables of one request, and how many characters of them may still be filled in."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name.upper(): (name, shown(value)) for name, value in values.items()}
        self._left_chars = MAX_TEXT_CHARS

    def define(self, name: str, value: str) -> None:
        """From here on the name has this value."""
        self._values[name.upper()] = (name, value)

    def undefine(self, name: str) -> bool:
        """From here on the name has no value; False if it had none."""
        return self._values.pop(name.upper(), None) is not None

    def listed(self) -> list[tuple[str, str]]:
        """Names as they were given, and their values, by name."""
        return [self._values[name] for name in sorted(self._values)]

    def fill(self, text: str) -> str:
        """``text`` with its variables replaced, in one pass.

        Raises `BadStatement` for a value that is no single name, number or string where one has to
        stand, for values that are too long in sum, and as `protocol.lexer.tokenize` does.
        """
        if not self._values or "${" not in text:
            return text
        out: list[str] = []
        at = 0
        for token in tokenize(text):
            filled = self._filled(token, text)
            if filled is not None:
                out += (text[at : token.start], filled)
                at = token.end
        return "".join((*out, text[at:]))

    def _filled(self, token: Token, text: str) -> str | None:
        """The text that replaces the token; None where it stays as it is."""
        if token.kind is Kind.VARIABLE:
            return self._bare(token, text)
        if token.kind in (Kind.STRING, Kind.NAME) and "${" in token.text:
            return self._quoted(token, text)
        return None

    def _bare(self, token: Token, text: str) -> str | None:
        name = token.text[2:-1]
        value = self._take(name, token, text)
        if value is None:
            return None
        single = _single(value)
        if single is None:
            problem = (
                f"The value of variable '{name}' is not a single name, number or string; "
                f"write '${{{name}}}', in quotes, to use it as text"
            )
            raise syntax_error(text, token.start, problem)
        return _apart(single, text[token.start - 1 : token.start], text[token.end : token.end + 1])

    def _quoted(self, token: Token, text: str) -> str:
        sign = token.text[0]

        def inside(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match.group(0)[1:]
            value = self._take(name, token, text)
            return match.group(0) if value is None else value.replace(sign, sign + sign)

        return _IN_QUOTES.sub(inside, token.text)

    def _take(self, name: str, token: Token, text: str) -> str | None:
        found = self._values.get(name.upper())
        if found is None:
            return None
        self._left_chars -= len(found[1])
        if self._left_chars < 0:
            problem = f"The values of the variables are longer than {MAX_TEXT_CHARS} characters"
            raise syntax_error(text, token.start, problem)
        return found[1]


def _apart(single: str, before: str, after: str) -> str:
    """The value with a blank where its end and its neighbour would be read as one sign.

    ``--`` begins a comment, and two quotes that meet stand for one.
    """
    left = " " if before == single[0] and before in _MEETING else ""
    right = " " if after == single[-1] and after in _MEETING else ""
    return left + single + right


def shown(value: Any) -> str:
    """A JSON value as ksqlDB shows it (Java's ``toString``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _single(value: str) -> str | None:
    """The one name, number or string that the value is (a minus may precede a number)."""
    try:
        tokens = tokenize(value)
    except BadStatement:
        return None
    operand = tokens[1:] if tokens and tokens[0].is_sign("-") else tokens
    if len(operand) != 1 or operand[0].kind in (Kind.SIGN, Kind.VARIABLE):
        return None
    if len(tokens) == 2 and operand[0].kind is not Kind.NUMBER:
        return None
    return "".join(token.text for token in tokens)
