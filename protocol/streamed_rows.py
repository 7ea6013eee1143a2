r"""v1+json: the third framing of a query, which ksqlDB's Java client from 0.27 on needs.

One JSON array whose elements are objects of one member each (``header``, ``row``,
``continuationToken``, ``errorMessage``, ``finalMessage``), separated by ``,\n``: its reader takes
them line by line, long before the array is whole. So where a line must be whole at once, the
separator follows the element:

* A body that will end with a final message (push queries, pull queries of a stream) closes each
  line as it is written. The header's leaves at once, before any row exists.
* A body that will not (a pull query of a table) may end behind any element, so there a separator
  leads the next one.

Law: whatever is written, the body is one valid JSON array, and no line is blank. An error closes
its own line before the array's end, ``…}}\n]``: what follows may be a reset instead of an end, and
then an unfinished line would be lost.

Protocol: ksqlDB API, ``application/vnd.ksql.v1+json``; facts in the protocol notes §1.5 C.
"""

from collections.abc import Sequence

import orjson

from protocol.errors import KsqlError
from protocol.types import Column, schema_text

_SEPARATOR = b",\n"
_ROW_START = b'{"row":{"columns":'
_ROW_END = b"}}"
_BETWEEN_ROWS = _ROW_END + _SEPARATOR + _ROW_START


class StreamedRows:
    """Writes the body of one query. ``final_message``: whether it will end with one."""

    def __init__(self, *, final_message: bool) -> None:
        self._final_message = final_message

    def header(self, query_id: str, columns: Sequence[Column]) -> list[bytes]:
        """The first line: the query's id and its schema, names in back-ticks, keys marked."""
        document = {"header": {"queryId": query_id, "schema": schema_text(tuple(columns))}}
        return [b"[" + orjson.dumps(document) + (_SEPARATOR if self._final_message else b"")]

    def rows(self, raw: bytes) -> list[bytes]:
        """Rows: JSON arrays, each on a line that ends in a newline."""
        if not raw:
            return []
        elements = _ROW_START + raw[:-1].replace(b"\n", _BETWEEN_ROWS) + _ROW_END
        return [elements + _SEPARATOR if self._final_message else _SEPARATOR + elements]

    def token(self, token: str) -> list[bytes]:
        """A continuation token as an element; it nests, as ksqlDB's does."""
        element = orjson.dumps({"continuationToken": {"continuationToken": token}})
        return [element + _SEPARATOR if self._final_message else _SEPARATOR + element]

    def error(self, error: KsqlError) -> list[bytes]:
        """The error as an element, and the end of the array."""
        element = orjson.dumps({"errorMessage": error.document()})
        lead = b"" if self._final_message else _SEPARATOR
        return [lead + element + b"\n]"]

    def end(self, message: str) -> list[bytes]:
        """The end of the array, after ``message`` where there is to be one."""
        if not self._final_message:
            return [b"]"]
        return [orjson.dumps({"finalMessage": message}) + b"]"]
