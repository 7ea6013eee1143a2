"""What the committer tells of its batches: every state, in order, whatever becomes of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import Changes, Outcome, Plan, Reply, ScriptedWarehouse
from tests.ingest_house import House, house, lines
from tests.on_channels import send

FAILS = Plan(outcome=Outcome.FAILED)
HALF = Plan(outcome=Outcome.FAILED_HALF_WAY)
REFUSED = Plan(reply=Reply.REFUSED)
LOST = Plan(reply=Reply.LOST_AFTER)

BEGIN = ["SEALED", "SUBMITTING", "RUNNING"]


def scripted(*plans: Plan) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans))


async def told(made: House) -> list[dict[str, Any]]:
    log = made.room.task_log
    entries = await log.after(0) if log.end() else []
    return [json.loads(b"".join(entry.pieces())) for entry in entries]


async def states(made: House) -> list[str]:
    return [row["STATE"] for row in await told(made)]


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(), [*BEGIN, "COMMITTED"]),
        (LOST, ["SEALED", "SUBMITTING", "ASKING", "RUNNING", "COMMITTED"]),
        (FAILS, [*BEGIN, "VERIFYING", "WAITING", "SUBMITTING", "RUNNING", "COMMITTED"]),
        (HALF, [*BEGIN, "VERIFYING", "HELD"]),
        (REFUSED, ["SEALED", "SUBMITTING", "FAILED"]),
    ],
)
async def test_every_state_of_a_batch_is_told_in_its_order(
    tmp_path: Path, plan: Plan, expected: list[str]
) -> None:
    async with house(tmp_path / "spool.db", scripted(plan)) as made:
        await made.spool(lines(0, 3))
        await made.changes.until(lambda: bool(made.committed or made.committer.held))
        await made.until_idle()
        assert await states(made) == expected


async def test_a_failed_attempt_tells_why_and_the_next_has_its_own_task(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(FAILS)) as made:
        await made.spool(lines(0, 3))
        await made.changes.until(lambda: bool(made.committed))
        rows = await told(made)
    waiting = next(row for row in rows if row["STATE"] == "WAITING")
    assert (waiting["ERROR_CODE"], waiting["ERROR_MESSAGE"]) == (
        "WorkerLost",
        "the worker went away",
    )
    assert [row["ATTEMPT"] for row in rows] == [1] * 5 + [2] * 3
    assert rows[-1]["TASK_ID"] == f"{rows[0]['BATCH']}-a2"
    assert rows[-1]["ERROR_CODE"] is None
    assert (rows[-1]["TARGET"], rows[-1]["ROWS_OUT"]) == ("S", 3)


async def test_halves_of_a_batch_are_told_as_batches_of_their_own(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted()) as made:
        await made.spool(lines(0, 1) + lines(1, 1, text="nameless") + lines(2, 1))
        await made.changes.until(lambda: bool(made.committed))
        await made.until_idle()
        rows = await told(made)
    split = [row["BATCH"] for row in rows if row["STATE"] == "SPLIT"]
    sealed = [row["BATCH"] for row in rows if row["STATE"] == "SEALED"]
    assert split[0] == sealed[0]
    assert len(sealed) == len(set(sealed)) == 1 + 2 * len(split)
    assert all(row["ERROR_CODE"] == "BadRow" for row in rows if row["STATE"] == "SPLIT")


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ("retry", [*BEGIN, "COMMITTED"]),
        ("accept", ["COMMITTED"]),
        ("drop", ["DROPPED"]),
    ],
)
async def test_what_the_operator_decides_is_told(
    tmp_path: Path, decision: str, expected: list[str]
) -> None:
    warehouse = scripted(REFUSED)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 3)
        await made.changes.until(lambda: bool(made.committer.held))
        await made.until_idle()
        before = len(await told(made))
        await getattr(made.room.batches, decision)(made.committer.held[0].id)
        await made.until_idle()
        assert (await states(made))[before:] == expected


async def test_a_batch_that_waits_for_the_operator_is_told_again_after_a_restart(
    tmp_path: Path,
) -> None:
    path, warehouse = tmp_path / "spool.db", scripted(HALF)
    async with house(path, warehouse) as made:
        await made.spool(lines(0, 3))
        await made.changes.until(lambda: bool(made.committer.held))
        await made.until_idle()
    async with house(path, warehouse) as made:
        await made.until_recovered()
        (row,) = await told(made)
    assert (row["STATE"], row["ATTEMPT"]) == ("HELD", 1)
    assert row["ERROR_MESSAGE"] == "1 of 3 rows are in the warehouse"
