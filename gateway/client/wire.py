"""The client's side of the wire, pure: intents to request bytes, answer bytes to values.

The delimited dialect only (ksqlDB's API, `/inserts-stream` and `/query-stream` without an Accept
header): one JSON value to a line, ``\\n`` after each. Cuts of the bytes carry no meaning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from gateway.client.backoff import WAITING_CODES, is_fenced
from gateway.client.errors import (
    AnswerBroken,
    ClientError,
    KsqlResponseError,
    QueryFailed,
    RowRefused,
)
from gateway.client.place import QueryPlace
from protocol.tokens import CONTINUE_FROM, TOKENS_ENABLED
from protocol.types import Column, TypeTextError, parse_type

LINE_LIMIT_BYTES = 64 * 1024 * 1024
"""Longest line that is waited for: a server that sends no newline must not fill the memory."""


# ── intents to bytes ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertTerms:
    """What an insert asks for; None leaves it to the server. ``properties`` win over the others."""

    ack: str = "committed"
    channel: str | None = None
    offset: int | None = None
    on_error: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> dict[str, Any]:
        """The request's properties."""
        named = {
            "headrace.ack": self.ack,
            "headrace.channel": self.channel,
            "headrace.offset": self.offset,
            "headrace.on_error": self.on_error,
        }
        given = {name: value for name, value in named.items() if value is not None}
        return {"headrace.frames": "coalesced", **given, **self.properties}

    @property
    def continues(self) -> bool:
        """Whether a refused row does not end the insert."""
        return bool(self.asked.get("headrace.on_error") == "continue")


def insert_arguments(target: str, terms: InsertTerms) -> bytes:
    """The first line of `/inserts-stream`."""
    return orjson.dumps({"target": target, "properties": terms.asked}) + b"\n"


def next_offset(headers: Mapping[str, str]) -> int | None:
    """Where the channel stood, if the insert is on one. Raises `AnswerBroken`."""
    text = headers.get("headrace-next-offset")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise AnswerBroken(f"headrace-next-offset is no number: {text[:100]!r}")
    return int(text)


def query_arguments(
    sql: str, properties: Mapping[str, Any], place: QueryPlace | None = None
) -> bytes:
    """The body of `/query-stream`; with a ``place`` tokens are asked for, and to go on from it."""
    asked = {"headrace.frames": "coalesced", **properties}
    if place is None:
        return orjson.dumps({"sql": sql, "properties": asked})
    own = {} if place.token is None else {CONTINUE_FROM: place.token}
    asked[TOKENS_ENABLED] = True
    return orjson.dumps({"sql": sql, "properties": asked, "requestProperties": own})


def row_lines(row: Mapping[str, Any] | bytes) -> tuple[bytes, int]:
    """The lines of one item of the caller's iterable, and how many rows they are.

    A mapping is one row. Bytes are one row or several, as JSON objects on lines of their own;
    they are sent as they are, and only a missing last newline is put on.
    """
    if not isinstance(row, bytes):
        return orjson.dumps(row) + b"\n", 1
    lines = row if row.endswith(b"\n") else row + b"\n"
    return lines, lines.count(b"\n")


# ── bytes to values ──────────────────────────────────────────────────────────────────────────


class LineCutter:
    """Whole lines out of arbitrary pieces; the rest waits for its newline."""

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> bytes:
        """All lines that are whole now, joined, each with its newline; may be empty."""
        end = data.rfind(b"\n") + 1
        if end == 0:
            self._rest += data
            if len(self._rest) > LINE_LIMIT_BYTES:
                raise AnswerBroken(f"a line of the answer is longer than {LINE_LIMIT_BYTES} bytes")
            return b""
        lines = self._rest + data[:end]
        self._rest = data[end:]
        return lines

    def rest(self) -> bytes:
        """The last line where its newline never came; handed out once."""
        rest, self._rest = self._rest, b""
        return rest


@dataclass(frozen=True, slots=True)
class AckBatch:
    """Verdicts that came together: every row from ``first_seq`` to ``last_seq``, both included.

    All of them are acked but those in ``refused``, by sequence number: there are such only where
    the insert goes on after them (``on_error="continue"``). The first ``duplicates`` rows had been
    stored before.
    """

    first_seq: int
    last_seq: int
    duplicates: int = 0
    refused: tuple[RowRefused, ...] = ()

    def __len__(self) -> int:
        return self.last_seq - self.first_seq + 1

    @property
    def acked(self) -> int:
        """How many of the rows are acked."""
        return len(self) - len(self.refused)

    def acked_ranges(self) -> Iterator[range]:
        """The rows that are acked, without those that were refused."""
        first = self.first_seq
        for refused in (*self.refused, None):
            end = self.last_seq + 1 if refused is None else refused.seq
            if first < end:
                yield range(first, end)
            first = end + 1


class _AckLine(msgspec.Struct, gc=False):
    status: str = ""
    seq: int = -1
    duplicate: bool = False
    message: str = ""
    error_code: int = 0


class AckReader:
    """Ack lines to `AckBatch`es; checks that they are dense from 0.

    ``failure`` is set by an error line that ends the insert: what it refuses comes after the acks
    that `feed` returned. With ``continues`` an error line that names a row is a verdict among
    others, and ``last_refused`` while no other line has come after it; but one of a row that was
    not ``sent`` yet is the server's word that it takes no more.

    With ``resumes`` what is no verdict must never be taken for one: an error line that says so by
    its code ends the insert, and any other is ``held`` while it is the last that came, for if the
    answer ends behind it, it may be the reason of the end. `release` takes it for a verdict.
    """

    def __init__(self, *, continues: bool = False, resumes: bool = False) -> None:
        self.next_seq = 0
        self.sent = 0
        """rows sent so far; the caller keeps it"""
        self.refused = 0
        """rows refused so far, of those that the insert went on after"""
        self.failure: ClientError | None = None
        self.last_refused: RowRefused | None = None
        self._continues = continues
        self.resumes = resumes
        self._held: _AckLine | None = None
        self._cutter = LineCutter()
        self._decoder = msgspec.json.Decoder(_AckLine)

    def feed(self, data: bytes) -> AckBatch | None:
        """The acks that are whole now; raises `AnswerBroken` where they are not dense."""
        return self._take(self._cutter.cut(data))

    def end(self) -> AckBatch | None:
        """The answer is over: a last line without its newline still counts."""
        return self._take(self._cutter.rest())

    @property
    def held(self) -> RowRefused | None:
        """The refusal that is the last line so far and may be the reason of an end."""
        held = self._held
        return None if held is None else RowRefused(held.seq, held.message, held.error_code)

    def release(self) -> AckBatch | None:
        """No end came behind it: what is held is a verdict."""
        held, self._held = self._held, None
        return None if held is None else self._told([held])

    def _take(self, lines: bytes) -> AckBatch | None:
        if not lines or self.failure is not None:
            return None
        try:
            acks = self._decoder.decode_lines(lines)
        except msgspec.MsgspecError as exc:
            raise AnswerBroken(f"not an ack line: {exc}: {lines[:200]!r}") from exc
        if self._held is not None:
            acks.insert(0, self._held)
            self._held = None
        if self.resumes and acks and acks[-1].status != "ok" and self._is_verdict(acks[-1]):
            self._held = acks.pop()
        return self._told(acks)

    def _is_verdict(self, line: _AckLine) -> bool:
        """Whether an error line is the verdict on one row, and the insert goes on."""
        if not self._continues or not 0 <= line.seq < self.sent:
            return False
        if not self.resumes:
            return True
        refused = RowRefused(line.seq, line.message, line.error_code)
        return refused.code not in WAITING_CODES and not is_fenced(refused)

    def _told(self, acks: list[_AckLine]) -> AckBatch | None:
        first, duplicates, refused = self.next_seq, 0, list[RowRefused]()
        for ack in acks:
            if ack.status == "ok":
                self.last_refused = None
                duplicates += ack.duplicate
            elif self._is_verdict(ack):
                self.last_refused = RowRefused(ack.seq, ack.message, ack.error_code)
                refused.append(self.last_refused)
            else:
                self.failure = _insert_failure(ack)
                break
            if ack.seq != self.next_seq:
                raise AnswerBroken(f"expected the ack of row {self.next_seq}, got row {ack.seq}'s")
            self.next_seq += 1
        if self.next_seq == first:
            return None
        self.refused += len(refused)
        return AckBatch(first, self.next_seq - 1, duplicates, tuple(refused))


def _insert_failure(line: _AckLine) -> ClientError:
    """A row's refusal where the line names a row, else the failure of the whole stream."""
    if line.seq >= 0:
        return RowRefused(line.seq, line.message, line.error_code)
    return KsqlResponseError(200, line.error_code, line.message or "the insert failed")


class _ErrorBody(msgspec.Struct):
    error_code: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class QueryHeader:
    """The first line of a query's answer; ``query_id`` is empty where the server gives none."""

    query_id: str
    columns: tuple[Column, ...]


class _HeaderLine(msgspec.Struct, rename="camel"):
    query_id: str | None = None
    column_names: list[str] = []
    column_types: list[str] = []


class QueryReader:
    """Lines of `/query-stream` to a header and rows.

    ``failure`` is set by an error line, after the rows that `feed` returned with it.
    ``continuation_token`` is the newest that the server sent. ``place`` counts the rows, and drops
    those that were handed out by a session before this one.
    """

    def __init__(self, place: QueryPlace | None = None) -> None:
        self.header: QueryHeader | None = None
        self.failure: ClientError | None = None
        self.continuation_token: str | None = None
        self._place = place
        self._cutter = LineCutter()
        self._decoder = msgspec.json.Decoder()

    def feed(self, data: bytes) -> list[list[Any]]:
        """The rows that are whole now; the header is taken out of the first line."""
        return self._take(self._cutter.cut(data))

    def end(self) -> list[list[Any]]:
        """The answer is over: a last line without its newline still counts."""
        return self._take(self._cutter.rest())

    def _take(self, lines: bytes) -> list[list[Any]]:
        if lines and self.header is None:
            first, _, lines = lines.partition(b"\n")
            self.header = _query_header(first)
        if not lines or self.failure is not None:
            return []
        try:
            values = self._decoder.decode_lines(lines)
        except msgspec.MsgspecError as exc:
            raise AnswerBroken(f"not a row: {exc}: {lines[:200]!r}") from exc
        rows: list[list[Any]] = []
        for value in values:
            if isinstance(value, list):
                if self._place is None or self._place.row():
                    rows.append(value)
            elif self._object(value):
                break
        return rows

    def _object(self, value: object) -> bool:
        """An object among the rows; True if it ends the answer."""
        if not isinstance(value, dict):
            raise AnswerBroken(f"neither a row nor an object: {str(value)[:200]}")
        if "error_code" in value:
            self.failure = QueryFailed(int(value["error_code"]), str(value.get("message", "")))
            return True
        if "continuationToken" in value:
            self.continuation_token = str(value["continuationToken"])
            if self._place is not None:
                self._place.at(self.continuation_token)
        return False


def _query_header(line: bytes) -> QueryHeader:
    try:
        error = msgspec.json.decode(line, type=_ErrorBody)
        if error.error_code:
            raise QueryFailed(error.error_code, error.message)
        header = msgspec.json.decode(line, type=_HeaderLine)
        pairs = zip(header.column_names, header.column_types, strict=True)
        columns = tuple(Column(name, parse_type(text)) for name, text in pairs)
    except (msgspec.MsgspecError, TypeTextError, ValueError) as exc:
        raise AnswerBroken(f"not a query header: {exc}: {line[:200]!r}") from exc
    return QueryHeader(header.query_id or "", columns)


def response_error(
    status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> KsqlResponseError:
    """The exception of a reply whose status is not 200, whatever its body holds."""
    try:
        error = msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.MsgspecError:
        error = _ErrorBody()
    text = error.message or body[:500].decode(errors="replace") or _UNSAID.get(status, _NO_REASON)
    retry_after_s = _retry_after_s((headers or {}).get("retry-after"))
    return KsqlResponseError(status, error.error_code or status * 100, text, retry_after_s)


_NO_REASON = "the server gave no reason"
_UNSAID = {
    401: "the server wants credentials, or others than it was given",
    403: "these credentials may not do this",
    429: "the server has no room for this now",
}


def _retry_after_s(text: str | None) -> float | None:
    """Seconds only: a date would need the server's clock."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return float(text)
