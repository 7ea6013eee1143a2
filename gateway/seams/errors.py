"""Errors that cross a seam."""


class WarehouseUnreachable(Exception):
    """No answer, or none that means anything: the effect of the call is unknown."""


class SubmissionRefused(Exception):
    """The warehouse will not take this batch as it is (its SQL, its rights); no retry helps."""


class QueryRefused(Exception):
    """The SELECT is at fault: syntax, unknown name, unsupported function. Text is for the user."""


class QueryBroken(Exception):
    """The result ended before its end was proven: it must not pass for a shorter answer."""


class EntryGone(Exception):
    """The retention has passed an entry of a log: its rows cannot be read any more."""


class SpoolFull(Exception):
    """The spool has no room for these rows within the time allowed."""
