"""Entities of /ksql, byte for byte where a strict client reads them (§1.8, Appendix D)."""

import orjson
import pytest

from protocol import entities
from protocol.entities import Entity, LiveQuery, SourceEntry
from protocol.types import Column, parse_type

ENTRY = SourceEntry(kind="STREAM", name="S", topic="t")


@pytest.mark.parametrize(
    ("entity", "expected"),
    [
        (
            entities.streams("list streams;", [ENTRY]),
            b'{"@type":"streams","statementText":"list streams;","streams":[{"type":"STREAM",'
            b'"name":"S","topic":"t","keyFormat":"KAFKA","valueFormat":"JSON",'
            b'"isWindowed":false}],"warnings":[]}',
        ),
        (
            entities.tables("list tables;", []),
            b'{"@type":"tables","statementText":"list tables;","tables":[],"warnings":[]}',
        ),
        (
            entities.kafka_topics("list topics;", ["t"]),
            b'{"@type":"kafka_topics","statementText":"list topics;",'
            b'"topics":[{"name":"t","replicaInfo":[1]}],"warnings":[]}',
        ),
        (
            entities.queries("list queries;", []),
            b'{"@type":"queries","statementText":"list queries;","queries":[],"warnings":[]}',
        ),
        (
            entities.current_status(
                "x;",
                command_id=entities.command_id("STREAM", "X", "create"),
                message="ok",
                sequence=2,
            ),
            b'{"@type":"currentStatus","statementText":"x;","commandId":"stream/`X`/create",'
            b'"commandStatus":{"status":"SUCCESS","message":"ok","queryId":null},'
            b'"commandSequenceNumber":2,"warnings":[]}',
        ),
        (
            entities.warning("x;", "Cannot add"),
            b'{"@type":"warning_entity","statementText":"x;","message":"Cannot add","warnings":[]}',
        ),
        (
            entities.terminate_query("x;", "q1", was_terminated=True),
            b'{"@type":"terminate_query","statementText":"x;","queryId":"q1",'
            b'"wasTerminated":true,"warnings":[]}',
        ),
        (
            entities.kafka_topics("x;", ["t"], extended=True),
            b'{"@type":"kafka_topics_extended","statementText":"x;","topics":[{"name":"t",'
            b'"replicaInfo":[1],"consumerCount":0,"consumerGroupCount":0}],"warnings":[]}',
        ),
        (
            entities.properties("x;", {"b": "2", "a": "1"}, {"b": "3"}),
            b'{"@type":"properties","statementText":"x;","properties":['
            b'{"name":"a","scope":"KSQL","value":"1","editable":false},'
            b'{"name":"b","scope":"KSQL","value":"3","editable":false}],'
            b'"overwrittenProperties":["b"],"defaultProperties":["a"],"warnings":[]}',
        ),
        (
            entities.variables("x;", [("n", "1")]),
            b'{"@type":"variables","statementText":"x;","variables":[{"name":"n","value":"1"}],'
            b'"warnings":[]}',
        ),
        (
            entities.function_names("x;", [("ABS", "MATHEMATICAL")]),
            b'{"@type":"function_names","statementText":"x;","functions":[{"name":"ABS",'
            b'"type":"SCALAR","category":"MATHEMATICAL"}],"warnings":[]}',
        ),
        (
            entities.type_list("x;"),
            b'{"@type":"type_list","statementText":"x;","types":{},"warnings":[]}',
        ),
        (
            entities.connector_list("x;"),
            b'{"@type":"connector_list","statementText":"x;","connectors":[],"warnings":[]}',
        ),
        (
            entities.connector_plugins_list("x;"),
            b'{"@type":"connector_plugins_list","statementText":"x;","connectorPlugins":[],'
            b'"warnings":[]}',
        ),
        (
            entities.assert_topic("x;", "t", exists=True),
            b'{"@type":"assert_topic","statementText":"x;","topicName":"t","exists":true,'
            b'"warnings":[]}',
        ),
        (
            entities.query_description(
                "x;",
                LiveQuery(query_id="", sql="SELECT 1", state=""),
                kind="PULL",
                plan="p",
                sources=["S"],
            ),
            b'{"@type":"queryDescription","statementText":"x;","queryDescription":{"id":"",'
            b'"statementText":"SELECT 1","windowType":null,"fields":[],"sources":["S"],"sinks":[],'
            b'"topology":"","executionPlan":"p","overriddenProperties":{},'
            b'"ksqlHostQueryStatus":{},"queryType":"PULL","queryErrors":[],"tasksMetadata":[],'
            b'"state":null},"warnings":[]}',
        ),
        (
            entities.query_descriptions("x;", []),
            b'{"@type":"query_descriptions","statementText":"x;","queryDescriptions":[],'
            b'"warnings":[]}',
        ),
    ],
)
def test_an_entity_has_its_members_in_order(entity: Entity, expected: bytes) -> None:
    assert orjson.dumps(entity) == expected


def test_a_live_query_is_a_push_query_without_sinks() -> None:
    entity = entities.queries("x;", [LiveQuery(query_id="q1", sql="SELECT 1")])
    assert entity["queries"] == [
        {
            "queryString": "SELECT 1",
            "sinks": [],
            "sinkKafkaTopics": [],
            "id": "q1",
            "statusCount": {"RUNNING": 1},
            "queryType": "PUSH",
            "state": "RUNNING",
        }
    ]


def test_a_description_has_every_member_that_a_strict_client_needs() -> None:
    columns = (
        Column("K", parse_type("STRING"), key=True),
        Column("D", parse_type("DECIMAL(4,2)")),
        Column("L", parse_type("ARRAY<STRUCT<F INTEGER>>")),
        Column("M", parse_type("MAP<STRING, DOUBLE>")),
    )
    entry = SourceEntry(kind="TABLE", name="S", topic="t", columns=columns, statement="CREATE")
    entity = entities.source_description("describe s;", entry, extended=True)
    plain = {"fields": None, "memberSchema": None}
    integer = {"name": "F", "schema": {"type": "INTEGER", **plain}}
    assert entity["sourceDescription"] == {
        "name": "S",
        "windowType": None,
        "readQueries": [],
        "writeQueries": [],
        "fields": [
            {"name": "K", "schema": {"type": "STRING", **plain}, "type": "KEY"},
            {
                "name": "D",
                "schema": {
                    "type": "DECIMAL",
                    **plain,
                    "parameters": {"precision": 4, "scale": 2},
                },
            },
            {
                "name": "L",
                "schema": {
                    "type": "ARRAY",
                    "fields": None,
                    "memberSchema": {"type": "STRUCT", "fields": [integer], "memberSchema": None},
                },
            },
            {
                "name": "M",
                "schema": {
                    "type": "MAP",
                    "fields": None,
                    "memberSchema": {"type": "DOUBLE", **plain},
                },
            },
        ],
        "type": "TABLE",
        "timestamp": "",
        "statistics": "",
        "errorStats": "",
        "extended": True,
        "keyFormat": "KAFKA",
        "valueFormat": "JSON",
        "topic": "t",
        "partitions": 1,
        "replication": 1,
        "statement": "CREATE",
        "queryOffsetSummaries": [],
        "sourceConstraints": [],
    }
    listed = entities.source_descriptions("x;", [entry])
    assert listed["sourceDescriptions"] == [entity["sourceDescription"]]


def test_warnings_are_objects_with_a_message() -> None:
    entity = entities.entity("a", "b;", {}, ["careful"])
    assert entity == {"@type": "a", "statementText": "b;", "warnings": [{"message": "careful"}]}
