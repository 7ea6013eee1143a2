"""What ksqlDB's Java client makes of the bytes of a stream: as strict as the real one. Pure.

Where the real client would hang, throw into its log or lose data, this raises `Breaks`, which fails
the test: that is the whole point of it. Source: facts of ksqlDB's protocol and of the client's
behaviour on the wire (specification §6.3 to §6.5, Appendix B), in our own words and code.
"""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

TYPE_KEYWORDS = frozenset(
    {"STRING", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "DECIMAL", "BYTES"}
    | {"ARRAY", "MAP", "STRUCT", "TIMESTAMP", "DATE", "TIME"}
)
"""its own list, not the gateway's: an unknown keyword hangs it"""


class Breaks(AssertionError):
    """The real client hangs, throws or loses something here."""


class ClientFailure(Exception):
    """What the real client tells its user, as it should: the text of its exception."""


class Column(NamedTuple):
    """A column as its user sees it: ``type`` is the primary type, without its arguments."""

    name: str
    type: str


def document(raw: bytes) -> Any:
    """JSON as Jackson reads it: UTF-8, no NaN. Raises `Breaks`."""
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except ValueError as error:
        raise Breaks(f"no JSON ({error}): {raw[:200]!r}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def members(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises `Breaks`."""
    value = document(raw)
    if not isinstance(value, dict):
        raise Breaks(f"an object was expected: {raw[:200]!r}")
    return value


def require(value: dict[str, Any], name: str, *types: type) -> Any:
    """A member of one of these types; None stands for null. Raises `Breaks`."""
    if name not in value:
        raise Breaks(f"'{name}' is missing: {value}")
    found = value[name]
    # A boolean is an int in Python, and nothing of the kind in Java.
    fits = type(found) in types or (found is None and type(None) in types)
    if not fits:
        raise Breaks(f"'{name}' is {found!r}, not one of {types}: {value}")
    return found


# ── schemas ──────────────────────────────────────────────────────────────────────────────────


def column_type(text: str) -> str:
    """The primary type of a type's text: up to ``<`` or ``(``. An unknown keyword hangs it."""
    primary = text.split("<")[0].split("(")[0]
    if primary not in TYPE_KEYWORDS:
        raise Breaks(f"hangs for ever on the type '{text}'")
    return primary


def columns_of(schema: str) -> list[Column]:
    """The columns of a v1+json header's ``schema``: cut at commas outside of brackets, `` KEY`` and
    back-ticks dropped, the name up to the first blank."""
    columns = []
    for part in _split(schema):
        bare = part.replace(" KEY", "").replace("`", "").strip()
        name, blank, type_text = bare.partition(" ")
        if not blank:
            raise Breaks(f"no type in the schema part '{part}'")
        columns.append(Column(name, column_type(type_text)))
    return columns


def _split(schema: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for at, char in enumerate(schema):
        if char in "(<":
            depth += 1
        elif char in ")>":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(schema[start:at])
            start = at + 1
    return [*parts, schema[start:]] if schema else []


# ── lines ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Lines:
    """Cuts a body at newlines; what remains at its end is a record if it is not empty."""

    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """The payload of one DATA frame."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for record in whole:
            self._on_raw(record)

    def end(self) -> None:
        """END_STREAM."""
        if self._rest:
            self._on_raw(self._rest)
        self._rest = b""
        self.on_end()

    def _on_raw(self, record: bytes) -> None:
        if not record:
            raise Breaks("a blank line: an exception in its log, and the next rows are late")
        if record.endswith(b"\r"):
            raise Breaks(f"CRLF: {record!r}")
        self.on_record(record)

    def on_record(self, record: bytes) -> None:
        """A record."""
        raise NotImplementedError

    def on_end(self) -> None:
        """The end of the body, after its last record."""


@dataclass
class QueryRecords(Lines):
    """A query's response, whatever its dialect."""

    query_id: str | None = None
    columns: list[Column] | None = None
    """None until the header came"""
    rows: list[list[Any]] = field(default_factory=list)
    continuation: str | None = None
    error: str | None = None
    """the message that fails the query"""
    finals: list[str] = field(default_factory=list)
    complete: bool = False

    def on_end(self) -> None:
        if self.columns is None:
            raise Breaks("the body ended without a header: the query never completes")
        self.complete = self.error is None


@dataclass
class StreamedRows(QueryRecords):
    """v1+json, as clients from ksqlDB 0.27 on read it."""

    batched: bool = False
    """executeQuery: it has no eyes for tokens and errors"""

    def on_record(self, record: bytes) -> None:
        stripped = _stripped(record)
        if self.columns is None:
            self._on_header(members(stripped))
        elif stripped:
            self._on_item(members(stripped))

    def _on_header(self, item: dict[str, Any]) -> None:
        header = require(item, "header", dict)
        self.query_id = require(header, "queryId", str, type(None)) if "queryId" in header else None
        self.columns = columns_of(require(header, "schema", str))

    def _on_item(self, item: dict[str, Any]) -> None:
        if len(item) != 1:
            raise Breaks(f"an element has exactly one member (§1.5): {item}")
        if "finalMessage" in item:
            self.finals.append(require(item, "finalMessage", str))
        elif "row" in item:
            self.rows.append(require(item["row"], "columns", list))
        elif "continuationToken" in item and not self.batched:
            self.continuation = require(item["continuationToken"], "continuationToken", str)
        elif "errorMessage" in item:
            self.error = require(item["errorMessage"], "message", str)
        else:
            raise Breaks(f"hangs if it is the last record, else an exception in its log: {item}")

    def on_end(self) -> None:
        if self.error is not None and self.batched:
            raise Breaks(f"an error, then a clean end: executeQuery loses it ({self.error})")
        super().on_end()


def _stripped(record: bytes) -> bytes:
    """Rule 2 of Appendix B: an opening bracket, a closing one and then a comma are dropped."""
    record = record.removeprefix(b"[").removesuffix(b"]")
    return record.removesuffix(b",") if len(record) > 1 else record


@dataclass
class DelimitedRows(QueryRecords):
    """The delimited dialect, as clients up to ksqlDB 0.26 read it."""

    def on_record(self, record: bytes) -> None:
        if self.columns is None:
            header = members(record)
            self.query_id = require(header, "queryId", str, type(None))
            names = require(header, "columnNames", list)
            types = require(header, "columnTypes", list)
            pairs = zip(names, types, strict=True)
            self.columns = [Column(name, column_type(text)) for name, text in pairs]
            return
        value = document(record)
        if isinstance(value, list):
            self.rows.append(value)
        elif isinstance(value, dict) and "continuationToken" in value:
            self.continuation = require(value, "continuationToken", str)
        elif isinstance(value, dict):
            self.error = require(value, "message", str)
        else:
            raise Breaks(f"neither a row nor an object: {record!r}")


# ── acks ─────────────────────────────────────────────────────────────────────────────────────


@dataclass
class AckRecords(Lines):
    """The response of an insert stream. ``numbered``: `streamInserts`, which needs ``seq``."""

    numbered: bool = True
    acked: list[int] = field(default_factory=list)
    error: str | None = None
    complete: bool = False

    def on_record(self, record: bytes) -> None:
        ack = members(record)
        seq = require(ack, "seq", int) if self.numbered else -1
        match require(ack, "status", str):
            case "ok":
                if self.error is None:
                    self.acked.append(seq)
            case "error":
                where = f" Inserts sequence number: {seq}." if self.numbered else ""
                self.error = (
                    f"Received error from /inserts-stream.{where} "
                    f"Error code: {require(ack, 'error_code', int)}. "
                    f"Message: {require(ack, 'message', str)}"
                )
            case other:
                raise Breaks(f"an ack's status is ok or error, not {other}")

    def on_end(self) -> None:
        if not self.numbered and self.error is None and len(self.acked) != 1:
            raise Breaks(f"insertInto needs exactly one ack, not {len(self.acked)}: it hangs")
        self.complete = self.error is None
