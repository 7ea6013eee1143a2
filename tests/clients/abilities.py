"""What each client can do with the gateway, and what it cannot by a defect of its own. Data.

Every cell has the test that shows it; a test is written as in `vectors`. Printed by `page`.
"""

from dataclasses import dataclass
from typing import Literal

ABILITIES = ("create", "insert", "pull", "push", "close", "list", "describe")
Ability = Literal["create", "insert", "pull", "push", "close", "list", "describe"]


@dataclass(frozen=True, slots=True)
class Defect:
    """What a client cannot do, or does wrong, whatever the server: why, and the test that shows
    what comes of it."""

    why: str
    test: str


@dataclass(frozen=True, slots=True)
class Client:
    """A client, the tests of what it can, and its defects."""

    name: str
    speaks: str
    can: dict[Ability, str]
    defects: tuple[Defect, ...] = ()
    druid: str = ""


_C, _K, _N = "curl::it_", "ksqldb::it_", "ksql_python_ng::it_"
_P, _M, _B, _J = "ksqldb_client::it_", "npm_ksqldb_client::it_", "npm_cube::it_", "java_client::"

CURL = Client(
    "curl",
    "HTTP/2 by prior knowledge, HTTP/1.1",
    {
        "create": f"{_C}creates_lists_and_describes",
        "insert": f"{_C}inserts_and_pulls",
        "pull": f"{_C}inserts_and_pulls",
        "push": f"{_C}subscribes_and_closes",
        "close": f"{_C}subscribes_and_closes",
        "list": f"{_C}creates_lists_and_describes",
        "describe": f"{_C}creates_lists_and_describes",
    },
    (
        Defect(
            "with a body it does not wait for an upgrade (`--http2` over clear text): HTTP/1.1",
            "curl::an_upgrade_with_a_body_is_answered_on_http1",
        ),
    ),
)

KSQLDB = Client(
    "PyPI `ksqldb` 1.x",
    "HTTP/2 for streams, HTTP/1.1",
    {
        "create": f"{_K}creates_lists_describes_and_drops",
        "insert": f"{_K}inserts_and_pulls",
        "pull": f"{_K}inserts_and_pulls",
        "push": f"{_K}subscribes_and_closes",
        "close": f"{_K}subscribes_and_closes",
        "list": f"{_K}creates_lists_describes_and_drops",
        "describe": f"{_K}creates_lists_describes_and_drops",
    },
    (
        Defect(
            "credentials: its constructor passes text where bytes belong",
            "ksqldb::it_cannot_be_made_with_credentials",
        ),
        Defect(
            "a refused query: it never looks at the status, the error comes as its first line",
            "ksqldb::a_refused_query_is_taken_for_its_first_line",
        ),
        Defect(
            "a refused statement: it raises for the status and drops the reason",
            "ksqldb::a_refused_statement_is_an_http_error_without_the_reason",
        ),
    ),
    "druid_clients::ksqldb_outlasts_a_slow_commit_and_reads_it_back",
)

KSQL_PYTHON_NG = Client(
    "PyPI `ksql-python-ng` 0.29",
    "HTTP/2 for streams on request, HTTP/1.1; httpx < 0.28, Python ≤ 3.12",
    {
        "create": "ksql_python_ng::its_builder_creates_a_stream",
        "insert": f"{_N}inserts_and_pulls_line_by_line",
        "pull": f"{_N}inserts_and_pulls_line_by_line",
        "push": f"{_N}subscribes_and_closes",
        "close": f"{_N}subscribes_and_closes",
        "list": f"{_N}lists_describes_and_drops",
        "describe": f"{_N}lists_describes_and_drops",
    },
    (
        Defect(
            "`create_table` writes a `key` property, which ksqlDB dropped, and no key column",
            "ksql_python_ng::its_table_builder_has_no_key_column",
        ),
    ),
    "druid_clients::ksql_python_ng_outlasts_a_slow_commit_and_reads_it_back",
)

KSQLDB_CLIENT = Client(
    "PyPI `ksqldb-client` 0.28 (pre-release)",
    "HTTP/1.1 over clear text",
    {
        "create": f"{_P}creates_lists_describes_and_drops",
        "insert": f"{_P}inserts_by_a_statement_and_pulls",
        "pull": f"{_P}inserts_by_a_statement_and_pulls",
        "push": "ksqldb_client::a_push_query_with_a_limit_is_read_whole",
        "close": f"{_P}closes_a_query_that_another_client_runs",
        "list": f"{_P}creates_lists_describes_and_drops",
        "describe": f"{_P}creates_lists_describes_and_drops",
    },
    (
        Defect(
            "`query_stream` sends no Accept, gets lines, and reads them as one document",
            f"{_P}cannot_read_what_it_asks_for_on_query_stream",
        ),
        Defect(
            "push queries without a LIMIT: it reads whole bodies only; LIST QUERIES fails while one"
            " runs, since its model wants exactly one sink",
            f"{_P}cannot_list_a_running_push_query",
        ),
        Defect(
            "`status`: its model wants a text where ksqlDB says null",
            f"{_P}cannot_read_the_status_of_a_statement",
        ),
        Defect("`cluster_status` was never made", f"{_P}never_made_its_cluster_status"),
    ),
)

NPM_KSQLDB_CLIENT = Client(
    "npm `ksqldb-client` 1.x",
    "HTTP/2, one session",
    {
        "create": f"{_M}lists_and_describes",
        "insert": f"{_M}inserts_and_pulls",
        "pull": f"{_M}inserts_and_pulls",
        "push": f"{_M}subscribes_lists_the_query_and_closes_it",
        "close": f"{_M}subscribes_lists_the_query_and_closes_it",
        "list": f"{_M}lists_and_describes",
        "describe": f"{_M}lists_and_describes",
    },
    (
        Defect(
            "a row that is not ASCII: its content-length counts characters; the call never ends",
            "npm_ksqldb_client::a_row_that_is_not_ascii_costs_it_that_call_and_no_other",
        ),
        Defect(
            "an insert into an unknown stream: it takes the error object for an array",
            "npm_ksqldb_client::the_reason_of_a_refused_target_is_lost_in_it",
        ),
    ),
)

CUBE = Client(
    "npm `@cubejs-backend/ksql-driver` 1.x",
    "HTTP/1.1, `/ksql` only",
    {
        "create": f"{_B}creates_and_drops_a_table",
        "list": f"{_B}finds_the_streams_and_their_columns",
        "describe": f"{_B}finds_the_streams_and_their_columns",
    },
    (
        Defect("SELECT: it refuses them itself", "npm_cube::it_refuses_selects_itself"),
        Defect(
            "pre-aggregations are persistent queries, which Druid has none of: refused with 40001",
            "npm_cube::its_pre_aggregations_are_refused_with_a_reason",
        ),
    ),
)

JAVA = Client(
    "ksqlDB's Java client, imitated, new and old",
    "HTTP/2",
    {
        "create": "java_statements::a_statement_may_be_run_again",
        "insert": f"{_J}acks_come_while_it_streams_and_the_end_comes_after",
        "pull": f"{_J}a_pull_query_is_read_batched_and_streamed",
        "push": f"{_J}a_push_query_gets_rows_as_they_are_committed",
        "close": f"{_J}an_idle_push_query_has_its_header_at_once_and_can_be_closed",
        "list": "java_statements::streams_are_listed_and_described",
        "describe": "java_statements::streams_are_listed_and_described",
    },
    (
        Defect(
            "TERMINATE of a push query: it is done, but the client cannot read the entity",
            "java_statements::push_queries_are_listed_and_terminated",
        ),
        Defect(
            "rows beyond every window and frame limit: taken up to a bound, never punished",
            f"{_J}rows_that_no_window_and_no_frame_limit_allows_are_acked",
        ),
    ),
)

CLIENTS = (CURL, KSQLDB, KSQL_PYTHON_NG, KSQLDB_CLIENT, NPM_KSQLDB_CLIENT, CUBE, JAVA)
