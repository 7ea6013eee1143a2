"""A bad row ends its stream in one line that names it; what came before is acked and stored."""

import json
from typing import Any

import pytest

from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    count,
    declare,
    insert,
    json_lines,
    numbered,
    open_inserts,
    records,
)

AT = '"AT":"2024-01-01"'
INVALID = "Invalid JSON in inserts stream"
COERCE = "Can't coerce a field of type class java.lang."

BAD_ROWS = {
    "text in a BIGINT": (f'{{"ID":"7",{AT}}}', COERCE + "String into type BIGINT", "ID"),
    "a fraction in a BIGINT": (f'{{"ID":1.7,{AT}}}', COERCE + "Double into type BIGINT", "ID"),
    "a whole fraction in a BIGINT": (f'{{"ID":1.0,{AT}}}', COERCE + "Double into", "ID"),
    "a boolean in a BIGINT": (f'{{"ID":true,{AT}}}', COERCE + "Boolean into", "ID"),
    "65 bits": (f'{{"ID":9223372036854775808,{AT}}}', "more than 64 bits", "ID"),
    "65 bits, negative": (f'{{"ID":-9223372036854775809,{AT}}}', "more than 64 bits", "ID"),
    "33 bits in an INTEGER": (f'{{"SMALL":2147483648,{AT}}}', "Long into type INTEGER", "SMALL"),
    "a number in a STRING": (f'{{"NAME":5,{AT}}}', COERCE + "Integer into type STRING", "NAME"),
    "text in a DOUBLE": (f'{{"PRICE":"x",{AT}}}', COERCE + "String into type DOUBLE", "PRICE"),
    "a number beyond a DOUBLE": (f'{{"PRICE":1e999,{AT}}}', "", None),
    "text in a BOOLEAN": (f'{{"OK":"true",{AT}}}', COERCE + "String into type BOOLEAN", "OK"),
    "a DECIMAL of too many digits": (f'{{"AMOUNT":"12345.67",{AT}}}', "DECIMAL(6, 2)", "AMOUNT"),
    "a null time": ('{"ID":1,"AT":null}', "must not be null", "AT"),
    "no time": ('{"ID":1}', "must not be null", "AT"),
    "a time that is none": ('{"ID":1,"AT":"soon"}', "soon", "AT"),
    "a number as a time": ('{"ID":1,"AT":1700000000000}', COERCE + "Long into", "AT"),
    "U+0000": (f'{{"NAME":"a\\u0000b",{AT}}}', "U+0000", "NAME"),
    "a raw zero byte": (f'{{"NAME":"a\0b",{AT}}}', INVALID, None),
    "a name twice": (f'{{"ID":1,"id":2,{AT}}}', "Found duplicate column", "ID"),
    "a name of broken quotes": (f'{{"`ID":1,{AT}}}', "Invalid column / struct field name", "`ID"),
    "a blank line": ("", INVALID, None),
    "a line of blanks": ("  \t", INVALID, None),
    "an array": ("[1]", INVALID, None),
    "a null": ("null", INVALID, None),
    "half an object": ('{"ID":1', INVALID, None),
    "two objects": (f'{{"ID":1,{AT}}}{{"ID":2,{AT}}}', INVALID, None),
    "no JSON": ("ijqwdijqw", INVALID, None),
    "NaN": (f'{{"PRICE":NaN,{AT}}}', INVALID, None),
}


def refusal(line: dict[str, Any], seq: int, code: int = 40000) -> str:
    """The message of an InsertError line of exactly ksqlDB's form."""
    message = line["message"]
    assert line == {
        "@type": "InsertError",
        "status": "error",
        "seq": seq,
        "message": message,
        "error_code": code,
    }
    return str(message)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_and_nothing_before_it_is_lost(
    peer: Peer, stream_name: str, case: str
) -> None:
    row, expected, column = BAD_ROWS[case]
    raw = json_lines(numbered(0, 3)) + row.encode() + b"\n" + json_lines(numbered(8, 10))
    lines = insert(peer, stream_name, raw, ack="queryable")
    assert lines[:-1] == acks(0, 3)
    message = refusal(lines[-1], 3)
    assert expected in message
    assert column is None or column in message
    assert count(peer, stream_name) == 3


def test_invalid_utf8_is_invalid_json(peer: Peer, stream_name: str) -> None:
    raw = json_lines(numbered(0, 1)) + b'{"NAME":"\xff","AT":"2024-01-01"}\n'
    lines = insert(peer, stream_name, raw)
    assert refusal(lines[1], 1) == INVALID


def test_a_missing_key_is_named(peer: Peer) -> None:
    name = declare(peer, "k STRING KEY, v BIGINT", timestamp=None)
    lines = insert(peer, name, b'{"K":"a","V":1}\n{"V":2}\n')
    assert lines[0] == {"status": "ok", "seq": 0}
    assert refusal(lines[1], 1) == "Key field must be specified: K"


def test_a_row_below_the_size_limit_is_taken_and_one_above_it_is_named(
    peer: Peer, stream_name: str
) -> None:
    def row(size_bytes: int) -> bytes:
        rest = len('{"ID":1,"NAME":"","AT":"2024-01-01"}')
        document = {"ID": 1, "NAME": "x" * (size_bytes - rest), "AT": "2024-01-01"}
        raw = json.dumps(document, separators=(",", ":")).encode()
        assert len(raw) == size_bytes
        return raw + b"\n"

    raw = row(900_000) + row(1_000_000) + row(1_000_001)
    lines = insert(peer, stream_name, raw, ack="queryable")
    assert lines[:-1] == acks(0, 2)
    message = refusal(lines[-1], 2)
    assert "1000000 bytes" in message
    assert "http.row_limit_bytes" in message, "the setting that can be changed, by its real name"
    assert count(peer, stream_name) == 2


def test_a_row_without_end_is_refused_before_it_ends(peer: Peer, stream_name: str) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(json_lines(numbered(0, 1)) + b'{"NAME":"' + b"x" * 1_000_100)
    stream.read_lines(2)
    assert refusal(records(stream)[1], 1).startswith("Row is larger than the limit")
    stream.read_to_end()


def test_the_first_bad_row_ends_the_response_while_the_request_is_open(
    peer: Peer, stream_name: str
) -> None:
    stream = open_inserts(peer, stream_name)
    stream.send(json_lines(numbered(0, 2)) + b"bad\n" + b"worse\n" + json_lines(numbered(4, 5)))
    stream.read_to_end()
    lines = records(stream)
    assert lines[:2] == acks(0, 2)
    assert refusal(lines[2], 2) == INVALID
    assert len(lines) == 3
    peer.ping()


def test_a_bad_last_row_without_a_newline_is_named(peer: Peer, stream_name: str) -> None:
    lines = insert(peer, stream_name, json_lines(numbered(0, 2)) + b"{ijqwdijqw")
    assert lines[:2] == acks(0, 2)
    assert refusal(lines[2], 2) == INVALID


# ── arguments ────────────────────────────────────────────────────────────────────────────────

BAD_ARGUMENTS = {
    "an empty body": (b"", 40000, "Invalid JSON in request: No content to map"),
    "an empty line": (b"\n", 40000, "Invalid JSON in request: No content to map"),
    "no target": (b"{}\n", 40000, "Invalid JSON in request: Missing required creator property"),
    "a member in capitals": (b'{"TARGET":"s"}\n', 40000, "Invalid JSON in request: Missing"),
    "half an object": (
        b'{"foo":1',
        40000,
        "Invalid JSON in request: Unexpected end-of-input: expected close marker for Object",
    ),
    "an array": (b"[]\n", 40000, "Invalid JSON in request: Cannot"),
    "text": (b'"s"\n', 40000, "Invalid JSON in request: Cannot"),
    "a null target": (b'{"target":null}\n', 40000, "Invalid JSON in request: "),
    "a target that is an object": (b'{"target":{}}\n', 40000, "Invalid JSON in request: Cannot"),
    "properties in an array": (
        b'{"target":"s","properties":[]}\n',
        40000,
        "Invalid JSON in request: Cannot",
    ),
    "no UTF-8": (b'{"target":"\xff"}\n', 40000, "Invalid JSON in request: "),
    "unbalanced quotes": (b'{"target":"`s"}\n', 40001, "Invalid target name: `s"),
    "an empty target": (b'{"target":""}\n', 40001, "Invalid target name: "),
    "an unknown target": (
        b'{"target":"no_such_thing"}\n',
        40001,
        "Cannot insert values into an unknown stream/table: `NO_SUCH_THING`",
    ),
}


@pytest.mark.parametrize("case", BAD_ARGUMENTS)
def test_bad_arguments_are_a_status_with_a_json_body(peer: Peer, case: str) -> None:
    body, code, message = BAD_ARGUMENTS[case]
    reply = ask(peer, "POST", "/inserts-stream", body)
    assert reply.status == 400
    assert reply.headers["content-type"] == "application/json"
    assert reply.document["error_code"] == code
    assert reply.document["message"].startswith(message)
    expected = "statement_error" if code == 40001 else "generic_error"
    assert reply.document["@type"] == expected


def test_an_unknown_target_is_refused_while_the_request_is_open(peer: Peer) -> None:
    stream = peer.open("POST", "/inserts-stream")
    stream.send(arguments_line("no_such_thing"))
    stream.read_to_end()
    assert stream.status == 400
    peer.ping()


def test_a_name_that_is_nearly_right_gets_a_suggestion(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "POST", "/inserts-stream", arguments_line(f"{stream_name}X"))
    assert "\nDid you mean S_" in reply.document["message"]


def test_a_quoted_name_of_other_case_gets_the_hint_to_unquote(peer: Peer) -> None:
    name = declare(peer)
    for quoted in (f"`{name.lower()}`", f'"{name.lower()}"'):
        document = ask(peer, "POST", "/inserts-stream", arguments_line(quoted)).document
        assert document["error_code"] == 40001
        assert document["message"].startswith(
            f"Cannot insert values into an unknown stream/table: `{name.lower()}`\n"
            f"Did you mean {name}? Hint: try removing double quotes from the source name."
        )
