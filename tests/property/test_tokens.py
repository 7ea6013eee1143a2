"""Continuation tokens: what is encoded is decoded, under its own binding and unchanged only."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.errors import BadRequest
from protocol.tokens import TokenBinding, TokenPlace

BINDING = TokenBinding(log_id="0badcafe", level="committed", source="S", statement="SELECT 1")
NUMBERS = st.integers(0, 2**64 - 1)
PLACES = st.builds(TokenPlace, NUMBERS, NUMBERS)
TEXTS = st.text(max_size=30)


@given(PLACES, st.builds(TokenBinding, log_id=TEXTS, level=TEXTS, source=TEXTS, statement=TEXTS))
def test_a_token_names_its_place(place: TokenPlace, binding: TokenBinding) -> None:
    assert binding.decode(binding.encode(place)) == place


@given(PLACES, st.sampled_from(["log_id", "level", "source"]))
def test_a_token_of_another_log_level_or_source_is_refused(place: TokenPlace, name: str) -> None:
    token = replace(BINDING, **{name: "other"}).encode(place)
    with pytest.raises(BadRequest) as refused:
        BINDING.decode(token)
    assert refused.value.code == 40000


@given(PLACES)
def test_another_statement_goes_on_between_entries_and_is_refused_within_one(
    place: TokenPlace,
) -> None:
    other = replace(BINDING, statement="SELECT 2")
    assert other.decode(BINDING.encode(TokenPlace(place.after, 0))).after == place.after
    if place.rows:
        with pytest.raises(BadRequest, match="same statement"):
            other.decode(BINDING.encode(place))


@given(PLACES, st.data())
def test_a_token_that_was_changed_in_one_character_is_refused(
    place: TokenPlace, data: st.DataObject
) -> None:
    token = BINDING.encode(place)
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.characters())
    assume(put != token[at])
    with pytest.raises(BadRequest):
        BINDING.decode(token[:at] + put + token[at + 1 :])


@given(PLACES, st.data())
def test_a_token_that_was_cut_or_lengthened_is_refused(
    place: TokenPlace, data: st.DataObject
) -> None:
    token = BINDING.encode(place)
    cut = token[: data.draw(st.integers(0, len(token) - 1))]
    for changed in (cut, token + data.draw(st.text(min_size=1, max_size=3)), token * 2):
        with pytest.raises(BadRequest):
            BINDING.decode(changed)


@given(st.text(max_size=200))
def test_any_text_is_decoded_or_refused_with_40000(text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        BINDING.decode(text)
    assert "continuation token" in refused.value.message
