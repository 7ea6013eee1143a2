"""What Druid's replies mean: status and body in, a value or one of the seams' exceptions out.

Pure. Sources: Druid's ``api-reference/sql-ingestion-api`` (submission, report),
``api-reference/tasks-api`` (status), ``multi-stage-query/reference`` (error codes).
"""

import re
from collections.abc import Collection
from typing import Any

import orjson

from gateway.seams import (
    QueryRefused,
    SubmissionRefused,
    Submitted,
    TaskFailure,
    TaskState,
    WarehouseUnreachable,
)
from gateway.warehouse.druid.errors import DruidError, druid_error, json_object

TASK_PREFIX = "query-"
"""What Druid puts before a ``sqlQueryId`` to make a task id of it."""

DATA_ERRORS = frozenset(
    {
        "CannotParseExternalData",
        "InsertTimeNull",
        "InsertTimeOutOfBounds",
        "InvalidField",
        "InvalidNullByte",
        "RowTooLarge",
        "TooManyWarnings",
    }
)
"""Fault codes that put the blame on the rows."""

_DATA_EXCEPTIONS = re.compile(r"\b(ClassCastException|NumberFormatException|ParseException)\b")
_EXISTS = re.compile(r"already exists|entryAlreadyExists", re.IGNORECASE)
_WRAPPED_STATUS = re.compile(r"Server error \[(\d{3})")
_UNKNOWN_OBJECT = re.compile(r"Object '.*' not found", re.DOTALL)
_UNKNOWN_COLUMN = re.compile(r"Column '.*' not found", re.DOTALL)
_LINE = re.compile(r"\bLine: (\d+)\)")
_NAME_A_LINE = frozenset({"CannotParseExternalData", "TooManyWarnings"})
_INLINE_DATA = re.compile(r"InlineInputSource\{data='.*'\}", re.DOTALL)
_MESSAGE_LIMIT = 8000
_STATUS_CODE = re.compile(r"\s*([A-Za-z]+): ")
_FINAL_REFUSALS = frozenset({"INVALID_INPUT", "NOT_FOUND", "UNSUPPORTED", "CONFLICT"})
_DENIALS = frozenset({"UNAUTHORIZED", "FORBIDDEN"})
_FOR_THE_USER = _FINAL_REFUSALS | {"FORBIDDEN", "CANCELED", "TIMEOUT", "RUNTIME_FAILURE"}


class NotPermitted(SubmissionRefused):
    """The gateway's user may not run this statement: no fault of the statement's."""


def task_of(query_id: str) -> str:
    """The task id that Druid gives to a ``sqlQueryId``."""
    return TASK_PREFIX + query_id


# ── submitting ───────────────────────────────────────────────────────────────────────────────


def submitted(status: int, body: bytes) -> Submitted:
    """The reply to ``POST /druid/v2/sql/task``.

    Raises `SubmissionRefused` if Druid will never take the statement, `NotPermitted` if it will
    not from this user, `WarehouseUnreachable`
    where the reply does not say whether the task runs.
    """
    document = json_object(body)
    if 200 <= status < 300:
        if document and document.get("taskId") and document.get("state") != "FAILED":
            return Submitted.ACCEPTED
        raise WarehouseUnreachable(f"no task in Druid's reply: {_shown(body)}")
    error = druid_error(status, body)
    # Through the Broker the Overlord's 400 is a 500 whose text quotes it (Druid 24 and newer).
    if status in (400, 409, 500) and _EXISTS.search(error.message + error.code):
        return Submitted.EXISTS
    if _is_denied(error):
        raise NotPermitted(error.message)
    if _is_final(error):
        raise SubmissionRefused(error.message)
    raise WarehouseUnreachable(f"Druid answered {status} to a submission: {error.message}")


def _is_denied(error: DruidError) -> bool:
    wrapped = _WRAPPED_STATUS.search(error.message)
    return error.category in _DENIALS or (wrapped is not None and wrapped[1] in ("401", "403"))


def _is_final(error: DruidError) -> bool:
    if error.category in _FINAL_REFUSALS:
        # A path that nobody serves is a wrong address or a Druid without MSQ, not a bad batch.
        return True
    wrapped = _WRAPPED_STATUS.search(error.message)
    return wrapped is not None and wrapped.group(1) in ("400", "413")


# ── watching ─────────────────────────────────────────────────────────────────────────────────


def task_states(status: int, body: bytes, query_ids: Collection[str]) -> dict[str, TaskState]:
    """The reply to ``POST /druid/indexer/v1/taskStatus``, by query id; unknown ones are absent."""
    document = json_object(body)
    if status != 200 or document is None:
        raise _meaningless(status, body)
    found = {q: _state(document[task_of(q)]) for q in query_ids if task_of(q) in document}
    return {query_id: state for query_id, state in found.items() if state is not None}


def task_status(status: int, body: bytes) -> tuple[TaskState, str] | None:
    """The reply to ``GET …/task/{id}/status``: state and clipped message; None if unknown.

    An unknown id is 404 (400 in old versions) with JSON or plain text: never parse it blindly.
    """
    document = json_object(body)
    if status == 200 and document is not None:
        inner = document.get("status") or {}
        state = _state(inner)
        return (state, str(inner.get("errorMsg") or "")) if state else None
    told = b"Cannot find any task" in body or (document is not None and "task" in document)
    if status in (400, 404) and told:
        return None
    raise _meaningless(status, body)


def _state(document: Any) -> TaskState | None:
    if not isinstance(document, dict):
        return None
    word = str(document.get("statusCode") or document.get("status"))
    return TaskState(word) if word in TaskState.__members__ else None


# ── reports ──────────────────────────────────────────────────────────────────────────────────


def report_payload(status: int, body: bytes) -> dict[str, Any] | None:
    """The MSQ part of ``GET …/task/{id}/reports``; None while there is no usable report.

    Around a task's start and end the endpoint gives 404, 500, an empty or a foreign body.
    """
    document = json_object(body) if status == 200 else None
    report = document.get("multiStageQuery") if document else None
    payload = report.get("payload") if isinstance(report, dict) else None
    return payload if isinstance(payload, dict) else None


def report_failure(payload: dict[str, Any]) -> TaskFailure | None:
    """Why the report says that the task failed; None if it does not say."""
    status = payload.get("status")
    if not isinstance(status, dict):
        return None
    fault = _fault(status.get("errorReport"))
    if fault is None:
        return None
    code, message = fault
    if code == "TooManyWarnings":
        # A broken row ends the task by one of two ways, whichever is quicker; on this one the
        # warning has the words and the place.
        warnings = map(_fault, status.get("warnings") or ())
        said = [warning[1] for warning in warnings if warning is not None]
        message = ": ".join([message, *said[:1]])
    return _failure(code, message)


def _fault(report: Any) -> tuple[str, str] | None:
    """Code and message of an error report or a warning."""
    error = report.get("error") if isinstance(report, dict) else None
    if not isinstance(error, dict):
        return None
    code = str(error.get("errorCode") or "UnknownError")
    return code, str(error.get("errorMessage") or error.get("message") or code)


def status_failure(message: str) -> TaskFailure:
    """The same from the clipped message of the status, where there is no report."""
    match = _STATUS_CODE.match(message)
    code = match.group(1) if match else "UnknownError"
    return _failure(code, message or "the task failed and left no report")


def _failure(code: str, message: str) -> TaskFailure:
    at_fault = code in DATA_ERRORS
    if code == "UnknownError":
        at_fault = _DATA_EXCEPTIONS.search(message) is not None
    # The text quotes the row itself, so only the last place that is named is Druid's own. The row
    # numbers of other faults count differently between versions and are not taken for lines.
    lines = _LINE.findall(message) if code in _NAME_A_LINE else []
    line = int(lines[-1]) if lines else None
    # An inline batch is quoted whole by some faults: its rows are known here, and are many.
    shown = _INLINE_DATA.sub("InlineInputSource{…}", message)
    return TaskFailure(code=code, message=shown[:_MESSAGE_LIMIT], line=line, data_error=at_fault)


def report_number(payload: dict[str, Any]) -> int | None:
    """The one number of a SELECT's report; None if the report does not hold exactly one.

    MSQ gives no row at all for an aggregate over nothing: that is 0.
    """
    results = payload.get("results")
    rows = results.get("results") if isinstance(results, dict) else None
    match rows:
        case []:
            return 0
        case [[int(number)]]:
            return number
        case _:
            return None


# ── querying ─────────────────────────────────────────────────────────────────────────────────


def query_error(status: int, body: bytes) -> QueryRefused | WarehouseUnreachable:
    """What a non-200 reply of ``POST /druid/v2/sql`` means for the one who asked."""
    error = druid_error(status, body)
    if error.category in _FOR_THE_USER:
        return QueryRefused(error.message)
    # Planner faults such as a division by a constant zero come as an uncategorised 500, but with
    # DruidException's own members: that is an answer to this query, not a broken server.
    if error.category in ("UNCATEGORIZED", "DEFENSIVE") and error.message:
        return QueryRefused(error.message)
    return WarehouseUnreachable(f"Druid answered {status} to a query: {error.message}")


def names_unknown_object(message: str) -> bool:
    """Whether a refusal says that the planner does not know the table."""
    return _UNKNOWN_OBJECT.search(message) is not None


def names_unknown_column(message: str) -> bool:
    """Whether a refusal says that the planner does not know a column."""
    return _UNKNOWN_COLUMN.search(message) is not None


def rows_of(status: int, body: bytes) -> list[list[Any]]:
    """All rows of a small query in the ``array`` format. Raises what `query_error` says."""
    if status != 200:
        raise query_error(status, body)
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise WarehouseUnreachable("Druid's result was cut") from None
    if not isinstance(rows, list):
        raise _meaningless(status, body)
    return rows


def _meaningless(status: int, body: bytes) -> WarehouseUnreachable:
    return WarehouseUnreachable(f"Druid answered {status}: {_shown(body)}")


def _shown(body: bytes) -> str:
    return body[:300].decode("utf-8", "replace")
