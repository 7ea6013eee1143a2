"""What the clients' tests have in common: the stream that they fill, and its rows. Pure."""

from typing import Any

from tests.server.ksqldb import unique

COLUMNS = "ID BIGINT, NAME STRING, PRICE DOUBLE, AT TIMESTAMP"
AT = "2024-02-29T12:00:00"

Row = dict[str, Any]


def create_stream(name: str) -> str:
    """The statement for `name`, whose acks say that a SELECT sees the row."""
    return (
        f"CREATE STREAM {name} ({COLUMNS}) WITH (kafka_topic='{name.lower()}', "
        "value_format='JSON', timestamp='AT', ack='queryable');"
    )


def fresh(prefix: str) -> str:
    """A stream name that no other test has, as ksqlDB folds it."""
    return unique(prefix).upper()


def rows(first: int, end: int) -> list[Row]:
    """Rows of `COLUMNS` whose ids are ``[first, end)``; the names are not ASCII."""
    return [{"ID": n, "NAME": f"zeile ä{n}", "PRICE": n / 2, "AT": AT} for n in range(first, end)]


def values(first: int, end: int) -> list[list[Any]]:
    """ID, NAME and PRICE of `rows`."""
    return [[row["ID"], row["NAME"], row["PRICE"]] for row in rows(first, end)]


EARLIEST = {"auto.offset.reset": "earliest"}
