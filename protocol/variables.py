"""``${name}`` in a request's text, filled from its ``sessionVariables`` (§1.4).

Owns: where a variable may stand and what its value may be there. A value is data, never SQL: out
of quotes it has to be one name, number or string, inside of quotes it cannot end them. Comments
are left alone. Names are found whatever their case; a variable without a value is left as it is,
and is a syntax error then unless it stands in quotes. What is filled in is bounded as a whole
(`protocol.lexer.MAX_TEXT_CHARS`): a short text cannot grow into a huge one.
"""

import re
from collections.abc import Mapping
from typing import Any

from protocol.errors import BadStatement
from protocol.lexer import MAX_TEXT_CHARS, Kind, Token, syntax_error, tokenize

_IN_QUOTES = re.compile(r"\$\{([\w.@-]+)\}")


def substitute(text: str, variables: Mapping[str, Any]) -> str:
    """``text`` with its variables replaced, in one pass: a value is not searched again.

    Raises `BadStatement` for a value that is no single name, number or string where one has to
    stand, for values that are too long in sum, and as `protocol.lexer.tokenize` does.
    """
    if not variables or "${" not in text:
        return text
    filler = _Filler(text, variables)
    out: list[str] = []
    at = 0
    for token in tokenize(text):
        filled = filler.fill(token)
        if filled is not None:
            out += (text[at : token.start], filled)
            at = token.end
    return "".join((*out, text[at:]))


def _shown(value: Any) -> str:
    """A JSON value as ksqlDB shows it (Java's ``toString``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class _Filler:
    """The values of one request, and how many characters of them may still be filled in."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._text = text
        self._values = {name.upper(): _shown(value) for name, value in variables.items()}
        self._left_chars = MAX_TEXT_CHARS

    def fill(self, token: Token) -> str | None:
        """The text that replaces the token; None where it stays as it is."""
        if token.kind is Kind.VARIABLE:
            return self._fill_bare(token)
        if token.kind in (Kind.STRING, Kind.NAME) and "${" in token.text:
            return self._fill_quoted(token)
        return None

    def _fill_bare(self, token: Token) -> str | None:
        value = self._take(token.text[2:-1], token)
        if value is None:
            return None
        single = _single(value)
        if single is None:
            name = token.text[2:-1]
            problem = (
                f"The value of variable '{name}' is not a single name, number or string; "
                f"write '${{{name}}}', in quotes, to use it as text"
            )
            raise syntax_error(self._text, token.start, problem)
        return single

    def _fill_quoted(self, token: Token) -> str:
        sign = token.text[0]

        def inside(match: re.Match[str]) -> str:
            value = self._take(match.group(1), token)
            return match.group(0) if value is None else value.replace(sign, sign + sign)

        return _IN_QUOTES.sub(inside, token.text)

    def _take(self, name: str, token: Token) -> str | None:
        value = self._values.get(name.upper())
        self._left_chars -= len(value or "")
        if self._left_chars < 0:
            problem = f"The values of the variables are longer than {MAX_TEXT_CHARS} characters"
            raise syntax_error(self._text, token.start, problem)
        return value


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
