"""The client against a scripted server on a real socket: what each side's behaviour comes to."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest

from gateway.client import (
    AnswerBroken,
    Client,
    ConnectionLost,
    GoneAway,
    KsqlResponseError,
    QueryFailed,
    RowRefused,
    StreamReset,
)
from gateway.client.connection import STREAM_WINDOW_BYTES
from gateway.client.stream import OUTBOX_LIMIT_BYTES
from tests.unit.client_peer import Exchange, scripted

ACK = b'{"status":"ok","seq":%d}\n'
HEADER = b'{"queryId":"q1","columnNames":["A"],"columnTypes":["BIGINT"]}\n'


async def ack_everything(exchange: Exchange) -> None:
    """A gateway in miniature: 200 after the arguments, an ack for each row, end after the last."""
    await exchange.line()
    exchange.respond()
    seq = 0
    async for _ in exchange.lines():
        exchange.send(ACK % seq)
        seq += 1
    exchange.end()


def rows(count: int) -> Iterator[dict[str, int]]:
    return ({"A": number} for number in range(count))


async def test_every_row_is_acked_in_order_and_the_insert_ends() -> None:
    async with scripted(ack_everything) as server, Client(server.url) as client:
        insert = client.insert("T", rows(1000))
        seqs = [s async for b in insert for s in range(b.first_seq, b.last_seq + 1)]
        assert seqs == list(range(1000))
        assert (insert.sent, insert.acked) == (1000, 1000)


async def test_the_server_gets_the_arguments_and_the_rows_as_lines() -> None:
    got: list[Any] = []

    async def script(exchange: Exchange) -> None:
        assert exchange.headers[":path"] == "/inserts-stream"
        got.append(orjson.loads(await exchange.line()))
        exchange.respond()
        async for line in exchange.lines():
            got.append(orjson.loads(line))
        exchange.send(ACK % 0 + ACK % 1 + ACK % 2, end=True)

    mixed: list[Any] = [{"A": 1}, b'{"A":2}\n{"A":3}']
    async with scripted(script) as server, Client(server.url) as client:
        batches = [b async for b in client.insert("T", mixed, ack="spooled", properties={"p": 1})]
    properties = {"headrace.ack": "spooled", "headrace.frames": "coalesced", "p": 1}
    assert got == [{"target": "T", "properties": properties}, {"A": 1}, {"A": 2}, {"A": 3}]
    assert [(b.first_seq, b.last_seq) for b in batches] == [(0, 2)]


ERROR = b'{"@type":"InsertError","status":"error","seq":%d,"message":"bad","error_code":40000}\n'
AGAIN = b'{"status":"ok","seq":%d,"duplicate":true}\n'


async def test_an_insert_on_a_channel_knows_the_next_offset_and_its_duplicates() -> None:
    async def script(exchange: Exchange) -> None:
        asked = orjson.loads(await exchange.line())["properties"]
        assert (asked["headrace.channel"], asked["headrace.offset"]) == ("edge-7", 1200)
        exchange.respond(headers={"headrace-next-offset": "1202"})
        async for _ in exchange.lines():
            pass
        exchange.send(AGAIN % 0 + AGAIN % 1 + ACK % 2, end=True)

    async with scripted(script) as server, Client(server.url) as client:
        insert = client.insert("T", rows(3), channel="edge-7", offset=1200)
        assert insert.next_offset is None
        async with insert:
            assert insert.next_offset == 1202
            batches = [batch async for batch in insert]
        assert sum(batch.duplicates for batch in batches) == 2
        assert (insert.acked, insert.refused) == (3, 0)


async def test_a_refused_row_does_not_end_an_insert_that_goes_on() -> None:
    async def script(exchange: Exchange) -> None:
        asked = orjson.loads(await exchange.line())["properties"]
        assert asked["headrace.on_error"] == "continue"
        exchange.respond()
        seq = 0
        async for _ in exchange.lines():
            exchange.send((ERROR if seq % 3 == 1 else ACK) % seq)
            seq += 1
        exchange.end()

    async with scripted(script) as server, Client(server.url) as client:
        insert = client.insert("T", rows(8), on_error="continue")
        batches = [batch async for batch in insert]
    assert [refused.seq for batch in batches for refused in batch.refused] == [1, 4, 7]
    acked = [seq for batch in batches for some in batch.acked_ranges() for seq in some]
    assert acked == [0, 2, 3, 5, 6]
    assert (insert.sent, insert.acked, insert.refused) == (8, 5, 3)


@pytest.mark.parametrize("sent", [2, 9])
async def test_where_the_server_breaks_off_an_insert_that_goes_on_its_last_error_is_raised(
    sent: int,
) -> None:
    """At the next row that was not sent yet, or before rows that were."""

    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        lines = exchange.lines()
        for _ in range(sent):
            await anext(lines)
        exchange.send(ACK % 0 + ACK % 1 + ERROR % 2, end=True)

    over = asyncio.Event()

    async def some() -> AsyncIterator[dict[str, int]]:
        for number in range(sent):
            yield {"A": number}
        await over.wait()

    async with scripted(script) as server, Client(server.url) as client:
        insert = client.insert("T", some(), on_error="continue")
        acked = 0
        with pytest.raises(RowRefused) as caught:  # noqa: PT012 - the acks come first
            async for batch in insert:
                acked += batch.acked
        assert (caught.value.seq, acked) == (2, 2)


async def test_an_insert_of_no_rows_ends_without_acks() -> None:
    async with scripted(ack_everything) as server, Client(server.url) as client:
        assert [b async for b in client.insert("T", [])] == []


async def test_acks_arrive_while_the_rows_are_still_coming() -> None:
    acked = asyncio.Event()

    async def one_after_the_other() -> AsyncIterator[dict[str, int]]:
        for number in range(5):
            yield {"A": number}
            # The next row exists only after this one's ack: without full duplex this hangs.
            await acked.wait()
            acked.clear()

    async with scripted(ack_everything) as server, Client(server.url) as client:
        async with client.insert("T", one_after_the_other()) as insert, asyncio.timeout(5):
            async for _ in insert:
                acked.set()
        assert insert.acked == 5


async def test_rows_wait_for_the_servers_window_and_memory_stays_bounded() -> None:
    window = 50_000
    shut = asyncio.Event()
    opened = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.give_credit = False
        await exchange.line()
        exchange.respond()
        while exchange.received_bytes < window:
            assert await exchange.read() is not None
        shut.set()
        await opened.wait()
        exchange.give_credit = True
        exchange.credit(exchange.received_bytes)
        await rest(exchange)

    async def rest(exchange: Exchange) -> None:
        while await exchange.read() is not None:
            pass
        exchange.send(b"".join(ACK % seq for seq in range(insert.sent)), end=True)

    row = b'{"A":"' + b"x" * 1000 + b'"}\n'
    async with (
        scripted(script, initial_window_size=window) as server,
        Client(server.url) as client,
        client.insert("T", itertools.repeat(row, 2000)) as insert,
        asyncio.timeout(10),
    ):
        await shut.wait()
        for _ in range(200):
            # Every chance to run too far ahead.
            await asyncio.sleep(0)
        held = insert.sent * len(row) - window
        assert OUTBOX_LIMIT_BYTES < held <= OUTBOX_LIMIT_BYTES + 64 * 1024
        opened.set()
        assert [b.last_seq async for b in insert][-1] == 1999


async def test_unread_rows_of_a_query_shut_the_window_and_reading_opens_it() -> None:
    line = b"[1]\n"
    total = STREAM_WINDOW_BYTES * 2
    shut = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        exchange.respond()
        exchange.send(HEADER)
        left = total
        while left:
            size = min(exchange.client_window, left, 16_384)
            if size < 4:
                shut.set()
                await asyncio.sleep(0)
                continue
            size -= size % 4
            exchange.send(line * (size // 4))
            left -= size
        exchange.end()

    async with scripted(script) as server, Client(server.url) as client:
        async with client.query("SELECT A FROM T EMIT CHANGES;") as query, asyncio.timeout(20):
            await shut.wait()
            count = 0
            async for _ in query:
                count += 1
        assert count == total // len(line)


async def test_a_refused_row_is_raised_after_the_acks_below_it() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        for _ in range(3):
            await exchange.line()
        error = {"@type": "InsertError", "status": "error", "seq": 2}
        error |= {"message": "Can't coerce", "error_code": 40000}
        exchange.send(ACK % 0 + ACK % 1 + orjson.dumps(error) + b"\n", end=True)

    async with scripted(script) as server, Client(server.url) as client:
        # The rows never end: the refusal must stop them.
        insert = client.insert("T", itertools.repeat({"A": 1}))
        assert (await anext(insert)).last_seq == 1
        with pytest.raises(RowRefused) as refused:
            await anext(insert)
        assert (refused.value.seq, refused.value.code) == (2, 40000)
        # The connection outlives the insert.
        assert server.peers[0].exchanges[1] is not None
        server.script = ack_everything
        assert [b.last_seq async for b in client.insert("T", rows(3))][-1] == 2
        assert len(server.peers) == 1


async def test_acks_out_of_order_and_a_short_answer_are_errors() -> None:
    async def out_of_order(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        await exchange.line()
        exchange.send(ACK % 1)

    async def too_few(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        while await exchange.read() is not None:
            pass
        exchange.send(ACK % 0, end=True)

    async def of_a_row_never_sent(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        exchange.send(b"".join(ACK % seq for seq in range(9)), end=True)

    for script in (out_of_order, too_few, of_a_row_never_sent):
        async with scripted(script) as server, Client(server.url) as client:
            with pytest.raises(AnswerBroken):
                _ = [b async for b in client.insert("T", rows(2))]


async def test_what_the_callers_rows_raise_reaches_the_caller_and_resets_the_stream() -> None:
    def broken() -> Iterator[dict[str, int]]:
        yield {"A": 1}
        raise LookupError("the source broke")

    seen: list[Exchange] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.line()
        exchange.respond()
        while await exchange.read() is not None:
            pass

    async with scripted(script) as server, Client(server.url) as client:
        with pytest.raises(LookupError, match="the source broke"):
            _ = [b async for b in client.insert("T", broken())]
        await server.finish()
    assert seen[0].reset_code == 8


async def test_leaving_an_insert_early_closes_the_callers_generator_and_the_stream() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[dict[str, int]]:
        try:
            while True:
                yield {"A": 1}
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def script(exchange: Exchange) -> None:
        await exchange.line()
        exchange.respond()
        await exchange.line()
        exchange.send(ACK % 0)
        while await exchange.read() is not None:
            pass
        assert exchange.reset_code == 8

    async with scripted(script) as server, Client(server.url) as client:
        async with client.insert("T", endless()) as insert:
            async for _ in insert:
                break
        assert closed.is_set()
        await server.finish()


async def test_a_reset_is_raised_after_what_arrived_before_it() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond()
        exchange.send(HEADER + b"[1]\n[2]\n")
        exchange.reset(2)

    async with scripted(script) as server, Client(server.url) as client:
        query = client.query("SELECT A FROM T;")
        assert [await anext(query), await anext(query)] == [[1], [2]]
        with pytest.raises(StreamReset) as reset:
            await anext(query)
        assert reset.value.code == 2


async def test_a_dropped_connection_fails_what_ran_and_the_next_request_makes_another() -> None:
    async def drop(exchange: Exchange) -> None:
        exchange.respond()
        exchange.peer.drop()

    async with scripted(drop) as server, Client(server.url) as client:
        with pytest.raises(ConnectionLost):
            _ = [b async for b in client.insert("T", itertools.repeat({"A": 1}))]
        server.script = ack_everything
        assert [b.last_seq async for b in client.insert("T", rows(3))][-1] == 2
        assert len(server.peers) == 2


async def test_after_goaway_running_streams_finish_unseen_ones_fail_new_ones_go_elsewhere() -> None:
    goaway_sent = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.stream_id > 1:
            return
        await exchange.line()
        exchange.respond()
        await exchange.line()
        exchange.peer.goaway(last_stream_id=1)
        goaway_sent.set()
        async for _ in exchange.lines():
            pass
        exchange.send(ACK % 0 + ACK % 1, end=True)

    async def two_rows() -> AsyncIterator[dict[str, int]]:
        yield {"A": 1}
        with pytest.raises(GoneAway):
            # Opened before the GOAWAY is known: it was never looked at.
            await unseen
        assert await client.ksql("LIST STREAMS;") == []
        yield {"A": 2}

    async def list_reply(exchange: Exchange) -> None:
        exchange.respond(200, b"[]")

    async with scripted(script) as server, Client(server.url) as client:
        async with client.insert("T", two_rows()) as insert:
            unseen = asyncio.create_task(client.ksql("LIST STREAMS;"))
            await goaway_sent.wait()
            server.script = list_reply
            assert [b.last_seq async for b in insert][-1] == 1
        assert len(server.peers) == 2


async def test_a_ping_is_answered() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.peer.ping()
        await exchange.peer.pong_received.wait()
        exchange.respond(200, b'{"KsqlServerInfo":{"version":"1"}}')

    async with scripted(script) as server, Client(server.url) as client:
        assert await client.info() == {"version": "1"}


async def test_more_requests_than_the_server_allows_at_once_wait_their_turn() -> None:
    running = 0
    most = 0

    async def script(exchange: Exchange) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        while await exchange.read() is not None:
            pass
        running -= 1
        exchange.respond(200, b"[]")

    async with scripted(script, max_concurrent_streams=2) as server, Client(server.url) as client:
        async with asyncio.timeout(5):
            replies = await asyncio.gather(*(client.ksql("LIST STREAMS;") for _ in range(20)))
        assert replies == [[]] * 20
        assert most <= 2


async def test_an_error_reply_is_raised_with_its_status_code_and_message() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond(400, b'{"@type":"generic_error","error_code":40001,"message":"no T"}')

    async with scripted(script) as server, Client(server.url) as client:
        for ask in (
            client.ksql("DROP STREAM T;"),
            client.close_query("q"),
            client.info(),
            anext(client.insert("T", itertools.repeat({"A": 1}))),
            anext(client.query("SELECT 1;")),
        ):
            with pytest.raises(KsqlResponseError) as error:
                await ask
            assert (error.value.status, error.value.code) == (400, 40001)
            assert error.value.message == "no T"


async def test_a_query_tells_its_columns_and_id_before_its_first_row() -> None:
    more = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        body = orjson.loads(b"".join([d async for d in exchange_body(exchange)]))
        assert body["sql"] == "SELECT A FROM T EMIT CHANGES;"
        exchange.respond()
        exchange.send(HEADER)
        await more.wait()
        exchange.send(b"[7]\n", end=True)

    async with (
        scripted(script) as server,
        Client(server.url) as client,
        client.query("SELECT A FROM T EMIT CHANGES;") as query,
    ):
        assert query.query_id == "q1"
        assert [str(column.type) for column in query.columns] == ["BIGINT"]
        more.set()
        assert [row async for row in query] == [[7]]


async def test_a_query_that_breaks_off_raises_after_its_rows() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond()
        error = b'{"@type":"generic_error","error_code":50000,"message":"broke"}\n'
        exchange.send(HEADER + b"[1]\n" + error, end=True)

    async with scripted(script) as server, Client(server.url) as client:
        query = client.query("SELECT A FROM T;")
        assert await anext(query) == [1]
        with pytest.raises(QueryFailed, match="broke"):
            await anext(query)


async def test_leaving_a_query_early_resets_its_stream() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.respond()
        exchange.send(HEADER + b"[1]\n")
        while exchange.reset_code is None:
            await exchange.read()
        assert exchange.reset_code == 8

    async with scripted(script) as server, Client(server.url) as client:
        async with client.query("SELECT A FROM T EMIT CHANGES;") as query:
            assert await anext(query) == [1]
        await server.finish()


async def exchange_body(exchange: Exchange) -> AsyncIterator[bytes]:
    while (data := await exchange.read()) is not None:
        yield data


async def test_a_server_of_another_protocol_is_named_as_such() -> None:
    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(http1, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost):
            async with Client(f"http://127.0.0.1:{port}"):
                pass
    with pytest.raises(ConnectionLost, match="cannot connect"):
        async with Client(f"http://127.0.0.1:{port}"):
            pass


@pytest.mark.parametrize("url", ["ftp://h:1", "h:8088", "http://", "http://u:p@h:x"])
def test_a_url_that_it_cannot_serve_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        Client(url)
