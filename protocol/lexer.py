"""Tokens of ksqlDB's SQL and of Druid's, with their positions, and the cut into statements.

Owns: what a word, a quoted name, a string, a number, a sign and a comment is, and where a
statement ends. Must never know: what any statement means.

Laws: a token is a slice of the text it came from; what lies between two tokens is white space and
comments only; the pieces that `split` gives, joined, are the text. The text is bounded
(`MAX_TEXT_CHARS`, `MAX_TOKENS`), and the time to read it is linear in its length: every repetition
in the pattern is possessive, so no input makes it go back.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from protocol.errors import BadStatement

MAX_TEXT_CHARS = 262_144
"""Longest text of a request that is read as SQL."""

MAX_TOKENS = 50_000
"""Most tokens of one text: what bounds the memory that reading it takes."""

_ECHO_CHARS = 1_000
"""How much of a text that is too long is echoed in the error."""


class Kind(Enum):
    """What a token is."""

    WORD = "word"
    """an unquoted identifier or a keyword"""
    NAME = "name"
    """an identifier in back-ticks or double quotes, quotes included"""
    STRING = "string"
    """text in single quotes, quotes included"""
    NUMBER = "number"
    SIGN = "sign"
    VARIABLE = "variable"
    """``${name}``, where no value was given for it"""


class Token(NamedTuple):
    """A token: its kind and its slice ``[start, end)`` of the text, counted in characters."""

    kind: Kind
    text: str
    start: int
    end: int

    def says(self, *words: str) -> bool:
        """Whether this is one of the keywords (given in upper case), unquoted."""
        return self.kind is Kind.WORD and self.text.upper() in words

    def is_sign(self, *signs: str) -> bool:
        """Whether this is one of the signs."""
        return self.kind is Kind.SIGN and self.text in signs

    @property
    def is_identifier(self) -> bool:
        """Whether this may name something: quoted, or a word (a keyword perhaps)."""
        return self.kind is Kind.WORD or self.kind is Kind.NAME


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement as it stands in a text.

    ``raw`` is its slice, which begins at ``start`` of ``source`` (the whole text), with the white
    space before it and the semicolon; ``tokens`` are positioned in ``source`` and leave the
    semicolon out. ``ended`` says that there is a semicolon.
    """

    source: str
    raw: str
    start: int
    tokens: tuple[Token, ...]
    ended: bool

    @property
    def text(self) -> str:
        """The statement from its first token on, the semicolon included where there is one."""
        return self.raw[self.tokens[0].start - self.start :].rstrip() if self.tokens else ""

    @property
    def sql(self) -> str:
        """The piece up to its semicolon, comments and white space as they are."""
        return self.raw[:-1] if self.ended else self.raw

    def after(self, tokens: int) -> "Piece":
        """What is left of it behind so many tokens, of which one at least has to be left."""
        start = self.tokens[tokens].start
        raw = self.raw[start - self.start :]
        return Piece(self.source, raw, start, self.tokens[tokens:], self.ended)


# Possessive repetitions (`*+`) never give back what they took: no input costs more than its length.
_TOKEN = re.compile(
    r"""
      (?P<gap>     (?: \s | --[^\r\n]*+ | /\*(?:[^*]|\*(?!/))*+\*/ )++ )
    | (?P<name>    `[^`]*+(?:``[^`]*+)*+` | "[^"]*+(?:""[^"]*+)*+" )
    | (?P<string>  '[^']*+(?:''[^']*+)*+' )
    | (?P<number>  (?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+ )
    | (?P<word>    [^\W\d][\w@]*+ )
    | (?P<variable>\$\{[\w.@-]++\} )
    | (?P<sign>    -> | => | := | <= | >= | <> | != | \|\| | [^\s'"`] )
    """,
    re.VERBOSE,
)
_KINDS = {
    "name": Kind.NAME,
    "string": Kind.STRING,
    "number": Kind.NUMBER,
    "word": Kind.WORD,
    "variable": Kind.VARIABLE,
    "sign": Kind.SIGN,
}


def tokenize(text: str) -> list[Token]:
    """The tokens of ``text``, comments and white space left out.

    Raises `BadStatement` for a quote or a comment that does not end, and for a text over the
    limits.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise _too_long(text, f"{len(text)} characters, and {MAX_TEXT_CHARS}")
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(text, at, f"A {_QUOTES[text[at]]} that is opened here never ends")
        end = match.end()
        group = match.lastgroup or ""
        if text.startswith("/*", at) and group != "gap":
            raise syntax_error(text, at, "A comment that is opened here never ends")
        if group != "gap":
            tokens.append(Token(_KINDS[group], text[at:end], at, end))
        at = end
    if len(tokens) > MAX_TOKENS:
        raise _too_long(text, f"{len(tokens)} tokens, and {MAX_TOKENS}")
    return tokens


_QUOTES = {"'": "quote", '"': "double quote", "`": "back-tick"}


def split(text: str) -> list[Piece]:
    """``text`` cut behind each semicolon outside of quotes and comments.

    The last piece may lack a semicolon; where it is white space and comments only it has no
    tokens. Raises as `tokenize` does.
    """
    pieces: list[Piece] = []
    held: list[Token] = []
    start = 0
    for token in tokenize(text):
        if token.is_sign(";"):
            pieces.append(Piece(text, text[start : token.end], start, tuple(held), ended=True))
            held, start = [], token.end
        else:
            held.append(token)
    if start < len(text):
        pieces.append(Piece(text, text[start:], start, tuple(held), ended=False))
    return pieces


def statements_of(text: str) -> list[Piece]:
    """The pieces that hold a statement; a semicolon with nothing before it is an error."""
    pieces = split(text)
    for piece in pieces:
        if not piece.tokens and piece.ended:
            at = piece.start + len(piece.raw) - 1
            raise syntax_error(text, at, "Expected a statement, found ';'")
    return [piece for piece in pieces if piece.tokens]


def position(text: str, at: int) -> str:
    """``line L:C`` of a character, both counted from 1 as ksqlDB's parser does."""
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"line {line}:{column}"


def syntax_error(text: str, at: int, problem: str, statement: str = "") -> BadStatement:
    """ksqlDB's words for text that cannot be read (§2.4): its place, then the problem."""
    return BadStatement(
        f"{position(text, at)}: Syntax Error\n{problem}", _echo(statement or text.strip())
    )


def literal(token: Token) -> str:
    """What a STRING token says: quotes off, doubled quotes single."""
    return token.text[1:-1].replace("''", "'")


def _echo(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:_ECHO_CHARS]}…"


def _too_long(text: str, found_and_limit: str) -> BadStatement:
    return BadStatement(
        f"The text is too long: it has {found_and_limit} are allowed. Send it in parts.",
        f"{text[:_ECHO_CHARS]}…",
    )
