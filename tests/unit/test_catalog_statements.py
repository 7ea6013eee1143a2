"""Whole /ksql requests against a catalogue on disk."""

from pathlib import Path

import orjson
import pytest

from protocol.errors import BadStatement, QueryOnKsql, WarehouseAway
from protocol.properties import DEFAULTS
from tests.unit.catalog_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_several_statements_give_an_entity_each(world: World) -> None:
    create = "CREATE STREAM ${n} (a INT KEY, ts BIGINT) WITH (kafka_topic='t', timestamp='ts');"
    done = await world.run(
        f"{create} SET 'a'='b'; LIST STREAMS; LIST TABLES; LIST TOPICS; DESCRIBE s;", {"n": "s"}
    )
    assert [entity["@type"] for entity in done] == [
        "currentStatus",
        "streams",
        "tables",
        "kafka_topics",
        "sourceDescription",
    ]
    created, streams, tables, topics, described = done
    assert created["commandId"] == "stream/`S`/create"
    assert created["commandStatus"] == {
        "status": "SUCCESS",
        "message": "Stream created",
        "queryId": None,
    }
    assert created["commandSequenceNumber"] == 1
    assert [entry["name"] for entry in streams["streams"]] == ["S"]
    assert tables["tables"] == []
    assert [topic["name"] for topic in topics["topics"]] == ["flights", "t"]
    description = described["sourceDescription"]
    assert description["statement"] == create.replace("${n}", "s")
    assert description["timestamp"] == "TS"
    assert [field["name"] for field in description["fields"]] == ["A", "TS"]
    assert orjson.loads(orjson.dumps(done)) == done


async def test_an_empty_text_and_set_answer_an_empty_array(world: World) -> None:
    assert await world.run("") == []
    assert await world.run("SET 'auto.offset.reset'='earliest'; UNSET 'x';") == []


async def test_a_failing_statement_carries_the_entities_before_it(world: World) -> None:
    with pytest.raises(BadStatement) as caught:
        await world.run("LIST TABLES; DROP STREAM nope; LIST STREAMS;")
    assert [entity["@type"] for entity in caught.value.entities] == ["tables"]
    assert caught.value.statement == "DROP STREAM nope;"
    document = caught.value.document()
    assert document["message"] == ("Source `NOPE` does not exist.\nStatement: DROP STREAM nope;")


async def test_nothing_runs_of_a_text_that_cannot_be_read_whole(world: World) -> None:
    with pytest.raises(BadStatement):
        await world.run("CREATE STREAM s (a INT); CREATE STREM t (a INT);")
    with pytest.raises(QueryOnKsql):
        await world.run("CREATE STREAM s (a INT); SELECT 1;")
    assert world.catalog.all_declared() == []


async def test_if_not_exists_answers_a_warning_that_the_java_client_knows(world: World) -> None:
    await world.run("CREATE STREAM s (a INT);")
    (warned,) = await world.run("CREATE STREAM IF NOT EXISTS s (a INT);")
    assert warned["@type"] == "warning_entity"
    assert warned["message"].startswith("Cannot add stream `S`")
    (replaced,) = await world.run("CREATE OR REPLACE STREAM s (a INT);")
    assert replaced["commandStatus"]["message"] == "Stream replaced"


async def test_drop_says_what_it_did_and_that_rows_stay(world: World) -> None:
    await world.run("CREATE TABLE s (a INT) WITH (kafka_topic='t');")
    (dropped,) = await world.run("DROP TABLE s DELETE TOPIC;")
    assert dropped["commandStatus"]["message"] == "Source `S` (topic: t) was dropped."
    assert dropped["commandId"] == "table/`S`/drop"
    assert "keeps its rows" in dropped["warnings"][0]["message"]
    (absent,) = await world.run("DROP TABLE IF EXISTS s;")
    assert absent["commandStatus"]["message"] == "Source `S` does not exist."
    assert absent["warnings"] == []


async def test_describe_finds_a_datasource_that_was_not_declared(world: World) -> None:
    (described,) = await world.run("DESCRIBE flights EXTENDED;")
    description = described["sourceDescription"]
    assert description["name"] == description["topic"] == "flights"
    assert description["extended"] is True
    assert [field["schema"]["type"] for field in description["fields"]] == ["TIMESTAMP", "STRING"]
    with pytest.raises(BadStatement, match="There is no stream, table or datasource nope"):
        await world.run("DESCRIBE nope;")


async def test_formats_and_counts_are_echoed(world: World) -> None:
    await world.run(
        "CREATE STREAM s (a INT) WITH (format='AVRO', key_format='JSON', partitions=6, replicas=x);"
    )
    ((described),) = await world.run("LIST STREAMS EXTENDED;")
    (one,) = described["sourceDescriptions"]
    assert (one["keyFormat"], one["valueFormat"]) == ("JSON", "AVRO")
    assert (one["partitions"], one["replication"]) == (6, 1)


async def test_queries_are_listed_and_terminated(world: World) -> None:
    (listed,) = await world.run("LIST QUERIES;")
    assert [query["id"] for query in listed["queries"]] == ["q-1", "LOUD"]
    done = await world.run("TERMINATE q-1; TERMINATE loud;")
    assert [entity["queryId"] for entity in done] == ["q-1", "LOUD"]
    assert all(entity["wasTerminated"] for entity in done)
    with pytest.raises(BadStatement, match="Unknown queryId: q-1"):
        await world.run("TERMINATE q-1;")
    world.live = ["a", "b"]
    (every,) = await world.run("TERMINATE ALL;")
    assert every["wasTerminated"] is True
    assert world.live == []


async def test_properties_are_listed(world: World) -> None:
    (listed,) = await world.run(
        "SET 'ksql.lambdas.enabled'='x'; SET 'gone'='1'; UNSET 'gone'; SHOW PROPERTIES;",
        None,
        {"auto.offset.reset": "earliest", "flag": True},
    )
    values = {entry["name"]: entry["value"] for entry in listed["properties"]}
    own = {"ksql.lambdas.enabled": "x", "auto.offset.reset": "earliest", "flag": "true"}
    assert values == {**DEFAULTS, "headrace.version": "1", **own}
    assert listed["overwrittenProperties"] == sorted(own)


async def test_an_outage_is_told_as_503(world: World) -> None:
    world.away = True
    with pytest.raises(WarehouseAway) as caught:
        await world.run("LIST TOPICS;")
    assert caught.value.status == 503
