"""What somebody without rights, or with too many wishes, can cost the others."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import aiohttp
import pytest

from tests.gateways import GatewayProcess
from tests.guarded import ask1, basic, guarded_gateway, shown, who
from tests.server.ksqldb import arguments_line

GUESSES = 900
"""Connections at once: with those of the others fewer than http.connections_max."""
STREAMS = 1_000
HASHES_BYTES = 2 * (64 << 20)
"""Two passwords are checked at once, at 64 MiB each."""
ROOM_BYTES = 128 << 20
GOOD_AT_LEAST = 20


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with guarded_gateway(tmp_path_factory.mktemp("denial")) as running:
        yield running
        assert running.complaints == []


async def test_many_wrong_passwords_at_once_cost_the_others_nothing(
    guarded: GatewayProcess,
) -> None:
    url, before = f"{guarded.url}/info", guarded.rss_bytes
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as many,
        aiohttp.ClientSession() as one,
    ):

        async def asked(session: aiohttp.ClientSession, authorization: str) -> int:
            async with session.get(url, headers={"Authorization": authorization}) as response:
                await response.read()
                return response.status

        async def guessed(number: int) -> int:
            return await asked(many, basic(f"user{number}", "wrong"))

        guesses = asyncio.gather(*(guessed(number) for number in range(GUESSES)))
        good = 0
        while not guesses.done() or good < GOOD_AT_LEAST:
            assert await asked(one, who("anna")) == 200
            good += 1
        statuses = Counter(await guesses)
    # Ten are checked, and then that peer has to wait; who has shown its token does not.
    assert set(statuses) == {401, 429}
    assert statuses[401] <= 12
    assert guarded.peak_rss_bytes < before + HASHES_BYTES + ROOM_BYTES


def test_a_principal_at_its_limit_gets_the_same_answer_a_thousand_times(
    guarded: GatewayProcess,
) -> None:
    text = b'{"ksql":"CREATE STREAM HIS (ID INT);"}'
    assert ask1(guarded.address, "POST", "/ksql", text, shown(who("bert"))).status == 200
    with guarded.peer() as peer:
        taken = peer.open("POST", "/inserts-stream", shown(who("bert")))
        taken.send(arguments_line("HIS"))
        taken.read_headers()
        assert taken.status == 200
        before = guarded.rss_bytes
        for _ in range(STREAMS):
            refused = peer.open("POST", "/inserts-stream", shown(who("bert")))
            refused.send(arguments_line("HIS"), end=True)
            refused.read_to_end()
            assert refused.status == 429
        assert guarded.rss_bytes < before + ROOM_BYTES
        taken.send(b'{"ID":1}\n', end=True)
        taken.read_to_end()
        assert taken.lines == [b'{"status":"ok","seq":0}']
