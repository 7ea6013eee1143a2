"""ksqlDB's 97 compatibility vectors (specification §8), each with the tests that prove it. Data.

``says`` is the vector in a few words of ours. A test is written ``file::name``, without the
``test_`` of either, ``.py`` and the folder. A vector that does not hold says why in ``refused``;
its tests then prove the refusal. ``client``: a rule about what a client does, so that a server has
nothing to hold; its tests prove it of the imitated Java client, against this gateway.
"""

from dataclasses import dataclass

FOLDERS = {
    "endpoints_more": "server",
    "framings": "server",
    "plain_endpoints": "server",
    "websocket": "server",
    "query_stream": "unit",
    "statements_vectors": "unit",
}
"""the folder of a test's file, where it is not this one"""


@dataclass(frozen=True, slots=True)
class Vector:
    """One row of the table."""

    number: str
    says: str
    tests: tuple[str, ...] = ()
    refused: str = ""
    client: bool = False

    @property
    def verdict(self) -> str:
        """One word for the page."""
        if self.refused:
            return "refused"
        return "client" if self.client else "holds"


def node_id(short: str) -> str:
    """The id under which pytest collects a test, without its parameters."""
    file, name = short.split("::")
    return f"tests/{FOLDERS.get(file, 'clients')}/test_{file}.py::test_{name}"


def _v(number: str, says: str, *tests: str, refused: str = "", client: bool = False) -> Vector:
    return Vector(number, says, tests, refused, client)


_E, _F, _Q = "endpoints_more::vector", "framings::vector", "query_stream::vector"
_S, _R = "statements_vectors::vector", "vectors_rest::vector"
_J, _D, _L = "java_client::", "java_statements::", "java_records::"

NO_AUTH = "nobody is asked for credentials yet: whoever reaches the port is let in"
NO_PRINT = "a datasource is no log of records: 40001 says to SELECT … EMIT CHANGES instead"

SERVER = (
    _v(
        "1",
        "a pull query: header, rows, not listed as running",
        f"{_E}_01_a_pull_query_gives_metadata_and_rows_and_is_no_push_query",
    ),
    _v(
        "2",
        "variables and properties reach the query",
        f"{_E}_02_variables_are_put_into_the_text",
        f"{_E}_02_properties_and_variables_reach_the_query_room_as_sent",
        f"{_S}_2_pull_query_with_variable_substitution",
    ),
    _v(
        "3",
        "a push query stays open and is listed",
        f"{_E}_03_a_push_query_stays_open_and_is_listed",
    ),
    _v("4", "ten on one connection", f"{_E}_04_many_push_queries_live_on_one_connection"),
    _v(
        "5",
        "on ten connections, closed one by one",
        f"{_E}_05_queries_on_different_connections_are_closed_one_by_one",
    ),
    _v(
        "6",
        "a connection takes its ten along",
        f"{_E}_06_a_connection_takes_its_queries_with_it",
    ),
    _v(
        "7",
        "five by five",
        f"{_E}_07_each_connection_takes_only_its_own_queries_with_it",
    ),
    _v("8", "a query without `sql`", f"{_E}_08_a_query_without_its_text_is_refused"),
    _v("9", "an unknown path: 404, here in JSON", f"{_E}_09_an_unknown_path_is_a_404_in_json"),
    _v("10", "the same without a body", f"{_E}_10_an_unknown_path_without_a_body_is_a_404"),
    _v(
        "11",
        "an error among rows is the last element, then a reset",
        f"{_F}_11_an_error_among_rows_is_the_last_element_and_then_a_reset",
    ),
    _v("12", "arguments that end early", f"{_E}_12_arguments_that_end_early_are_refused"),
    _v(
        "13",
        "a query that cannot be parsed",
        f"{_F}_13_a_query_that_cannot_be_read_is_a_400",
        f"{_S}_13_invalid_query",
    ),
    _v(
        "14",
        "a fault inside: 500 with the fixed text",
        f"{_F}_14_a_fault_inside_is_a_500_that_says_nothing_of_it",
    ),
    _v("15", "closing ends the response", f"{_E}_15_closing_a_query_ends_its_response_well"),
    _v("16", "close without `queryId`", f"{_E}_16_missing_query_id_in_close_query"),
    _v("17", "close of an unknown id", f"{_E}_17_unknown_query_id_in_close_query"),
    _v("18", "three rows, three acks", f"{_E}_18_rows_of_one_body_are_acked"),
    _v(
        "19",
        "acks while rows are sent",
        f"{_E}_19_the_first_ack_comes_before_the_last_row_is_sent",
    ),
    _v("20", "inserts without `target`", f"{_E}_20_missing_target_in_inserts"),
    _v(
        "21",
        "a row that the store fails",
        f"{_E}_21_a_row_that_the_store_fails_ends_the_stream_after_the_acks_before_it",
    ),
    _v(
        "22",
        "insert arguments that end early",
        f"{_E}_22_insert_arguments_that_end_early_are_refused",
    ),
    _v(
        "23",
        "a row that is no JSON, without a newline",
        f"{_E}_23_a_row_that_is_no_json_is_told_by_its_number",
    ),
    _v("24", "nothing acceptable: 404", f"{_F}_24_no_matching_accept_header_is_a_404"),
    _v("25", "no Accept: lines", f"{_F}_25_without_accept_a_query_is_delimited"),
    _v("26", "delimited: lines", f"{_F}_26_a_query_may_ask_for_delimited"),
    _v("27", "json: one array", f"{_F}_27_a_query_may_ask_for_one_json_array"),
    _v("28", "acks as lines", f"{_E}_28_acks_are_delimited_by_default"),
    _v("29", "acks as one array", f"{_E}_29_acks_may_be_one_json_array"),
    _v(
        "30",
        "`/ksql` has a content-type",
        f"{_E}_30_replies_of_ksql_have_a_content_type",
        f"{_S}_30_show_streams_is_an_array_of_json",
    ),
    _v("31", "`/v1/metadata/id` names the clusters", f"{_E}_31_metadata_names_the_clusters"),
    _v(
        "32",
        "inserts over HTTP/1.1: 40004",
        f"{_E}_32_inserts_over_http1_are_refused_by_default",
    ),
    _v(
        "33",
        "too many push queries: 40003",
        f"{_E}_33_push_queries_beyond_the_limit_are_refused",
    ),
    _v(
        "34",
        "starting, stopping, stopped: 503",
        f"{_E}_34_a_server_that_does_not_run_says_so",
    ),
    _v("35", "bad or no credentials: 401", refused=NO_AUTH),
    _v("36", "the wrong role: 403", refused=NO_AUTH),
    _v(
        "37",
        "the server's identity without credentials",
        f"{_R}_37_the_servers_identity_needs_no_credentials",
    ),
    _v("38", "another SNI than Host: 421", refused="the gateway does not serve TLS itself yet"),
)

SQL = (
    _v(
        "39",
        "a push query with LIMIT 2; type texts",
        f"{_R}_39_a_push_query_with_a_limit_shows_types_and_ends",
    ),
    _v("40", "SLECTT", f"{_S}_40_fail_push_query_with_invalid_sql"),
    _v("41", "two statements", f"{_S}_41_more_than_one_statement"),
    _v("42", "DDL on `/query-stream`", f"{_S}_42_fail_push_with_non_query"),
    _v(
        "43",
        "a push query without LIMIT, then closed",
        f"{_R}_43_a_push_query_without_a_limit_ends_when_it_is_closed",
    ),
    _v(
        "44",
        "a pull query's id and key column",
        f"{_R}_44_a_pull_query_has_its_own_kind_of_id_and_its_key_first",
    ),
    _v("45", "ten rows", f"{_R}_45_ten_rows_are_acked"),
    _v("46", "no key", f"{_R}_46_a_row_without_its_key_is_refused"),
    _v("47", "a key of another type", f"{_R}_47_a_key_of_another_type_is_refused"),
    _v("48", "a value of another type", f"{_R}_48_a_value_of_another_type_is_refused"),
    _v("49", "a missing value", f"{_R}_49_a_missing_value_is_null"),
    _v("50", "names in lower case", f"{_R}_50_names_fold_everywhere_but_in_maps"),
    _v("51", "a quoted target", f"{_S}_51_target_case_sensitive"),
    _v("52", "quoted columns", f"{_R}_52_a_quoted_column_name_is_taken_as_it_is"),
    _v(
        "53",
        "from the latest offset; values round-trip",
        f"{_R}_53_from_the_latest_offset_only_later_rows_come",
    ),
    _v(
        "54",
        "PRINT",
        f"{_S}s_54_to_56_print_is_refused_with_what_to_do_instead",
        refused=NO_PRINT,
    ),
    _v(
        "55",
        "PRINT in JSON",
        f"{_S}s_54_to_56_print_is_refused_with_what_to_do_instead",
        refused=NO_PRINT,
    ),
    _v(
        "56",
        "PRINT of an unknown topic",
        f"{_S}s_54_to_56_print_is_refused_with_what_to_do_instead",
        refused=NO_PRINT,
    ),
    _v("57", "v1+json, no row", f"{_Q}_57_v1_json_without_rows_is_a_header_on_one_line"),
    _v("58", "one row", f"{_Q}_58_v1_json_of_one_row"),
    _v(
        "59",
        "two rows",
        f"{_Q}_59_v1_json_rows_are_separated_and_the_last_is_closed_at_once",
    ),
    _v("60", "completion", f"{_Q}_60_v1_json_ends_with_a_message_of_completion"),
    _v("61", "limit", f"{_Q}_61_v1_json_ends_with_a_message_of_the_limit"),
    _v("62", "4,000 rows, few writes", f"{_Q}_62_v1_json_packs_many_rows_into_few_writes"),
    _v(
        "63",
        "protobuf rows",
        f"{_F}_24_no_matching_accept_header_is_a_404",
        refused="no client read here asks for them: 404 names the three framings",
    ),
    _v(
        "64",
        "a rate limit hit among rows: 42900, else 50000",
        f"{_F}_11_an_error_among_rows_is_the_last_element_and_then_a_reset",
        refused="queries have no rate limit; every other cause is 50000",
    ),
    _v(
        "65",
        "`*/*` on both paths and versions",
        f"{_F}_65_anything_is_delimited_on_both_paths_and_both_versions",
    ),
    _v(
        "66",
        "`/query`, v1+json, LIMIT 2",
        f"{_F}_66_a_push_query_with_a_limit_says_that_it_was_reached",
    ),
    _v(
        "67",
        "SELECT on a stream without EMIT",
        f"{_F}_67_a_pull_query_of_a_stream_says_that_it_completed",
    ),
    _v(
        "68",
        "a deleted row of a table",
        refused="rows of Druid are never deleted by key, so there is nothing to tell",
    ),
    _v(
        "69",
        "scalable push: no final line",
        f"{_F}_69_a_push_query_in_delimited_ends_without_a_word",
    ),
    _v("70", "GET / leads to /info", f"{_E}_70_the_root_leads_to_info"),
    _v("71", "WebSocket", "websocket::vector_71_a_push_query_gives_a_schema_rows_and_done"),
    _v("72", "into BOOLEAN", f"{_R}_72_booleans"),
    _v("73", "into INTEGER", f"{_R}_73_integers"),
    _v("74", "into BIGINT", f"{_R}_74_bigints"),
    _v("75", "into DECIMAL(2, 1)", f"{_R}_75_decimals"),
    _v("76", "into DOUBLE", f"{_R}_76_doubles"),
    _v("77", "into ARRAY, MAP, STRUCT", f"{_R}_77_containers"),
    _v("78", "fields fold, map keys do not", f"{_R}_78_fields_fold_and_map_keys_do_not"),
)

CLIENT = (
    _v(
        "79",
        "user-agent and Accept",
        "java_frames::a_query_is_the_frames_that_the_real_client_sends",
        client=True,
    ),
    _v(
        "80",
        "streamQuery: the text of a refusal",
        f"{_J}a_refused_query_fails_with_code_and_reason",
        f"{_L}the_texts_of_its_failures",
    ),
    _v(
        "81",
        "streamQuery: an error row fails it",
        f"{_L}an_error_row_is_seen_by_a_streamed_query_only",
        f"{_F}_11_an_error_among_rows_is_the_last_element_and_then_a_reset",
    ),
    _v("82", "executeQuery: a refusal", f"{_J}a_refused_query_fails_with_code_and_reason"),
    _v(
        "83",
        "terminatePushQuery, streamed and batched",
        f"{_J}an_idle_push_query_has_its_header_at_once_and_can_be_closed",
        f"{_J}a_batched_push_query_that_is_closed_gives_the_rows_so_far",
    ),
    _v(
        "84",
        "terminatePushQuery of an unknown id",
        f"{_J}an_idle_push_query_has_its_header_at_once_and_can_be_closed",
    ),
    _v(
        "85",
        "insertInto: ok, error reply, error ack",
        f"{_J}one_row_is_inserted_by_a_request_of_its_own",
        f"{_J}a_refused_target_is_told_before_any_row",
        f"{_J}a_bad_single_row_fails_in_ksqldbs_words",
    ),
    _v(
        "86",
        "streamInserts: acks, then the end",
        f"{_J}acks_come_while_it_streams_and_the_end_comes_after",
    ),
    _v(
        "87",
        "streamInserts: an error ack at the last row",
        f"{_J}a_bad_row_fails_the_publisher_in_ksqldbs_words",
    ),
    _v(
        "88",
        "executeStatement with and without a query id",
        f"{_S}_88_execute_statement_with_and_without_query_id",
        f"{_L}a_statement_gives_its_query_id_or_nothing",
    ),
    _v(
        "89",
        "IF NOT EXISTS: a warning",
        f"{_S}_89_if_not_exists_warning",
        f"{_D}a_statement_may_be_run_again",
    ),
    _v(
        "90",
        "lists of streams and tables",
        f"{_S}_90_list_streams_and_tables",
        f"{_D}streams_are_listed_and_described",
        f"{_D}tables_are_listed_and_described",
    ),
    _v(
        "91",
        "topics, queries, describe, connectors, assert",
        f"{_S}_91_list_topics",
        f"{_S}_91_list_queries",
        f"{_S}_91_describe_source",
        f"{_S}_91_connectors",
        f"{_S}_91_assert_topic_and_schema",
        f"{_D}push_queries_are_listed_and_terminated",
        f"{_D}connectors_are_refused_with_a_way_out",
        f"{_D}assertions_hold_or_fail_in_words",
    ),
    _v("92", "custom headers", f"{_D}custom_headers_do_no_harm", client=True),
    _v(
        "93",
        "schema text is split",
        f"{_L}a_schema_is_cut_outside_of_brackets_only",
        client=True,
    ),
    _v("94", "mixed quoting; TIME", f"{_R}_94_one_row_of_mixed_quoting_is_read_back"),
    _v(
        "95",
        "streamInserts of five rows",
        f"{_J}acks_come_while_it_streams_and_the_end_comes_after",
    ),
    _v(
        "96",
        "a push query continued by its token",
        refused="continuation tokens are not given out yet",
    ),
    _v(
        "97",
        "a plain request to /info",
        f"{_R}_97_a_plain_request_reads_the_state_of_the_server",
    ),
)

OWN = (
    _v(
        "a",
        "rows around every window and frame limit",
        f"{_J}rows_that_no_window_and_no_frame_limit_allows_are_acked",
    ),
    _v(
        "b",
        "no error without a JSON body",
        "plain_endpoints::no_body_makes_an_endpoint_fail_without_a_reason",
        "plain_endpoints::an_unknown_path_is_a_404_in_json",
        "fuzz::any_path_method_and_accept_is_answered",
    ),
    _v(
        "c",
        "an error row and RST_STREAM",
        f"{_F}_11_an_error_among_rows_is_the_last_element_and_then_a_reset",
    ),
    _v("d", "no rows", f"{_J}an_empty_result_completes"),
    _v(
        "e",
        "a trailing comma",
        f"{_L}it_reads_every_form_that_the_real_one_reads",
        client=True,
    ),
    _v(
        "f",
        "an error ack while rows are still sent",
        "vectors_rest::own_vector_f_an_error_ack_while_the_client_still_sends_is_told_as_such",
    ),
    _v(
        "g",
        "a header without queryId",
        f"{_L}it_reads_every_form_that_the_real_one_reads",
        client=True,
    ),
    _v(
        "h",
        "GET /info with a body",
        "plain_endpoints::info_may_be_asked_with_a_body_as_the_java_client_does",
    ),
)
"""found by running the real client (end of §8)"""

VECTORS = SERVER + SQL + CLIENT
