"""Deadlines and PING as functions of time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.h2core import H2Options
from gateway.http.watch import Due, Watch

OPTIONS = H2Options(ping_s=2.0, header_s=10.0, idle_s=300.0)


def watch(**fields: float | None) -> Watch:
    given: dict[str, float | None] = {"active_at": 0.0, "began_at": None, "pinged_at": 0.0}
    return Watch(OPTIONS, **(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "now", "streams", "owes", "due"),
    [
        ({}, 299.0, 0, False, Due.NOTHING),
        ({}, 301.0, 0, False, Due.CLOSE),
        ({}, 9999.0, 1, False, Due.NOTHING),
        ({"active_at": 100.0}, 301.0, 0, False, Due.NOTHING),
        ({"began_at": 0.0}, 9.0, 0, False, Due.NOTHING),
        ({"began_at": 0.0}, 11.0, 0, False, Due.CLOSE),
        ({"began_at": 0.0, "active_at": 10.9}, 11.0, 5, True, Due.CLOSE),
        ({"pinged_at": 0.0}, 1.0, 1, True, Due.NOTHING),
        ({"pinged_at": 0.0}, 1.6, 1, True, Due.PING),
        ({"pinged_at": 0.0}, 1.6, 1, False, Due.NOTHING),
    ],
)
def test_what_is_due(
    fields: dict[str, float | None], now: float, streams: int, owes: bool, due: Due
) -> None:
    assert watch(**fields).due(now, streams=streams, owes=owes) is due


@given(st.floats(0.1, 5.0), st.floats(0.1, 20.0), st.floats(0.1, 400.0))
def test_looked_at_in_its_period_a_ping_is_never_late(
    ping_s: float, header_s: float, idle_s: float
) -> None:
    options = H2Options(ping_s=ping_s, header_s=header_s, idle_s=idle_s)
    looked = Watch(options, active_at=0.0, began_at=None, pinged_at=0.0)
    now = last = 0.0
    for _ in range(200):
        now += looked.period_s
        if looked.due(now, streams=1, owes=True) is Due.PING:
            assert now - last <= ping_s * 1.001
            last = now
    assert now - last <= ping_s
