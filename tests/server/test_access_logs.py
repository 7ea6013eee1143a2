"""Lines of the log say for whom a request was, on one connection for many as well."""

import asyncio
import http.client
import io
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from quart import Quart, Response, websocket

from gateway.access.access_room import AccessRoom
from gateway.access.settings import AccessSettings, Rule
from gateway.config import LogConfig
from gateway.http.app import bare_app
from gateway.http.credentials import ask, ask_socket
from gateway.process.logs import set_up_log
from gateway.seams import Right
from tests.access_world import EVERYTHING, tokens_file
from tests.doors import Door, opened_door
from tests.websockets import UpgradedSocket

TOKENS = {"alice": "a-token-of-alices", "bob": "a-token-of-bobs"}
ALICE, BOB = ([("authorization", f"Bearer {token}")] for token in TOKENS.values())
OF_ANYBODY = Rule(principal="anonymous", rights=tuple(Right))


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What is logged."""
    root, kept = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    lines = io.StringIO()
    set_up_log(LogConfig(format="json"), lines)
    yield lines
    logging.captureWarnings(False)
    structlog.configure(**kept)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def door(tmp_path: Path, out: io.StringIO) -> Iterator[Door]:
    """A door whose application logs a line for each request, before and after a pause."""
    tokens = tokens_file(tmp_path, **TOKENS)
    room = AccessRoom(AccessSettings(rules=(EVERYTHING, OF_ANYBODY), tokens_file=tokens))
    app = bare_app("named")
    app.before_request(partial(ask, room))
    _log_each(app, room)
    with opened_door(app) as door:
        door.run(room.open())
        room.audit.to_log = False
        yield door
        door.run(room.close())


def _log_each(app: Quart, room: AccessRoom) -> None:
    log, go_on = structlog.get_logger("headrace.test"), asyncio.Event()

    @app.get("/log/<word>")
    async def logged(word: str) -> Response:
        log.info(word)
        return Response(b"")

    @app.get("/wait/<word>")
    async def waited(word: str) -> Response:
        log.info(f"{word} before")
        await go_on.wait()
        log.info(f"{word} after")
        return Response(b"")

    @app.get("/go-on")
    async def goes_on() -> Response:
        log.info("goes on")
        go_on.set()
        return Response(b"")

    @app.websocket("/socket")
    async def socket() -> None:
        await websocket.accept()
        await ask_socket(room)
        log.info("socket")
        await websocket.close(1000, "done")


def logged(out: io.StringIO) -> dict[str, Any]:
    """Each event, and for whom it was."""
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return {line["event"]: line.get("principal") for line in lines if "test" in line["logger"]}


def test_each_request_of_a_connection_is_logged_by_its_own_principal(
    door: Door, out: io.StringIO
) -> None:
    asked = [("one", ALICE), ("two", []), ("three", BOB), ("four", []), ("five", ALICE)]
    with door.peer() as peer:
        for word, shown in asked:
            stream = peer.open("GET", f"/log/{word}", shown, end=True)
            stream.read_to_end()
            assert stream.status == 200
    expected = {"one": "alice", "two": None, "three": "bob", "four": None, "five": "alice"}
    assert logged(out) == expected


def test_requests_that_run_at_once_on_a_connection_are_told_apart(
    door: Door, out: io.StringIO
) -> None:
    with door.peer() as peer:
        streams = [
            peer.open("GET", f"/wait/{word}", shown, end=True)
            for word, shown in (("a", ALICE), ("n", []), ("b", BOB))
        ]
        last = peer.open("GET", "/go-on", (), end=True)
        for stream in (*streams, last):
            stream.read_to_end()
            assert stream.status == 200
    assert logged(out) == {
        "a before": "alice", "n before": None, "b before": "bob", "goes on": None,
        "a after": "alice", "n after": None, "b after": "bob",
    }  # fmt: skip


def test_neither_does_it_stay_on_a_connection_of_http_1(door: Door, out: io.StringIO) -> None:
    with closing(http.client.HTTPConnection(*door.address, timeout=20)) as connection:
        for word, shown in (("one", ALICE), ("two", []), ("three", BOB)):
            connection.request("GET", f"/log/{word}", headers=dict(shown))
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
    assert logged(out) == {"one": "alice", "two": None, "three": "bob"}


def test_who_is_refused_is_nobody_to_the_next_on_the_connection(
    door: Door, out: io.StringIO
) -> None:
    with door.peer() as peer:
        refused = peer.open("GET", "/log/bad", [("authorization", "Bearer no-token")], end=True)
        refused.read_to_end()
        after = peer.open("GET", "/log/good", (), end=True)
        after.read_to_end()
    assert (refused.status, after.status) == (401, 200)
    assert logged(out) == {"good": None}


def test_a_websocket_is_logged_by_its_principal(door: Door, out: io.StringIO) -> None:
    with UpgradedSocket(door.address, "/socket", headers=dict(ALICE)) as socket:
        assert socket.read_to_close() == (1000, "done")
    assert logged(out) == {"socket": "alice"}
