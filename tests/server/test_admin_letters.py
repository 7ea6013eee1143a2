"""Dead letters on the admin port: every route, every refusal, over scripted doors."""

import base64
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.admin_port import (
    AT,
    DEADLINE_S,
    ROW_BYTES,
    EndlessLetters,
    Operator,
    ask,
    asked,
    assert_refused,
    letter,
    opened_operator,
    send,
)
from tests.server.ksqldb import ask as ask_over_http2


@pytest.fixture
def operator() -> Iterator[Operator]:
    with opened_operator() as opened:
        yield opened


# ── looking at dead letters ──────────────────────────────────────────────────────────────────


def test_a_dead_letter_is_shown_with_all_that_is_known_of_it(operator: Operator) -> None:
    operator.letters.add(
        letter(7, channel="edge-7", offset=1200, batch="b1", line=3, tasks=2, raw=b'{"ID": 1.70}')
    )
    reply = ask(operator, "GET", "/dead-letters/7")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.document == {
        "id": 7,
        "stream": "EVENTS",
        "channel": "edge-7",
        "offset": 1200,
        "batch": "b1",
        "line": 3,
        "code": "40000",
        "message": "it is bad",
        "at": AT,
        "state": "open",
        "tasks": 2,
        "row": '{"ID": 1.70}',
    }
    assert ask(operator, "GET", "/dead-letters").document == [reply.document]


def test_a_row_that_is_no_utf_8_is_shown_in_base64_too(operator: Operator) -> None:
    operator.letters.add(letter(1, raw=b'{"NAME":"\xff"}'))
    shown = ask(operator, "GET", "/dead-letters/1").document
    assert shown["row"] == '{"NAME":"\ufffd"}'
    assert base64.b64decode(shown["rowBase64"]) == b'{"NAME":"\xff"}'


def test_letters_are_found_by_stream_channel_and_state(operator: Operator) -> None:
    operator.letters.add(
        letter(1),
        letter(2, channel="a b&c"),
        letter(3, stream="OTHER", channel="a b&c"),
        letter(4, state="dropped"),
        letter(5, state="retried"),
    )

    def found(query: str) -> list[int]:
        return [each["id"] for each in ask(operator, "GET", f"/dead-letters{query}").document]

    assert found("") == [1, 2, 3]
    assert found("?stream=EVENTS") == [1, 2]
    assert found("?channel=a%20b%26c") == [2, 3]
    assert found("?stream=OTHER&channel=a%20b%26c") == [3]
    assert found("?state=dropped") == [4]
    assert found("?state=all&after=2") == [3, 4, 5]
    assert found("?state=all&limit=2") == [1, 2]
    assert found("?stream=nobody") == []


def test_a_thousand_letters_come_in_one_answer_and_no_more(operator: Operator) -> None:
    operator.letters.add(*(letter(number) for number in range(1, 1101)))
    assert len(ask(operator, "GET", "/dead-letters").document) == 100
    answer = ask(operator, "GET", "/dead-letters?limit=1000").document
    assert [each["id"] for each in answer] == list(range(1, 1001))
    rest = ask(operator, "GET", "/dead-letters?limit=1000&after=1000").document
    assert [each["id"] for each in rest] == list(range(1001, 1101))


def test_an_answer_of_long_rows_is_shorter_than_its_limit(operator: Operator) -> None:
    operator.letters.add(*(letter(number, raw=b"x" * 1_000_000) for number in range(1, 41)))
    first = ask(operator, "GET", "/dead-letters?limit=40").document
    assert 0 < len(first) < 40
    last = first[-1]["id"]
    assert ask(operator, "GET", f"/dead-letters?after={last}").document[0]["id"] == last + 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=many", "limit"),
        ("?limit=", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=" + "0" * 30 + "9" * 5000, "limit"),
        ("?after=-1", "after"),
        ("?after=9223372036854775808", "after"),
        ("?state=closed", "state"),
        ("?streem=X", "streem"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_name(
    operator: Operator, query: str, named: str
) -> None:
    assert_refused(ask(operator, "GET", f"/dead-letters{query}"), 400, 40000, f"`{named}`")


@pytest.mark.parametrize("unknown", ["5", "0", "-1", "x", "9" * 19, "9" * 5000, "1e3", "²"])
def test_an_unknown_letter_is_a_404_whatever_is_done_with_it(
    operator: Operator, unknown: str
) -> None:
    path = "/dead-letters/" + unknown.replace("²", "%C2%B2")
    for method, place in (
        ("GET", path),
        ("PUT", path),
        ("DELETE", path),
        ("POST", f"{path}/retry"),
    ):
        assert_refused(ask(operator, method, place), 404, 40400, "no dead letter", unknown[:50])


# ── export ───────────────────────────────────────────────────────────────────────────────────


def test_an_export_has_every_letter_that_matches_on_a_line_of_its_own(operator: Operator) -> None:
    operator.letters.add(*(letter(n, stream=f"S{n % 2}") for n in range(1, 301)))
    reply = ask(operator, "GET", "/dead-letters/export?stream=S1")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
    assert [line["id"] for line in reply.lines] == list(range(1, 301, 2))
    assert reply.lines[0] == ask(operator, "GET", "/dead-letters/1").document


def test_an_export_of_nothing_is_empty(operator: Operator) -> None:
    assert ask(operator, "GET", "/dead-letters/export").body == b""


def test_an_export_takes_no_limit(operator: Operator) -> None:
    assert_refused(ask(operator, "GET", "/dead-letters/export?limit=5"), 400, 40000, "`limit`")


def test_an_export_that_cannot_begin_is_an_error_and_no_export(operator: Operator) -> None:
    operator.letters.add(letter(1))
    operator.letters.breaks_at = 1
    assert_refused(ask(operator, "GET", "/dead-letters/export"), 500, 50000, "Input/output")


def test_an_export_that_breaks_says_so_and_never_passes_for_a_shorter_one(
    operator: Operator,
) -> None:
    operator.letters.add(*(letter(number) for number in range(1, 201)))
    operator.letters.breaks_at = 150
    with asked(operator, "GET", "/dead-letters/export") as response:
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
        *letters, last = cut.value.partial.splitlines()
    assert 0 < len(letters) < 150
    assert json.loads(last)["error_code"] == 50000
    assert "Input/output" in json.loads(last)["message"]


def test_a_reader_that_stops_reading_stops_the_export_and_ends_it_by_leaving() -> None:
    endless = EndlessLetters()
    with opened_operator(letters=endless) as operator:
        idle_tasks = operator.door.tasks()
        with (
            asked(operator, "GET", "/dead-letters/export") as response,
            operator.door.peer() as other,
        ):
            taken = len(response.read(1 << 16))
            for _ in range(100):  # Each takes turns of the event loop, which the export has too.
                assert ask_over_http2(other, "GET", "/healthcheck").status == 200
            assert endless.read_bytes - taken < 32 << 20
        deadline = time.monotonic() + DEADLINE_S
        while operator.door.tasks() > idle_tasks:
            assert time.monotonic() < deadline, "work goes on for a client that left"
            time.sleep(0.01)


# ── verdicts on dead letters ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"row": {"ID": 7}}, b'{"ID": 7}'),
        ({"row": '{"ID":7}'}, b'{"ID":7}'),
        ({"row": ' {"ID":7}\n'}, b'{"ID":7}'),
        ({"row": '{\n  "ID": 7\r\n}'}, b'{   "ID": 7  }'),
    ],
)
def test_an_edit_puts_another_row_in_the_place_of_the_bad_one(
    operator: Operator, given: Any, becomes: bytes
) -> None:
    operator.letters.add(letter(1))
    reply = send(operator, "PUT", "/dead-letters/1", given)
    assert (reply.status, reply.document["row"]) == (200, becomes.decode())
    assert (reply.document["id"], reply.document["state"]) == (1, "open")
    assert operator.letters.letters[1].raw == becomes


def test_an_edit_keeps_every_digit(operator: Operator) -> None:
    operator.letters.add(letter(1))
    body = b'{"row":{"ID":1,"AMOUNT":12345678901234567890.123456789012345678900}}'
    assert ask(operator, "PUT", "/dead-letters/1", body).status == 200
    kept = operator.letters.letters[1].raw
    assert kept == b'{"ID":1,"AMOUNT":12345678901234567890.123456789012345678900}'


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "body"),
        (b"ijq", "body"),
        (b'{"row":', "body"),
        (b"[]", "array"),
        (b"{}", "row"),
        (b'{"row":{"ID":1},"state":"open"}', "state"),
        (b'{"row":null}', "`row`"),
        (b'{"row":[1]}', "`row`"),
        (b'{"row":"\xff"}', "body"),
        (b'{"row":"\\ud800"}', "body"),
        (b'{"row":"{\\"NAME\\":\\"a\\nb\\"}"}', "several lines"),
        (b'{"row":"{\\"ID\\":\\"x\\"}"}', "column `ID`"),
        (b'{"row":"no JSON"}', "Invalid JSON"),
        (b'{"row":{"ID":1,"NAME":"' + b"x" * ROW_BYTES + b'"}}', "http.row_limit_bytes"),
    ],
)
def test_an_edit_that_is_no_row_of_the_stream_is_refused_and_nothing_changes(
    operator: Operator, body: bytes, word: str
) -> None:
    operator.letters.add(letter(1))
    assert_refused(ask(operator, "PUT", "/dead-letters/1", body), 400, 40000, word)
    assert operator.letters.letters[1] == letter(1)


def test_one_letter_is_retried_and_then_is_open_no_more(operator: Operator) -> None:
    operator.letters.add(letter(1, raw=b'{"ID":1}'))
    reply = ask(operator, "POST", "/dead-letters/1/retry")
    assert (reply.status, reply.document) == (200, {"id": 1, "outcome": "retried"})
    assert operator.letters.retried == [b'{"ID":1}']
    for method, path in (("POST", "/dead-letters/1/retry"), ("DELETE", "/dead-letters/1")):
        assert_refused(ask(operator, method, path), 400, 40000, "is retried")
    assert_refused(send(operator, "PUT", "/dead-letters/1", {"row": {"ID": 2}}), 400, 40000)


def test_one_letter_is_dropped(operator: Operator) -> None:
    operator.letters.add(letter(1))
    reply = ask(operator, "DELETE", "/dead-letters/1")
    assert (reply.status, reply.document) == (200, {"id": 1, "outcome": "dropped"})
    assert operator.letters.letters[1].state == "dropped"


def test_each_of_several_has_an_outcome_of_its_own(operator: Operator) -> None:
    good = b'{"ID":1}'
    operator.letters.add(letter(1, raw=good), letter(2), letter(3, state="dropped"), letter(4))
    reply = send(operator, "POST", "/dead-letters/retry", {"ids": [1, 2, 3, 9]})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
    assert reply.lines == [
        {"id": 1, "outcome": "retried"},
        refused(2, 40000, "Can't coerce a field (column `ID`)"),
        refused(3, 40000, "Dead letter 3 is dropped"),
        refused(9, 40400, "There is no dead letter 9"),
    ]
    reply = send(operator, "POST", "/dead-letters/drop", {"ids": [4]})
    assert reply.lines == [{"id": 4, "outcome": "dropped"}]


def refused(letter_id: int, code: int, message: str) -> dict[str, Any]:
    return {"id": letter_id, "outcome": "refused", "error_code": code, "message": message}


@pytest.mark.parametrize(
    ("which", "dropped"),
    [
        ({"stream": "S"}, [1, 2]),
        ({"channel": "c"}, [2, 3]),
        ({"stream": "S", "channel": "c"}, [2]),
        ({"all": True}, [1, 2, 3]),
        ({"stream": "nobody"}, []),
    ],
)
def test_all_open_ones_that_match_are_dropped(
    operator: Operator, which: Any, dropped: list[int]
) -> None:
    operator.letters.add(
        letter(1, stream="S"),
        letter(2, stream="S", channel="c"),
        letter(3, channel="c"),
        letter(4, stream="S", channel="c", state="retried"),
    )
    reply = send(operator, "POST", "/dead-letters/drop", which)
    assert reply.lines == [{"id": number, "outcome": "dropped"} for number in dropped]


def test_rows_that_fail_again_are_retried_once_and_not_for_ever(operator: Operator) -> None:
    operator.letters.add(*(letter(number) for number in range(1, 101)))
    operator.letters.returns = True
    reply = send(operator, "POST", "/dead-letters/retry", {"all": True})
    assert [line["id"] for line in reply.lines] == list(range(1, 101))
    assert len(ask(operator, "GET", "/dead-letters?limit=1000").document) == 100


def test_a_spool_that_breaks_ends_the_verdicts_and_says_so(operator: Operator) -> None:
    operator.letters.add(*(letter(number, raw=b'{"ID":1}') for number in range(1, 11)))
    operator.letters.breaks_at = 4
    body = json.dumps({"ids": list(range(1, 11))}).encode()
    with (
        asked(operator, "POST", "/dead-letters/retry", body) as response,
        pytest.raises(http.client.IncompleteRead) as cut,
    ):
        response.read()
    *outcomes, error = map(json.loads, cut.value.partial.splitlines())
    assert outcomes == [{"id": number, "outcome": "retried"} for number in (1, 2, 3)]
    assert (error["@type"], error["error_code"]) == ("generic_error", 50000)


@pytest.mark.parametrize("verdict", ["retry", "drop"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"all":false}',
        b'{"ids":[]}',
        b'{"ids":[0]}',
        b'{"ids":["1"]}',
        b'{"ids":[9223372036854775808]}',
        b'{"ids":[1],"all":true}',
        b'{"ids":[1],"stream":"S"}',
        b'{"stream":5}',
        b'{"state":"open"}',
        b'{"ids":[' + b",".join([b"1"] * 1001) + b"]}",
    ],
)
def test_a_verdict_that_does_not_say_on_which_is_refused(
    operator: Operator, verdict: str, body: bytes
) -> None:
    operator.letters.add(letter(1, raw=b'{"ID":1}'))
    assert_refused(ask(operator, "POST", f"/dead-letters/{verdict}", body), 400, 40000)
    assert operator.letters.letters[1].state == "open"
