"""The life of a batch as a table: ``(state, input) → state``; what is absent is an error.

::

    SEALED      submit → SUBMITTING        resume (after a restart) → ASKING
    SUBMITTING  taken → RUNNING            no reply → ASKING          refused → FAILED
                its rows are damaged on disk → HELD
    RUNNING     success → COMMITTED        failure → VERIFYING        unknown, no answer → ASKING
    ASKING      running → RUNNING          success → COMMITTED        failure, unknown → VERIFYING
                no answer → ASKING
    VERIFYING   all there → COMMITTED      none of a failed task → WAITING, of an unknown → SEALED
                a different number → HELD  no answer → VERIFYING      a row is at fault → CUTTING
    CUTTING     cut → WAITING              nothing left → COMMITTED   no line is told → SPLIT
                cannot be found → HELD
    WAITING     due → SUBMITTING (the next attempt)

Why ``unknown`` goes back to SEALED and not on to the next attempt: a submission whose reply was
lost may still be travelling. Submitted again under its own id it can be taken only once; under a
new id both could be. Only a task that is *known* to have failed frees the way for another id,
since a failed task has lost its locks and cannot publish any more.

Where a task failed for a row that nobody names, the batch is cut in two: the good half commits,
the other is cut again, down to the row. Each half is a batch with an id of its own, so that each
is counted by itself.
"""

from collections.abc import Mapping
from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch stands. FAILED and HELD wait for the operator, who may drop it (DROPPED)."""

    SEALED = "SEALED"
    SUBMITTING = "SUBMITTING"
    RUNNING = "RUNNING"
    ASKING = "ASKING"
    VERIFYING = "VERIFYING"
    CUTTING = "CUTTING"
    WAITING = "WAITING"
    COMMITTED = "COMMITTED"
    FAILED = "FAILED"
    HELD = "HELD"
    SPLIT = "SPLIT"
    """cut in two: its halves go on as batches of their own"""
    DROPPED = "DROPPED"


class BatchInput(StrEnum):
    """What can happen to a batch."""

    SUBMIT = "submit"
    RESUME = "resume"
    TAKEN = "taken"
    NO_ANSWER = "no answer"
    DAMAGED = "its rows are damaged"
    REFUSED = "refused"
    IS_RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    ALL_THERE = "all there"
    NONE_OF_FAILED = "none of a failed task"
    NONE_OF_UNKNOWN = "none of an unknown task"
    OTHER_COUNT = "a different number"
    ROW_AT_FAULT = "a row is at fault"
    CUT = "cut"
    NOT_FOUND = "cannot be found"
    NOTHING_LEFT = "nothing left"
    NO_LINE = "no line is told"
    DUE = "due"


_S, _I = BatchState, BatchInput

FINAL = frozenset({_S.COMMITTED, _S.FAILED, _S.HELD, _S.SPLIT, _S.DROPPED})

TRANSITIONS: Mapping[tuple[BatchState, BatchInput], BatchState] = {
    (_S.SEALED, _I.SUBMIT): _S.SUBMITTING,
    (_S.SEALED, _I.RESUME): _S.ASKING,
    (_S.SUBMITTING, _I.TAKEN): _S.RUNNING,
    (_S.SUBMITTING, _I.NO_ANSWER): _S.ASKING,
    (_S.SUBMITTING, _I.REFUSED): _S.FAILED,
    (_S.SUBMITTING, _I.DAMAGED): _S.HELD,
    (_S.RUNNING, _I.SUCCESS): _S.COMMITTED,
    (_S.RUNNING, _I.FAILURE): _S.VERIFYING,
    (_S.RUNNING, _I.UNKNOWN): _S.ASKING,
    (_S.RUNNING, _I.NO_ANSWER): _S.ASKING,
    (_S.ASKING, _I.IS_RUNNING): _S.RUNNING,
    (_S.ASKING, _I.SUCCESS): _S.COMMITTED,
    (_S.ASKING, _I.FAILURE): _S.VERIFYING,
    (_S.ASKING, _I.UNKNOWN): _S.VERIFYING,
    (_S.ASKING, _I.NO_ANSWER): _S.ASKING,
    (_S.VERIFYING, _I.ALL_THERE): _S.COMMITTED,
    (_S.VERIFYING, _I.NONE_OF_FAILED): _S.WAITING,
    (_S.VERIFYING, _I.NONE_OF_UNKNOWN): _S.SEALED,
    (_S.VERIFYING, _I.OTHER_COUNT): _S.HELD,
    (_S.VERIFYING, _I.ROW_AT_FAULT): _S.CUTTING,
    (_S.VERIFYING, _I.NO_ANSWER): _S.VERIFYING,
    (_S.CUTTING, _I.CUT): _S.WAITING,
    (_S.CUTTING, _I.NOT_FOUND): _S.HELD,
    (_S.CUTTING, _I.NOTHING_LEFT): _S.COMMITTED,
    (_S.CUTTING, _I.NO_LINE): _S.SPLIT,
    (_S.WAITING, _I.DUE): _S.SUBMITTING,
}


class IllegalTransition(Exception):
    """Something happened to a batch that cannot happen in its state."""


def transition(state: BatchState, happened: BatchInput) -> BatchState:
    """The next state. Raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, happened]
    except KeyError:
        raise IllegalTransition(f"{happened} in {state}") from None
