"""The states of an insert stream, what can happen to one, and the table of what becomes of it.

Before OPEN an error is an HTTP status, from OPEN on it is a row; the line between them is crossed
once, by ADMITTED. In FAILING no row is taken any more, and the response ends with the error of the
row that the stream ends at.

Law: what is absent from `TRANSITIONS` is an error of the caller, not a silent no-op.
"""

from collections.abc import Mapping
from enum import StrEnum, auto


class State(StrEnum):
    """Where an insert stream stands."""

    AWAITING_ARGS = auto()
    ADMITTING = auto()
    OPEN = auto()
    DRAINING = auto()
    FAILING = auto()
    ENDED = auto()
    CLOSED = auto()


class Input(StrEnum):
    """What can happen to one."""

    ARGS = auto()
    BAD_ARGS = auto()
    ADMITTED = auto()
    REFUSED = auto()
    ROWS = auto()
    """rows are taken: good ones, duplicates, and bad ones that the stream goes on after"""
    BAD_ROW = auto()
    """a row failed its check, and the stream ends with it"""
    ROW_FAILED = auto()
    """a row has its error, and the stream goes on"""
    BROKEN = auto()
    """the stream ends at a row that was taken"""
    STOP = auto()
    """the stream ends at the next row to be taken; what was taken is waited for"""
    ABANDON = auto()
    """the stream ends at the first row that has no verdict: no more is waited for"""
    BODY_END = auto()
    ALL_ACKED = auto()
    ERROR_SENT = auto()
    PEER_LOST = auto()


class IllegalInput(Exception):
    """The caller told the machine something that cannot happen in its state."""


_S, _I = State, Input

TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (_S.AWAITING_ARGS, _I.ARGS): _S.ADMITTING,
    (_S.AWAITING_ARGS, _I.BAD_ARGS): _S.ENDED,
    (_S.AWAITING_ARGS, _I.REFUSED): _S.ENDED,
    (_S.ADMITTING, _I.ADMITTED): _S.OPEN,
    (_S.ADMITTING, _I.REFUSED): _S.ENDED,
    (_S.ADMITTING, _I.BODY_END): _S.ADMITTING,
    # The way in may speak before it is told of: it is found, and then lost to another stream.
    (_S.ADMITTING, _I.ROW_FAILED): _S.ADMITTING,
    (_S.ADMITTING, _I.BROKEN): _S.ADMITTING,
    (_S.ADMITTING, _I.STOP): _S.ADMITTING,
    (_S.OPEN, _I.ROWS): _S.OPEN,
    (_S.OPEN, _I.BAD_ROW): _S.FAILING,
    (_S.OPEN, _I.ROW_FAILED): _S.OPEN,
    (_S.OPEN, _I.BROKEN): _S.FAILING,
    (_S.OPEN, _I.STOP): _S.FAILING,
    (_S.OPEN, _I.ABANDON): _S.FAILING,
    (_S.OPEN, _I.BODY_END): _S.DRAINING,
    (_S.DRAINING, _I.ROWS): _S.DRAINING,
    (_S.DRAINING, _I.BAD_ROW): _S.FAILING,
    (_S.DRAINING, _I.ROW_FAILED): _S.DRAINING,
    (_S.DRAINING, _I.BROKEN): _S.FAILING,
    (_S.DRAINING, _I.STOP): _S.DRAINING,
    (_S.DRAINING, _I.ABANDON): _S.FAILING,
    (_S.DRAINING, _I.ALL_ACKED): _S.ENDED,
    (_S.FAILING, _I.ROW_FAILED): _S.FAILING,
    (_S.FAILING, _I.BROKEN): _S.FAILING,
    (_S.FAILING, _I.STOP): _S.FAILING,
    (_S.FAILING, _I.ABANDON): _S.FAILING,
    (_S.FAILING, _I.BODY_END): _S.FAILING,
    (_S.FAILING, _I.ERROR_SENT): _S.ENDED,
    **{
        (over, happened): over
        for over in (_S.ENDED, _S.CLOSED)
        for happened in (_I.ROW_FAILED, _I.BROKEN, _I.STOP, _I.ABANDON, _I.BODY_END)
    },
    **{(state, _I.PEER_LOST): _S.CLOSED for state in State},
}
