"""Rows at fault that nobody names: found by halving, so that all others commit, each once."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.ingest.batches import BatchState
from gateway.ingest.entries import DeadLetter
from gateway.ingest.spool import SpoolFile
from gateway.seams import ChannelClaim
from tests.fakes import Changes, Outcome, Plan, RecordingSink, ScriptedWarehouse
from tests.ingest_house import LIMITS, BlockedDisk, House, house, lines, source
from tests.on_channels import on, send, where

T = TypeVar("T")

SOMEWHERE = Plan(outcome=Outcome.DATA_ERROR_SOMEWHERE)
FOREVER = Plan(running_asks=10**9)


def scripted(*plans: Plan, slots: int = 8) -> ScriptedWarehouse:
    return ScriptedWarehouse(Changes(), plans=list(plans), slots=slots)


def rows_with(count: int, bad: set[int], text: str = "nameless") -> bytes:
    """Rows of which those in ``bad`` fail every task that they are in."""
    return b"".join(lines(at, 1, text if at in bad else "x") for at in range(count))


def letters(made: House) -> list[DeadLetter]:
    return made.reader.letters(limit=10_000)


async def in_one_batch(made: House, raws: list[bytes]) -> list[RecordingSink]:
    """Chunks of one stream each, sealed together."""
    slots, made.warehouse.slots = made.warehouse.slots, 0
    sinks = [await made.spool(raw) for raw in raws]
    made.warehouse.slots = slots
    return sinks


# ── exactly the rows at fault ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4}, {0, 7}, set(range(8)), {1, 2, 5}])
async def test_exactly_the_rows_at_fault_are_dead_letters_and_the_others_commit_once(
    tmp_path: Path, bad: set[int]
) -> None:
    async with house(tmp_path / "spool.db") as made:
        raw = rows_with(8, bad)
        sink = await made.spool(raw)
        await made.until_idle()
        good = [line for at, line in enumerate(raw.splitlines()) if at not in bad]
        assert made.warehouse.rows == sorted(good)
        assert (set(sink.failures), sink.settled_rows) == (bad, set(range(8)) - bad)
        assert sink.ended_at is None
        assert all("BadRow: some row" in failure.message for failure in sink.failures.values())
        assert sorted(letter.raw for letter in letters(made)) == sorted(
            lines(at, 1, "nameless") for at in bad
        )
        assert (made.committer.live, made.committer.held) == ([], [])


async def test_the_streams_of_a_batch_hear_of_their_own_rows_alone(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db") as made:
        raws = [rows_with(3, {1}), lines(10, 2), rows_with(4, {0, 3}), rows_with(2, {1}, "poison")]
        sinks = await in_one_batch(made, raws)
        await made.until_idle()
        assert [set(sink.failures) for sink in sinks] == [{1}, set(), {0, 3}, {1}]
        assert [sink.settled_rows for sink in sinks] == [{0, 2}, {0, 1}, {1, 2}, {0}]
        assert len(made.warehouse.rows) == 7


async def test_streams_that_share_a_chunk_are_cut_inside_it(tmp_path: Path) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=0)) as made:
        (one, hears), (other, too) = await on(made, "a"), await on(made, "b")
        async with BlockedDisk(made.writer):
            one.append(0, 3, rows_with(3, {2}), 1)
            other.append(0, 3, rows_with(3, {0}), 1)
        await made.changes.until(lambda: too.spooled_bytes == 1)
        assert [chunk.rows for chunk in made.chunks] == [6]
        made.warehouse.slots = 8
        await made.until_idle()
        assert (set(hears.failures), hears.settled_rows) == ({2}, {0, 1})
        assert (set(too.failures), too.settled_rows) == ({0}, {1, 2})
        assert {(letter.channel, letter.offset) for letter in letters(made)} == {("a", 2), ("b", 0)}
        assert [(where(made, name) or ())[:2] for name in "ab"] == [(3, 3), (3, 3)]


async def test_a_row_that_was_named_before_stays_cut_out_in_its_half(tmp_path: Path) -> None:
    """Dead letters of the whole go to the half that their line lies in, under its numbering."""
    async with house(tmp_path / "spool.db") as made:
        raw = lines(0, 1, "poison") + lines(1, 4) + lines(5, 1, "poison")
        raw += lines(6, 1, "nameless") + lines(7, 1)
        sink = await made.spool(raw)
        await made.until_idle()
        assert (set(sink.failures), sink.settled_rows) == ({0, 5, 6}, {1, 2, 3, 4, 7})
        assert len(made.warehouse.rows) == 5
        for letter in letters(made):
            (batch,) = [b for b in made.reader.committed_after(0, 99) if b.number == letter.batch]
            sealed = b"".join(made.reader.content(batch)).splitlines(keepends=True)
            assert sealed[(letter.line or 0) - 1] == letter.raw


# ── its cost ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 2, 8, 64])
async def test_the_cost_of_finding_a_row_is_told_and_logarithmic(
    tmp_path: Path, count: int
) -> None:
    async with house(tmp_path / "spool.db", scripted(slots=64)) as made:
        await made.spool(rows_with(count, {count // 2}))
        await made.until_idle()
        (letter,) = letters(made)
        tasks = len(made.warehouse.submissions)
        levels = math.ceil(math.log2(count))
        assert tasks == 1 + 2 * levels
        assert levels < letter.tasks <= tasks
        (root,) = (
            {letter.batch}
            if count == 1
            else {batch.root for batch in made.reader.committed_after(0, 99)}
        )
        assert root == 1


async def test_a_search_that_costs_too_much_is_held_with_what_it_found(tmp_path: Path) -> None:
    path, limits = tmp_path / "spool.db", replace(LIMITS, bisect_tasks_max=5)
    async with house(path, limits=limits) as made:
        raw = rows_with(16, set(range(12, 16)))
        sink = await made.spool(raw)
        await made.until_idle()
        assert len(made.warehouse.submissions) <= limits.bisect_tasks_max + 1
        held = made.committer.held
        assert held
        assert all("ingest.bisect_tasks_max" in (batch.error or "") for batch in held)
        assert all(batch.root == 1 for batch in held)
        assert sum(batch.rows for batch in held) + len(made.warehouse.rows) == 16
        assert sink.ended_at is not None
        assert sink.settled_rows == {int(row[5:].split(b",")[0]) for row in made.warehouse.rows}
    async with house(path, made.warehouse, limits=LIMITS) as made:
        await made.changes.until(lambda: len(made.committer.held) == len(held))
        for batch in list(made.committer.held):
            await made.room.batches.retry(batch.id)
        await made.until_idle()
        assert made.warehouse.rows == sorted(lines(0, 12).splitlines())
        assert sorted(letter.raw for letter in letters(made)) == [
            lines(at, 1, "nameless") for at in range(12, 16)
        ]


async def test_a_row_whose_letter_has_no_room_keeps_its_batch_held(tmp_path: Path) -> None:
    size = len(lines(0, 1, "nameless"))
    async with house(tmp_path / "spool.db", limits=replace(LIMITS, letters_bytes=2 * size)) as made:
        sink = await made.spool(rows_with(8, {1, 3, 5}))
        await made.until_idle()
        (held,) = made.committer.held
        assert (held.rows, len(letters(made))) == (1, 2)
        assert len(made.warehouse.rows) == 5
        assert len(sink.failures) == 3
        for letter in letters(made):
            await made.room.dead_letters.drop(letter.id)
        await made.room.batches.retry(held.id)
        await made.until_idle()
        assert (made.committer.held, len(letters(made))) == ([], 1)


# ── slots and retention ──────────────────────────────────────────────────────────────────────


async def test_halves_wait_for_a_slot_as_any_batch_does(tmp_path: Path) -> None:
    warehouse = scripted(*[replace(SOMEWHERE, running_asks=3)] * 3, slots=1)
    async with house(tmp_path / "spool.db", warehouse) as made:
        await made.spool(lines(0, 8))
        await made.until_idle()
        assert warehouse.most_running == 1
        assert warehouse.rows == sorted(lines(0, 8).splitlines())


async def test_a_chunk_that_halves_share_goes_once_and_with_the_last_of_them(
    tmp_path: Path,
) -> None:
    warehouse = scripted(SOMEWHERE, Plan(), FOREVER)
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await made.spool(lines(0, 4))
        await made.changes.until(lambda: sink.settled_rows == {0, 1})
        far = 1 << 62
        assert await made.writer.record(lambda spool: spool.forget(far, 0)) == 0
        (right,) = made.reader.unfinished()
        assert b"".join(made.reader.content(right)) == lines(2, 2)
        assert made.reader.committed_after(0, 9) == []
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.until_idle()
        assert sink.settled_rows == {0, 1, 2, 3}
        size = await made.writer.record(lambda spool: spool.forget(far, 0))
        assert size == len(lines(0, 4))
        assert made.reader.stored_bytes() == 0
        await made.spool(lines(4, 1))
        await made.until_idle()
        assert warehouse.rows == sorted(lines(0, 5).splitlines())


async def test_the_committed_frontier_of_a_channel_stands_at_the_half_that_is_left(
    tmp_path: Path,
) -> None:
    warehouse = scripted(SOMEWHERE, Plan(), FOREVER)
    async with house(tmp_path / "spool.db", warehouse) as made:
        sink = await send(made, 0, 5)
        await made.changes.until(lambda: sink.settled_rows == {0, 1})
        assert (where(made) or ())[:2] == (5, 2)
        _, again = await on(made, offset=0)
        assert again.settled_rows == {0, 1}
        for task in warehouse.tasks.values():
            task.running_asks = 1
        await made.changes.until(lambda: again.settled_rows == set(range(5)))
        assert (where(made) or ())[:2] == (5, 5)


# ── whatever dies meanwhile ──────────────────────────────────────────────────────────────────


@dataclass
class Load:
    """What is sent to one spool: per channel its chunks, and which rows are at fault."""

    chunks: list[tuple[str, bytes]]
    bad: dict[str, set[int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    good: list[bytes] = field(default_factory=list)
    fault: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, raw in self.chunks:
            for line in raw.splitlines():
                at = self.rows[name] = self.rows.get(name, 0) + 1
                is_bad = b"poison" in line or b"nameless" in line
                (self.fault if is_bad else self.good).append(line)
                if is_bad:
                    self.bad.setdefault(name, set()).add(at - 1)

    async def spool(self, made: House) -> None:
        """Send everything."""
        sent = dict.fromkeys(self.rows, 0)
        for name, raw in self.chunks:
            count = raw.count(b"\n")
            stream, sink = await made.stream(
                channel=ChannelClaim(name=name, offset=sent[name]), of=source()
            )
            stream.append(0, count, raw, 1)
            await made.changes.until(lambda sink=sink: sink.spooled_bytes == 1)  # type: ignore[misc]
            stream.close()
            sent[name] += count

    async def check(self, made: House) -> None:
        """Every row is there once or a dead letter once, and who comes again hears which."""
        assert made.warehouse.rows == sorted(self.good)
        assert sorted(letter.raw.rstrip(b"\n") for letter in letters(made)) == sorted(self.fault)
        for name, rows in self.rows.items():
            bad = self.bad.get(name, set())
            _, sink = await on(made, name, 0)
            assert (set(sink.failures), sink.settled_rows) == (bad, set(range(rows)) - bad)
            assert (where(made, name) or ())[:2] == (rows, rows)
        told = {(letter.channel, letter.offset) for letter in letters(made)}
        assert told == {(name, at) for name, bad in self.bad.items() for at in bad}


class Dying:
    """Ends the committer at its ``record_number``-th record: before it, or once it is on disk."""

    def __init__(self, made: House, record_number: int, *, after: bool) -> None:
        self.died = False
        self._made = made
        self._left = record_number
        self._after = after
        self._record = made.writer.record
        made.writer.record = self.record  # type: ignore[method-assign]

    async def record(self, apply: Callable[[SpoolFile], T]) -> T:
        self._left -= 1
        if self._left > 0:
            return await self._record(apply)
        if self._after:
            await self._record(apply)
        self.died = True
        assert self._made.running is not None
        self._made.running.cancel()
        self._made.changes.tell()
        await Changes().until(lambda: False)
        raise AssertionError


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_record_of_the_search_changes_nothing(
    tmp_path: Path, after: bool
) -> None:
    load = Load([
        ("a", lines(0, 2) + lines(2, 1, "nameless")),
        ("b", lines(3, 1) + lines(4, 1, "poison") + lines(5, 2)),
    ])  # fmt: skip
    for number in range(1, 60):
        path, warehouse = tmp_path / f"{number}.db", scripted()
        async with house(path, warehouse, start=False) as made:
            await load.spool(made)
        async with house(path, warehouse, start=False) as made:
            dying = Dying(made, number, after=after)
            made.start()
            await made.changes.until(lambda dying=dying, made=made: dying.died or ended(made))  # type: ignore[misc]
            died = dying.died
        async with house(path, warehouse) as made:
            await made.until_recovered()
            await made.until_idle()
            await load.check(made)
        if not died:
            assert number > 10
            return
    raise AssertionError("the search has no end")


def ended(made: House) -> bool:
    return (
        made.reader.looked.is_set()
        and made.committer.idle
        and not made.reader.unsealed()
        and not made.reader.unfinished()
    )


@pytest.mark.parametrize("seed", range(12))
async def test_every_row_is_stored_once_or_buried_once_whenever_the_gateway_dies(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    number = 0
    chunks = []
    for _ in range(draw.randrange(1, 7)):
        count = draw.randrange(1, 8)
        texts = draw.choices(["x", "nameless", "poison"], [8, 2, 1], k=count)
        raw = b"".join(lines(number + at, 1, text) for at, text in enumerate(texts))
        number += count
        chunks.append((draw.choice("ab"), raw))
    load, warehouse = Load(chunks), scripted(slots=draw.choice([1, 2, 8]))
    path = tmp_path / "spool.db"
    async with house(path, warehouse, start=False) as made:
        await load.spool(made)
    for _ in range(draw.randrange(1, 6)):
        async with house(path, warehouse) as made:
            calls = len(warehouse.calls) + draw.randrange(1, 25)
            await made.changes.until(
                lambda made=made, calls=calls: len(warehouse.calls) >= calls or ended(made)  # type: ignore[misc]
            )
    async with house(path, warehouse) as made:
        await made.until_idle()
        await load.check(made)
        assert {batch.state for batch in made.reader.committed_after(0, 999)} <= {
            BatchState.COMMITTED
        }
