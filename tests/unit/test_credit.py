"""Inbound credit: never more than was done with, never a stall, none for who does not count."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.credit import Credit

WINDOW = 1000

sizes = st.lists(st.integers(0, 400), max_size=40)


@given(sizes)
def test_increments_never_exceed_what_was_done_with_and_lag_by_less_than_a_quarter(
    done: list[int],
) -> None:
    credit = Credit(WINDOW)
    given_bytes = done_bytes = 0
    for size in done:
        credit.received(size)
        given_bytes += credit.done(size)
        done_bytes += size
        assert done_bytes - WINDOW / 4 < given_bytes <= done_bytes
        assert credit.overrun_bytes == 0


@given(sizes)
def test_a_peer_that_keeps_to_what_it_is_given_never_overruns_and_never_stalls(
    wishes: list[int],
) -> None:
    credit = Credit(WINDOW)
    room_bytes = WINDOW
    for wish in wishes:
        sent = min(wish, room_bytes)
        room_bytes -= sent
        credit.received(sent)
        assert credit.overrun_bytes == 0
        room_bytes += credit.done(sent)
        assert room_bytes > 3 * WINDOW / 4


@given(sizes)
def test_an_overrun_is_what_was_sent_past_the_window(received: list[int]) -> None:
    credit = Credit(WINDOW)
    for size in received:
        credit.received(size)
    assert credit.overrun_bytes == max(0, sum(received) - WINDOW)


@given(sizes, sizes)
def test_who_does_not_count_gets_nothing_from_then_on(before: list[int], after: list[int]) -> None:
    credit = Credit(WINDOW)
    for size in before:
        credit.done(size)
    credit.stop_giving()
    assert not credit.gives
    assert [credit.done(size) for size in after] == [0] * len(after)
    never = Credit(WINDOW, gives=False)
    assert [never.done(size) for size in after] == [0] * len(after)
