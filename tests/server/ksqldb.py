"""ksqlDB's requests and replies, spoken over a test peer; no frames and no sockets in here."""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tests.peers import Peer
from tests.streams import Headers, Stream

DELIMITED = "application/vnd.ksqlapi.delimited.v1"
JSON = "application/json"
JAVA_CLIENT = ("user-agent", "ksqlDB Java Client v7.9.0")
"""the client that streams inserts around its own flow control"""

Row = Mapping[str, Any]

_numbers = itertools.count(1)

COLUMNS = """id BIGINT, name STRING, small INTEGER, ok BOOLEAN, price DOUBLE, amount DECIMAL(6, 2),
at TIMESTAMP"""


class Reply(NamedTuple):
    """A whole response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Result(NamedTuple):
    """A whole delimited query response."""

    header: dict[str, Any]
    rows: list[Any]


def unique(prefix: str) -> str:
    """A name that no other test of this run has."""
    return f"{prefix}_{next(_numbers)}"


def json_lines(rows: Iterable[Row]) -> bytes:
    """Rows as newline-terminated JSON."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def numbered(first: int, end: int) -> list[Row]:
    """Rows of `COLUMNS` whose ids are ``[first, end)``."""
    return [
        {"ID": n, "NAME": f"row {n}", "PRICE": n / 2, "AT": "2024-02-29T12:00:00"}
        for n in range(first, end)
    ]


# ── one exchange ─────────────────────────────────────────────────────────────────────────────


def ask(
    peer: Peer, method: str, path: str, body: bytes | Any = b"", headers: Headers = ()
) -> Reply:
    """One request and its whole reply; a body that is no bytes is sent as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stream = peer.open(method, path, headers, end=not raw)
    if raw:
        stream.send(raw, end=True)
    stream.read_to_end()
    assert stream.headers is not None
    return Reply(stream.status, stream.headers, stream.body)


def ksql(peer: Peer, text: str) -> list[dict[str, Any]]:
    """The entities of statements that are expected to succeed."""
    reply = ask(peer, "POST", "/ksql", {"ksql": text})
    assert reply.status == 200, reply.body
    entities: list[dict[str, Any]] = reply.document
    return entities


def declare(peer: Peer, columns: str = COLUMNS, *, timestamp: str | None = "at") -> str:
    """Create a stream of a new name and give that name."""
    name = unique("S")
    time_column = f", timestamp='{timestamp}'" if timestamp else ""
    properties = f"kafka_topic='{name.lower()}', value_format='JSON'{time_column}"
    ksql(peer, f"CREATE STREAM {name} ({columns}) WITH ({properties});")
    return name


# ── inserts ──────────────────────────────────────────────────────────────────────────────────


def arguments_line(target: str, **properties: object) -> bytes:
    """The first line of an insert request; ``ack`` and ``frames`` are Headrace's own."""
    given = {f"headrace.{name}": value for name, value in properties.items()}
    document = {"target": target} | ({"properties": given} if given else {})
    return json.dumps(document).encode() + b"\n"


def open_inserts(
    peer: Peer,
    target: str,
    *,
    path: str = "/inserts-stream",
    headers: Headers = (),
    **properties: object,
) -> Stream:
    """An insert stream whose 200 has come; no row was sent."""
    stream = peer.open("POST", path, headers)
    stream.send(arguments_line(target, **properties))
    stream.read_headers()
    assert stream.status == 200, stream.read_to_end()
    return stream


def insert(
    peer: Peer, target: str, rows: bytes | Iterable[Row], **properties: object
) -> list[dict[str, Any]]:
    """Insert rows by one whole request; the lines of its response."""
    raw = rows if isinstance(rows, bytes) else json_lines(rows)
    stream = peer.open("POST", "/inserts-stream")
    stream.send(arguments_line(target, **properties) + raw, end=True)
    stream.read_to_end()
    assert stream.status == 200, stream.body
    return records(stream)


def records(stream: Stream) -> list[Any]:
    """The whole lines so far, as JSON."""
    return [json.loads(line) for line in stream.lines]


def acks(first: int, end: int) -> list[dict[str, Any]]:
    """The acks of rows ``[first, end)``."""
    return [{"status": "ok", "seq": seq} for seq in range(first, end)]


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def open_query(peer: Peer, sql: str, *, offset: str | None = None, headers: Headers = ()) -> Stream:
    """A query stream whose request is whole; ``offset`` is ``auto.offset.reset``."""
    document: dict[str, Any] = {"sql": sql}
    if offset is not None:
        document["properties"] = {"auto.offset.reset": offset}
    stream = peer.open("POST", "/query-stream", headers)
    stream.send(json.dumps(document).encode(), end=True)
    return stream


def header_of(stream: Stream) -> dict[str, Any]:
    """The header line of a query that was accepted."""
    stream.read_headers()
    assert stream.status == 200, stream.read_to_end()
    header: dict[str, Any] = json.loads(stream.read_lines(1)[0])
    return header


def query(peer: Peer, sql: str, *, offset: str | None = None) -> Result:
    """The whole result of a query that ends by itself."""
    stream = open_query(peer, sql, offset=offset)
    header = header_of(stream)
    stream.read_to_end()
    return Result(header, records(stream)[1:])


def count(peer: Peer, target: str) -> int:
    """How many rows a SELECT sees; 0 also while the stream has no datasource."""
    rows = query(peer, f"SELECT COUNT(*) FROM {target};").rows
    return int(rows[0][0]) if rows else 0


def until(holds: Callable[[], bool], what: str, within_s: float = 20.0) -> None:
    """Ask again until it holds: for what nobody tells by itself."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.02)
