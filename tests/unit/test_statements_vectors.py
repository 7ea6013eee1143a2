"""The vectors of the protocol notes §8 that concern statements, each a test named after it.

Replies are read as strictly as the Java client reads them (§6.3): `java_reads`.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest

from protocol.entities import Entity
from protocol.errors import BadStatement, KsqlError
from protocol.statements import PullQuery, parse_query, parse_statements
from protocol.types import Base
from tests.unit.catalog_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def java_reads(world: World, text: str) -> Entity:
    """The one entity of the reply, as the client finds it: an array of exactly one object."""
    document = orjson.loads(orjson.dumps(await world.run(text)))
    assert isinstance(document, list)
    (entity,) = document
    assert isinstance(entity, dict)
    assert isinstance(entity["statementText"], str)
    assert all(isinstance(one["message"], str) for one in entity["warnings"])
    return entity


async def java_fails(world: World, text: str) -> dict[str, Any]:
    """The body of an error: an object with a message and a code, and a status that is not 200."""
    with pytest.raises(KsqlError) as caught:
        await world.run(text)
    assert caught.value.status != 200
    document: dict[str, Any] = orjson.loads(caught.value.body())
    assert isinstance(document["message"], str)
    assert isinstance(document["error_code"], int)
    assert isinstance(document["@type"], str)
    return document


def java_type(schema: dict[str, Any]) -> str:
    """A type that the client knows: any other one makes it hang."""
    assert schema["type"] in set(Base)
    return str(schema["type"])


def refused(read: Any, text: str) -> BadStatement:
    with pytest.raises(BadStatement) as caught:
        read(text)
    return caught.value


def test_vector_2_pull_query_with_variable_substitution() -> None:
    text = "select * from ${name} where rowkey='1234';"
    assert parse_query(text, {"name": "foo"}) == PullQuery("select * from foo where rowkey='1234'")


@pytest.mark.parametrize("text", ["select from where;;", "nonsense", "SELECT 'a"])
def test_vector_13_invalid_query(text: str) -> None:
    error = refused(parse_query, text)
    assert (error.status, error.code) == (400, 40001)


async def test_vector_30_show_streams_is_an_array_of_json(world: World) -> None:
    entity = await java_reads(world, "show streams;")
    assert entity["@type"] == "streams"


def test_vector_40_fail_push_query_with_invalid_sql() -> None:
    text = "SLECTT * from X EMIT CHANGES;"
    for read in (parse_query, parse_statements):
        assert refused(read, text).document() == {
            "@type": "statement_error",
            "error_code": 40001,
            "message": "line 1:1: Syntax Error\nUnknown statement 'SLECTT'\n"
            f"Did you mean 'SELECT'?\nStatement: {text}",
            "statementText": text,
            "entities": [],
        }


def test_vector_41_more_than_one_statement() -> None:
    for text in ("SELECT 1; SELECT 2;", "SELECT * FROM S EMIT CHANGES; SELECT * FROM S;"):
        message = refused(parse_query, text).message
        assert message == "Expected exactly one KSQL statement; found 2 instead"


def test_vector_42_fail_push_with_non_query() -> None:
    text = "CREATE STREAM SOME_STREAM AS SELECT * FROM S EMIT CHANGES;"
    assert refused(parse_query, text).message == "Neither a query nor a print statement"


@pytest.mark.parametrize("quoted", ["`structured_types`", '"structured_types"'])
async def test_vector_51_target_case_sensitive(world: World, quoted: str) -> None:
    await world.run("CREATE STREAM STRUCTURED_TYPES (a INT);")
    document = await java_fails(world, f"INSERT INTO {quoted} VALUES (1);")
    assert document["error_code"] == 40001
    assert document["message"].startswith(
        "Cannot insert values into an unknown stream/table: `structured_types`\n"
        "Did you mean STRUCTURED_TYPES? Hint: try removing double quotes from the source name."
    )


def test_vectors_54_to_56_print_is_refused_with_what_to_do_instead() -> None:
    error = refused(parse_query, "PRINT NON_EXISTING_TOPIC;")
    assert error.code == 40001
    assert "EMIT CHANGES" in error.message


async def test_vector_88_execute_statement_with_and_without_query_id(world: World) -> None:
    plain = await java_reads(world, "CREATE STREAM x (a INT) WITH (a=1);")
    task = await java_reads(world, "INSERT INTO ds SELECT 1 PARTITIONED BY DAY;")
    for entity in (plain, task):
        assert isinstance(entity["commandId"], str)
        assert entity["commandStatus"]["status"] in {"SUCCESS", "RUNNING"}
        assert isinstance(entity["commandSequenceNumber"], int)
    assert plain["commandStatus"]["queryId"] is None
    assert task["commandStatus"]["queryId"] == "query-1"


async def test_vector_89_if_not_exists_warning(world: World) -> None:
    await world.run("CREATE STREAM s (a INT);")
    entity = await java_reads(world, "CREATE STREAM IF NOT EXISTS s (a INT);")
    assert entity["@type"] == "warning_entity"
    assert entity["message"].startswith("Cannot add stream")


async def test_vector_90_list_streams_and_tables(world: World) -> None:
    await world.run("CREATE STREAM s (a INT); CREATE TABLE t (k INT PRIMARY KEY, a INT);")
    for text, name, kind in [
        ("list streams;", "streams", "STREAM"),
        ("list tables;", "tables", "TABLE"),
    ]:
        (one,) = (await java_reads(world, text))[name]
        assert one["type"] == kind
        assert all(isinstance(one[key], str) for key in ("name", "topic"))
        assert (one["keyFormat"], one["valueFormat"]) == ("KAFKA", "JSON")
        assert one["isWindowed"] is False


async def test_vector_91_list_topics(world: World) -> None:
    entity = await java_reads(world, "list topics;")
    assert entity["topics"] == [{"name": "flights", "replicaInfo": [1]}]


async def test_vector_91_list_queries(world: World) -> None:
    entity = await java_reads(world, "list queries;")
    for query in entity["queries"]:
        assert query["queryType"] == "PUSH"
        assert query["sinks"] == query["sinkKafkaTopics"] == []
        assert isinstance(query["id"], str)
        assert isinstance(query["queryString"], str)


async def test_vector_91_describe_source(world: World) -> None:
    types = "INT, b DECIMAL(4, 2), c ARRAY<STRUCT<d TIME>>, e MAP<STRING, BYTES>, f DATE"
    await world.run(f"CREATE STREAM s (k STRING KEY, a {types}) WITH (kafka_topic='t');")
    description = (await java_reads(world, "describe s;"))["sourceDescription"]
    strings = ("name", "type", "topic", "keyFormat", "valueFormat", "timestamp", "statement")
    assert all(isinstance(description[key], str) for key in strings)
    assert description["windowType"] is None
    lists = ("readQueries", "writeQueries", "sourceConstraints")
    assert all(description[key] == [] for key in lists)
    fields = description["fields"]
    assert [java_type(field["schema"]) for field in fields] == [
        *("STRING", "INTEGER", "DECIMAL", "ARRAY", "MAP", "DATE")
    ]
    assert [field.get("type") for field in fields] == ["KEY", None, None, None, None, None]


async def test_vector_91_connectors(world: World) -> None:
    assert (await java_reads(world, "list connectors;"))["connectors"] == []
    dropped = await java_reads(world, "drop connector if exists c;")
    assert "not exist" in dropped["message"]
    for text in (
        "CREATE SOURCE CONNECTOR IF NOT EXISTS n WITH ('k'='v');",
        "CREATE SOURCE CONNECTOR  n WITH ('k'='v');",
        "drop connector n;",
        "describe connector n;",
    ):
        document = await java_fails(world, text)
        assert document["error_code"] == 40001
        assert "there are no connectors here" in document["message"]


async def test_vector_91_assert_topic_and_schema(world: World) -> None:
    entity = await java_reads(
        world, "assert topic 'flights' with (partitions=1) timeout 7 seconds;"
    )
    assert entity["topicName"] == "flights"
    assert entity["exists"] is True
    absent = await java_reads(world, "assert not exists topic 'nope' timeout 7 seconds;")
    assert absent["exists"] is False
    failed = await java_fails(world, "assert topic 'nope' timeout 7 seconds;")
    assert failed["error_code"] == 41700
    schema = await java_fails(world, "assert not exists schema subject 's' id 3 timeout 7 seconds;")
    assert schema["error_code"] == 42801


async def test_appendix_c_what_is_not_served_is_a_statement_error(world: World) -> None:
    for text in ("PAUSE q;", "CREATE STREAM a AS SELECT * FROM b;", "INSERT INTO a SELECT 1;"):
        document = await java_fails(world, text)
        assert document["@type"] == "statement_error"
        assert document["error_code"] == 40001
        assert " is not supported by this gateway: " in document["message"]
        assert document["statementText"] == text
        assert document["entities"] == []
