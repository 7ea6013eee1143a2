"""The client on a gateway that is killed and restarted under it: every row once, acks dense."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.client import AckBatch, Client, Insert, Query, ResumingInsert, ResumingQuery
from tests.server.client_victims import Ending, dice, ids, row, until, url_of, victim

KILLS = 20
ROWS = 20_000
"""At least: rows come until the last kill is over."""
AHEAD = 700
"""Rows that are read before the ones before them are done: so kills fall all over the load."""
WHOLE_S = 240.0
"""More than it ever takes: a client that hangs must fail, not wait."""


class Load:
    """Rows from 0 on, until ``over``; never more than `AHEAD` of what is ``done``."""

    def __init__(self, done: Callable[[], int]) -> None:
        self.total: int | None = None
        """how many rows there are, once the last is sent"""
        self._done = done

    async def rows(self, over: Callable[[], bool]) -> AsyncIterator[dict[str, object]]:
        number = 0
        while number < ROWS or not over():
            await until(lambda: number - self._done() <= AHEAD)  # noqa: B023 - awaited here
            yield row(number)
            number += 1
        self.total = number + 1
        yield row(number)


def dense(batches: list[AckBatch]) -> int:
    """How many rows the batches tell of, each once and in order."""
    told = 0
    for batch in batches:
        assert batch.first_seq == told, f"row {told} is next, and {batch} came"
        assert batch.refused == ()
        told = batch.last_seq + 1
    return told


async def all_of(insert: Insert | ResumingInsert) -> list[AckBatch]:
    return [batch async for batch in insert]


async def all_rows(query: Query | ResumingQuery, seen: list[int], load: Load) -> None:
    """Every row of the load into ``seen``; the query itself never ends."""
    async for one in query:
        seen.append(one[0])
        if len(seen) == load.total:
            return


async def test_twenty_kills_later_every_row_is_stored_once_acked_once_and_told_once(
    tmp_path: Path,
) -> None:
    """An insert on a channel and a push query of what is spooled, which is in its order."""
    chance = dice()
    seen: list[int] = []
    async with (
        victim(tmp_path / "data") as gateway,
        asyncio.timeout(WHOLE_S),
        Client(url_of(gateway)) as client,
    ):
        load = Load(lambda: len(seen))
        insert = client.insert("EVENTS", load.rows(lambda: ending.over), channel="edge-7")
        query = client.query(
            "SELECT ID FROM EVENTS EMIT CHANGES;", properties={"headrace.push.at": "spooled"}
        )
        assert isinstance(query, ResumingQuery)
        ending = Ending(
            gateway,
            KILLS,
            ROWS,
            lambda: min(insert.acked, len(seen)),
            chance,
            back=lambda: min(insert.progress.reconnects, query.reconnects),
        )
        async with query, asyncio.TaskGroup() as group:
            batches = group.create_task(all_of(insert))
            group.create_task(ending.run())
            await all_rows(query, seen, load)
            assert dense(await batches) == load.total
        everything = list(range(len(seen)))
        assert seen == everything
        assert await ids(client) == everything
        progress = insert.progress
        assert (progress.taken, progress.acked, progress.refused) == (len(seen), len(seen), 0)
        assert (progress.unacked_bytes, progress.trouble) == (0, None)
        assert ending.times == KILLS
        assert min(progress.reconnects, query.reconnects) >= KILLS
        at = await client.channel("EVENTS", "edge-7")
        assert at is not None
        assert (at.spooled, at.committed) == (len(seen), len(seen))


async def test_a_push_query_of_what_is_committed_goes_on_over_kills_in_the_order_of_its_log(
    tmp_path: Path,
) -> None:
    """Batches may be committed in another order than that of the channel, and keep it then."""
    chance = dice()
    seen: list[int] = []
    async with (
        victim(tmp_path / "data") as gateway,
        asyncio.timeout(WHOLE_S),
        Client(url_of(gateway)) as client,
    ):
        load = Load(lambda: len(seen))
        source = load.rows(lambda: ending.over)
        insert = client.insert("EVENTS", source, channel="edge-7", ack="spooled")
        query = client.query("SELECT ID FROM EVENTS EMIT CHANGES;")
        assert isinstance(query, ResumingQuery)
        ending = Ending(gateway, 5, ROWS, lambda: len(seen), chance, back=lambda: query.reconnects)
        async with query, asyncio.TaskGroup() as group:
            batches = group.create_task(all_of(insert))
            group.create_task(ending.run())
            await all_rows(query, seen, load)
            assert dense(await batches) == load.total
        assert sorted(seen) == list(range(len(seen)))
        # The same place in the log is the same row, whenever it is read.
        assert seen == await replayed(client, len(seen))
        assert query.reconnects >= 5


async def replayed(client: Client, rows: int) -> list[int]:
    """The whole log, read in one piece."""
    sql = f"SELECT ID FROM EVENTS EMIT CHANGES LIMIT {rows};"
    async with client.query(sql, properties={"auto.offset.reset": "earliest"}) as query:
        return [one[0] async for one in query]


async def test_graceful_restarts_are_survived_by_both_and_the_limit_counts_over_them(
    tmp_path: Path,
) -> None:
    """SIGTERM ends inserts with 50303 and push queries in good form: neither is an end here."""
    chance = dice()
    async with (
        victim(tmp_path / "data") as gateway,
        asyncio.timeout(WHOLE_S),
        Client(url_of(gateway)) as client,
    ):
        load = Load(lambda: insert.acked)
        insert = client.insert("EVENTS", load.rows(lambda: ending.over), channel="edge-7")
        query = client.query(f"SELECT ID FROM EVENTS EMIT CHANGES LIMIT {ROWS};")
        assert isinstance(query, ResumingQuery)
        ending = Ending(
            gateway,
            3,
            ROWS,
            lambda: insert.acked,
            chance,
            back=lambda: insert.progress.reconnects,
            gently=True,
        )
        async with query, asyncio.TaskGroup() as group:
            batches = group.create_task(all_of(insert))
            group.create_task(ending.run())
            seen = [one[0] async for one in query]
            assert dense(await batches) == load.total
        assert len(set(seen)) == len(seen) == ROWS
        assert query.reconnects >= 1
        assert insert.progress.reconnects >= 3
        assert load.total is not None
        assert await ids(client) == list(range(load.total))
