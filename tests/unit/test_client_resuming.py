"""An insert on a channel against a scripted server: each thing that can come between, in turn."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gateway.client import (
    AnswerBroken,
    ChannelTaken,
    Client,
    ConnectionLost,
    KsqlResponseError,
    ReconnectFailed,
    RequestCancelled,
    RowRefused,
)
from gateway.client.backoff import ASKED_MAX
from tests.unit.client_acts import (
    ACK,
    AGAIN,
    FENCED,
    Act,
    Acts,
    drop,
    ending,
    error,
    goaway_and_end,
    refusing,
    reset,
    rows,
    taking,
    wait_for_end,
)
from tests.unit.client_peer import Exchange, scripted


@pytest.mark.parametrize(
    "loss",
    [
        drop,
        reset,
        goaway_and_end,
        ending(error(2, 50303, "The server is shutting down")),
        ending(error(2, 42900, "no room")),
        ending(error(2, 50000, "the disk failed")),
    ],
)
@pytest.mark.parametrize("on_error", ["stop", "continue"])
async def test_after_each_kind_of_loss_it_goes_on_from_the_lowest_row_without_a_verdict(
    loss: Act, on_error: str
) -> None:
    acts = Acts(taking(7, 2, loss), taking(12, 0))
    async with scripted(acts) as server, Client(server.url) as client:
        insert = client.insert("T", rows(5), channel="edge", on_error=on_error)
        batches = [batch async for batch in insert]
    seqs = [seq for one in batches for seq in range(one.first_seq, one.last_seq + 1)]
    assert seqs == [0, 1, 2, 3, 4]
    assert [refused for one in batches for refused in one.refused] == []
    offsets = [asked["properties"].get("headrace.offset") for asked in acts.asked]
    # Without an offset the first row is where the channel stands.
    assert offsets == [None, 9]
    assert (insert.progress.reconnects, insert.progress.acked) == (1, 5)


@pytest.mark.parametrize(
    "refusal",
    [
        refusing(503, 50302),
        refusing(503, 50303),
        refusing(429, 42900, retry_after="0"),
        refusing(500, 50000),
        drop,
    ],
)
async def test_a_gateway_that_is_not_ready_is_asked_again(refusal: Act) -> None:
    acts = Acts(refusal, refusal, taking(0, 0))
    async with scripted(acts) as server, Client(server.url) as client:
        insert = client.insert("T", rows(3), channel="edge", offset=0)
        assert sum([len(batch) async for batch in insert]) == 3
    assert [asked["properties"]["headrace.offset"] for asked in acts.asked] == [0, 0, 0]


@pytest.mark.parametrize(("status", "code"), [(401, 40100), (403, 40300), (400, 40001)])
async def test_what_would_be_said_again_as_it_is_ends_it_at_once(status: int, code: int) -> None:
    acts = Acts(taking(0, 1, drop), refusing(status, code))
    async with scripted(acts) as server, Client(server.url) as client:
        insert = client.insert("T", rows(3), channel="edge")
        told = 0
        with pytest.raises(KsqlResponseError) as refused:  # noqa: PT012 - the acks come first
            async for batch in insert:
                told += len(batch)
    assert (refused.value.status, refused.value.code, told) == (status, code, 1)


@pytest.mark.parametrize(
    "fencing", [taking(0, 1, ending(error(1, 40000, FENCED))), refusing(400, 40000, FENCED)]
)
async def test_another_client_on_the_channel_ends_it_and_is_not_fought(fencing: Act) -> None:
    async with scripted(Acts(fencing)) as server, Client(server.url) as client:
        with pytest.raises(ChannelTaken, match="taken channel 'edge' over"):
            _ = [b async for b in client.insert("T", rows(3), channel="edge", on_error="continue")]


async def test_rows_that_somebody_else_put_on_the_channel_meanwhile_end_it() -> None:
    sent = asyncio.Event()

    async def first(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond(headers={"headrace-next-offset": "0"})
        for _ in range(3):
            await exchange.line()
        sent.set()
        exchange.peer.drop()

    # It would be told that its next rows are duplicates, and they were stored nowhere.
    async with scripted(Acts(first, taking(4, 0))) as server, Client(server.url) as client:
        with pytest.raises(ChannelTaken, match="offset 4"):
            _ = [batch async for batch in client.insert("T", rows(3), channel="edge")]


async def test_a_bad_row_ends_it_by_its_number_since_the_start() -> None:
    acts = Acts(taking(0, 2, drop), taking(2, 1, ending(error(1, 40000))))
    async with scripted(acts) as server, Client(server.url) as client:
        told = 0
        with pytest.raises(RowRefused) as refused:  # noqa: PT012 - the acks come first
            async for batch in client.insert("T", rows(9), channel="edge"):
                told += len(batch)
    assert (refused.value.seq, refused.value.code, told) == (3, 40000, 3)


async def test_a_fault_that_is_told_of_the_same_row_again_and_again_is_its_verdict() -> None:
    acts = Acts(*[taking(0, 0, ending(error(0, 50000, "held")))] * ASKED_MAX)
    async with scripted(acts) as server, Client(server.url) as client:
        with pytest.raises(RowRefused, match="held"):
            _ = [batch async for batch in client.insert("T", rows(2), channel="edge")]
    assert len(acts.asked) == ASKED_MAX


async def test_refused_rows_are_verdicts_over_losses_and_duplicates_tell_theirs_again() -> None:
    async def first(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond(headers={"headrace-next-offset": "0"})
        for _ in range(4):
            await exchange.line()
        exchange.send(ACK % 0 + error(1, 40000) + ACK % 2)
        exchange.peer.drop()

    async def second(exchange: Exchange, asked: dict[str, Any]) -> None:
        lowest = asked["properties"]["headrace.offset"]
        exchange.respond(headers={"headrace-next-offset": "4"})
        assert len([line async for line in exchange.lines()]) == 6 - lowest
        lines = [AGAIN, None, AGAIN, None, ACK, ACK]
        body = b"".join(
            error(seq - lowest, 40000) if form is None else form % (seq - lowest)
            for seq, form in enumerate(lines)
            if seq >= lowest
        )
        exchange.send(body, end=True)

    async with scripted(Acts(first, second)) as server, Client(server.url) as client:
        insert = client.insert("T", rows(6), channel="edge", on_error="continue")
        batches = [batch async for batch in insert]
    assert [one.seq for batch in batches for one in batch.refused] == [1, 3]
    acked = [seq for batch in batches for some in batch.acked_ranges() for seq in some]
    assert acked == [0, 2, 4, 5]
    assert (insert.progress.acked, insert.progress.refused) == (4, 2)


async def test_a_refusal_that_nothing_follows_is_handed_out_while_the_insert_goes_on() -> None:
    """A caller that waits for each verdict before the next row must not wait for ever."""
    told = asyncio.Event()

    async def one_by_one() -> AsyncIterator[dict[str, int]]:
        yield {"A": 0}
        await told.wait()
        yield {"A": 1}

    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond(headers={"headrace-next-offset": "0"})
        await exchange.line()
        exchange.send(error(0, 50000, "Error in processing inserts"))
        await exchange.line()
        async for _ in exchange.lines():
            raise AssertionError("a row too many")
        exchange.send(ACK % 1, end=True)

    async with scripted(Acts(act)) as server, Client(server.url) as client:
        insert = client.insert("T", one_by_one(), channel="edge", on_error="continue")
        first = await anext(insert)
        assert [one.seq for one in first.refused] == [0]
        told.set()
        assert [batch.acked async for batch in insert] == [1]


async def test_it_gives_up_in_the_end_and_names_what_is_unacked() -> None:
    async with scripted(Acts(taking(100, 2, drop))) as server:
        client = Client(server.url, reconnect_max_s=0.3)
        insert = client.insert("T", rows(5), channel="edge")
        told = await anext(insert)
        server.script = drop_all
        with pytest.raises(ReconnectFailed, match=r"channel 'edge' of T") as failed:  # noqa: PT012
            # The second ack may come by itself.
            while True:
                told = await anext(insert)
        await client.close()
    assert told.last_seq == 1
    assert "Rows 2 to 4, offsets 102 to 104" in str(failed.value)
    assert isinstance(failed.value.__cause__, ConnectionLost)


async def drop_all(exchange: Exchange) -> None:
    exchange.peer.drop()


async def test_while_its_memory_is_full_no_row_is_read() -> None:
    taken, more = 0, asyncio.Event()

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in itertools.repeat(None, 500):
            taken += 1
            yield b'{"A":"' + b"x" * 990 + b'"}\n'

    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond(headers={"headrace-next-offset": "0"})
        await more.wait()
        seq = 0
        async for _ in exchange.lines():
            exchange.send(ACK % seq)
            seq += 1
        exchange.end()

    async with scripted(Acts(act)) as server, Client(server.url) as client:
        limit = 100_000
        insert = client.insert("T", endless(), channel="edge", resend_limit_bytes=limit)
        async with insert:
            for _ in range(300):
                await asyncio.sleep(0)  # Every chance to run too far ahead.
            assert insert.progress.unacked_bytes <= limit
            # One more block may have been read, and waits for its room.
            assert limit - 40_000 < taken * 998 <= limit + 40_000
            more.set()
            assert sum([len(batch) async for batch in insert]) == taken == 500


async def test_a_source_that_fails_ends_it_after_the_acks_of_what_it_gave() -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield from rows(3)
        raise LookupError("the source broke")

    acts = Acts(taking(0, 1, drop), taking(3, 0))
    async with scripted(acts) as server, Client(server.url) as client:
        insert = client.insert("T", broken(), channel="edge")
        told = 0
        with pytest.raises(LookupError, match="the source broke"):  # noqa: PT012 - acks first
            async for batch in insert:
                told += len(batch)
    assert told == 3


async def test_closing_the_client_ends_what_resumes() -> None:
    async with scripted(Acts(taking(0, 1, wait_for_end))) as server:
        client = Client(server.url)
        insert = client.insert("T", itertools.repeat({"A": 1}), channel="edge")
        await anext(insert)
        await client.close()
        with pytest.raises(RequestCancelled):
            await anext(insert)


async def test_a_server_without_channels_is_named_as_such() -> None:
    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond()

    async with scripted(Acts(act)) as server, Client(server.url) as client:
        with pytest.raises(AnswerBroken, match="knows no channels"):
            await anext(client.insert("T", rows(1), channel="edge"))
