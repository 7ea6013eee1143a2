"""The statements of ksqlDB by their words: which there are, and why some are not served.

Owns the sentences of refusal (they say what to do instead) and the suggestion for a word that is
no statement. Pure tables: nothing here reads text.
"""

import difflib

CONNECTORS = (
    "there are no connectors here: let the producer send its rows to /inserts-stream, "
    "or use Druid's own ingestion"
)

QUERY_WORDS = ("SELECT", "WITH")
"""First words of a query; ``(`` may begin one as well."""

_TYPES = "write the whole type where the column is declared"

REFUSALS: dict[tuple[str, ...], str] = {
    ("CREATE", "TYPE"): _TYPES,
    ("DROP", "TYPE"): f"there are no custom types: {_TYPES}",
    ("CREATE", "SOURCE", "CONNECTOR"): CONNECTORS,
    ("CREATE", "SINK", "CONNECTOR"): CONNECTORS,
    ("CREATE", "SOURCE"): "leave the word SOURCE out: every declared stream takes rows",
    ("DESCRIBE", "CONNECTOR"): CONNECTORS,
    ("DESCRIBE", "FUNCTION"): "LIST FUNCTIONS names the functions of push queries; "
    "pull queries have Druid SQL's, which Druid's documentation describes",
    ("ALTER", "SYSTEM"): "change the gateway's configuration and start it again",
    ("ALTER",): "use CREATE OR REPLACE with the whole list of columns",
    ("PAUSE",): "close the query and open it again later, with its continuation token",
    ("RESUME",): "open the query again, with its continuation token",
    ("ASSERT", "VALUES"): "run a pull query and compare its rows",
    ("ASSERT", "NULL"): "run a pull query and compare its rows",
    ("RUN",): "send the statements of the script themselves",
    ("EXPORT",): "run a query, and keep its rows",
}
"""First words of a statement that is known and not served → what to do instead."""

AS_SELECT = (
    "a query that runs for ever is not kept by this gateway: declare the stream with its columns, "
    "and fill it with Druid's INSERT INTO … SELECT … PARTITIONED BY, or send its rows to "
    "/inserts-stream"
)

INSERT_SELECT = (
    "a query that runs for ever is not kept by this gateway: add PARTITIONED BY DAY (or another "
    "granularity) to run it once in Druid, as a task"
)

TERMINATE_CLUSTER = "stop the gateway's process: it drains first, and no datasource is deleted"

EXPLAIN_STATEMENT = "explain its SELECT"

PRINT = "use SELECT * FROM the stream EMIT CHANGES, posted to /query-stream"

_SERVED = (
    *("CREATE", "DROP", "INSERT", "REPLACE", "LIST", "SHOW", "DESCRIBE", "EXPLAIN", "TERMINATE"),
    *("SET", "UNSET", "DEFINE", "UNDEFINE", "ASSERT", "PRINT"),
)
STATEMENT_WORDS = frozenset((*_SERVED, *QUERY_WORDS, *(words[0] for words in REFUSALS)))
"""Every first word of a statement that ksqlDB has."""

_LONGEST_WORD = max(map(len, STATEMENT_WORDS))


def unknown_statement(word: str) -> str:
    """ksqlDB's words for a statement that begins with no known word (§8 row 40)."""
    lines = [f"Unknown statement '{word}'"]
    nearest: list[str] = []
    # Comparing is quadratic in the length, and a long word is like none of these anyway.
    if len(word) <= 2 * _LONGEST_WORD:
        nearest = difflib.get_close_matches(word.upper(), sorted(STATEMENT_WORDS), n=1)
    lines += [f"Did you mean '{found}'?" for found in nearest]
    return "\n".join(lines)


def refusal(words: tuple[str, ...], instead: str) -> str:
    """The sentence of a statement that is known and not served."""
    return f"{' '.join(words)} is not supported by this gateway: {instead}."
