"""The JSON entities of ``/ksql`` (§1.8, §6.3): one builder each, members in ksqlDB's order.

Owns: member names, their order, and what a strict client needs present. Every entity carries
``@type``, ``statementText`` and ``warnings``; clients read an array of them, one a statement.
Must never know: where the values come from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protocol.types import Base, Column, SqlType, quote

Entity = dict[str, Any]

DEFAULT_KEY_FORMAT = "KAFKA"
DEFAULT_VALUE_FORMAT = "JSON"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """A stream or table as lists and descriptions show it; ``topic`` is the datasource."""

    kind: str
    name: str
    topic: str
    columns: tuple[Column, ...] = ()
    key_format: str = DEFAULT_KEY_FORMAT
    value_format: str = DEFAULT_VALUE_FORMAT
    timestamp: str = ""
    partitions: int = 1
    replication: int = 1
    statement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveQuery:
    """A query that runs: its id, its text and its kind, PUSH or PULL.

    ``rows_delivered`` since ``since_ms`` (epoch), at ``level``; ``entries_behind`` the end of its
    log. None where there is nothing to tell.
    """

    query_id: str
    sql: str
    kind: str = "PUSH"
    state: str = "RUNNING"
    rows_delivered: int | None = None
    since_ms: int | None = None
    level: str | None = None
    entries_behind: int | None = None

    def progress(self) -> Entity:
        """What is known of its progress: members that ksqlDB does not have."""
        members = {
            "rowsDelivered": self.rows_delivered,
            "sinceMs": self.since_ms,
            "pushAt": self.level,
            "entriesBehind": self.entries_behind,
        }
        return {name: value for name, value in members.items() if value is not None}


def entity(
    type_: str, statement: str, members: Mapping[str, Any], warnings: Iterable[str] = ()
) -> Entity:
    """Any entity: the type and the statement first, the warnings last."""
    return {
        "@type": type_,
        "statementText": statement,
        **members,
        "warnings": [{"message": warning} for warning in warnings],
    }


def current_status(
    statement: str,
    *,
    command_id: str,
    message: str,
    status: str = "SUCCESS",
    sequence: int = -1,
    query_id: str | None = None,
    warnings: Iterable[str] = (),
) -> Entity:
    """``currentStatus``: what became of a statement that changes something."""
    members = {
        "commandId": command_id,
        "commandStatus": command_status(status, message, query_id),
        "commandSequenceNumber": sequence,
    }
    return entity("currentStatus", statement, members, warnings)


def command_status(status: str, message: str, query_id: str | None = None) -> Entity:
    """The status of a command, here and at ``/status/<its id>``.

    ``status`` is QUEUED, PARSING, EXECUTING, RUNNING, TERMINATED, SUCCESS or ERROR.
    """
    return {"status": status, "message": message, "queryId": query_id}


def command_id(kind: str, name: str, action: str) -> str:
    """The id of a command, as in ``stream/`X`/create``."""
    return f"{kind.lower()}/{quote(name)}/{action}"


def streams(statement: str, entries: Iterable[SourceEntry]) -> Entity:
    """``streams``, for LIST STREAMS."""
    return entity("streams", statement, {"streams": [_listed(entry) for entry in entries]})


def tables(statement: str, entries: Iterable[SourceEntry]) -> Entity:
    """``tables``, for LIST TABLES."""
    return entity("tables", statement, {"tables": [_listed(entry) for entry in entries]})


def _listed(entry: SourceEntry) -> Entity:
    return {
        "type": entry.kind,
        "name": entry.name,
        "topic": entry.topic,
        "keyFormat": entry.key_format,
        "valueFormat": entry.value_format,
        "isWindowed": False,
    }


def kafka_topics(statement: str, names: Iterable[str], *, extended: bool = False) -> Entity:
    """``kafka_topics`` or ``kafka_topics_extended``: the datasources, one partition each."""
    counts = {"consumerCount": 0, "consumerGroupCount": 0} if extended else {}
    topics = [{"name": name, "replicaInfo": [1], **counts} for name in names]
    return entity(
        "kafka_topics_extended" if extended else "kafka_topics", statement, {"topics": topics}
    )


def queries(statement: str, live: Iterable[LiveQuery]) -> Entity:
    """``queries``: those that run, push or pull, which have neither sinks nor topics (§6.3)."""
    return entity("queries", statement, {"queries": [_query(query) for query in live]})


def _query(query: LiveQuery) -> Entity:
    return {
        "queryString": query.sql,
        "sinks": [],
        "sinkKafkaTopics": [],
        "id": query.query_id,
        "statusCount": {query.state: 1},
        "queryType": query.kind,
        "state": query.state,
        **query.progress(),
    }


def query_descriptions(statement: str, live: Iterable[LiveQuery]) -> Entity:
    """``query_descriptions``, for LIST QUERIES EXTENDED."""
    described = [_query_description(query, query.kind, "", ()) for query in live]
    return entity("query_descriptions", statement, {"queryDescriptions": described})


def query_description(
    statement: str, query: LiveQuery, *, kind: str, plan: str, sources: Iterable[str] = ()
) -> Entity:
    """``queryDescription``, for EXPLAIN: ``kind`` is PULL or PUSH, ``plan`` the plan's text.

    A query that was not started has an empty id and state.
    """
    members = {"queryDescription": _query_description(query, kind, plan, sources)}
    return entity("queryDescription", statement, members)


def _query_description(query: LiveQuery, kind: str, plan: str, sources: Iterable[str]) -> Entity:
    return {
        "id": query.query_id,
        "statementText": query.sql,
        "windowType": None,
        "fields": [],
        "sources": list(sources),
        "sinks": [],
        "topology": "",
        "executionPlan": plan,
        "overriddenProperties": {},
        "ksqlHostQueryStatus": {},
        "queryType": kind,
        "queryErrors": [],
        "tasksMetadata": [],
        "state": query.state or None,
        **query.progress(),
    }


def source_description(
    statement: str, entry: SourceEntry, *, extended: bool = False, warnings: Iterable[str] = ()
) -> Entity:
    """``sourceDescription``, for DESCRIBE."""
    members = {"sourceDescription": _description(entry, extended)}
    return entity("sourceDescription", statement, members, warnings)


def source_descriptions(statement: str, entries: Iterable[SourceEntry]) -> Entity:
    """``source_descriptions``, for LIST STREAMS EXTENDED and LIST TABLES EXTENDED."""
    described = [_description(entry, extended=True) for entry in entries]
    return entity("source_descriptions", statement, {"sourceDescriptions": described})


def _description(entry: SourceEntry, extended: bool) -> Entity:
    return {
        "name": entry.name,
        "windowType": None,
        "readQueries": [],
        "writeQueries": [],
        "fields": [_field(column) for column in entry.columns],
        "type": entry.kind,
        "timestamp": entry.timestamp,
        "statistics": "",
        "errorStats": "",
        "extended": extended,
        "keyFormat": entry.key_format,
        "valueFormat": entry.value_format,
        "topic": entry.topic,
        "partitions": entry.partitions,
        "replication": entry.replication,
        "statement": entry.statement,
        "queryOffsetSummaries": [],
        "sourceConstraints": [],
    }


def _field(column: Column) -> Entity:
    """``type`` stands for key columns only."""
    field: Entity = {"name": column.name, "schema": schema_info(column.type)}
    return {**field, "type": "KEY"} if column.key else field


def schema_info(type_: SqlType) -> Entity:
    """A type as ``SchemaInfo``: ``parameters`` stands for DECIMAL only."""
    fields = [{"name": field.name, "schema": schema_info(field.type)} for field in type_.fields]
    schema: Entity = {
        "type": str(type_.base),
        "fields": fields if type_.base is Base.STRUCT else None,
        "memberSchema": schema_info(type_.element) if type_.element is not None else None,
    }
    if type_.base is Base.DECIMAL:
        schema["parameters"] = {"precision": type_.precision, "scale": type_.scale}
    return schema


def properties(
    statement: str, values: Mapping[str, str], overwritten: Mapping[str, str] | None = None
) -> Entity:
    """``properties``, for LIST PROPERTIES; none of them can be set from here for good.

    ``overwritten`` are those that the request sets for itself.
    """
    own = overwritten or {}
    listed = [
        {"name": name, "scope": "KSQL", "value": value, "editable": False}
        for name, value in sorted({**values, **own}.items())
    ]
    members = {
        "properties": listed,
        "overwrittenProperties": sorted(own),
        "defaultProperties": sorted(values.keys() - own.keys()),
    }
    return entity("properties", statement, members)


def variables(statement: str, values: Iterable[tuple[str, str]]) -> Entity:
    """``variables``, for LIST VARIABLES."""
    listed = [{"name": name, "value": value} for name, value in values]
    return entity("variables", statement, {"variables": listed})


def function_names(
    statement: str, functions: Iterable[tuple[str, str]], warnings: Iterable[str] = ()
) -> Entity:
    """``function_names``, for LIST FUNCTIONS: scalar functions, each with its category."""
    listed = [
        {"name": name, "type": "SCALAR", "category": category} for name, category in functions
    ]
    return entity("function_names", statement, {"functions": listed}, warnings)


def type_list(statement: str) -> Entity:
    """``type_list``, for LIST TYPES: there are no custom types."""
    return entity("type_list", statement, {"types": {}})


def connector_list(statement: str) -> Entity:
    """``connector_list``, for LIST CONNECTORS: there are none."""
    return entity("connector_list", statement, {"connectors": []})


def connector_plugins_list(statement: str) -> Entity:
    """``connector_plugins_list``, for LIST CONNECTOR PLUGINS: there are none."""
    return entity("connector_plugins_list", statement, {"connectorPlugins": []})


def assert_topic(statement: str, name: str, *, exists: bool) -> Entity:
    """``assert_topic``: the claim held; ``exists`` says which one it was."""
    return entity("assert_topic", statement, {"topicName": name, "exists": exists})


def warning(statement: str, message: str) -> Entity:
    """``warning_entity``: nothing was done, and that is well."""
    return entity("warning_entity", statement, {"message": message})


def terminate_query(statement: str, query_id: str, *, was_terminated: bool) -> Entity:
    """``terminate_query``, for TERMINATE."""
    return entity(
        "terminate_query", statement, {"queryId": query_id, "wasTerminated": was_terminated}
    )
