"""When to try again, and whether at all: what a failure means to something that resumes.

Pure: no clock and no sleep. Laws:

1. What says that it comes again (a lost connection, 429, 503, a drain) is tried again; what will be
   said again as it is (401, 403, a bad statement, a taken channel) is not.
2. A gateway's fault (5xxxx) at one row may pass or may be the verdict on it: it is asked for again,
   and is final when it was said `ASKED_MAX` times of the same row; so is status 500.
"""

import random
from enum import StrEnum, auto

from gateway.client.errors import (
    AnswerCut,
    ClientError,
    ConnectionLost,
    KsqlResponseError,
    QueryFailed,
    RowRefused,
    StreamReset,
)

FIRST_S = 0.1
LONGEST_S = 5.0
ASKED_MAX = 3

WAITING_CODES = frozenset({42900, 50302, 50303, 50304})
"""ksqlDB's codes of a server that starts, ends or has no room: never a verdict on a row."""
WAITING_STATUSES = frozenset({408, 429, 502, 503, 504})

FENCED = "A newer connection has taken channel"
"""How the gateway begins to say so; the code, 40000, is that of any bad row."""


class Then(StrEnum):
    """What comes after a failure."""

    AGAIN = auto()
    ASK_AGAIN = auto()
    FINAL = auto()


def then(failure: ClientError) -> Then:
    """What a failure means to an insert on a channel, or to a push query."""
    match failure:
        case RowRefused():
            return _after_row(failure)
        case QueryFailed():
            return Then.AGAIN if failure.code in WAITING_CODES else Then.FINAL
        case KsqlResponseError():
            if failure.status in WAITING_STATUSES or failure.code in WAITING_CODES:
                return Then.AGAIN
            return Then.ASK_AGAIN if failure.status == 500 else Then.FINAL
        case ConnectionLost() | StreamReset() | AnswerCut():
            return Then.AGAIN
    return Then.FINAL


def is_fenced(failure: ClientError) -> bool:
    """Whether another client has taken the channel."""
    if not isinstance(failure, RowRefused | KsqlResponseError):
        return False
    return failure.code == 40000 and failure.message.startswith(FENCED)


def _after_row(refused: RowRefused) -> Then:
    if refused.code in WAITING_CODES:
        return Then.AGAIN
    return Then.ASK_AGAIN if refused.code >= 50000 else Then.FINAL


class Backoff:
    """Delays between tries: each up to twice as long as the one before, at random (full jitter)."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self._dice = dice or random.Random()  # noqa: S311 - no secret hangs on it
        self._ceiling_s = FIRST_S

    def reset(self) -> None:
        """It went well."""
        self._ceiling_s = FIRST_S

    def next_s(self, at_least_s: float | None = None) -> float:
        """How long to wait now; never less than the server asked for."""
        ceiling_s, self._ceiling_s = self._ceiling_s, min(LONGEST_S, 2 * self._ceiling_s)
        return max(ceiling_s * self._dice.uniform(0.5, 1.0), at_least_s or 0.0)
