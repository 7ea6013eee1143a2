"""Stored values → declared values, a chunk of rows at a time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.query.values import convert, converter
from gateway.seams import RowLines
from protocol.timestamps import parse_timestamp, to_iso
from protocol.types import BIGINT, BOOLEAN, STRING


@given(st.lists(st.integers(-62_135_596_800_000, 253_402_300_799_999), min_size=1, max_size=20))
def test_a_time_column_of_numbers_gets_every_millisecond_back(millis: list[int]) -> None:
    change = converter(BIGINT, "TIMESTAMP")
    assert change is not None
    assert [change(to_iso(at)) for at in millis] == millis


@pytest.mark.parametrize("text", ["2023-11-15T01:00:00.100+01:00", "2023-11-15T00:00:00Z"])
def test_other_forms_of_a_time_are_read_as_they_are(text: str) -> None:
    change = converter(BIGINT, "TIMESTAMP")
    assert change is not None
    assert change(text) == parse_timestamp(text)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, None]), st.text(max_size=5), st.integers()), min_size=1
    )
)
def test_only_the_column_that_needs_it_changes(rows: list[tuple[int | None, str, int]]) -> None:
    kept = [(flag, text.encode("utf-8", "replace").decode(), n % 2**63) for flag, text, n in rows]
    raw = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
    converters = (converter(BOOLEAN, "BIGINT"), converter(STRING, "VARCHAR"), None)
    found = convert(RowLines(raw, len(kept)), converters)
    expected = [[None if flag is None else bool(flag), text, n] for flag, text, n in kept]
    assert [json.loads(line) for line in found.raw.splitlines()] == expected
    assert (found.count, found.raw.count(b"\n")) == (len(kept), len(kept))
