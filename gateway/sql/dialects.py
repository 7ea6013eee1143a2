"""Text to syntax trees: Druid SQL and ksqlDB's SELECT, by sqlglot's generic parser.

A dialect here overrides class attributes only. Every function call arrives as
``Anonymous(name, arguments)``, so that nothing but our own tables gives a call a meaning; the few
parsers that stay are for calls with a grammar of their own, such as ``CAST(x AS y)``.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot import parse as parse_statements
from sqlglot.dialects.dialect import Dialect
from sqlglot.dialects.druid import Druid
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser
from sqlglot.tokenizer_core import TokenType
from sqlglot.tokens import Tokenizer as BaseTokenizer

from gateway.seams import QueryRefused

MAX_TEXT_CHARS = 1_000_000
"""A longer statement is refused before it is read: parsing takes time and stack."""

_OPERATORS_OF_OTHERS = ("DIV", "CEIL", "::", ".:", "->", "->>", "#>", "#>>", "?", "@>", "<@", "|>")
_GRAMMAR = ("CAST", "CEIL", "EXTRACT", "FLOOR", "JSON_OBJECT", "POSITION", "SUBSTRING", "TRIM")
_WITHOUT_PARENTHESES = (TokenType.CURRENT_DATE, TokenType.CURRENT_TIMESTAMP)


def _keywords(without: tuple[str, ...]) -> dict[str, TokenType]:
    return {word: kind for word, kind in BaseTokenizer.KEYWORDS.items() if word not in without}


class _Plain(Parser):
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
    NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {
        token: Parser.NO_PAREN_FUNCTIONS[token] for token in _WITHOUT_PARENTHESES
    }
    FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
        **{name: Parser.FUNCTION_PARSERS[name] for name in _GRAMMAR},
        "JSON_VALUE": Druid.Parser.FUNCTION_PARSERS["JSON_VALUE"],
    }


class DruidSql(Dialect):
    """Druid's SQL: double quotes quote names, a doubled quote is the only escape."""

    class Tokenizer(BaseTokenizer):
        IDENTIFIERS: ClassVar[list[Any]] = ['"']
        QUOTES: ClassVar[list[Any]] = ["'"]
        STRING_ESCAPES: ClassVar[list[str]] = ["'"]
        UNICODE_STRINGS: ClassVar[list[Any]] = [("U&'", "'"), ("u&'", "'")]
        COMMENTS: ClassVar[list[Any]] = ["--", ("/*", "*/")]
        COMMANDS: ClassVar[set[TokenType]] = set()
        KEYWORDS: ClassVar[dict[str, TokenType]] = _keywords(_OPERATORS_OF_OTHERS)

    class Parser(_Plain):
        pass


class KsqlSql(Dialect):
    """ksqlDB's SELECT: back-ticks and double quotes quote names, ``->`` reads a struct's field."""

    class Tokenizer(BaseTokenizer):
        IDENTIFIERS: ClassVar[list[Any]] = ["`", '"']
        QUOTES: ClassVar[list[Any]] = ["'"]
        STRING_ESCAPES: ClassVar[list[str]] = ["'"]
        COMMENTS: ClassVar[list[Any]] = ["--", ("/*", "*/")]
        COMMANDS: ClassVar[set[TokenType]] = set()
        KEYWORDS: ClassVar[dict[str, TokenType]] = {
            **_keywords(_OPERATORS_OF_OTHERS),
            "->": TokenType.DOT,
        }

    class Parser(_Plain):
        pass


def parse_select(text: str, dialect: type[Dialect]) -> exp.Expr:
    """The one SELECT (or WITH, UNION) that ``text`` holds.

    Raises `QueryRefused` for broken syntax, for anything that is no query, and for more than one.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise QueryRefused(f"the statement is longer than {MAX_TEXT_CHARS} characters")
    try:
        trees = [tree for tree in parse_statements(text, dialect=dialect) if tree is not None]
    except ParseError as error:
        raise QueryRefused(_syntax(error)) from error
    except TokenError as error:
        raise QueryRefused(f"the statement cannot be read: {_first_line(error)}") from error
    except RecursionError as error:
        raise QueryRefused("the statement is nested too deeply") from error
    except Exception as error:
        raise QueryRefused("syntax error: the statement cannot be read") from error
    if len(trees) != 1:
        raise QueryRefused(f"expected one statement, found {len(trees)}")
    tree = trees[0]
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise QueryRefused("only a SELECT can be queried")
    return tree


def _syntax(error: ParseError) -> str:
    """The parser's finding with its place, without its terminal colours."""
    if not error.errors:
        return f"syntax error: {_first_line(error)}"
    found = error.errors[0]
    near = f" near '{found['highlight']}'" if found.get("highlight") else ""
    return f"syntax error{near} (line [{found.get('line')}], column [{found.get('col')}])"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
