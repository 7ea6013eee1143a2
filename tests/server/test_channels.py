"""Channels over a real gateway: what is sent again is stored once, whatever came between."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.client import Client
from tests.gateways import GatewayProcess, gateway_process
from tests.peers import Peer
from tests.server.ksqldb import (
    acks,
    arguments_line,
    ask,
    count,
    declare,
    insert,
    json_lines,
    numbered,
    open_inserts,
    query,
    records,
    unique,
    until,
)
from tests.streams import Stream

NEXT = "headrace-next-offset"
INVALID = "Invalid JSON in inserts stream"


@pytest.fixture
def channel() -> str:
    return unique("edge")


def again(first: int, end: int) -> list[dict[str, Any]]:
    return [ack | {"duplicate": True} for ack in acks(first, end)]


def error(seq: int, message: str, code: int = 40000) -> dict[str, Any]:
    return {
        "@type": "InsertError", "status": "error", "seq": seq, "message": message,
        "error_code": code,
    }  # fmt: skip


def opened(peer: Peer, target: str, channel: str, **properties: Any) -> tuple[Stream, int]:
    """A stream on a channel, and the next offset that its response names."""
    stream = open_inserts(peer, target, channel=channel, **properties)
    assert stream.headers is not None
    return stream, int(stream.headers[NEXT])


def stands_at(peer: Peer, target: str, channel: str) -> dict[str, int]:
    reply = ask(peer, "GET", f"/channels/{target}/{quote(channel, safe='')}")
    assert reply.status == 200, reply.body
    assert (reply.document["target"], reply.document["channel"]) == (target, channel)
    offsets: dict[str, int] = reply.document["nextOffset"]
    return offsets


def ids(peer: Peer, target: str) -> list[int]:
    return sorted(row[0] for row in query(peer, f"SELECT ID FROM {target};").rows)


# ── sending again ────────────────────────────────────────────────────────────────────────────


def test_rows_that_are_sent_again_are_acked_as_duplicates_and_stored_once(
    peer: Peer, stream_name: str, channel: str
) -> None:
    first, at = opened(peer, stream_name, channel, offset=0, ack="queryable")
    assert at == 0
    first.send(json_lines(numbered(0, 5)), end=True)
    first.read_to_end()
    assert records(first) == acks(0, 5)
    second, at = opened(peer, stream_name, channel, offset=2, ack="queryable")
    assert at == 5
    second.send(json_lines(numbered(2, 8)), end=True)
    second.read_to_end()
    assert records(second) == again(0, 3) + acks(3, 6)
    assert ids(peer, stream_name) == list(range(8))


@pytest.mark.parametrize("ack", ["spooled", "committed", "queryable"])
def test_a_duplicate_is_acked_once_it_holds_the_level_that_is_asked_for_now(
    peer: Peer, stream_name: str, channel: str, ack: str
) -> None:
    first, _ = opened(peer, stream_name, channel, ack="spooled")
    first.send(json_lines(numbered(0, 100)))
    first.read_lines(100)
    first.reset()
    second, at = opened(peer, stream_name, channel, offset=0, ack=ack)
    assert at == 100
    second.send(json_lines(numbered(0, 100)), end=True)
    second.read_to_end()
    assert records(second) == again(0, 100)
    assert stands_at(peer, stream_name, channel)[ack] == 100
    if ack == "queryable":
        assert ids(peer, stream_name) == list(range(100))


def test_without_an_offset_the_stream_continues_where_the_channel_stands(
    peer: Peer, stream_name: str, channel: str
) -> None:
    for start in (0, 3):
        stream, at = opened(peer, stream_name, channel, ack="queryable")
        assert at == start
        stream.send(json_lines(numbered(start, start + 3)), end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 3)
    assert ids(peer, stream_name) == list(range(6))


def test_only_some_of_what_is_held_may_be_sent_again(
    peer: Peer, stream_name: str, channel: str
) -> None:
    insert(peer, stream_name, numbered(0, 50), channel=channel, ack="spooled")
    lines = insert(peer, stream_name, numbered(0, 2), channel=channel, offset=0)
    assert lines == again(0, 2)


def test_a_gap_is_refused_and_both_numbers_are_named(
    peer: Peer, stream_name: str, channel: str
) -> None:
    insert(peer, stream_name, numbered(0, 3), channel=channel, offset=0)
    body = arguments_line(stream_name, channel=channel, offset=1200) + json_lines(numbered(0, 1))
    reply = ask(peer, "POST", "/inserts-stream", body)
    assert (reply.status, reply.document["error_code"]) == (400, 40000)
    assert "1200" in reply.document["message"]
    assert " 3 " in reply.document["message"]
    assert stands_at(peer, stream_name, channel)["spooled"] == 3


def test_a_channel_that_never_held_a_row_starts_at_none_but_0(
    peer: Peer, stream_name: str, channel: str
) -> None:
    reply = ask(
        peer, "POST", "/inserts-stream", arguments_line(stream_name, channel=channel, offset=1)
    )
    assert (reply.status, reply.document["error_code"]) == (400, 40000)


def test_channels_of_two_streams_are_two(peer: Peer, stream_name: str, channel: str) -> None:
    other = declare(peer)
    insert(peer, stream_name, numbered(0, 3), channel=channel)
    assert insert(peer, other, numbered(0, 2), channel=channel, offset=0) == acks(0, 2)
    assert stands_at(peer, stream_name, channel)["spooled"] == 3
    assert stands_at(peer, other, channel)["spooled"] == 2


# ── two connections ──────────────────────────────────────────────────────────────────────────


def test_a_newer_connection_fences_the_older_one(
    gateway: GatewayProcess, peer: Peer, stream_name: str, channel: str
) -> None:
    older, _ = opened(peer, stream_name, channel, ack="queryable")
    older.send(json_lines(numbered(0, 4)))
    until(lambda: _spooled(peer, stream_name, channel) == 4, "rows on disk")
    with gateway.peer() as other:
        newer, at = opened(other, stream_name, channel, ack="queryable")
        assert at == 4
        older.read_to_end()
        *taken, last = records(older)
        assert taken == acks(0, 4)
        assert (last["seq"], last["error_code"]) == (4, 40000)
        assert channel in last["message"]
        newer.send(json_lines(numbered(4, 6)), end=True)
        newer.read_to_end()
        assert records(newer) == acks(0, 2)
    assert ids(peer, stream_name) == list(range(6))


def _spooled(peer: Peer, target: str, channel: str) -> int:
    reply = ask(peer, "GET", f"/channels/{target}/{channel}")
    return int(reply.document["nextOffset"]["spooled"]) if reply.status == 200 else 0


def test_a_claim_that_is_refused_does_not_fence(peer: Peer, stream_name: str, channel: str) -> None:
    holder, _ = opened(peer, stream_name, channel)
    refused = ask(
        peer, "POST", "/inserts-stream", arguments_line(stream_name, channel=channel, offset=9)
    )
    assert refused.status == 400
    holder.send(json_lines(numbered(0, 1)), end=True)
    holder.read_to_end()
    assert records(holder) == acks(0, 1)


# ── where a channel stands ───────────────────────────────────────────────────────────────────


def test_a_channel_says_the_next_offset_at_each_level(peer: Peer, stream_name: str) -> None:
    name = f"{unique('edge')}/ä %"
    insert(peer, stream_name, numbered(0, 7), channel=name, ack="queryable")
    assert stands_at(peer, stream_name, name) == {"spooled": 7, "committed": 7, "queryable": 7}


def test_a_channel_that_nobody_knows_is_a_404(peer: Peer, stream_name: str) -> None:
    reply = ask(peer, "GET", f"/channels/{stream_name}/nobody")
    assert (reply.status, reply.document["error_code"]) == (404, 40400)
    unknown = ask(peer, "GET", "/channels/no_such_thing/nobody")
    assert (unknown.status, unknown.document["error_code"]) == (400, 40001)


# ── bad rows ─────────────────────────────────────────────────────────────────────────────────


def test_a_bad_row_on_a_channel_has_its_offset_and_its_verdict_again_when_it_is_sent_again(
    peer: Peer, stream_name: str, channel: str
) -> None:
    raw = json_lines(numbered(0, 2)) + b"bad\n" + json_lines(numbered(3, 5))
    asked: dict[str, object] = {"channel": channel, "offset": 0, "ack": "queryable"}
    lines = insert(peer, stream_name, raw, on_error="continue", **asked)
    assert lines == [*acks(0, 2), error(2, INVALID), *acks(3, 5)]
    assert stands_at(peer, stream_name, channel)["spooled"] == 5
    resent = insert(peer, stream_name, raw, on_error="continue", **asked)
    assert resent == [*again(0, 2), error(2, INVALID), *again(3, 5)]
    stopped = insert(peer, stream_name, raw, on_error="stop", **asked)
    assert stopped == [*again(0, 2), error(2, INVALID)]
    past_it = insert(peer, stream_name, raw, **(asked | {"offset": 3}))
    assert past_it[:2] == again(0, 2)
    assert ids(peer, stream_name)[:4] == [0, 1, 3, 4]


def test_a_bad_row_that_ends_its_stream_leaves_its_offset_to_the_row_that_comes_in_its_place(
    peer: Peer, stream_name: str, channel: str
) -> None:
    raw = json_lines(numbered(0, 2)) + b"bad\n" + json_lines(numbered(3, 5))
    lines = insert(peer, stream_name, raw, channel=channel, ack="queryable")
    assert lines == [*acks(0, 2), error(2, INVALID)]
    assert stands_at(peer, stream_name, channel)["spooled"] == 2
    mended = insert(peer, stream_name, numbered(2, 5), channel=channel, offset=2, ack="queryable")
    assert mended == acks(0, 3)
    assert ids(peer, stream_name) == list(range(5))


def test_without_a_channel_bad_rows_need_not_end_the_stream_either(
    peer: Peer, stream_name: str
) -> None:
    raw = b"bad\n" + json_lines(numbered(0, 2)) + b'{"ID":"no","AT":"2024-01-01"}'
    lines = insert(peer, stream_name, raw, on_error="continue", ack="queryable")
    assert lines[0] == error(0, INVALID)
    assert lines[1:3] == acks(1, 3)
    assert (lines[3]["seq"], lines[3]["status"]) == (3, "error")
    assert count(peer, stream_name) == 2


# ── a gateway that ends ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def own(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway for one test, whose batches wait so long that they are still open when it ends."""
    settings = {"INGEST__BATCH_AGE_S": 5, "HTTP__DRAIN_S": 0.2}
    with gateway_process(tmp_path / "data", settings=settings) as running:
        yield running
        assert running.complaints == []


def test_after_a_crash_what_was_in_doubt_is_sent_again_and_stored_once(
    own: GatewayProcess, channel: str
) -> None:
    with own.peer() as peer:
        name = declare(peer)
        stream, _ = opened(peer, name, channel, ack="committed")
        stream.send(json_lines(numbered(0, 300)))
        until(lambda: _spooled(peer, name, channel) > 0, "some rows on disk")
        own.kill()
    own.start()
    with own.peer() as peer:
        stream, at = opened(peer, name, channel, offset=0, ack="queryable")
        assert 0 < at <= 300
        stream.send(json_lines(numbered(0, 320)), end=True)
        stream.read_to_end(60.0)
        assert records(stream) == again(0, at) + acks(at, 320)
        assert ids(peer, name) == list(range(320))


def test_a_stop_tells_open_streams_where_they_stand_and_the_next_start_takes_it_up(
    own: GatewayProcess, channel: str
) -> None:
    with own.peer() as peer:
        name = declare(peer)
        stream, _ = opened(peer, name, channel, ack="committed")
        stream.send(json_lines(numbered(0, 5)))
        until(lambda: _spooled(peer, name, channel) == 5, "rows on disk")
        own.terminate()
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, len(taken))
        assert (last["seq"], last["error_code"]) == (len(taken), 50303)
        if len(taken) < 5:
            assert "Rows up to 4 are on the gateway's disk" in last["message"]
            assert NEXT in last["message"]
        assert own.wait() == 0
    own.start()
    with own.peer() as peer:
        stream, at = opened(peer, name, channel, offset=0, ack="queryable")
        assert at == 5
        stream.send(json_lines(numbered(0, 6)), end=True)
        stream.read_to_end(60.0)
        assert records(stream) == again(0, 5) + acks(5, 6)
        assert ids(peer, name) == list(range(6))


# ── our own client ───────────────────────────────────────────────────────────────────────────


async def test_the_client_knows_where_its_channel_stands_and_which_rows_were_there(
    gateway: GatewayProcess, stream_name: str, channel: str
) -> None:
    async with Client(gateway.url) as client:
        for offset, duplicates in ((0, 0), (0, 10)):
            insert = client.insert(
                stream_name, numbered(0, 10), channel=channel, offset=offset, ack="spooled"
            )
            async with insert:
                assert insert.next_offset == duplicates
                batches = [batch async for batch in insert]
            assert sum(batch.duplicates for batch in batches) == duplicates
            assert insert.acked == 10


async def test_the_client_hears_of_bad_rows_and_goes_on(
    gateway: GatewayProcess, stream_name: str
) -> None:
    rows = [json.dumps(row).encode() for row in numbered(0, 3)]
    async with Client(gateway.url) as client:
        insert = client.insert(stream_name, [rows[0], b"bad", rows[2]], on_error="continue")
        batches = [batch async for batch in insert]
    refused = [(bad.seq, bad.message) for batch in batches for bad in batch.refused]
    assert refused == [(1, INVALID)]
    assert (insert.acked, insert.refused) == (2, 1)
