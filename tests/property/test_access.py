"""Patterns against their definition, buckets against what they promise, usage against a list."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from gateway.access.authorization import Basic, read
from gateway.access.proofs import Refused
from gateway.access.rules import Rules, pattern
from gateway.access.settings import Limit, Rule
from gateway.access.throttle import Throttle, network_of
from gateway.access.usage import Bucket, Usages
from gateway.seams import Right, Use
from protocol.errors import TooManyRequests

TEXTS = st.text(alphabet="aAb*?[]!-.\\\n^$é", max_size=12)


def fits_by_definition(text: str, name: str) -> bool:
    @cache
    def fits(at: int, place: int) -> bool:
        if at == len(text):
            return place == len(name)
        if text[at] == "*":
            return any(fits(at + 1, rest) for rest in range(place, len(name) + 1))
        return place < len(name) and text[at] in ("?", name[place]) and fits(at + 1, place + 1)

    return fits(0, 0)


@given(TEXTS, TEXTS)
def test_a_pattern_fits_as_it_is_defined(text: str, name: str) -> None:
    assert bool(pattern(text)(name)) == fits_by_definition(text, name)


@given(st.lists(st.tuples(TEXTS, st.sets(st.sampled_from(Right)), TEXTS), max_size=5), TEXTS, TEXTS)
def test_what_is_granted_is_granted_by_one_rule_and_asking_twice_changes_nothing(
    drawn: list[tuple[str, set[Right], str]], principal: str, name: str
) -> None:
    made = [Rule(principal=who, rights=tuple(rights), names=(on,)) for who, rights, on in drawn]
    rules = Rules(made)
    for right in Right:
        expected = any(
            right in rule.rights
            and fits_by_definition(rule.principal, principal)
            and (right is Right.ADMIN or fits_by_definition(rule.names[0], name))
            for rule in made
        )
        assert rules.grants(principal, right, name) == expected
        assert rules.grants(principal, right, name) == expected


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(0, 40)), max_size=60)


@given(st.integers(1, 1000), STEPS)
def test_streams_that_pause_as_they_are_told_stay_within_the_rate(
    rate: int, steps: list[tuple[int, int, int]]
) -> None:
    """Whole ticks of 1/8 s keep the sums exact. A stream takes only when its pause is over, so what
    is taken by a time is at most the burst, the time's share, and a chunk for each stream."""
    bucket = Bucket(rate, 0.0)
    resumes_at = [0.0] * 4
    now, taken, largest = 0.0, 0, 0
    for stream, units, ticks in steps:
        now += ticks / 8
        if now < resumes_at[stream]:
            continue
        pause_s = bucket.take(units, now)
        assert pause_s >= 0
        resumes_at[stream] = now + pause_s
        taken, largest = taken + units, max(largest, units)
        assert taken <= rate * (now + 1.0) + largest * len(resumes_at) + 1e-6


@given(st.integers(1, 1000), STEPS)
def test_a_pause_is_exactly_the_debt_and_no_time_going_back_pays_it(
    rate: int, steps: list[tuple[int, int, int]]
) -> None:
    bucket, debt, at, now = Bucket(rate, 0.0), -float(rate), 0.0, 0.0
    for back, units, ticks in steps:
        now += ticks / 8 if back else -ticks / 8
        debt = max(-float(rate), debt - max(0.0, now - at) * rate) + units
        at = max(at, now)
        assert abs(bucket.take(units, now) - max(0.0, debt / rate)) < 1e-6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Use), st.booleans())))
def test_no_principal_ever_has_more_open_than_its_limit(
    steps: list[tuple[str, Use, bool]],
) -> None:
    usages = Usages((Limit(principal="a", streams_max=2), Limit(push_queries_max=1)), idle_max=1)
    most = {("a", Use.INSERT_STREAM): 2, ("b", Use.PUSH_QUERY): 1, ("c", Use.PUSH_QUERY): 1}
    opened: dict[tuple[str, Use], list[object]] = {}
    for who, use, closes in steps:
        held = opened.setdefault((who, use), [])
        if closes and held:
            held.pop().__exit__(None, None, None)  # type: ignore[attr-defined]
            continue
        one = usages.of(who).one_more(use)
        try:
            one.__enter__()
        except TooManyRequests:
            assert len(held) == most[who, use]
        else:
            held.append(one)
        assert len(held) <= most.get((who, use), 1000)


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
def test_a_peer_is_wrong_at_most_so_often_in_any_time(
    failures_max: int, steps: list[tuple[bool, int]]
) -> None:
    throttle = Throttle(failures_max, 4.0, 10)
    now, wrong = 0.0, 0
    refused: TooManyRequests | None
    for is_right, ticks in steps:
        now += ticks / 4
        try:
            network = throttle.pay("192.0.2.1", now)
        except TooManyRequests as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert 1 <= refused.retry_after_s <= 4
            continue
        if is_right:
            throttle.give_back(network, now)
        else:
            wrong += 1
        assert wrong <= failures_max + now / 4.0


@given(st.one_of(st.text(), st.ip_addresses().map(str)))
def test_any_peer_is_of_a_network_with_or_without_its_port(peer: str) -> None:
    assert len(network_of(peer)) <= 64


@given(st.ip_addresses(), st.integers(1, 65535))
def test_a_port_does_not_matter(address: object, port: int) -> None:
    with_port = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
    assert network_of(with_port) == network_of(str(address))


@given(st.one_of(st.text(), st.text().map("Basic {}".format), st.text().map("bearer {}".format)))
def test_any_header_is_taken_apart_or_refused_without_telling_what_it_was(header: str) -> None:
    shown: object
    try:
        shown = read(header)
    except Refused as error:
        shown = error
    match shown:
        case Refused():
            assert shown.__cause__ is None
            assert shown.__suppress_context__ or shown.__context__ is None
        case Basic():
            assert repr(shown) == f"Basic(name={shown.name!r})"
        case _:
            assert repr(shown) == "Bearer()"
