"""Who may do what to which names."""

import pytest

from gateway.access.rules import DECISIONS_MAX, Rules, pattern
from gateway.access.settings import Rule
from gateway.seams import EVERY_NAME, Right


def test_without_rules_nothing_is_granted() -> None:
    rules = Rules(())
    assert not any(rules.grants("alice", right, "EVENTS") for right in Right)
    assert not rules.knows("alice")


def test_a_rule_grants_its_rights_on_its_names_to_its_principals_and_nothing_else() -> None:
    rules = Rules((Rule(principal="edge-*", rights=(Right.INSERT,), names=("EVENTS", "LOG_?")),))
    assert rules.grants("edge-7", Right.INSERT, "EVENTS")
    assert rules.grants("edge-7", Right.INSERT, "LOG_1")
    assert not rules.grants("edge-7", Right.INSERT, "LOG_10")
    assert not rules.grants("edge-7", Right.INSERT, "EVENTS2")
    assert not rules.grants("edge-7", Right.INSERT, "events")
    assert not rules.grants("edge-7", Right.QUERY, "EVENTS")
    assert not rules.grants("Edge-7", Right.INSERT, "EVENTS")
    assert not rules.grants("an edge-7", Right.INSERT, "EVENTS")


def test_no_right_holds_another() -> None:
    for held in Right:
        rules = Rules((Rule(principal="*", rights=(held,)),))
        assert [right for right in Right if rules.grants("alice", right, "E")] == [held]


def test_admin_looks_at_no_name() -> None:
    rules = Rules((Rule(principal="alice", rights=(Right.ADMIN,), names=("EVENTS",)),))
    assert rules.grants("alice", Right.ADMIN)
    assert rules.grants("alice", Right.ADMIN, "anything")


def test_grants_of_several_rules_add_up_whatever_their_order() -> None:
    given = (
        Rule(principal="*", rights=(Right.QUERY,), names=("A*",)),
        Rule(principal="alice", rights=(Right.QUERY, Right.INSERT), names=("B",)),
    )
    for order in (given, given[::-1]):
        rules = Rules(order)
        assert rules.grants("alice", Right.QUERY, "A1")
        assert rules.grants("alice", Right.QUERY, "B")
        assert not rules.grants("bob", Right.QUERY, "B")


def test_a_rule_that_names_nothing_grants_nothing_but_admin() -> None:
    rules = Rules((Rule(principal="*", rights=(Right.QUERY, Right.ADMIN), names=()),))
    assert not rules.grants("alice", Right.QUERY, "A")
    assert rules.grants("alice", Right.ADMIN)


@pytest.mark.parametrize("text", ["a[b]c", "a.c", "a+", "(a", "a\\d", "^a$", "[!a]", "a|b"])
def test_a_pattern_without_stars_is_itself_and_nothing_else(text: str) -> None:
    fits = pattern(text)
    assert fits(text)
    assert not any(fits(other) for other in ("abc", "a", "b", "aa", "a1", "ac", "", text + "x"))


def test_a_pattern_fits_whole_names_only_line_breaks_included() -> None:
    assert not pattern("EVENTS")("EVENTS\n")
    assert not pattern("EVENTS")("\nEVENTS")
    assert pattern("E*S")("E\nS")


@pytest.mark.parametrize(
    "name",
    ["sys.tasks", "lookup.k", "view.v", "ext.e", "INFORMATION_SCHEMA.TABLES", "HEADRACE_TASKS"],
)
def test_a_pattern_reaches_what_tells_of_everybody_only_where_it_spells_it(name: str) -> None:
    def reads(*names: str) -> bool:
        rules = Rules((Rule(principal="alice", rights=(Right.QUERY,), names=names),))
        return rules.grants("alice", Right.QUERY, name)

    assert reads("*")
    assert reads(name)
    assert not reads(name[0] + "*", "*" + name[-1], "?*", "*?", f"*{name[1:]}", "?" * len(name))
    if "." in name:
        assert reads(name.partition(".")[0] + ".*")


def test_all_names_at_once_are_granted_by_a_star_alone() -> None:
    for names, granted in (("*",), True), (("**",), True), (("?*", "?" * 64, "\0*"), False):
        rules = Rules((Rule(principal="alice", rights=(Right.QUERY,), names=names),))
        assert rules.grants("alice", Right.QUERY, EVERY_NAME) is granted


def test_a_hostile_name_against_many_stars_is_decided() -> None:
    assert not pattern("*a" * 25 + "*b")("a" * 2_000)


def test_the_memory_of_decisions_is_bounded_and_changes_none() -> None:
    rules = Rules((Rule(principal="alice", rights=(Right.INSERT,), names=("A*",)),))
    for number in range(DECISIONS_MAX + 10):
        assert rules.grants("alice", Right.INSERT, f"A{number}")
        assert not rules.grants("alice", Right.INSERT, f"B{number}")
        assert len(rules._decided) <= DECISIONS_MAX
    assert rules.grants("alice", Right.INSERT, "A0")
    long = "A" * 100_000
    assert rules.grants("alice", Right.INSERT, long)
    assert not any(name == long for _, _, name in rules._decided)
