"""The columns of a stream as the gateway describes them."""

from typing import Any

from gateway.client import AnswerBroken, Client
from protocol.types import Base, Column, SqlType


async def columns_of(client: Client, stream: str) -> tuple[Column, ...]:
    """Those of a stream, a table or a datasource, by its name.

    Raises `KsqlResponseError` where there is none, and other errors of the client.
    """
    try:
        return fields_of(await client.describe(stream))
    except (LookupError, TypeError, ValueError) as problem:
        raise AnswerBroken(f"DESCRIBE {stream} gave no columns: {problem!r}") from None


def fields_of(description: dict[str, Any]) -> tuple[Column, ...]:
    """The columns of a ``sourceDescription``."""
    return tuple(Column(field["name"], type_of(field["schema"])) for field in description["fields"])


def type_of(schema: dict[str, Any]) -> SqlType:
    """A type out of its ``SchemaInfo``."""
    member, parameters = schema.get("memberSchema"), schema.get("parameters") or {}
    fields = schema.get("fields") or ()
    return SqlType(
        Base(schema["type"]),
        precision=parameters.get("precision", 0),
        scale=parameters.get("scale", 0),
        element=None if member is None else type_of(member),
        fields=tuple(Column(each["name"], type_of(each["schema"])) for each in fields),
    )
