"""The client where something is cancelled, or a connection breaks with answers waiting."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.client import Client, ConnectionLost, RequestCancelled
from tests.unit.client_acts import ACK, Acts, rows, taking
from tests.unit.client_peer import Exchange, scripted


async def cancelled_behind(count: int) -> AsyncIterator[dict[str, int]]:
    """Rows, and then a cancellation that nobody asked this insert for."""
    for one in rows(count):
        yield one
    broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    broken.cancel()
    await broken


async def test_a_source_that_is_cancelled_is_not_the_end_of_the_rows_of_a_resuming_insert() -> None:
    async with scripted(Acts(taking(0, 0))) as server, Client(server.url) as client:
        insert = client.insert("T", cancelled_behind(3), channel="edge")
        seqs: list[int] = []

        async def run() -> None:
            async for batch in insert:
                seqs.extend(range(batch.first_seq, batch.last_seq + 1))

        async with asyncio.timeout(5):
            with pytest.raises(RequestCancelled, match="not all read"):
                await run()
    assert seqs == [0, 1, 2]


async def test_a_source_that_is_cancelled_ends_a_plain_insert_instead_of_hanging_it() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond()
        while await exchange.read() is not None:
            pass

    async with scripted(script) as server, Client(server.url) as client:
        insert = client.insert("T", cancelled_behind(3))
        async with asyncio.timeout(5):
            with pytest.raises(RequestCancelled, match="not all read"):
                await anext(aiter(insert))


async def test_an_iteration_that_was_cancelled_while_it_opened_may_go_on() -> None:
    """As by `asyncio.wait_for`: it must neither hang nor skip the server's status."""
    asked = asyncio.Event()
    answers = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.line()
        asked.set()
        await answers.wait()
        exchange.respond()
        count = len([line async for line in exchange.lines()])
        exchange.send(b"".join(ACK % seq for seq in range(count)), end=True)

    async with scripted(script) as server, Client(server.url) as client, asyncio.timeout(5):
        insert = client.insert("T", rows(3))
        first = asyncio.ensure_future(anext(aiter(insert)))
        await asked.wait()
        first.cancel()
        await asyncio.wait([first])
        answers.set()
        assert [len(batch) async for batch in insert] == [3]


async def test_acks_that_came_before_a_loss_are_told_though_the_sending_failed_first() -> None:
    sent = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        lines = exchange.lines()
        await anext(lines)
        exchange.send(ACK % 0)
        sent.set()
        exchange.peer.drop()

    lost = asyncio.Event()

    async def endless() -> AsyncIterator[dict[str, int]]:
        yield {"A": 0}
        await lost.wait()
        yield {"A": 1}

    async with scripted(script) as server, Client(server.url) as client, asyncio.timeout(5):
        insert: Any = client.insert("T", endless())
        async with insert:
            await sent.wait()
            stream = await insert.opened()
            while stream.failure is None:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            lost.set()
            await asyncio.wait([insert._sender])
            batch = await anext(insert)
            assert (batch.first_seq, batch.last_seq) == (0, 0)
            with pytest.raises(ConnectionLost):
                await anext(insert)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_cancelled_at_any_turn_it_leaves_no_task_behind(turns: int) -> None:
    before = asyncio.all_tasks()

    async def script(exchange: Exchange) -> None:
        exchange.respond(headers={"headrace-next-offset": "0"})
        while await exchange.read() is not None:
            pass

    async def endless() -> AsyncIterator[dict[str, int]]:
        number = 0
        while True:
            yield {"A": number}
            number += 1
            await asyncio.sleep(0)

    async with scripted(script) as server, Client(server.url) as client:

        async def run() -> None:
            async with client.insert("T", endless(), channel="edge") as insert:
                async for _ in insert:
                    pass

        task = asyncio.create_task(run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        # A second one, while it closes.
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    for _ in range(10):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
