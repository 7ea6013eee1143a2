"""The statements of ksqlDB by their words: which there are, and why some are not served.

Owns the sentences of refusal (they say what to do instead) and the suggestion for a word that is
no statement. Pure tables: nothing here reads text.
"""

import difflib

_DECLARE_INSTEAD = (
    "run the query in Druid, or declare the stream with its columns and send its rows to "
    "/inserts-stream"
)
_CONNECTORS = (
    "there are no connectors here: let the producer send its rows to /inserts-stream, "
    "or use Druid's own ingestion"
)

QUERY_WORDS = ("SELECT", "WITH")
"""First words of a query; ``(`` may begin one as well."""

REFUSALS: dict[tuple[str, ...], str] = {
    ("INSERT",): "send rows to /inserts-stream, which acknowledges each of them",
    ("CREATE", "TYPE"): "write the whole type where the column is declared",
    ("DROP", "TYPE"): "there are no custom types: columns carry their whole type",
    ("CREATE", "SOURCE", "CONNECTOR"): _CONNECTORS,
    ("CREATE", "SINK", "CONNECTOR"): _CONNECTORS,
    ("CREATE", "SOURCE"): "leave the word SOURCE out: every declared stream takes rows",
    ("DROP", "CONNECTOR"): _CONNECTORS,
    ("DESCRIBE", "CONNECTOR"): _CONNECTORS,
    ("LIST", "CONNECTORS"): _CONNECTORS,
    ("LIST", "SOURCE"): _CONNECTORS,
    ("LIST", "SINK"): _CONNECTORS,
    ("LIST", "CONNECTOR"): _CONNECTORS,
    ("LIST", "FUNCTIONS"): "pull queries use Druid SQL's functions, see Druid's documentation",
    ("LIST", "TYPES"): "there are no custom types: columns carry their whole type",
    ("LIST", "VARIABLES"): "variables live in the client, and come with each request "
    "as sessionVariables",
    ("DESCRIBE", "FUNCTION"): "pull queries use Druid SQL's functions, see Druid's documentation",
    ("DEFINE",): "send the variable with the request, in sessionVariables",
    ("UNDEFINE",): "leave the variable out of the request's sessionVariables",
    ("EXPLAIN",): "ask Druid itself with EXPLAIN PLAN FOR",
    ("ALTER",): "use CREATE OR REPLACE with the whole list of columns",
    ("PAUSE",): "close the query and open it again later, with its continuation token",
    ("RESUME",): "open the query again, with its continuation token",
    ("ASSERT",): "use DESCRIBE or LIST TOPICS and look at the answer",
    ("RUN",): "send the statements of the script themselves",
    ("REPLACE",): "run it in Druid",
    ("EXPORT",): "run a query, and keep its rows",
}
"""First words of a statement that is known and not served → what to do instead."""

AS_SELECT = f"a query that runs for ever is not kept by this gateway: {_DECLARE_INSTEAD}"

PRINT = "use SELECT * FROM the stream EMIT CHANGES, posted to /query-stream"

_SERVED = ("CREATE", "DROP", "LIST", "SHOW", "DESCRIBE", "TERMINATE", "SET", "UNSET", "PRINT")
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
