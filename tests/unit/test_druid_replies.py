"""What Druid's replies mean, in every shape that its eras gave them."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seams import (
    QueryRefused,
    SubmissionRefused,
    Submitted,
    TaskState,
    WarehouseUnreachable,
)
from gateway.warehouse.druid import replies
from gateway.warehouse.druid.columns import result_type, stored_type
from gateway.warehouse.druid.errors import druid_error

EXCEPTION = {
    "error": "druidException",
    "errorCode": "invalidInput",
    "persona": "USER",
    "category": "INVALID_INPUT",
    "errorMessage": "Object 't' not found (line [1], column [15])",
    "context": {"line": "1", "column": "15"},
}
WRAPPED = {"taskId": "b1", "state": "FAILED", "error": EXCEPTION}
OLD_ERA = {
    "error": "Plan validation failed",
    "errorMessage": "Object 't' not found",
    "errorClass": "org.apache.calcite.tools.ValidationException",
    "host": None,
}
LEGACY = {
    "error": "Query timeout",
    "errorClass": "x",
    "host": None,
    "errorCode": "legacyQueryException",
    "persona": "OPERATOR",
    "category": "TIMEOUT",
    "errorMessage": "Query did not complete within configured timeout",
    "context": {"legacyErrorCode": "Query timeout"},
}
OVERLORD_400 = "org.apache.druid.rpc.HttpResponseException: Server error [400 Bad Request]; body: "
EXISTS_27 = {
    "taskId": "b1",
    "state": "FAILED",
    "error": EXCEPTION
    | {
        "errorCode": "general",
        "category": "UNCATEGORIZED",
        "errorMessage": OVERLORD_400 + '{"error":"Task [query-b1] already exists."}',
    },
}


def _bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


# ── submitting ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [200, 202])
def test_a_task_id_means_accepted(status: int) -> None:
    body = _bytes({"taskId": "query-b1", "state": "RUNNING", "new": 1})
    assert replies.submitted(status, body) is Submitted.ACCEPTED


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (500, EXISTS_27),
        (500, {"error": "Unknown exception", "errorMessage": "Task[query-b1] already exists!"}),
        (400, {"error": "Task[query-b1] already exists!"}),
        (400, EXCEPTION | {"errorCode": "entryAlreadyExists", "errorMessage": ""}),
    ],
)
def test_a_known_id_is_recognised_in_every_era(status: int, document: Any) -> None:
    assert replies.submitted(status, _bytes(document)) is Submitted.EXISTS


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, _bytes(WRAPPED), "Object 't' not found (line [1], column [15])"),
        (400, _bytes(EXCEPTION), "Object 't' not found (line [1], column [15])"),
        (400, _bytes(OLD_ERA), "Object 't' not found"),
        (403, b'{"Access-Check-Result":"Unauthorized"}', "Unauthorized"),
        (401, b"<html><body><h2>HTTP ERROR 401</h2></body></html>", "HTTP ERROR 401"),
        (501, _bytes(EXCEPTION | {"category": "UNSUPPORTED"}), "Object"),
        (500, _bytes({"error": EXCEPTION | {"category": "UNCATEGORIZED",
              "errorMessage": OVERLORD_400 + "too large"}}), "too large"),
    ],
)  # fmt: skip
def test_what_druid_will_never_take_is_refused_in_its_own_words(
    status: int, body: bytes, said: str
) -> None:
    with pytest.raises(SubmissionRefused, match=re.escape(said)):
        replies.submitted(status, body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (202, b'{"state":"RUNNING"}'),
        (202, b'{"taskId":"query-b1","state":"FAILED"}'),
        (404, b"<html>no such path</html>"),
        (404, b'{"servlet":"x","message":"Not Found","url":"/","status":"404"}'),
        (429, _bytes(EXCEPTION | {"category": "CAPACITY_EXCEEDED"})),
        (500, b"Internal Server Error"),
        (500, _bytes(WRAPPED["error"] | {"category": "UNCATEGORIZED"})),  # type: ignore[operator]
        (502, b"<html>bad gateway</html>"),
        (503, b'{"servlet":"x","message":"Service Unavailable","status":"503"}'),
        (504, _bytes(LEGACY)),
    ],
)
def test_a_reply_that_does_not_settle_it_is_unreachable(status: int, body: bytes) -> None:
    with pytest.raises(WarehouseUnreachable):
        replies.submitted(status, body)


@given(st.integers(200, 599), st.binary(max_size=60))
def test_no_reply_to_a_submission_raises_anything_else(status: int, body: bytes) -> None:
    try:
        replies.submitted(status, body)
    except (SubmissionRefused, WarehouseUnreachable):
        return
    pytest.fail("random bytes are no task")


# ── watching ─────────────────────────────────────────────────────────────────────────────────


def test_states_come_back_under_the_ids_that_were_asked() -> None:
    body = _bytes(
        {
            "query-a": {"id": "query-a", "status": "SUCCESS"},
            "query-b": {"id": "query-b", "status": "RUNNING", "statusCode": "RUNNING"},
            "query-z": {"id": "query-z", "status": "FAILED"},
        }
    )
    states = replies.task_states(200, body, ["a", "b", "unknown"])
    assert states == {"a": TaskState.SUCCESS, "b": TaskState.RUNNING}


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"x"), (503, b""), (404, b"{}")])
def test_states_without_meaning_are_unreachable(status: int, body: bytes) -> None:
    with pytest.raises(WarehouseUnreachable):
        replies.task_states(status, body, ["a"])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"Cannot find any task with id: [query-x]"),
        (400, b"Cannot find any task with id: [query-x]"),
        (404, b'{"task":"query-x","status":null}'),
        (200, b'{"task":"query-x","status":null}'),
    ],
)
def test_an_unknown_task_is_none(status: int, body: bytes) -> None:
    assert replies.task_status(status, body) is None


def test_a_status_that_nobody_serves_is_unreachable() -> None:
    with pytest.raises(WarehouseUnreachable):
        replies.task_status(404, b"<html>no management proxy</html>")


def test_a_status_gives_its_state_and_message() -> None:
    body = _bytes({"task": "query-x", "status": {"statusCode": "FAILED", "errorMsg": "A: b"}})
    assert replies.task_status(200, body) == (TaskState.FAILED, "A: b")


# ── reports ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"No task reports were found"),
        (500, b""),
        (200, b""),
        (200, b"Can't find chatHandler"),
        (200, b"{}"),
        (200, b'{"multiStageQuery":null}'),
        (200, b"[1]"),
    ],
)
def test_there_is_no_report_around_start_and_end(status: int, body: bytes) -> None:
    assert replies.report_payload(status, body) is None


def _report(error: dict[str, Any]) -> dict[str, Any]:
    payload = {
        "results": None,
        "status": {"status": "FAILED", "errorReport": {"taskId": "x", "error": error}},
    }
    document = {"multiStageQuery": {"payload": payload}, "taskContext": {}}
    found = replies.report_payload(200, _bytes(document))
    assert found is not None
    return found


def test_a_line_is_the_last_place_that_druid_names() -> None:
    message = 'Unable to parse row [{"a": "(Record: 7, Line: 99)"}] (Record: 2, Line: 2)'
    payload = _report({"errorCode": "CannotParseExternalData", "errorMessage": message})
    failure = replies.report_failure(payload)
    assert failure is not None
    assert (failure.code, failure.line, failure.data_error) == ("CannotParseExternalData", 2, True)
    assert failure.message == message


@pytest.mark.parametrize("place", ["(Line: 12)", "(Path: http://g/x, Record: 3, Line: 12)"])
def test_a_line_is_found_in_every_form(place: str) -> None:
    message = f"Unable to parse row [x] {place}"
    failure = replies.report_failure(
        _report({"errorCode": "TooManyWarnings", "errorMessage": message})
    )
    assert failure is not None
    assert failure.line == 12


def test_a_warning_names_the_line_where_warnings_ended_the_task() -> None:
    payload = _report({"errorCode": "TooManyWarnings", "errorMessage": "Too many warnings"})
    warning = {"errorCode": "CannotParseExternalData", "errorMessage": "Unable [x] (Line: 3)"}
    payload["status"]["warnings"] = [{"error": warning}]
    failure = replies.report_failure(payload)
    assert failure is not None
    assert failure.line == 3
    assert failure.message == "Too many warnings: Unable [x] (Line: 3)"


def test_a_message_does_not_quote_the_whole_batch() -> None:
    rows = '{"a":"}\'"}\n' * 9999
    message = f"Invalid null byte at [InlineInputSource{{data='{rows}'}}], rowNumber [2], column[s]"
    failure = replies.report_failure(
        _report({"errorCode": "InvalidNullByte", "errorMessage": message})
    )
    assert failure is not None
    assert failure.message == (
        "Invalid null byte at [InlineInputSource{…}], rowNumber [2], column[s]"
    )


@pytest.mark.parametrize(
    "code",
    ["CannotParseExternalData", "InsertTimeNull", "InsertTimeOutOfBounds", "InvalidField",
     "InvalidNullByte", "RowTooLarge", "TooManyWarnings"],
)  # fmt: skip
def test_these_codes_blame_the_rows(code: str) -> None:
    failure = replies.report_failure(_report({"errorCode": code, "rowNumber": 4}))
    assert failure is not None
    assert failure.data_error
    assert failure.line is None


@pytest.mark.parametrize(
    "code",
    ["Canceled", "InsertLockPreempted", "InsertCannotAllocateSegment", "TaskStartTimeout",
     "TooManyAttemptsForWorker", "UnknownError", "WorkerFailed", "WorkerRpcFailed", "Whatever"],
)  # fmt: skip
def test_these_do_not(code: str) -> None:
    failure = replies.report_failure(_report({"errorCode": code, "errorMessage": "(Line: 3)"}))
    assert failure is not None
    assert not failure.data_error
    assert failure.line is None


def test_a_class_cast_on_reading_rows_blames_the_rows() -> None:
    message = "java.lang.ClassCastException: class java.lang.Long cannot be cast"
    failure = replies.report_failure(_report({"errorCode": "UnknownError", "message": message}))
    assert failure is not None
    assert failure.data_error


def test_without_a_report_the_status_has_to_do() -> None:
    failure = replies.status_failure("InsertTimeNull: Encountered a null timestamp ...")
    assert (failure.code, failure.data_error) == ("InsertTimeNull", True)
    lost = replies.status_failure("This task disappeared on the worker where it was assigned")
    assert (lost.code, lost.data_error) == ("UnknownError", False)
    assert replies.status_failure("").message


@pytest.mark.parametrize(
    ("results", "number"),
    [({"results": [[5]]}, 5), ({"results": []}, 0), ({"results": [[1], [2]]}, None), (None, None)],
)
def test_a_count_is_the_one_number_of_a_report(results: Any, number: int | None) -> None:
    assert replies.report_number({"results": results}) == number


# ── querying ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (400, EXCEPTION),
        (400, OLD_ERA),
        (403, {"error": "Unauthorized", "errorMessage": "no"}),
        (504, LEGACY),
        (500, EXCEPTION | {"category": "UNCATEGORIZED", "errorMessage": "/ by zero"}),
        (501, {"error": "Unsupported operation", "errorMessage": "no"}),
    ],
)
def test_a_query_at_fault_is_refused(status: int, document: Any) -> None:
    error = replies.query_error(status, _bytes(document))
    assert isinstance(error, QueryRefused)
    assert str(error) == document["errorMessage"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"<html>unavailable</html>"),
        (500, b"oops"),
        (502, b""),
        (429, _bytes(EXCEPTION | {"category": "CAPACITY_EXCEEDED"})),
        (404, b"<html>nobody</html>"),
    ],
)
def test_a_server_at_fault_is_unreachable(status: int, body: bytes) -> None:
    assert isinstance(replies.query_error(status, body), WarehouseUnreachable)


def test_unknown_names_are_told_apart() -> None:
    assert replies.names_unknown_object("Object 'x' not found (line [1], column [27])")
    assert replies.names_unknown_object("org.x: Object 'a\n'b' not found")
    assert replies.names_unknown_column("Column '_batch' not found in any table (line [1])")
    assert not replies.names_unknown_object("Column '_batch' not found in any table")


@given(st.integers(300, 599), st.one_of(st.binary(max_size=40), st.builds(_bytes, st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(["error", "errorMessage", "category", "context", "message", "errorCode"]),
        inner, max_size=4),
    max_leaves=6))))  # fmt: skip
def test_every_body_gives_an_error_with_texts(status: int, body: bytes) -> None:
    error = druid_error(status, body)
    assert isinstance(error.message, str)
    assert isinstance(error.category, str)


# ── types ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data_type", "text"),
    [
        ("TIMESTAMP", "TIMESTAMP"),
        ("VARCHAR", "STRING"),
        ("BIGINT", "BIGINT"),
        ("FLOAT", "DOUBLE"),
        ("DOUBLE", "DOUBLE"),
        ("VARCHAR ARRAY", "ARRAY<STRING>"),
        ("BIGINT ARRAY", "ARRAY<BIGINT>"),
        ("ARRAY<DOUBLE>", "ARRAY<DOUBLE>"),
        ("COMPLEX<json>", "STRING"),
        ("COMPLEX<hyperUnique>", "STRING"),
    ],
)
def test_a_stored_type_has_a_ksqldb_name(data_type: str, text: str) -> None:
    assert str(stored_type(data_type)) == text


@pytest.mark.parametrize(
    ("sql_type", "native", "text"),
    [
        ("TIMESTAMP", "LONG", "TIMESTAMP"),
        ("BOOLEAN", "LONG", "BOOLEAN"),
        ("INTEGER", "LONG", "INTEGER"),
        ("BIGINT", "LONG", "BIGINT"),
        ("DECIMAL", "DOUBLE", "DOUBLE"),
        ("ARRAY", "ARRAY<STRING>", "ARRAY<STRING>"),
        ("ARRAY", "ARRAY<LONG>", "ARRAY<BIGINT>"),
        ("ARRAY", "ARRAY<ARRAY<LONG>>", "ARRAY<ARRAY<BIGINT>>"),
        ("ARRAY", None, "ARRAY<STRING>"),
        ("OTHER", "COMPLEX<json>", "STRING"),
        ("CHAR", "STRING", "STRING"),
        (None, "DOUBLE", "DOUBLE"),
        (None, None, "STRING"),
    ],
)
def test_a_result_type_has_a_ksqldb_name(sql_type: str, native: str, text: str) -> None:
    assert str(result_type(sql_type, native)) == text
