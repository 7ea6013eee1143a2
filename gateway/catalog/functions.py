"""What LIST FUNCTIONS names: the scalar functions of push queries, each with ksqlDB's category."""

from gateway.sql.ksql_functions import KSQL_FUNCTIONS
from gateway.sql.text_functions import ARRAYS, NUMBERS, TEXT
from gateway.sql.time_functions import TIMES

PULL_FUNCTIONS = (
    "These are the functions of push queries. Pull queries have those of Druid SQL, "
    "aggregates among them: Druid's documentation lists them."
)

_CATEGORIES = (
    (TEXT, "STRING"),
    (NUMBERS, "MATHEMATICAL"),
    (TIMES, "DATE / TIME"),
    (ARRAYS, "COLLECTION"),
)


def scalar_functions() -> list[tuple[str, str]]:
    """Names and categories, by name."""
    return [(name, _category(name)) for name in sorted(KSQL_FUNCTIONS)]


def _category(name: str) -> str:
    return next((category for names, category in _CATEGORIES if name in names), "OTHERS")
