"""One real Druid for all tests that need it, booted on free ports and stopped at the end.

HEADRACE_DRUID_RUN   the run folder of a cluster that runs already: it is used, and left running
HEADRACE_REQUIRE_DRUID=1   fail, not skip, on a machine that cannot assemble one
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

# The scripts of deploy/ are no package: they run by their path alone.
sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "druid"))

from cluster import HOME, Cluster
from jars import Missing, assemble
from launch import choose_ports


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # `make test` runs these beside the others, in a process of their own: one cluster for all.
    for item in items:
        if "druid" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.druid)


@pytest.fixture(scope="session")
def druid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = os.environ.get("HEADRACE_DRUID_RUN")
    if running:
        yield _adopted(Path(running))
        return
    cluster = _fresh(tmp_path_factory.mktemp("druid"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _adopted(run: Path) -> Cluster:
    cluster = Cluster(run)
    if not all(cluster.pids().values()):
        pytest.fail(f"HEADRACE_DRUID_RUN: no cluster runs in {run}: {cluster.pids()}")
    return cluster


def _fresh(run: Path) -> Cluster:
    try:
        return Cluster(run, assemble(HOME), choose_ports("free"))
    except Missing as missing:
        _without_druid(f"NO REAL DRUID: {missing}")


def _without_druid(reason: str) -> NoReturn:
    if os.environ.get("HEADRACE_REQUIRE_DRUID") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
