"""What reports of Druid 27.0.0 say of a task's progress: recorded ones, cut to what is read."""

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import TaskProgress, WarehouseUnreachable
from gateway.warehouse.druid.progress import REPORTS_AT_ONCE, Progress, progress
from gateway.warehouse.druid.tasks import Tasks

READS = {"input": [{"type": "external"}], "processor": {"type": "scan"}}
WRITES = {"input": [{"type": "stage", "stage": 0}], "processor": {"type": "segmentGenerator"}}
INPUT = {"type": "channel", "rows": [200000], "bytes": [8888890], "files": [1], "totalFiles": [1]}
SHUFFLED = {"type": "channel", "rows": [100000, 100000], "bytes": [10245091, 10245091]}

STARTING: dict[str, Any] = {
    "status": {"status": "RUNNING", "durationMs": 339, "pendingTasks": 0, "runningTasks": 2},
    "stages": [
        {"stageNumber": 0, "definition": READS, "phase": "READING_INPUT", "workerCount": 1},
        {"stageNumber": 1, "definition": WRITES},
    ],
    "counters": {"0": {"0": {"input0": {"type": "channel", "totalFiles": [1]}}}},
}
WRITING: dict[str, Any] = {
    "status": {"status": "RUNNING", "durationMs": 1586, "pendingTasks": 0, "runningTasks": 2},
    "stages": [
        {"stageNumber": 0, "definition": READS, "phase": "RESULTS_READY", "workerCount": 1,
         "partitionCount": 2},
        {"stageNumber": 1, "definition": WRITES, "phase": "READING_INPUT", "workerCount": 1,
         "partitionCount": 2},
    ],
    "counters": {
        "0": {"0": {"input0": INPUT, "output": INPUT, "shuffle": SHUFFLED}},
        "1": {"0": {"segmentGenerationProgress": {"rowsProcessed": 0, "rowsPushed": 0}}},
    },
}  # fmt: skip
OVER: dict[str, Any] = {
    "status": {"status": "SUCCESS", "durationMs": 2337, "pendingTasks": 0, "runningTasks": 2},
    "stages": [
        {"stageNumber": 0, "definition": READS, "phase": "FINISHED", "workerCount": 1,
         "partitionCount": 2},
        {"stageNumber": 1, "definition": WRITES, "phase": "FINISHED", "workerCount": 1,
         "partitionCount": 2},
    ],
    "counters": {
        "0": {"0": {"input0": INPUT, "output": INPUT, "shuffle": SHUFFLED}},
        "1": {"0": {"input0": SHUFFLED, "segmentGenerationProgress": {
            "rowsProcessed": 200000, "rowsPersisted": 200000, "rowsPushed": 200000}}},
    },
}  # fmt: skip


def test_a_task_that_reads_tells_its_stage_and_no_rows_yet() -> None:
    assert progress(STARTING) == TaskProgress(stage="0:READING_INPUT", workers=1, duration_ms=339)


def test_a_task_that_writes_tells_the_newest_stage_and_what_it_has_read() -> None:
    assert progress(WRITING) == TaskProgress(
        stage="1:READING_INPUT", workers=1, rows_in=200000, rows_out=0, duration_ms=1586
    )


def test_a_task_that_is_over_tells_all_and_its_segments() -> None:
    assert progress(OVER) == TaskProgress(
        stage="1:FINISHED", workers=1, rows_in=200000, rows_out=200000, segments=2,
        duration_ms=2337, is_over=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["segmentLoadWaiterStatus", "segmentLoadStatus"])
def test_newer_druids_name_the_number_of_segments(name: str) -> None:
    report = copy.deepcopy(OVER)
    report["status"][name] = {"state": "SUCCESS", "totalSegments": 7}
    assert progress(report).segments == 7


def test_rows_are_summed_over_workers_and_inputs_from_outside() -> None:
    report = copy.deepcopy(OVER)
    report["counters"]["0"]["1"] = {"input0": {"rows": [1, 2]}, "input1": {"rows": [5]}}
    report["counters"]["1"]["1"] = {"segmentGenerationProgress": {"rowsPushed": 3}}
    found = progress(report)
    assert (found.rows_in, found.rows_out) == (200003, 200003)


def test_rows_of_an_inline_batch_are_those_that_its_stage_puts_out() -> None:
    report = copy.deepcopy(OVER)
    report["counters"]["0"]["0"]["input0"] = {"type": "channel", "totalFiles": [1]}
    report["counters"]["0"]["0"]["output"] = {"type": "channel", "rows": [20], "frames": [1]}
    assert progress(report).rows_in == 20


def test_a_failed_task_is_over_and_has_no_segments() -> None:
    report = copy.deepcopy(WRITING)
    report["status"] |= {"status": "FAILED", "errorReport": {"error": {}}}
    found = progress(report)
    assert (found.is_over, found.segments, found.rows_in) == (True, None, 200000)


def test_a_task_that_waits_to_start_tells_nothing() -> None:
    assert progress({"status": {"status": "RUNNING", "durationMs": -1}}) == TaskProgress()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PLACES = ("status", "stages", "counters")


@given(st.sampled_from([STARTING, WRITING, OVER]), st.lists(st.integers(0, 9)), JSON)
def test_a_report_of_another_shape_raises_nothing(
    report: dict[str, Any], path: list[int], value: Any
) -> None:
    changed: Any = copy.deepcopy(report)
    at = changed
    for step in path:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[step % len(keys)]
        if not isinstance(at[key], dict | list) or not at[key]:
            at[key] = value
            break
        at = at[key]
    else:
        changed[PLACES[len(path) % 3]] = value
    assert isinstance(progress(changed), TaskProgress)


class _SomeTasks(Tasks):
    """Reports that are asked for one by one; ``lost`` ones never come."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def report_now(self, query_id: str) -> dict[str, Any] | None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            if query_id.startswith("lost"):
                raise WarehouseUnreachable
            return None if query_id.startswith("none") else OVER
        finally:
            self.now -= 1


async def test_reports_are_asked_for_a_few_at_a_time_and_a_lost_one_is_not_the_others_loss() -> (
    None
):
    tasks = _SomeTasks()
    asked = ["lost", "none", *(f"q{n}" for n in range(20))]
    found = await Progress(tasks).of(asked)
    assert sorted(found) == sorted(asked[2:])
    assert tasks.most == REPORTS_AT_ONCE
