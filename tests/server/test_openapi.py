"""`protocol/openapi.yaml`: a valid document, of every JSON route, and of what is answered."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from openapi_spec_validator import validate
from quart import Quart

from gateway.config import Config
from gateway.http.app import make_app
from gateway.runtime.rooms import Gateway, admin_app
from gateway.runtime.wiring import http_limits
from gateway.warehouse.embedded import EmbeddedWarehouse
from tests.clients.installed import ROOT
from tests.gateways import GatewayProcess
from tests.server.ksqldb import ksql, open_inserts

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "protocol" / "openapi.yaml").read_text())

STREAMS = {"/inserts-stream", "/insert-stream", "/query-stream", "/query", "/ws/query"}
"""in `protocol/wire.md`"""
NO_DOCUMENT = {"/", "/static/{filename}", "/batches/{token}"}
"""a redirect, the framework's own, and the bytes of a batch"""
PAGE = {"/events", "/console/{name}"}
"""of the live page alone"""


def routes_of(app: Quart) -> set[tuple[str, str]]:
    """Method and path, as OpenAPI writes them."""
    return {
        (method.lower(), re.sub(r"<(?:[^:<>]*:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }


def described() -> set[tuple[str, str]]:
    methods = ("get", "post", "put", "delete")
    return {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method in item
        if method in methods
    }


def shape(path: str) -> str:
    """A path without the names of its parameters: each side names them its own way."""
    path = re.sub(r"\{names\}", "{target}/{channel}", path)
    return re.sub(r"\{\w+\}", "{}", path)


def test_it_is_a_valid_document() -> None:
    validate(DOCUMENT)


async def test_it_describes_every_route_that_answers_json_and_no_other(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    gateway = Gateway(config, EmbeddedWarehouse(tmp_path / "w.duckdb"), tmp_path / "spool.db")
    served = routes_of(make_app(gateway.doors(None), http_limits(config)))
    served |= routes_of(admin_app(gateway))
    wanted = {
        (method, shape(path)) for method, path in served if path not in STREAMS | NO_DOCUMENT | PAGE
    }
    assert {(method, shape(path)) for method, path in described()} == wanted


# ── what is answered ─────────────────────────────────────────────────────────────────────────


def asked(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def resolved(node: Any) -> Any:
    """The document's references, followed."""
    if isinstance(node, Mapping):
        if "$ref" in node:
            found: Any = DOCUMENT
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            return resolved(found)
        return {name: resolved(value) for name, value in node.items()}
    return [resolved(each) for each in node] if isinstance(node, list) else node


def schema_of(method: str, path: str, status: int) -> Any:
    responses = resolved(DOCUMENT["paths"][path][method]["responses"])
    response = responses.get(str(status)) or responses["default"]
    return response["content"]["application/json"]["schema"]


FRONT_DOOR: list[tuple[str, str, str, Any, int]] = [
    ("get", "/info", "/info", None, 200),
    ("get", "/healthcheck", "/healthcheck", None, 200),
    ("get", "/chc/ready", "/chc/ready", None, 200),
    ("get", "/chc/live", "/chc/live", None, 200),
    ("get", "/clusterStatus", "/clusterStatus", None, 200),
    ("get", "/v1/metadata", "/v1/metadata", None, 200),
    ("get", "/v1/metadata/id", "/v1/metadata/id", None, 200),
    ("get", "/status", "/status", None, 200),
    ("get", "/status/{kind}/{entity}/{action}", "/status/stream/`OPEN_API`/create", None, 200),
    ("get", "/status/{kind}/{entity}/{action}", "/status/stream/`NO`/create", None, 404),
    ("get", "/is_valid_property/{name}", "/is_valid_property/auto.offset.reset", None, 200),
    ("get", "/is_valid_property/{name}", "/is_valid_property/nonsense", None, 400),
    ("get", "/channels/{target}/{channel}", "/channels/OPEN_API/edge", None, 200),
    ("get", "/channels/{target}/{channel}", "/channels/OPEN_API/none", None, 404),
    ("post", "/ksql", "/ksql", {"ksql": "LIST STREAMS; DESCRIBE OPEN_API;"}, 200),
    ("post", "/ksql", "/ksql", {"ksql": "CREAT STREAM X;"}, 400),
    ("post", "/ksql", "/ksql", {"ksql": 7}, 400),
    ("post", "/ksql/terminate", "/ksql/terminate", {}, 400),
    ("post", "/close-query", "/close-query", {"queryId": "no"}, 400),
]

ADMIN: list[tuple[str, str, str, Any, int]] = [
    ("get", "/healthcheck", "/healthcheck", None, 200),
    ("get", "/livez", "/livez", None, 200),
    ("get", "/readyz", "/readyz", None, 200),
    ("get", "/picture", "/picture", None, 200),
    ("post", "/queries/{query_id}/close", "/queries/none/close", {}, 404),
    ("get", "/batches", "/batches", None, 200),
    ("post", "/batches/{id}/{verdict}", "/batches/none/retry", {}, 404),
    ("get", "/dead-letters", "/dead-letters?state=all", None, 200),
    ("get", "/dead-letters/{letter_id}", "/dead-letters/1", None, 200),
    ("get", "/dead-letters/{letter_id}", "/dead-letters/99", None, 404),
    ("get", "/dead-letters", "/dead-letters?limit=0", None, 400),
    ("post", "/dead-letters/{letter_id}/retry", "/dead-letters/1/retry", {}, 400),
    ("post", "/dead-letters/retry", "/dead-letters/retry", {}, 400),
]


@pytest.fixture(scope="module")
def filled(gateway: GatewayProcess) -> GatewayProcess:
    """A gateway with a stream, a channel and a dead letter."""
    with gateway.peer() as peer:
        ksql(peer, "CREATE STREAM OPEN_API (ID BIGINT, AT TIMESTAMP) WITH (timestamp='AT');")
        stream = open_inserts(peer, "OPEN_API", channel="edge", on_error="continue")
        stream.send(b'{"ID":1,"AT":"2026-01-01"}\n{"ID":"x","AT":"2026-01-01"}\n', end=True)
        stream.read_to_end()
    return gateway


@pytest.mark.parametrize(("method", "path", "asks", "body", "status"), FRONT_DOOR)
def test_the_front_door_answers_as_it_says(
    filled: GatewayProcess, method: str, path: str, asks: str, body: Any, status: int
) -> None:
    found, document = asked(filled.url + asks, body)
    assert found == status, document
    jsonschema.validate(document, schema_of(method, path, status))


@pytest.mark.parametrize(("method", "path", "asks", "body", "status"), ADMIN)
def test_the_admin_port_answers_as_it_says(
    filled: GatewayProcess, method: str, path: str, asks: str, body: Any, status: int
) -> None:
    found, document = asked(filled.admin_url + asks, body)
    assert found == status, document
    jsonschema.validate(document, schema_of(method, path, status))
