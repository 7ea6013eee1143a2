"""Push queries over a test peer, read alike in every framing; no sockets in here."""

import json
from typing import Any

from protocol.tokens import CONTINUE_FROM, TOKENS_ENABLED
from tests.peers import Peer
from tests.server.ksqldb import DELIMITED, JSON
from tests.streams import Stream

V1_JSON = "application/vnd.ksql.v1+json"
FRAMINGS = (DELIMITED, JSON, V1_JSON)


def push(
    peer: Peer, sql: str, token: str | None = None, accept: str = DELIMITED, **properties: Any
) -> Stream:
    """A push query with tokens; ``properties`` by their names with ``_`` for a dot."""
    given = {name.replace("_", "."): value for name, value in properties.items()}
    document = {
        "sql": sql,
        "properties": {TOKENS_ENABLED: True, **given},
        "requestProperties": {} if token is None else {CONTINUE_FROM: token},
    }
    stream = peer.open("POST", "/query-stream", [("accept", accept)])
    stream.send(json.dumps(document).encode(), end=True)
    stream.read_headers()
    return stream


# ── what a framing says, read alike ──


def parsed(stream: Stream) -> list[Any]:
    """The body so far as one list; its last element may be on its way still."""
    text = stream.body.decode()
    if stream.headers is None or stream.headers["content-type"] == DELIMITED:
        return [json.loads(line) for line in text.split("\n")[:-1]]
    for end in ("", "]", "null]"):
        try:
            whole: list[Any] = json.loads(text.rstrip() + end)
        except json.JSONDecodeError:
            continue
        return whole[:-1] if end == "null]" else whole
    return []


def rows_of(stream: Stream) -> list[Any]:
    """The rows so far."""
    body = parsed(stream)
    if stream.headers and stream.headers["content-type"] == V1_JSON:
        return [element["row"]["columns"] for element in body if "row" in element]
    return [element for element in body if isinstance(element, list)]


def tokens_of(stream: Stream) -> list[str]:
    """The tokens so far."""
    found = [e["continuationToken"] for e in parsed(stream) if "continuationToken" in e]
    return [one["continuationToken"] if isinstance(one, dict) else one for one in found]


def error_of(stream: Stream) -> dict[str, Any]:
    """The error that the stream ended with."""
    last = parsed(stream)[-1]
    found: dict[str, Any] = last.get("errorMessage", last)
    return found


def read_rows(stream: Stream, count: int, within_s: float = 20.0) -> list[Any]:
    """Wait for so many rows, and for the token behind them."""

    looked_at = -1

    def came() -> bool:
        # The whole body is only looked through when a token has come: rows are many.
        nonlocal looked_at
        if len(stream.frames) in (0, looked_at) or b'"continuationToken"' not in stream.frames[-1]:
            return False
        looked_at = len(stream.frames)
        return len(rows_of(stream)) >= count

    stream.peer.read_until(lambda: came() or stream.over, within_s, f"{count} rows")
    assert len(rows_of(stream)) >= count, stream.body[-2000:]
    return rows_of(stream)


def refusal(stream: Stream) -> str:
    """The message of a query that was refused with 40000."""
    stream.read_to_end()
    document = json.loads(stream.body)
    assert (stream.status, document["error_code"]) == (400, 40000)
    message: str = document["message"]
    return message


def ids(first: int, end: int) -> list[list[int]]:
    return [[n] for n in range(first, end)]


def read_token(stream: Stream) -> str:
    """The token that stands behind the header."""
    read_rows(stream, 0)
    return tokens_of(stream)[-1]
