"""The rule of what a principal may read, against a real Druid: its own parser is the judge."""

import asyncio
import json
import random
import re
from collections.abc import Iterator

import aiohttp
import pytest
from cluster import Cluster

from gateway.sql import names_read
from tests.gateways import GatewayProcess
from tests.hostile_selects import FORBIDDEN, HARMLESS, MARK, NOT_TAKEN, torn
from tests.secret_world import GOOD, first_row, secret_world, selected

TEXTS = 5_000
READ_AT_LEAST = 50
ASKED_AT_ONCE = 4
_TABLE = re.compile(r'"type":"table","name":"([^"]*)"')


@pytest.fixture(scope="module")
def world(druid: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("reads")
    arguments = ["--druid-url", druid.router]
    with secret_world(folder, warehouse="druid", arguments=arguments) as running:
        yield running
        assert running.complaints == []


@pytest.mark.parametrize("engine", ["native", "task"])
def test_no_spelling_of_a_select_reads_what_may_not_be_read(
    world: GatewayProcess, engine: str
) -> None:
    assert MARK.encode() in selected(world, "SELECT S FROM secret", "olga").body
    for sql in (*FORBIDDEN, *NOT_TAKEN, *HARMLESS):
        reply = selected(world, sql, **{"headrace.engine": engine})
        assert MARK.encode() not in reply.body, sql
        if sql in FORBIDDEN:
            assert (reply.status, reply.document["error_code"]) == (403, 40300), (sql, reply)
    assert first_row(selected(world, "SELECT * FROM PUBLIC")) == [1, "open"]


@pytest.mark.parametrize("sql", GOOD)
def test_what_may_be_read_is_read(world: GatewayProcess, sql: str) -> None:
    assert first_row(selected(world, sql)) == GOOD[sql]


@pytest.mark.usefixtures("world")
async def test_druid_reads_no_name_that_was_not_told(druid: Cluster) -> None:
    """Of texts that are torn by chance, Druid's own plan says what each would read."""
    chance = random.Random(4711)
    texts = {sql for _ in range(TEXTS) if names_read(sql := torn(chance)) is not None}
    turns = asyncio.Semaphore(ASKED_AT_ONCE)
    async with aiohttp.ClientSession() as session:

        async def read_by_druid(sql: str) -> set[str] | None:
            document = {"query": f"EXPLAIN PLAN FOR {sql}", "resultFormat": "object"}
            url = f"{druid.router}/druid/v2/sql"
            async with turns, session.post(url, json=document) as response:
                told = await response.json(content_type=None)
            if response.status != 200:
                return None
            tables = set(_TABLE.findall(told[0]["PLAN"]))
            return tables | {each["name"] for each in json.loads(told[0]["RESOURCES"])}

        read = dict(zip(texts, await asyncio.gather(*map(read_by_druid, texts)), strict=True))
    for sql, names in read.items():
        assert names is None or names <= (names_read(sql) or set()), sql
    assert sum("secret" in (names or ()) for names in read.values()) >= READ_AT_LEAST
