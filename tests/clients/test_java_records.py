"""The imitation breaks where the real Java client does, and nowhere else: it proves nothing else.

The cases are what the real one made of scripted servers (specification §6.3, §6.5, Appendix B, D).
"""

import json

import pytest

from tests.clients import java_entities as entities
from tests.clients.java_records import (
    AckRecords,
    Breaks,
    ClientFailure,
    Column,
    DelimitedRows,
    StreamedRows,
    columns_of,
)

HEADER = b'[{"header":{"queryId":"q","schema":"`A` INTEGER KEY, `B` STRUCT<`F` DECIMAL(4, 2)>"}}'
ROW = b'{"row":{"columns":[1,null]}}'
ERROR = b'{"errorMessage":{"@type":"generic_error","error_code":50000,"message":"why"}}'


def read(body: bytes, *, batched: bool = False, cut: int = 1 << 20) -> StreamedRows:
    records = StreamedRows(batched=batched)
    for at in range(0, len(body), cut):
        records.feed(body[at : at + cut])
    records.end()
    return records


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (HEADER + b"]", 0),
        (HEADER + b",\n" + ROW + b"]", 1),
        (HEADER + b",\n" + ROW + b",\n" + ROW + b"]\n", 2),
        (HEADER + b",\n" + ROW + b",\n]", 1),
        (HEADER + b",\n" + ROW + b',\n{"finalMessage":"Limit Reached"}]', 1),
        (b'[{"header":{"schema":""}}]', 0),
    ],
)
def test_it_reads_every_form_that_the_real_one_reads(body: bytes, rows: int, cut: int) -> None:
    for batched in (True, False):
        records = read(body, batched=batched, cut=cut)
        assert (records.complete, len(records.rows)) == (True, rows)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"]",
        HEADER.replace(b"INTEGER", b"INT") + b"]",
        HEADER.replace(b"INTEGER", b"integer") + b"]",
        HEADER + b"," + ROW + b"]",
        HEADER + b",\n\n" + ROW + b"]",
        HEADER + b",\r\n" + ROW + b"]",
        HEADER + b",\n" + ROW + b",\n" + ROW.replace(b"row", b"rows") + b"]",
        HEADER + b',\n{"consistencyToken":{"consistencyToken":"x"}}]',
        HEADER + b',\n{"row":{"columns":[NaN]}}]',
        b'{"queryId":"q","columnNames":["A"],"columnTypes":["INTEGER"]}\n[1]\n',
    ],
)
def test_it_breaks_on_every_form_that_breaks_the_real_one(body: bytes) -> None:
    for batched in (True, False):
        with pytest.raises(Breaks):
            read(body, batched=batched)


def test_an_error_row_is_seen_by_a_streamed_query_only() -> None:
    body = HEADER + b",\n" + ERROR + b",\n]"
    assert read(body).error == "why"
    assert not read(body).complete
    with pytest.raises(Breaks, match="executeQuery loses it"):
        read(body, batched=True)


def test_a_schema_is_cut_outside_of_brackets_only() -> None:
    """Vector 93."""
    text = (
        "`A` STRING KEY, `B` MAP<STRING, ARRAY<DOUBLE>>, `C` DECIMAL(10, 2), `D` STRUCT<`X` DATE>"
    )
    assert columns_of(text) == [
        Column("A", "STRING"),
        Column("B", "MAP"),
        Column("C", "DECIMAL"),
        Column("D", "STRUCT"),
    ]


def test_the_old_dialect_takes_lines_and_any_object_for_an_error() -> None:
    records = DelimitedRows()
    records.feed(b'{"queryId":null,"columnNames":["A"],"columnTypes":["DECIMAL(4, 2)"]}\n[1]\n')
    records.feed(b'{"@type":"generic_error","error_code":50000,"message":"why"}\n')
    records.end()
    assert (records.columns, records.rows) == ([Column("A", "DECIMAL")], [[1]])
    assert (records.error, records.complete) == ("why", False)


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"ok"}\n',
        b'{"seq":0,"status":"fine"}\n',
        b"[]\n",
        b'{"seq":0,"status":"ok"}\n\n',
        b'{"seq":true,"status":"ok"}\n',
        b'{"seq":0,"status":"error","message":"m"}\n',
    ],
)
def test_an_ack_that_the_real_one_cannot_read_breaks(body: bytes) -> None:
    with pytest.raises(Breaks):
        AckRecords().feed(body)


def test_one_insert_wants_exactly_one_ack() -> None:
    for acks in (b"", b'{"seq":0,"status":"ok"}\n' * 2):
        records = AckRecords(numbered=False)
        records.feed(acks)
        with pytest.raises(Breaks):
            records.end()


@pytest.mark.parametrize("body", [b"", b"Not Found", b"[]", b"<html>", b'"text"'])
def test_an_error_without_a_json_object_hangs_it(body: bytes) -> None:
    with pytest.raises(Breaks, match="hangs"):
        entities.failure(404, body)


def test_the_texts_of_its_failures() -> None:
    """Vectors 80, 84 and 85: what its user reads."""
    body = b'{"@type":"generic_error","error_code":40000,"message":"No query with id q9"}'
    expected = "Received 400 response from server: No query with id q9. Error code: 40000"
    assert str(entities.failure(400, body)) == expected
    acks = AckRecords()
    acks.feed(b'{"status":"error","seq":2,"error_code":40000,"message":"bad row"}\n')
    assert acks.error == (
        "Received error from /inserts-stream. Inserts sequence number: 2. Error code: 40000. "
        "Message: bad row"
    )


STATUS = {
    "@type": "currentStatus",
    "statementText": "x;",
    "commandId": "stream/`X`/create",
    "commandStatus": {"status": "SUCCESS", "message": "ok", "queryId": None},
    "commandSequenceNumber": 2,
    "warnings": [],
}


def test_a_statement_gives_its_query_id_or_nothing() -> None:
    """Vectors 88 and 89."""
    assert entities.statement_result(json.dumps([STATUS]).encode()) is None
    started = {**STATUS, "commandStatus": {"status": "SUCCESS", "message": "", "queryId": "q"}}
    assert entities.statement_result(json.dumps([started]).encode()) == "q"
    warning = {"@type": "warning_entity", "message": "Cannot add stream `X`: it exists"}
    assert entities.statement_result(json.dumps([warning]).encode()) is None


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ([], "accepted the statement"),
        ([{"streams": []}], "listStreams"),
        ([{"@type": "terminate_query"}], "Unexpected server response type"),
    ],
)
def test_a_statement_with_another_entity_fails_in_words(reply: object, text: str) -> None:
    with pytest.raises(ClientFailure, match=text):
        entities.statement_result(json.dumps(reply).encode())


@pytest.mark.parametrize(
    "reply",
    [{}, [STATUS, STATUS], [1], [{**STATUS, "commandId": None}], [{**STATUS, "commandStatus": 1}]],
)
def test_a_statement_with_another_shape_breaks(reply: object) -> None:
    with pytest.raises(Breaks):
        entities.statement_result(json.dumps(reply).encode())


def test_lists_of_older_servers_are_read() -> None:
    """Vector 90: one format for all."""
    listed = {"streams": [{"type": "STREAM", "name": "S", "topic": "t", "format": "JSON"}]}
    assert entities.sources(listed, "streams") == [
        entities.Source("S", "t", "KAFKA", "JSON", False)
    ]
