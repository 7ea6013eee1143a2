"""When a cluster is ready: the questions that it must answer, in this order.

Every role answers for itself; then the indexer is known to the overlord, tasks are taken, and a
query runs. A step asks and never waits: the caller has the clock.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from launch import HOST, ROLES

# Longer than any answer takes on a busy machine, but a lost one must not eat the whole deadline.
REQUEST_TIMEOUT = 10.0


class Step(NamedTuple):
    """One thing that must hold, and the role to look at if it does not."""

    role: str
    what: str
    holds: Callable[[], bool]


def steps(ports: Mapping[str, int]) -> Iterator[Step]:
    router = f"http://{HOST}:{ports['router']}"
    for role in ROLES:
        yield answers(role, ports)
    workers = f"{router}/druid/indexer/v1/workers"
    yield Step("indexer", "takes its place among the workers", lambda: bool(_reply(workers)))
    enabled = f"{router}/druid/v2/sql/task/enabled"
    yield Step("broker", "takes tasks", lambda: bool(_reply(enabled)))
    query = {"query": "SELECT 1"}
    yield Step("broker", "answers SELECT 1", lambda: bool(_reply(f"{router}/druid/v2/sql", query)))


def answers(role: str, ports: Mapping[str, int]) -> Step:
    if role == "zookeeper":
        return Step(role, "answers", lambda: _accepts(ports[role]))
    health = f"http://{HOST}:{ports[role]}/status/health"
    return Step(role, "answers", lambda: _reply(health) is True)


def ask(url: str, body: object = None) -> tuple[int, bytes]:
    """One request straight to the address, past any proxy: GET, or POST of a JSON body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=REQUEST_TIMEOUT)
    with contextlib.closing(connection):
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if body is None:
            connection.request("GET", target)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", target, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, reply.read()


def _reply(url: str, body: object = None) -> Any:
    """The JSON of a 200; None for any other answer, and for none."""
    try:
        status, text = ask(url, body)
        return json.loads(text) if status == http.HTTPStatus.OK else None
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=REQUEST_TIMEOUT):
            return True
    except OSError:
        return False
