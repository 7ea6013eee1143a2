"""The life of a batch: the table, whole."""

import pytest

from gateway.ingest import batches
from gateway.ingest.batches import (
    FINAL,
    TRANSITIONS,
    BatchInput,
    BatchState,
    IllegalTransition,
    transition,
)


@pytest.mark.parametrize("state", BatchState)
@pytest.mark.parametrize("happened", BatchInput)
def test_a_batch_goes_where_the_table_says_and_nowhere_else(
    state: BatchState, happened: BatchInput
) -> None:
    if (state, happened) in TRANSITIONS:
        assert transition(state, happened) is TRANSITIONS[state, happened]
        return
    with pytest.raises(IllegalTransition, match=f"{happened} in {state}"):
        transition(state, happened)


def targets(state: BatchState) -> set[BatchState]:
    return {to for (start, _), to in TRANSITIONS.items() if start is state}


def reachable(start: BatchState) -> set[BatchState]:
    seen, waiting = {start}, [start]
    while waiting:
        new = targets(waiting.pop()) - seen
        seen |= new
        waiting += new
    return seen


@pytest.mark.parametrize("state", sorted(set(BatchState) - FINAL))
def test_every_state_has_a_way_to_a_commit(state: BatchState) -> None:
    assert BatchState.COMMITTED in reachable(state)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_nothing_happens_to_a_final_batch(state: BatchState) -> None:
    assert targets(state) == set()


def test_every_state_is_reached_and_every_input_is_used() -> None:
    # DROPPED is the operator's word: nothing that happens to a batch leads there.
    assert reachable(BatchState.SEALED) == set(BatchState) - {BatchState.DROPPED}
    assert {happened for _, happened in TRANSITIONS} == set(BatchInput)


def test_a_batch_is_tried_under_another_id_only_after_a_failure_that_was_verified() -> None:
    ways = {pair for pair, to in TRANSITIONS.items() if to is BatchState.WAITING}
    assert ways == {
        (BatchState.VERIFYING, BatchInput.NONE_OF_FAILED),
        (BatchState.CUTTING, BatchInput.CUT),
    }
    into_cutting = {pair for pair, to in TRANSITIONS.items() if to is BatchState.CUTTING}
    assert into_cutting == {(BatchState.VERIFYING, BatchInput.ROW_AT_FAULT)}


def drawing() -> dict[str, str]:
    """Each state's part of the module's drawing; a line that begins with blanks goes on."""
    assert batches.__doc__ is not None
    _, _, text = batches.__doc__.partition("::\n\n")
    parts: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():
        word = line.split()[0]
        if line.startswith("    ") and not line.startswith("     "):
            parts[word] = line.strip().removeprefix(word)
        else:
            parts[next(reversed(parts))] += line
    return parts


def test_the_drawing_shows_the_table() -> None:
    drawn = drawing()
    assert set(drawn) == set(BatchState) - FINAL
    for state in sorted(set(BatchState) - FINAL):
        shown = {other for other in BatchState if f"→ {other}" in drawn[state]}
        assert shown == targets(state), state
