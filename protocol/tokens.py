"""Continuation tokens: a place in a gateway's log, in the text that a client keeps for us.

Owns: the names of ksqlDB's properties for them, the text of a token, and every reason to refuse
one. Must never know: what a place means to the log.

A token is opaque to clients. It says how many entries of the log are done, and how many rows of
the next one were delivered already; it is bound to the log it was cut from, to its level and to
the source. Rows are counted in what the statement selects, so a token from inside of an entry is
bound to the statement too; one from between two entries fits any statement of its source.

Laws:
1. ``decode(encode(place)) == place`` under the same binding; under any other it is refused.
2. A text that was cut, mistyped or changed anywhere is refused: it carries a checksum.

Source: ksqlDB API, continuation tokens of push queries; facts in the protocol notes §1.5, §5.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from protocol.errors import BadRequest

TOKENS_ENABLED = "ksql.query.push.v2.continuation.tokens.enabled"
"""Property of a query: whether tokens are sent among its rows."""
CONTINUE_FROM = "request.ksql.query.push.continuation.token"
"""Request property: the token to go on from."""

VERSION = 1
_BODY = struct.Struct(">B8s8s8s8sQQ")
_CHECKSUM_BYTES = 8
_SIZE_BYTES = _BODY.size + _CHECKSUM_BYTES
_TEXT_MAX = 1024


class TokenPlace(NamedTuple):
    """Entries up to ``after`` are done, and ``rows`` rows of the one that follows."""

    after: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBinding:
    """What the tokens of one query are bound to.

    ``log_id`` names the log (a spool), ``level`` the kind of its entries, ``source`` the stream;
    ``statement`` is equal for queries that select the same.
    """

    log_id: str
    level: str
    source: str
    statement: str

    def encode(self, place: TokenPlace) -> str:
        """The token of a place."""
        body = _BODY.pack(VERSION, *self._digests(), place.after, place.rows)
        return base64.b64encode(body + _checksum(body)).decode()

    def decode(self, text: str) -> TokenPlace:
        """The place that a token names. Raises `BadRequest` for one that is not of this query."""
        body = _checked(text)
        _, log_id, level, source, statement, after, rows = _BODY.unpack(body)
        own_log, own_level, own_source, own_statement = self._digests()
        if log_id != own_log:
            raise _refused(
                "it was given by another gateway, or for a data folder that is not here any more"
            )
        if level != own_level:
            raise _refused(f"it was not given for headrace.push.at={self.level}, as asked for now")
        if source != own_source:
            raise _refused(f"it belongs to a query of another source than {self.source}")
        if rows and statement != own_statement:
            raise _refused(
                "it lies within a batch, where only the same statement can go on: columns, "
                "expressions and WHERE must be those of the query that it comes from"
            )
        return TokenPlace(after, rows)

    def _digests(self) -> tuple[bytes, bytes, bytes, bytes]:
        return (
            _digest(self.log_id),
            _digest(self.level),
            _digest(self.source),
            _digest(self.statement),
        )


def wants_tokens(properties: Mapping[str, Any]) -> bool:
    """Whether a query asks for tokens among its rows. Raises `BadRequest`."""
    value = properties.get(TOKENS_ENABLED, False)
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise BadRequest(f"Invalid value '{value}' for {TOKENS_ENABLED}: it is true or false")
    return text == "true"


def token_to_continue(request_properties: Mapping[str, Any]) -> str | None:
    """The token that a request goes on from, if it does. Raises `BadRequest`."""
    value = request_properties.get(CONTINUE_FROM)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRequest(f"{CONTINUE_FROM} must be the text of a continuation token")
    return value


def _checked(text: str) -> bytes:
    try:
        if len(text) > _TEXT_MAX:
            raise _damaged()
        raw = base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise _damaged() from None
    if raw and raw[0] != VERSION and raw[-_CHECKSUM_BYTES:] == _checksum(raw[:-_CHECKSUM_BYTES]):
        raise _refused(f"its version is {raw[0]}, and this gateway reads {VERSION}")
    body, checksum = raw[: _BODY.size], raw[_BODY.size :]
    # Equal texts only: base64 leaves bits of its last character free.
    if len(raw) != _SIZE_BYTES or checksum != _checksum(body):
        raise _damaged()
    if base64.b64encode(raw).decode() != text:
        raise _damaged()
    return body


def _damaged() -> BadRequest:
    return _refused("it is damaged: it must be sent back as it came, whole and unchanged")


def _refused(why: str) -> BadRequest:
    return BadRequest(f"The continuation token in {CONTINUE_FROM} cannot be used: {why}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES, person=b"hr-token").digest()
