"""Push queries against a scripted server that breaks off, and the pulse of a connection."""

import asyncio
from typing import Any

import pytest

from gateway.client import Client, ConnectionLost, QueryFailed, ResumeRefused
from tests.unit.client_acts import (
    HEADER,
    Acts,
    drop,
    ending,
    goaway_and_end,
    refusing,
    session,
    token,
    wait_for_end,
)
from tests.unit.client_peer import Exchange, scripted

SQL = "SELECT A FROM T EMIT CHANGES;"


async def test_a_push_query_goes_on_behind_its_newest_token_and_drops_what_it_had() -> None:
    acts = Acts(
        session(1, token("0") + b"[0]\n[1]\n" + token("2") + b"[2]\n[3]\n", drop),
        # The token of row 2 covers one of the two rows that came once more.
        session(2, token("2") + b"[2]\n" + token("3"), drop),
        refusing(503, 50302),
        refusing(400, 40003, "too many push queries"),
        session(3, token("3") + b"[3]\n[4]\n" + token("5"), ending(b"")),
    )
    async with (
        scripted(acts) as server,
        Client(server.url) as client,
        client.query(SQL) as query,
    ):
        assert query.query_id == "q1"
        assert [row[0] async for row in query] == [0, 1, 2, 3, 4]
        assert query.query_id == "q3"
    name = "request.ksql.query.push.continuation.token"
    assert [a["requestProperties"].get(name) for a in acts.asked] == [None, "2", "3", "3", "3"]


async def test_a_push_query_that_ends_as_its_server_leaves_is_taken_up_again() -> None:
    acts = Acts(
        session(1, token("0") + b"[0]\n" + token("1"), goaway_and_end),
        session(2, token("1") + b"[1]\n[2]\n" + token("3"), wait_for_end),
    )
    async with scripted(acts) as server, Client(server.url) as client:
        query = client.query("SELECT A FROM T EMIT CHANGES LIMIT 2;")
        # Its server would count the LIMIT anew.
        assert [row[0] async for row in query] == [0, 1]


async def test_a_token_that_is_too_old_ends_the_query_and_says_so() -> None:
    acts = Acts(
        session(1, token("0") + b"[0]\n" + token("1"), drop),
        refusing(400, 40000, "The continuation token is older than the retention"),
    )
    async with scripted(acts) as server, Client(server.url) as client:
        query = client.query(SQL)
        assert await anext(query) == [0]
        with pytest.raises(ResumeRefused, match="older than the retention") as refused:
            await anext(query)
    assert refused.value.rows == 1


async def test_a_slow_readers_error_is_taken_up_again_and_a_failed_query_is_not() -> None:
    late = b'{"@type":"generic_error","error_code":42900,"message":"took nothing"}\n'
    broke = b'{"@type":"generic_error","error_code":50000,"message":"a row broke it"}\n'
    acts = Acts(
        session(1, token("0") + b"[0]\n" + token("1"), ending(late)),
        session(2, token("1") + b"[1]\n" + token("2"), ending(broke)),
    )
    async with scripted(acts) as server, Client(server.url) as client:
        query = client.query(SQL)
        assert [await anext(query), await anext(query)] == [[0], [1]]
        with pytest.raises(QueryFailed, match="a row broke it"):
            await anext(query)


async def test_without_tokens_and_for_pull_queries_a_loss_is_the_end() -> None:
    for sql, resume in ((SQL, True), (SQL, False), ("SELECT A FROM T;", True)):
        acts = Acts(session(1, b"[0]\n", drop))
        async with scripted(acts) as server, Client(server.url) as client:
            query = client.query(sql, resume=resume)
            assert await anext(query) == [0]
            with pytest.raises(ConnectionLost):
                await anext(query)


# ── the pulse ────────────────────────────────────────────────────────────────────────────────


async def test_a_peer_that_does_not_even_answer_a_ping_is_found_dead() -> None:
    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond()
        exchange.send(HEADER % 1 + token("0"))
        exchange.peer.go_deaf()
        while await exchange.read() is not None:
            pass

    async with scripted(Acts(act)) as server:
        client = Client(server.url, dead_after_s=0.2)
        async with client.query(SQL, resume=False) as query, asyncio.timeout(10):
            with pytest.raises(ConnectionLost, match="not even to a PING"):
                await anext(query)
        await client.close()


async def test_a_silent_peer_that_answers_pings_is_alive() -> None:
    pinged = asyncio.Event()

    async def act(exchange: Exchange, _asked: dict[str, Any]) -> None:
        exchange.respond()
        exchange.send(HEADER % 1 + token("0"))
        for _ in range(3):
            await exchange.peer.ping_received.wait()
            exchange.peer.ping_received.clear()
        pinged.set()
        exchange.send(b"[7]\n", end=True)

    async with (
        scripted(Acts(act)) as server,
        Client(server.url, dead_after_s=0.1) as client,
        client.query(SQL) as query,
        asyncio.timeout(10),
    ):
        assert [row async for row in query] == [[7]]
    assert pinged.is_set()
