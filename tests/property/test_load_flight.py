"""Rows under way, sources that block, files of refused rows: each by itself."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.failures import CommandFailed
from gateway.commands.load import flight as flights
from gateway.commands.load.blocks import Block
from gateway.commands.load.flight import Flight
from gateway.commands.load.readahead import AHEAD, ReadAhead
from gateway.commands.load.rejected import Rejected, RejectedRow

# ── rows that are under way ──────────────────────────────────────────────────────────────────


def text_of(row: int) -> bytes:
    return b"x" * (row % 7)


def block(first_row: int, count: int) -> Block:
    """Row *n* stood in line 3n + 1."""
    rows = range(first_row, first_row + count)
    data = b"".join(text_of(row) + b"\n" for row in rows)
    return Block(data, first_row, [3 * row + 1 for row in rows])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 50), st.data())
def test_a_row_is_found_until_another_one_has_landed(
    counts: list[int], first_row: int, draw: st.DataObject
) -> None:
    flight, end = Flight(), first_row
    for count in counts:
        flight.add(block(end, count))
        end += count
    landed = first_row
    while landed < end:
        landed = draw.draw(st.integers(landed + 1, end))
        flight.land(landed)
        for row in range(landed - 1, end):
            assert flight.find(row) == (3 * row + 1, text_of(row))


async def test_the_sender_waits_for_room_until_rows_have_landed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flights, "FLIGHT_LIMIT_BYTES", 100)
    flight, row, has_room = Flight(), 0, True
    while has_room:
        flight.add(block(row, 5))
        row += 5
        waiting = asyncio.ensure_future(flight.room())
        await asyncio.sleep(0)
        has_room = waiting.done()
    assert row > 10
    flight.land(4)
    await asyncio.sleep(0)
    assert not waiting.done()
    flight.land(row)
    await asyncio.wait_for(waiting, 10)


# ── sources that block ───────────────────────────────────────────────────────────────────────


async def taken(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


async def test_all_items_come_in_order_and_then_what_the_source_raised() -> None:
    def produce(put: Callable[[int], None]) -> None:
        for number in range(5 * AHEAD):
            put(number)
        raise CommandFailed("it broke")

    items = ReadAhead(produce).items()
    assert [await anext(items) for _ in range(5 * AHEAD)] == list(range(5 * AHEAD))
    with pytest.raises(CommandFailed, match="it broke"):
        await anext(items)
    assert await taken(ReadAhead[int](lambda _: None).items()) == []


async def test_the_source_is_never_further_ahead_than_it_may_be() -> None:
    given_out = threading.Semaphore(0)
    put_count = 0

    def produce(put: Callable[[int], None]) -> None:
        nonlocal put_count
        for number in range(4 * AHEAD):
            put(number)
            put_count = number + 1
            given_out.release()

    async with contextlib.aclosing(ReadAhead(produce).items()) as items:
        assert await anext(items) == 0
        for _ in range(AHEAD):
            assert await asyncio.to_thread(given_out.acquire, timeout=10)
        # One is taken, so many wait; nothing lets the thread put another one.
        assert put_count <= AHEAD + 1
        assert [number async for number in items] == list(range(1, 4 * AHEAD))


async def test_a_source_that_is_left_stops_at_its_next_item() -> None:
    stopped = threading.Event()

    def produce(put: Callable[[int], None]) -> None:
        try:
            while True:
                put(1)
        finally:
            stopped.set()

    async with contextlib.aclosing(ReadAhead(produce).items()) as items:
        assert await anext(items) == 1
    assert await asyncio.to_thread(stopped.wait, 10)


async def test_a_source_that_waits_for_ever_keeps_nobody() -> None:
    may_end = threading.Event()
    async with contextlib.aclosing(ReadAhead[int](lambda _: _wait(may_end)).items()) as items:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.01)
    may_end.set()


def _wait(event: threading.Event) -> None:
    event.wait(60)


# ── files of refused rows ────────────────────────────────────────────────────────────────────


def row(line: int, text: str = "x") -> RejectedRow:
    return RejectedRow(line, 40000, "it is bad", text.encode())


def run(file: Path, *rows: RejectedRow, goes_on: bool = True) -> None:
    with Rejected(file, goes_on=goes_on) as rejected:
        for each in rows:
            rejected.add([each])
        assert rejected.count == len(rows)


def told(file: Path) -> list[tuple[int, str]]:
    documents = map(json.loads, file.read_text().splitlines())
    return [(each["line"], each["row"]) for each in documents]


@given(st.sets(st.integers(1, 40)), st.integers(0, 40), st.integers(0, 40))
def test_what_an_interrupted_run_has_told_is_not_told_again(
    tmp_path_factory: pytest.TempPathFactory, lines: set[int], stopped: int, committed: int
) -> None:
    file = tmp_path_factory.mktemp("rejected") / "file"
    every = [row(line) for line in sorted(lines)]
    run(file, *(each for each in every if each.line <= stopped), goes_on=False)
    run(file, *(each for each in every if each.line > min(stopped, committed)))
    assert told(file) == [(each.line, "x") for each in every]


def test_another_row_in_the_same_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "rejected"
    run(file, row(1), row(5, "old"), goes_on=False)
    run(file, row(5, "new"), row(7))
    assert told(file) == [(1, "x"), (5, "old"), (5, "new"), (7, "x")]


def test_what_another_load_has_told_does_not_hide_this_ones_rows(tmp_path: Path) -> None:
    file = tmp_path / "rejected"
    run(file, row(900), goes_on=False)
    run(file, row(2), row(5))
    run(file, row(5), row(900))
    assert told(file) == [(900, "x"), (2, "x"), (5, "x"), (900, "x")]


def test_half_a_line_of_a_run_that_was_killed_goes(tmp_path: Path) -> None:
    file = tmp_path / "rejected"
    run(file, row(1), row(2), goes_on=False)
    file.write_bytes(file.read_bytes()[:-5])
    run(file, row(2), row(3))
    assert told(file) == [(1, "x"), (2, "x"), (3, "x")]


def test_lines_that_are_not_ours_are_left_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "rejected"
    ours: dict[str, Any] = {"line": 2, "row": "x"}
    file.write_text(f'# a note\n{json.dumps(ours)}\n["list"]\n{{"line":"?"}}\n')
    before = file.read_text()
    run(file, row(2), row(3))
    assert file.read_text().startswith(before)
    assert file.read_text().count("\n") == 5


def test_a_load_from_the_start_begins_its_file_anew(tmp_path: Path) -> None:
    file = tmp_path / "rejected"
    run(file, row(1), goes_on=False)
    run(file, row(2), goes_on=False)
    assert told(file) == [(2, "x")]
