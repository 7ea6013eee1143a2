"""The rule of what a principal may read, against SELECTs that are made to get around it."""

from collections.abc import Iterator

import pytest

from tests.gateways import GatewayProcess
from tests.hostile_selects import FORBIDDEN, HARMLESS, MARK, NOT_TAKEN
from tests.secret_world import GOOD, first_row, secret_world, selected


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with secret_world(tmp_path_factory.mktemp("reads")) as running:
        yield running
        assert running.complaints == []


def test_there_is_a_secret_to_be_read(world: GatewayProcess) -> None:
    for sql in (
        "SELECT S FROM HIDDEN",
        "SELECT S FROM secret",
        "WITH x AS (TABLE secret) SELECT 1",
    ):
        assert (MARK.encode() in selected(world, sql, "olga").body) is ("TABLE" not in sql)


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_no_spelling_of_a_select_reads_what_may_not_be_read(
    world: GatewayProcess, sql: str
) -> None:
    reply = selected(world, sql)
    assert MARK.encode() not in reply.body
    assert (reply.status, reply.document["error_code"]) == (403, 40300), reply.body


@pytest.mark.parametrize("sql", NOT_TAKEN)
def test_what_is_no_select_is_not_taken(world: GatewayProcess, sql: str) -> None:
    reply = selected(world, sql)
    assert MARK.encode() not in reply.body
    assert reply.status == 400, reply.body


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_only_looks_like_a_source_is_none(world: GatewayProcess, sql: str) -> None:
    assert first_row(selected(world, sql)) in (["a"], ["open"])


@pytest.mark.parametrize("sql", GOOD)
def test_what_may_be_read_is_read(world: GatewayProcess, sql: str) -> None:
    assert first_row(selected(world, sql)) == GOOD[sql]
