"""``/ksql``: what each statement asks of the permit."""

from pathlib import Path

import pytest

from gateway.seams import Right
from protocol.errors import Forbidden
from tests.unit.catalog_world import World
from tests.unit.test_permitted import Scripted

INS, Q, D = Right.INSERT, Right.QUERY, Right.DEFINE

NEEDS = {
    "CREATE STREAM s (a INT) WITH (kafka_topic='t');": {(D, "S"), (D, "t")},
    "CREATE STREAM s (a INT);": {(D, "S")},
    "CREATE OR REPLACE STREAM old (a INT) WITH (kafka_topic='t');": {
        (D, "OLD"),
        (D, "t"),
        (D, "old_ds"),
    },
    "DROP STREAM old;": {(D, "OLD"), (D, "old_ds")},
    "DROP STREAM IF EXISTS nowhere;": {(D, "NOWHERE")},
    "INSERT INTO old VALUES (1);": {(INS, "OLD")},
    "INSERT INTO flights SELECT * FROM old_ds PARTITIONED BY DAY;": {
        (INS, "flights"),
        (Q, "old_ds"),
    },
    "REPLACE INTO flights OVERWRITE ALL SELECT * FROM a, b PARTITIONED BY DAY;": {
        (INS, "flights"),
        (D, "flights"),
        (Q, "a"),
        (Q, "b"),
    },
    "EXPLAIN SELECT * FROM old, flights;": {(Q, "OLD"), (Q, "flights")},
    "EXPLAIN SELECT * FROM old EMIT CHANGES;": {(Q, "OLD")},
    "DESCRIBE old;": {(Q, "OLD")},
    "ASSERT STREAM old;": {(Q, "OLD")},
    "ASSERT TOPIC flights;": {(Q, "flights")},
}
CONTENT = "SELECT * FROM TABLE(EXTERN('{}', '{}', '[]'))"


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """With a stream OLD over datasource old_ds."""
    made = World(tmp_path)
    await made.run("CREATE STREAM old (a INT) WITH (kafka_topic='old_ds');")
    return made


def _permit(needs: set[tuple[Right, str]]) -> Scripted:
    rights: dict[Right, set[str]] = {}
    for right, name in needs:
        rights.setdefault(right, set()).add(name)
    return Scripted(rights)


@pytest.mark.parametrize(("text", "needs"), NEEDS.items())
async def test_a_statement_needs_each_of_its_rights(
    world: World, text: str, needs: set[tuple[Right, str]]
) -> None:
    revision = world.catalog.revision
    for missing in needs:
        with pytest.raises(Forbidden):
            await world.run(text, permit=_permit(needs - {missing}))
    assert (world.catalog.revision, world.inserted, world.tasks) == (revision, [], [])
    await world.run(text, permit=_permit(needs))


@pytest.mark.parametrize("form", ["INSERT INTO flights {} PARTITIONED BY DAY;", "EXPLAIN {};"])
async def test_what_reads_from_outside_needs_all_names(world: World, form: str) -> None:
    known = {(right, name) for right in (INS, Q, D) for name in ("flights", "extern", "EXTERN")}
    with pytest.raises(Forbidden, match="all of them"):
        await world.run(form.format(CONTENT), permit=_permit(known))
    assert world.tasks == []
    await world.run(form.format(CONTENT), permit=_permit({(INS, "*"), (Q, "*"), (D, "*")}))


async def test_the_status_of_a_command_is_told_to_who_gave_it_and_to_who_sees_its_name(
    world: World,
) -> None:
    stranger, seeing = Scripted(), _permit({(INS, "OLD")})
    runner = world.runner
    for permit in (stranger, seeing):
        object.__setattr__(permit, "principal", type(permit.principal)(name="bob", shown="basic"))
    assert await runner.statuses(stranger) == {}
    assert await runner.status("stream/OLD/create", stranger) is None
    assert await runner.statuses(seeing) == {"stream/`OLD`/create": "SUCCESS"}
    admin = _permit({(Right.ADMIN, "")})
    assert await runner.status("stream/OLD/create", admin) is not None
