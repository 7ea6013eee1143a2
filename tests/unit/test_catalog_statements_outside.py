"""/ksql requests that reach the warehouse: rows, tasks, plans, assertions."""

from pathlib import Path

import pytest

from gateway.seams import UNASKED, QueryRefused, SubmissionRefused, WarehouseUnreachable
from protocol.assertions import AssertionFailed, NoSchemaRegistry
from protocol.errors import BadStatement, RowRejected, WarehouseAway
from tests.unit.catalog_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# ── rows and tasks ───────────────────────────────────────────────────────────────────────────


async def test_insert_values_hands_rows_on_and_answers_nothing(world: World) -> None:
    done = await world.run(
        "CREATE STREAM `s t` (k STRING KEY, n INT); INSERT INTO `s t` VALUES ('a', 1), ('b', 2);"
        "INSERT INTO FLIGHTS (origin, __time) VALUES ('VIE', '2020-01-01T00:00:00');"
    )
    assert [entity["@type"] for entity in done] == ["currentStatus"]
    assert world.inserted == [
        ("`s t`", [{"K": "a", "N": 1}, {"K": "b", "N": 2}]),
        ("`flights`", [{"__time": "2020-01-01T00:00:00", "origin": "VIE"}]),
    ]


async def test_an_insert_that_cannot_be_is_a_bad_statement_with_the_entities_so_far(
    world: World,
) -> None:
    await world.run("CREATE STREAM s (k STRING);")
    with pytest.raises(BadStatement, match="Cannot insert values into an unknown stream/table"):
        await world.run("INSERT INTO nope VALUES (1);")
    with pytest.raises(BadStatement, match="into type STRING"):
        await world.run("INSERT INTO s VALUES ('a'), (1);")
    assert world.inserted == []
    world.refusal = RowRejected("Row is larger than the limit")
    with pytest.raises(BadStatement) as caught:
        await world.run("LIST STREAMS; INSERT INTO s VALUES ('a');")
    assert caught.value.message == "Row is larger than the limit"
    assert [entity["@type"] for entity in caught.value.entities] == ["streams"]
    world.refusal = WarehouseUnreachable()
    with pytest.raises(WarehouseAway):
        await world.run("INSERT INTO s VALUES ('a');")
    world.refusal = None


async def test_a_task_is_answered_with_an_id_whose_status_can_be_asked(world: World) -> None:
    sql = 'INSERT INTO "ds"\nSELECT * FROM `s` -- all\nPARTITIONED BY DAY'
    (started,) = await world.run(f"{sql};")
    assert world.tasks == [sql]
    assert started["@type"] == "currentStatus"
    assert started["commandId"] == "stream/query-1/execute"
    assert started["commandStatus"]["status"] == "RUNNING"
    assert started["commandStatus"]["queryId"] == "query-1"
    status = await world.runner.status(started["commandId"], UNASKED)
    assert status is not None
    assert status["status"] == "SUCCESS"


async def test_what_the_warehouse_says_of_a_task_is_told(world: World) -> None:
    sql = "REPLACE INTO ds OVERWRITE ALL SELECT 1 PARTITIONED BY ALL;"
    for refusal in (QueryRefused("no such table"), SubmissionRefused("no such table")):
        world.refusal = refusal
        with pytest.raises(BadStatement, match="no such table"):
            await world.run(sql)
    world.refusal = WarehouseUnreachable("lost")
    with pytest.raises(WarehouseAway, match="look at Druid's tasks"):
        await world.run(sql)
    assert await world.runner.statuses(UNASKED) == {}


async def test_without_a_way_to_the_warehouse_the_refusal_says_what_to_do(world: World) -> None:
    bare = world.bare()
    for text, instead in [
        ("INSERT INTO flights VALUES (1);", "/inserts-stream"),
        ("INSERT INTO ds SELECT 1 PARTITIONED BY DAY;", "runs no SQL tasks"),
        ("EXPLAIN SELECT 1;", "run the query itself"),
    ]:
        with pytest.raises(BadStatement) as caught:
            await bare.run(text, None, None, UNASKED)
        assert "is not supported by this gateway: " in caught.value.message
        assert instead in caught.value.message


async def test_statuses_of_declarations_are_kept(world: World) -> None:
    await world.run("CREATE STREAM s (a INT); DROP STREAM s;")
    assert await world.runner.statuses(UNASKED) == {
        "stream/`S`/create": "SUCCESS",
        "stream/`S`/drop": "SUCCESS",
    }
    assert await world.runner.status("stream/S/create", UNASKED) == {
        "status": "SUCCESS",
        "message": "Stream created",
        "queryId": None,
    }
    assert await world.runner.status("stream/X/create", UNASKED) is None


# ── lists and plans ──────────────────────────────────────────────────────────────────────────


async def test_variables_are_listed_as_they_stand_at_that_point(world: World) -> None:
    done = await world.run(
        "SHOW VARIABLES; DEFINE a = 'x'; DEFINE B = '${A}y'; SHOW VARIABLES; UNDEFINE b;"
        "UNDEFINE b; SHOW VARIABLES;",
        {"n": 1},
    )
    listed = [entity["variables"] for entity in done if entity["@type"] == "variables"]
    n, a, b = ({"name": k, "value": v} for k, v in (("n", "1"), ("a", "x"), ("B", "xy")))
    assert listed == [[n], [a, b, n], [a, n]]
    (warned,) = (entity for entity in done if entity["@type"] == "warning_entity")
    assert warned["message"] == "Variable 'b' was never defined."


async def test_functions_are_those_of_push_queries(world: World) -> None:
    (listed,) = await world.run("LIST FUNCTIONS;")
    categories = {entry["name"]: entry["category"] for entry in listed["functions"]}
    assert categories["UCASE"] == "OTHERS"
    assert categories["ABS"] == "MATHEMATICAL"
    assert {entry["type"] for entry in listed["functions"]} == {"SCALAR"}
    assert "Druid SQL" in listed["warnings"][0]["message"]


async def test_what_there_is_none_of_is_an_empty_list(world: World) -> None:
    done = await world.run("LIST TYPES; LIST CONNECTORS; LIST CONNECTOR PLUGINS;")
    types, connectors, plugins = done
    assert types["types"] == {}
    assert connectors["connectors"] == plugins["connectorPlugins"] == []


async def test_a_pull_query_is_explained_in_the_warehouses_words(world: World) -> None:
    await world.run("CREATE STREAM s (a INT) WITH (kafka_topic='ds');")
    (explained,) = await world.run("EXPLAIN SELECT a FROM s;")
    description = explained["queryDescription"]
    assert description["executionPlan"] == 'plan of SELECT "A" FROM "ds"'
    assert description["statementText"] == "SELECT a FROM s"
    assert description["sources"] == ["S"]
    assert (description["queryType"], description["state"]) == ("PULL", None)
    world.refusal = QueryRefused("no such column")
    with pytest.raises(BadStatement, match="no such column"):
        await world.run("EXPLAIN SELECT a FROM s;")
    world.refusal = WarehouseUnreachable("lost")
    with pytest.raises(WarehouseAway):
        await world.run("EXPLAIN SELECT a FROM s;")


async def test_a_push_query_is_explained_by_its_text_or_its_id(world: World) -> None:
    (explained,) = await world.run("EXPLAIN SELECT origin FROM flights EMIT CHANGES;")
    assert "datasource flights" in explained["queryDescription"]["executionPlan"]
    (live,) = await world.run("EXPLAIN loud;")
    assert live["queryDescription"]["id"] == "LOUD"
    assert live["queryDescription"]["queryType"] == "PUSH"
    (listed,) = await world.run("LIST QUERIES EXTENDED;")
    assert [one["id"] for one in listed["queryDescriptions"]] == ["q-1", "LOUD"]
    with pytest.raises(BadStatement, match="No query with id nope is live"):
        await world.run("EXPLAIN nope;")
    with pytest.raises(BadStatement, match="reads one stream by its name"):
        await world.run("EXPLAIN SELECT * FROM nope EMIT CHANGES;")


async def test_a_connector_that_may_be_absent_is_dropped_with_a_warning(world: World) -> None:
    (warned,) = await world.run("drop connector if exists c;")
    assert warned["@type"] == "warning_entity"
    assert warned["message"].startswith("Connector `C` does not exist")


# ── assertions ───────────────────────────────────────────────────────────────────────────────


async def test_a_topic_that_exists_is_asserted(world: World) -> None:
    await world.run("CREATE STREAM s (a INT) WITH (kafka_topic='t', partitions=6);")
    done = await world.run(
        "ASSERT TOPIC flights; ASSERT TOPIC 't' WITH (partitions=6, replicas=1);"
        "ASSERT NOT EXISTS TOPIC nope;"
    )
    assert [(one["topicName"], one["exists"]) for one in done] == [
        ("flights", True),
        ("t", True),
        ("NOPE", False),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ASSERT TOPIC nope;", "Topic NOPE does not exist"),
        ("ASSERT NOT EXISTS TOPIC 'flights';", "Topic flights exists"),
        ("ASSERT TOPIC flights WITH (partitions=2);", "Topic flights has PARTITIONS 1, not 2"),
        ("ASSERT TOPIC flights WITH (x=2);", "only PARTITIONS and REPLICAS"),
        ("ASSERT TOPIC `FLIGHTS`;", "Topic FLIGHTS does not exist"),
        ("ASSERT STREAM s;", "Stream `S` does not exist"),
        ("ASSERT STREAM k;", "Stream `K` does not exist"),
        ("ASSERT NOT EXISTS TABLE k;", "Table `K` exists"),
        ("ASSERT TABLE k (a STRING);", "Table `K` has other columns: `A` INTEGER"),
        ("ASSERT TABLE k WITH (kafka_topic='x');", "has property KAFKA_TOPIC unset, not x"),
    ],
)
async def test_an_assertion_that_fails_is_417(world: World, text: str, problem: str) -> None:
    await world.run("CREATE TABLE k (a INT PRIMARY KEY);")
    with pytest.raises(AssertionFailed) as caught:
        await world.run(text)
    assert problem in caught.value.message
    assert (caught.value.status, caught.value.code) == (417, 41700)
    assert caught.value.document()["@type"] == "generic_error"
    assert world.now_s == pytest.approx(1.0)


async def test_an_assertion_waits_for_its_time(world: World) -> None:
    world.later = ["late"]
    (held,) = await world.run("ASSERT TOPIC late TIMEOUT 10 SECONDS;")
    assert held["topicName"] == "late"
    assert 3.0 < world.now_s < 6.0
    with pytest.raises(AssertionFailed):
        await world.run("ASSERT TOPIC never TIMEOUT 0 SECONDS;")
    assert world.now_s < 6.0


async def test_a_source_is_asserted_by_its_kind_columns_and_properties(world: World) -> None:
    await world.run("CREATE STREAM s (a INT KEY, b STRING) WITH (kafka_topic='t');")
    done = await world.run(
        "ASSERT STREAM s (a INTEGER KEY, b VARCHAR) WITH (kafka_topic='t'); ASSERT STREAM s;"
        "ASSERT NOT EXISTS TABLE s; ASSERT NOT EXISTS STREAM t;"
    )
    assert {one["@type"] for one in done} == {"currentStatus"}
    assert done[0]["commandId"] == "stream/`S`/assert"


async def test_an_asserted_schema_is_428(world: World) -> None:
    with pytest.raises(NoSchemaRegistry) as caught:
        await world.run("ASSERT SCHEMA SUBJECT 's' TIMEOUT 1 SECONDS;")
    assert (caught.value.status, caught.value.code) == (428, 42801)


async def test_a_windowed_source_is_refused_with_what_to_do_instead(world: World) -> None:
    with pytest.raises(BadStatement, match="TIME_FLOOR"):
        await world.run("CREATE TABLE w (a INT PRIMARY KEY) WITH (window_type='session');")
