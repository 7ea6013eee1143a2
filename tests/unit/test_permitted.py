"""What a permit decides in every room: what is seen, found and read, and what is told if not."""

from dataclasses import dataclass, field

import pytest

from gateway.http.direct import LATE_MAX_S
from gateway.seams import (
    EVERY_NAME,
    UNASKED,
    InsertSpec,
    Principal,
    Right,
    Source,
    SourceKind,
    readable_names,
    require_readable,
    resolve_permitted,
    sees,
)
from gateway.seams.permitted import Unasked
from gateway.sql import names_read
from protocol.errors import BadStatement, Forbidden, WarehouseAway
from protocol.names import DeclaredNames, resolve_query

ANN = Principal(name="ann", shown="bearer")


@dataclass
class Scripted(Unasked):
    """A permit of these rights, each to these names."""

    rights: dict[Right, set[str]] = field(default_factory=dict)
    principal: Principal = ANN
    recorded: list[tuple[str, str, str]] = field(default_factory=list)

    def may(self, right: Right, name: str = "") -> bool:
        """See `gateway.seams.Permit`."""
        names = self.rights.get(right, set())
        return "*" in names or name in names

    def require(self, right: Right, name: str = "") -> None:
        """See `gateway.seams.Permit`."""
        if not self.may(right, name):
            raise Forbidden(f"no {right} on {name}")

    def record(self, action: str, name: str = "", *, outcome: str = "done") -> None:
        """See `gateway.seams.Permit`."""
        self.recorded.append((action, name, outcome))


def _source(name: str) -> Source:
    return Source(
        name=name,
        kind=SourceKind.STREAM,
        columns=(),
        spec=InsertSpec(datasource=name.lower(), columns=()),
    )


class Two:
    """Implements `gateway.seams.Sources`: MINE is declared, Mixed is discovered."""

    away = False

    async def resolve(self, target: str) -> Source:
        """See `gateway.seams.Sources`."""
        known = {"MINE": "MINE", "MIXED": "Mixed"}.get(target.strip("`").upper())
        if known is None and self.away:
            raise WarehouseAway("away")
        if known is None:
            raise BadStatement(f"unknown {target}\nDid you mean MINE?", target)
        return _source(known)

    def declared(self, name: str) -> Source | None:
        """See `gateway.seams.Sources`."""
        return None

    def all_declared(self) -> list[Source]:
        """See `gateway.seams.Sources`."""
        return []

    def names(self, name: str) -> DeclaredNames | None:
        """See `gateway.seams.Sources`."""
        if name not in ("MINE", "OTHERS"):
            return None
        return DeclaredNames(
            name=name, datasource=f"{name.lower()}_ds", columns=("ID",), stored=("id",)
        )


async def test_a_source_is_resolved_by_any_of_the_rights() -> None:
    permit = Scripted({Right.QUERY: {"MINE"}})
    found = await resolve_permitted(Two(), "mine", permit, Right.INSERT, Right.QUERY)
    assert found.name == "MINE"
    with pytest.raises(Forbidden, match="no insert on MINE"):
        await resolve_permitted(Two(), "mine", permit, Right.INSERT)


async def test_a_name_that_is_not_there_is_refused_like_one_that_is() -> None:
    nobody = Scripted()
    sources = Two()
    for target, name in (
        ("mine", "MINE"),
        ("myth", "MYTH"),
        ("`myth`", "myth"),
        ("mixed", "MIXED"),
    ):
        with pytest.raises(Forbidden, match=rf"no insert on {name}$"):
            await resolve_permitted(sources, target, nobody, Right.INSERT)
    sources.away = True
    with pytest.raises(Forbidden, match=r"no insert on MYTH$"):
        await resolve_permitted(sources, "myth", nobody, Right.INSERT)


async def test_who_may_touch_a_name_hears_that_it_is_not_there_and_not_what_else_is() -> None:
    for names, hint in (({"MYTH"}, False), ({"myth"}, False), ({"*"}, True)):
        permit = Scripted({Right.INSERT: names})
        with pytest.raises(BadStatement) as caught:
            await resolve_permitted(Two(), "myth", permit, Right.INSERT)
        assert ("Did you mean" in caught.value.message) is hint


def test_names_are_seen_by_any_right_but_admin() -> None:
    for right in (Right.INSERT, Right.QUERY, Right.DEFINE):
        assert sees(Scripted({right: {"A"}}), "A")
        assert not sees(Scripted({right: {"A"}}), "B")
    assert not sees(Scripted({Right.ADMIN: {"*"}}), "A")


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT * FROM MINE", {"MINE"}),
        ("SELECT * FROM mine", {"MINE"}),
        ("SELECT * FROM MINE, free", {"MINE", "free"}),
        ('SELECT * FROM "mine_ds"', {"mine_ds"}),
        ('SELECT * FROM MINE, "mine_ds"', {"MINE"}),
        ("SELECT 1", set()),
    ],
)
async def test_a_select_needs_the_right_to_all_that_it_reads(sql: str, names: set[str]) -> None:
    permit = Scripted({Right.QUERY: set(names)})
    resolved = resolve_query(sql, readable_names(Two().names, permit))
    await require_readable(permit, resolved, names_read)
    assert permit.recorded == [("query", ", ".join(sorted(names)), "done")]
    for name in names:
        less = Scripted({Right.QUERY: names - {name}})
        resolved = resolve_query(sql, readable_names(Two().names, less))
        with pytest.raises(Forbidden):
            await require_readable(less, resolved, names_read)
        assert less.recorded == []


async def test_a_declared_source_that_may_not_be_read_is_not_there_for_a_query() -> None:
    permit = Scripted({Right.QUERY: {"MINE"}})
    resolved = resolve_query("SELECT * FROM others, MINE", readable_names(Two().names, permit))
    assert [source.name for source in resolved.sources] == ["MINE"]
    with pytest.raises(Forbidden, match="no query on others"):
        await require_readable(permit, resolved, names_read)


async def test_what_cannot_be_told_needs_a_rule_for_all_names() -> None:
    resolved = resolve_query("SELECT * FROM TABLE(EXTERN('a', 'b', 'c'))", Two().names)
    permit = Scripted({Right.QUERY: {"MINE", "extern", "EXTERN", "TABLE"}})
    with pytest.raises(Forbidden, match="all of them"):
        await require_readable(permit, resolved, names_read)
    assert permit.recorded == [("query", "", "refused: unclear names")]
    await require_readable(Scripted({Right.QUERY: {"*"}}), resolved, names_read)


def test_where_nobody_is_asked_everybody_may_do_everything() -> None:
    assert all(UNASKED.may(right, EVERY_NAME) for right in Right)
    assert UNASKED.took(10**9, 10**9, 0.0) == 0.0
    assert LATE_MAX_S > 0
