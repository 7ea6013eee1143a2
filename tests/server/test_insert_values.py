"""``INSERT INTO … VALUES``: rows of a statement go the way that streamed rows go."""

from tests.peers import Peer
from tests.server.ksqldb import ask, ksql, query


def test_rows_of_a_statement_are_committed_when_it_returns(peer: Peer, stream_name: str) -> None:
    ksql(
        peer,
        f"INSERT INTO {stream_name} (id, name, at) VALUES (1, 'it''s', '2024-01-01T00:00:00');"
        f"INSERT INTO {stream_name} (id, price, at) VALUES (2, -1.5, '2024-01-01T00:00:01');",
    )
    found = query(peer, f"SELECT id, name, price FROM {stream_name} ORDER BY id;").rows
    assert found == [[1, "it's", None], [2, None, -1.5]]


def test_a_row_that_does_not_fit_is_refused_with_its_column(peer: Peer, stream_name: str) -> None:
    reply = ask(
        peer,
        "POST",
        "/ksql",
        {"ksql": f"INSERT INTO {stream_name} (id, at) VALUES ('x', '2024-01-01');"},
    )
    assert reply.status == 400
    assert reply.document["error_code"] == 40001
    assert "ID" in reply.document["message"]


def test_a_row_without_its_time_is_refused(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "POST", "/ksql", {"ksql": f"INSERT INTO {stream_name} (id) VALUES (1);"})
    assert reply.status == 400
    assert "AT" in reply.document["message"]
