"""Where a channel stands at each level, for who asks and for who sends its rows again."""

from pathlib import Path

import pytest

from gateway.ingest import channels
from gateway.ingest.channels import LOOKS_MAX
from gateway.ingest.policy import BatchLimits
from gateway.seams import AckLevel, ChannelClaim, ChannelOffsets
from protocol.errors import RowRejected
from tests.fakes import Changes, Outcome, Plan, Reply, ScriptedWarehouse
from tests.ingest_house import House, house, lines, refusing_disk, source
from tests.on_channels import on, send

FOREVER = Plan(running_asks=10**9)
SEVERAL = BatchLimits(rows_max=1, bytes_max=1 << 20, age_s=0.0)


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


async def stands(made: House, name: str = "c") -> tuple[int, int, int]:
    found = await made.intake.channel(source(), name)
    assert found is not None
    return found.spooled, found.committed, found.queryable


def end(warehouse: ScriptedWarehouse) -> None:
    for task in warehouse.tasks.values():
        task.running_asks = 1


# ── for who asks ─────────────────────────────────────────────────────────────────────────────


async def test_a_channel_that_never_held_a_row_is_nowhere(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        assert await made.intake.channel(source(), "c") is None
        await send(made, 0, 1)
        assert await made.intake.channel(source("T"), "c") is None
        assert await made.intake.channel(source(), "c") == ChannelOffsets(
            spooled=1, committed=0, queryable=0
        )


async def test_each_level_has_a_frontier_of_its_own(tmp_path: Path) -> None:
    warehouse = scripted(slots=0)
    warehouse.is_queryable = False
    path = tmp_path / "spool.db"
    async with house(path, warehouse) as made:
        await send(made, 0, 3)
        assert await stands(made) == (3, 0, 0)
        warehouse.slots = 1
        await made.until_idle()
        assert await stands(made) == (3, 3, 0)
        warehouse.slots = 0
        await send(made, 3, 2)
        assert await stands(made) == (5, 3, 0)
        warehouse.is_queryable = True
        assert await stands(made) == (5, 3, 3)
    async with house(path, warehouse) as made:
        assert await stands(made) == (5, 3, 3)


async def test_what_was_queryable_once_is_not_asked_for_again(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 1)
        await made.until_idle()

        def looks() -> int:
            return sum(call == "queryable" for call, _ in made.warehouse.calls)

        assert await stands(made) == (1, 1, 1)
        assert looks() == 1
        assert await stands(made) == (1, 1, 1)
        assert looks() == 1


async def test_where_a_commit_is_queryable_at_once_the_warehouse_is_not_asked(
    tmp_path: Path,
) -> None:
    warehouse = scripted()
    warehouse.queryable_at_commit = True
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 2)
        await made.until_idle()
        assert await stands(made) == (2, 2, 2)
        assert not any(call == "queryable" for call, _ in warehouse.calls)


async def test_a_warehouse_that_is_away_leaves_the_frontier_where_it_was_seen(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 1)
        await made.until_idle()
        assert await stands(made) == (1, 1, 1)
        await send(made, 1, 1)
        await made.until_idle()
        await made.stop()
        made.warehouse.outages = 1
        assert await stands(made) == (2, 2, 1)
        async with refusing_disk(made.writer):
            assert await stands(made) == (2, 2, 1)
        assert await stands(made) == (2, 2, 2)


async def test_one_question_asks_about_a_bounded_number_of_batches(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", limits=SEVERAL) as made:
        for number in range(LOOKS_MAX + 2):
            await send(made, number, 1)
        await made.until_idle()
        total = LOOKS_MAX + 2
        assert await stands(made) == (total, total, LOOKS_MAX)
        assert await stands(made) == (total, total, total)


async def test_rows_past_their_retention_are_taken_for_queryable(tmp_path: Path) -> None:
    warehouse = scripted()
    warehouse.is_queryable = False
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 2)
        await made.until_idle()
        assert await stands(made) == (2, 2, 0)
        await made.writer.record(lambda spool: spool.forget(1 << 62, 0))
        assert await stands(made) == (2, 2, 2)


async def test_a_batch_that_waits_for_the_operator_holds_the_frontier(tmp_path: Path) -> None:
    warehouse = scripted(Plan(reply=Reply.REFUSED), Plan(), Plan(reply=Reply.REFUSED))
    async with house(tmp_path / "spool.db", warehouse, limits=SEVERAL) as made:
        for number in range(4):
            await send(made, number, 1)
            await made.until_idle()
        assert await stands(made) == (4, 0, 0)
        first, third = made.committer.held
        await made.room.batches.retry(first.id)
        await made.until_idle()
        assert await stands(made) == (4, 2, 2)
        await made.room.batches.drop(third.id)
        assert await stands(made) == (4, 4, 4)


async def test_a_half_that_runs_holds_the_frontier_at_its_first_row(tmp_path: Path) -> None:
    somewhere = Plan(outcome=Outcome.DATA_ERROR_SOMEWHERE)
    warehouse = scripted(somewhere, FOREVER, Plan())
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await send(made, 0, 4)
        await made.changes.until(lambda: sink.settled_rows == {2, 3})
        assert await stands(made) == (4, 0, 0)
        end(warehouse)
        await made.until_idle()
        assert await stands(made) == (4, 4, 4)
    warehouse.plans = [somewhere, Plan(), FOREVER]
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await send(made, 4, 4)
        await made.changes.until(lambda: sink.settled_rows == {0, 1})
        assert await stands(made) == (8, 6, 6)
        end(warehouse)
        await made.until_idle()


async def test_two_channels_of_a_batch_have_frontiers_of_their_own(tmp_path: Path) -> None:
    warehouse = scripted(slots=0)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 2, name="a")
        await send(made, 0, 3, "poison", name="b")
        warehouse.slots = 1
        await made.until_idle()
        assert await stands(made, "a") == (2, 2, 2)
        assert await stands(made, "b") == (3, 3, 3)


# ── for who sends them again ─────────────────────────────────────────────────────────────────


async def test_rows_that_come_again_are_queryable_once_a_select_sees_them(tmp_path: Path) -> None:
    """Committed is not enough: the batch was settled for who sent them first, at his level."""
    warehouse = scripted()
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 2)
        await made.until_idle()
        assert await stands(made) == (2, 2, 2)
        warehouse.is_queryable = False
        await send(made, 2, 2)
        await made.until_idle()
        _, committed = await on(made, offset=1)
        _, queryable = await on(made, offset=1, level=AckLevel.QUERYABLE)
        assert committed.settled_rows == {0, 1, 2}
        asked = len(warehouse.calls)
        await made.changes.until(lambda: len(warehouse.calls) > asked + 3)
        assert queryable.settled_rows <= {0}
        warehouse.is_queryable = True
        await made.changes.until(lambda: queryable.settled_rows == {0, 1, 2})


async def test_a_stream_that_is_fenced_still_hears_when_its_duplicates_become_queryable(
    tmp_path: Path,
) -> None:
    """A refused row stands between them, so they are waited for one stretch after the other."""
    warehouse = scripted()
    warehouse.is_queryable = False
    async with house(tmp_path / "spool.db", warehouse) as made:
        stream, sink = await on(made)
        raw = lines(0, 2) + lines(2, 1, "poison") + lines(3, 2)
        stream.append(0, 5, raw, len(raw))
        await made.changes.until(lambda: len(sink.settled_rows) + len(sink.failures) == 5)
        _, again = await on(made, offset=0, level=AckLevel.QUERYABLE)
        _, newer = await on(made)
        assert again.stop is not None
        assert newer.stop is None
        warehouse.is_queryable = True
        await made.changes.until(lambda: again.settled_rows == {0, 1, 3, 4})
        assert list(again.failures) == [2]


async def test_more_refused_rows_than_are_told_at_once_are_told_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them may pass for stored only because it was not looked at."""
    monkeypatch.setattr(channels, "REFUSALS_MAX", 2)
    warehouse = scripted(Plan(reply=Reply.REFUSED))
    async with house(tmp_path / "spool.db", warehouse) as made:
        await send(made, 0, 5)
        await made.changes.until(lambda: bool(made.committer.held))
        await made.room.batches.drop(made.committer.held[0].id)
        await send(made, 5, 1)
        await made.changes.until(lambda: bool(made.committed))
        for level in AckLevel:
            _, first = await on(made, offset=0, level=level)
            assert (first.settled_rows, sorted(first.failures)) == (set(), [0, 1, 2])
            assert first.ended_at == 2
            assert "send again from offset 2 on" in first.failures[2].message
            _, second = await on(made, offset=2, level=level)
            assert (sorted(second.failures), second.ended_at) == ([0, 1, 2], 2)
            _, last = await on(made, offset=4, level=level)
            assert (sorted(last.failures), last.ended_at) == ([0], None)
            await made.changes.until(lambda last=last: last.settled_rows == {1})  # type: ignore[misc]


async def test_a_stream_that_ends_at_a_verdict_hears_no_more_of_them(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 3, "poison")
        await made.until_idle()
        stream, sink = await made.stream(channel=ChannelClaim(name="c", offset=0))
        heard: list[int] = []

        def end_at(seq: int, rejected: RowRejected) -> None:
            assert rejected.code == 50000
            heard.append(seq)
            stream.close()

        sink.failed = end_at  # type: ignore[method-assign]
        await on(made, "other")
        assert heard == [0]
        await send(made, 3, 1)
