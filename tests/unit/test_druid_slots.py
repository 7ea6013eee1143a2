"""Room in the cluster: counted in pairs, others' tasks included."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import WarehouseUnreachable
from gateway.warehouse.druid.slots import Slots, room, slots


def _worker(capacity: int, running: list[str], version: str = "0") -> dict[str, Any]:
    return {
        "worker": {"capacity": capacity, "version": version},
        "currCapacityUsed": len(running),
        "runningTasks": running,
    }


def test_slots_are_summed_over_the_workers() -> None:
    body = json.dumps([_worker(2, ["a"]), _worker(4, ["b", "c"])]).encode()
    assert slots(200, body) == Slots(6, 3, frozenset("abc"))


def test_a_disabled_worker_gives_no_slots() -> None:
    body = json.dumps([_worker(2, ["a"]), _worker(4, ["b", "c"], version="")]).encode()
    assert slots(200, body) == Slots(2, 1, frozenset("a"))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_druid_that_will_not_tell_is_no_fault(status: int) -> None:
    assert slots(status, b"Forbidden") is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}x", b'[{"x":1}]', b"[1]", b"null"])
def test_a_reply_without_meaning_is_unreachable(body: bytes) -> None:
    with pytest.raises(WarehouseUnreachable):
        slots(503, body)


@pytest.mark.parametrize(
    ("capacity", "running", "own", "free"),
    [
        (4, [], [], 2),
        (5, [], [], 2),
        (1, [], [], 0),
        (4, [], ["a"], 1),  # submitted, and not shown by Druid yet
        (4, ["query-a"], ["a"], 1),
        (4, ["query-a", "query-a-worker0_0"], ["a"], 1),
        (4, ["query-a", "query-a-worker0_0"], ["a", "b"], 0),
        (4, ["index_parallel_x"], [], 1),
        (4, ["query-z"], [], 1),  # another's controller will need a worker
        (4, ["query-z", "index_x"], [], 0),
        (4, ["query-z", "query-z-worker0_0"], [], 1),
        (4, ["query-z", "query-z-worker0_0"], ["a"], 0),
        (2, ["query-a", "query-a-worker0_0"], [], 0),
    ],
)
def test_room_is_what_is_left_in_pairs(
    capacity: int, running: list[str], own: list[str], free: int
) -> None:
    assert room(Slots(capacity, len(running), frozenset(running)), own) == free


_IDS = st.sampled_from(["a", "b", "c", "d"])


@given(st.integers(0, 16), st.sets(_IDS), st.sets(_IDS), st.sets(_IDS), st.integers(0, 5))
def test_controllers_and_workers_of_all_always_fit(
    capacity: int, own: set[str], shown: set[str], served: set[str], foreign: int
) -> None:
    """Whatever Druid shows already: all own tasks and the new ones fit beside the others."""
    running = {f"query-{i}" for i in shown} | {f"query-{i}-worker0_0" for i in served & shown}
    running |= {f"index_{n}" for n in range(foreign)}
    free = room(Slots(capacity, len(running), frozenset(running)), own)
    foreign_pairs = len(shown - own)
    if free:
        assert 2 * (len(own) + free + foreign_pairs) + foreign <= capacity
