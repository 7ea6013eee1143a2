"""The rate guard against a plain count of the window."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.http.guards import RateGuard


@given(
    st.lists(st.floats(0, 3), max_size=60),
    st.integers(1, 10),
    st.floats(0.1, 10),
)
def test_it_says_too_many_exactly_when_the_window_holds_more_than_the_limit(
    gaps_s: list[float], events_max: int, window_s: float
) -> None:
    guard = RateGuard(events_max, window_s)
    now, times = 0.0, list[float]()
    for gap_s in gaps_s:
        now += gap_s
        times.append(now)
        within = [time for time in times if time > now - window_s]
        assert guard.exceeded(now) == (len(within) > events_max)


def test_200_in_30_s_are_honest_and_one_more_is_not() -> None:
    guard = RateGuard(200, 30.0)
    assert not any(guard.exceeded(n * 0.14) for n in range(200))
    assert guard.exceeded(28.5)
    assert not guard.exceeded(60.0)


def test_it_keeps_no_more_times_than_fit_the_window() -> None:
    guard = RateGuard(10, 1.0)
    for n in range(10_000):
        guard.exceeded(n * 0.1)
    assert len(guard._times) <= 10
