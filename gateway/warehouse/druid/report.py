"""Rows out of an MSQ report, piece by piece: the report of a big SELECT never is in memory whole.

Pure. The report (Druid's ``api-reference/sql-ingestion-api``, ``multi-stage-query/reference``) is
one JSON document with the rows deep inside::

    {"multiStageQuery":{…,"payload":{…,"results":{"signature":[{"name","type"},…],
      "sqlTypeNames":[…],"results":[[…],[…]],"resultsTruncated":false}}}}

27.0.0 writes ``resultsTruncted``. What surrounds the results may come before or behind them. A
result counts as whole only if the document was read to its last bracket and says that nothing was
left out. Times are numbers in there: milliseconds, and days for a DATE; they become the texts
that ``/druid/v2/sql`` gives for them.
"""

import re
from collections.abc import Callable, Generator, Mapping
from typing import Any

import orjson

from gateway.seams import QueryBroken, ResultColumn, RowLines
from gateway.warehouse.druid.columns import result_type
from protocol.timestamps import to_iso

_VALUE_LIMIT_BYTES = 64 << 20
_DEPTH_MAX = 64
_DAY_MS = 86_400_000

_STRING = rb'"(?:[^"\\]++|\\.)*+"'


def _nested(depth: int) -> bytes:
    """An array or object, brackets counted by the pattern itself down to ``depth``."""
    pattern = b""
    for _ in range(depth):
        inner = b"|" + pattern if pattern else b""
        pattern = rb"[\[{](?:[^\[\]{}\"]++|" + _STRING + inner + rb")*+[\]}]"
    return pattern


_BLANK = re.compile(rb"[\s,:]*+")
_VALUE = re.compile(_STRING + b"|" + _nested(_DEPTH_MAX) + rb"|[^\s,\[\]{}\"]++(?=[\s,\]}])")
_ROWS = re.compile(rb"(?:[\s,]*+" + _nested(8) + rb")*+")

_Step = Generator[None, None, None]
_Convert = Callable[[Any], Any]


class ReportReader:
    """Feed it the report's bytes; it gives rows. Holds a piece and one value at the most.

    ``columns`` are None until the first row may come. Raises `QueryBroken` for what is no report.
    """

    def __init__(self, limit_bytes: int = _VALUE_LIMIT_BYTES) -> None:
        self.columns: tuple[ResultColumn, ...] | None = None
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._wanted_bytes = 0
        self._found: list[Any] = []
        self._signature: list[dict[str, str]] = []
        self._sql_types: list[str | None] = []
        self._converters: list[tuple[int, _Convert]] = []
        self._truncated: bool | None = None
        self._walk = self._report()
        self._ended = False

    def feed(self, piece: bytes) -> RowLines | None:
        """The rows that end in this piece, if any do."""
        self._buffer += piece
        if len(self._buffer) < self._wanted_bytes:
            return None
        return self._read_on()

    def finish(self) -> RowLines | None:
        """Nothing follows: the last rows. Raises `QueryBroken` unless the result is whole."""
        last = self._read_on()
        if not self._ended or self._buffer.strip():
            raise QueryBroken("the task's report ended before its last row")
        if self.columns is None:
            raise QueryBroken("the task's report holds no result")
        if self._truncated is not False:
            raise QueryBroken(
                "Druid truncated the result in the task's report: ask for fewer rows, or without "
                "headrace.engine=task"
            )
        return last

    def _read_on(self) -> RowLines | None:
        if self._ended:
            return None
        try:
            next(self._walk)
        except StopIteration:
            self._ended = True
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise QueryBroken(f"the task's report cannot be read: {error}") from error
        return self._lines()

    # ── the document ──

    def _report(self) -> _Step:
        results: Mapping[str, Callable[[], _Step]] = {
            "signature": self._read_signature,
            "sqlTypeNames": self._read_sql_types,
            "results": self._rows,
            "resultsTruncated": self._read_truncated,
            "resultsTruncted": self._read_truncated,
        }
        payload = {"results": lambda: self._object(results)}
        task = {"payload": lambda: self._object(payload)}
        yield from self._object({"multiStageQuery": lambda: self._object(task)})

    def _object(self, members: Mapping[str, Callable[[], _Step]]) -> _Step:
        """Read an object; its members that are not wanted are passed over."""
        yield from self._expect(b"{")
        while not (yield from self._closes(b"}")):
            key = orjson.loads((yield from self._value()))
            yield from (members[key]() if key in members else self._skip())

    def _skip(self) -> _Step:
        yield from self._value()

    def _read_signature(self) -> _Step:
        self._signature = orjson.loads((yield from self._value()))

    def _read_sql_types(self) -> _Step:
        self._sql_types = orjson.loads((yield from self._value()))

    def _read_truncated(self) -> _Step:
        self._truncated = orjson.loads((yield from self._value()))

    def _rows(self) -> _Step:
        yield from self._expect(b"[")
        self._know_columns()
        while True:
            match = _ROWS.match(self._buffer)
            if match is not None and match.end():
                raw = self._take(match.end())
                self._found += orjson.loads(b"[" + raw.lstrip(b", \n\r\t") + b"]")
            if self._first() == b"]":
                del self._buffer[:1]
                return
            yield from self._more()

    def _know_columns(self) -> None:
        if not self._signature:
            raise QueryBroken("the task's report names no columns before its rows")
        sql_types = self._sql_types or [None] * len(self._signature)
        columns = []
        for at, (column, sql_type) in enumerate(zip(self._signature, sql_types, strict=True)):
            native = column["type"]
            kind = result_type(sql_type, native)
            columns.append(ResultColumn(column["name"], kind, stored_as=sql_type or native))
            if sql_type in _TIMES:
                self._converters.append((at, _TIMES[sql_type]))
        self.columns = tuple(columns)

    def _lines(self) -> RowLines | None:
        rows, self._found = self._found, []
        if not rows:
            return None
        for at, change in self._converters:
            for row in rows:
                row[at] = change(row[at])
        lines = [orjson.dumps(row) for row in rows]
        lines.append(b"")
        return RowLines(b"\n".join(lines), len(rows))

    # ── bytes ──

    def _value(self) -> Generator[None, None, bytes]:
        """The next whole value, as its bytes."""
        while True:
            self._first()
            match = _VALUE.match(self._buffer)
            if match is not None:
                return self._take(match.end())
            yield from self._more()

    def _expect(self, mark: bytes) -> _Step:
        while not (first := self._first()):
            yield from self._more()
        if first != mark:
            raise QueryBroken("the task's report is not of the form that is known")
        del self._buffer[:1]

    def _closes(self, mark: bytes) -> Generator[None, None, bool]:
        """Whether the next thing is ``mark``, which is taken then."""
        while not (first := self._first()):
            yield from self._more()
        if first == mark:
            del self._buffer[:1]
        return first == mark

    def _first(self) -> bytes:
        """The next byte that means something; nothing if there is none yet."""
        blank = _BLANK.match(self._buffer)
        assert blank is not None
        del self._buffer[: blank.end()]
        return bytes(self._buffer[:1])

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> _Step:
        """Wait for more bytes: twice as many, or a long value would be scanned again and again."""
        if len(self._buffer) > self._limit_bytes:
            raise QueryBroken(f"a value in the report is longer than {self._limit_bytes} bytes")
        self._wanted_bytes = 2 * len(self._buffer)
        yield
        self._wanted_bytes = 0


def _iso_of_millis(value: Any) -> Any:
    return to_iso(value) if isinstance(value, int) else value


def _iso_of_days(value: Any) -> Any:
    return to_iso(value * _DAY_MS) if isinstance(value, int) else value


_TIMES: dict[str | None, _Convert] = {"TIMESTAMP": _iso_of_millis, "DATE": _iso_of_days}
