"""Sizes and times with units: exact, or refused; and TOML that is written is TOML that is read."""

import tomllib
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.config.toml_text import toml_value
from gateway.config.units import SIZES, TIMES, Bytes, Count, Seconds

BYTES: TypeAdapter[int] = TypeAdapter(Bytes)
SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)
COUNTS: TypeAdapter[int] = TypeAdapter(Count)


@given(
    st.integers(1, 10**6),
    st.sampled_from(sorted(SIZES)),
    st.sampled_from(["", " ", "  "]),
    st.sampled_from([str, str.lower, str.upper]),
)
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, gap: str, case: Any) -> None:
    assert BYTES.validate_python(f"{number}{gap}{case(unit)}") == number * SIZES[unit]


@given(st.integers(1, 10**6), st.sampled_from(sorted(TIMES)))
def test_a_time_is_its_number_times_its_unit(number: int, unit: str) -> None:
    expected = float(number * TIMES[unit])
    if expected < 1e9:
        assert SECONDS.validate_python(f"{number} {unit}") == expected


@given(st.decimals("0.001", "1000", places=3), st.sampled_from(["KiB", "MiB", "GiB", "kB", "MB"]))
def test_a_size_with_decimals_is_exact_or_refused(number: Any, unit: str) -> None:
    exact = Fraction(str(number)) * SIZES[unit]
    if exact.denominator == 1:
        assert BYTES.validate_python(f"{number} {unit}") == exact
    else:
        with pytest.raises(ValidationError, match="whole number of bytes"):
            BYTES.validate_python(f"{number} {unit}")


@given(st.integers(1, 1 << 62))
def test_plain_numbers_stay_what_they_are_also_as_texts(number: int) -> None:
    assert BYTES.validate_python(number) == BYTES.validate_python(str(number)) == number


@pytest.mark.parametrize(
    "wrong", ["1 XB", "MiB", "", "1e3", "0x10", "1 Mi B", "-1 MiB", "0", True, "1" * 50, "٣ MiB"]
)
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        BYTES.validate_python(wrong)


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), "1 month", "-1s", 0, 1e300, False])
def test_what_is_no_time_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        SECONDS.validate_python(wrong)


@pytest.mark.parametrize("wrong", [True, 0, 2**31, 1.5, "many"])
def test_what_is_no_count_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        COUNTS.validate_python(wrong)


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_that_is_written_as_toml_is_read_back_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value
