"""Where statements end, as far as a prompt has to know. Pure."""

from protocol.errors import BadStatement
from protocol.lexer import Piece, split


def is_complete(text: str) -> bool:
    """Whether Enter runs it: a command of the prompt's own, nothing at all, or an ended statement.

    A semicolon within quotes or a comment ends nothing.
    """
    stripped = text.strip()
    if not stripped or stripped.startswith("\\"):
        return True
    try:
        pieces = split(text)
    except BadStatement:
        # A quote that is still open; a text that is too long is for the gateway to refuse.
        return False
    return bool(pieces) and (pieces[-1].ended or not pieces[-1].tokens)


def statements(text: str) -> list[Piece]:
    """The statements in it; the last one may lack its semicolon. Raises `BadStatement`."""
    return [piece for piece in split(text) if piece.tokens]
