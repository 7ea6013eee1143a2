"""The warehouses that the contract suite runs against, each opened once for the run.

`warehouse` is parametrised: ``embedded``, and ``druid`` on the cluster of the fixture `druid`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from cluster import Cluster

from gateway.seams import Warehouse
from gateway.warehouse.embedded import EmbeddedWarehouse
from tests.contract.batches import LOOK_ANEW
from tests.contract.druid_fixture import opened_druid
from tests.crash.druid import look_anew


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def druid_warehouse(druid: Cluster) -> AsyncIterator[Warehouse]:
    LOOK_ANEW.append(partial(look_anew, druid))
    async with opened_druid(druid.router) as opened:
        yield opened
    LOOK_ANEW.clear()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_warehouse(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Warehouse]:
    opened = EmbeddedWarehouse(tmp_path_factory.mktemp("embedded") / "headrace.duckdb")
    await opened.open()
    yield opened
    await opened.close()


WAREHOUSES = ["embedded", pytest.param("druid", marks=pytest.mark.druid)]


@pytest.fixture(scope="session", params=WAREHOUSES)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """The warehouse under test."""
    opened: Warehouse = request.getfixturevalue(f"{request.param}_warehouse")
    return opened
