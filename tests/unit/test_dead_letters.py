"""The operator's door to the dead letters: looked at, mended, driven again, given up."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ingest.log import SpooledLog
from gateway.seams import DeadLetterView, InsertSpec
from protocol.errors import BadRequest, NotFound, RowRejected, SpoolAway
from tests.fakes import Changes, Outcome, Plan, ScriptedWarehouse
from tests.ingest_house import LIMITS, SPEC, House, house, lines, refusing_disk, source
from tests.on_channels import on, send, where

NO_ROW = RowRejected("A is no BIGINT", 40000)


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


async def only_x(stream: str, raw: bytes, _: int) -> tuple[InsertSpec, bytes]:
    """A check that takes rows whose text is x, and spools them in upper case keys."""
    if b'"x"' not in raw:
        raise BadRequest(f"{stream} does not take {raw!r}")
    return SPEC, raw + b"\n"


async def refused(made: House, raw: bytes, of: str = "S", channel: str | None = None) -> None:
    """A row that fails its check in a stream that goes on."""
    stream, sink = await made.stream(of=source(of)) if channel is None else await on(made, channel)
    stream.refuse(0, raw, NO_ROW, 1)
    await made.changes.until(lambda: 0 in sink.failures)
    stream.close()


async def found(made: House, **wanted: object) -> list[DeadLetterView]:
    return await made.room.dead_letters.find(**wanted)  # type: ignore[arg-type]


# ── looked at ────────────────────────────────────────────────────────────────────────────────


async def test_letters_are_found_by_stream_channel_state_and_id(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await refused(made, b"a")
        await refused(made, b"b", "T")
        await refused(made, b"c", channel="edge")
        await refused(made, b"d", channel="edge")
        letters = made.room.dead_letters
        ids = [view.id for view in await found(made)]
        assert ids == sorted(ids)
        assert [view.raw for view in await found(made)] == [b"a", b"b", b"c", b"d"]
        assert [view.raw for view in await found(made, stream="T")] == [b"b"]
        on_edge = await found(made, channel="edge")
        assert [(view.raw, view.offset) for view in on_edge] == [(b"c", 0), (b"d", 1)]
        assert [view.raw for view in await found(made, stream="S", channel="edge")] == [b"c", b"d"]
        assert await found(made, stream="T", channel="edge") == []
        assert [view.raw for view in await found(made, limit=2)] == [b"a", b"b"]
        assert [view.raw for view in await found(made, after_id=ids[1], limit=1)] == [b"c"]
        await letters.drop(ids[0])
        assert [view.raw for view in await found(made)] == [b"b", b"c", b"d"]
        assert [view.id for view in await found(made, state="dropped")] == ids[:1]
        assert len(await found(made, state="all")) == 4
        with pytest.raises(BadRequest, match=r"'gone': it is one of open, retried, dropped, all"):
            await found(made, state="gone")


async def test_a_refused_row_is_shown_as_it_was_sent(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await refused(made, b' {"A": "x"} ', channel="edge")
        (view,) = await found(made)
        assert view == await made.room.dead_letters.get(view.id)
        assert (view.raw, view.stream, view.channel, view.offset) == (
            b' {"A": "x"} ', "S", "edge", 0,
        )  # fmt: skip
        assert (view.code, view.message, view.state) == ("40000", NO_ROW.message, "open")
        assert (view.batch, view.line, view.tasks) == (None, None, 0)
        assert view.at_ms > 1_600_000_000_000
        assert await made.room.dead_letters.get(view.id + 1) is None


async def test_a_row_that_was_cut_out_is_shown_with_its_place(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        await made.spool(lines(0, 2))
        await send(made, 0, 1, "x", "a")
        await send(made, 0, 3, "poison", "b")
        made.warehouse.slots = 1
        await made.until_idle()
        views = await found(made)
        batch_id = made.committed[0].batch.id
        shown = [(view.channel, view.offset, view.batch, view.line, view.tasks) for view in views]
        assert shown == [("b", at, batch_id, 4 + at, 1 + at) for at in range(3)]
        assert [view.raw for view in views] == lines(0, 3, "poison").splitlines()
        assert {view.code for view in views} == {"BadRow"}


# ── driven again ─────────────────────────────────────────────────────────────────────────────


async def test_a_row_that_was_cut_out_is_driven_again_as_it_was_spooled(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", check=only_x) as made:
        made.warehouse.plans = [Plan(outcome=Outcome.DATA_ERROR_SOMEWHERE)]
        sink = await made.spool(lines(0, 1, "a \\u00e9"))
        await made.until_idle()
        assert list(sink.failures) == [0]
        (view,) = await found(made)
        stored = made.room.capacity.stored_bytes
        log = SpooledLog(made.reader)
        log.recovered(made.reader.queues(), made.reader.chunk_end(), "id")
        made.room.on_chunk.append(log.grew)
        await made.room.dead_letters.retry(view.id)
        await made.until_idle()
        await made.changes.until(lambda: len(made.committed) == 2)
        assert made.warehouse.rows == lines(0, 1, "a \\u00e9").splitlines()
        assert made.room.capacity.stored_bytes == stored + len(lines(0, 1, "a \\u00e9"))
        assert [view.state for view in await found(made, state="all")] == ["retried"]
        assert (await found(made, state="retried"))[0].raw == b""
        assert log.end() == 2


async def test_a_row_that_was_refused_must_pass_the_check_now(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", check=only_x) as made:
        await refused(made, b'{"A":1,"S":"y"}')
        (view,) = await found(made)
        letters = made.room.dead_letters
        with pytest.raises(BadRequest, match="S does not take"):
            await letters.retry(view.id)
        with pytest.raises(BadRequest, match="S does not take"):
            await letters.edit(view.id, b'{"A":1,"S":"z"}')
        assert await found(made) == [view]
        edited = await letters.edit(view.id, b' {"A":1,"S":"x"}\n')
        assert edited == replace(view, raw=b'{"A":1,"S":"x"}')
        await letters.retry(view.id)
        await made.changes.until(lambda: len(made.committed) == 1)
        assert made.warehouse.rows == [b'{"A":1,"S":"x"}']


async def test_a_row_that_was_mended_takes_its_place_on_its_channel(tmp_path: Path) -> None:
    """Its channel counts it as on its way again, and whoever sends it again waits for it."""
    warehouse = scripted()
    async with house(tmp_path / "spool.db", warehouse) as made:
        stream, sink = await on(made)
        stream.append(0, 3, lines(0, 1) + lines(1, 1, "poison") + lines(2, 1), 1)
        await made.changes.until(lambda: sink.settled_rows == {0, 2})
        assert (where(made) or ())[:2] == (3, 3)
        (view,) = await found(made)
        await made.room.dead_letters.edit(view.id, lines(1, 1).strip())
        warehouse.slots = 0
        await made.room.dead_letters.retry(view.id)
        assert (where(made) or ())[:2] == (3, 1)
        _, again = await on(made, offset=0)
        assert (again.settled_rows, again.failures) == ({0, 2}, {})
        warehouse.slots = 1
        await made.changes.until(lambda: again.settled_rows == {0, 1, 2})
        assert (where(made) or ())[:2] == (3, 3)
        assert warehouse.rows == sorted(lines(0, 3).splitlines())


async def test_a_row_that_fails_again_is_a_letter_again_at_its_offset(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        await send(made, 0, 2)
        await send(made, 2, 1, "poison")
        await made.until_idle()
        (first,) = await found(made)
        await made.room.dead_letters.retry(first.id)
        await made.changes.until(lambda: len(made.committed) > 1 and made.committer.idle)
        (second,) = await found(made)
        assert second.id > first.id
        assert (second.channel, second.offset, second.raw) == ("c", 2, first.raw)
        _, again = await on(made, offset=0)
        assert (again.settled_rows, list(again.failures)) == ({0, 1}, [2])


async def test_a_row_is_not_driven_again_while_its_batch_is_on_its_way(tmp_path: Path) -> None:
    warehouse = scripted(Plan(), Plan(running_asks=10**9))
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await send(made, 0, 2, "poison")
        await made.changes.until(lambda: len(warehouse.tasks) == 2)
        (view,) = await found(made)
        with pytest.raises(BadRequest, match=rf"cannot be retried now: .*{view.batch}"):
            await made.room.dead_letters.retry(view.id)
        assert await found(made) == [view]
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        assert len(sink.failures) == 2
        await made.room.dead_letters.retry(view.id)


async def test_a_letter_outlives_its_batch_and_can_still_be_driven_again(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted()) as made:
        await send(made, 0, 2, "poison")
        await made.until_idle()
        assert await made.writer.record(lambda spool: spool.forget(1 << 62, 0)) > 0
        view, other = await found(made)
        assert (view.batch, view.line, view.offset) == (None, None, 0)
        await made.room.dead_letters.drop(other.id)
        await made.room.dead_letters.edit(view.id, lines(0, 1).strip())
        await made.room.dead_letters.retry(view.id)
        await made.until_idle()
        await made.changes.until(lambda: made.warehouse.rows == lines(0, 1).splitlines())


# ── decided once ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("decision", ["retry", "drop"])
async def test_a_letter_is_decided_on_once(tmp_path: Path, decision: str) -> None:
    async with house(tmp_path / "spool.db") as made:
        letters = made.room.dead_letters
        await refused(made, b"a", channel="edge")
        (view,) = await found(made)
        decide: dict[str, Callable[[int], Awaitable[object]]] = {
            "retry": letters.retry,
            "drop": letters.drop,
            "edit": lambda letter_id: letters.edit(letter_id, b"b"),
        }
        await decide[decision](view.id)
        for again in decide.values():
            with pytest.raises(BadRequest, match=f"Dead letter {view.id} is not open"):
                await again(view.id)
            with pytest.raises(NotFound, match="No dead letter 4711"):
                await again(4711)
        await made.until_idle()
        assert len(made.warehouse.rows) == (1 if decision == "retry" else 0)


async def test_a_row_that_was_dropped_is_refused_again_when_it_is_sent_again(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await refused(made, b"a", channel="edge")
        (view,) = await found(made)
        await made.room.dead_letters.drop(view.id)
        stream, again = await on(made, "edge", 0)
        assert (stream.duplicates, list(again.failures)) == (1, [0])


async def test_a_disk_that_refuses_leaves_the_letter_and_no_row(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        await refused(made, b"a")
        (view,) = await found(made)
        async with refusing_disk(made.writer):
            for decide in (made.room.dead_letters.retry, made.room.dead_letters.drop):
                with pytest.raises(SpoolAway, match="The spool cannot be written"):
                    await decide(view.id)
        assert await found(made) == [view]
        assert made.reader.unsealed() == []


# ── limits ───────────────────────────────────────────────────────────────────────────────────


async def test_open_letters_take_no_more_bytes_than_they_may(tmp_path: Path) -> None:
    limits = replace(LIMITS, letters_bytes=5)
    async with house(tmp_path / "spool.db", limits=limits, start=False) as made:
        await refused(made, b"abc")
        stream, sink = await on(made)
        stream.append(0, 1, lines(0, 1), 1)
        stream.refuse(1, b"def", NO_ROW, 1)
        stream.append(2, 1, lines(2, 1), 1)
        await made.changes.until(lambda: stream.waiting_bytes == 0)
        assert sink.ended_at == 1
        assert "ingest.dead_letters_limit_bytes" in sink.failures[1].message
        assert where(made) == (1, 0, 0)
        (view,) = await found(made)
        letters = made.room.dead_letters
        with pytest.raises(BadRequest, match="no room for another row"):
            await letters.edit(view.id, b"abcdef")
        await letters.edit(view.id, b"abcde")
        await letters.edit(view.id, b"de")
        await refused(made, b"fgh")
        await letters.drop(view.id)
        await refused(made, b"ij")
        assert [view.raw for view in await found(made)] == [b"fgh", b"ij"]


async def test_decided_letters_are_forgotten_in_the_end_and_open_ones_never(
    tmp_path: Path,
) -> None:
    async with house(tmp_path / "spool.db", start=False) as made:
        for raw in (b"a", b"b"):
            await refused(made, raw)
        first, second = await found(made)
        await made.room.dead_letters.drop(first.id)
        await made.writer.record(lambda spool: spool.forget(first.at_ms, 0))
        assert len(await found(made, state="all")) == 2
        await made.writer.record(lambda spool: spool.forget(1 << 62, 0))
        assert await found(made, state="all") == [second]
