"""Druid goes away and comes back: rows are taken all the while, and committed in their order."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.contract.druid_fixture import unique
from tests.crash.proxy import Proxy
from tests.gateways import GatewayProcess, gateway_process
from tests.server.ksqldb import (
    COLUMNS,
    acks,
    ask,
    count,
    insert,
    json_lines,
    ksql,
    numbered,
    open_inserts,
    records,
    until,
)

BACK_S = 120.0
"""A batch takes seconds on an idle cluster; this is for one that others use too."""


class RunningDruid(Protocol):
    """What the `druid` fixture gives."""

    @property
    def router(self) -> str: ...


async def test_acks_come_again_in_order_once_druid_is_back(
    druid: RunningDruid, tmp_path: Path
) -> None:
    proxy = Proxy(druid.router, random.Random(1))
    await proxy.open()
    loop = asyncio.get_running_loop()

    def goes(there: bool) -> None:
        work = proxy.open() if there else proxy.close()
        asyncio.run_coroutine_threadsafe(work, loop).result(BACK_S)

    def scenario() -> None:
        with gateway_process(
            tmp_path / "data", warehouse="druid", arguments=["--druid-url", proxy.url]
        ) as gateway:
            _away_and_back(gateway, lambda: goes(False), lambda: goes(True))

    try:
        await asyncio.to_thread(scenario)
    finally:
        await proxy.close()


def _away_and_back(
    gateway: GatewayProcess, leave: Callable[[], None], come_back: Callable[[], None]
) -> None:
    name = unique("AWAY").upper()
    with gateway.peer() as peer:
        ksql(peer, f"CREATE STREAM {name} ({COLUMNS}) WITH (datasource='{name}', timestamp='at');")
        leave()
        stream = open_inserts(peer, name, ack="committed")
        for first in range(0, 50, 10):
            stream.send(json_lines(numbered(first, first + 10)))
            # Each part is on disk before the next is sent: they are batches of their own.
            spooled = insert(peer, name, numbered(100 + first, 101 + first), ack="spooled")
            assert spooled == acks(0, 1)
        until(lambda: not _warehouse_is_well(gateway), "health to tell of it", BACK_S)
        assert records(stream) == []
        with gateway.peer() as other:
            assert ask(other, "GET", "/chc/ready").status == 200
        come_back()
        stream.send(b"", end=True)
        stream.read_to_end(BACK_S)
        assert records(stream) == acks(0, 50)
        assert _warehouse_is_well(gateway)
        until(lambda: count(peer, name) == 55, "all rows to be there once", BACK_S)


def _warehouse_is_well(gateway: GatewayProcess) -> bool:
    with gateway.peer() as peer:
        details = ask(peer, "GET", "/healthcheck").document["details"]
    return bool(details["warehouse"]["isHealthy"])
