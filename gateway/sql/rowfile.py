"""Spooled rows as a relation of DuckDB: a file in a folder that nothing else may be read from.

DuckDB reads newline-delimited JSON from a file at several times the speed of any other way in
(measured: 2.4 M rows/s against 0.9 M for rows passed as a string), so the rows of a batch take the
path over a file that lives for one statement. The connection's external access is off but for
this folder.

What DuckDB's reader bends is put right before it reads (`rewritten`): a key that stands twice in
an object (JSON says nothing; every client of ours means the last), and a number of more than 15
digits, which it would read as a double.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from gateway.sql.names import identifier, literal

LONG_NUMBER = re.compile(rb"[0-9.]{16,}")
"""Bytes that may be a number which a double cannot hold."""


class MalformedRow(Exception):
    """Line ``line`` (from 1) is not one JSON object."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the rows' objects: its key, and the DuckDB type it is read as."""

    name: str
    read_as: str


def relation(path: Path, fields: Sequence[Field]) -> str:
    """DuckDB text of the file's rows; columns have the keys' encoded names.

    Keys are matched with regard to case, but two that differ by nothing else cannot both be read
    by name: then each is taken from the object by its pointer, which is slower.
    """
    if len({field.name.lower() for field in fields}) < len(fields):
        return _by_pointer(path, fields)
    columns = ", ".join(f"{literal(f.name)}: {literal(f.read_as)}" for f in fields)
    names = ", ".join(identifier(field.name) for field in fields)
    return (
        f"(SELECT * FROM read_json({literal(str(path))}, columns={{{columns}}}, "
        f"format='newline_delimited', records='true') AS r({names}))"
    )


def _by_pointer(path: Path, fields: Sequence[Field]) -> str:
    columns = ", ".join(
        f"CAST(json_extract(json, {literal(_pointer(f.name))}) AS {f.read_as}) "
        f"AS {identifier(f.name)}"
        if f.read_as == "JSON"
        else f"from_json(json_extract(json, {literal(_pointer(f.name))}), "
        f"{literal(orjson.dumps(f.read_as).decode())}) AS {identifier(f.name)}"
        for f in fields
    )
    return f"(SELECT {columns} FROM read_ndjson_objects({literal(str(path))}))"


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def rewritten(lines: Iterable[bytes], numbers_as_text: Collection[str]) -> Iterator[bytes]:
    """Each row with the last of equal keys, and the named members' numbers as strings.

    Raises `MalformedRow` at the first line that is not one JSON object.
    """
    for at, line in enumerate(lines, 1):
        try:
            row = _decoder.decode(line.decode())
            if not isinstance(row, dict):
                raise MalformedRow(at, "the row is not a JSON object")
            for name in numbers_as_text:
                if name in row:
                    row[name] = _numbers_as_text(row[name])
            yield orjson.dumps(row, default=_number) + b"\n"
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedRow(at, str(error)) from error


def _numbers_as_text(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() | Decimal():
            return format(value, "f") if isinstance(value, Decimal) else str(value)
        case list():
            return [_numbers_as_text(part) for part in value]
        case Mapping():
            return {key: _numbers_as_text(part) for key, part in value.items()}
    return value


def _number(value: Any) -> orjson.Fragment:
    """A number as it was written, digit for digit."""
    if not isinstance(value, Decimal):
        raise TypeError(f"no JSON for {type(value).__name__}")
    return orjson.Fragment(str(value).encode())


def _whole(text: str) -> int | Decimal:
    return int(text) if len(text) < 19 else Decimal(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(parse_float=Decimal, parse_int=_whole, parse_constant=_refuse_constant)
