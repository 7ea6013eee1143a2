"""A cursor over the tokens of one statement: what every parse function reads with.

Owns: expecting a word, a sign, a name, a string, and saying what stood there instead, with its
place. Must never know: any statement.
"""

from protocol.errors import BadStatement
from protocol.lexer import Kind, Piece, Token, literal, syntax_error
from protocol.types import NameTextError, fold
from protocol.vocabulary import QUERY_WORDS

_SHOWN_CHARS = 80
"""How much of an unexpected token an error shows."""


class Reader:
    """Reads the tokens of ``piece`` from the left. Every error is a `BadStatement`."""

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self._at = 0

    @property
    def statement(self) -> str:
        """The statement's text, as entities and errors carry it."""
        return self.piece.text

    def peek(self, ahead: int = 0) -> Token | None:
        """The token ``ahead`` places on; None past the end."""
        at = self._at + ahead
        return self.piece.tokens[at] if at < len(self.piece.tokens) else None

    def next(self, wanted: str) -> Token:
        """The next token, whatever it is; ``wanted`` says in words what should stand there."""
        token = self.peek()
        if token is None:
            raise self.unexpected(wanted)
        self._at += 1
        return token

    def takes(self, *words: str) -> bool:
        """Read these keywords if all of them come next, one after the other."""
        for ahead, word in enumerate(words):
            token = self.peek(ahead)
            if token is None or not token.says(word):
                return False
        self._at += len(words)
        return True

    def takes_sign(self, sign: str) -> bool:
        """Read this sign if it comes next."""
        token = self.peek()
        if token is None or not token.is_sign(sign):
            return False
        self._at += 1
        return True

    def expect(self, *words: str) -> None:
        """Read these keywords."""
        if not self.takes(*words):
            raise self.unexpected(" ".join(words))

    def expect_sign(self, sign: str) -> None:
        """Read this sign."""
        if not self.takes_sign(sign):
            raise self.unexpected(f"'{sign}'")

    def name(self, wanted: str) -> str:
        """An identifier, folded as ksqlDB folds it."""
        token = self.peek()
        if token is None or not token.is_identifier:
            raise self.unexpected(wanted)
        self._at += 1
        return self.fold(token)

    def written_name(self, wanted: str) -> str:
        """An identifier as it was written, quotes included; it is known to fold."""
        token = self.peek()
        self.name(wanted)
        assert token is not None
        return token.text

    def id(self) -> str:
        """The id of a query, without quotes.

        It may hold hyphens: unquoted, it is the run of tokens with no gap between them.
        """
        token = self.next("the id of a query")
        if token.kind is Kind.STRING:
            return literal(token)
        if token.kind is Kind.NAME:
            return self.fold(token)
        query_id, end = token.text, token.end
        while (following := self.peek()) is not None and following.start == end:
            query_id, end = query_id + following.text, following.end
            self._at += 1
        return query_id

    def starts_query(self) -> bool:
        """Whether a query comes next."""
        token = self.peek()
        return token is not None and (token.says(*QUERY_WORDS) or token.is_sign("("))

    def rest(self) -> Piece:
        """All that is left, which is something, as a piece of its own; nothing is left then."""
        piece = self.piece.after(self._at)
        self.skip_all()
        return piece

    def skip_all(self) -> None:
        """The rest is for others to read."""
        self._at = len(self.piece.tokens)

    def fold(self, token: Token) -> str:
        """The name that an identifier token says."""
        try:
            return fold(token.text)
        except NameTextError as error:
            raise self.error(token, str(error)) from error

    def string(self, wanted: str) -> str:
        """A string in single quotes, its quotes off."""
        token = self.peek()
        if token is None or token.kind is not Kind.STRING:
            raise self.unexpected(wanted)
        self._at += 1
        return literal(token)

    def end(self) -> None:
        """The statement ends here."""
        if self.peek() is not None:
            raise self.unexpected("the end of the statement")

    def unexpected(self, wanted: str) -> BadStatement:
        """The error that something else stands where ``wanted`` should."""
        token = self.peek()
        found = "the end of the statement" if token is None else f"'{token.text[:_SHOWN_CHARS]}'"
        return self.error(token, f"Expected {wanted}, found {found}")

    def error(self, token: Token | None, problem: str) -> BadStatement:
        """A syntax error at the token; None: behind the last one."""
        at = token.start if token is not None else self.piece.tokens[-1].end
        return syntax_error(self.piece.source, at, problem, self.statement)
