"""The client over a bad network: every row once, acks dense and in order, push rows once, no leaks.

The seed is on the error stream; ``BAD_NETWORK_SEED`` plays one again.
"""

import asyncio
import contextlib
import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson

from gateway.client import (
    AckBatch,
    Client,
    ResumingInsert,
    ResumingQuery,
    SyncClient,
)
from tests.commands import command_line, environment
from tests.crash.victim import Victim
from tests.server.bad_network import BadNetwork, bad_network
from tests.server.client_victims import COLUMNS, dice, ids, row, until, url_of, victim

DEAD_AFTER_S = 0.5
CONNECT_S = 0.6
RESEND_BYTES = 64 << 10
TROUBLES = 32
"""Connections that come to a bad end before the network is good again."""
ROWS = 1500
"""At least, of each load."""
AHEAD = 300
WHOLE_S = 120.0
PATIENCE_S = 1.5
TAKE_UPS = 40
"""Runs of the command, and loads that are cancelled, before it is called endless."""


def chance_of_this_run() -> random.Random:
    seed = os.environ.get("BAD_NETWORK_SEED")
    return dice() if seed is None else random.Random(int(seed))


def is_bad(number: int) -> bool:
    return number % 37 == 5


def row_or_bad(number: int) -> dict[str, object]:
    return {**row(number), "ID": "no number"} if is_bad(number) else row(number)


def client_of(network: BadNetwork) -> Client:
    return Client(
        network.url,
        connect_timeout_s=CONNECT_S,
        dead_after_s=DEAD_AFTER_S,
        reconnect_max_s=WHOLE_S,
    )


async def declare(gateway: Victim, *names: str) -> None:
    async with Client(url_of(gateway)) as client:
        for name in names:
            await client.ksql(
                f"CREATE STREAM {name} ({COLUMNS}) WITH (kafka_topic='{name.lower()}', "
                "value_format='JSON', timestamp='AT');"
            )


class Load:
    """Rows until ``over``, never more than `AHEAD` of what is ``done``."""

    def __init__(self, over: Callable[[], bool], done: Callable[[], int]) -> None:
        self.total: int | None = None
        self._over = over
        self._done = done

    async def rows(self) -> AsyncIterator[dict[str, object]]:
        number = 0
        while number < ROWS or not self._over():
            if number % 50 == 0:
                await until(lambda: number - self._done() <= AHEAD)  # noqa: B023 - awaited here
                await asyncio.sleep(0)
            yield row_or_bad(number)
            number += 1
        self.total = number


def told(batches: list[AckBatch]) -> tuple[list[int], list[int]]:
    """The rows that are acked, and those that were refused; every one dense and in order."""
    acked, refused, after = list[int](), list[int](), 0
    for batch in batches:
        assert batch.first_seq == after, f"row {after} is next, and {batch} came"
        acked += [seq for some in batch.acked_ranges() for seq in some]
        refused += [one.seq for one in batch.refused]
        after = batch.last_seq + 1
    return acked, refused


def check_told(batches: list[AckBatch], total: int) -> list[int]:
    acked, refused = told(batches)
    assert refused == [seq for seq in range(total) if is_bad(seq)]
    assert acked == [seq for seq in range(total) if not is_bad(seq)]
    return acked


class Trouble:
    """The network is bad until so many connections had their fate; in between it goes away, and
    the gateway is another one."""

    def __init__(self, network: BadNetwork, gateway: Victim, chance: random.Random) -> None:
        self.over = False
        self._network = network
        self._gateway = gateway
        self._chance = chance

    async def run(self) -> None:
        swap_at = self._chance.randrange(TROUBLES)
        for number in range(0, TROUBLES, 4):
            went_on = await self._until_played(number)
            if not went_on or self._chance.random() < 0.5:
                await self._network.away(self._chance.uniform(0.05, 0.5))
            if swap_at // 4 == number // 4:
                await asyncio.to_thread(self._gateway.kill)
                self._gateway.start()
                await self._gateway.ready()
        await self._network.calm()
        self.over = True

    async def _until_played(self, number: int) -> bool:
        """False: all connections have their fate behind them, or wait for bytes that never come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await until(lambda: self._network.played.total() >= number)
        except TimeoutError:
            return False
        return True


async def by_async_client(
    network: BadNetwork, trouble: Trouble, stream: str, at: str, ack: str
) -> tuple[list[AckBatch], list[int], int, int]:
    """A load and a push query on it; both through the network."""
    seen: list[int] = []
    # Not entered: what resumes makes its own connections, and the first may fail too.
    async with contextlib.AsyncExitStack() as stack:
        client = client_of(network)
        stack.push_async_callback(client.close)
        query = client.query(
            f"SELECT ID FROM {stream} EMIT CHANGES;", properties={"headrace.push.at": at}
        )
        assert isinstance(query, ResumingQuery)
        load = Load(lambda: trouble.over, lambda: insert.acked + insert.refused)
        insert = client.insert(
            stream,
            load.rows(),
            channel="edge",
            ack=ack,
            on_error="continue",
            resend_limit_bytes=RESEND_BYTES,
        )
        assert isinstance(insert, ResumingInsert)
        most = 0

        async def acks() -> list[AckBatch]:
            nonlocal most
            batches = []
            async for batch in insert:
                most = max(most, insert.progress.unacked_bytes)
                batches.append(batch)
            return batches

        async def rows() -> None:
            async for one in query:
                seen.append(one[0])
                if load.total is not None and len(seen) == good_rows(load.total):
                    return

        async with query, asyncio.TaskGroup() as group:
            reading = group.create_task(rows())
            batches = await acks()
            assert load.total is not None
            await until(lambda: reading.done() or len(seen) >= good_rows(load.total or 0))
            reading.cancel()
    assert most <= RESEND_BYTES
    return batches, seen, load.total, query.reconnects


def good_rows(total: int) -> int:
    return total - (total + 31) // 37


def by_sync_client(network: BadNetwork, trouble: Trouble) -> tuple[list[AckBatch], int]:
    total = 0

    def rows() -> Iterator[dict[str, object]]:
        nonlocal total
        while total < ROWS or not trouble.over:
            yield row_or_bad(total)
            total += 1
            if total % 100 == 0:
                # So that its rows last as long as the trouble does.
                trouble_passes.wait(0.02)

    trouble_passes = threading.Event()
    client = SyncClient(
        network.url,
        connect_timeout_s=CONNECT_S,
        dead_after_s=DEAD_AFTER_S,
        reconnect_max_s=WHOLE_S,
    )
    try:
        return list(
            client.insert(
                "SYNC",
                rows(),
                channel="sync",
                ack="spooled",
                on_error="continue",
                resend_limit_bytes=RESEND_BYTES,
            )
        ), total
    finally:
        client.close()


async def by_command(network: BadNetwork, file: Path) -> list[tuple[int, str]]:
    """The command, run again as it asks for; what came of each run."""
    ends = list[tuple[int, str]]()
    command = command_line(
        ["insert", "CLI", file, "--channel", "cli", "--url", network.url, "--on-error", "continue"]
    )
    while len(ends) < TAKE_UPS:
        running = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
        )
        _, stderr = await running.communicate()
        assert running.returncode is not None
        ends.append((running.returncode, stderr.decode()))
        if running.returncode not in (69, 75):
            break
    return ends


async def test_whatever_the_network_does_every_row_is_stored_and_told_of_once(
    tmp_path: Path,
) -> None:
    chance = chance_of_this_run()
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"".join(orjson.dumps(row_or_bad(number)) + b"\n" for number in range(20_000)))
    async with (
        asyncio.timeout(WHOLE_S),
        victim(tmp_path / "data") as gateway,
        bad_network(gateway.address, chance, DEAD_AFTER_S) as network,
    ):
        await declare(gateway, "SPOOLED", "COMMITTED", "SYNC", "CLI")
        trouble = Trouble(network, gateway, chance)
        async with asyncio.TaskGroup() as group:
            group.create_task(trouble.run())
            spooled = group.create_task(
                by_async_client(network, trouble, "SPOOLED", "spooled", "spooled")
            )
            committed = group.create_task(
                by_async_client(network, trouble, "COMMITTED", "committed", "committed")
            )
            sync = group.create_task(asyncio.to_thread(by_sync_client, network, trouble))
            command = group.create_task(by_command(network, file))
        print(dict(network.played), file=sys.stderr)
        async with Client(url_of(gateway)) as direct:
            batches, seen, total, _ = spooled.result()
            await settled(direct, "SPOOLED", "edge", total)
            stored = check_told(batches, total)
            assert seen == stored == await ids(direct, "SPOOLED")
            batches, seen, total, _ = committed.result()
            stored = check_told(batches, total)
            assert sorted(seen) == stored == await ids(direct, "COMMITTED")
            assert seen == await replayed(direct, "COMMITTED", len(seen))
            batches, total = sync.result()
            await settled(direct, "SYNC", "sync", total)
            assert check_told(batches, total) == await ids(direct, "SYNC")
            ends = command.result()
            assert ends[-1][0] == 1, ends
            good = [number for number in range(20_000) if not is_bad(number)]
            assert good == await ids(direct, "CLI")
    # Tasks, and by the filter of warnings sockets too: nothing is left behind.
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def settled(client: Client, stream: str, channel: str, total: int) -> None:
    """Until what was acked as spooled can be read."""
    while (at := await client.channel(stream, channel)) is None or at.queryable < total:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def replayed(client: Client, stream: str, rows: int) -> list[int]:
    """The whole log, read in one piece."""
    sql = f"SELECT ID FROM {stream} EMIT CHANGES LIMIT {rows};"
    async with client.query(sql, properties={"auto.offset.reset": "earliest"}) as query:
        return [one[0] async for one in query]
