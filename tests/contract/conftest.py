"""The warehouses that the contract suite runs against, each opened once for the run.

`warehouse` is parametrised. ``embedded`` is always there. ``druid`` is there once
`tests.contract.druid_fixture` is: it needs the fixture `druid` (a cluster with a ``router``), which
is the one of tests/druid unless a conftest above this one has it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.seams import Warehouse
from gateway.warehouse.embedded import EmbeddedWarehouse

HAS_DRUID = importlib.util.find_spec("tests.contract.druid_fixture") is not None

if HAS_DRUID:
    from tests.contract.druid_fixture import opened_druid
    from tests.druid.conftest import druid as druid

    @pytest_asyncio.fixture(scope="session", loop_scope="session")
    async def druid_warehouse(druid: Any) -> AsyncIterator[Warehouse]:
        async with opened_druid(druid.router) as opened:
            yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_warehouse(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Warehouse]:
    opened = EmbeddedWarehouse(tmp_path_factory.mktemp("embedded") / "headrace.duckdb")
    await opened.open()
    yield opened
    await opened.close()


WAREHOUSES: list[Any] = ["embedded"]
if HAS_DRUID:
    WAREHOUSES.append(pytest.param("druid", marks=pytest.mark.druid))


@pytest.fixture(scope="session", params=WAREHOUSES)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """The warehouse under test."""
    opened: Warehouse = request.getfixturevalue(f"{request.param}_warehouse")
    return opened
