"""What an insert stream tells its client, where the intake has a verdict for each row."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.http.app import LANE_PATHS
from gateway.http.drain import OpenStreams
from protocol.errors import RowRejected
from tests.doors import Door, opened_door
from tests.http1 import ChunkedRequest
from tests.intakes import ScriptedIntake, ScriptedStream, intake_app
from tests.peers import Peer
from tests.server.ksqldb import acks, arguments_line, ask, open_inserts, records, until

ROW = b'{"A":1}\n'
NEXT = "headrace-next-offset"


@contextlib.contextmanager
def front(
    intake: ScriptedIntake, *, lanes: bool = True, open_streams: OpenStreams | None = None
) -> Iterator[tuple[Door, Peer]]:
    paths = LANE_PATHS if lanes else frozenset[bytes]()
    app = intake_app(intake, open_streams)
    with opened_door(app, lane_paths=paths) as door, door.peer() as peer:
        yield door, peer


def came(door: Door, stream: ScriptedStream, rows: int) -> None:
    """Wait until the intake has so many rows."""
    until(
        lambda: door.call(lambda: sum(end - first for first, end in stream.rows)) >= rows,
        f"{rows} rows in the intake",
    )


def error(seq: int, message: str, code: int = 40000) -> dict[str, Any]:
    return {
        "@type": "InsertError", "status": "error", "seq": seq, "message": message,
        "error_code": code,
    }  # fmt: skip


def again(first: int, end: int) -> list[dict[str, Any]]:
    return [ack | {"duplicate": True} for ack in acks(first, end)]


# ── channels ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("offset", [1200, "1200", None])
def test_the_response_on_a_channel_says_the_next_offset(lanes: bool, offset: object) -> None:
    intake = ScriptedIntake({"edge-7": 1200})
    with front(intake, lanes=lanes) as (_, peer):
        stream = open_inserts(peer, "EVENTS", channel="edge-7", offset=offset)
        assert stream.headers is not None
        assert stream.headers[NEXT] == "1200"
        stream.send(ROW, end=True)
        stream.read_to_end()
        assert records(stream) == acks(0, 1)
    claim = intake.streams[0].claim
    assert claim is not None
    assert (claim.name, claim.offset) == ("edge-7", None if offset is None else 1200)
    assert intake.streams[0].closed


def test_over_http1_the_response_on_a_channel_says_the_next_offset_too() -> None:
    with (
        front(ScriptedIntake({"edge-7": 3})) as (door, _),
        ChunkedRequest(door.address, "/inserts-stream") as request,
    ):
        request.send(arguments_line("EVENTS", channel="edge-7"))
        assert request.response.status == 200
        assert request.response.getheader(NEXT) == "3"
        request.send(ROW)
        request.end()
        assert [json.loads(line) for line in request.response.read().splitlines()] == acks(0, 1)


@pytest.mark.parametrize("lanes", [True, False])
def test_a_response_without_channel_has_no_next_offset(lanes: bool) -> None:
    intake = ScriptedIntake()
    with front(intake, lanes=lanes) as (_, peer):
        stream = open_inserts(peer, "EVENTS")
        assert stream.headers is not None
        assert NEXT not in stream.headers
    assert intake.streams[0].claim is None


@pytest.mark.parametrize("lanes", [True, False])
def test_what_is_sent_again_is_acked_as_a_duplicate_and_not_handed_over(lanes: bool) -> None:
    intake = ScriptedIntake({"edge-7": 5})
    with front(intake, lanes=lanes) as (door, peer):
        stream = open_inserts(peer, "EVENTS", channel="edge-7", offset=2)
        stream.send(ROW * 2 + b"not even looked at\n" + ROW * 2, end=True)
        (way_in,) = intake.streams
        came(door, way_in, 2)
        assert way_in.rows == [(3, 5)]
        door.call(lambda: way_in.sink.settled(0, 3))
        stream.read_to_end()
        assert records(stream) == again(0, 3) + acks(3, 5)


def test_a_start_above_the_channel_s_next_offset_is_refused_before_any_row() -> None:
    with front(ScriptedIntake({"edge-7": 5})) as (_, peer):
        body = arguments_line("EVENTS", channel="edge-7", offset=6)
        reply = ask(peer, "POST", "/inserts-stream", body)
        assert (reply.status, reply.document["error_code"]) == (400, 40000)
        assert NEXT not in reply.headers


BAD_PROPERTIES: list[tuple[dict[str, object], str]] = [
    ({"channel": ""}, "headrace.channel is a name of 1 to 256 characters"),
    ({"channel": "x" * 257}, "headrace.channel is a name of 1 to 256 characters"),
    ({"channel": "a\nb"}, "headrace.channel is a name"),
    ({"channel": ["a"]}, "headrace.channel is a name"),
    ({"offset": 1}, "headrace.offset needs headrace.channel"),
    ({"channel": "c", "offset": -1}, "headrace.offset is a whole number"),
    ({"channel": "c", "offset": 2**63}, "headrace.offset is a whole number"),
    ({"channel": "c", "offset": "1.0"}, "headrace.offset is a whole number"),
    ({"channel": "c", "offset": 1.0}, "headrace.offset is a whole number"),
    ({"channel": "c", "offset": True}, "headrace.offset is a whole number"),
    ({"channel": "c", "offset": "٣"}, "headrace.offset is a whole number"),
    ({"on_error": "go"}, "Unknown headrace.on_error \"go\": it is 'continue'"),
    ({"on_error": 1}, "Unknown headrace.on_error 1"),
]


def test_bad_properties_are_refused_by_name() -> None:
    intake = ScriptedIntake()
    with front(intake) as (_, peer):
        for properties, message in BAD_PROPERTIES:
            reply = ask(peer, "POST", "/inserts-stream", arguments_line("EVENTS", **properties))
            assert (reply.status, reply.document["error_code"]) == (400, 40000), properties
            assert reply.document["message"].startswith(message)
    assert intake.streams == []


def test_a_stream_that_loses_its_channel_gets_the_verdicts_of_what_it_took_and_the_reason() -> None:
    intake = ScriptedIntake({"edge-7": 0}, settles=False)
    with front(intake) as (door, peer):
        stream = open_inserts(peer, "EVENTS", channel="edge-7")
        stream.send(ROW * 2)
        (way_in,) = intake.streams
        came(door, way_in, 2)
        door.call(lambda: way_in.sink.stopped(RowRejected("a newer connection has it")))
        door.call(lambda: way_in.sink.settled(0, 2))
        stream.read_to_end()
        assert records(stream) == [*acks(0, 2), error(2, "a newer connection has it")]


def test_a_stream_that_loses_its_channel_while_it_is_opened_ends_at_its_first_row() -> None:
    class Fencing(ScriptedIntake):
        async def open_stream(self, *given: Any, **named: Any) -> ScriptedStream:
            stream = await super().open_stream(*given, **named)
            stream.sink.stopped(RowRejected("a newer connection has it"))
            return stream

    intake = Fencing({"edge-7": 0})
    with front(intake) as (_, peer):
        stream = peer.open("POST", "/inserts-stream")
        stream.send(arguments_line("EVENTS", channel="edge-7") + ROW)
        stream.read_to_end()
        assert records(stream) == [error(0, "a newer connection has it")]
    assert intake.streams[0].rows == []


# ── where a channel stands ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/channels/EVENTS/edge-7", "edge-7"),
        ("/channels/events/edge%2D7", "edge-7"),
        ("/channels/EVENTS/a%2Fb%2F%2Fc", "a/b//c"),
        ("/channels/EVENTS/%2F", "/"),
        ("/channels/EVENTS/%C3%A4%20%3F", "ä ?"),
        ("/channels/EVENTS/100%25", "100%"),
        ("/channels/EVENTS/a+b?x=1", "a+b"),
    ],
)
def test_a_channel_says_where_it_stands_at_each_level(path: str, name: str) -> None:
    with front(ScriptedIntake({name: 9})) as (_, peer):
        reply = ask(peer, "GET", path)
        assert reply.status == 200, reply.body
        assert reply.headers["content-type"] == "application/json"
        assert reply.document == {
            "target": "EVENTS",
            "channel": name,
            "nextOffset": {"spooled": 9, "committed": 8, "queryable": 7},
        }


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/channels/EVENTS/nobody", 404, 40400),
        ("/channels/EVENTS/a/b", 404, 40400),
        ("/channels/EVENTS/", 400, 40000),
        ("/channels/EVENTS", 404, 40400),
        ("/channels", 404, 40400),
        ("/channels/OTHER/edge-7", 400, 40001),
        ("/channels/EVENTS/%FF", 400, 40000),
        ("/channels/EVENTS/a%00", 400, 40000),
    ],
)
def test_what_is_no_channel_is_told_in_ksqldb_s_form(path: str, status: int, code: int) -> None:
    with front(ScriptedIntake({"edge-7": 9})) as (_, peer):
        reply = ask(peer, "GET", path)
        assert (reply.status, reply.document["error_code"]) == (status, code)


# ── bad rows that do not end the stream ──────────────────────────────────────────────────────


@pytest.mark.parametrize("lanes", [True, False])
def test_a_bad_row_is_kept_elsewhere_and_the_stream_goes_on(lanes: bool) -> None:
    intake = ScriptedIntake()
    invalid = "Invalid JSON in inserts stream"
    with front(intake, lanes=lanes) as (door, peer):
        stream = open_inserts(peer, "EVENTS", on_error="continue")
        stream.send(ROW + b"bad\n" + ROW)
        stream.read_lines(3)
        assert records(stream) == [*acks(0, 1), error(1, invalid), {"status": "ok", "seq": 2}]
        stream.send(ROW + b"y" * 3000 + b"\n" + ROW, end=True)
        stream.read_to_end()
        assert [line["status"] for line in records(stream)[3:]] == ["ok", "error", "ok"]
        (way_in,) = intake.streams
        refused = door.call(lambda: way_in.refused)
        assert [(seq, raw) for seq, raw, _ in refused] == [(1, b"bad"), (4, b"y" * 1000)]
        assert refused[0][2] == invalid


def test_without_asking_for_it_the_first_bad_row_ends_the_stream() -> None:
    intake = ScriptedIntake()
    for on_error in (None, "stop"):
        with front(intake) as (_, peer):
            stream = open_inserts(peer, "EVENTS", on_error=on_error)
            stream.send(ROW + b"bad\n" + ROW)
            stream.read_to_end()
            assert [line["status"] for line in records(stream)] == ["ok", "error"]
        assert intake.streams.pop().refused == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([ROW * 100] * 60, id="duplicates"),
        pytest.param([(b"b" * 399 + b"\n") * 10] * 60, id="bad rows"),
        pytest.param([b"y" * 3000] * 60, id="one row without end"),
    ],
)
def test_bytes_of_rows_that_are_not_stored_are_credited_too(sent: list[bytes]) -> None:
    """Or a sender that counts would stand still once it has sent a window of them."""
    intake = ScriptedIntake({"edge-7": 10_000})
    offset = 0 if sent[0] == ROW * 100 else None
    app = intake_app(intake)
    with (
        opened_door(
            app, lane_paths=LANE_PATHS, stream_window_bytes=20_000, connection_window_bytes=65_535
        ) as door,
        door.peer() as peer,
    ):
        stream = open_inserts(
            peer, "EVENTS", channel="edge-7", offset=offset, on_error="continue", frames="coalesced"
        )
        for piece in sent:
            assert stream.send(piece)
        stream.send(b"\n", end=True)
        (way_in,) = intake.streams
        door.call(lambda: way_in.sink.settled(0, 10_000)) if offset == 0 else None
        stream.read_to_end()
        count = sum(piece.count(b"\n") for piece in sent) + 1
        assert [line["seq"] for line in records(stream)] == list(range(count))


def test_a_row_that_fails_later_has_its_error_in_its_place() -> None:
    intake = ScriptedIntake(settles=False)
    with front(intake) as (door, peer):
        stream = open_inserts(peer, "EVENTS", on_error="continue")
        stream.send(ROW * 4, end=True)
        (way_in,) = intake.streams
        came(door, way_in, 4)
        door.call(lambda: way_in.sink.failed(2, RowRejected("poison", 50000)))
        door.call(lambda: way_in.sink.settled(3, 4))
        door.call(lambda: way_in.sink.settled(0, 2))
        stream.read_to_end()
        assert records(stream) == [
            *acks(0, 2), error(2, "poison", 50000), {"status": "ok", "seq": 3},
        ]  # fmt: skip


def test_a_stream_that_is_broken_off_ends_at_its_row_even_if_bad_rows_do_not_end_it() -> None:
    intake = ScriptedIntake(settles=False)
    with front(intake) as (door, peer):
        stream = open_inserts(peer, "EVENTS", on_error="continue")
        stream.send(ROW * 4)
        (way_in,) = intake.streams
        came(door, way_in, 4)
        door.call(lambda: way_in.sink.broken(2, RowRejected("the disk", 50000)))
        door.call(lambda: way_in.sink.settled(0, 2))
        stream.read_to_end()
        assert records(stream) == [*acks(0, 2), error(2, "the disk", 50000)]


# ── drain ────────────────────────────────────────────────────────────────────────────────────


def test_streams_are_stopped_get_their_last_acks_and_are_told_what_happened() -> None:
    intake, open_streams = ScriptedIntake(settles=False), OpenStreams()
    with front(intake, open_streams=open_streams) as (door, peer):
        stream = open_inserts(peer, "EVENTS")
        stream.send(ROW * 2)
        (way_in,) = intake.streams
        came(door, way_in, 2)

        async def drain_while_rows_settle() -> bool:
            draining = asyncio.create_task(open_streams.drain(10.0))
            await asyncio.sleep(0)
            way_in.sink.settled(0, 2)
            return await draining

        assert door.run(drain_while_rows_settle())
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, 2)
        assert (last["seq"], last["error_code"]) == (2, 50303)
        assert "send them again" in last["message"]
        refused = ask(peer, "POST", "/inserts-stream", arguments_line("EVENTS"))
        assert (refused.status, refused.document["error_code"]) == (503, 50303)


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("channel", [None, "edge-7"])
@pytest.mark.parametrize("body_ended", [False, True])
def test_streams_that_still_wait_at_the_end_of_the_grace_time_are_told_where_they_stand(
    lanes: bool, channel: str | None, body_ended: bool
) -> None:
    intake, open_streams = ScriptedIntake({"edge-7": 0}, settles=False), OpenStreams()
    with front(intake, lanes=lanes, open_streams=open_streams) as (door, peer):
        stream = open_inserts(peer, "EVENTS", channel=channel)
        stream.send(ROW * 5, end=body_ended)
        (way_in,) = intake.streams
        came(door, way_in, 5)
        door.call(lambda: way_in.sink.settled(0, 2))
        stream.read_lines(2)
        assert not door.run(open_streams.drain(0.05))
        stream.read_to_end()
        *taken, last = records(stream)
        assert taken == acks(0, 2)
        assert (last["seq"], last["error_code"]) == (2, 50303)
        assert "Rows up to 4 are on the gateway's disk and will be committed" in last["message"]
        assert ("channel 'edge-7'" in last["message"]) == (channel is not None)
        assert ("headrace-next-offset" in last["message"]) == (channel is not None)
        assert len(open_streams) == 0


def test_rows_that_the_disk_has_not_taken_are_not_said_to_be_on_it() -> None:
    intake, open_streams = ScriptedIntake(settles=False), OpenStreams()
    with front(intake, open_streams=open_streams) as (door, peer):
        stream = open_inserts(peer, "EVENTS")
        stream.send(ROW * 5)
        (way_in,) = intake.streams
        came(door, way_in, 5)
        way_in.waiting_bytes = 8
        assert not door.run(open_streams.drain(0.05))
        stream.read_to_end()
        (last,) = records(stream)
        assert (last["seq"], last["error_code"]) == (0, 50303)
        assert "may be stored, or not" in last["message"]
