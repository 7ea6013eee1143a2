"""Whose a query is, and who may read the gateway's own streams. Pure."""

from gateway.seams import TASKS_STREAM, Permit, Right


def owns(permit: Permit, owner: str) -> bool:
    """Whether a query of the principal ``owner`` is the permit's to see and to end."""
    return permit.principal.name == owner or permit.may(Right.ADMIN)


def may_read(permit: Permit, source: str) -> bool:
    """Whether it may query a source; ``admin`` opens the tasks of everybody."""
    if permit.may(Right.QUERY, source):
        return True
    return source == TASKS_STREAM and permit.may(Right.ADMIN)
