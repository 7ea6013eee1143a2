"""Compatibility vectors of specification §8 that stand nowhere else: one test a vector, its number
in its name. `vectors` says where all of them stand."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.java_imitation import JavaClient
from tests.clients.java_records import ClientFailure
from tests.gateways import GatewayProcess
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    ask,
    header_of,
    insert,
    ksql,
    open_query,
    query,
    records,
    unique,
)

VALUES = """STR STRING, LONG BIGINT, DEC DECIMAL(4, 2), BYTES_ BYTES, ARR ARRAY<STRING>,
MAP MAP<STRING, STRING>, STRUCT STRUCT<F1 INTEGER>, COMPLEX STRUCT<`DECIMAL` DECIMAL(2, 1),
STRUCT STRUCT<F1 STRING, F2 INTEGER>, ARRAY_STRUCT ARRAY<STRUCT<F1 STRING>>>,
TIMESTAMP TIMESTAMP, DATE DATE, TIME TIME"""
KEY = "K STRUCT<F1 ARRAY<STRING>> KEY"
AT = "AT TIMESTAMP"

NAMES = [part.split()[0] for part in ["K", "STR", "LONG", "DEC", "BYTES_", "ARR", "MAP", "STRUCT"]]
TYPES = [
    "STRUCT<`F1` ARRAY<STRING>>",
    "STRING",
    "BIGINT",
    "DECIMAL(4, 2)",
    "BYTES",
    "ARRAY<STRING>",
    "MAP<STRING, STRING>",
    "STRUCT<`F1` INTEGER>",
]
STORED = "2024-02-29T12:00:00.000"


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "K": {"F1": [f"key {number}"]},
        "STR": f"value {number}",
        "LONG": number,
        "DEC": "1.10",
        "BYTES_": "AQID",
        "ARR": ["a", None],
        "MAP": {"some_key": "a_value", "Other": None},
        "STRUCT": {"F1": 3},
        "COMPLEX": {
            "DECIMAL": 1.1,
            "STRUCT": {"F1": "foo", "F2": 3},
            "ARRAY_STRUCT": [{"F1": "bar"}],
        },
        "TIMESTAMP": "1970-01-01T00:00:00.001",
        "DATE": "1970-01-01",
        "TIME": "00:00:00",
        "AT": "2024-02-29T12:00:00",
    } | changes


def shown(number: int) -> list[Any]:
    """The columns of `NAMES` of `row`."""
    struct = {"F1": 3}
    strings = {"some_key": "a_value", "Other": None}
    key = {"F1": [f"key {number}"]}
    return [key, f"value {number}", number, 1.10, "AQID", ["a", None], strings, struct]


@pytest.fixture
def structured(peer: Peer) -> str:
    """ksqlDB's stream of structured types, with a key and a time of arrival."""
    name = unique("STRUCTURED_TYPES")
    properties = f"kafka_topic='{name.lower()}', timestamp='AT', ack='queryable'"
    ksql(peer, f"CREATE STREAM {name} ({KEY}, {VALUES}, {AT}) WITH ({properties});")
    return name


@pytest.fixture
def java(gateway: GatewayProcess) -> Iterator[JavaClient]:
    with JavaClient(gateway.address) as connected:
        yield connected


def error_of(lines: list[Any]) -> tuple[int, str, str]:
    """A row error that came alone: its code, its message, its type."""
    (error,) = lines
    assert len(error) == 5
    return error["error_code"], error["message"], error["@type"]


def refusal(peer: Peer, target: str, rows: list[dict[str, Any]]) -> str:
    code, message, type_ = error_of(insert(peer, target, rows))
    assert (code, type_) == (40000, "InsertError")
    return message


# ── queries ──────────────────────────────────────────────────────────────────────────────────


def test_vector_39_a_push_query_with_a_limit_shows_types_and_ends(
    peer: Peer, structured: str
) -> None:
    insert(peer, structured, [row(0), row(1), row(2)])
    names = ", ".join(NAMES)
    sql = f"SELECT {names} FROM {structured} EMIT CHANGES LIMIT 2;"
    header, rows = query(peer, sql, offset="earliest")
    assert (header["columnNames"], header["columnTypes"]) == (NAMES, TYPES)
    assert rows == [shown(0), shown(1)]


def test_vector_43_a_push_query_without_a_limit_ends_when_it_is_closed(
    peer: Peer, structured: str
) -> None:
    insert(peer, structured, [row(0)])
    stream = open_query(peer, f"SELECT LONG FROM {structured} EMIT CHANGES;", offset="earliest")
    query_id = header_of(stream)["queryId"]
    stream.read_lines(2)
    assert ask(peer, "POST", "/close-query", {"queryId": query_id}).status == 200
    stream.read_to_end()
    assert records(stream)[1:] == [[0]]
    live = ksql(peer, "LIST QUERIES;")[0]["queries"]
    assert query_id not in [entry["id"] for entry in live]


def test_vector_44_a_pull_query_has_its_own_kind_of_id_and_its_key_first(
    peer: Peer, structured: str
) -> None:
    insert(peer, structured, [row(0)])
    header, rows = query(peer, f"SELECT * FROM {structured};")
    assert header["queryId"].startswith("query_")
    assert (header["columnNames"][0], header["columnTypes"][0]) == ("K", TYPES[0])
    assert rows[0][: len(NAMES)] == shown(0)


def test_vector_53_from_the_latest_offset_only_later_rows_come(peer: Peer, structured: str) -> None:
    insert(peer, structured, [row(0)])
    names = ", ".join(NAMES)
    sql = f"SELECT {names}, COMPLEX FROM {structured} EMIT CHANGES LIMIT 1;"
    stream = open_query(peer, sql, offset="latest")
    header_of(stream)
    insert(peer, structured, [row(1, DEC="-10.50", BYTES_="/+8=")])
    stream.read_to_end()
    (found,) = records(stream)[1:]
    assert (found[2], found[3], found[4]) == (1, -10.5, "/+8=")
    assert found[-1] == row(1)["COMPLEX"]
    assert b"-10.50" in stream.body, "a DECIMAL keeps its scale (§1.6)"


# ── inserts ──────────────────────────────────────────────────────────────────────────────────


def test_vector_45_ten_rows_are_acked(peer: Peer, structured: str) -> None:
    body = json.dumps({"target": structured, "properties": {}}).encode() + b"\n"
    body += b"".join(json.dumps(row(number)).encode() + b"\n" for number in range(10))
    stream = peer.open("POST", "/inserts-stream")
    stream.send(body, end=True)
    stream.read_to_end()
    assert records(stream) == acks(0, 10)


@pytest.mark.parametrize("key", [{}, {"K": None}])
def test_vector_46_a_row_without_its_key_is_refused(
    peer: Peer, structured: str, key: dict[str, None]
) -> None:
    bad = {name: value for name, value in row(0).items() if name != "K"} | key
    assert refusal(peer, structured, [bad]) == "Key field must be specified: K"


def test_vector_47_a_key_of_another_type_is_refused(peer: Peer, structured: str) -> None:
    message = refusal(peer, structured, [row(0, K="text")])
    assert message.startswith(
        f"Can't coerce a field of type class java.lang.String into type {TYPES[0]}"
    )


def test_vector_48_a_value_of_another_type_is_refused(peer: Peer, structured: str) -> None:
    message = refusal(peer, structured, [row(0, LONG="not a number")])
    assert message.startswith(
        "Can't coerce a field of type class java.lang.String into type BIGINT"
    )


def test_vector_49_a_missing_value_is_null(peer: Peer, structured: str) -> None:
    missing = {name: value for name, value in row(0).items() if name != "LONG"}
    assert insert(peer, structured, [missing]) == acks(0, 1)
    assert query(peer, f"SELECT LONG FROM {structured};").rows == [[None]]


def test_vector_50_names_fold_everywhere_but_in_maps(peer: Peer, structured: str) -> None:
    folded = {name.lower(): value for name, value in row(0).items()}
    folded |= {"k": {"f1": ["key 0"]}, "struct": {"f1": 3}}
    assert insert(peer, structured.lower(), [folded]) == acks(0, 1)
    assert query(peer, f"SELECT {', '.join(NAMES)} FROM {structured};").rows == [shown(0)]


@pytest.mark.parametrize("name", ["`k`", '"k"'])
def test_vector_52_a_quoted_column_name_is_taken_as_it_is(
    peer: Peer, structured: str, name: str
) -> None:
    quoted = {name if column == "K" else column: value for column, value in row(0).items()}
    assert refusal(peer, structured, [quoted]) == "Key field must be specified: K"


# ── coercion ─────────────────────────────────────────────────────────────────────────────────


def coerced(peer: Peer, type_: str, value: Any) -> Any:
    """What is read back of a value that went into a column of this type; or the refusal."""
    name = unique("COERCED")
    properties = f"kafka_topic='{name.lower()}', timestamp='AT', ack='queryable'"
    ksql(peer, f"CREATE STREAM {name} (V {type_}, AT TIMESTAMP) WITH ({properties});")
    (line,) = insert(peer, name, [{"V": value, "AT": "2024-01-01"}])
    if line["status"] != "ok":
        return line["message"]
    return query(peer, f"SELECT V FROM {name};").rows[0][0]


def assert_refused(peer: Peer, type_: str, *values: Any) -> None:
    for value in values:
        message = coerced(peer, type_, value)
        assert isinstance(message, str)
        assert message.startswith("Can't coerce a field of type class "), (value, message)
    assert coerced(peer, type_, None) is None, "nulls go into every column"


def test_vector_72_booleans(peer: Peer) -> None:
    assert_refused(peer, "BOOLEAN", "true", 1, 1.0)
    assert coerced(peer, "BOOLEAN", True) is True


def test_vector_73_integers(peer: Peer) -> None:
    assert_refused(peer, "INTEGER", 1 << 31, 1.0, "1", True)
    assert coerced(peer, "INTEGER", -(1 << 31)) == -(1 << 31)


def test_vector_74_bigints(peer: Peer) -> None:
    assert_refused(peer, "BIGINT", 1.0, "1", False)
    for value in (1, (1 << 63) - 1, -(1 << 63)):
        assert coerced(peer, "BIGINT", value) == value


def test_vector_75_decimals(peer: Peer) -> None:
    assert_refused(peer, "DECIMAL(2, 1)", 1234, True)
    for value in (1, "1.0", 1.0):
        assert coerced(peer, "DECIMAL(2, 1)", value) == 1.0


def test_vector_76_doubles(peer: Peer) -> None:
    assert_refused(peer, "DOUBLE", "1", "NaN", True)
    for value in (1, (1 << 53) - 1, 1.5):
        assert coerced(peer, "DOUBLE", value) == value


def test_vector_77_containers(peer: Peer) -> None:
    assert_refused(peer, "ARRAY<INTEGER>", {}, 1, "[]", ["1"], [1.0])
    assert_refused(peer, "MAP<STRING, INTEGER>", [], {"a": "1"})
    assert_refused(peer, "STRUCT<F INTEGER>", [], 1, {"F": "1"})
    assert coerced(peer, "ARRAY<INTEGER>", [1, None]) == [1, None]
    assert coerced(peer, "MAP<STRING, INTEGER>", {"a": 1, "b": None}) == {"a": 1, "b": None}
    nested = {"F": 1, "G": [{"H": None}]}
    assert coerced(peer, "STRUCT<F INTEGER, G ARRAY<STRUCT<H STRING>>>", nested) == nested


def test_vector_78_fields_fold_and_map_keys_do_not(peer: Peer) -> None:
    assert coerced(peer, "STRUCT<FOO INTEGER>", {"foo": 2}) == {"FOO": 2}
    assert coerced(peer, "STRUCT<`foo` INTEGER>", {"foo": 2}) == {"foo": None}
    assert coerced(peer, "STRUCT<`foo` INTEGER>", {"`foo`": 2}) == {"foo": 2}
    assert coerced(peer, "MAP<STRING, INTEGER>", {"foo": 2, "`Bar`": 3}) == {"foo": 2, "`Bar`": 3}


# ── clients ──────────────────────────────────────────────────────────────────────────────────


def test_vector_37_the_servers_identity_needs_no_credentials(peer: Peer) -> None:
    assert ask(peer, "GET", "/v1/metadata/id").status == 200


def test_vector_94_one_row_of_mixed_quoting_is_read_back(java: JavaClient) -> None:
    name = unique("MIXED")
    properties = f"kafka_topic='{name.lower()}', timestamp='AT', ack='queryable'"
    columns = "K STRING KEY, LONG BIGINT, DEC DECIMAL(4, 2), T TIME, U TIME, AT TIMESTAMP"
    java.execute_statement(f"CREATE STREAM {name} ({columns}) WITH ({properties});")
    mixed = {"k": "key", "`LONG`": 11, '"DEC"': "1.10", "t": "00:00:01", "U": "00:00"}
    java.insert_into(name, mixed | {"AT": "2024-01-01"})
    found = java.execute_query(f"SELECT K, LONG, DEC, T, U FROM {name};")
    assert found.read_to_end() == [["key", 11, 1.1, "00:00:01", "00:00"]]


def test_vector_97_a_plain_request_reads_the_state_of_the_server(java: JavaClient) -> None:
    status, body = java.send("GET", "/info", {})
    assert (status, json.loads(body)["KsqlServerInfo"]["serverStatus"]) == (200, "RUNNING")


def test_own_vector_f_an_error_ack_while_the_client_still_sends_is_told_as_such(
    java: JavaClient,
) -> None:
    name = unique("BUSY")
    java.execute_statement(f"CREATE STREAM {name} (ID BIGINT) WITH (kafka_topic='{name}');")
    publisher = java.stream_inserts(name)
    publisher.accept([{"ID": "bad"}])
    with pytest.raises(ClientFailure, match="sequence number: 0"):
        publisher.wait()
    publisher.accept([{"ID": number} for number in range(150)])
    publisher.complete()
    java.server_info()
    assert java.peer.goaway is None
