"""WebSocket messages: their shapes, and close frames that fit."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.arguments import QueryArguments
from protocol.errors import (
    BadRequest,
    BadStatement,
    Forbidden,
    InternalError,
    KsqlError,
    ShuttingDown,
    TooManyPushQueries,
    TooManyRequests,
    Unauthorized,
    WarehouseAway,
)
from protocol.messages import (
    REASON_MAX_BYTES,
    close_code,
    close_reason,
    error_message,
    row_message,
    schema_message,
    socket_request,
)
from protocol.types import BIGINT, STRING, Column, array_of


def test_the_schema_is_an_array_of_names_and_types() -> None:
    columns = [Column("A", BIGINT), Column("b c", array_of(STRING))]
    string = {"type": "STRING", "fields": None, "memberSchema": None}
    assert orjson.loads(schema_message(columns)) == [
        {"name": "A", "schema": {"type": "BIGINT", "fields": None, "memberSchema": None}},
        {"name": "b c", "schema": {"type": "ARRAY", "fields": None, "memberSchema": string}},
    ]


def test_a_row_is_an_object_of_columns() -> None:
    assert row_message('[1,"é"]\n'.encode()) == '{"row":{"columns":[1,"é"]}}'


def test_an_error_is_its_text() -> None:
    assert error_message(BadRequest('a "b"')) == '{"error":"a \\"b\\""}'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest(""), 1003),
        (BadStatement("", ""), 1003),
        (Unauthorized(""), 1008),
        (Forbidden(""), 1008),
        (TooManyPushQueries(""), 1003),
        (TooManyRequests(""), 1013),
        (InternalError(), 1011),
        (WarehouseAway(""), 1013),
        (ShuttingDown(), 1013),
    ],
)
def test_a_close_code_says_whose_fault_it_was(error: KsqlError, code: int) -> None:
    assert close_code(error) == code


@given(st.text(max_size=300))
def test_a_reason_fits_into_a_close_frame_and_starts_as_the_text_does(text: str) -> None:
    reason = close_reason(text)
    assert len(reason.encode()) <= REASON_MAX_BYTES
    assert reason == text or (reason.endswith("...") and text.startswith(reason[:-3]))
    assert reason == text or len(text.encode()) > REASON_MAX_BYTES


def test_a_request_is_a_query_in_version_1() -> None:
    request = '{"ksql":"x"}'
    expected = QueryArguments("x", {}, {}, {})
    assert socket_request({"request": request}) == expected
    assert socket_request({"request": request, "version": "1"}) == expected
    for parameters in ({}, {"version": "1"}, {"request": request, "version": "2"}):
        with pytest.raises(BadRequest):
            socket_request(parameters)


@given(st.text())
def test_any_request_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadRequest):
        assert isinstance(socket_request({"request": text}), QueryArguments)
