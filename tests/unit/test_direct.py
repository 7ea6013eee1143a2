"""Rows without a stream: the caller waits for all of them, or hears why not."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.http.direct import DirectInserts
from gateway.http.inserts import InsertLimits
from gateway.seams import UNASKED, AckLevel, ReceiptSink
from protocol.errors import RowRejected
from tests.intakes import OneStream, ScriptedIntake

LIMITS = InsertLimits(row_bytes=1000, waiting_bytes=1 << 16, ack=AckLevel.COMMITTED)
ROWS = [{"A": number} for number in range(3)]
SPENT = RowRejected("spent", 50000)


async def inserted(*said: Callable[[ReceiptSink], None]) -> ScriptedIntake:
    """Insert three rows; what the intake says of them comes in turn."""
    intake = ScriptedIntake(settles=False)
    inserting = asyncio.create_task(
        DirectInserts(OneStream(), intake, LIMITS).insert("EVENTS", ROWS, UNASKED)
    )
    async with asyncio.timeout(5):
        while not intake.streams or not intake.streams[0].rows:
            assert not inserting.done()
            await asyncio.sleep(0)
        for say in said:
            assert not inserting.done()
            say(intake.streams[0].sink)
        await inserting
    return intake


async def test_the_caller_waits_for_the_last_of_its_rows() -> None:
    intake = await inserted(lambda sink: sink.settled(2, 3), lambda sink: sink.settled(0, 2))
    assert intake.streams[0].rows == [(0, 3)]
    assert intake.streams[0].closed


@pytest.mark.parametrize("said", ["failed", "broken"])
async def test_a_row_that_is_not_stored_is_raised(said: str) -> None:
    with pytest.raises(RowRejected, match="spent"):
        await inserted(lambda sink: getattr(sink, said)(1, SPENT))


async def test_rows_that_were_taken_before_a_stop_still_get_their_verdicts() -> None:
    await inserted(lambda sink: sink.stopped(SPENT), lambda sink: sink.settled(0, 3))
