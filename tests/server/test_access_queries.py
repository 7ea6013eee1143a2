"""Queries belong to who started them, end with the right to them, and are counted."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateways import GatewayProcess
from tests.guarded import ask1, ask2, guarded_gateway, shown, who
from tests.peers import Peer
from tests.server.ksqldb import Reply, arguments_line, records, until
from tests.streams import Stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the configuration is."""
    return tmp_path / "guarded"


@pytest.fixture
def guarded(folder: Path) -> Iterator[GatewayProcess]:
    """With a stream of anna's."""
    with guarded_gateway(folder) as running:
        _ksql(running, "anna", "CREATE STREAM MINE (ID INT) WITH (kafka_topic='mine');")
        yield running
        assert running.complaints == []


def _ask(gateway: GatewayProcess, name: str, path: str, document: Any) -> Reply:
    raw = json.dumps(document).encode()
    return ask2(gateway.address, "POST", path, raw, shown(who(name)))


def _ksql(gateway: GatewayProcess, name: str, text: str) -> Any:
    reply = _ask(gateway, name, "/ksql", {"ksql": text})
    assert reply.status == 200, reply.body
    return reply.document


@contextmanager
def _pushed(gateway: GatewayProcess, name: str) -> Iterator[tuple[Stream, str]]:
    """A push query of somebody's over MINE, and its id."""
    with gateway.peer() as peer:
        stream = peer.open("POST", "/query-stream", shown(who(name)))
        stream.send(json.dumps({"sql": "SELECT * FROM MINE EMIT CHANGES;"}).encode(), end=True)
        stream.read_lines(1)
        yield stream, json.loads(stream.lines[0])["queryId"]


def _listed(gateway: GatewayProcess, name: str) -> set[str]:
    (listed,) = _ksql(gateway, name, "LIST QUERIES;")
    return {query["id"] for query in listed["queries"]}


def test_one_lists_ones_own_queries_and_with_admin_all(guarded: GatewayProcess) -> None:
    with _pushed(guarded, "anna") as (_, hers), _pushed(guarded, "rita") as (_, ritas):
        assert _listed(guarded, "anna") == {hers}
        assert _listed(guarded, "rita") == {ritas}
        assert _listed(guarded, "bert") == set()
        assert _listed(guarded, "root") == {hers, ritas}


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/close-query", '{{"queryId":"{0}"}}'),
        ("/ksql", '{{"ksql":"TERMINATE `{0}`;"}}'),
        ("/ksql", '{{"ksql":"EXPLAIN `{0}`;"}}'),
    ],
)
def test_anothers_query_is_not_there(guarded: GatewayProcess, path: str, form: str) -> None:
    def said(name: str, query_id: str) -> Reply:
        return _ask(guarded, name, path, json.loads(form.format(query_id)))

    with _pushed(guarded, "anna") as (stream, hers):
        unknown = hers[:-4] + "0000"
        for name in ("rita", "bert"):
            there, absent = said(name, hers), said(name, unknown)
            assert there.status == absent.status == 400
            assert there.body.replace(hers.encode(), unknown.encode()) == absent.body
        assert not stream.over
        assert _listed(guarded, "anna") == {hers}
        assert said("root", hers).status == 200
        if "EXPLAIN" not in form:
            stream.read_to_end()
            assert _listed(guarded, "anna") == set()


def test_terminate_all_ends_ones_own(guarded: GatewayProcess) -> None:
    with _pushed(guarded, "anna") as (hers, _), _pushed(guarded, "rita") as (_, ritas):
        _ksql(guarded, "anna", "TERMINATE ALL;")
        hers.read_to_end()
        assert _listed(guarded, "root") == {ritas}


def test_push_queries_of_a_principal_are_counted(guarded: GatewayProcess) -> None:
    with _pushed(guarded, "rita") as (stream, _):
        refused = _ask(
            guarded, "rita", "/query-stream", {"sql": "SELECT * FROM MINE EMIT CHANGES;"}
        )
        assert (refused.status, refused.document["error_code"]) == (429, 42900)
        assert int(refused.headers["retry-after"]) >= 1
        stream.reset()

    def is_taken() -> bool:
        document = {"sql": "SELECT * FROM MINE EMIT CHANGES LIMIT 0;"}
        return _ask(guarded, "rita", "/query-stream", document).status == 200

    until(is_taken, "the query that was reset to be forgotten")
    assert is_taken(), "one that has ended counts no more"


def test_rules_that_change_end_streams_and_queries_that_run(
    guarded: GatewayProcess, folder: Path
) -> None:
    with _pushed(guarded, "rita") as (query, _), guarded.peer() as peer:
        stream = _inserting(peer, "anna")
        stream.send(b'{"ID":1}\n')
        query.read_lines(2)
        config = folder / "config.toml"
        text = config.read_text()
        config.write_text(
            text.replace('names = ["MINE*", "mine*"]', 'names = ["OTHER*"]').replace(
                'names = ["MINE*"]', 'names = ["OTHER*"]'
            )
        )
        os.kill(guarded.pid, signal.SIGHUP)

        def is_refused() -> bool:
            reply = _ask(guarded, "rita", "/query-stream", {"sql": "SELECT 1 FROM MINE;"})
            return reply.status == 403

        until(is_refused, "the new rules")
        stream.send(b'{"ID":2}\n')
        stream.read_to_end()
        first, last = records(stream)
        assert first == {"status": "ok", "seq": 0}
        assert (last["error_code"], last["seq"]) == (40300, 1)
        # What wakes the query is a row of somebody who still may insert.
        other = _inserting(peer, "olga")
        other.send(b'{"ID":3}\n', end=True)
        other.read_to_end()
        query.peer.read_until(lambda: query.over, 15.0, "the end of the query")
        assert json.loads(query.lines[-1])["error_code"] == 40300
        assert [json.loads(line) for line in query.lines[1:-1]] == [[1]]


def _inserting(peer: Peer, name: str) -> Stream:
    stream = peer.open("POST", "/inserts-stream", shown(who(name)))
    stream.send(arguments_line("MINE"))
    stream.read_headers()
    assert stream.status == 200
    return stream


def test_what_was_done_and_refused_is_in_the_audit_log(
    guarded: GatewayProcess, folder: Path
) -> None:
    _ask(guarded, "anna", "/query-stream", {"sql": "SELECT 'hidden' FROM MINE;"})
    _ask(guarded, "bert", "/query-stream", {"sql": "SELECT 'hidden' FROM MINE;"})
    ask1(guarded.address, "GET", "/info", b"", shown("Bearer wrong"))

    def decisions() -> set[tuple[str, str, str]]:
        lines = (folder / "audit.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        return {(one.get("principal", ""), one["action"], one["outcome"]) for one in found}

    expected = {
        ("anna", "statement", "done"),
        ("anna", "query", "done"),
        ("bert", "require", "forbidden"),
        ("", "authenticate", "refused"),
    }
    until(lambda: expected <= decisions(), "the audit log")
    assert "hidden" not in (folder / "audit.jsonl").read_text()
    assert "wrong" not in (folder / "audit.jsonl").read_text()
