"""What ksqlDB's Java client makes of the replies of `/ksql` and `/info`: as strict as it. Pure.

Every reader takes the entity that a method got and gives what the method gives. A member that is
missing or of another type makes the real client fail with "Unexpected server response format": that
is `Breaks` here. Source: specification §6.3, in our own words and code.
"""

from typing import Any, NamedTuple

from tests.clients.java_records import (
    TYPE_KEYWORDS,
    Breaks,
    ClientFailure,
    Column,
    document,
    members,
    require,
)

Entity = dict[str, Any]

_LISTS = {
    "streams": "listStreams",
    "tables": "listTables",
    "topics": "listTopics",
    "queries": "listQueries",
    "sourceDescription": "describeSource",
}


class Source(NamedTuple):
    """A stream or table of a list."""

    name: str
    topic: str
    key_format: str
    value_format: str
    windowed: bool


class Query(NamedTuple):
    """A query of a list."""

    id: str
    sql: str
    type: str


class Description(NamedTuple):
    """What describeSource gives."""

    name: str
    type: str
    fields: list[Column]
    keys: list[str]
    topic: str
    timestamp: str | None
    statement: str


class Server(NamedTuple):
    """What serverInfo gives."""

    version: str
    cluster_id: str
    service_id: str


def failure(status: int, body: bytes) -> ClientFailure:
    """The exception for a status that is not 200. A body that is no JSON object hangs it."""
    try:
        error = members(body)
    except Breaks as why:
        raise Breaks(f"hangs for ever on the body of a {status}: {why}") from None
    message = require(error, "message", str)
    text = f"Received {status} response from server: {message}."
    if "error_code" in error:
        text += f" Error code: {require(error, 'error_code', int)}"
    return ClientFailure(text)


def single(body: bytes) -> Entity:
    """The one entity of a reply."""
    entities = document(body)
    if not isinstance(entities, list):
        raise Breaks(f"an array was expected: {body[:200]!r}")
    if len(entities) != 1 or not isinstance(entities[0], dict):
        raise Breaks(f"one entity was expected, not {len(entities)}")
    return entities[0]


def statement_result(body: bytes) -> str | None:
    """What executeStatement gives: the query id, if any. Raises `ClientFailure` on an entity that
    it has no eyes for: its user is told so."""
    if document(body) == []:
        raise ClientFailure("The ksqlDB server accepted the statement issued via executeStatement")
    entity = single(body)
    if "commandStatus" in entity:
        require(entity, "commandId", str)
        status = require(entity, "commandStatus", dict)
        query_id = require(status, "queryId", str, type(None)) if "queryId" in status else None
        return None if query_id is None else str(query_id)
    if entity.get("@type") == "warning_entity" and entity["message"].startswith("Cannot add"):
        return None
    for name, method in _LISTS.items():
        if name in entity:
            raise ClientFailure(f"Use the {method}() method instead.")
    raise ClientFailure(f"Unexpected server response type. Response: {entity}")


def sources(entity: Entity, kind: str) -> list[Source]:
    """``kind``: streams or tables."""
    return [_source(item, kind) for item in require(entity, kind, list)]


def _source(item: Entity, kind: str) -> Source:
    windowed = require(item, "isWindowed", bool) if kind == "tables" else item.get("isWindowed")
    formats = {"keyFormat": "KAFKA", "valueFormat": item.get("format", "UNKNOWN"), **item}
    return Source(
        require(item, "name", str),
        require(item, "topic", str),
        require(formats, "keyFormat", str),
        require(formats, "valueFormat", str),
        bool(windowed),
    )


def topics(entity: Entity) -> dict[str, list[int]]:
    """Names, and the replicas of each partition."""
    found = {}
    for item in require(entity, "topics", list):
        replicas = require(item, "replicaInfo", list)
        if not all(type(number) is int for number in replicas):
            raise Breaks(f"replicaInfo holds integers: {item}")
        found[require(item, "name", str)] = replicas
    return found


def queries(entity: Entity) -> list[Query]:
    """An unknown type, or a number of sinks that does not go with it, fails the whole list."""
    return [_query(item) for item in require(entity, "queries", list)]


def _query(item: Entity) -> Query:
    type_ = require(item, "queryType", str)
    sinks = {"PERSISTENT": 1, "PUSH": 0}.get(type_)
    for name in ("sinks", "sinkKafkaTopics"):
        if len(require(item, name, list)) != sinks:
            raise Breaks(f"a {type_} query with these {name}: {item}")
    return Query(require(item, "id", str), require(item, "queryString", str), type_)


def description(entity: Entity) -> Description:
    """A described source."""
    source = require(entity, "sourceDescription", dict)
    columns, keys = [], []
    for item in require(source, "fields", list):
        name = require(item, "name", str)
        type_ = require(require(item, "schema", dict), "type", str)
        if type_ not in TYPE_KEYWORDS:
            raise Breaks(f"the type '{type_}' of '{name}'")
        columns.append(Column(name, type_))
        if item.get("type") == "KEY":
            keys.append(name)
    for name in ("readQueries", "writeQueries"):
        for query in require(source, name, list):
            _query(query)
    require(source, "windowType", str, type(None))
    require(source, "keyFormat", str)
    require(source, "valueFormat", str)
    timestamp = require(source, "timestamp", str)
    return Description(
        require(source, "name", str),
        require(source, "type", str),
        columns,
        keys,
        require(source, "topic", str),
        timestamp or None,
        require(source, "statement", str),
    )


def connectors(entity: Entity) -> list[str]:
    """The names of connectors."""
    names = []
    for item in require(entity, "connectors", list):
        for name in ("type", "className", "state"):
            require(item, name, str)
        names.append(require(item, "name", str))
    return names


def assertion(entity: Entity, named: str, expected: bool) -> None:
    """An assertion that held: ``exists`` and what it was about."""
    if require(entity, "exists", bool) is not expected:
        raise Breaks(f"an assertion that did not hold is an error, not an entity: {entity}")
    require(entity, named, str, type(None))


def server(body: bytes) -> Server:
    """The reply of `/info`."""
    info = require(members(body), "KsqlServerInfo", dict)
    return Server(*(require(info, n, str) for n in ("version", "kafkaClusterId", "ksqlServiceId")))
