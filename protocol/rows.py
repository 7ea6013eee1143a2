"""JSON lines → checked rows: a fast typed decoder, and an exact slow one that names what is wrong.

A block of lines is tried whole by a typed msgspec decoder, one C call for all its rows. Where that
accepts it, the rows go on as the very bytes that the client sent (or, where a timestamp has to be
written in its canonical form, re-encoded by one more C call). Where it does not, the slow path
reads the block line by line, folds names, coerces values as ksqlDB does, and either re-encodes the
rows or says which row and which column is wrong, in ksqlDB's own words.

Laws:
1. What the slow path refuses the fast path never accepts: the fast path is a shortcut, no dialect.
2. A checked row has only the names of the schema's ``stored_as``, values that the warehouse keeps
   without bending them, and a time that is not null.
3. Of a block with a bad row, the rows before it are accepted.
4. What a block costs does not depend on how many bad rows it has, nor on where they stand.

Coercion: ksqlDB's strict rules for inserts. What is refused beyond them (null times, U+0000, more
than 64 bits, oversize rows: 40000) is what Druid would bend or what would fail a whole batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from types import GenericAlias
from typing import Annotated, Any

import msgspec
import orjson

from protocol.coercion import Uncoercible, coerce, coerce_time, text_of
from protocol.errors import RowRejected
from protocol.timestamps import MILLIS_MAX, MILLIS_MIN
from protocol.types import Base, Column, NameTextError, SqlType, fold

INVALID_JSON = "Invalid JSON in inserts stream"

PIECE_BYTES = 4096
"""Of a block with a bad row, about so much goes the slow way with it; the rest stays fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column as rows meet it.

    ``stored_as`` is its spelling in the datasource, the one that the fast path wants. A field with
    ``read_time`` is the row's time: text → epoch ms by its pattern; None for ISO text and numbers.
    """

    column: Column
    stored_as: str
    is_time: bool = False
    read_time: Callable[[str], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSchema:
    """What rows of a stream must look like.

    ``stamp_as`` names the field that gets the arrival time where no column is the time.
    ``folds`` says whether names resolve by ksqlDB's folding (a declared stream) or, failing an
    exact match, without regard to case (a discovered datasource).
    """

    fields: tuple[Field, ...]
    stamp_as: str | None = None
    folds: bool = True


@dataclass(frozen=True, slots=True)
class Checked:
    """``count`` good rows as ``raw`` lines, then perhaps a bad one.

    ``refused`` is the bad one as it came, without its newline; of one over the size limit, its
    start up to there.
    """

    raw: bytes
    count: int
    rejected: RowRejected | None = None
    refused: bytes = b""


class RowChecker:
    """Checks blocks of lines against one schema. Keeps no state between blocks."""

    def __init__(self, schema: RowSchema, *, row_limit_bytes: int) -> None:
        self._schema = schema
        self._row_limit_bytes = row_limit_bytes
        self._decoder, self._reencodes = _typed_decoder(schema)
        self._encoder = msgspec.json.Encoder()
        self._names = _Names(schema)

    def check(self, block: bytes, arrival_ms: int) -> Checked:
        """Check whole lines (each ending in a newline) that arrived at ``arrival_ms``.

        Rows after the first bad one are not looked at.
        """
        fast = self._fast(block, arrival_ms)
        return fast if fast is not None else next(self._slow(block, arrival_ms))

    def check_all(self, block: bytes, arrival_ms: int) -> Iterator[Checked]:
        """As `check`, and on past each bad row: segments of good rows, each but perhaps the last
        with a bad one behind it. Lazy: what is not taken is not checked."""
        whole = self._fast(block, arrival_ms)
        if whole is not None:
            return iter((whole,))
        return self._segments(_pieces(block), arrival_ms)

    def _fast(self, block: bytes, arrival_ms: int) -> Checked | None:
        if self._decoder is None or not self._plain(block):
            return None
        count = block.count(b"\n")
        # Every line starts with "{" and ends with "}": so every newline stands between rows, and
        # as many values as lines means one row to a line, with no blank line and no glued pair.
        if not block.startswith(b"{") or block.count(b"}\n{") != count - 1:
            return None
        if not block.endswith(b"}\n"):
            return None
        try:
            rows = self._decoder.decode_lines(block)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if len(rows) != count:
            return None
        if self._reencodes:
            block = self._encoder.encode_lines(rows)
        return self._stamped(block, count, arrival_ms)

    def _plain(self, block: bytes) -> bool:
        """No row can be over the limit, no string can hold U+0000, no reader sees more lines.

        A raw carriage return can only be white space, but many take it for the end of a line.
        """
        return (
            len(block) <= self._row_limit_bytes and b"\\u0000" not in block and b"\r" not in block
        )

    def _stamped(self, block: bytes, count: int, arrival_ms: int) -> Checked | None:
        if self._schema.stamp_as is None:
            return Checked(block, count)
        # The stamp becomes the first member, so every row must have a member to come after it.
        if not block.startswith(b'{"') or block.count(b'\n{"') != count - 1:
            return None
        stamp = b'{"%s":%d,"' % (self._schema.stamp_as.encode(), arrival_ms)
        return Checked(stamp + block[2:].replace(b'\n{"', b"\n" + stamp), count)

    def _segments(self, pieces: Iterable[bytes], arrival_ms: int) -> Iterator[Checked]:
        good: list[bytes] = []
        count = 0
        for piece in pieces:
            fast = self._fast(piece, arrival_ms)
            for checked in self._slow(piece, arrival_ms) if fast is None else (fast,):
                good.append(checked.raw)
                count += checked.count
                if checked.rejected is not None:
                    yield Checked(b"".join(good), count, checked.rejected, checked.refused)
                    good, count = [], 0
        if count:
            yield Checked(b"".join(good), count)

    def _slow(self, block: bytes, arrival_ms: int) -> Iterator[Checked]:
        good: list[bytes] = []
        for line in block[:-1].split(b"\n"):
            try:
                good.append(self._row(line, arrival_ms))
            except RowRejected as refusal:
                refused = line[: self._row_limit_bytes]
                yield Checked(_joined(good), len(good), _bare(refusal), refused)
                good = []
        if good:
            yield Checked(_joined(good), len(good))

    def _row(self, line: bytes, arrival_ms: int) -> bytes:
        if len(line) > self._row_limit_bytes:
            raise too_long(self._row_limit_bytes)
        members = _members(line)
        row: dict[str, Any] = {}
        for field, value in self._names.resolve(members):
            row[field.stored_as] = _value(field, value)
        self._require(row)
        if self._schema.stamp_as is not None:
            row[self._schema.stamp_as] = arrival_ms
        encoded = orjson.dumps(row)
        if b"\\u0000" in encoded:
            _refuse_null_bytes(row)
        return encoded

    def _require(self, row: dict[str, Any]) -> None:
        for field in self._schema.fields:
            if row.get(field.stored_as) is not None:
                continue
            if field.column.key:
                raise RowRejected(f"Key field must be specified: {field.column.name}")
            if field.is_time:
                raise RowRejected(
                    f"Time column `{field.column.name}` must not be null: every row needs a time"
                )


def too_long(limit_bytes: int) -> RowRejected:
    """The refusal of a row over the limit."""
    return RowRejected(
        f"Row is larger than the limit of {limit_bytes} bytes (http.row_limit_bytes)"
    )


def _joined(lines: list[bytes]) -> bytes:
    return b"\n".join((*lines, b""))


def _bare(refusal: RowRejected) -> RowRejected:
    """The same without the frames that it came through: it may be kept for long."""
    return RowRejected(refusal.message, refusal.code)


def _pieces(block: bytes) -> Iterator[bytes]:
    """The block in pieces of whole lines."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + PIECE_BYTES) + 1 or len(block)
        yield block[start:end]
        start = end


def _members(line: bytes) -> dict[str, Any]:
    try:
        members = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RowRejected(INVALID_JSON) from None
    if not isinstance(members, dict):
        raise RowRejected(INVALID_JSON)
    return members


def _value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    name = field.column.name
    try:
        if field.is_time:
            return coerce_time(value, field.column.type, field.read_time)
        return coerce(value, field.column.type)
    except Uncoercible as problem:
        raise RowRejected(f"{problem} (column `{name}`)") from None


def _refuse_null_bytes(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if "\x00" in text_of(value):
            raise RowRejected(f"U+0000 cannot be stored: remove it from column `{name}`")


class _Names:
    """Which field a member's name means. Answers are kept: rows repeat their names."""

    KEPT_MAX = 4096

    def __init__(self, schema: RowSchema) -> None:
        self._exact = {field.stored_as: field for field in schema.fields}
        self._folded = {field.column.name: field for field in schema.fields}
        self._any_case: dict[str, Field] = {}
        if not schema.folds:
            for field in schema.fields:
                self._any_case[field.column.name.upper()] = field
        self._kept: dict[str, Field | None] = {}

    def resolve(self, members: dict[str, Any]) -> list[tuple[Field, Any]]:
        """Fields and their values; unknown names are ignored, as ksqlDB ignores them."""
        found: dict[str, tuple[Field, Any]] = {}
        for name, value in members.items():
            field = self._field(name)
            if field is None:
                continue
            if field.stored_as in found:
                raise RowRejected(
                    f"Found duplicate column / struct field name: {field.column.name}"
                )
            found[field.stored_as] = (field, value)
        return list(found.values())

    def _field(self, name: str) -> Field | None:
        if name in self._kept:
            return self._kept[name]
        field = self._look_up(name)
        if len(self._kept) < self.KEPT_MAX:
            self._kept[name] = field
        return field

    def _look_up(self, name: str) -> Field | None:
        if name in self._exact:
            return self._exact[name]
        try:
            folded = fold(name)
        except NameTextError as problem:
            raise RowRejected(
                f"Invalid column / struct field name. Name: {name}. Reason: {problem}."
            ) from None
        return self._folded.get(folded) or self._any_case.get(folded)


# ── the fast path's types ────────────────────────────────────────────────────────────────────

_INT32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_MILLIS = Annotated[int, msgspec.Meta(ge=MILLIS_MIN, le=MILLIS_MAX)]

_PLAIN: dict[Base, Any] = {
    Base.STRING: str,
    Base.INTEGER: _INT32,
    Base.BIGINT: _INT64,
    Base.DOUBLE: float,
    Base.BOOLEAN: bool,
    Base.DATE: date,
}


def _typed_decoder(schema: RowSchema) -> tuple[msgspec.json.Decoder[Any] | None, bool]:
    """A decoder that accepts exactly what needs no coercion, and whether rows are re-encoded.

    None where a column's type always needs the slow path.
    """
    members: list[Any] = []
    reencodes = False
    for number, field in enumerate(schema.fields):
        kind = _time_type(field) if field.is_time else _fast_type(field.column.type)
        if kind is None:
            return None, False
        reencodes = reencodes or kind in (datetime, date)
        required = field.is_time or field.column.key
        members.append((f"f{number}", kind) if required else (f"f{number}", kind | None, None))
    struct = msgspec.defstruct(
        "Row",
        members,
        rename={f"f{number}": field.stored_as for number, field in enumerate(schema.fields)},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
    return msgspec.json.Decoder(struct), reencodes


def _time_type(field: Field) -> Any:
    if field.read_time is not None:
        return None
    return _MILLIS if field.column.type.base is Base.BIGINT else datetime


def _fast_type(kind: SqlType) -> Any:
    if kind.base in (Base.ARRAY, Base.MAP):
        assert kind.element is not None
        element = _PLAIN.get(kind.element.base)
        if element is None or element is date:
            return None
        nullable = element | None
        if kind.base is Base.ARRAY:
            return GenericAlias(list, (nullable,))
        return GenericAlias(dict, (str, nullable))
    return _PLAIN.get(kind.base)
