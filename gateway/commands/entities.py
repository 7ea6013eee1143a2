"""Entities of ``/ksql`` as tables: the columns that matter of each kind; of others, all members."""

from typing import Any

from gateway.commands.output import print_documents, print_json, print_members
from gateway.commands.schema import fields_of

Entity = dict[str, Any]

SOURCES = ("name", "type", "datasource", "format")
QUERIES = ("id", "type", "state", "rowsDelivered", "entriesBehind", "query")
COLUMNS = ("column", "type", "time")

_LISTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "properties": ("properties", ("name", "value")),
    "variables": ("variables", ("name", "value")),
    "function_names": ("functions", ("name", "type", "category")),
    "kafka_topics": ("topics", ("name",)),
    "kafka_topics_extended": ("topics", ("name",)),
}
"""by kind: the member that holds the list, and what to show of its entries"""


def print_entity(entity: Entity, *, as_json: bool) -> None:
    """One of them."""
    if as_json:
        print_json(entity)
        return
    kind = entity.get("@type")
    for warning in entity.get("warnings", ()):
        print(f"warning: {warning['message']}")
    if kind == "currentStatus":
        print(entity["commandStatus"]["message"])
    elif kind in ("streams", "tables"):
        print_documents(map(source, entity[kind]), SOURCES, as_json=False)
    elif kind == "queries":
        print_documents(map(live_query, entity["queries"]), QUERIES, as_json=False)
    elif kind == "sourceDescription":
        print_documents(described(entity["sourceDescription"]), COLUMNS, as_json=False)
    elif kind in _LISTS:
        member, columns = _LISTS[kind]
        print_documents(entity[member], columns, as_json=False)
    else:
        hidden = ("@type", "statementText", "warnings")
        print_members({n: v for n, v in entity.items() if n not in hidden}, as_json=False)


def source(listed: Entity) -> Entity:
    """A stream or table out of a list."""
    return {
        "name": listed["name"],
        "type": listed["type"],
        "datasource": listed["topic"],
        "format": listed["valueFormat"],
    }


def live_query(listed: Entity) -> Entity:
    """A query that runs."""
    return {
        "id": listed["id"],
        "type": listed["queryType"],
        "state": listed["state"],
        "rowsDelivered": listed.get("rowsDelivered"),
        "entriesBehind": listed.get("entriesBehind"),
        "query": listed["queryString"],
    }


def described(description: Entity) -> list[Entity]:
    """The columns of a source; the time column says so."""
    time = description.get("timestamp")
    return [
        {"column": column.name, "type": str(column.type), "time": "time" * (column.name == time)}
        for column in fields_of(description)
    ]
