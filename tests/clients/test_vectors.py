"""The tables are true: every vector once, every test of theirs exists, the page is up to date."""

import subprocess
import sys

import pytest

from tests.clients.abilities import CLIENTS
from tests.clients.installed import ROOT
from tests.clients.page import PAGE, render
from tests.clients.vectors import OWN, VECTORS, node_id

COLLECT_S = 120.0


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The ids of pytest's own collection, without parameters."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    folders = ["tests/clients", "tests/server", "tests/unit"]
    done = subprocess.run(
        [*command, *folders], capture_output=True, text=True, timeout=COLLECT_S, cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def test_every_vector_stands_exactly_once() -> None:
    assert [vector.number for vector in VECTORS] == [str(number) for number in range(1, 98)]
    assert [vector.number for vector in OWN] == list("abcdefgh")


def test_every_vector_is_proven_or_refused_with_a_reason() -> None:
    for vector in (*VECTORS, *OWN):
        assert vector.tests or vector.refused, f"vector {vector.number} has neither"


def test_every_test_that_a_table_names_exists(collected: set[str]) -> None:
    named = {test for vector in (*VECTORS, *OWN) for test in vector.tests}
    for client in CLIENTS:
        named |= {*client.can.values(), *(defect.test for defect in client.defects)}
        named |= {client.druid} - {""}
    assert {node_id(short) for short in named} - collected == set()


def test_every_test_that_is_named_for_a_vector_stands_in_the_table(collected: set[str]) -> None:
    listed = {node_id(short) for vector in (*VECTORS, *OWN) for short in vector.tests}
    names = {test: test.partition("::test_")[2] for test in collected}
    named = {test for test, name in names.items() if name.startswith(("vector_", "vectors_"))}
    assert named - listed == set()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "run `make vectors`"
