"""Compatibility vectors (protocol notes §8) that do not hold as they stand, each with its reason.

`REFUSED` are served by nothing and answered with a clear error; `DEVIATIONS` hold but for what is
said here, and have a test that asserts what is served instead.
"""

REFUSED: dict[int, str] = {
    63: "Rows in protobuf are not served: application/vnd.ksql.v1+protobuf is answered with 404 "
    "and the list of what is. No known client asks for it but ksqlDB's own nodes.",
    68: "There are no tombstones: a table here is a datasource, to which rows are only added, so a "
    "push query never has a delete to tell of.",
}

DEVIATIONS: dict[int, str] = {
    9: "404 as asked, but with an error object instead of the text 'Not Found', on which the Java "
    "client hangs for ever.",
    11: "The error element is followed by RST_STREAM(INTERNAL_ERROR) over HTTP/2, not by a normal "
    "end: only so the Java client's executeQuery fails instead of losing the error. In v1+json "
    "its line ends before the closing bracket ('}}\\n]'), which keeps the array valid and lets the "
    "error be read although the stream is reset. The message is the gateway's own.",
    15: "The reply to /close-query is '{}' instead of nothing.",
    33: "The message goes on after ksqlDB's words with how many queries are live.",
    67: "The id of every pull query starts with 'query_', of a stream's too: it is the id of the "
    "query at the warehouse, where an operator looks for it.",
    69: "There is one kind of push query; its id starts with 'transient_'.",
}
